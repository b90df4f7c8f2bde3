"""Deadlines as the data states them (SCHEMA.md, section 4), read strictly."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any as Json

from incidents.law.calendars import MonthDay, parse_month_day
from incidents.law.errors import Problem
from incidents.law.expressions import Compiler
from incidents.law.facts import exact_number
from incidents.law.logic import Node
from incidents.law.shape import Shape, one_of
from incidents.law.vocabulary import Vocabulary

KINDS = (
    "hours", "calendar_days", "business_days", "months",
    "end_of_year_plus_days", "fixed_date", "relative", "words_only",
)  # fmt: skip
READING_RULES = (
    "hours_from_next_full_hour", "next_working_day", "two_working_days", "same_clock_time", "other_calendar",
)  # fmt: skip
COUNT_RULES = ("start_day_excluded", "start_day_is_day_1")
RELATIONS = ("before", "at_or_before", "concurrent", "after")
HERE = "established_in"
"""Calendar of the country of the first establishment that has one."""

_SHOWN = """
words text binding_limit soft_target extension extensions or_from alt_from alternative window note
weekend_note late_reasons_required awareness_definition authority_may_order clock_trigger
cutoff_local_time time_zone detected_by detection_definition hard_limit knowledge local qualifier2
relation_note repeats until worked
"""
SHOWN = frozenset(_SHOWN.split())
"""Fields of a deadline that are shown to people and not computed."""

_CALENDAR_KINDS = frozenset(KINDS[:6])
_MAX_AMOUNT = {"hours": 100_000, "calendar_days": 40_000, "business_days": 2_000, "months": 1_200}
_TIME = re.compile(r"^([01]\d|2[0-3]):([0-5]\d)$")


@dataclass(frozen=True, slots=True)
class Anchor:
    """The clock a deadline runs from.

    Attributes:
        clocks: one clock, or several.
        rule: `only`, `earliest` (of those recorded) or `latest` (all must be recorded).
    """

    clocks: tuple[str, ...]
    rule: str


@dataclass(frozen=True, slots=True)
class Variant:
    """Another amount under a condition."""

    when: Node
    amount: Fraction


@dataclass(frozen=True, slots=True)
class Roll:
    """A limit on a closed day moves to the next open one.

    Attributes:
        calendar: id, or `established_in`.
        at: local time the limit gets when it was in hours.
        closed: further closed days of every year.
        unless: when true, the limit stays.
    """

    calendar: str
    at: dt.time | None
    closed: frozenset[MonthDay]
    unless: Node | None


@dataclass(frozen=True, slots=True)
class Cap:
    """A further limit in hours; the earlier of both holds, unless waived."""

    deadline: Deadline
    waived_if: Node | None


@dataclass(frozen=True, slots=True)
class OtherReading:
    """Another reading of the same limit that somebody defends; shown beside the target, never instead of it.

    Attributes:
        name: as the output calls it.
        rule: one of `READING_RULES`; `readings.py` computes it.
        calendar: id, or `established_in`, for the rules about working days.
        words: where the reading comes from.
    """

    name: str
    rule: str
    calendar: str
    words: str


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a stage is due.

    Attributes:
        kind: one of `KINDS`, or `event` inside `earlier_of`.
        anchor: None only for `relative`.
        amount: hours, days, working days or months; whole except for hours.
        count_rule: whether the local start day counts as day 1 (calendar days only).
        calendar: id, or `established_in`, for working days.
        closed: further closed days of every year.
        month: month of a fixed date.
        day: day of a fixed date.
        year_offset: years after the year of the anchor.
        relation: for `relative`: before, at_or_before, concurrent or after.
        to: for `relative`: the other duty.
        needs_anchor: for `words_only`: nothing is owed before the clock has started.
        variants: other amounts; the first that is true holds.
        cap: further limit in hours.
        roll: what happens on closed days.
        earlier_of: further deadlines; the earliest wins.
        readings: other readings of this limit.
        shown: fields shown to people and not computed, as written.
    """

    kind: str
    anchor: Anchor | None
    amount: Fraction
    count_rule: str
    calendar: str
    closed: frozenset[MonthDay]
    month: int
    day: int
    year_offset: int
    relation: str
    to: str
    needs_anchor: bool
    variants: tuple[Variant, ...]
    cap: Cap | None
    roll: Roll | None
    earlier_of: tuple[Deadline, ...]
    readings: tuple[OtherReading, ...]
    shown: Mapping[str, Json]

    def nodes(self) -> tuple[Node, ...]:
        """Every expression inside."""
        own = [variant.when for variant in self.variants]
        if self.cap and self.cap.waived_if:
            own.append(self.cap.waived_if)
        if self.roll and self.roll.unless:
            own.append(self.roll.unless)
        return (*own, *(node for other in self.earlier_of for node in other.nodes()))


