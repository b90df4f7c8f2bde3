"""Retention: payloads older than a rule allows are deleted, entries and proofs stay.

Rules are a file (TOML):

    [[rule]]
    name = "reads of records"
    type = "*.data.view.v1"      # event types, with * ? [...] as in a shell
    days = 730                   # since the ledger recorded the entry
    action = "delete-payload"

Where several rules match, the shortest time wins. Only producers' events fall under retention: Tocsin's
own (incidents, approvals, dispatch, keys, holds, erasures) name nobody and are the evidence of what was done.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import translate
from functools import lru_cache, partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from ledger.encoding import canonical, format_time, parse
from ledger.entries import Entry
from ledger.errors import InputError, StoreBusyError, StoreDamagedError, TocsinError
from ledger.exchange import OwnEvent
from ledger.forgetting.cases import Cases, NoCases, incidents_moved
from ledger.forgetting.coverage import TABLES
from ledger.forgetting.destroying import destroy_payloads, prepare
from ledger.forgetting.events import RETENTION_EXECUTED, RULES_CHANGED, Hold, standing
from ledger.forgetting.holding import touches
from ledger.store.connection import Connection, Row
from ledger.store.log import read_head
from ledger.vocabulary import OWN_SOURCE

if TYPE_CHECKING:
    from ledger.ledger import Ledger

BATCH: Final = 5000
"""Most payloads that one transaction deletes, and one event accounts for; writers wait that long."""

_FIELDS: Final = frozenset(("name", "type", "days", "action"))
_ACTION: Final = "delete-payload"
_VALUES: Final = 400
"""Values in one statement; every SQLite can do with that many."""
_LONGEST_DAYS: Final = 36_525
_GLOB: Final = re.compile(r"[a-z0-9_.*?\[\]!^-]{1,200}", re.ASCII)
_NAME: Final = re.compile(r"[^\W_](?:[\w .,:/()-]{0,98}[\w)])?")


class RetentionHeldError(TocsinError):
    """What must be kept is not known yet, so nothing was deleted."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Payloads of the matching types are deleted `days` after they were recorded."""

    name: str
    type: str
    days: int

    def as_json(self) -> dict[str, Any]:
        """The rule as JSON values."""
        return {"name": self.name, "type": self.type, "days": self.days, "action": _ACTION}


