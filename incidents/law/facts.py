"""The facts of one incident, read strictly (SCHEMA.md, section 1).

A fact is known or unknown (None); the closed-world defaults of `complete: true` and the list `unknown`
are applied here, so that the engine sees three values and nothing else. Every problem is reported with
its path, all of them together, and no message repeats a submitted value.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from incidents.law.contradictions import PROCESSOR, contradictions
from incidents.law.errors import LawFactsError, Problem
from incidents.law.localtime import load_zone, to_utc
from incidents.law.places import is_place
from incidents.law.shape import Shape, one_of
from incidents.law.vocabulary import Vocabulary

MAX_PEOPLE = 20_000_000_000
"""Above this a count is a typing error: more than twice mankind."""

SETS: Mapping[str, str] = {
    "role": "roles",
    "sectors": "sectors",
    "entity_kinds": "entity_kinds",
    "incident_types": "incident_types",
    "breach_types": "breach_types",
    "data_categories": "data_categories",
    "legal_classes": "legal_classes",
}
"""Facts that are lists of words, with the vocabulary each draws on."""

FLAGS = ("name_exposed", "encrypted", "encryption_key_compromised", "minors")
PLACES = ("established_in", "network_operated_in")
MAPS: Mapping[str, str] = {"conditions": "conditions", "numbers": "numbers", "clocks": "clocks"}


@dataclass(frozen=True, slots=True)
class People:
    """People affected in one jurisdiction; None is an unknown number (at least one person)."""

    jurisdiction: str
    count: int | None
    under_18: int | None
    under_14: int | None


@dataclass(frozen=True, slots=True)
class Nexus:
    """A link to a jurisdiction without an establishment."""

    kind: str
    jurisdiction: str


@dataclass(frozen=True, slots=True)
class Facts:
    """One incident. None means unknown, everywhere.

    Attributes:
        time_zone: zone of the organisation; local clocks are read in it.
        complete: whether what is not stated is false, empty or zero.
        unknown: fact paths the user marked as unknown.
        affected: people by residence.
        places: `established_in` (first is the main establishment) and `network_operated_in`.
        nexus: links without establishment.
        sets: the lists of words (`SETS`), sectors with what they imply.
        flags: the yes/no facts (`FLAGS`).
        medium: `electronic`, `paper` or `paper_from_computerised`.
        risk: step on the risk scale, 0 is the lowest.
        levels: scheme to step, 0 is the lowest level of the scheme.
        conditions: further yes/no facts that were stated.
        numbers: measured quantities that were stated.
        clocks: instants in UTC.
    """

    time_zone: str
    complete: bool
    unknown: frozenset[str]
    affected: tuple[People, ...] | None
    places: Mapping[str, tuple[str, ...] | None]
    nexus: tuple[Nexus, ...] | None
    sets: Mapping[str, frozenset[str] | None]
    flags: Mapping[str, bool | None]
    medium: str | None
    risk: int | None
    levels: Mapping[str, int]
    conditions: Mapping[str, bool]
    numbers: Mapping[str, Fraction]
    clocks: Mapping[str, dt.datetime]

    @classmethod
    def parse(cls, document: object, vocabulary: Vocabulary | None = None) -> Facts:
        """Read facts as YAML or JSON gives them.

        Args:
            document: the mapping described in SCHEMA.md, section 1.
            vocabulary: the closed lists; the shipped ones when left out.

        Returns:
            The facts.

        Raises:
            LawFactsError: with every problem found and its path.
        """
        reader = _Reader(document, vocabulary or Vocabulary.shipped())
        facts = reader.read()
        if reader.problems:
            raise LawFactsError(reader.problems)
        return facts

    def at(self, instant: dt.datetime) -> Facts:
        """The same facts with only the clocks that had started by then.

        Args:
            instant: aware; later clocks are left out.
        """
        return replace(self, clocks={name: when for name, when in self.clocks.items() if when <= instant})

    def condition(self, name: str) -> bool | None:
        """A further yes/no fact."""
        if f"conditions.{name}" in self.unknown:
            return None
        return self.conditions.get(name, False if self.complete else None)

    def number(self, name: str) -> Fraction | None:
        """A measured quantity."""
        if f"numbers.{name}" in self.unknown:
            return None
        return self.numbers.get(name, Fraction(0) if self.complete else None)

    def level(self, scheme: str) -> int | None:
        """The step in a level scheme; -1 is below the lowest."""
        if f"levels.{scheme}" in self.unknown:
            return None
        return self.levels.get(scheme, -1 if self.complete else None)

    def clock(self, name: str) -> dt.datetime | None:
        """The instant of a clock, None when it has not happened or is marked unknown."""
        return None if f"clocks.{name}" in self.unknown else self.clocks.get(name)


class _Reader:
    """One pass over the document; `problems` fills up as it goes."""

    def __init__(self, document: object, vocabulary: Vocabulary) -> None:
        self.problems: list[Problem] = []
        self.vocabulary = vocabulary
        self.shape = Shape(document, "", self.problems)

    def read(self) -> Facts:
        shape, words = self.shape, self.vocabulary.words
        time_zone = shape.text("time_zone")
        if time_zone and load_zone(time_zone) is None:
            shape.problem("time_zone", "not an IANA time zone name, for example Europe/Madrid")
            time_zone = ""
        complete = bool(shape.flag("complete", default=False))
        unknown = frozenset(shape.texts("unknown", self._path_problem))
        stated = frozenset(shape.keys())

        def given(key: str, value: Any, default: Any) -> Any:
            """A list or yes/no fact under the rules of `complete` and `unknown`."""
            if key in unknown:
                return None
            return value if key in stated else (default if complete else None)

        affected = self._affected(forget_counts="affected.count" in unknown, forget_minors="affected.minors" in unknown)
        places = {key: given(key, shape.texts(key, _place_problem), ()) for key in PLACES}
        nexus = given("nexus", self._nexus(), ())
        sets = {
            key: given(key, frozenset(shape.texts(key, one_of(words[source], key))), frozenset())
            for key, source in SETS.items()
        }
        sets["sectors"] = self._implied(sets["sectors"])
        flags = {key: given(key, shape.flag(key), False) for key in FLAGS}
        medium = given("medium", self._word("medium", words["media"]), None)
        risk = given("risk", self._word("risk", self.vocabulary.risk_scale), None)
        facts = Facts(
            time_zone=time_zone,
            complete=complete,
            unknown=unknown,
            affected=given("affected", affected, ()),
            places=places,
            nexus=nexus,
            sets=sets,
            flags=flags,
            medium=medium,
            risk=self.vocabulary.risk_scale.index(risk) if risk else None,
            levels=self._levels(),
            conditions=self._conditions(),
            numbers=self._numbers(),
            clocks=self._clocks(time_zone),
        )
        shape.done()
        self._contradictions(facts, affected, stated)
        return facts

    def _path_problem(self, path: str) -> str | None:
        head, _, name = path.partition(".")
        if not name and (
            head in SETS or head in FLAGS or head in PLACES or head in ("affected", "nexus", "medium", "risk")
        ):
            return None
        words = self.vocabulary.words
        known = (
            (head == "affected" and name in ("count", "minors"))
            or (head == "clocks" and name.removeprefix(PROCESSOR) in words["clocks"])
            or (head in MAPS and name in words[MAPS[head]])
            or (head == "levels" and name in self.vocabulary.level_schemes)
        )
        return None if known else "not the path of a fact, for example risk or conditions.suspected_crime"

    def _word(self, key: str, allowed: Any) -> str | None:
        return self.shape.word(key, allowed) if self.shape.has(key) else None

    def _affected(self, *, forget_counts: bool, forget_minors: bool) -> tuple[People, ...]:
        found = []
        for path, item in self.shape.items("affected"):
            shape = Shape(item, path, self.problems)
            code = shape.text("jurisdiction")
            if code and _place_problem(code):
                shape.problem("jurisdiction", _place_problem(code) or "")
            count = shape.whole("count", 0, MAX_PEOPLE, required=False)
            under = shape.inner("minors")
            under_18 = under.whole("under_18", 0, MAX_PEOPLE, required=False) if under else None
            under_14 = under.whole("under_14", 0, MAX_PEOPLE, required=False) if under else None
            if under:
                under.done()
            shape.done()
            if count is not None and max(under_18 or 0, under_14 or 0) > count:
                shape.problem("minors", "more minors than people affected")
            if under_18 is not None and (under_14 or 0) > under_18:
                shape.problem("minors.under_14", "more people under 14 than under 18")
            found.append(
                People(
                    jurisdiction=code,
                    count=None if forget_counts else count,
                    under_18=None if forget_minors else under_18,
                    under_14=None if forget_minors else under_14,
                )
            )
        return tuple(found)

    def _nexus(self) -> tuple[Nexus, ...]:
        found = []
        for path, item in self.shape.items("nexus"):
            shape = Shape(item, path, self.problems)
            kind = shape.word("kind", sorted(self.vocabulary.words["nexus_kinds"]))
            code = shape.text("jurisdiction")
            if code and _place_problem(code):
                shape.problem("jurisdiction", _place_problem(code) or "")
            shape.done()
            found.append(Nexus(kind, code))
        return tuple(found)

    def _implied(self, sectors: frozenset[str] | None) -> frozenset[str] | None:
        if sectors is None:
            return None
        implies = self.vocabulary.sector_implies
        return sectors.union(*(implies.get(sector, frozenset()) for sector in sectors))

    def _levels(self) -> dict[str, int]:
        shape = self.shape.inner("levels")
        found: dict[str, int] = {}
        for scheme in shape.keys() if shape else ():
            assert shape is not None
            levels = self.vocabulary.level_schemes.get(scheme)
            if levels is None:
                continue  # `done` reports the unknown scheme
            found[scheme] = levels.index(shape.word(scheme, levels))
        if shape:
            shape.done()
        return found

    def _conditions(self) -> dict[str, bool]:
        shape = self.shape.inner("conditions")
        found: dict[str, bool] = {}
        for name in shape.keys() if shape else ():
            assert shape is not None
            if name in self.vocabulary.words["conditions"]:
                found[name] = bool(shape.flag(name, default=False))
        if shape:
            shape.done()
        return found

    def _numbers(self) -> dict[str, Fraction]:
        shape = self.shape.inner("numbers")
        found: dict[str, Fraction] = {}
        for name in shape.keys() if shape else ():
            assert shape is not None
            if name not in self.vocabulary.words["numbers"]:
                continue
            value = shape.take(name)
            number = exact_number(value)
            if number is None or number < 0:
                shape.problem(name, "expected a number, zero or more, without a unit")
            else:
                found[name] = number
        if shape:
            shape.done()
        return found

    def _clocks(self, time_zone: str) -> dict[str, dt.datetime]:
        shape = self.shape.inner("clocks")
        found: dict[str, dt.datetime] = {}
        for name in shape.keys() if shape else ():
            assert shape is not None
            if name.removeprefix(PROCESSOR) not in self.vocabulary.words["clocks"]:
                continue
            instant = to_utc(shape.take(name), time_zone)
            if isinstance(instant, str):
                shape.problem(name, instant)
            else:
                found[name] = instant
        if shape:
            shape.done()
        return found

    def _contradictions(self, facts: Facts, affected: tuple[People, ...], stated: frozenset[str]) -> None:
        self.problems.extend(contradictions(facts, stated))
        minors = facts.flags["minors"] if "minors" in stated else None
        if minors is False:
            for position, people in enumerate(affected):
                if (people.under_18 or 0) + (people.under_14 or 0) > 0:
                    self.shape.problem(f"affected[{position}].minors", "counts minors, but the fact minors is false")
        if minors and affected and all(people.under_18 == 0 for people in affected):
            self.shape.problem("minors", "minors are affected, but every count of people under 18 is zero")


def exact_number(value: object) -> Fraction | None:
    """Read a YAML or JSON number exactly as it was written (0.05 is one twentieth).

    Args:
        value: anything.

    Returns:
        The number, or None when it is not a finite number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return Fraction(str(value))
    except ValueError:  # nan and inf
        return None


def _place_problem(code: str) -> str | None:
    return None if is_place(code) else "not a jurisdiction code: ISO 3166-1, a subdivision with a hyphen (US-CA)"