class DeadlineReader:
    """Reads the deadlines of one duty.

    Attributes:
        problems: what is wrong, each with its path.
    """

    def __init__(
        self, vocabulary: Vocabulary, compiler: Compiler, calendars: Mapping[str, object], *, processor: bool
    ) -> None:
        self._words = vocabulary
        self._compiler = compiler
        self._calendars = calendars
        self._processor = processor
        self.problems = compiler.problems

    def read(self, value: Json, path: str) -> Deadline:
        """Read one deadline with its modifiers."""
        shape = Shape(value, path, self.problems)
        return self._deadline(shape, shape.word("kind", KINDS))

    def _deadline(self, shape: Shape, kind: str) -> Deadline:
        counted = kind in _CALENDAR_KINDS
        roll, cap = shape.inner("roll") if counted else None, shape.inner("cap") if kind == "hours" else None
        deadline = Deadline(
            kind=kind,
            anchor=None if kind == "relative" else self._anchor(shape),
            amount=self._amount(shape, kind),
            count_rule=shape.word("count_rule", COUNT_RULES, default=COUNT_RULES[0]),
            calendar=self._calendar(shape) if kind == "business_days" else "",
            closed=self._closed(shape) if kind == "business_days" else frozenset(),
            month=(shape.whole("month", 1, 12) or 1) if kind == "fixed_date" else 0,
            day=(shape.whole("day", 1, 31) or 1) if kind == "fixed_date" else 0,
            year_offset=(shape.whole("year_offset", 0, 10) or 0) if kind == "fixed_date" else 0,
            relation=shape.word("relation", RELATIONS) if kind == "relative" else "",
            to=shape.text("to") if kind == "relative" else "",
            needs_anchor=bool(shape.flag("needs_anchor", default=False)) if kind == "words_only" else False,
            variants=tuple(self._variants(shape, kind)) if counted else (),
            cap=self._cap(cap) if cap else None,
            roll=self._roll(roll, kind) if roll else None,
            earlier_of=self._further(shape) if counted else (),
            readings=self._readings(shape, kind) if counted else (),
            shown={key: shape.take(key) for key in shape.keys() if key in SHOWN},  # noqa: SIM118  # a Shape is not a mapping
        )
        if kind == "fixed_date" and parse_month_day(f"{deadline.month:02}-{deadline.day:02}") is None:
            shape.problem("day", "no such day in this month")
        shape.done()
        return deadline

    def _anchor(self, shape: Shape) -> Anchor:
        check = one_of(self._words.words["clocks"], "clock")
        for key, rule in (("from_earliest_of", "earliest"), ("from_latest_of", "latest")):
            if shape.has(key):
                clocks = shape.texts(key, check)
                if not clocks:
                    shape.problem(key, "expected at least one clock")
                return Anchor(clocks, rule)
        clock = shape.text("from")
        if clock and check(clock):
            shape.problem("from", check(clock) or "")
        return Anchor((clock,), "only")

    def _amount(self, shape: Shape, kind: str, key: str = "amount") -> Fraction:
        if kind not in _MAX_AMOUNT and kind != "end_of_year_plus_days":
            return Fraction(0)
        amount = exact_number(shape.take(key, required=True))
        top = _MAX_AMOUNT.get(kind, 366)
        if amount is None or not 0 < amount <= top or (kind != "hours" and amount.denominator != 1):
            shape.problem(key, f"expected {'a number' if kind == 'hours' else 'a whole number'} above 0, at most {top}")
            return Fraction(1)
        return amount

    def _calendar(self, shape: Shape) -> str:
        name = shape.text("calendar")
        if name and name != HERE and name not in self._calendars:
            shape.problem("calendar", "not a calendar of calendars.yaml")
        return name

    def _closed(self, shape: Shape) -> frozenset[MonthDay]:
        days = shape.texts("closed", lambda day: None if parse_month_day(day) else "expected 'MM-DD'")
        return frozenset(day for text in days if (day := parse_month_day(text)))

    def expression(self, shape: Shape, key: str) -> Node | None:
        """Take an optional expression."""
        if not shape.has(key):
            return None
        return self._compiler.compile(shape.take(key), shape.at(key), processor=self._processor)

    def _variants(self, shape: Shape, kind: str) -> list[Variant]:
        found = []
        for path, item in shape.items("variants"):
            inner = Shape(item, path, self.problems)
            when = self.expression(inner, "if")
            amount = self._amount(inner, kind)
            inner.done()
            if when is None:
                self.problems.append(Problem(path, "a variant needs if and amount"))
            else:
                found.append(Variant(when, amount))
        return found

    def _cap(self, shape: Shape) -> Cap:
        waived_if = self.expression(shape, "waived_if")
        return Cap(self._deadline(shape, shape.word("kind", ("hours",))), waived_if)

    def _roll(self, shape: Shape, kind: str) -> Roll:
        shape.word("to", ("next_business_day",))
        time = shape.optional_text("at")
        match = _TIME.match(time or "")
        if (time and not match) or (kind == "hours" and not match):
            shape.problem("at", "expected a local time 'HH:MM'")
        roll = Roll(
            calendar=self._calendar(shape),
            at=dt.time(int(match[1]), int(match[2])) if match else None,
            closed=self._closed(shape),
            unless=self.expression(shape, "unless"),
        )
        shape.done()
        return roll

    def _readings(self, shape: Shape, kind: str) -> tuple[OtherReading, ...]:
        found = []
        for path, item in shape.items("readings"):
            inner = Shape(item, path, self.problems)
            rule = inner.word("rule", READING_RULES)
            if (rule == "hours_from_next_full_hour") != (kind == "hours"):
                inner.problem("rule", "hours_from_next_full_hour is for limits in hours, the others for days")
            if rule == "other_calendar" and kind != "business_days":
                inner.problem("rule", "other_calendar is for limits in working days")
            counted = rule in ("next_working_day", "two_working_days", "other_calendar")
            calendar = self._calendar(inner) if counted else ""
            found.append(OtherReading(inner.text("name"), rule, calendar, inner.text("words")))
            inner.done()
        return tuple(found)

    def _further(self, shape: Shape) -> tuple[Deadline, ...]:
        found = []
        for path, item in shape.items("earlier_of"):
            inner = Shape(item, path, self.problems)
            found.append(self._deadline(inner, inner.word("kind", ("event", *KINDS[:6]))))
        return tuple(found)
