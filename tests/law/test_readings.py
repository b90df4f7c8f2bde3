"""Other readings of a limit stand beside the target and never replace it."""

from __future__ import annotations

import pytest

from incidents.law import Law, outer_bounds
from incidents.law.cases import shipped_cases
from incidents.law.evaluation import format_utc
from incidents.law.yamlfile import read_yaml_file

# name in a worked case -> (name of the reading, which of its two dates)
NAMES = {
    "reg1182_upper_utc": ("regulation_1182_71_hours", "until_utc"),
    "reg1182_art_3_4_utc": ("regulation_1182_71_art_3_4", "until_utc"),
    "reg1182_art_3_5_utc": ("regulation_1182_71_art_3_5", "until_utc"),
    "same_clock_time_utc": ("same_clock_time", "until_utc"),
    "soft_target_last_day": ("soft_target", "last_day"),
    "final_without_roll": ("without_roll", "last_day"),
    "from_awareness_utc": ("from_awareness", "until_utc"),
    "alternative_if_federal_calendar": ("federal_calendar", "last_day"),
}
# Other calendars or clocks that the facts of the case do not hold, and plain ends of days.
NOT_COMPUTED = {
    "end_of_day_utc", "reg1182_end_of_day_utc", "naive_no_holidays", "from_discovery_last_day",
    "if_29_january_is_worked", "day_limit_without_earlier_notice",
}  # fmt: skip
STATED = [
    (case["id"], case["facts"], expected["duty"], name, value)
    for path in shipped_cases()
    for case in read_yaml_file(path)
    for expected in case["expected"]
    for name, value in expected.get("other_readings", {}).items()
]


def test_every_reading_of_the_worked_cases_is_known_by_name() -> None:
    assert {name for *_, name, _ in STATED} == {*NAMES, *NOT_COMPUTED}
    assert sum(name in NAMES for *_, name, _ in STATED) >= 27


@pytest.mark.parametrize(
    ("facts", "duty", "name", "value"),
    [pytest.param(*entry[1:], id=f"{entry[0]}-{entry[3]}") for entry in STATED if entry[3] in NAMES],
)
def test_the_readings_of_the_worked_cases_come_out(law: Law, facts, duty, name, value) -> None:
    reading, field = NAMES[name]
    found = [r.as_json()[field] for r in law.readings(facts) if (r.duty, r.name) == (duty, reading)]
    assert value in found


def test_the_end_of_a_last_day_is_that_of_the_worked_cases(law: Law) -> None:
    """`end_of_day_utc` is 24:00 of the last day, which every limit in days runs to."""
    from incidents.law.timing import Limit

    checked = 0
    for _, facts, duty_id, name, value in STATED:
        if not name.endswith("end_of_day_utc"):
            continue
        known, duty = law.facts(facts), law.duty(duty_id)
        ends = {
            format_utc(Limit("", day=e.last_day).end(duty.zone or law_zone(known.time_zone)))
            for e in law.assess(known)
            if e.duty == duty_id and e.last_day
        }
        assert value in ends
        checked += 1
    assert checked >= 6


def law_zone(name: str):
    from incidents.law.localtime import zone

    return zone(name)


def gdpr(awareness: str, **fields: object) -> dict[str, object]:
    return {
        "time_zone": "Europe/Berlin", "complete": True, "established_in": ["DE"], "role": ["controller"],
        "affected": [{"jurisdiction": "DE", "count": 5}], "risk": "risk", "clocks": {"awareness": awareness},
    } | fields  # fmt: skip


@pytest.mark.parametrize(
    ("awareness", "target", "bound"),
    [
        ("2026-03-10T12:17", "2026-03-13T11:17:00Z", "2026-03-13T12:00:00Z"),
        ("2026-03-10T12:00", "2026-03-13T11:00:00Z", "2026-03-13T12:00:00Z"),  # the hour of the event is not counted
        ("2026-03-10T23:59:59", "2026-03-13T22:59:59Z", "2026-03-13T23:00:00Z"),
        ("2026-03-27T12:17", "2026-03-30T11:17:00Z", "2026-03-30T12:00:00Z"),  # clocks go forward in between
    ],
)
def test_the_outer_bound_of_regulation_1182_stands_beside_the_target(law: Law, awareness, target, bound) -> None:
    facts = gdpr(awareness)
    (initial,) = [e for e in law.assess(facts) if (e.duty, e.stage) == ("eu-gdpr-33-1-authority", "initial")]
    assert format_utc(initial.due_utc) == target
    assert list(initial.as_json()) == ["duty", "stage", "result", "due_utc", "last_day", "anchor", "why", "missing"]
    found = outer_bounds(law.readings(facts))["eu-gdpr-33-1-authority", "initial"]
    assert format_utc(found.until_utc) == bound
    assert found.later
    assert "not settled" in found.words


