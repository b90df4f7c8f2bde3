"""Properties that must hold for every incident, tried on the worked cases with changes."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from incidents.law.cases import read_cases, shipped_cases
from incidents.law.evaluation import ADVISED, NOT_OWED, OWED

DOCUMENTS = [case.facts for path in shipped_cases() for case in read_cases(path)]
ZONES = ["Pacific/Auckland", "Asia/Kolkata", "Europe/Berlin", "America/St_Johns", "America/Los_Angeles", "UTC"]
# More people can end these: they are for small breaches only.
FOR_SMALL_BREACHES = {"us-hipaa-hhs-annual", "us-ftc-hbnr-ftc-annual"}

documents = st.sampled_from(DOCUMENTS)


def owed(assess, document) -> set[str]:
    return {e.duty for e in assess(document) if e.result in OWED | ADVISED}


@settings(max_examples=60)
@given(document=documents, more=st.integers(1, 2_000_000), data=st.data())
def test_more_people_never_end_a_duty(assess, document, more, data) -> None:
    affected = document["affected"]
    if not affected:
        return
    position = data.draw(st.integers(0, len(affected) - 1))
    grown = [dict(entry) for entry in affected]
    grown[position]["count"] = (grown[position].get("count") or 1) + more
    before = owed(assess, document)
    after = owed(assess, document | {"affected": grown})
    assert before - after <= FOR_SMALL_BREACHES


def test_only_the_duties_for_small_breaches_have_an_upper_bound(law) -> None:
    bounded = {duty.id for duty in law.duties.values() for leaf in duty.when.leaves() if "at most" in leaf.text}
    assert bounded == FOR_SMALL_BREACHES


moments = st.datetimes(dt.datetime(2024, 1, 5), dt.datetime(2029, 12, 20), timezones=st.just(dt.UTC))  # noqa: DTZ001


def moved(document, moment):
    """The same incident with its clocks shifted so that the earliest is at `moment`, written in UTC."""
    zone = ZoneInfo(document["time_zone"])
    instants = {name: dt.datetime.fromisoformat(text) for name, text in document.get("clocks", {}).items()}
    instants = {name: at if at.tzinfo else at.replace(tzinfo=zone) for name, at in instants.items()}
    if not instants:
        return document
    shift = moment.replace(second=0, microsecond=0) - min(instants.values())
    clocks = {name: (at + shift).astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for name, at in instants.items()}
    return document | {"clocks": clocks}


@settings(max_examples=60)
@given(document=documents, moment=moments)
def test_nothing_is_due_before_its_anchor(assess, duty_of, document, moment) -> None:
    document = moved(document, moment)
    home = ZoneInfo(document["time_zone"])
    for evaluation in assess(document):
        if evaluation.anchor is None:
            assert (evaluation.due_utc, evaluation.last_day) == (None, None)
            continue
        anchor = dt.datetime.fromisoformat(document["clocks"][evaluation.anchor])
        assert (evaluation.due_utc is None) != (evaluation.last_day is None)
        if evaluation.due_utc:
            assert evaluation.due_utc >= anchor
        else:
            zone = duty_of(evaluation.duty).zone or home
            assert evaluation.last_day >= anchor.astimezone(zone).date()


@settings(max_examples=60)
@given(document=documents, moment=moments, zone=st.sampled_from(ZONES))
def test_limits_in_hours_do_not_depend_on_the_zone(assess, duty_of, document, moment, zone) -> None:
    here = moved(document, moment)
    there = {(e.duty, e.stage): e for e in assess(here | {"time_zone": zone})}
    for evaluation in assess(here):
        if evaluation.due_utc is None:
            continue
        other = there.get((evaluation.duty, evaluation.stage))
        stage = next(s for s in duty_of(evaluation.duty).stages if s.name == evaluation.stage)
        if stage.deadline.roll or other is None or other.due_utc is None:
            continue  # noon of a working day is local; on another local date another version may govern
        assert other.due_utc == evaluation.due_utc


MASKS = [
    "affected", "affected.count", "established_in", "nexus", "network_operated_in", "role", "sectors",
    "entity_kinds", "incident_types", "breach_types", "data_categories", "legal_classes", "medium", "risk",
    "name_exposed", "encrypted", "encryption_key_compromised", "minors", "conditions.major_incident",
    "conditions.malicious", "conditions.good_faith_acquisition", "conditions.law_enforcement_hold",
    "conditions.household_activity", "conditions.incident_ongoing", "numbers.clients_affected",
    "numbers.complete_unavailability_minutes", "levels.CN-CAC-2025",
]  # fmt: skip


@settings(max_examples=100)
@given(document=documents, masked=st.lists(st.sampled_from(MASKS), min_size=1, max_size=4, unique=True))
def test_an_answer_that_asks_for_nothing_stays_when_everything_is_known(assess, document, masked) -> None:
    """Forgetting facts may make a duty undetermined or add open facts, never turn an answer around."""
    known = {(e.duty, e.stage): e for e in assess(document)}
    for evaluation in assess(document | {"unknown": [*document.get("unknown", []), *masked]}):
        if evaluation.missing:
            continue
        full = known[evaluation.duty, evaluation.stage]
        if evaluation.result in NOT_OWED:
            assert full.result in NOT_OWED  # which of the reasons is found first may differ
            continue
        assert (full.result, full.due_utc, full.last_day, full.anchor) == (
            evaluation.result,
            evaluation.due_utc,
            evaluation.last_day,
            evaluation.anchor,
        )


@settings(max_examples=60)
@given(document=documents, masked=st.lists(st.sampled_from(MASKS), max_size=4, unique=True))
def test_missing_names_only_what_is_open(assess, document, masked) -> None:
    document = document | {"unknown": [*document.get("unknown", []), *masked]}
    for evaluation in assess(document):
        assert list(evaluation.missing) == sorted(set(evaluation.missing))
        if evaluation.result == "undetermined":
            assert evaluation.missing
        for path in evaluation.missing:
            head, _, name = path.partition(".")
            if head in ("conditions", "numbers", "levels") and document.get("complete"):
                assert path in document["unknown"]
            if head == "clocks":
                assert path in document["unknown"] or name not in document.get("clocks", {})


@pytest.mark.parametrize("document", DOCUMENTS[:5])
def test_the_engine_is_a_function(assess, document) -> None:
    assert [e.as_json() for e in assess(document)] == [e.as_json() for e in assess(document)]
