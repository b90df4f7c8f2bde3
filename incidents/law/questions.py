"""What to find out next: open facts, ordered by how much an answer would settle.

With almost nothing known nearly every duty is undetermined. A question is worth the number of duties
that one answer would settle at best, found by trying the plain answers (yes, no, none, zero); between
equals the shortest clock at stake goes first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from incidents.law.calendars import Calendar
from incidents.law.duties import Duty
from incidents.law.engine import Incident
from incidents.law.facts import FLAGS, PLACES, SETS, Facts, People

_TEXTS: Mapping[str, str] = {
    "affected": "Who is affected, in which jurisdictions?",
    "affected.count": "How many people are affected in each jurisdiction?",
    "affected.minors": "How many of the people affected are under 18, how many under 14?",
    "data_categories": "Which kinds of data are concerned?",
    "legal_classes": "Which legal classes of data are concerned?",
    "breach_types": "What happened to the data: access, acquisition, disclosure, loss ...?",
    "incident_types": "What happened in regulatory terms?",
    "sectors": "In which supervised sectors does the organisation work?",
    "entity_kinds": "What legal kind of entity is the organisation?",
    "role": "Does the organisation act as controller, processor or both?",
    "established_in": "Where is the organisation established?",
    "network_operated_in": "Where do the systems that were hit run?",
    "nexus": "Does the organisation target or monitor people elsewhere?",
    "medium": "Were the data electronic or on paper?",
    "risk": "How high is the risk to people?",
    "encrypted": "Were the data encrypted?",
    "encryption_key_compromised": "Was the encryption key compromised?",
    "name_exposed": "Was a name with the data?",
    "minors": "Are minors among the people affected?",
}
_TRIED: Mapping[str, tuple[Any, ...]] = {
    "sets": (frozenset(),),
    "flags": (False, True),
    "places": ((),),
    "nexus": ((),),
    "medium": ("",),
    "risk": (0, 99),
    "conditions": (False, True),
    "numbers": (Fraction(0),),
    "levels": (-1,),
}
"""The answers that are tried: lists empty, yes/no facts both ways, the risk at both ends, quantities zero."""
_HOURS = {"hours": 1, "calendar_days": 24, "business_days": 24, "months": 730}


@dataclass(frozen=True, slots=True)
class Question:
    """One fact to find out.

    Attributes:
        path: the fact.
        text: the question in words.
        settles: undetermined duties that one answer would settle at best.
        duties: ids of the undetermined duties that wait for this fact.
        hours: the shortest clock among them; None when no number is at stake.
    """

    path: str
    text: str
    settles: int
    duties: tuple[str, ...]
    hours: float | None


def open_questions(facts: Facts, duties: Mapping[str, Duty], calendars: Mapping[str, Calendar]) -> list[Question]:
    """The open facts behind every undetermined duty.

    Args:
        facts: one incident.
        duties: all duties by id.
        calendars: working-day calendars by id.

    Returns:
        Questions, the most useful first.
    """
    view = Incident(facts, duties, calendars)
    waiting: dict[str, list[Duty]] = {}
    undetermined: dict[str, frozenset[str]] = {}
    for duty in duties.values():
        for evaluation in view.assess(duty):
            if evaluation.result == "undetermined" and evaluation.stage is None:
                undetermined[duty.id] = frozenset(evaluation.missing)
                for path in evaluation.missing:
                    waiting.setdefault(path, []).append(duty)
    questions = []
    for path, open_duties in waiting.items():
        trials = [Incident(answered, duties, calendars) for answered in _answers(facts, path)]
        settles = max((_settled(trial, open_duties) for trial in trials), default=-1)
        if settles < 0:
            settles = sum(_only_clocks(undetermined[duty.id]) for duty in open_duties)
        hours = min((shortest for duty in open_duties if (shortest := _shortest(duty))), default=None)
        ids = tuple(duty.id for duty in open_duties)
        questions.append(Question(path, question_text(path), settles, ids, hours))
    return sorted(questions, key=_rank)


def question_text(path: str) -> str:
    """A fact path as a question."""
    if path in _TEXTS:
        return _TEXTS[path]
    head, _, name = path.partition(".")
    words = name.replace("_", " ")
    return {
        "clocks": f"Has this happened, and when: {words}?",
        "conditions": f"Is this so: {words}?",
        "numbers": f"What is the number: {words}?",
        "levels": f"Which level under {name}?",
    }.get(head, path)


def _rank(question: Question) -> tuple[int, float, int, str]:
    hours = question.hours if question.hours is not None else float("inf")
    return (-question.settles, hours, -len(question.duties), question.path)


def _settled(trial: Incident, duties: list[Duty]) -> int:
    return sum(trial.applies(duty.id).truth is not None for duty in duties)


def _only_clocks(paths: frozenset[str]) -> bool:
    return all(path.startswith("clocks.") for path in paths)


def _shortest(duty: Duty) -> float | None:
    amounts = (
        float(stage.deadline.amount) * _HOURS[stage.deadline.kind]
        for stage in duty.stages
        if stage.deadline.kind in _HOURS
    )
    return min(amounts, default=None)


def _answers(facts: Facts, path: str) -> list[Facts]:
    """The facts with one more of them known, for each answer that is tried; none for a clock."""
    head, _, name = path.partition(".")
    known = replace(facts, unknown=facts.unknown - {path})
    if head == "affected":
        return [replace(known, affected=tuple(_fewest(entry) for entry in facts.affected or ()))]
    kind = "sets" if head in SETS else "flags" if head in FLAGS else "places" if head in PLACES else head
    answers = _TRIED.get(kind, ())
    if kind in ("nexus", "medium", "risk"):
        return [_with(known, kind, answer) for answer in answers]
    return [_with(known, kind, {**getattr(facts, kind), name or head: answer}) for answer in answers]


def _with(facts: Facts, field: str, value: Any) -> Facts:
    changed: dict[str, Any] = {field: value}
    return replace(facts, **changed)


def _fewest(people: People) -> People:
    return replace(people, count=1 if people.count is None else people.count, under_18=people.under_18 or 0)
