"""Facts of one incident: typed, three-valued, superseded but never edited.

The names and types are those that the law engine reads (`incidents.law`). A fact is
*known* (somebody or an entry says so), *assumed* (used for the law, shown as assumed) or *unknown* (stated
to be unknown, which differs from not yet asked). Clocks are recorded apart, each with what started it.

Pure: values in, values out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from incidents.errors import FactError
from ledger.encoding import parse_time

State = Literal["known", "assumed", "unknown"]
SourceKind = Literal["entry", "person", "affected"]

STATES: Final[tuple[str, ...]] = get_args(State)

FLAGS: Final = frozenset({"complete", "name_exposed", "encrypted", "encryption_key_compromised", "minors"})
WORDS: Final = frozenset({"time_zone", "medium", "risk"})
LISTS: Final = frozenset(
    {
        "established_in",
        "network_operated_in",
        "role",
        "sectors",
        "entity_kinds",
        "incident_types",
        "breach_types",
        "data_categories",
        "legal_classes",
    }
)
TABLES: Final = frozenset({"affected", "nexus"})
GROUPS: Final = frozenset({"conditions", "numbers", "levels"})

RISKS: Final = ("none", "low", "possible", "risk", "significant", "high")


@dataclass(frozen=True)
class Source:
    """Where a fact or clock comes from.

    Attributes:
        kind: `entry` (a ledger entry), `person` (somebody said so), `affected` (the frozen set).
        ref: the leaf index as text, the person's pseudonym, or the root of the set.
    """

    kind: SourceKind
    ref: str


@dataclass(frozen=True)
class Fact:
    """One statement about the incident; a later one on the same path supersedes it."""

    path: str
    state: State
    value: Any
    source: Source
    note: str
    by: str
    at: str
    version: int


@dataclass(frozen=True)
class Clock:
    """One clock and the instant it stood at, `at` in RFC 3339 UTC."""

    name: str
    at: str
    source: Source
    note: str
    by: str
    recorded: str
    version: int


def zone(name: str, field: str = "time_zone") -> ZoneInfo:
    """The IANA zone of that name.

    Raises:
        FactError: there is no such zone.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise FactError(f"{field} is not an IANA time zone; use a name such as Europe/Madrid.", field=field) from None


def check_fact(path: str, state: str, value: Any) -> Any:
    """The value in the form that is recorded (numbers with a fraction become decimal text).

    Only the outer form is checked here; the words themselves are checked against the law data by
    `incidents.law.facts.Facts.parse` over all facts together.

    Raises:
        FactError: unknown path or state, or a value of the wrong type.
    """
    if state not in STATES:
        raise FactError(f"The state of a fact is one of {', '.join(STATES)}.", field="state")
    head, _, name = path.partition(".")
    if head == "clocks":
        raise FactError(f"{path} is a clock; record it as a clock, with what started it.", field=path)
    if (head in GROUPS) != bool(name) or head not in FLAGS | WORDS | LISTS | TABLES | GROUPS:
        raise FactError(f"{path!r} is no fact of the law data; see the list of facts.", field="path")
    if state == "unknown":
        return None
    return _check_value(path, head, value)


def _check_value(path: str, head: str, value: Any) -> Any:
    if head in FLAGS or head == "conditions":
        _require(isinstance(value, bool), path, "true or false")
    elif head in WORDS or head == "levels":
        _require(isinstance(value, str) and bool(value), path, "a word")
        if path == "risk":
            _require(value in RISKS, path, " < ".join(RISKS))
        if path == "time_zone":
            zone(value, path)
    elif head in LISTS:
        _require(
            isinstance(value, list | tuple) and all(isinstance(item, str) and item for item in value),
            path,
            "a list of words",
        )
        return list(value)
    elif head in TABLES:
        _require(
            isinstance(value, list | tuple) and all(isinstance(item, Mapping) for item in value),
            path,
            "a list of objects with a jurisdiction",
        )
        return [dict(item) for item in value]
    elif head == "numbers":
        return _number(path, value)
    return value


def _number(path: str, value: Any) -> int | str:
    _require(isinstance(value, int | float | str | Decimal) and not isinstance(value, bool), path, "a number")
    try:
        exact = Decimal(str(value))
    except InvalidOperation:
        raise FactError(f"{path} must be a number.", field=path) from None
    _require(exact.is_finite(), path, "a finite number")
    return int(exact) if exact == exact.to_integral_value() else str(exact)


def _require(ok: bool, path: str, wanted: str) -> None:
    if not ok:
        raise FactError(f"{path} must be {wanted}.", field=path)


def current(facts: Iterable[Fact]) -> dict[str, Fact]:
    """The fact that stands for each path: the one recorded last."""
    latest: dict[str, Fact] = {}
    for fact in facts:
        latest[fact.path] = fact
    return latest


def to_law_facts(facts: Iterable[Fact], clocks: Iterable[Clock], time_zone: str) -> dict[str, Any]:
    """The mapping that the law engine reads.

    Assumed values count as stated; a path stated unknown goes to `unknown`, so that it stays unknown even
    when `complete` is true. Clocks are written in the facts' zone with their offset.
    """
    stated = current(facts)
    law: dict[str, Any] = {"time_zone": time_zone}
    unknown: list[str] = []
    for path, fact in sorted(stated.items()):
        head, _, name = path.partition(".")
        if fact.state == "unknown":
            unknown.append(path)
        elif head in GROUPS:
            law.setdefault(head, {})[name] = _law_number(fact.value) if head == "numbers" else fact.value
        else:
            law[path] = fact.value
    if unknown:
        law["unknown"] = unknown
    stood = {clock.name: clock for clock in clocks}
    if stood:
        local = zone(law["time_zone"])
        law["clocks"] = {
            name: parse_time(clock.at).astimezone(local).isoformat() for name, clock in sorted(stood.items())
        }
    return law


def _law_number(value: int | str) -> int | float:
    return value if isinstance(value, int) else float(value)


def local_time(moment: datetime, time_zone: str) -> datetime:
    """The same instant on the clock of `time_zone`."""
    return moment.astimezone(zone(time_zone))
