"""The calendars against the library they were taken from; what differs is a listed correction."""

from __future__ import annotations

import datetime as dt
import re

import pytest

from incidents.law.vocabulary import DATA
from incidents.law.yamlfile import read_yaml_file

LIBRARY = "0.109"
# (calendar, day) -> why the data differ from the library; all are in calendars.md.
CORRECTED = {
    "br": "Carnival and Corpus Christi are optional days",
    "co": "the new holiday of mid July is not confirmed",
    "ec": "Carnival Monday and Tuesday are holidays",
    "eg": "29 January 2026 added, 25 January moved",
    "us_state_ny": "Saturday holidays are not moved to Friday",
    "us_state_vt": "the day after Thanksgiving counts as a working day",
}


@pytest.fixture(scope="module")
def rows() -> dict[str, tuple[str, str]]:
    """Calendar to (base in the library, corrections), as calendars.md lists them."""
    found = {}
    for line in (DATA / "calendars.md").read_text().splitlines():
        match = re.match(r"\| `(\w+)` \| ([^|]+) \| [^|]+ \| [^|]+ \| ?([^|]*) ?\|$", line)
        if match:
            found[match[1]] = (match[2].strip(), match[3].strip())
    return found


def test_every_calendar_is_listed_with_its_base(law, rows) -> None:
    assert set(rows) == set(law.calendars)


def test_corrections_are_in_the_list_and_nowhere_else(rows) -> None:
    written = read_yaml_file(DATA / "calendars.yaml")["calendars"]
    corrected = {name for name, entry in written.items() if entry.get("add") or entry.get("remove")}
    assert corrected <= set(CORRECTED)
    for name in corrected:
        assert rows[name][1], name


def test_the_days_are_those_of_the_library(law, rows) -> None:
    """Needs the library `holidays`, a tool of the developer: never computed at run time."""
    holidays = pytest.importorskip("holidays", reason="the library `holidays` is not installed")
    if holidays.__version__ != LIBRARY:
        pytest.skip(f"the calendars were taken from holidays {LIBRARY}, another version is installed")
    written = read_yaml_file(DATA / "calendars.yaml")["calendars"]
    for name, entry in written.items():
        base = rows[name][0]
        if "same_as" in entry:
            assert base == f"same as {entry['same_as']}"
            continue
        country, _, subdivision = base.partition("/")
        years = range(2024, int(entry["to"][:4]) + 1)
        theirs = holidays.country_holidays(country, subdiv=subdivision or None, years=years)
        ours = {dt.date.fromisoformat(day) for day in entry["holidays"]}
        own_weekend = law.calendars[name].weekend
        differing = {day for day in ours ^ set(theirs) if day.weekday() not in own_weekend}
        assert differing == set(), name
