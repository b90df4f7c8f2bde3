"""From views to words: pure functions that templates call. No I/O and no clock."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from markupsafe import Markup

from incidents.people.affected import ORDER
from incidents.views import ClockView, DeadlineView, DutyView, FactView, IncidentSummary, IncidentView
from incidents.views.wording import STATES, left

_HOUR: Final = 3600
SOON: Final = 24 * _HOUR
"""Below this many seconds left a running clock is shown as due soon."""

_PLACES: Final = 3

_KEPT: Final = frozenset("\n\t\u200c\u200d")  # joiners spell words in Persian and Hindi
_HIDDEN: Final = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs", "Co"})


def visible(value: Any) -> Any:
    """Make control, bidirectional and invisible characters of a text visible; other values unchanged.

    Given to Jinja as `finalize`, so it sees everything a template prints, before escaping.
    """
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return "".join(_reveal(character) for character in value)


def _reveal(character: str) -> str:
    if character in _KEPT or unicodedata.category(character) not in _HIDDEN:
        return character
    return f"⟨U+{ord(character):04X}⟩"


def until(moment: datetime, now: datetime) -> str:
    """What remains from `now` until a moment, in words."""
    return left(int((moment - now).total_seconds()))


def utc(moment: datetime | None) -> str:
    """`10 Mar 2026, 09:00 UTC`."""
    return "" if moment is None else f"{moment.day} {moment:%b %Y, %H:%M} UTC"


def local(moment: datetime | None) -> str:
    """The same in the moment's own zone, with the zone's abbreviation or offset."""
    if moment is None:
        return ""
    return f"{moment:%a} {moment.day} {moment:%b %Y, %H:%M} {moment.tzname() or ''}".rstrip()


def machine(moment: datetime | None) -> str:
    """For the `datetime` attribute of `<time>`."""
    return "" if moment is None else moment.isoformat(timespec="seconds")


@dataclass(frozen=True)
class Mark:
    """How a state is shown: a word and an icon beside the colour, never the colour alone."""

    tone: str
    icon: str
    word: str


MISSED: Final = Mark("missed", "cross", STATES["missed"])
TOLD_LATE: Final = Mark("missed", "cross", "Told too late")
SOON_MARK: Final = Mark("soon", "bell", "Due soon")
RUNNING: Final = Mark("running", "clock", STATES["running"])
PROMPT: Final = Mark("running", "clock", STATES["no_fixed_time"])
PAUSED: Final = Mark("paused", "pause", STATES["paused"])
WAITING: Final = Mark("off", "pause", STATES["waiting"])
MET: Final = Mark("met", "check", STATES["met"])
UNDETERMINED: Final = Mark("open", "question", STATES["to_clarify"])
ADVISED: Final = Mark("off", "question", "Not obligatory")
NOT_TRIGGERED: Final = Mark("off", "dash", "Not triggered")

_ORDER: Final = (MISSED, SOON_MARK, RUNNING, PROMPT, PAUSED, WAITING, TOLD_LATE, MET)


@dataclass(frozen=True)
class ClockRow:
    """One clock of the incident page."""

    mark: Mark
    limit: DeadlineView
    jurisdictions: str
    started: ClockView | None
    why: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class FoldedRow:
    """A duty without a clock, or one that a missing fact decides, and why."""

    mark: Mark
    title: str
    provision: str
    why: tuple[str, ...]
    missing: tuple[str, ...]


def mark_of(limit: DeadlineView) -> Mark:
    """The mark of a state of `incidents.clocks.deadlines`; an unknown one is shown as undetermined."""
    if limit.state == "missed":
        return MISSED if limit.told_at is None else TOLD_LATE
    if limit.state == "running":
        # A limit that has passed is missed whatever the row says.
        if limit.seconds_left is not None and limit.seconds_left < 0:
            return MISSED
        return SOON_MARK if limit.seconds_left is not None and limit.seconds_left < SOON else RUNNING
    known = {"no_fixed_time": PROMPT, "paused": PAUSED, "waiting": WAITING, "met": MET}
    return known.get(limit.state, UNDETERMINED)


def clock_rows(view: IncidentView) -> list[ClockRow]:
    """The clocks that count: missed ones first, then by time left, then those without a number, then done."""
    duties = {(duty.duty, duty.stage): duty for duty in view.duties}
    clocks = {clock.name: clock for clock in view.clocks if not clock.superseded}
    rows = []
    for limit in view.deadlines:
        mark = mark_of(limit)
        if mark is UNDETERMINED:
            continue
        duty = duties.get((limit.duty, limit.stage))
        rows.append(
            ClockRow(
                mark=mark,
                limit=limit,
                jurisdictions=places(duty.jurisdictions) if duty else "",
                started=clocks.get(limit.started_by),
                why=duty.why if duty else (),
                missing=duty.missing if duty else (),
            )
        )
    return sorted(rows, key=_rank)


def places(jurisdictions: Sequence[str]) -> str:
    """The jurisdictions of a duty; of a long list the first few, which name the group."""
    shown = ", ".join(jurisdictions[:_PLACES])
    return f"{shown} and {len(jurisdictions) - _PLACES} more" if len(jurisdictions) > _PLACES else shown


def _rank(row: ClockRow) -> tuple[int, float, str]:
    seconds = row.limit.seconds_left
    due_soon_is_running = RUNNING if row.mark is SOON_MARK else row.mark
    return (
        _ORDER.index(due_soon_is_running),
        float("inf") if seconds is None else seconds,
        row.limit.title,
    )


def folded_rows(view: IncidentView) -> list[FoldedRow]:
    """What stands below the clocks: undetermined duties first, then those that were found not to apply."""
    shown = {(limit.duty, limit.stage) for limit in view.deadlines if mark_of(limit) is not UNDETERMINED}
    rows = [_folded(duty) for duty in view.duties if (duty.duty, duty.stage) not in shown]
    return sorted(rows, key=lambda row: (_FOLDED.index(row.mark), row.title))


_FOLDED: Final = (UNDETERMINED, ADVISED, NOT_TRIGGERED)
_FOLDED_OF_RESULT: Final = {
    "undetermined": UNDETERMINED,
    "recommended": ADVISED,
    "voluntary": ADVISED,
}


def _folded(duty: DutyView) -> FoldedRow:
    mark = _FOLDED_OF_RESULT.get(duty.result, NOT_TRIGGERED)
    return FoldedRow(mark, duty.title, duty.provision, duty.why, duty.missing)


def by_confidence(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Surest first; a word nobody expected comes last rather than not at all."""
    known: Sequence[str] = ORDER
    return sorted(counts.items(), key=lambda pair: known.index(pair[0]) if pair[0] in known else len(known))


