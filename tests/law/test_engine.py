"""The order of the questions about one duty, and three-valued logic."""

from __future__ import annotations

import datetime as dt
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incidents.law.logic import All, Any, AtLeast, Finding, Leaf, Not


def only(law, document):
    (evaluation,) = law.assess(document)
    return evaluation


HOLD = {"ground": "law_enforcement", "if": {"condition": "law_enforcement_hold"}}


@pytest.mark.parametrize(
    ("fields", "result"),
    [
        ({}, "due"),
        ({"status": "no_duty"}, "not_required"),
        ({"status": "proposal"}, "not_in_force"),
        ({"status": "enacted"}, "not_in_force"),
        ({"status": "enacted", "effective_from": "2026-03-10"}, "due"),
        ({"status": "enacted", "effective_from": "2026-03-11"}, "not_in_force"),
        ({"effective_from": "2026-03-11"}, "not_in_force"),
        ({"status": "superseded", "effective_to": "2026-03-10"}, "due"),
        ({"status": "superseded", "effective_to": "2026-03-09"}, "not_in_force"),
        ({"effective_from": "2020-01-01", "effective_clock": ["discovery"]}, "undetermined"),
        ({"effective_from": "2027-01-01", "effective_clock": ["discovery", "awareness"]}, "not_in_force"),
        ({"when": {"always": False}}, "not_required"),
        ({"when": {"always": False}, "effective_from": "2020-01-01", "effective_clock": ["discovery"]}, "not_required"),
        ({"when": {"risk_at_least": "low"}}, "undetermined"),
        ({"binds": "authority"}, "not_required"),
        ({"binds": "internal_step"}, "not_required"),
        ({"binds": "member_state"}, "not_required"),
        ({"binding": "recommended"}, "recommended"),
        ({"binding": "voluntary"}, "voluntary"),
        ({"binding": "contract"}, "due"),
        ({"exemptions": [{"text": "never here", "if": {"always": False}}]}, "due"),
        ({"exemptions": [{"text": "for counsel"}]}, "due"),
        ({"exemptions": [{"text": "safe", "if": {"always": True}}]}, "exempt"),
        ({"exemptions": [{"text": "safe", "if": {"always": True}}], "binds": "authority"}, "not_required"),
        ({"delay_allowed": [{"ground": "hold", "if": {"always": True}}]}, "delayed"),
        ({"delay_allowed": [{"ground": "hold", "if": {"always": True}}], "binding": "voluntary"}, "delayed"),
        ({"delay_allowed": [{"ground": "for counsel"}]}, "due"),
    ],
    ids=str,
)
def test_the_result_of_one_duty(make_law, make_duty, facts, fields, result) -> None:
    evaluation = only(make_law(make_duty(**fields)), facts())
    assert evaluation.result == result
    assert evaluation.why
    assert all(reason.endswith("[Art 1]") for reason in evaluation.why)


def test_the_local_date_of_the_duty_decides_the_version(make_law, make_duty, facts) -> None:
    """22:30 in Berlin on 10 March is already 11 March in Seoul."""
    clocks = {"awareness": "2026-03-10T22:30"}
    seoul = make_duty(effective_from="2026-03-11", time_zone="Asia/Seoul")
    assert only(make_law(seoul), facts(clocks=clocks)).result == "due"
    assert only(make_law(make_duty(effective_from="2026-03-11")), facts(clocks=clocks)).result == "not_in_force"


def test_unknown_exemptions_and_delays_never_stop_a_duty(make_law, make_duty, facts) -> None:
    exemption = {"text": "good faith", "if": {"condition": "good_faith_acquisition"}}
    law = make_law(make_duty(exemptions=[exemption], delay_allowed=[HOLD]))
    evaluation = only(law, facts(complete=False))
    assert evaluation.result == "due"
    assert evaluation.missing == ("conditions.good_faith_acquisition", "conditions.law_enforcement_hold")


def test_a_hold_gets_a_date_when_it_is_lifted(make_law, make_duty, facts) -> None:
    then = {"kind": "calendar_days", "amount": 7, "from": "law_enforcement_clearance"}
    law = make_law(make_duty(delay_allowed=[HOLD | {"then": then}]))
    held = facts(conditions={"law_enforcement_hold": True})
    evaluation = only(law, held)
    assert (evaluation.result, evaluation.last_day) == ("delayed", None)
    assert evaluation.missing == ("clocks.law_enforcement_clearance",)
    held["clocks"]["law_enforcement_clearance"] = "2026-04-01T09:00"
    evaluation = only(law, held)
    assert (evaluation.result, str(evaluation.last_day)) == ("delayed", "2026-04-08")
    assert evaluation.anchor == "law_enforcement_clearance"