def parse_rules(text: str, where: str) -> tuple[Rule, ...]:
    """Read a rules file strictly; `where` names it in errors.

    Raises:
        InputError: not TOML, an unknown field, or a value out of range.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise InputError(f"{where} is not valid TOML.") from None
    tables = values.get("rule")
    if set(values) != {"rule"} or not isinstance(tables, list) or not tables:
        raise InputError(f"{where} must hold [[rule]] tables and nothing else.")
    rules = [_rule(table, number, where) for number, table in enumerate(tables, 1)]
    if len({rule.name for rule in rules}) != len(rules):
        raise InputError(f"{where}: two rules have the same name.", field="name")
    return tuple(rules)


def _rule(table: Any, number: int, where: str) -> Rule:
    def fail(field: str, what: str) -> InputError:
        return InputError(f"{where}, rule {number}, field {field}: {what}", field=field)

    if not isinstance(table, dict) or set(table) != _FIELDS:
        raise fail("", f"a rule has exactly the fields {', '.join(sorted(_FIELDS))}.")
    name, kind, days = table["name"], table["type"], table["days"]
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise fail("name", "a short name is required.")
    if not isinstance(kind, str) or _GLOB.fullmatch(kind) is None:
        raise fail("type", "an event type is required, in which * ? and [...] stand for what varies.")
    if type(days) is not int or not 1 <= days <= _LONGEST_DAYS:
        raise fail("days", f"a whole number from 1 to {_LONGEST_DAYS} is required.")
    if table["action"] != _ACTION:
        raise fail("action", f"the only action is {_ACTION}.")
    return Rule(name, kind, days)


@dataclass(frozen=True, slots=True)
class Ran:
    """What one rule did.

    Attributes:
        rule: its name.
        cutoff: entries recorded before this instant were due, RFC 3339.
        indices: leaf indices of the events that record it; none when nothing was deleted.
        counts: payloads deleted by event type.
        kept: payloads that were due and kept, by reason: `holds`, `incidents`.
    """

    rule: str
    cutoff: str
    indices: tuple[int, ...]
    counts: Mapping[str, int]
    kept: Mapping[str, int]

    @property
    def deleted(self) -> int:
        """Payloads deleted."""
        return sum(self.counts.values())

    def as_json(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {
            "rule": self.rule,
            "cutoff": self.cutoff,
            "indices": list(self.indices),
            "deleted": self.deleted,
            "counts": dict(self.counts),
            "kept": dict(self.kept),
        }


def run_rules(
    ledger: Ledger,
    rules: Sequence[Rule],
    *,
    by: str,
    cases: Cases | None = None,
    override: str = "",
    batch: int = BATCH,
) -> list[Ran]:
    """Delete what is due under the rules, in batches, each with its event.

    Afterwards the remains have to be wiped from the files, see `ledger.forgetting.scrub`; that frees the disk.

    Args:
        ledger: where.
        rules: what is due when.
        by: ref of who orders it.
        cases: investigations whose evidence is kept.
        override: reason to go on although an open investigation has not stated yet what it rests on.
        batch: payloads per transaction.

    Raises:
        RetentionHeldError: an investigation, open or on hold, has not stated yet what it rests on.
        StoreDamagedError: what is due is not what the log signed; nothing of that batch was deleted.
    """
    ledger.database.ensure(TABLES)
    now = ledger.clock()
    prepare(ledger)
    _note_rules(ledger, rules, by)
    kept = _Kept(ledger, cases or NoCases(), format_time(now), override.strip())
    return [
        _Run(ledger, rule, now, by=by, kept=kept, batch=batch).run()
        for rule in sorted(rules, key=lambda rule: rule.days)
    ]


def _note_rules(ledger: Ledger, rules: Sequence[Rule], by: str) -> None:
    """Record the rules when they are not those of the last run."""
    listed = [rule.as_json() for rule in rules]
    digest = hashlib.sha256(canonical(listed)).hexdigest()

    def decide(connection: Connection, _first: int) -> Sequence[OwnEvent]:
        if standing(connection).rules == digest:
            return []
        return [OwnEvent(RULES_CHANGED, {"rules": digest, "list": listed, "by": by})]

    ledger.decide(decide)


class _Kept:
    """What is kept although it is due, as of one state of the log."""

    def __init__(self, ledger: Ledger, cases: Cases, now: str, override: str) -> None:
        self._now = now
        self.size = ledger.size()
        self.override = override
        with ledger.database.read() as connection:
            holds = standing(connection).active(now)
        needed = dict.fromkeys(cases.open()) | dict.fromkeys(hold.target for hold in holds if hold.kind == "incident")
        found = {case: cases.evidence(case) for case in needed}
        unknown = [case for case, indices in found.items() if indices is None]
        held = {hold.target for hold in holds}
        if unknown and not (override and held.isdisjoint(unknown)):
            raise RetentionHeldError(
                f"{', '.join(unknown)} may need what is due, and has not stated which entries it rests on; nothing was "
                "deleted. Scope it first, or give a reason to override (which no hold allows)."
            )
        self.incidents = frozenset[int]().union(*(indices for indices in found.values() if indices is not None))

    def holds(self, connection: Connection) -> list[Hold]:
        """Holds on people and resources now.

        Raises:
            StoreBusyError: an incident changed, or was put on hold, since the investigations were asked.
        """
        holds = standing(connection).active(self._now)
        if incidents_moved(connection, self.size) or any(
            hold.kind == "incident" and hold.placed >= self.size for hold in holds
        ):
            raise StoreBusyError("Investigations changed while retention ran; run it again to go on.")
        return [hold for hold in holds if hold.kind != "incident"]


class _Run:
    def __init__(self, ledger: Ledger, rule: Rule, now: datetime, *, by: str, kept: _Kept, batch: int) -> None:
        self._ledger, self._rule, self._by, self._kept, self._batch = ledger, rule, by, kept, batch
        self._cutoff = format_time(now - timedelta(days=rule.days))
        self._last = 0
        self._matches = type_test(rule.type)
        self._deleted: Counter[str] = Counter()
        self._spared: Counter[str] = Counter()

    def run(self) -> Ran:
        with self._ledger.database.read() as connection:
            self._end = recorded_before(connection, self._cutoff)
        counts: Counter[str] = Counter()
        kept: Counter[str] = Counter()
        indices: list[int] = []
        while self._last < self._end:
            due = self._find_due()
            if due:
                indices += self._ledger.decide(partial(self._decide, due))
                counts += self._deleted
                kept += self._spared
            self._last = due[-1] if len(due) == self._batch else self._end
        return Ran(
            self._rule.name, self._cutoff, tuple(indices), dict(sorted(counts.items())), dict(sorted(kept.items()))
        )

    def _find_due(self) -> list[int]:
        """Positions of the next entries of the rule's types, at most a batch; read before writers have to wait."""
        with self._ledger.database.read() as connection:
            rows = connection.stream(
                "SELECT position, topic FROM event WHERE position > ? AND position <= ? AND payload IS NOT NULL"
                " ORDER BY position",
                (self._last, self._end),
            )
            return list(islice((row["position"] for row in rows if self._matches(row["topic"])), self._batch))

    def _decide(self, due: Sequence[int], connection: Connection, first: int) -> Sequence[OwnEvent]:
        holds = self._kept.holds(connection)
        rows = _read(connection, due)
        counts: Counter[str] = Counter()
        kept: Counter[str] = Counter()
        chosen: list[int] = []
        for row in rows:
            entry, index = self._due(row), row["position"] - 1
            if entry.source == OWN_SOURCE:
                continue
            if index in self._kept.incidents:
                kept["incidents"] += 1
            elif holds and any(touches(hold, parse(row["payload"])) for hold in holds):
                kept["holds"] += 1
            else:
                counts[entry.type] += 1
                chosen.append(index)
        self._deleted, self._spared = counts, kept
        if not chosen:
            return []
        return [self._event(destroy_payloads(self._ledger, connection, chosen, first), counts, kept)]

    def _due(self, row: Row) -> Entry:
        """The entry, if it is due by what it says itself: the columns and times that led to it nobody signed."""
        try:
            entry = Entry.decode(row["entry"])
        except InputError:
            entry = None
        if entry is None or not self._matches(entry.type) or entry.recorded >= self._cutoff:
            raise StoreDamagedError(
                f"Entry {row['position'] - 1} is not due by what it says itself: what led to it was altered in the "
                "database. Nothing was deleted with it. Run `tocsin verify`, then restore a backup."
            )
        return entry

    def _event(self, deleted: Mapping[str, object], counts: Mapping[str, int], kept: Mapping[str, int]) -> OwnEvent:
        data: dict[str, Any] = {
            "rule": self._rule.as_json(),
            "cutoff": self._cutoff,
            "counts": dict(counts),
            "kept": dict(kept),
            "payloads": deleted,
            "by": self._by,
        }
        if self._kept.override:
            data["override"] = self._kept.override
        return OwnEvent(RETENTION_EXECUTED, data)