def current_facts(facts: Iterable[FactView], state: str) -> list[FactView]:
    """The facts that stand in one of the three columns, superseded ones left out."""
    return [fact for fact in facts if fact.state == state and not fact.superseded]


COLUMNS: Final = ("queued", "handed_over", "delivered", "failed", "excluded")


@dataclass(frozen=True)
class Equation:
    """owed = queued + handed over + delivered + failed + excluded, and whether it closes."""

    owed: int
    columns: tuple[tuple[str, int], ...]

    @property
    def closes(self) -> bool:
        """Whether every telling stands in exactly one column."""
        return self.owed == sum(count for _, count in self.columns)

    @property
    def open(self) -> int:
        """Tellings nobody has sent yet."""
        return dict(self.columns)["queued"]


def equation(owed: int, balance: Mapping[str, Any]) -> Equation:
    """The balance of one campaign."""
    return Equation(owed, tuple((name, int(balance.get(name, 0))) for name in COLUMNS))


def waiting(incidents: Iterable[IncidentSummary]) -> list[IncidentSummary]:
    """Open incidents in which something is due or was missed: missed first, then by the next limit."""
    held = [item for item in incidents if not item.closed and (item.missed or item.next_due)]
    return sorted(held, key=lambda item: (not item.missed, item.next_due is None, item.next_due, item.id))
