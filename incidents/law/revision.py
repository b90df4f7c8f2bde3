"""The law data change while incidents are open: is an assessment still current, and what differs?

A kept assessment holds the version of the data and, per decision, the digest of its duty (`rule`). The
functions here are pure; the incident service decides when to call them and stores what comes out.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from incidents.law.changes import compare_assessments
from incidents.law.evaluation import Evaluation
from incidents.law.library import Law

Decision = Mapping[str, Any]


class Kept(Protocol):
    """An assessment as an incident keeps it."""

    @property
    def law_version(self) -> str:
        """Version of the law data it was made with."""

    @property
    def decisions(self) -> Sequence[Decision]:
        """One mapping per duty and stage: `duty`, `stage`, `result`, `rule` (digest of the duty), and dates."""


def stale(assessment: Kept, law: Law) -> bool:
    """Whether an assessment was made with other law data than these.

    Args:
        assessment: the last one of an open incident.
        law: the law as it is now.

    Returns:
        True when the incident has to be assessed again.
    """
    return assessment.law_version != law.version


def changed_rules(assessment: Kept, law: Law) -> Iterator[str]:
    """Which duties are no longer the ones that were decided on.

    Args:
        assessment: the last one of an open incident.
        law: the law as it is now.

    Yields:
        One line per duty that was edited, removed or added since. Calendars and shared expressions have
        no digest of their own: when only they changed, nothing is listed, and `stale` is still true.
    """
    kept = {decision["duty"]: decision["rule"] for decision in assessment.decisions}
    for duty_id, digest in kept.items():
        duty = law.duties.get(duty_id)
        if duty is None:
            yield f"{duty_id}: removed"
        elif duty.digest != digest:
            yield f"{duty_id}: changed ({duty.title})"
    for duty_id, duty in law.duties.items():
        if duty_id not in kept:
            yield f"{duty_id}: added ({duty.title})"


def compare_decisions(old: Iterable[Decision], new: Iterable[Decision]) -> Iterator[str]:
    """What differs between two lists of kept decisions, in words.

    Args:
        old: the earlier decisions.
        new: the later ones.

    Yields:
        One line per duty and stage whose result, date, anchor or open facts differ; duties that did not
        concern the incident before and do not concern it now are left out.
    """
    return compare_assessments(map(recall_evaluation, old), map(recall_evaluation, new))


def recall_evaluation(decision: Decision) -> Evaluation:
    """The evaluation a decision was kept from; one that was kept in brief has no dates.

    Args:
        decision: as `incidents.clocks.assessment` keeps it.
    """
    due, day = decision.get("due_utc"), decision.get("last_day")
    return Evaluation(
        duty=decision["duty"],
        stage=decision["stage"] or None,
        result=decision["result"],
        due_utc=dt.datetime.fromisoformat(due) if due else None,
        last_day=dt.date.fromisoformat(day) if day else None,
        anchor=decision.get("anchor"),
        why=tuple(decision.get("why", ())),
        missing=tuple(decision.get("missing", ())),
    )
