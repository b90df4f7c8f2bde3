"""Facts are read strictly; every problem is named by its path, all together, and no value is repeated."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incidents.law import Facts, LawFactsError
from incidents.law.localtime import to_utc
from incidents.law.yamlfile import YamlError, read_yaml
from ledger.errors import InputError

SECRET = "Jane Roe 555-12-3456"


def paths(vocabulary, document) -> list[str]:
    with pytest.raises(LawFactsError) as caught:
        Facts.parse(document, vocabulary)
    return [problem.path for problem in caught.value.problems]


@pytest.fixture(scope="module")
def vocabulary(law):
    return law.vocabulary


BASE = {"time_zone": "Europe/Berlin"}


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"time_zone": "../../etc/passwd"}, "time_zone"),
        ({"time_zone": None}, "time_zone"),
        ({"colour": "red"}, "colour"),
        ({"complete": "yes"}, "complete"),
        ({"encrypted": None}, "encrypted"),
        ({"encrypted": 1}, "encrypted"),
        ({"risk": "enormous"}, "risk"),
        ({"risk": None}, "risk"),
        ({"medium": "parchment"}, "medium"),
        ({"sectors": ["general", "piracy"]}, "sectors[1]"),
        ({"sectors": "general"}, "sectors"),
        ({"role": ["vendor"]}, "role[0]"),
        ({"established_in": ["ZZ"]}, "established_in[0]"),
        ({"established_in": ["us-ca"]}, "established_in[0]"),
        ({"established_in": ["US-XX"]}, "established_in[0]"),
        ({"established_in": ["EU"]}, "established_in[0]"),
        ({"established_in": [False]}, "established_in[0]"),
        ({"network_operated_in": [5]}, "network_operated_in[0]"),
        ({"affected": [{"jurisdiction": "ZZ"}]}, "affected[0].jurisdiction"),
        ({"affected": [{"count": 3}]}, "affected[0].jurisdiction"),
        ({"affected": [{"jurisdiction": "ES", "count": -1}]}, "affected[0].count"),
        ({"affected": [{"jurisdiction": "ES", "count": 1.5}]}, "affected[0].count"),
        ({"affected": [{"jurisdiction": "ES", "count": True}]}, "affected[0].count"),
        ({"affected": [{"jurisdiction": "ES", "count": 10**12}]}, "affected[0].count"),
        ({"affected": [{"jurisdiction": "ES", "people": 3}]}, "affected[0].people"),
        ({"affected": [{"jurisdiction": "ES", "count": 3, "minors": {"under_18": 4}}]}, "affected[0].minors"),
        (
            {"affected": [{"jurisdiction": "ES", "minors": {"under_18": 1, "under_14": 2}}]},
            "affected[0].minors.under_14",
        ),
        ({"affected": [{"jurisdiction": "ES", "minors": {"under_21": 1}}]}, "affected[0].minors.under_21"),
        ({"minors": False, "affected": [{"jurisdiction": "ES", "minors": {"under_18": 1}}]}, "affected[0].minors"),
        ({"nexus": [{"kind": "ownership", "jurisdiction": "ES"}]}, "nexus[0].kind"),
        ({"nexus": [{"kind": "targets"}]}, "nexus[0].jurisdiction"),
        ({"levels": {"CN-CAC-2025": "biggest"}}, "levels.CN-CAC-2025"),
        ({"levels": {"CN-CAC-1999": "major"}}, "levels.CN-CAC-1999"),
        ({"conditions": {"is_bad": True}}, "conditions.is_bad"),
        ({"conditions": {"malicious": "maybe"}}, "conditions.malicious"),
        ({"conditions": ["malicious"]}, "conditions"),
        ({"numbers": {"cost_eur": -1}}, "numbers.cost_eur"),
        ({"numbers": {"cost_eur": "100 EUR"}}, "numbers.cost_eur"),
        ({"numbers": {"cost_eur": float("nan")}}, "numbers.cost_eur"),
        ({"numbers": {"cost_usd": 1}}, "numbers.cost_usd"),
        ({"clocks": {"noticed": "2026-03-10T09:00"}}, "clocks.noticed"),
        ({"clocks": {"awareness": "2026-03-10"}}, "clocks.awareness"),
        ({"clocks": {"awareness": "2026-02-30T09:00"}}, "clocks.awareness"),
        ({"clocks": {"awareness": "2026-03-10T24:01"}}, "clocks.awareness"),
        ({"clocks": {"awareness": "0001-03-10T09:00"}}, "clocks.awareness"),
        ({"clocks": {"awareness": 1773133200}}, "clocks.awareness"),
        ({"clocks": {"awareness": "2026-10-25T02:30"}}, "clocks.awareness"),  # occurs twice
        ({"clocks": {"awareness": "2026-03-29T02:30"}}, "clocks.awareness"),  # does not exist
        ({"clocks": {"occurrence": "2026-03-10T09:00", "discovery": "2026-03-09T09:00"}}, "clocks.discovery"),
        ({"unknown": ["weather"]}, "unknown[0]"),
        ({"unknown": ["conditions.is_bad"]}, "unknown[0]"),
        ({"unknown": ["clocks.noticed"]}, "unknown[0]"),
    ],
    ids=str,
)
def test_a_wrong_fact_is_named_by_its_path(vocabulary, fields, path) -> None:
    assert path in paths(vocabulary, BASE | fields)


@pytest.mark.parametrize(
    ("first", "later"),
    [
        ("occurrence", "determination"),
        ("occurrence", "detection"),
        ("occurrence", "suspicion"),
        ("occurrence", "initial_report_sent"),
        ("occurrence", "processor_awareness"),
        ("detection", "determination"),
        ("detection", "classification"),
        ("detection", "individual_notice"),
        ("discovery", "individual_notice"),
        ("initial_report_sent", "latest_intermediate_report_sent"),
        ("end_of_impact", "end_of_impact_notification_sent"),
        ("processor_detection", "processor_determination"),
    ],
)
def test_clocks_in_an_impossible_order_are_refused_and_at_the_same_minute_are_not(vocabulary, first, later) -> None:
    def document(early: str, late: str):
        return BASE | {"clocks": {first: early, later: late}}

    assert paths(vocabulary, document("2026-03-10T09:00", "2026-03-10T08:59")) == [f"clocks.{later}"]
    Facts.parse(document("2026-03-10T09:00", "2026-03-10T09:00"), vocabulary)
    Facts.parse(document("2026-03-10T09:00", "2026-03-10T09:01"), vocabulary)


@pytest.mark.parametrize(
    "clocks",
    [
        {"awareness": "2026-03-10T09:00", "detection": "2026-03-11T09:00"},  # told by somebody else first
        {"detection": "2026-03-10T09:00", "occurrence": "2026-01-10T09:00"},
        {"determination": "2026-03-10T09:00", "awareness": "2026-03-11T09:00"},
        {"corrective_measure_available": "2026-03-10T09:00", "occurrence": "2026-03-11T09:00"},
    ],
    ids=str,
)
def test_an_order_that_can_happen_is_taken(vocabulary, clocks) -> None:
    Facts.parse(BASE | {"clocks": clocks}, vocabulary)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"encrypted": False, "encryption_key_compromised": True}, "encryption_key_compromised"),
        ({"encrypted": True, "medium": "paper"}, "encrypted"),
        ({"minors": False, "legal_classes": ["children_under_14"]}, "legal_classes"),
        ({"minors": True, "affected": [{"jurisdiction": "ES", "minors": {"under_18": 0}}]}, "minors"),
        (
            {"conditions": {"suspected_only": True}, "clocks": {"confirmation": "2026-03-10T09:00"}},
            "conditions.suspected_only",
        ),
        (
            {"conditions": {"incident_ongoing": True}, "clocks": {"incident_closed": "2026-03-10T09:00"}},
            "conditions.incident_ongoing",
        ),
        (
            {"conditions": {"malicious": False, "malicious_unauthorised_access": True}},
            "conditions.malicious_unauthorised_access",
        ),
        ({"numbers": {"clients_percent": 100.5}}, "numbers.clients_percent"),
        ({"numbers": {"counterparts_percent": 101}}, "numbers.counterparts_percent"),
        ({"numbers": {"member_states_affected": 31}}, "numbers.member_states_affected"),
        ({"numbers": {"users_limited": 11, "eu_users_total": 10}}, "numbers.users_limited"),
    ],
    ids=str,
)
def test_facts_that_cannot_all_be_true_are_refused(vocabulary, fields, path) -> None:
    assert paths(vocabulary, BASE | fields) == [path]


@pytest.mark.parametrize(
    "fields",
    [
        {"encryption_key_compromised": True, "complete": True},  # that it was encrypted may simply not be stated
        {"encrypted": True, "encryption_key_compromised": True},
        {"encrypted": True, "medium": "paper_from_computerised"},
        {"encrypted": False, "medium": "paper"},
        {"minors": True, "affected": [{"jurisdiction": "ES", "minors": {"under_18": 0}}, {"jurisdiction": "FR"}]},
        {"minors": True, "affected": []},
        {"conditions": {"malicious": True, "malicious_unauthorised_access": True}},
        {"conditions": {"incident_ongoing": False}, "clocks": {"incident_closed": "2026-03-10T09:00"}},
        {"numbers": {"clients_percent": 100, "transactions_percent": 250, "member_states_affected": 30}},
        {"numbers": {"users_limited": 10, "eu_users_total": 10}},
    ],
    ids=str,
)
def test_facts_that_can_be_true_together_are_taken(vocabulary, fields) -> None:
    Facts.parse(BASE | fields, vocabulary)


def test_contradictions_are_reported_together_with_every_other_problem(vocabulary) -> None:
    document = BASE | {
        "encrypted": False, "encryption_key_compromised": True, "risk": "enormous",
        "minors": False, "affected": [{"jurisdiction": "ES", "count": 3, "minors": {"under_18": 2}}],
        "clocks": {"occurrence": "2026-03-10T09:00", "awareness": "2026-03-09T09:00", "detection": "2026-03-08T09:00"},
    }  # fmt: skip
    assert sorted(paths(vocabulary, document)) == [
        "affected[0].minors", "clocks.awareness", "clocks.detection", "encryption_key_compromised", "risk",
    ]  # fmt: skip


@pytest.mark.parametrize("document", [None, [], "text", 3, {1: 2}])
def test_what_is_no_mapping_is_refused(vocabulary, document) -> None:
    assert paths(vocabulary, document)


def test_all_problems_are_reported_together(vocabulary) -> None:
    document = {"risk": "enormous", "affected": [{"jurisdiction": "ZZ", "count": -1}], "clocks": {"awareness": "soon"}}
    assert paths(vocabulary, document) == [
        "time_zone",
        "affected[0].jurisdiction",
        "affected[0].count",
        "risk",
        "clocks.awareness",
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"time_zone": SECRET},
        {"risk": SECRET},
        {"sectors": [SECRET]},
        {"affected": [{"jurisdiction": SECRET, "count": SECRET}]},
        {"clocks": {"awareness": SECRET}},
        {"numbers": {"cost_eur": SECRET}},
        {"unknown": [SECRET]},
        {"encrypted": SECRET},
    ],
)
def test_no_message_repeats_a_submitted_value(vocabulary, fields) -> None:
    with pytest.raises(LawFactsError) as caught:
        Facts.parse(BASE | fields, vocabulary)
    assert SECRET not in str(caught.value)
    assert isinstance(caught.value, InputError)


def test_an_ambiguous_clock_is_taken_with_its_offset(vocabulary) -> None:
    facts = Facts.parse(BASE | {"clocks": {"awareness": "2026-10-25T02:30+01:00"}}, vocabulary)
    assert facts.clocks["awareness"].isoformat() == "2026-10-25T01:30:00+00:00"


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-03-10T09:00", "2026-03-10T08:00:00+00:00"),
        ("2026-07-10T09:00:30", "2026-07-10T07:00:30+00:00"),
        ("2026-03-10T09:00Z", "2026-03-10T09:00:00+00:00"),
        ("2026-03-10T09:00-05:00", "2026-03-10T14:00:00+00:00"),
        ("2026-03-29T03:00", "2026-03-29T01:00:00+00:00"),
        ("2026-10-25T01:59", "2026-10-24T23:59:00+00:00"),
    ],
)
def test_clocks_are_read_in_the_zone_of_the_organisation(text, utc) -> None:
    assert to_utc(text, "Europe/Berlin").isoformat() == utc


def test_closed_and_open_worlds(vocabulary) -> None:
    document = BASE | {"sectors": ["banking"], "conditions": {"malicious": True}}
    opened = Facts.parse(document, vocabulary)
    closed = Facts.parse(document | {"complete": True, "unknown": ["conditions.major_incident"]}, vocabulary)
    assert opened.sets["sectors"] == closed.sets["sectors"] == {"banking", "finance"}
    assert (opened.sets["role"], closed.sets["role"]) == (None, frozenset())
    assert (opened.affected, closed.affected) == (None, ())
    assert (opened.flags["encrypted"], closed.flags["encrypted"]) == (None, False)
    assert (opened.condition("suspected_crime"), closed.condition("suspected_crime")) == (None, False)
    assert closed.condition("malicious") is True
    assert closed.condition("major_incident") is None
    assert (opened.number("cost_eur"), closed.number("cost_eur")) == (None, 0)
    assert (opened.level("IL-DSR"), closed.level("IL-DSR")) == (None, -1)
    assert (closed.risk, closed.medium) == (None, None)


def test_unknown_overrides_what_was_stated(vocabulary) -> None:
    document = BASE | {
        "complete": True,
        "encrypted": True,
        "risk": "high",
        "levels": {"IL-DSR": "high"},
        "clocks": {"awareness": "2026-03-10T09:00"},
        "affected": [{"jurisdiction": "ES", "count": 3}],
        "unknown": ["encrypted", "risk", "levels.IL-DSR", "clocks.awareness", "affected.count"],
    }
    facts = Facts.parse(document, vocabulary)
    assert (facts.flags["encrypted"], facts.risk, facts.level("IL-DSR")) == (None, None, None)
    assert facts.clock("awareness") is None
    assert facts.affected[0].count is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = [
    "time_zone", "complete", "unknown", "affected", "established_in", "nexus", "role", "sectors", "medium",
    "encrypted", "risk", "levels", "conditions", "numbers", "clocks",
]  # fmt: skip


@given(document=st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), json_values, max_size=6))
def test_nothing_but_a_facts_error_ever_leaves_the_parser(assess, document) -> None:
    with contextlib.suppress(LawFactsError):
        assert assess(document)


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff\xfe",
        b"a: [",
        b"a: 1\na: 2\n",
        b"!!python/object:os.system {}",
        b"a: &x [*x]\nb: {*x : 1}",
        b"- " * 200_000,
        b"? " * 200_000,
        b": " * 200_000,
        b"[" * 200_000,
        b"{a: " * 200_000,
        b" " * 5_000_000,
    ],
    ids=lambda raw: raw[:12].hex(),
)
def test_broken_or_hostile_yaml_is_refused(raw) -> None:
    with pytest.raises(YamlError, match=r"facts\.yaml"):
        read_yaml(raw, "facts.yaml")


def test_yaml_keeps_norway_dates_and_json() -> None:
    text = b"{jurisdiction: NO, clocks: {awareness: 2026-03-10T09:00:00}, complete: true, n: 1, off: 0.5}"
    expected = {
        "jurisdiction": "NO", "clocks": {"awareness": "2026-03-10T09:00:00"}, "complete": True, "n": 1, "off": 0.5
    }  # fmt: skip
    assert read_yaml(text, "x") == expected
    assert read_yaml(json.dumps(expected).encode(), "x") == expected
