"""The law data: complete, linked, dated, cited; and the loader names file, duty and field."""

from __future__ import annotations

import datetime as dt
import re

import pytest

from incidents.law import Law, LawDataError, UnknownDutyError
from incidents.law.library import data_version, read_files
from incidents.law.places import COUNTRIES
from incidents.law.predicates import BUILDERS
from incidents.law.vocabulary import DATA


def test_nothing_was_dropped(law) -> None:
    assert len(list((DATA / "duties").glob("*.yaml"))) == 190
    assert len(law.duties) == 637
    assert sum(len(duty.stages) for duty in law.duties.values()) == 853


def test_every_duty_is_cited_sourced_and_dated(law) -> None:
    for duty in law.duties.values():
        assert duty.citation.strip(), duty.id
        assert duty.law.strip(), duty.id
        assert duty.sources or (duty.confidence, duty.evidence) == ("recalled", "none"), duty.id
        assert duty.obliged or duty.status == "no_duty", duty.id
        for day in (duty.effective_from, duty.effective_to):
            assert day is None or dt.date(1970, 1, 1) <= day <= dt.date(2035, 1, 1), duty.id
        for source in duty.sources:
            assert source.address is None or re.match(r"https?://[^ ]+$", source.address), duty.id


def test_every_predicate_of_the_schema_is_used_by_the_loader(law) -> None:
    assert len(BUILDERS) + 1 == 26  # the 25 of the schema less `defined`, which is built of others; `always` counts
    used = {leaf.predicate for duty in law.duties.values() for node in duty.nodes() for leaf in node.leaves()}
    assert used <= set(BUILDERS)


def test_triggered_by_repeats_what_when_says(law) -> None:
    """Where it does not, the relation is one in words: a register kept when another duty was *not* owed."""
    different = {
        duty.id
        for duty in law.duties.values()
        if set(duty.triggered_by) != {other for leaf in duty.when.leaves() for other in leaf.duties}
    }
    no_harm_registers = {"us-ak-ag-no-harm", "us-fl-ag-no-harm", "us-ny-ag-no-harm", "us-sd-ag-no-harm"}
    assert different == no_harm_registers


def test_a_superseded_law_has_a_last_day_and_a_proposal_no_date(law) -> None:
    for duty in law.duties.values():
        if duty.status == "superseded":
            assert duty.effective_to is not None, duty.id
        if duty.status == "proposal":
            assert duty.effective_to is None, duty.id


def test_a_proposal_never_fires_and_an_enacted_law_only_from_its_date(law) -> None:
    document = {"time_zone": "UTC", "clocks": {"awareness": "2199-01-01T00:00", "discovery": "2199-01-01T00:00"}}
    results = {e.duty: e.result for e in law.assess(document)}
    for duty in law.duties.values():
        if duty.status in ("proposal", "superseded") or (duty.status == "enacted" and duty.effective_from is None):
            assert results[duty.id] == "not_in_force", duty.id


def test_calendars_reach_at_least_the_end_of_2026(law) -> None:
    for calendar in law.calendars.values():
        assert calendar.first <= dt.date(2024, 1, 1) < dt.date(2026, 12, 31) <= calendar.last
        assert calendar.holidays
        assert not calendar.workdays & calendar.holidays
        years = {day.year for day in calendar.holidays}
        assert years == set(range(2024, calendar.last.year + 1)), calendar.id


def test_the_authority_directory_covers_the_area(law) -> None:
    directory = law.authorities
    assert {entry.code for entry in directory.authorities if "-" not in entry.code} == set(law.vocabulary.groups["EEA"])
    assert len(directory.of("DE")) == 18
    assert [entry.name for entry in directory.of("DE-HE")] == ["HBDI"]
    assert directory.of("NO")[0].languages == ("no",)
    assert directory.rules["DE"][0].startswith("private bodies")
    assert directory.as_of == "2026-09"


def test_codes_and_groups(law) -> None:
    assert len(COUNTRIES) == 250
    assert len(law.vocabulary.groups["EU"]) == 27
    area = law.vocabulary.area(("EEA", "AE!", "US-CA"))
    inside = [code for code in ("NO", "DE-HE", "AE", "AE-DIFC", "US", "US-CA", "US-NY", "GB") if code in area]
    assert inside == ["NO", "DE-HE", "AE", "US-CA"]
    assert "TV" in law.vocabulary.area(("ANY",))


