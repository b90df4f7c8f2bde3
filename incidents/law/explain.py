"""One duty and one incident, step by step: every question of the engine with its answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from incidents.law.calendars import Calendar
from incidents.law.duties import Duty
from incidents.law.engine import Incident
from incidents.law.evaluation import Evaluation, format_utc
from incidents.law.facts import Facts
from incidents.law.logic import All, Any, AtLeast, Leaf, Node, Not

_WORDS = {True: "yes", False: "no", None: "unknown"}


def explain(facts: Facts, duty: Duty, duties: Mapping[str, Duty], calendars: Mapping[str, Calendar]) -> Iterator[str]:
    """Show how the engine reaches its answer about one duty.

    Args:
        facts: one incident.
        duty: the duty.
        duties: all duties by id.
        calendars: working-day calendars by id.

    Yields:
        Lines, indented by two spaces per level, each with yes, no or unknown.
    """
    view = Incident(facts, duties, calendars)
    force, text = view.in_force(duty)
    yield f"in force: {_WORDS[force.truth]} ({text})"
    yield f"when: {_WORDS[duty.when.truth(view)]}"
    yield from tree(duty.when, view, 1)
    for other in dict.fromkeys((*duty.displaced_by, *(d.id for d in duties.values() if duty.id in d.displaces))):
        yield f"displaced by {other}: {_WORDS[view.applies(other).truth]}"
    for exemption in duty.exemptions:
        if exemption.when is not None:
            yield f"exempt ({exemption.text}): {_WORDS[exemption.when.truth(view)]}"
            yield from tree(exemption.when, view, 1)
    for delay in duty.delays:
        if delay.when is not None:
            yield f"held ({delay.ground}): {_WORDS[delay.when.truth(view)]}"
            yield from tree(delay.when, view, 1)
    for evaluation in view.assess(duty):
        yield sentence(evaluation)


def sentence(evaluation: Evaluation) -> str:
    """An evaluation on one line."""
    parts = [f"{evaluation.stage or 'result'}: {evaluation.result.replace('_', ' ')}"]
    if evaluation.due_utc:
        parts.append(f"due {format_utc(evaluation.due_utc)}")
    if evaluation.last_day:
        parts.append(f"last day {evaluation.last_day}")
    if evaluation.anchor:
        parts.append(f"from {evaluation.anchor}")
    if evaluation.missing:
        parts.append(f"open: {', '.join(evaluation.missing)}")
    return ", ".join(parts)


def tree(node: Node, view: Incident, depth: int) -> Iterator[str]:
    """An expression with the truth of every part, one line each."""
    indent, truth = "  " * depth, _WORDS[node.truth(view)]
    match node:
        case Leaf():
            paths = ", ".join(sorted(node.missing(view)))
            yield f"{indent}{node.text}: {truth}{f' (open: {paths})' if paths else ''}"
        case All() | Any() | AtLeast() | Not():
            label = {All: "all of", Any: "any of", Not: "not"}.get(type(node)) or "at least"
            count = f" {node.count} of" if isinstance(node, AtLeast) else ""
            yield f"{indent}{label}{count}: {truth}"
            for part in node.parts:
                yield from tree(part, view, depth + 1)
