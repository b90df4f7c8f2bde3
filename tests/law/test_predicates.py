"""Every predicate over known and unknown facts."""

from __future__ import annotations

import pytest

from incidents.law.engine import Incident
from incidents.law.expressions import Compiler
from incidents.law.facts import Facts

BASE = {"time_zone": "Europe/Berlin"}


@pytest.fixture
def decide(law):
    """Evaluates one expression for some facts: (truth, missing)."""

    def ask(expression, fields, *, processor=False):
        problems = []
        node = Compiler(law.vocabulary, problems).compile(expression, "when", processor=processor)
        assert problems == []
        view = Incident(Facts.parse(BASE | fields, law.vocabulary), law.duties, law.calendars)
        return node.truth(view), sorted(node.missing(view))

    return ask


def people(*entries):
    return {"affected": [{"jurisdiction": code, **({} if n is None else {"count": n})} for code, n in entries]}


def minors(**counts):
    return [{"jurisdiction": "CN", "count": 90, "minors": counts}]


CNY = {"in": ["US-CA", "US-NY"], "at_least": 501}
SIX = {"fact": "users_limited", "op": "gt", "value": {"min_of": [{"fact": "eu_users_total", "times": 0.05}, 1000000]}}


@pytest.mark.parametrize(
    ("expression", "fields", "answer"),
    [
        ({"affected": CNY}, people(("US-CA", 300), ("US-NY", 201)), (True, [])),
        ({"affected": CNY}, people(("US-CA", 300), ("US-NY", 200)), (False, [])),
        ({"affected": CNY}, people(("US-CA", 300), ("US-TX", 900)), (False, [])),
        ({"affected": CNY}, people(("US-CA", 300), ("US-NY", None)), (None, ["affected.count"])),
        ({"affected": CNY}, people(("US-CA", 500), ("US-NY", None)), (True, [])),
        ({"affected": CNY}, {}, (None, ["affected"])),
        ({"affected": CNY}, {"complete": True}, (False, [])),
        ({"affected": CNY | {"scope": "each"}}, people(("US-CA", 300), ("US-NY", 300)), (False, [])),
        ({"affected": CNY | {"scope": "each"}}, people(("US-CA", 300), ("US-CA", 201)), (True, [])),
        ({"affected": {"in": ["ANY"], "at_least": 1, "at_most": 499}}, people(("US-CA", 499)), (True, [])),
        ({"affected": {"in": ["ANY"], "at_least": 1, "at_most": 499}}, people(("US-CA", 500)), (False, [])),
        (
            {"affected": {"in": ["ANY"], "at_least": 1, "at_most": 499}},
            people(("US-CA", None)),
            (None, ["affected.count"]),
        ),
        ({"affected": {"in": ["ANY"], "at_least": 1}}, people(("US-CA", 0)), (False, [])),
        ({"affected": {"in": ["EEA"], "at_least": 1}}, people(("DE-HE", None)), (True, [])),
        ({"minors_affected": {"under": 18}}, {"affected": minors(under_18=1)}, (True, [])),
        ({"minors_affected": {"under": 18}}, {"affected": minors(under_14=1)}, (True, [])),
        ({"minors_affected": {"under": 18}}, {"minors": True}, (True, [])),
        ({"minors_affected": {"under": 18}}, {"minors": False}, (False, [])),
        ({"minors_affected": {"under": 18}}, {"complete": True, **people(("CN", 3))}, (False, [])),
        ({"minors_affected": {"under": 18}}, people(("CN", 3)), (None, ["minors"])),
        ({"minors_affected": {"under": 14}}, {"affected": minors(under_18=1)}, (None, ["affected.minors"])),
        ({"minors_affected": {"under": 14}}, {"complete": True, "affected": minors(under_18=1)}, (False, [])),
        ({"minors_affected": {"under": 14}}, {"affected": minors(under_18=1, under_14=0)}, (False, [])),
        ({"minors_affected": {"under": 14}}, {"affected": minors(under_18=0)}, (False, [])),
        (
            {"minors_affected": {"under": 14}},
            {"minors": True, "complete": True, "unknown": ["affected"]},
            (None, ["affected"]),
        ),
        ({"established_in": ["EU"]}, {"established_in": ["DE-HE"]}, (True, [])),
        ({"established_in": ["AE!"]}, {"established_in": ["AE-DIFC"]}, (False, [])),
        ({"established_in": ["US-CA"]}, {"established_in": ["US"]}, (False, [])),
        ({"established_in": ["EU"]}, {}, (None, ["established_in"])),
        ({"network_operated_in": ["CN"]}, {"network_operated_in": ["CN-SZ"]}, (True, [])),
        (
            {"nexus": {"in": ["EEA"], "kinds": ["targets"]}},
            {"nexus": [{"kind": "targets", "jurisdiction": "NO"}]},
            (True, []),
        ),
        (
            {"nexus": {"in": ["EEA"], "kinds": ["targets"]}},
            {"nexus": [{"kind": "means", "jurisdiction": "NO"}]},
            (False, []),
        ),
        ({"nexus": {"in": ["EEA"], "kinds": ["targets"]}}, {}, (None, ["nexus"])),
        ({"risk_at_least": "risk"}, {"risk": "significant"}, (True, [])),
        ({"risk_at_least": "risk"}, {"risk": "possible"}, (False, [])),
        ({"risk_at_least": "none"}, {"complete": True}, (None, ["risk"])),
        ({"data_any": ["ssn", "name"]}, {"data_categories": ["name"]}, (True, [])),
        ({"data_all": ["ssn", "name"]}, {"data_categories": ["name"]}, (False, [])),
        ({"data_all": ["ssn", "name"]}, {"data_categories": ["name", "ssn", "phone"]}, (True, [])),
        ({"legal_class_any": ["credit"]}, {"legal_classes": []}, (False, [])),
        ({"name_exposed": True}, {"complete": True}, (False, [])),
        ({"name_exposed": False}, {"complete": True}, (True, [])),
        ({"name_exposed": True}, {}, (None, ["name_exposed"])),
        ({"medium_any": ["paper"]}, {"medium": "paper"}, (True, [])),
        ({"medium_any": ["paper"]}, {"complete": True}, (None, ["medium"])),
        ({"encryption_protects": True}, {"encrypted": True, "encryption_key_compromised": False}, (True, [])),
        ({"encryption_protects": True}, {"encrypted": True, "encryption_key_compromised": True}, (False, [])),
        ({"encryption_protects": True}, {"encryption_key_compromised": True}, (False, [])),
        ({"encryption_protects": False}, {"encrypted": False}, (True, [])),
        ({"encryption_protects": True}, {"encrypted": True}, (None, ["encryption_key_compromised"])),
        ({"encryption_protects": True}, {}, (None, ["encrypted", "encryption_key_compromised"])),
        ({"sector_any": ["finance"]}, {"sectors": ["banking"]}, (True, [])),
        ({"sector_any": ["banking"]}, {"sectors": ["finance"]}, (False, [])),
        ({"role_any": ["processor"]}, {"role": ["controller"]}, (False, [])),
        ({"entity_any": ["public_body"]}, {"entity_kinds": ["public_body"]}, (True, [])),
        ({"incident_type_any": ["data_leak"]}, {"incident_types": ["data_leak"]}, (True, [])),
        ({"breach_type_any": ["access", "loss"]}, {"breach_types": ["loss"]}, (True, [])),
        ({"breach_type_all": ["access", "loss"]}, {"breach_types": ["loss"]}, (False, [])),
        ({"condition": "malicious"}, {"conditions": {"malicious": True}}, (True, [])),
        ({"condition": "malicious"}, {}, (None, ["conditions.malicious"])),
        ({"level_at_least": {"scheme": "IL-DSR", "level": "basic"}}, {"complete": True}, (False, [])),
        ({"level_at_least": {"scheme": "IL-DSR", "level": "medium"}}, {"levels": {"IL-DSR": "high"}}, (True, [])),
        ({"level_at_least": {"scheme": "IL-DSR", "level": "medium"}}, {}, (None, ["levels.IL-DSR"])),
        ({"number": {"fact": "cost_eur", "op": "gt", "value": 100000}}, {"numbers": {"cost_eur": 100000}}, (False, [])),
        ({"number": {"fact": "cost_eur", "op": "ge", "value": 100000}}, {"numbers": {"cost_eur": 100000}}, (True, [])),
        ({"number": {"fact": "cost_eur", "op": "lt", "value": 0.5}}, {"complete": True}, (True, [])),
        ({"number": {"fact": "cost_eur", "op": "le", "value": 0}}, {"numbers": {"cost_eur": 0.001}}, (False, [])),
        ({"number": {"fact": "cost_eur", "op": "eq", "value": 2}}, {"numbers": {"cost_eur": 2.0}}, (True, [])),
        ({"number": {"fact": "cost_eur", "op": "eq", "value": 2}}, {"numbers": {"cost_eur": 3}}, (False, [])),
        ({"number": {"fact": "cost_eur", "op": "eq", "value": 2}}, {}, (None, ["numbers.cost_eur"])),
        ({"number": {"fact": "cost_eur", "op": "lt", "value": 0}}, {}, (False, [])),  # no quantity is negative
        ({"number": {"fact": "cost_eur", "op": "gt", "value": 0.5}}, {}, (None, ["numbers.cost_eur"])),
        ({"number": SIX}, {"numbers": {"users_limited": 1000001}}, (True, [])),
        ({"number": SIX}, {"numbers": {"users_limited": 0}}, (False, [])),
        ({"number": SIX}, {"numbers": {"users_limited": 900000}}, (None, ["numbers.eu_users_total"])),
        ({"number": SIX}, {"numbers": {"users_limited": 61, "eu_users_total": 1220}}, (False, [])),
        ({"number": SIX}, {"numbers": {"users_limited": 62, "eu_users_total": 1220}}, (True, [])),
        ({"clock_recorded": "recovery"}, {}, (False, [])),
        ({"clock_recorded": "recovery"}, {"clocks": {"recovery": "2026-03-10T09:00"}}, (True, [])),
        ({"clock_recorded": "recovery"}, {"unknown": ["clocks.recovery"]}, (None, ["clocks.recovery"])),
        ({"duty_applies": ["eu-gdpr-33-omnibus-proposal", "ua-none"]}, {}, (False, [])),
    ],
    ids=str,
)
def test_a_predicate(decide, expression, fields, answer) -> None:
    assert decide(expression, fields) == answer


