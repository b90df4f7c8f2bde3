"""What must happen next, by whom, by when: one answer, from the state of the incident."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from incidents.case.aggregate import Incident
from incidents.case.facts import local_time
from incidents.views import DeadlineView, NextStep, NoticeView
from incidents.views.wording import label

SOON: Final = timedelta(hours=24)


def next_step(
    incident: Incident, deadlines: Sequence[DeadlineView], notices: Sequence[NoticeView], time_zone: str
) -> NextStep:
    """The one thing that must happen next.

    A passed or close limit to an authority goes first, then the road to telling people, then other limits.
    """

    def step(what: str, who: str, due: datetime | None = None) -> NextStep:
        return NextStep(what, who, due, None if due is None else local_time(due, time_zone))

    if incident.closed_at is not None:
        return step("Nothing: the incident is closed.", "nobody")
    start = _beginning(incident)
    if start is not None:
        return step(*start)
    # This incident is itself the entry of the internal register, so nobody need be told for that.
    apart = {"individuals", "internal"}
    others = [item for item in deadlines if item.recipient_kind not in apart and item.told_at is None]
    pressing = next((item for item in others if _pressing(item)), None)
    if pressing is not None:
        return step(_tell(pressing), "counsel", pressing.due)
    people = _people(incident, deadlines, notices)
    if people is not None:
        due = min((item.due for item in deadlines if _to_people(item) and item.due is not None), default=None)
        return step(*people, due)
    owed = next((item for item in others if item.state in {"running", "no_fixed_time"}), None)
    if owed is not None:
        return step(_tell(owed), "counsel", owed.due)
    return step(*_end(deadlines))


def _tell(item: DeadlineView) -> str:
    late = "late: " if item.state == "missed" else ""
    stage = "" if item.stage in ("", "main") else f", {label(item.stage)}"
    return f"Tell {item.recipient} ({late}{item.provision}{stage})."


def _pressing(item: DeadlineView) -> bool:
    close = item.seconds_left is not None and item.seconds_left <= SOON.total_seconds()
    return item.state == "missed" or (item.state == "running" and close)


def _end(deadlines: Sequence[DeadlineView]) -> tuple[str, str]:
    unclear = [item for item in deadlines if item.state == "to_clarify"]
    if unclear:
        return f"Find out the facts that decide {len(unclear)} undetermined duties.", "responder"
    return "Write down the lessons and close the incident.", "responder"


def _beginning(incident: Incident) -> tuple[str, str] | None:
    if not any(clock.name == "awareness" for clock in incident.clocks):
        return "Record since when you know of it (clock awareness).", "responder"
    if not incident.scopes:
        return "Determine the affected people from the log.", "responder"
    if not incident.assessments:
        return "Assess which duties apply.", "responder"
    last = incident.assessments[-1].version
    stated = [fact.version for fact in incident.facts] + [clock.version for clock in incident.clocks]
    if max([*stated, incident.scopes[-1].version]) > last:
        return "Assess again: facts, clocks or the affected people changed since the last assessment.", "responder"
    return None


def _to_people(item: DeadlineView) -> bool:
    open_states = {"running", "missed", "no_fixed_time"}
    return item.recipient_kind == "individuals" and item.told_at is None and item.state in open_states


def _people(
    incident: Incident, deadlines: Sequence[DeadlineView], notices: Sequence[NoticeView]
) -> tuple[str, str] | None:
    running = [item.id for item in incident.campaigns.values() if item.finished_at is None]
    if running:
        return f"Run campaign {running[0]} until its balance closes, then finish it.", "responder"
    if not any(_to_people(item) for item in deadlines):
        return None
    return _after(incident) if incident.campaigns else _before(notices)


def _after(incident: Incident) -> tuple[str, str]:
    if not incident.announcements:
        return "Some people were not reached one by one: publish the announcement.", "responder"
    return "Duties to people are still open: draft notices for who came to light since, and send them.", "responder"


def _before(notices: Sequence[NoticeView]) -> tuple[str, str]:
    if not notices:
        return "Draft the notices to the affected people.", "responder"
    waiting = [item for item in notices if item.state != "approved"]
    if waiting:
        what = f"Approve {len(waiting)} notice(s); the author of a notice cannot."
        return what, "counsel"
    return "Open the campaign and send the approved notices.", "responder"