@pytest.mark.parametrize("side", ["displaces", "displaced_by"])
def test_displacement_from_either_side(make_law, make_duty, facts, side) -> None:
    special = make_duty("special", when={"condition": "major_incident"})
    general = make_duty("general")
    (special if side == "displaces" else general)[side] = ["general" if side == "displaces" else "special"]
    law = make_law(special, general)
    results = {e.duty: e for e in law.assess(facts(conditions={"major_incident": True}))}
    assert results["general"].result == "not_required"
    assert results["general"].why == ("displaced by special [Art 1]",)
    results = {e.duty: e for e in law.assess(facts())}
    assert results["general"].result == "due"
    results = {e.duty: e for e in law.assess(facts(complete=False))}
    assert (results["general"].result, results["general"].missing) == ("due", ("conditions.major_incident",))


def test_a_duty_that_applies_counts_even_when_it_is_exempt(make_law, make_duty, facts) -> None:
    first = make_duty("first", exemptions=[{"text": "safe", "if": {"always": True}}])
    second = make_duty("second", when={"duty_applies": ["first"]})
    third = make_duty("third", when={"duty_applies": ["proposed", "unwritten"]})
    proposed = make_duty("proposed", status="proposal")
    unwritten = make_duty("unwritten", status="no_duty")
    law = make_law(first, second, third, proposed, unwritten)
    results = {e.duty: e.result for e in law.assess(facts())}
    assert (results["first"], results["second"], results["third"]) == ("exempt", "due", "not_required")


def test_a_merged_duty_is_never_a_second_task(make_law, make_duty, facts) -> None:
    law = make_law(make_duty("a"), make_duty("b", merged_into="a"))
    assert [e.result for e in law.assess(facts())] == ["due", "not_required"]


def test_stages_exist_only_while_their_condition_holds(make_law, make_duty, facts) -> None:
    deadline = {"kind": "hours", "amount": 1, "from": "awareness"}
    stages = [
        {"name": "first", "deadline": deadline},
        {"name": "ongoing", "if": {"condition": "incident_ongoing"}, "deadline": deadline},
    ]
    law = make_law(make_duty(stages=stages))
    assert [e.stage for e in law.assess(facts())] == ["first"]
    assert [e.stage for e in law.assess(facts(conditions={"incident_ongoing": True}))] == ["first", "ongoing"]
    unknown = law.assess(facts(complete=False))
    assert [(e.result, e.missing) for e in unknown] == [("due", ()), ("undetermined", ("conditions.incident_ongoing",))]
    nothing = make_law(make_duty(stages=[stages[1]]))
    assert only(nothing, facts()).result == "not_required"


@pytest.mark.parametrize(
    ("role", "clocks", "anchor", "result"),
    [
        (["processor"], {"awareness": "2026-03-10T09:00"}, "awareness", "due"),
        (["processor"], {"processor_awareness": "2026-03-10T09:00"}, "processor_awareness", "due"),
        (["controller", "processor"], {"awareness": "2026-03-10T09:00"}, None, "not_started"),
        (
            ["controller", "processor"],
            {"awareness": "2026-03-12T09:00", "processor_awareness": "2026-03-10T09:00"},
            "processor_awareness",
            "due",
        ),
    ],
)
def test_the_clocks_of_a_processor(make_law, make_duty, facts, *, role, clocks, anchor, result) -> None:
    law = make_law(make_duty(obliged_role="processor"))
    evaluation = only(law, facts(role=role, clocks=clocks))
    assert (evaluation.result, evaluation.anchor) == (result, anchor)
    if anchor:
        assert evaluation.due_utc.isoformat() == "2026-03-13T08:00:00+00:00"


def test_extends_fills_empty_content_and_channels(make_law, make_duty) -> None:
    base = make_duty("base", content=["cause"], channels=["form"])
    law = make_law(base, make_duty("a", content=[], extends="base"), make_duty("b", channels=["post"], extends="base"))
    assert (law.duty("a").content, law.duty("a").channels) == (("cause",), ("form",))
    assert (law.duty("b").content, law.duty("b").channels) == (("nature_of_breach",), ("post",))


