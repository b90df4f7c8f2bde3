"""Other readings of a limit, beside the target and never instead of it.

The engine's answer is the conservative target: never later than any reading of the law. Where the data
state another reading (`readings`, `alt_from`, `soft_target`, `roll` of a deadline), this module computes
it as information: a guideline's softer target, the same limit from another clock, and above all the
legal outer bound, such as that of Regulation (EEC, Euratom) No 1182/71 for periods in hours.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from incidents.law.calendars import Calendar, CalendarGapError
from incidents.law.contradictions import PROCESSOR
from incidents.law.deadlines import Anchor, Deadline, OtherReading
from incidents.law.duties import Duty
from incidents.law.engine import Incident
from incidents.law.evaluation import Evaluation, format_utc
from incidents.law.facts import Facts, exact_number
from incidents.law.timing import Limit, NoAnswerError, Timing

_HOUR = dt.timedelta(hours=1)
_SOFT_UNITS = ("hours", "calendar_days")


@dataclass(frozen=True, slots=True)
class Reading:
    """Another reading of one limit.

    Attributes:
        duty: id of the duty.
        stage: name of the stage.
        name: what the reading is called, for example `regulation_1182_71_hours`.
        until_utc: the last moment under this reading; a day runs to 24:00 local time.
        last_day: the last local day, when the reading is one in days.
        later: whether it ends after the target: then it is an outer bound, else a stricter aim.
        words: where the reading comes from.
    """

    duty: str
    stage: str
    name: str
    until_utc: dt.datetime
    last_day: dt.date | None
    later: bool
    words: str

    def as_json(self) -> dict[str, Any]:
        """The reading as JSON values."""
        return {
            "duty": self.duty,
            "stage": self.stage,
            "name": self.name,
            "until_utc": format_utc(self.until_utc),
            "last_day": self.last_day.isoformat() if self.last_day else None,
            "later": self.later,
            "words": self.words,
        }


def readings(
    facts: Facts, duties: Mapping[str, Duty], calendars: Mapping[str, Calendar], evaluations: Iterable[Evaluation]
) -> list[Reading]:
    """Compute the other readings of every limit that has a date.

    Args:
        facts: the incident the evaluations belong to (already cut to the instant, when there was one).
        duties: all duties by id.
        calendars: working-day calendars by id.
        evaluations: the engine's answers; only those with result `due` have readings.

    Returns:
        Readings that differ from the target, in the order of the evaluations. One whose calendar has no
        data, or whose clock has not started, is left out.
    """
    view = Incident(facts, duties, calendars)
    return [
        reading
        for evaluation in evaluations
        if evaluation.result == "due" and evaluation.stage is not None
        for reading in _of(view, evaluation, duties[evaluation.duty])
    ]


def outer_bounds(found: Iterable[Reading]) -> dict[tuple[str, str], Reading]:
    """The latest reading that ends after the target, by duty and stage."""
    bounds: dict[tuple[str, str], Reading] = {}
    for reading in found:
        key = (reading.duty, reading.stage)
        if reading.later and (key not in bounds or bounds[key].until_utc < reading.until_utc):
            bounds[key] = reading
    return bounds


class _Limited(NamedTuple):
    """One limit with a date, and what its other readings are computed from."""

    deadline: Deadline
    target: Limit
    started: dt.datetime
    timing: Timing
    zone: ZoneInfo


def _of(view: Incident, evaluation: Evaluation, duty: Duty) -> Iterator[Reading]:
    assert evaluation.stage is not None
    assert evaluation.anchor is not None
    own = evaluation.anchor.startswith(PROCESSOR)
    started = view.clock(evaluation.anchor.removeprefix(PROCESSOR), processor=own).when
    assert started is not None  # a limit with a date has an anchor that is recorded
    limited = _Limited(
        deadline=next(stage.deadline for stage in duty.stages if stage.name == evaluation.stage),
        target=Limit(evaluation.anchor, evaluation.due_utc, evaluation.last_day),
        started=started,
        timing=Timing(view, view.zone_of(duty), processor=duty.processor),
        zone=view.zone_of(duty),
    )
    target, zone = limited.target, limited.zone
    for name, words, limit in _limits(limited):
        end = limit.end(zone)
        if (end, limit.day) != (target.end(zone), target.day):
            yield Reading(duty.id, evaluation.stage, name, end, limit.day, end > target.end(zone), words)


def _limits(limited: _Limited) -> Iterator[tuple[str, str, Limit]]:
    for rule in limited.deadline.readings:
        found = _by_rule(limited, rule)
        if found is not None:
            yield rule.name, rule.words, found
    for name, words, other in _stated(limited.deadline):
        limit = limited.timing.outcome(other).limit
        if limit is not None:
            yield name, words, limit


def _stated(deadline: Deadline) -> Iterator[tuple[str, str, Deadline]]:
    """Variations that other fields of the deadline state: another start, a softer target, no roll."""
    plain = replace(deadline, earlier_of=(), readings=())
    clock = deadline.shown.get("alt_from")
    if isinstance(clock, str):
        other = replace(plain, anchor=Anchor((clock,), "only"))
        yield f"from_{clock}", f"sources differ: the limit may run from {clock}", other
    soft = deadline.shown.get("soft_target")
    amount = exact_number(soft.get("amount")) if isinstance(soft, dict) else None
    if isinstance(soft, dict) and amount is not None and soft.get("unit") in _SOFT_UNITS:
        words = f"guidance: {float(amount):g} {str(soft['unit']).replace('_', ' ')}"
        yield "soft_target", words, replace(plain, kind=soft["unit"], amount=amount, variants=(), cap=None, roll=None)
    if deadline.roll is not None:
        yield "without_roll", "the limit is not moved to a working day", replace(plain, roll=None)


def _by_rule(limited: _Limited, rule: OtherReading) -> Limit | None:
    target, local = limited.target, limited.started.astimezone(limited.zone)
    if target.instant is not None:
        begun = dt.timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
        return replace(target, instant=target.instant - begun + _HOUR)
    assert target.day is not None
    if rule.rule == "same_clock_time":
        moment = dt.datetime.combine(target.day, local.time(), tzinfo=limited.zone)
        return Limit(target.anchor, instant=moment.astimezone(dt.UTC))
    if rule.rule == "other_calendar":
        other = replace(limited.deadline, calendar=rule.calendar, earlier_of=(), readings=())
        return limited.timing.outcome(other).limit
    return _working(limited, rule, target.day, local.date())


def _working(limited: _Limited, rule: OtherReading, last: dt.date, start: dt.date) -> Limit | None:
    """Art 3(4): the end moves to a working day; Art 3(5): two working days at least lie in the period."""
    try:
        calendar = limited.timing.calendar(rule.calendar)
        day = calendar.next_open(last)
        if rule.rule == "two_working_days":
            day = max(day, calendar.after(start, 2))
    except (CalendarGapError, NoAnswerError):
        return None
    return replace(limited.target, day=day)
