"""One plain line per event, for the timeline."""

from __future__ import annotations

from typing import Any, Final

from incidents.law import OWED
from incidents.views.wording import balance, value

_LINES: Final = {
    "declared": lambda e: f"{'Exercise' if e.status == 'Exercise' else 'Incident'} declared: {e.title}",
    "organisation_stated": lambda e: f"Organisation stated: {', '.join(sorted(e.organisation))}",
    "fact_recorded": lambda e: f"Fact {e.path} is {e.state}" + ("" if e.state == "unknown" else f": {value(e.value)}"),
    "clock_recorded": lambda e: (
        f"Clock {e.name} stood at {e.at}" + (f" (entry {e.source})" if e.source_kind == "entry" else "")
    ),
    "scoped": lambda e: f"Affected people determined: {e.count} (first {e.log_size} entries, root {e.root[:12]}…)",
    "assessed": lambda e: (
        f"Law assessed (data {e.law_version[:12]}…): {_owed(e.decisions)} duties owed, {len(e.changed)} changed"
    ),
    "notice_drafted": lambda e: f"Notice {e.notice} drafted, version {e.number} ({e.content_hash[:12]}…)",
    "notice_approved": lambda e: f"Notice {e.notice} approved, version {e.number} ({e.content_hash[:12]}…)",
    "campaign_opened": lambda e: f"Campaign {e.campaign} opened: {e.owed} tellings owed",
    "campaign_finished": lambda e: f"Campaign {e.campaign} finished: {balance(e.balance)}",
    "announced": lambda e: f"Public announcement made: {', '.join(sorted(e.notices))}",
    "recipient_told": lambda e: (
        f"Recipient of {e.duty} told at {e.told_at}" + (f" ({e.evidence})" if e.evidence else "")
    ),
    "report_released": lambda e: f"Report {e.name} released ({e.digest[:12]}…)",
    "closed": lambda e: f"Incident closed: {e.lessons}",
}


def say(event: Any) -> str:
    """The line for one event of an incident."""
    name = str(type(event).TOPIC).split(".")[-2]
    return _LINES[name](event)


def _owed(decisions: list[dict[str, Any]]) -> int:
    return len({item["duty"] for item in decisions if item["result"] in OWED})
