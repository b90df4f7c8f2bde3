"""The events of forgetting, and what stands when they are read in order.

Nothing here is kept in a table of its own that could be edited: holds, erasures and the positions of
deleted payloads are read back from the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, cast

from ledger.encoding import parse
from ledger.entries import Entry
from ledger.errors import InputError, StoreDamagedError
from ledger.store.catalogue import has_table
from ledger.store.connection import Connection
from ledger.vocabulary import OWN_SOURCE

HOLD_PLACED: Final = "org.tocsin.hold.placed.v1"
HOLD_LIFTED: Final = "org.tocsin.hold.lifted.v1"
ERASURE_EXECUTED: Final = "org.tocsin.erasure.executed.v1"
ERASURE_REFUSED: Final = "org.tocsin.erasure.refused.v1"
ERASURE_COMPLETED: Final = "org.tocsin.erasure.completed.v1"
RETENTION_EXECUTED: Final = "org.tocsin.retention.executed.v1"
RULES_CHANGED: Final = "org.tocsin.retention.rule_changed.v1"
KEY_ROTATED: Final = "org.tocsin.key.rotated.v1"

TYPES: Final = (
    HOLD_PLACED,
    HOLD_LIFTED,
    ERASURE_EXECUTED,
    ERASURE_REFUSED,
    ERASURE_COMPLETED,
    RETENTION_EXECUTED,
    RULES_CHANGED,
)
"""What `read` reads. A store uses the partial index only where a query repeats its very words."""

_AMONG: Final = f"topic IN ({', '.join(repr(name) for name in TYPES)})"
LIST: Final = "forgotten"
"""Table of deleted payloads, see `ledger.forgetting.coverage`; made before the first of these events, with `INDEX`."""
INDEX: Final = f"CREATE INDEX IF NOT EXISTS event_forgetting ON event (topic) WHERE {_AMONG}"

ScopeKind = Literal["person", "incident", "resource"]


@dataclass(frozen=True, slots=True)
class Recorded:
    """One of these events as the log has it."""

    index: int
    type: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Hold:
    """An order to keep something.

    Attributes:
        id: `hold-N`, where N is the leaf index of the event that placed it.
        kind, target: what is held: a person (ref), an incident (id) or a resource (id, or container).
        authority: who ordered it.
        basis: the rule or order it rests on.
        expires: RFC 3339 instant from which it no longer holds, or None.
        lifted: leaf index of the event that lifted it, or None.
    """

    id: str
    kind: ScopeKind
    target: str
    authority: str
    basis: str
    expires: str | None
    placed: int
    lifted: int | None = None

    def active(self, now: str) -> bool:
        """Whether it holds at `now`, an instant as `format_time` writes it."""
        return self.lifted is None and (self.expires is None or now < self.expires)

    def as_json(self, now: str) -> dict[str, Any]:
        """The hold as JSON values, with its state."""
        state = "lifted" if self.lifted is not None else "active" if self.active(now) else "expired"
        return {
            "hold": self.id,
            "state": state,
            "scope": {self.kind: self.target},
            "authority": self.authority,
            "basis": self.basis,
            "expires": self.expires,
            "placed": self.placed,
            "lifted": self.lifted,
        }


@dataclass(frozen=True, slots=True)
class Positions:
    """What an event says about the payloads it deleted: how many, and the Merkle root (hex) of where."""

    count: int
    root: str


@dataclass(frozen=True)
class Standing:
    """What stands after a prefix of the log.

    Attributes:
        holds: by id, in the order they were placed.
        erased: ref -> leaf index of the event that erased it.
        deleted: leaf index of an erasure or retention event -> what it deleted.
        unfinished: leaf indices of such events whose remains were not yet wiped from the files.
        rules: digest (hex) of the retention rules in force, or None.
    """

    holds: Mapping[str, Hold] = field(default_factory=dict)
    erased: Mapping[str, int] = field(default_factory=dict)
    deleted: Mapping[int, Positions] = field(default_factory=dict)
    unfinished: frozenset[int] = frozenset()
    rules: str | None = None

    def active(self, now: str) -> list[Hold]:
        """Holds that hold at `now`."""
        return [hold for hold in self.holds.values() if hold.active(now)]


def fold(events: Iterable[Recorded]) -> Standing:
    """What stands after these events, given in log order."""
    holds: dict[str, Hold] = {}
    erased: dict[str, int] = {}
    deleted: dict[int, Positions] = {}
    unfinished: set[int] = set()
    rules: str | None = None
    for event in events:
        data = event.data
        if event.type == HOLD_PLACED:
            hold = _hold(event)
            holds[hold.id] = hold
        elif event.type == HOLD_LIFTED and data["hold"] in holds:
            holds[data["hold"]] = replace(holds[data["hold"]], lifted=event.index)
        elif event.type in (ERASURE_EXECUTED, RETENTION_EXECUTED):
            deleted[event.index] = Positions(data["payloads"]["count"], data["payloads"]["root"])
            unfinished.add(event.index)
            if "ref" in data:
                erased[data["ref"]] = event.index
        elif event.type == ERASURE_COMPLETED:
            unfinished.difference_update(data["events"])
        elif event.type == RULES_CHANGED:
            rules = data["rules"]
    return Standing(holds, erased, deleted, frozenset(unfinished), rules)


def _hold(event: Recorded) -> Hold:
    data = event.data
    [(kind, target)] = data["scope"].items()
    return Hold(
        data["hold"],
        cast("ScopeKind", kind),
        target,
        data["authority"],
        data["basis"],
        data["expires"],
        event.index,
    )


def read(connection: Connection, naming: str = "") -> list[Recorded]:
    """These events in log order; what is damaged is left out, for `verify` names it.

    `naming` leaves out those whose payload does not have this text.
    """
    found = []
    sql = f"SELECT position, entry, payload FROM event WHERE {_AMONG}"  # noqa: S608 - names of this module
    if naming:
        sql += " AND instr(payload, ?)"
    for row in connection.execute(f"{sql} ORDER BY position", [naming.encode()] if naming else []):
        try:
            entry = Entry.decode(row["entry"])
            data = parse(row["payload"])["data"]
        except (InputError, KeyError, TypeError):
            continue
        # Producers may use any type; only Tocsin's own source makes it an act of this ledger.
        if entry.source == OWN_SOURCE and entry.type in TYPES and isinstance(data, dict):
            found.append(Recorded(row["position"] - 1, entry.type, data))
    return found


def standing(connection: Connection, naming: str = "") -> Standing:
    """What stands in this snapshot of the log, or of the events whose payload has the text `naming`.

    Raises:
        StoreDamagedError: one of the events is not as Tocsin writes it.
    """
    try:
        return fold(read(connection, naming))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise StoreDamagedError(
            "An event about holds, erasures or retention is not as it was written; run `tocsin verify`."
        ) from None


def erased_in(connection: Connection, ref: str) -> int | None:
    """Leaf index of the event that erased a ref, or None."""
    # Without the table nothing was ever forgotten here, and the whole log need not be read to know it.
    return standing(connection, ref).erased.get(ref) if has_table(connection, LIST) else None