def test_an_instant_hides_what_had_not_happened_yet(law) -> None:
    document = {
        "time_zone": "Europe/Madrid", "complete": True, "established_in": ["ES"], "role": ["controller"],
        "affected": [{"jurisdiction": "ES", "count": 1}], "risk": "risk",
        "clocks": {"detection": "2026-03-01T09:00", "awareness": "2026-03-10T09:00"},
    }  # fmt: skip
    early = law.assess(document, dt.datetime(2026, 3, 5, tzinfo=dt.UTC))
    (evaluation,) = (e for e in early if e.duty == "eu-gdpr-33-1-authority" and e.stage == "initial")
    assert evaluation.result == "not_started"
    assert [e.as_json() for e in law.assess(document, dt.datetime(2027, 1, 1, tzinfo=dt.UTC))] == [
        e.as_json() for e in law.assess(document)
    ]


class Fixed:
    """A view that knows the truth of each leaf."""

    def __init__(self, truths):
        self.truths = truths

    def finding(self, leaf):
        truth = self.truths[leaf.text]
        return Finding(truth, () if truth is not None else (leaf.text,))


def leaf(name):
    return Leaf("test", name, lambda _: Finding(None))


KLEENE = [True, False, None]


@pytest.mark.parametrize(("a", "b"), list(itertools.product(KLEENE, KLEENE)))
def test_the_tables_of_kleene(a, b) -> None:
    view = Fixed({"a": a, "b": b})
    pair = (leaf("a"), leaf("b"))
    conjunction = False if False in (a, b) else None if None in (a, b) else True
    disjunction = True if True in (a, b) else None if None in (a, b) else False
    assert All(pair).truth(view) is conjunction
    assert Any(pair).truth(view) is disjunction
    assert AtLeast(2, pair).truth(view) is conjunction
    assert AtLeast(1, pair).truth(view) is disjunction
    assert Not((pair[0],)).truth(view) is (None if a is None else not a)


def nodes():
    leaves = st.sampled_from("abcd").map(leaf)
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, min_size=1, max_size=3).map(lambda parts: All(tuple(parts))),
            st.lists(inner, min_size=1, max_size=3).map(lambda parts: Any(tuple(parts))),
            st.lists(inner, min_size=2, max_size=3).map(lambda parts: AtLeast(2, tuple(parts))),
            inner.map(lambda part: Not((part,))),
        ),
        max_leaves=8,
    )


@given(nodes(), st.fixed_dictionaries({name: st.sampled_from(KLEENE) for name in "abcd"}))
def test_unknown_is_honest_and_its_facts_are_named(node, truths) -> None:
    """A known result stays when unknown leaves become known; an unknown one names unknown leaves only."""
    view = Fixed(truths)
    result, missing = node.truth(view), node.missing(view)
    unknown = [name for name, truth in truths.items() if truth is None]
    assert (result is None) == bool(missing)
    assert missing <= set(unknown)
    assert list(node.reasons(view))
    for answers in itertools.product([True, False], repeat=len(unknown)):
        known = Fixed(truths | dict(zip(unknown, answers, strict=True)))
        assert node.truth(known) is not None
        if result is not None:
            assert node.truth(known) is result


def test_a_duty_that_is_not_met_is_known_not_to_apply_whatever_version_governs(make_law, make_duty) -> None:
    """`duty_applies` is false when the other's `when` is, although no clock says whether it is in force."""
    other = make_duty("a", when={"always": False}, effective_from="2020-01-01")
    law = make_law(other, make_duty("b", when={"duty_applies": ["a"]}))
    results = {e.duty: e.result for e in law.assess({"time_zone": "UTC", "complete": True})}
    assert results["b"] == "not_required"


def test_the_words_of_a_law_without_a_number_are_among_the_reasons(make_law, make_duty, facts) -> None:
    def reason(**fields):
        law = make_law(make_duty(deadline={"kind": "words_only", "from": "awareness"} | fields))
        return law.assess(facts())[0].why[-1]

    assert reason(words=["without_undue_delay"]).startswith("no number in the law: without_undue_delay [")
    assert reason().startswith("no number in the law [")
