"""What the law engine said, in the form that is kept: every decision with its reasons and rule version."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

from incidents.law import Evaluation, Law
from ledger.encoding import canonical

BRIEF: Final = frozenset({"not_required", "not_in_force"})
"""Results that are kept with their first reason only: hundreds of laws do not concern an incident."""

Decision = dict[str, Any]


def decision_of(evaluation: Evaluation, law: Law, time_zone: str) -> Decision:
    """One decision as JSON values.

    Args:
        evaluation: what the engine said.
        law: the law data it read.
        time_zone: zone of the facts; the duty's own goes before it.
    """
    duty = law.duty(evaluation.duty)
    said = evaluation.as_json()
    stage = said["stage"] or ""
    if evaluation.result in BRIEF:
        return {
            "duty": duty.id,
            "stage": stage,
            "result": evaluation.result,
            "why": said["why"][:1],
            "rule": duty.digest,
        }
    words: list[Any] = next(
        (item.deadline.shown.get("words", []) for item in duty.stages if item.name == (stage or duty.stages[0].name)),
        [],
    )
    return {
        **said,
        "stage": stage,
        "rule": duty.digest,
        "title": duty.title,
        "law": duty.law,
        "citation": duty.citation,
        "jurisdictions": list(duty.jurisdictions),
        "recipient_kind": duty.recipient.kind,
        "recipient": duty.recipient.name,
        "confidence": duty.confidence,
        "zone": duty.time_zone or time_zone,
        "words": ", ".join(str(word).replace("_", " ") for word in words),
    }


def decisions_of(evaluations: Iterable[Evaluation], law: Law, time_zone: str) -> list[Decision]:
    """All decisions, in the order of the duties."""
    return [decision_of(item, law, time_zone) for item in evaluations]


def counts(decisions: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many decisions of each result, in the order of the results."""
    return dict(sorted(Counter(item["result"] for item in decisions).items()))


def digest(evaluations: Iterable[Evaluation]) -> str:
    """SHA-256 (hex) over all evaluations in full, also those that are kept in brief."""
    return sha256(canonical([item.as_json() for item in evaluations])).hexdigest()


def full(decisions: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The decisions that are kept in full: what is owed, advised, exempt or undetermined."""
    return [item for item in decisions if item["result"] not in BRIEF]


def changes(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> list[Decision]:
    """What a new run changed: results and limits that differ, by duty and stage."""
    old = {(item["duty"], item["stage"]): _said(item) for item in full(before)}
    new = {(item["duty"], item["stage"]): _said(item) for item in full(after)}
    nothing = {"result": "not_required", "due_utc": None, "last_day": None}
    return [
        {"duty": duty, "stage": stage, "before": old.get(key, nothing), "after": new.get(key, nothing)}
        for key in sorted({*old, *new})
        for duty, stage in [key]
        if old.get(key, nothing) != new.get(key, nothing)
    ]


def _said(decision: Mapping[str, Any]) -> dict[str, Any]:
    return {name: decision[name] for name in ("result", "due_utc", "last_day")}
