"""Deadline arithmetic against dates computed by hand."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incidents.law.calendars import CalendarGapError, parse_calendars
from incidents.law.timing import add_months


@pytest.fixture
def answer(make_law, make_duty, facts):
    """Asks a law of one duty with this deadline; gives the only evaluation, as JSON."""

    def ask(deadline, **fields):
        return outcome(make_law(make_duty(deadline=deadline)), facts, **fields)

    return ask


def outcome(law, facts, **fields):
    """The only evaluation, as JSON."""
    (evaluation,) = law.assess(facts(**fields))
    return evaluation.as_json()


@pytest.mark.parametrize(
    ("zone", "start", "hours", "due"),
    [
        # Autumn change in Madrid on 25 October 2026: 16:00 +02:00 is 14:00 UTC; 72 h later 15:00 local.
        ("Europe/Madrid", "2026-10-23T16:00", 72, "2026-10-26T14:00:00Z"),
        # Spring change in Berlin on 29 March 2026: 12:00 +01:00 is 11:00 UTC; 24 h later 13:00 local.
        ("Europe/Berlin", "2026-03-28T12:00", 24, "2026-03-29T11:00:00Z"),
        ("Europe/Rome", "2026-05-12T23:59", 72, "2026-05-15T21:59:00Z"),
        ("Europe/Amsterdam", "2028-02-27T10:00", 72, "2028-03-01T09:00:00Z"),  # over 29 February
        ("Asia/Kolkata", "2025-12-31T20:15", 6, "2025-12-31T20:45:00Z"),  # half-hour zone, over New Year
        ("Asia/Shanghai", "2026-07-15T23:00", 0.5, "2026-07-15T15:30:00Z"),
        ("Europe/Berlin", "2026-10-25T02:30+02:00", 1, "2026-10-25T01:30:00Z"),  # the first 02:30
        ("Europe/Berlin", "2026-10-25T02:30+01:00", 1, "2026-10-25T02:30:00Z"),  # the second
    ],
)
def test_hours_are_elapsed_time(answer, zone, start, hours, due) -> None:
    deadline = {"kind": "hours", "amount": hours, "from": "awareness"}
    got = answer(deadline, time_zone=zone, clocks={"awareness": start})
    assert (got["result"], got["due_utc"], got["last_day"], got["anchor"]) == ("due", due, None, "awareness")


@pytest.mark.parametrize(
    ("deadline", "start", "last_day"),
    [
        ({"kind": "calendar_days", "amount": 30}, "2026-03-10T09:00", "2026-04-09"),
        ({"kind": "calendar_days", "amount": 30}, "2026-03-10T23:59", "2026-04-09"),
        ({"kind": "calendar_days", "amount": 30, "count_rule": "start_day_is_day_1"}, "2026-03-10T23:59", "2026-04-08"),
        ({"kind": "calendar_days", "amount": 1}, "2028-02-28T09:00", "2028-02-29"),
        ({"kind": "months", "amount": 1}, "2026-10-31T09:00", "2026-11-30"),
        ({"kind": "months", "amount": 1}, "2027-01-31T09:00", "2027-02-28"),
        ({"kind": "months", "amount": 1}, "2028-01-31T09:00", "2028-02-29"),
        ({"kind": "months", "amount": 24}, "2028-02-29T09:00", "2030-02-28"),
        ({"kind": "months", "amount": 1}, "2026-12-31T09:00", "2027-01-31"),
        ({"kind": "end_of_year_plus_days", "amount": 60}, "2026-01-01T00:10", "2027-03-01"),
        ({"kind": "end_of_year_plus_days", "amount": 60}, "2027-12-31T23:50", "2028-02-29"),
        ({"kind": "fixed_date", "month": 3, "day": 1, "year_offset": 1}, "2026-12-31T23:50", "2027-03-01"),
        ({"kind": "fixed_date", "month": 2, "day": 29, "year_offset": 1}, "2026-06-01T09:00", "2027-02-28"),
        # 1 May is a holiday, 9 May a working Saturday.
        ({"kind": "business_days", "amount": 1, "calendar": "xx"}, "2026-04-30T09:00", "2026-05-04"),
        ({"kind": "business_days", "amount": 5, "calendar": "xx"}, "2026-05-04T09:00", "2026-05-09"),
        ({"kind": "business_days", "amount": 1, "calendar": "xx"}, "2026-05-02T09:00", "2026-05-04"),
        (
            {"kind": "business_days", "amount": 1, "calendar": "xx", "closed": ["05-04"]},
            "2026-05-02T09:00",
            "2026-05-05",
        ),
        ({"kind": "business_days", "amount": 4, "calendar": "established_in"}, "2026-05-04T09:00", "2026-05-08"),
    ],
)
def test_days_and_months_are_local_dates(answer, deadline, start, last_day) -> None:
    got = answer({"from": "awareness", **deadline}, clocks={"awareness": start}, established_in=["KE", "DE-HE"])
    assert (got["result"], got["last_day"], got["due_utc"]) == ("due", last_day, None)


def test_days_are_counted_in_the_zone_of_the_duty(make_law, make_duty, facts) -> None:
    """22:30 in Berlin on 10 March is 06:30 on 11 March in Tokyo."""
    deadline = {"kind": "calendar_days", "amount": 1, "from": "awareness"}
    tokyo = make_law(make_duty(deadline=deadline, time_zone="Asia/Tokyo"))
    home = make_law(make_duty(deadline=deadline))
    clocks = {"awareness": "2026-03-10T22:30"}
    assert outcome(tokyo, facts, clocks=clocks)["last_day"] == "2026-03-12"
    assert outcome(home, facts, clocks=clocks)["last_day"] == "2026-03-11"


@pytest.mark.parametrize(
    ("deadline", "start"),
    [
        ({"kind": "business_days", "amount": 1, "calendar": "xx"}, "2026-12-31T09:00"),
        ({"kind": "business_days", "amount": 3, "calendar": "xx"}, "2025-12-20T09:00"),
        ({"kind": "months", "amount": 12, "roll": {"to": "next_business_day", "calendar": "xx"}}, "2026-03-10T09:00"),
    ],
)
def test_a_year_without_calendar_is_refused(make_law, make_duty, facts, deadline, start) -> None:
    law = make_law(make_duty(deadline={"from": "awareness", **deadline}))
    got = outcome(law, facts, clocks={"awareness": start})
    assert (got["result"], got["last_day"], got["missing"]) == ("undetermined", None, ["calendars.xx"])


def test_the_calendar_of_the_establishment_must_exist(make_law, make_duty, facts) -> None:
    deadline = {"kind": "business_days", "amount": 1, "calendar": "established_in", "from": "awareness"}
    law = make_law(make_duty(deadline=deadline))
    assert outcome(law, facts, established_in=["KE"])["missing"] == ["calendars.ke"]
    assert outcome(law, facts)["missing"] == ["established_in"]


ROLL = {"to": "next_business_day", "calendar": "xx", "at": "12:00"}


@pytest.mark.parametrize(
    ("unless", "start", "due"),
    [
        (None, "2026-05-01T10:00", "2026-05-04T10:00:00Z"),  # Saturday 2 May, moved to Monday noon
        (None, "2026-05-08T10:00", "2026-05-09T08:00:00Z"),  # a working Saturday stays
        ({"condition": "weekend_relief_refused"}, "2026-05-01T10:00", "2026-05-02T08:00:00Z"),
    ],
)
def test_an_hour_limit_on_a_closed_day_moves_to_local_noon(answer, unless, start, due) -> None:
    roll = ROLL | ({"unless": unless} if unless else {})
    deadline = {"kind": "hours", "amount": 24, "from": "awareness", "roll": roll}
    conditions = {"weekend_relief_refused": unless is not None}
    got = answer(deadline, clocks={"awareness": start}, conditions=conditions)
    assert got["due_utc"] == due


def test_a_roll_that_may_not_apply_keeps_the_earlier_date(answer) -> None:
    roll = ROLL | {"unless": {"condition": "weekend_relief_refused"}}
    deadline = {"kind": "hours", "amount": 24, "from": "awareness", "roll": roll}
    got = answer(deadline, clocks={"awareness": "2026-05-01T10:00"}, complete=False)
    assert got["due_utc"] == "2026-05-02T08:00:00Z"
    assert got["missing"] == ["conditions.weekend_relief_refused"]


CAP = {
    "kind": "hours",
    "amount": 24,
    "from": "awareness",
    "waived_if": {"clock_more_than": {"later": "classification", "earlier": "awareness", "hours": 24}},
}


@pytest.mark.parametrize(
    ("awareness", "classification", "due", "anchor"),
    [
        ("2026-03-10T09:00", "2026-03-10T12:00", "2026-03-10T15:00:00Z", "classification"),
        ("2026-03-10T09:00", "2026-03-11T07:00", "2026-03-11T08:00:00Z", "awareness"),
        ("2026-03-10T09:00", "2026-03-11T09:00", "2026-03-11T08:00:00Z", "awareness"),  # exactly 24 h: not waived
        ("2026-03-10T09:00", "2026-03-11T09:01", "2026-03-11T12:01:00Z", "classification"),
    ],
)
def test_a_cap_holds_unless_waived(answer, awareness, classification, due, anchor) -> None:
    deadline = {"kind": "hours", "amount": 4, "from": "classification", "cap": CAP}
    clocks = {"awareness": awareness, "classification": classification}
    got = answer(deadline, clocks=clocks)
    assert (got["due_utc"], got["anchor"]) == (due, anchor)


def test_a_cap_without_or_with_an_unknown_waiver_holds(answer) -> None:
    clocks = {"awareness": "2026-03-10T09:00", "classification": "2026-03-12T09:00"}
    cap = {"kind": "hours", "amount": 24, "from": "awareness"}
    deadline = {"kind": "hours", "amount": 4, "from": "classification", "cap": cap}
    got = answer(deadline, clocks=clocks)
    assert (got["due_utc"], got["missing"]) == ("2026-03-11T08:00:00Z", [])
    waivable = deadline | {"cap": cap | {"waived_if": {"condition": "malicious"}}}
    got = answer(waivable, clocks=clocks, complete=False)
    assert (got["due_utc"], got["missing"]) == ("2026-03-11T08:00:00Z", ["conditions.malicious"])
    got = answer(waivable, clocks=clocks, conditions={"malicious": True})
    assert (got["due_utc"], got["missing"]) == ("2026-03-12T12:00:00Z", [])


@pytest.mark.parametrize(("hours", "due", "day"), [(30, "2026-03-11T14:00:00Z", None), (40, None, "2026-03-11")])
def test_a_day_runs_to_midnight_when_it_is_compared_with_hours(answer, hours, due, day) -> None:
    """One day after 10 March ends at 24:00 on the 11th; 30 h after 09:00 is 15:00 that day, 40 h is 01:00 after."""
    further = [{"kind": "hours", "amount": hours, "from": "awareness"}]
    got = answer({"kind": "calendar_days", "amount": 1, "from": "awareness", "earlier_of": further})
    assert (got["due_utc"], got["last_day"]) == (due, day)


def test_the_first_true_variant_replaces_the_amount(make_law, make_duty, facts) -> None:
    variants = [{"if": {"entity_any": ["small_scale_agent"]}, "amount": 6}]
    deadline = {"kind": "calendar_days", "amount": 3, "from": "awareness", "variants": variants}
    law = make_law(make_duty(deadline=deadline))
    assert outcome(law, facts)["last_day"] == "2026-03-13"
    assert outcome(law, facts, entity_kinds=["small_scale_agent"])["last_day"] == "2026-03-16"
    unknown = outcome(law, facts, complete=False)
    assert (unknown["last_day"], unknown["missing"]) == ("2026-03-13", ["entity_kinds"])


def test_the_earlier_of_two_wins_and_names_its_clock(make_law, make_duty, facts) -> None:
    deadline = {
        "kind": "calendar_days",
        "amount": 45,
        "from": "determination",
        "earlier_of": [{"kind": "event", "from": "individual_notice"}],
    }
    law = make_law(make_duty(deadline=deadline))
    both = {"awareness": "2026-03-01T09:00", "determination": "2026-03-10T09:00"}
    got = outcome(law, facts, clocks={**both, "individual_notice": "2026-04-02T23:30"})
    assert (got["last_day"], got["anchor"]) == ("2026-04-02", "individual_notice")
    got = outcome(law, facts, clocks={**both, "individual_notice": "2026-05-02T09:00"})
    assert (got["last_day"], got["anchor"]) == ("2026-04-24", "determination")
    got = outcome(law, facts, clocks={"awareness": "2026-03-01T09:00", "individual_notice": "2026-05-02T09:00"})
    assert (got["last_day"], got["anchor"]) == ("2026-05-02", "individual_notice")
    got = outcome(law, facts)
    assert (got["result"], got["missing"]) == ("not_started", ["clocks.determination", "clocks.individual_notice"])


def test_earliest_and_latest_anchors(make_law, make_duty, facts) -> None:
    clocks = ["awareness", "discovery"]
    first = make_law(make_duty(deadline={"kind": "calendar_days", "amount": 1, "from_earliest_of": clocks}))
    last = make_law(make_duty(deadline={"kind": "calendar_days", "amount": 1, "from_latest_of": clocks}))
    both = {"awareness": "2026-03-10T09:00", "discovery": "2026-03-12T09:00"}
    assert outcome(first, facts, clocks=both)["last_day"] == "2026-03-11"
    assert outcome(last, facts, clocks=both)["last_day"] == "2026-03-13"
    assert outcome(first, facts)["last_day"] == "2026-03-11"
    assert outcome(last, facts)["missing"] == ["clocks.discovery"]
    assert outcome(last, facts)["result"] == "not_started"


def test_words_only_gives_no_date_and_needs_a_clock_only_where_it_says_so(make_law, make_duty, facts) -> None:
    words = {"kind": "words_only", "from": "individual_notice", "words": ["promptly"]}
    assert outcome(make_law(make_duty(deadline=words)), facts)["result"] == "due_without_fixed_time"
    law = make_law(make_duty(deadline=words | {"needs_anchor": True}))
    assert outcome(law, facts)["result"] == "not_started"
    clocks = {"awareness": "2026-03-10T09:00", "individual_notice": "2026-03-11T09:00"}
    got = outcome(law, facts, clocks=clocks)
    assert (got["result"], got["due_utc"], got["last_day"]) == ("due_without_fixed_time", None, None)


def test_a_clock_marked_unknown_is_undetermined_not_unstarted(make_law, make_duty, facts) -> None:
    law = make_law(make_duty())
    got = outcome(law, facts, unknown=["clocks.awareness"])
    assert (got["result"], got["missing"]) == ("undetermined", ["clocks.awareness"])


def test_corrections_and_references_of_calendars() -> None:
    days = {
        "weekend": ["fri", "sat"],
        "from": "2026-01-01",
        "to": "2026-01-31",
        "holidays": ["2026-01-05", "2026-01-06"],
    }
    document = {
        "source": "test",
        "calendars": {"a": days | {"add": ["2026-01-07"], "remove": ["2026-01-06"]}, "b": {"same_as": "a"}},
    }
    calendars = parse_calendars(document)
    open_days = [day for day in range(1, 12) if calendars["a"].is_open(dt.date(2026, 1, day))]
    assert open_days == [1, 4, 6, 8, 11]
    with pytest.raises(CalendarGapError) as caught:
        calendars["b"].is_open(dt.date(2026, 2, 1))
    assert caught.value.calendar == "b"


@given(st.dates(dt.date(1990, 1, 1), dt.date(2150, 1, 1)), st.integers(0, 600), st.integers(0, 600))
def test_months_keep_the_day_or_clamp_it(day, first, second) -> None:
    moved = add_months(day, first)
    assert (moved.year * 12 + moved.month) - (day.year * 12 + day.month) == first
    assert moved.day == day.day or (moved.day < day.day and (moved + dt.timedelta(days=1)).day == 1)
    assert add_months(day, first + second).replace(day=1) == add_months(moved, second).replace(day=1)
    assert add_months(day, first) <= add_months(day, first + 1)
