"""The 18 EDPB examples as a gold test of the assessment flow, with near misses."""

from __future__ import annotations

from collections import Counter

import pytest

from incidents.law import Law
from incidents.law.cases import Case, check, read_cases
from incidents.law.vocabulary import DATA
from incidents.risk import assess_breach

DUTIES = {"doc": "eu-gdpr-33-5-register", "SA": "eu-gdpr-33-1-authority", "DS": "eu-gdpr-34-individuals"}
CASES = read_cases(DATA / "cases" / "edpb.yaml")
GOLD = [case for case in CASES if case.provenance != "own"]
NEAR = [case for case in CASES if case.provenance == "own"]
OWED = ("due", "due_without_fixed_time")


def outcome(case: Case, law: Law) -> dict[str, str]:
    """What the flow says about the three duties, from the score inputs and the recorded conclusion."""
    facts = {name: value for name, value in case.facts.items() if name != "risk"}
    found = assess_breach({"facts": facts, **case.assessment}, law)
    results = {e.duty: e.result for e in reversed(found.evaluations)}
    return {short: results[duty] for short, duty in DUTIES.items()}


def test_there_are_18_and_their_totals_are_those_of_the_guidelines(law: Law) -> None:
    assert [case.id for case in GOLD] == [f"edpb-{number:02}" for number in range(1, 19)]
    owed = Counter(short for case in GOLD for short, result in outcome(case, law).items() if result in OWED)
    assert owed == {"doc": 18, "SA": 12, "DS": 9}
    nobody = {"edpb-01", "edpb-06", "edpb-09", "edpb-10", "edpb-13", "edpb-15"}
    assert {case.id for case in GOLD if outcome(case, law)["SA"] not in OWED} == nobody
    authority_only = {
        case.id for case in GOLD if outcome(case, law)["SA"] in OWED and outcome(case, law)["DS"] not in OWED
    }
    assert authority_only == {"edpb-02", "edpb-08", "edpb-16"}


def test_where_the_outcomes_come_from_is_marked() -> None:
    marks = {case.id[-2:]: case.provenance for case in GOLD}
    assert {name for name, mark in marks.items() if mark == "P"} == {"01"}
    assert {name for name, mark in marks.items() if mark == "S"} == {"03", "08", "09", "13", "14", "16"}
    text = (DATA / "cases" / "edpb.yaml").read_text()
    assert text.count("from memory of the document; check") == list(marks.values()).count("M") == 11


def test_every_near_miss_stands_beside_its_case_and_differs_from_it(law: Law) -> None:
    assert len(NEAR) >= 30
    gold = {case.id: case for case in GOLD}
    changed = 0
    for case in NEAR:
        base = gold[case.id[:7]]
        assert case.facts != base.facts or case.assessment != base.assessment, case.id
        changed += outcome(case, law) != outcome(base, law)
    assert changed >= 40


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_flow_and_the_engine_agree(law: Law, case: Case) -> None:
    """The bridge is complete (or the flow would refuse), and the risk of the facts is the conclusion."""
    assert [str(verdict) for verdict in check(law, [case]) if not verdict.passed] == []
    concluded = case.assessment.get("conclusion", {}).get("risk")
    assert case.facts.get("risk") == concluded
    results = {e.duty: e.result for e in reversed(law.assess(case.facts))}
    assert outcome(case, law) == {short: results[duty] for short, duty in DUTIES.items()}


def test_the_score_is_too_high_or_too_low_where_the_guidelines_say_otherwise(law: Law) -> None:
    """A trusted recipient (09) and scale (11, 14), impersonation (17): the conclusion departs, with a reason."""
    departing = set()
    for case in GOLD:
        facts = {name: value for name, value in case.facts.items() if name != "risk"}
        found = assess_breach({"facts": facts, **case.assessment}, law)
        if found.departs:
            departing.add(case.id[-2:])
            assert found.conclusion is not None
            assert found.conclusion.reason
            assert found.conclusion.second
    assert {"09", "11", "14", "17"} <= departing
    assert departing <= {"02", "08", "09", "11", "14", "17"}
