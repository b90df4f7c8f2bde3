"""Deadlines: rows that are recomputed on each assessment, and what a tick of the clock makes of them.

The arithmetic is the law engine's; here a limit becomes one instant (a last day runs to 24:00 of that day in
its zone), gets a state, and is reminded of or found missed exactly once. `tick` is pure; the rows live in
`incident_deadline` and are only ever written together with the log entry that says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Any, Final, Literal

from incidents.case.facts import zone
from ledger.encoding import format_time, parse_time
from ledger.store.connection import Connection, Row

State = Literal["running", "met", "missed", "paused", "no_fixed_time", "waiting", "to_clarify"]

STATES: Final[Mapping[str, str]] = {
    "running": "the limit lies ahead",
    "met": "the recipient was told in time, or where no time is fixed",
    "missed": "the limit has passed and the recipient was not told before it",
    "paused": "a hold delays the notice",
    "no_fixed_time": "owed without a number of hours or days",
    "waiting": "owed, but the event that starts this limit has not happened",
    "to_clarify": "a missing fact decides whether this is owed",
}

_STATE_OF_RESULT: Final[Mapping[str, State]] = {
    "due": "running",
    "due_without_fixed_time": "no_fixed_time",
    "due_relative": "no_fixed_time",
    "not_started": "waiting",
    "delayed": "paused",
    "undetermined": "to_clarify",
}

LEADS: Final = (timedelta(hours=24), timedelta(hours=2))
"""How long before a limit a reminder goes out, longest first."""

REMINDED: Final = "org.tocsin.deadline.reminded.v1"
MISSED: Final = "org.tocsin.deadline.missed.v1"

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS incident_deadline (
    incident       TEXT NOT NULL,
    duty           TEXT NOT NULL,
    stage          TEXT NOT NULL,
    result         TEXT NOT NULL,
    due            TEXT,
    last_day       TEXT,
    zone           TEXT NOT NULL,
    recipient_kind TEXT NOT NULL,
    recipient      TEXT NOT NULL,
    title          TEXT NOT NULL,
    citation       TEXT NOT NULL,
    words          TEXT NOT NULL,
    anchor         TEXT,
    confidence     TEXT NOT NULL,
    told_at        TEXT,
    reminded       TEXT NOT NULL DEFAULT '',
    missed         INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (incident, duty, stage)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS incident_deadline_due ON incident_deadline (due) WHERE told_at IS NULL
"""


@dataclass(frozen=True)
class Deadline:
    """One limit of one incident.

    Attributes:
        due: the instant at which it has passed, None where there is no fixed one.
        last_day: local date (ISO 8601) where the law counts days, else None.
        zone: IANA zone in which `last_day` ends.
        told_at: when the recipient was told, None before that.
        reminded: names of the leads already reminded of, such as "24h 2h".
        missed: whether `MISSED` is already in the log.
    """

    incident: str
    duty: str
    stage: str
    result: str
    due: datetime | None
    last_day: str | None
    zone: str
    recipient_kind: str
    recipient: str
    title: str
    citation: str
    words: str
    anchor: str | None
    confidence: str
    told_at: datetime | None = None
    reminded: str = ""
    missed: bool = False

    def state(self, now: datetime) -> State:
        """The state at an instant; a missed limit stays missed even when the recipient is told later."""
        if self.due is not None and self.told_at is not None:
            return "met" if self.told_at < self.due else "missed"
        if self.told_at is not None:
            return "met"
        state = _STATE_OF_RESULT.get(self.result, "no_fixed_time")
        if state == "running" and self.due is not None and self.due <= now:
            return "missed"
        return state


@dataclass(frozen=True)
class Notice:
    """What a tick found: remind of a limit, or state that it was missed.

    Attributes:
        kind: `REMINDED` or `MISSED`, an event type.
        lead: name of the lead reminded of, "" for a missed limit.
    """

    kind: str
    deadline: Deadline
    lead: str

    def data(self) -> dict[str, Any]:
        """The fields of the event."""
        held = self.deadline
        assert held.due is not None
        data = {"incident": held.incident, "duty": held.duty, "stage": held.stage, "due": format_time(held.due)}
        return {**data, "lead": self.lead} if self.lead else data


def end_of_day(day: date, zone_name: str) -> datetime:
    """The instant at which a local day ends (24:00): the first instant of the next day, in UTC."""
    local = datetime.combine(day + timedelta(days=1), time(), tzinfo=zone(zone_name))
    # Where midnight itself is skipped by a clock change, Python reads it with the offset before the change,
    # which is the instant at which the day ended.
    return parse_time(format_time(local))