MORE = {"clock_more_than": {"later": "classification", "earlier": "awareness", "hours": 24}}


@pytest.mark.parametrize(
    ("clocks", "truth"),
    [
        ({"awareness": "2026-03-10T09:00", "classification": "2026-03-11T09:00"}, False),
        ({"awareness": "2026-03-10T09:00", "classification": "2026-03-11T09:01"}, True),
        ({"awareness": "2026-03-28T12:00", "classification": "2026-03-29T12:30"}, False),  # 23.5 elapsed hours
        ({"awareness": "2026-03-10T09:00"}, False),
    ],
)
def test_elapsed_hours_between_two_clocks(decide, clocks, truth) -> None:
    assert decide(MORE, {"clocks": clocks}) == (truth, [])


def test_clocks_of_a_processor_in_expressions(decide) -> None:
    fields = {"role": ["controller", "processor"], "clocks": {"recovery": "2026-03-10T09:00"}}
    assert decide({"clock_recorded": "recovery"}, fields) == (True, [])
    assert decide({"clock_recorded": "recovery"}, fields, processor=True) == (False, [])
    assert decide({"clock_recorded": "recovery"}, fields | {"role": ["processor"]}, processor=True) == (True, [])
    fields.pop("role")
    open_facts = ["clocks.processor_recovery", "role"]
    assert decide({"clock_recorded": "recovery"}, fields, processor=True) == (None, open_facts)