def _read(connection: Connection, positions: Sequence[int]) -> Iterator[Row]:
    """These entries, as far as nobody else deleted their payloads meanwhile, in order."""
    for start in range(0, len(positions), _VALUES):
        some = positions[start : start + _VALUES]
        yield from connection.execute(
            # Only a number of marks is spliced in.
            "SELECT position, entry, payload FROM event"  # noqa: S608
            f" WHERE position IN ({', '.join('?' * len(some))}) AND payload IS NOT NULL ORDER BY position",
            some,
        ).fetchall()


def type_test(pattern: str) -> Callable[[str], bool]:
    """Whether an event type fits a rule's pattern: `*`, `?` and `[...]` as in a shell, `[!...]` or `[^...]` for not."""
    fits = re.compile(translate(pattern.replace("[^", "[!"))).match
    return lru_cache(maxsize=1024)(lambda topic: fits(topic) is not None)


def recorded_before(connection: Connection, cutoff: str) -> int:
    """How many entries were recorded before `cutoff`; times never decrease along the log."""
    low, high = 0, read_head(connection).size
    while low < high:
        middle = (low + high) // 2
        row = connection.execute("SELECT entry FROM event WHERE position = ?", (middle + 1,)).fetchone()
        if Entry.decode(row["entry"]).recorded < cutoff:
            low = middle + 1
        else:
            high = middle
    return low