def deadline_of(incident: str, decision: Mapping[str, Any], zone_name: str) -> Deadline | None:
    """The row for one decision, or None when it neither obliges nor might.

    Args:
        incident: short id.
        decision: as `incidents.clocks.assessment.decision_of` writes it.
        zone_name: zone of the duty, else of the facts.
    """
    if decision["result"] not in _STATE_OF_RESULT:
        return None
    due = parse_time(decision["due_utc"]) if decision["due_utc"] else None
    if due is None and decision["last_day"]:
        due = end_of_day(date.fromisoformat(decision["last_day"]), zone_name)
    return Deadline(
        incident=incident,
        duty=decision["duty"],
        stage=decision["stage"],
        result=decision["result"],
        due=due,
        last_day=decision["last_day"],
        zone=zone_name,
        recipient_kind=decision["recipient_kind"],
        recipient=decision["recipient"],
        title=decision["title"],
        citation=decision["citation"],
        words=decision["words"],
        anchor=decision["anchor"],
        confidence=decision["confidence"],
    )


def carry_over(new: Iterable[Deadline], held: Iterable[Deadline]) -> list[Deadline]:
    """New rows with what was already told, reminded of and missed under the same limit.

    When the limit itself moved, reminders and the missed mark start afresh; being told never does.
    """
    before = {(item.duty, item.stage): item for item in held}
    rows = []
    for item in new:
        old = before.get((item.duty, item.stage))
        if old is None:
            rows.append(item)
            continue
        kept = replace(item, told_at=item.told_at or old.told_at)
        rows.append(replace(kept, reminded=old.reminded, missed=old.missed) if old.due == item.due else kept)
    return rows


def lead_name(lead: timedelta) -> str:
    """Such as "24h"."""
    return f"{int(lead.total_seconds()) // 3600}h"


def tick(rows: Iterable[Deadline], now: datetime) -> list[Notice]:
    """What is to be said at `now`, each thing once: a late tick says only the most urgent."""
    found: list[Notice] = []
    for row in sorted(rows, key=lambda item: (item.due is None, item.due, item.duty, item.stage)):
        if row.due is None or row.told_at is not None or row.result not in {"due", "delayed"}:
            continue
        if row.due <= now:
            if not row.missed and row.state(now) == "missed":
                found.append(Notice(MISSED, row, ""))
            continue
        passed = [lead for lead in LEADS if row.due - lead <= now]
        if passed and lead_name(passed[-1]) not in row.reminded.split():
            found.append(Notice(REMINDED, row, lead_name(passed[-1])))
    return found


def marks(notice: Notice) -> tuple[str, bool]:
    """The columns `reminded` and `missed` after a notice was recorded."""
    if notice.kind == MISSED:
        return notice.deadline.reminded, True
    names = [lead_name(lead) for lead in LEADS]
    # Leads that a late tick skipped over are marked too, or the next tick would send them after the fact.
    return " ".join(names[: names.index(notice.lead) + 1]), notice.deadline.missed


def write(connection: Connection, incident: str, rows: Iterable[Deadline]) -> None:
    """Replace the rows of an incident; call inside the transaction of the assessment."""
    held = carry_over(rows, read(connection, incident))
    connection.execute("DELETE FROM incident_deadline WHERE incident = ?", (incident,))
    connection.executemany(
        f"INSERT INTO incident_deadline VALUES ({', '.join('?' * 17)})",  # noqa: S608 - only question marks
        [_row(item) for item in held],
    )


def mark(connection: Connection, notice: Notice) -> bool:
    """Mark a notice as recorded; False when another tick was faster, and then nothing may be recorded."""
    held = notice.deadline
    reminded, missed = marks(notice)
    changed = connection.execute(
        "UPDATE incident_deadline SET reminded = ?, missed = ? WHERE incident = ? AND duty = ? AND stage = ?"
        " AND reminded = ? AND missed = ? AND told_at IS NULL",
        (reminded, int(missed), held.incident, held.duty, held.stage, held.reminded, int(held.missed)),
    ).rowcount
    return changed == 1


def read(connection: Connection, incident: str | None = None) -> list[Deadline]:
    """Rows of one incident, or of all."""
    where = "" if incident is None else " WHERE incident = ?"
    rows = connection.execute(
        f"SELECT * FROM incident_deadline{where} ORDER BY incident, duty, stage",  # noqa: S608 - no input in it
        () if incident is None else (incident,),
    )
    return [_deadline(row) for row in rows]


def _row(item: Deadline) -> tuple[Any, ...]:
    return (
        item.incident,
        item.duty,
        item.stage,
        item.result,
        None if item.due is None else format_time(item.due),
        item.last_day,
        item.zone,
        item.recipient_kind,
        item.recipient,
        item.title,
        item.citation,
        item.words,
        item.anchor,
        item.confidence,
        None if item.told_at is None else format_time(item.told_at),
        item.reminded,
        int(item.missed),
    )


def _deadline(row: Row) -> Deadline:
    values = dict(row)
    for name in ("due", "told_at"):
        values[name] = None if values[name] is None else parse_time(values[name])
    return Deadline(**{**values, "missed": bool(values["missed"])})
