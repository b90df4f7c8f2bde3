"""Differences in words: between two versions of the law data, and between two assessments."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from incidents.law.evaluation import Evaluation
from incidents.law.explain import sentence
from incidents.law.library import Law


def compare_laws(old: Law, new: Law) -> Iterator[str]:
    """What changed between two versions of the data.

    Args:
        old: the earlier version.
        new: the later version.

    Yields:
        One line per duty added or removed and per field changed; nothing when no duty differs.
    """
    for duty_id in sorted({*old.duties, *new.duties}):
        before, after = old.duties.get(duty_id), new.duties.get(duty_id)
        if before is None and after is not None:
            yield f"{duty_id}: added ({after.title})"
        elif after is None and before is not None:
            yield f"{duty_id}: removed ({before.title})"
        elif before and after and before.digest != after.digest:
            for path, was, now in _fields(before.written, after.written):
                yield f"{duty_id} {path}: {was} -> {now}"
    for name in sorted({*old.calendars, *new.calendars}):
        if old.calendars.get(name) != new.calendars.get(name):
            yield f"calendar {name}: changed"
    for name in sorted({*old.vocabulary.definitions, *new.vocabulary.definitions}):
        if old.vocabulary.definitions.get(name) != new.vocabulary.definitions.get(name):
            yield f"shared expression {name}: changed"


def compare_assessments(old: Iterable[Evaluation], new: Iterable[Evaluation]) -> Iterator[str]:
    """What changed between two assessments of the same incident.

    Args:
        old: the earlier evaluations.
        new: the later evaluations.

    Yields:
        One line per duty and stage whose result, date, anchor or open facts differ.
    """
    before, after = (_by_stage(evaluations) for evaluations in (old, new))
    for key in dict.fromkeys((*before, *after)):
        was, now = before.get(key), after.get(key)
        if was is None and now is not None:
            yield f"{key[0]} {sentence(now)} (new)"
        elif now is None and was is not None:
            yield f"{key[0]} {sentence(was)} (no longer)"
        elif was and now and _answer(was) != _answer(now):
            yield f"{key[0]} {sentence(was)} -> {sentence(now)}"


def _by_stage(evaluations: Iterable[Evaluation]) -> dict[tuple[str, str | None], Evaluation]:
    return {(evaluation.duty, evaluation.stage): evaluation for evaluation in evaluations}


def _answer(evaluation: Evaluation) -> tuple[object, ...]:
    return (
        evaluation.result,
        evaluation.due_utc,
        evaluation.last_day,
        evaluation.anchor,
        evaluation.missing,
    )


def _fields(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Changed leaves as (path, before, after)."""
    before, after = dict(_leaves(old, "")), dict(_leaves(new, ""))
    paths = [*before, *(path for path in after if path not in before)]
    for path in paths:
        was, now = before.get(path), after.get(path)
        if was != now:
            yield path, was or "(absent)", now or "(absent)"


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value:
        for position, inner in enumerate(value):
            yield from _leaves(inner, f"{path}[{position}]")
    else:
        yield path, json.dumps(value, ensure_ascii=False)


def closest(law: Law, duty_id: str) -> list[str]:
    """Ids that look like the one asked for.

    Args:
        law: the law.
        duty_id: what was typed.

    Returns:
        At most five ids.
    """
    lowered = {name.lower(): name for name in law.duties}
    found = difflib.get_close_matches(duty_id.lower(), lowered, n=5, cutoff=0.5)
    return [lowered[name] for name in found]
