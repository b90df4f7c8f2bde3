"""Local clocks and time zones.

A clock without an offset is read in the zone of the organisation. Where the local hour occurs twice
(clocks go back) an offset is demanded; where it does not exist (clocks go forward) the clock is refused.
"""

from __future__ import annotations

import datetime as dt
import re
from zoneinfo import ZoneInfo

from incidents.law.shape import EARLIEST_YEAR, LATEST_YEAR

_CLOCK = re.compile(r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?(?:Z|[+-]\d{2}:\d{2})?$")
_NAME = re.compile(r"^[A-Za-z0-9_+\-]+(?:/[A-Za-z0-9_+\-]+)*$")


def load_zone(name: str) -> ZoneInfo | None:
    """Find an IANA time zone.

    Args:
        name: for example `Europe/Madrid`.

    Returns:
        The zone, or None when there is none of this name.
    """
    if not _NAME.match(name):
        return None
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        return None


def zone(name: str) -> ZoneInfo:
    """A zone whose name was checked when it was read."""
    found = load_zone(name)
    assert found is not None
    return found


def to_utc(value: object, time_zone: str) -> dt.datetime | str:
    """Read a clock.

    Args:
        value: local ISO date and time, `2026-03-10T09:00`, or with an offset.
        time_zone: IANA name for a clock without an offset; "" when it is not known.

    Returns:
        The instant in UTC, or a complaint that does not repeat the value.
    """
    if not isinstance(value, str) or not _CLOCK.match(value):
        return "expected a quoted local date and time 'YYYY-MM-DDTHH:MM', with an offset if needed"
    try:
        moment = dt.datetime.fromisoformat(value)
    except ValueError:
        return "no such date or time"
    if not EARLIEST_YEAR <= moment.year <= LATEST_YEAR:
        return f"the year is not between {EARLIEST_YEAR} and {LATEST_YEAR}"
    place = load_zone(time_zone) if time_zone else dt.UTC  # a zone that is wrong is already reported
    return _localised(moment, place) if moment.tzinfo is None and place else moment.astimezone(dt.UTC)


def _localised(moment: dt.datetime, place: dt.tzinfo) -> dt.datetime | str:
    first = moment.replace(tzinfo=place, fold=0).astimezone(dt.UTC)
    second = moment.replace(tzinfo=place, fold=1).astimezone(dt.UTC)
    if first == second:
        return first
    if first.astimezone(place).replace(tzinfo=None) != moment:
        return "this local time does not exist: clocks went forward; write the time with its offset"
    return "this local time occurs twice: clocks went back; write the time with its offset"
