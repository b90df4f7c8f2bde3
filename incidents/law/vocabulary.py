"""The closed vocabularies of the law data (`definitions.yaml`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from incidents.law.errors import LawDataError, Problem
from incidents.law.places import COUNTRIES, Area, is_place
from incidents.law.shape import Shape, one_of
from incidents.law.yamlfile import read_yaml

DATA = Path(__file__).parent / "data"
"""The law data that ships with Tocsin."""

FILE = "definitions.yaml"
_LISTS = (
    "clocks", "conditions", "roles", "sectors", "entity_kinds", "incident_types", "breach_types",
    "data_categories", "legal_classes", "nexus_kinds", "numbers", "media",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Every word the facts and the duties may use.

    Attributes:
        words: list name (`clocks`, `sectors`, ...) to its words.
        groups: `EU` and `EEA` to their countries.
        risk_scale: the risk steps, lowest first.
        level_schemes: scheme to its levels, lowest first.
        sector_implies: sector to the sectors it also counts as.
        content: content element to its meaning in one line.
        definitions: shared expressions as written: name to `{meaning, when}`.
    """

    words: Mapping[str, frozenset[str]]
    groups: Mapping[str, tuple[str, ...]]
    risk_scale: tuple[str, ...]
    level_schemes: Mapping[str, tuple[str, ...]]
    sector_implies: Mapping[str, frozenset[str]]
    content: Mapping[str, str]
    definitions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def parse(cls, document: object) -> Vocabulary:
        """Read the content of `definitions.yaml`.

        Args:
            document: the parsed YAML.

        Returns:
            The vocabulary.

        Raises:
            LawDataError: a list is missing, unknown or holds something else than words.
        """
        problems: list[Problem] = []
        shape = Shape(document, f"{FILE} ", problems)
        words = {}
        for name in _LISTS:
            if not shape.has(name):
                shape.problem(name, "missing")
            listed = shape.texts(name)
            words[name] = frozenset(listed)
            if len(words[name]) != len(listed):
                shape.problem(name, "a word is listed twice")
        scale = shape.texts("risk_scale")
        groups = _lists(shape, "groups", lambda code: None if code in COUNTRIES else "not a country code")
        schemes = _lists(shape, "level_schemes", None)
        implied = _lists(shape, "sector_implies", one_of(words["sectors"], "sector"))
        for sector in implied:
            if sector not in words["sectors"]:
                shape.problem(f"sector_implies.{sector}", "not a known sector")
        content = _content(shape)
        definitions = shape.take("definitions", required=True)
        shape.done()
        if not isinstance(definitions, dict):
            shape.problem("definitions", "expected a mapping")
        if problems:
            raise LawDataError(problems)
        return cls(
            words=words,
            groups=groups,
            risk_scale=scale,
            level_schemes=schemes,
            sector_implies=_closure(implied),
            content=content,
            definitions=definitions,
        )

    @classmethod
    def shipped(cls) -> Vocabulary:
        """The vocabulary that ships with Tocsin (reads one small file)."""
        return cls.parse(read_yaml((DATA / FILE).read_bytes(), FILE))

    def area(self, codes: tuple[str, ...]) -> Area:
        """Codes of a duty, ready for matching."""
        return Area(codes, self.groups)

    def code_problem(self, code: str) -> str | None:
        """A complaint about a code in a duty, or None."""
        if code == "ANY" or code in self.groups or is_place(code.removesuffix("!")):
            return None
        return "not a jurisdiction code (ISO 3166-1, a subdivision with a hyphen, EU, EEA or ANY)"


def _lists(shape: Shape, key: str, check: Callable[[str], str | None] | None) -> dict[str, tuple[str, ...]]:
    inner = shape.inner(key)
    if inner is None:
        shape.problem(key, "missing")
        return {}
    return {name: inner.texts(name, check) for name in inner.keys()}  # noqa: SIM118  # a Shape is not a mapping


def _content(shape: Shape) -> dict[str, str]:
    inner = shape.inner("content")
    if inner is None:
        shape.problem("content", "missing")
        return {}
    return {name: inner.text(name) for name in inner.keys()}  # noqa: SIM118  # a Shape is not a mapping


def _closure(implied: Mapping[str, tuple[str, ...]]) -> dict[str, frozenset[str]]:
    """What a sector counts as, through any number of steps."""
    closed = {}
    for sector in implied:
        reached: set[str] = set()
        waiting = [sector]
        while waiting:
            for further in implied.get(waiting.pop(), ()):
                if further not in reached:
                    reached.add(further)
                    waiting.append(further)
        closed[sector] = frozenset(reached)
    return closed
