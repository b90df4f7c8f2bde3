"""Deadline arithmetic (SCHEMA.md, section 4).

Hours are elapsed time in UTC; days, working days and months are counted in local dates. Modifiers apply
in this order: variants, cap, roll, earlier_of. Where a fact that a modifier needs is unknown, the
reading that gives the earlier date is taken and the fact is named. Without an anchor there is no date,
and a calendar without data gives none either.
"""

from __future__ import annotations

import calendar as months
import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple, Protocol
from zoneinfo import ZoneInfo

from incidents.law.calendars import Calendar, CalendarGapError
from incidents.law.deadlines import HERE, Anchor, Deadline, Roll
from incidents.law.facts import Facts
from incidents.law.logic import View
from incidents.law.places import country


class Clock(NamedTuple):
    """A clock as a duty sees it.

    Attributes:
        name: the clock that answered (`processor_awareness` for a processor's duty).
        when: its instant in UTC, None when it is not recorded.
        unknown: whether it may have happened all the same (marked unknown in the facts).
        paths: the facts to ask for.
    """

    name: str
    when: dt.datetime | None
    unknown: bool
    paths: tuple[str, ...]


class TimingView(View, Protocol):
    """What the arithmetic needs to know of an incident."""

    facts: Facts
    calendars: Mapping[str, Calendar]

    def clock(self, name: str, *, processor: bool) -> Clock:
        """A clock, resolved for the obliged role."""
        ...


@dataclass(frozen=True, slots=True)
class Limit:
    """A date the law gives: an instant (hours) or a last local day."""

    anchor: str
    instant: dt.datetime | None = None
    day: dt.date | None = None

    def end(self, zone: ZoneInfo) -> dt.datetime:
        """The last moment, for comparison: a day runs to 24:00 local time."""
        if self.instant is not None:
            return self.instant
        assert self.day is not None
        after = dt.datetime.combine(self.day + dt.timedelta(days=1), dt.time(), tzinfo=zone)
        return after.astimezone(dt.UTC)


@dataclass(slots=True)
class Outcome:
    """What a deadline comes to."""

    result: str
    limit: Limit | None = None
    why: list[str] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)


class NoAnswerError(Exception):
    """No date can be given; `result` and `missing` say why."""

    def __init__(self, result: str, missing: tuple[str, ...]) -> None:
        super().__init__(result)
        self.result = result
        self.missing = missing
        self.waits_for_clock = all(path.startswith("clocks.") for path in missing)