def test_the_version_changes_with_every_edit_and_the_digest_with_its_duty() -> None:
    files = read_files(DATA)
    name = "duties/jp.yaml"
    edited = files | {name: files[name].replace(b"amount: 30", b"amount: 31", 1)}
    assert data_version(files) != data_version(edited)
    assert data_version(files) == data_version(dict(reversed(files.items())))
    before, after = Law.parse(files), Law.parse(edited)
    changed = [i for i, duty in before.duties.items() if duty.digest != after.duties[i].digest]
    assert changed == ["JP-APPI-26-PPC"]
    commented = Law.parse(files | {name: b"# a remark\n" + files[name]})
    assert commented.version != before.version
    assert commented.duty("JP-APPI-26-PPC").digest == before.duty("JP-APPI-26-PPC").digest


def test_a_duty_edited_on_the_fly_changes_the_answer() -> None:
    files = read_files(DATA)
    document = {
        "time_zone": "Europe/Madrid", "complete": True, "established_in": ["ES"], "role": ["controller"],
        "affected": [{"jurisdiction": "ES", "count": 1}], "risk": "risk", "clocks": {"awareness": "2026-03-10T09:00"},
    }  # fmt: skip
    edited = files | {"duties/eu.yaml": files["duties/eu.yaml"].replace(b"amount: 72", b"amount: 96", 1)}
    due = {e.duty: e.due_utc for e in reversed(Law.parse(edited).assess(document))}
    assert due["eu-gdpr-33-1-authority"].isoformat() == "2026-03-14T08:00:00+00:00"


def test_an_unknown_duty_has_its_own_error(law) -> None:
    with pytest.raises(UnknownDutyError):
        law.duty("no-such-duty")


HOURS = {"kind": "hours", "amount": 1, "from": "awareness"}


