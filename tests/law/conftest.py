"""Fixtures of the law tests: the shipped law, and a small law built on the spot."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from incidents.law import Duty, Evaluation, Law
from incidents.law.vocabulary import DATA
from incidents.law.yamlfile import read_yaml_file

MakeDuty = Callable[..., dict[str, Any]]
MakeLaw = Callable[..., Law]


@pytest.fixture(scope="session")
def law() -> Law:
    """The law that ships with Tocsin."""
    return Law.load()


@pytest.fixture(scope="session")
def assess(law: Law) -> Callable[..., list[Evaluation]]:
    """Assesses with the shipped law (Hypothesis would print the whole law as an argument)."""
    return law.assess


@pytest.fixture(scope="session")
def duty_of(law: Law) -> Callable[[str], Duty]:
    """Finds a duty of the shipped law."""
    return law.duty


@pytest.fixture(scope="session")
def definitions() -> dict[str, Any]:
    return read_yaml_file(DATA / "definitions.yaml")


@pytest.fixture
def make_duty() -> MakeDuty:
    """A duty that is owed for every incident; fields are replaced by keyword."""

    def build(name: str = "d", deadline: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
        duty = {
            "id": name,
            "title": "A duty",
            "jurisdictions": ["DE"],
            "law": "A law",
            "citation": "Art 1",
            "status": "in_force",
            "effective_from": None,
            "effective_to": None,
            "binding": "statute",
            "binds": "operator",
            "obliged": ["controller"],
            "obliged_role": "any",
            "time_zone": None,
            "effective_clock": ["awareness"],
            "when": {"always": True},
            "recipient": {"kind": "authority", "name": "The authority", "portal": None},
            "stages": [{"name": "main", "deadline": deadline or {"kind": "hours", "amount": 72, "from": "awareness"}}],
            "content": ["nature_of_breach"],
            "channels": [],
            "sources": [{"title": "A source", "address": None}],
            "confidence": "recalled",
            "evidence": None,
        }
        duty.update(fields)
        return duty

    return build


@pytest.fixture
def make_law(definitions: dict[str, Any]) -> MakeLaw:
    """A law of a few duties, with one calendar `xx`: Saturday and Sunday closed, 2026 only."""

    def build(*duties: dict[str, Any], calendars: dict[str, Any] | None = None) -> Law:
        days = {
            "weekend": ["sat", "sun"],
            "from": "2026-01-01",
            "to": "2026-12-31",
            "holidays": ["2026-05-01"],
            "workdays": ["2026-05-09"],
        }
        documents = {
            "definitions.yaml": copy.deepcopy(definitions),
            "calendars.yaml": {"source": "the test", "calendars": calendars or {"xx": days, "de": days}},
            "authorities.yaml": {},
            "duties/xx.yaml": [copy.deepcopy(duty) for duty in duties],
        }
        return Law.build(documents, "test")

    return build


@pytest.fixture
def facts() -> Callable[..., dict[str, Any]]:
    """Facts of an incident noticed on 10 March 2026 in Berlin; fields are replaced by keyword."""

    def build(**fields: Any) -> dict[str, Any]:
        base = {"time_zone": "Europe/Berlin", "complete": True, "clocks": {"awareness": "2026-03-10T09:00"}}
        return base | fields

    return build
