"""The risk aids: ENISA's tables, the HIPAA test, and the flow in which a score never decides."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incidents.law import LawFactsError
from incidents.risk import assess_breach, four_factors, severity
from incidents.risk.enisa import BASE, CIRCUMSTANCES, EASE, LEVELS, MOVES, lines
from incidents.risk.hipaa import EXCEPTIONS, FACTORS

SECRET = "Jane Roe 555-12-3456"


def inputs(category="simple", ease="maximum", move="none", **circumstances):
    calm = {"confidentiality": "none", "integrity": "none", "availability": "none", "malicious_intent": "no"}
    data = {"category": category, "move": move, "reason": "because"}
    return {"data": [data], "ease_of_identification": ease} | calm | circumstances


# incident-methods 4.2: the published examples, with the assumptions stated there.
@pytest.mark.parametrize(
    ("document", "score", "level"),
    [
        (inputs(ease="negligible", malicious_intent="yes"), "0.75", "low"),
        (inputs("sensitive", availability="temporary", malicious_intent="yes"), "4.75", "very_high"),
        (
            inputs(ease="negligible", confidentiality="unknown_recipients", malicious_intent="yes"),
            "1.25",
            "low",
        ),
        (inputs("financial", confidentiality="unknown_recipients", malicious_intent="yes"), "4.00", "very_high"),
        (inputs("behavioural", confidentiality="known_recipients"), "2.25", "medium"),
        (inputs("financial", confidentiality="known_recipients"), "3.25", "high"),
        (inputs(malicious_intent="yes"), "1.50", "low"),
        (inputs("sensitive", availability="permanent", malicious_intent="yes"), "5.00", "very_high"),
        (
            inputs(confidentiality="known_recipients", integrity="recoverable", malicious_intent="yes"),
            "2.00",
            "medium",
        ),
    ],
)
def test_the_published_examples_come_out(document, score, level) -> None:
    found = severity(document)
    assert found.as_json()["score"] == [score, score]
    assert found.level == level
    assert found.missing == ()


@pytest.mark.parametrize(
    ("category", "move", "context"),
    [
        ("simple", "shows_wealth_or_status", 2),
        ("simple", "shows_sensitive_matters", 3),
        ("simple", "endangers_safety", 4),
        ("behavioural", "little_insight", 1),
        ("behavioural", "profile", 3),
        ("behavioural", "shows_sensitive_matters", 4),
        ("financial", "no_insight", 1),
        ("financial", "some_insight", 2),
        ("financial", "full_picture", 4),
        ("sensitive", "reveals_less", 3),
        ("sensitive", "reveals_little", 2),
        ("sensitive", "reveals_hardly_anything", 1),
    ],
)
def test_the_context_moves_a_category(category, move, context) -> None:
    assert severity(inputs(category, move=move)).context == context


def test_the_highest_category_counts_and_flags_do_not_change_the_score() -> None:
    document = inputs() | {"data": [{"category": "simple"}, {"category": "sensitive"}, {"category": "financial"}]}
    plain = severity(document)
    flagged = severity(document | {"individuals": 101, "unintelligible": True})
    assert plain.context == 4
    assert plain.score == flagged.score
    assert flagged.flags == ("more_than_100_individuals", "data_unintelligible")
    assert severity(document | {"individuals": 100, "unintelligible": False}).flags == ()


def test_what_is_unknown_gives_a_range_and_no_level_across_two_bands() -> None:
    found = severity({"data": [{"category": "financial"}], "ease_of_identification": "maximum"})
    assert found.as_json()["score"] == ["3.00", "5.00"]
    assert found.level is None
    assert found.levels == ("high", "very_high")
    assert found.missing == ("availability", "confidentiality", "integrity", "malicious_intent")
    assert any("unknown: " in line for line in lines(found))
    narrow = severity(inputs(availability="unknown"))
    assert (narrow.level, narrow.missing) == ("low", ("availability",))


words = {name: st.sampled_from([*table, "unknown"]) for name, table in CIRCUMSTANCES.items()}


@given(
    st.sampled_from([(category, move) for category in BASE for move in MOVES[category]]),
    st.sampled_from([*EASE, "unknown"]),
    st.fixed_dictionaries(words),
)
def test_a_score_lies_in_its_range_and_knowing_more_narrows_it(context, ease, circumstances) -> None:
    document = inputs(context[0], ease, context[1], **circumstances)
    found = severity(document)
    assert 0 < found.score[0] <= found.score[1] <= 6
    assert 0 <= found.circumstances[0] <= found.circumstances[1] <= 2
    assert (found.level is None) == (len(found.levels) > 1)
    known = {
        name: next(iter(CIRCUMSTANCES[name])) if word == "unknown" else word for name, word in circumstances.items()
    }
    narrower = severity(inputs(context[0], "limited" if ease == "unknown" else ease, context[1], **known))
    assert narrower.missing == ()
    assert found.score[0] <= narrower.score[0] == narrower.score[1] <= found.score[1]
    assert set(narrower.levels) <= set(found.levels)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"data": []}, "data"),
        ({"data": [{"category": SECRET}]}, "data[0].category"),
        ({"data": [{"category": "simple", "move": "profile", "reason": "x"}]}, "data[0].move"),
        ({"data": [{"category": "simple", "move": "endangers_safety"}]}, "data[0].reason"),
        ({"ease_of_identification": SECRET}, "ease_of_identification"),
        ({"confidentiality": True}, "confidentiality"),
        ({"individuals": -1}, "individuals"),
        ({"unintelligible": SECRET}, "unintelligible"),
        ({"score": 1}, "score"),
    ],
    ids=str,
)
def test_wrong_input_is_refused_with_its_path_and_without_its_value(change, path) -> None:
    with pytest.raises(LawFactsError) as caught:
        severity(inputs() | change)
    assert path in [problem.path for problem in caught.value.problems]
    assert SECRET not in str(caught.value)


NO_EXCEPTION = dict.fromkeys(EXCEPTIONS, False)
ALL_LOW = {name: {"weighs": "low", "reason": f"{name} is low"} for name in FACTORS}
REBUTTED = {"low_probability": True, "reason": "attested destruction", "decided_by": "privacy officer"}


@pytest.mark.parametrize(
    ("document", "result"),
    [
        ({}, "undetermined"),
        ({"phi": False}, "no_phi"),
        ({"phi": True, "secured": True}, "secured"),
        ({"phi": True, "secured": True, "factors": {}}, "secured"),
        ({"phi": True, "secured": False}, "breach"),
        ({"phi": True, "secured": False, "exceptions": NO_EXCEPTION}, "breach"),
        *(
            ({"phi": True, "secured": False, "exceptions": NO_EXCEPTION | {name: True}}, "exception")
            for name in EXCEPTIONS
        ),
        ({"phi": True, "secured": False, "factors": ALL_LOW}, "breach"),  # four low factors conclude nothing
        ({"phi": True, "secured": False, "factors": ALL_LOW, "conclusion": REBUTTED}, "low_probability"),
        (
            {"phi": True, "secured": False, "factors": ALL_LOW, "conclusion": REBUTTED | {"low_probability": False}},
            "breach",
        ),
    ],
)
def test_the_presumption_stands_until_it_is_rebutted_in_writing(document, result) -> None:
    found = four_factors(document)
    assert found.result == result
    if result == "breach":
        assert "presumed" in found.why[-1]


def test_open_questions_are_named() -> None:
    found = four_factors({"phi": True, "secured": False, "factors": {"mitigation": ALL_LOW["mitigation"]}})
    assert "factors.acquired_or_viewed" in found.missing
    assert "factors.mitigation" not in found.missing
    assert "exceptions.recipient_could_not_retain" in found.missing
    assert "conclusion" in found.missing


@pytest.mark.parametrize("left_out", FACTORS)
def test_low_probability_is_refused_while_a_factor_is_not_assessed(left_out) -> None:
    factors = {name: said for name, said in ALL_LOW.items() if name != left_out}
    with pytest.raises(LawFactsError) as caught:
        four_factors({"phi": True, "secured": False, "factors": factors, "conclusion": REBUTTED})
    assert [problem.path for problem in caught.value.problems] == ["conclusion.low_probability"]


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"factors": {"luck": {}}}, "factors.luck"),
        ({"factors": {"mitigation": {"weighs": SECRET, "reason": "x"}}}, "factors.mitigation.weighs"),
        ({"factors": {"mitigation": {"weighs": "low"}}}, "factors.mitigation.reason"),
        ({"exceptions": {"good_luck": True}}, "exceptions.good_luck"),
        ({"conclusion": {"reason": "x", "decided_by": "y"}}, "conclusion.low_probability"),
        ({"conclusion": {"low_probability": False, "reason": "x"}}, "conclusion.decided_by"),
        ({"phi": "yes"}, "phi"),
    ],
    ids=str,
)
def test_a_wrong_hipaa_document_is_refused_with_its_path(document, path) -> None:
    with pytest.raises(LawFactsError) as caught:
        four_factors(document)
    assert path in [problem.path for problem in caught.value.problems]
    assert SECRET not in str(caught.value)


FACTS = {
    "time_zone": "Europe/Madrid", "complete": True, "established_in": ["ES"], "role": ["controller"],
    "affected": [{"jurisdiction": "ES", "count": 100500}], "clocks": {"awareness": "2026-03-10T09:00"},
}  # fmt: skip


def result(found, duty):
    return next(e.result for e in found.evaluations if e.duty == duty)


def test_a_score_alone_never_decides(law) -> None:
    found = assess_breach({"facts": FACTS, "enisa": inputs("sensitive", malicious_intent="yes")}, law)
    assert found.severity.level == "very_high"
    assert found.conclusion is None
    assert found.facts.risk is None
    assert result(found, "eu-gdpr-33-1-authority") == "undetermined"
    tests = {test.duty: test for test in found.tests}
    assert tests["eu-gdpr-34-individuals"].met is None
    assert tests["eu-gdpr-34-individuals"].threshold == "high"
    assert "us-ca-individuals" not in tests


def test_the_conclusion_decides_and_the_tests_of_the_laws_are_shown(law) -> None:
    document = {
        "facts": FACTS,
        "enisa": inputs("financial", some := "maximum"),
        "conclusion": {"risk": "significant", "decided_by": "ana"},
        "tests": {"eu-gdpr-34-individuals": "no card data, passwords reset"},
    }
    assert some
    found = assess_breach(document, law)
    assert found.departs is False
    assert result(found, "eu-gdpr-33-1-authority") == "due"
    assert result(found, "eu-gdpr-34-individuals") == "not_required"
    tests = {test.duty: test for test in found.tests}
    assert (tests["eu-gdpr-33-1-authority"].met, tests["eu-gdpr-34-individuals"].met) == (True, False)
    assert tests["eu-gdpr-34-individuals"].reason == "no card data, passwords reset"
    assert found.as_json()["conclusion"]["decided_by"] == "ana"


@pytest.mark.parametrize(
    ("conclusion", "paths"),
    [
        ({"risk": "high", "decided_by": "ana"}, {"conclusion.reason", "conclusion.second"}),
        ({"risk": "high", "decided_by": "ana", "reason": "scale"}, {"conclusion.second"}),
        ({"risk": "high", "decided_by": "ana", "second": "ben"}, {"conclusion.reason"}),
        ({"risk": "high", "decided_by": "Ana", "reason": "scale", "second": " ana "}, {"conclusion.second"}),
        ({"risk": SECRET, "decided_by": "ana"}, {"conclusion.risk"}),
        ({"risk": "none"}, {"conclusion.decided_by"}),
    ],
)
def test_a_conclusion_that_departs_needs_a_bridge_and_a_second_person(law, conclusion, paths) -> None:
    with pytest.raises(LawFactsError) as caught:
        assess_breach({"facts": FACTS, "enisa": inputs(), "conclusion": conclusion}, law)
    assert paths <= {problem.path for problem in caught.value.problems}
    assert SECRET not in str(caught.value)
    agreed = {"risk": "high", "decided_by": "ana", "reason": "scale", "second": "ben"}
    assert assess_breach({"facts": FACTS, "enisa": inputs(), "conclusion": agreed}, law).departs is True


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({}, "facts"),
        ({"facts": FACTS | {"risk": "high"}}, "facts.risk"),
        ({"facts": FACTS | {"sectors": ["piracy"]}}, "facts.sectors[0]"),
        ({"facts": FACTS, "tests": {"no-such-duty": "x"}}, "tests.no-such-duty"),
        ({"facts": FACTS, "luck": 1}, "luck"),
        ({"facts": FACTS, "enisa": {"data": []}}, "enisa.data"),
        ({"facts": FACTS, "hipaa": {"phi": 1}}, "hipaa.phi"),
    ],
    ids=str,
)
def test_a_wrong_document_is_refused_with_its_path(law, document, path) -> None:
    with pytest.raises(LawFactsError) as caught:
        assess_breach(document, law)
    assert path in [problem.path for problem in caught.value.problems]


def test_levels_are_in_order() -> None:
    assert LEVELS == ("low", "medium", "high", "very_high")