class Timing:
    """The arithmetic for one duty of one incident.

    Args:
        view: the incident.
        time_zone: zone for dates and day counts.
        processor: whether clocks are the processor's.
    """

    def __init__(self, view: TimingView, time_zone: ZoneInfo, *, processor: bool) -> None:
        self._view = view
        self._zone = time_zone
        self._processor = processor

    def outcome(self, deadline: Deadline) -> Outcome:
        """Compute a deadline.

        Args:
            deadline: as the data states it.

        Returns:
            `due` with a limit, `due_relative`, `due_without_fixed_time`, `not_started` or `undetermined`.
        """
        if deadline.kind == "relative":
            return Outcome("due_relative", why=[f"{deadline.relation.replace('_', ' ')} {deadline.to}"])
        outcome = Outcome("due")
        try:
            if deadline.kind == "words_only":
                return self._words_only(deadline, outcome)
            limit = self._limit(deadline, outcome)
        except NoAnswerError as error:
            outcome.missing.update(error.missing)
            return Outcome(error.result, why=outcome.why, missing=outcome.missing)
        except CalendarGapError as error:
            outcome.missing.add(f"calendars.{error.calendar}")
            return Outcome("undetermined", why=[*outcome.why, str(error)], missing=outcome.missing)
        outcome.limit = limit
        outcome.why.append(f"{_words(deadline)} from {limit.anchor}")
        return outcome

    def _words_only(self, deadline: Deadline, outcome: Outcome) -> Outcome:
        if deadline.needs_anchor:
            self._start(deadline.anchor, outcome)
        words = deadline.shown.get("words")
        said = ", ".join(str(word) for word in words) if isinstance(words, list) else ""
        reason = f"no number in the law{f': {said}' if said else ''}"
        return Outcome("due_without_fixed_time", why=[reason], missing=outcome.missing)

    def _start(self, anchor: Anchor | None, outcome: Outcome) -> Clock:
        """The clock a deadline runs from. One that may have started earlier is named as missing."""
        assert anchor is not None
        clocks = [self._view.clock(name, processor=self._processor) for name in anchor.clocks]
        recorded = [clock for clock in clocks if clock.when is not None]
        lacking = [clock for clock in clocks if clock.when is None]
        if not recorded or (lacking and anchor.rule == "latest"):
            paths = tuple(path for clock in lacking for path in clock.paths)
            result = "undetermined" if any(clock.unknown for clock in lacking) else "not_started"
            raise NoAnswerError(result, paths)
        outcome.missing.update(path for clock in lacking if clock.unknown for path in clock.paths)
        pick = max if anchor.rule == "latest" else min
        return pick(recorded, key=lambda clock: clock.when or dt.datetime.max.replace(tzinfo=dt.UTC))

    def _limit(self, deadline: Deadline, outcome: Outcome) -> Limit:
        """The date with all modifiers."""
        if not deadline.earlier_of:
            return self._single(deadline, outcome)
        limits: list[Limit] = []
        waiting: list[NoAnswerError] = []
        for part in (deadline, *deadline.earlier_of):
            try:
                limits.append(self._single(part, outcome))
            except NoAnswerError as error:
                if not error.waits_for_clock:
                    raise
                waiting.append(error)
        open_clocks = [error for error in waiting if error.result == "undetermined"]
        if not limits:
            result = "undetermined" if open_clocks else "not_started"
            raise NoAnswerError(result, tuple(path for error in waiting for path in error.missing))
        outcome.missing.update(path for error in open_clocks for path in error.missing)
        return min(limits, key=lambda limit: limit.end(self._zone))

    def _single(self, deadline: Deadline, outcome: Outcome) -> Limit:
        """The date without `earlier_of`."""
        start = self._start(deadline.anchor, outcome)
        assert start.when is not None
        amount = self._amount(deadline, outcome)
        if deadline.kind == "hours":
            limit = Limit(start.name, instant=start.when + _hours(amount))
            limit = self._capped(limit, deadline, outcome)
        elif deadline.kind == "event":
            limit = Limit(start.name, day=start.when.astimezone(self._zone).date())
        else:
            limit = Limit(start.name, day=self._day(deadline, int(amount), start.when))
        return self._rolled(limit, deadline.roll, outcome) if deadline.roll else limit

    def _amount(self, deadline: Deadline, outcome: Outcome) -> Fraction:
        """The amount after variants; while a variant is unknown, the smallest that is possible."""
        possible = []
        for variant in deadline.variants:
            truth = variant.when.truth(self._view)
            if truth is None:
                outcome.missing |= variant.when.missing(self._view)
                possible.append(variant.amount)
            elif truth:
                outcome.why.extend(variant.when.reasons(self._view))
                return min([variant.amount, *possible])
        return min([deadline.amount, *possible])

    def _day(self, deadline: Deadline, amount: int, start: dt.datetime) -> dt.date:
        local = start.astimezone(self._zone).date()
        match deadline.kind:
            case "calendar_days":
                counted = amount - 1 if deadline.count_rule == "start_day_is_day_1" else amount
                return local + dt.timedelta(days=counted)
            case "business_days":
                return self.calendar(deadline.calendar).after(local, amount, deadline.closed)
            case "months":
                return add_months(local, amount)
            case "end_of_year_plus_days":
                return dt.date(local.year, 12, 31) + dt.timedelta(days=amount)
            case _:
                return clamped(local.year + deadline.year_offset, deadline.month, deadline.day)

    def _capped(self, limit: Limit, deadline: Deadline, outcome: Outcome) -> Limit:
        cap = deadline.cap
        if cap is None:
            return limit
        waived = cap.waived_if.truth(self._view) if cap.waived_if else False
        if waived:
            return limit
        if waived is None and cap.waived_if:
            outcome.missing |= cap.waived_if.missing(self._view)
        try:
            other = self._single(cap.deadline, outcome)
        except NoAnswerError as error:
            outcome.missing.update(error.missing)
            return limit
        return min(limit, other, key=lambda one: one.end(self._zone))

    def _rolled(self, limit: Limit, roll: Roll, outcome: Outcome) -> Limit:
        stays = roll.unless.truth(self._view) if roll.unless else False
        if stays:
            return limit
        if stays is None and roll.unless:
            outcome.missing |= roll.unless.missing(self._view)
            return limit  # the earlier date, until the fact is known
        calendar = self.calendar(roll.calendar)
        day = limit.day or limit.end(self._zone).astimezone(self._zone).date()
        moved = calendar.next_open(day, roll.closed)
        if moved == day:
            return limit
        outcome.why.append(f"{day} is not a working day ({calendar.id}): moved to {moved}")
        if limit.day is not None:
            return Limit(limit.anchor, day=moved)
        at = dt.datetime.combine(moved, roll.at or dt.time(), tzinfo=self._zone)
        return Limit(limit.anchor, instant=at.astimezone(dt.UTC))

    def calendar(self, name: str) -> Calendar:
        """A calendar by id; `established_in` is that of the first establishment that has one.

        Raises:
            CalendarGapError: there is no such calendar.
            NoAnswerError: it is not known where the organisation is established.
        """
        if name != HERE:
            found = self._view.calendars.get(name)
            if found is None:
                raise CalendarGapError(name)
            return found
        places = self._view.facts.places["established_in"]
        if not places:
            raise NoAnswerError("undetermined", ("established_in",))
        for place in places:
            found = self._view.calendars.get(country(place).lower())
            if found is not None:
                return found
        raise CalendarGapError(country(places[0]).lower())


def add_months(day: dt.date, count: int) -> dt.date:
    """The same day `count` months on, or the last day of that month when it is shorter.

    Args:
        day: start.
        count: 0 or more.
    """
    year, month = divmod(day.year * 12 + day.month - 1 + count, 12)
    return clamped(year, month + 1, day.day)


def clamped(year: int, month: int, day: int) -> dt.date:
    """A date; a day beyond the end of the month becomes its last day."""
    return dt.date(year, month, min(day, months.monthrange(year, month)[1]))


def _hours(amount: Fraction) -> dt.timedelta:
    return dt.timedelta(seconds=float(amount * 3600))


def _words(deadline: Deadline) -> str:
    kind = deadline.kind.replace("_", " ")
    return f"{float(deadline.amount):g} {kind}" if deadline.amount else kind