def stage(**deadline):
    return {"stages": [{"name": "main", "deadline": HOURS | deadline}]}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"colour": "red"}, "colour: unknown field"),
        ({"citation": ""}, "citation"),
        ({"status": "maybe"}, "status"),
        ({"binding": None}, "binding"),
        ({"effective_from": "2026-02-30"}, "effective_from"),
        ({"effective_from": "2026-02-02", "effective_to": "2026-02-01"}, "effective_to"),
        ({"status": "superseded"}, "effective_to"),
        ({"effective_clock": ["noticed"]}, "effective_clock[0]"),
        ({"effective_clock": []}, "effective_clock"),
        ({"time_zone": "Europe/Atlantis"}, "time_zone"),
        ({"jurisdictions": ["ZZ"]}, "jurisdictions[0]"),
        ({"content": ["poem"]}, "content[0]"),
        ({"recipient": {"kind": "king", "name": "x"}}, "recipient.kind"),
        ({"recipient": {"kind": "authority", "name": "x", "fax": "1"}}, "recipient.fax"),
        ({"sources": [{"title": "x", "url": "y"}]}, "sources[0].url"),
        ({"confidence": "sure"}, "confidence"),
        ({"evidence": "hearsay"}, "evidence"),
        ({"stages": []}, "stages"),
        ({"when": {"always": True, "any": []}}, "when"),
        ({"when": {"wibble": True}}, "when.wibble: unknown predicate"),
        ({"when": {"all": []}}, "when.all"),
        ({"when": {"all": [{"always": True}, {"condition": "is_bad"}]}}, "when.all[1].condition"),
        ({"when": {"not": {"risk_at_least": "grave"}}}, "when.not.risk_at_least"),
        ({"when": {"affected": {"in": ["ZZ"], "at_least": 1}}}, "when.affected.in[0]"),
        ({"when": {"affected": {"in": ["ES"]}}}, "when.affected.at_least"),
        ({"when": {"affected": {"at_least": 1}}}, "when.affected.in"),
        ({"when": {"nexus": {"in": ["ES"]}}}, "when.nexus.kinds"),
        ({"when": {"nexus": {"kinds": ["targets"]}}}, "when.nexus.in"),
        ({"when": {"affected": {"in": ["ES"], "at_least": 1, "scope": "some"}}}, "when.affected.scope"),
        ({"when": {"nexus": {"in": ["ES"], "kinds": ["owns"]}}}, "when.nexus.kinds[0]"),
        ({"when": {"sector_any": []}}, "when.sector_any"),
        ({"when": {"at_least": {"n": 3, "of": [{"always": True}]}}}, "when.at_least.n"),
        ({"when": {"level_at_least": {"scheme": "IL-DSR", "level": "huge"}}}, "when.level_at_least.level"),
        ({"when": {"number": {"fact": "cost_eur", "op": "about", "value": 1}}}, "when.number.op"),
        (
            {"when": {"number": {"fact": "cost_eur", "op": "gt", "value": {"fact": "cost_eur"}}}},
            "when.number.value.times",
        ),
        ({"when": {"clock_recorded": "noticed"}}, "when.clock_recorded"),
        ({"when": {"defined": "no_such"}}, "when.defined"),
        ({"when": {"duty_applies": ["other"]}}, "names a duty that does not exist: other"),
        ({"when": {"duty_applies": ["d"]}}, "duty_applies leads back"),
        ({"displaced_by": ["other"]}, "names a duty that does not exist: other"),
        ({"extends": "d"}, "names itself"),
        (stage(kind="fortnights"), "stages[0].deadline.kind"),
        (stage(amount=-1), "stages[0].deadline.amount"),
        (stage(kind="months", amount=0.5), "stages[0].deadline.amount"),
        (stage(**{"from": "noticed"}), "stages[0].deadline.from"),
        (stage(hurry=True), "stages[0].deadline.hurry: unknown field"),
        (stage(kind="business_days", calendar="atlantis"), "stages[0].deadline.calendar"),
        (stage(roll={"to": "next_business_day", "calendar": "xx"}), "stages[0].deadline.roll.at"),
        (stage(kind="calendar_days", cap=HOURS), "stages[0].deadline.cap: unknown field"),
        (stage(cap={"kind": "months", "amount": 1, "from": "awareness"}), "stages[0].deadline.cap.kind"),
        (stage(kind="relative", relation="near", to="d"), "stages[0].deadline.relation"),
        (stage(variants=[{"amount": 2}]), "stages[0].deadline.variants[0]"),
        (
            {
                "stages": [
                    {
                        "name": "main",
                        "deadline": {
                            "kind": "fixed_date",
                            "month": 2,
                            "day": 30,
                            "year_offset": 1,
                            "from": "awareness",
                        },
                    }
                ]
            },
            "deadline.day",
        ),
        ({"stages": [{"name": "a", "deadline": HOURS}, {"name": "a", "deadline": HOURS}]}, "stages"),
        ({"exemptions": [{"text": "x", "if": {"condition": "is_bad"}}]}, "exemptions[0].if.condition"),
        ({"delay_allowed": [{"ground": "x", "until": "later"}]}, "delay_allowed[0].until"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_field_is_named_with_file_and_duty(make_law, make_duty, fields, field) -> None:
    with pytest.raises(LawDataError) as caught:
        make_law(make_duty(**fields))
    named = [str(problem) for problem in caught.value.problems]
    assert any(problem.startswith("duties/xx.yaml d") and field in problem for problem in named), named


def test_circles_through_several_duties_are_refused(make_law, make_duty) -> None:
    circle = [make_duty("a", when={"duty_applies": ["b"]}), make_duty("b", when={"duty_applies": ["a"]})]
    with pytest.raises(LawDataError, match="duty_applies leads back"):
        make_law(*circle)


def test_the_same_id_twice_is_refused(make_law, make_duty) -> None:
    with pytest.raises(LawDataError, match="used twice"):
        make_law(make_duty(), make_duty())


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"weekend": ["sun", "someday"]}, "weekend[1]"),
        ({"to": "2025-01-01"}, "xx.to"),
        ({"holidays": ["2026-02-30"]}, "holidays[0]"),
        ({"holidays": ["2026-02-03", "2026-02-03"]}, "holidays"),
        ({"holiday": []}, "holiday: unknown field"),
        ({"same_as": "yy"}, "unknown field"),
    ],
    ids=str,
)
def test_a_wrong_calendar_is_named(make_law, make_duty, change, field) -> None:
    days = {"weekend": ["sat", "sun"], "from": "2026-01-01", "to": "2026-12-31", "holidays": []} | change
    with pytest.raises(LawDataError, match=re.escape(field)):
        make_law(make_duty(), calendars={"xx": days})


def test_a_missing_file_is_named() -> None:
    files = read_files(DATA)
    del files["calendars.yaml"]
    with pytest.raises(LawDataError, match=r"calendars\.yaml: file missing"):
        Law.parse(files)