def test_only_a_limit_with_a_date_has_readings(law: Law) -> None:
    assert law.readings(gdpr("2026-03-10T09:00", risk="none")) == []
    assert law.readings(gdpr("2026-03-10T09:00", clocks={})) == []
    later = law.facts(gdpr("2026-03-10T09:00"))
    assert law.readings(later, later.clocks["awareness"].replace(year=2025)) == []


def test_a_stricter_aim_is_no_outer_bound(law: Law) -> None:
    facts = {
        "time_zone": "Asia/Tokyo", "complete": True, "established_in": ["JP"], "role": ["controller"],
        "affected": [{"jurisdiction": "JP", "count": 2000}], "clocks": {"awareness": "2026-04-04T10:00"},
    }  # fmt: skip
    found = {r.name: r for r in law.readings(facts) if r.stage == "preliminary_report"}
    assert {name: reading.later for name, reading in found.items()} == {"same_clock_time": False, "soft_target": False}
    assert ("JP-APPI-26-PPC", "preliminary_report") not in outer_bounds(law.readings(facts))


def test_no_reading_without_a_calendar_or_an_establishment(law: Law) -> None:
    facts = {
        "time_zone": "Europe/Warsaw", "complete": True, "role": ["controller"], "nexus": [
            {"kind": "targets", "jurisdiction": "PL"}], "affected": [{"jurisdiction": "PL", "count": 5}],
        "sectors": ["telecom"], "clocks": {"awareness": "2026-11-13T15:00", "initial_report_sent": "2026-11-13T16:00"},
    }  # fmt: skip
    for established in ([], ["RS"]):
        names = {r.name for r in law.readings(facts | {"established_in": established})}
        assert not any(name.startswith("regulation_1182_71_art") for name in names)


@pytest.mark.parametrize(
    ("deadline", "field"),
    [
        ({"readings": [{"name": "x", "rule": "wishful", "words": "w"}]}, "readings[0].rule"),
        ({"readings": [{"name": "x", "rule": "next_working_day", "words": "w"}]}, "readings[0].rule"),
        ({"readings": [{"name": "x", "rule": "hours_from_next_full_hour"}]}, "readings[0].words"),
        ({"readings": [{"rule": "hours_from_next_full_hour", "words": "w"}]}, "readings[0].name"),
        ({"readings": [{"name": "x", "rule": "hours_from_next_full_hour", "words": "w", "y": 1}]}, "readings[0].y"),
    ],
    ids=str,
)
def test_a_wrong_reading_is_named_by_the_loader(make_law, make_duty, deadline, field) -> None:
    from incidents.law import LawDataError

    with pytest.raises(LawDataError) as caught:
        make_law(make_duty(deadline={"kind": "hours", "amount": 72, "from": "awareness"} | deadline))
    assert any(field in str(problem) for problem in caught.value.problems)


def test_a_reading_from_a_clock_that_has_not_started_is_left_out(law: Law) -> None:
    facts = {
        "time_zone": "Asia/Kuala_Lumpur", "complete": True, "established_in": ["MY"], "role": ["controller"],
        "affected": [{"jurisdiction": "MY", "count": 2000}], "risk": "significant",
        "clocks": {"occurrence": "2026-08-20T08:00"},
    }  # fmt: skip
    (initial,) = [e for e in law.assess(facts) if (e.duty, e.stage) == ("MY-PDPA-12B-AUTH", "initial")]
    assert initial.result == "due"
    assert not [r for r in law.readings(facts) if r.duty == "MY-PDPA-12B-AUTH"]
    later = facts | {"clocks": {"occurrence": "2026-08-20T08:00", "awareness": "2026-08-20T10:00"}}
    assert [r.name for r in law.readings(later) if r.duty == "MY-PDPA-12B-AUTH"] == ["from_awareness"]
