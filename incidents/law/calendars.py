"""Working-day calendars as data (`calendars.yaml`).

A day is a working day if it is in `workdays`, or if it is neither on the weekend nor a holiday after
corrections. A date outside `from`..`to` has no answer: `CalendarGapError`, never a guess.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from incidents.law.errors import LawDataError, LawError, Problem
from incidents.law.shape import Shape, parse_date

FILE = "calendars.yaml"
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_ONE_DAY = dt.timedelta(days=1)
MonthDay = tuple[int, int]


class CalendarGapError(LawError):
    """A calendar has no data for a date.

    Attributes:
        calendar: id of the calendar.
    """

    def __init__(self, calendar: str) -> None:
        super().__init__(f"the calendar {calendar} has no data for this date; extend {FILE}")
        self.calendar = calendar


@dataclass(frozen=True, slots=True)
class Calendar:
    """The working days of one place.

    Attributes:
        id: name in the data.
        weekend: weekdays that are not worked, Monday is 0.
        first: first day with data.
        last: last day with data.
        holidays: days that are not worked, corrections applied.
        workdays: weekend days or holidays that are worked.
    """

    id: str
    weekend: frozenset[int]
    first: dt.date
    last: dt.date
    holidays: frozenset[dt.date]
    workdays: frozenset[dt.date]

    def is_open(self, day: dt.date, closed: Collection[MonthDay] = ()) -> bool:
        """Whether a day is a working day.

        Args:
            day: the day.
            closed: further closed days of every year, as (month, day).

        Raises:
            CalendarGapError: there is no data for the day.
        """
        if not self.first <= day <= self.last:
            raise CalendarGapError(self.id)
        if (day.month, day.day) in closed:
            return False
        return day in self.workdays or (day.weekday() not in self.weekend and day not in self.holidays)

    def next_open(self, day: dt.date, closed: Collection[MonthDay] = ()) -> dt.date:
        """The day itself if it is a working day, else the next one.

        Raises:
            CalendarGapError: the data end before one is found.
        """
        while not self.is_open(day, closed):
            day += _ONE_DAY
        return day

    def after(self, day: dt.date, count: int, closed: Collection[MonthDay] = ()) -> dt.date:
        """The `count`-th working day after a day.

        Args:
            day: start, itself never counted.
            count: 1 or more.
            closed: further closed days of every year.

        Raises:
            CalendarGapError: the data end before it is found.
        """
        for _ in range(count):
            day = self.next_open(day + _ONE_DAY, closed)
        return day


def parse_month_day(text: str) -> MonthDay | None:
    """Read `MM-DD`; None when it is no day of a leap year."""
    day = parse_date(f"2000-{text}")
    return (day.month, day.day) if day else None


def parse_calendars(document: object) -> dict[str, Calendar]:
    """Read the content of `calendars.yaml`.

    Args:
        document: the parsed YAML.

    Returns:
        Calendars by id, `same_as` resolved.

    Raises:
        LawDataError: with every problem found.
    """
    problems: list[Problem] = []
    shape = Shape(document, f"{FILE} ", problems)
    shape.text("source")
    inner = shape.inner("calendars")
    shape.done()
    calendars: dict[str, Calendar] = {}
    same: dict[str, str] = {}
    for name in inner.keys() if inner else ():  # a Shape is not a mapping
        entry = inner.inner(name) if inner else None
        if entry is None:
            problems.append(Problem(f"{FILE} calendars.{name}", "expected a mapping"))
        elif entry.has("same_as"):
            same[name] = entry.text("same_as")
            entry.done()
        else:
            calendars[name] = _calendar(name, entry)
    for name, other in same.items():
        if other in calendars:
            calendars[name] = replace(calendars[other], id=name)
        else:
            problems.append(Problem(f"{FILE} calendars.{name}.same_as", "not a calendar with days of its own"))
    if problems:
        raise LawDataError(problems)
    return calendars


def _calendar(name: str, shape: Shape) -> Calendar:
    weekend = shape.texts("weekend", lambda day: None if day in _DAYS else "expected mon ... sun")
    if len(set(weekend)) >= len(_DAYS):
        shape.problem("weekend", "no working day is left")
    first, last = shape.date("from"), shape.date("to")
    if first is None or last is None or first > last:
        shape.problem("to", "expected dates from and to, in this order")
    days = {key: _dates(shape, key) for key in ("holidays", "workdays", "add", "remove")}
    shape.done()
    return Calendar(
        id=name,
        weekend=frozenset(_DAYS.index(day) for day in weekend),
        first=first or dt.date.min,
        last=last or dt.date.min,
        holidays=(days["holidays"] | days["add"]) - days["remove"],
        workdays=days["workdays"],
    )


def _dates(shape: Shape, key: str) -> frozenset[dt.date]:
    texts = shape.texts(key, lambda day: None if parse_date(day) else "expected a quoted date 'YYYY-MM-DD'")
    if len(set(texts)) != len(texts):
        shape.problem(key, "a date is listed twice")
    return frozenset(day for text in texts if (day := parse_date(text)))


Calendars = Mapping[str, Calendar]
