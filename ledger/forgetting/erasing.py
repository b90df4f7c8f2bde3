"""Erasure of one identity: what is destroyed, what refuses it, what the log says of it.

Destroyed in one transaction with the event that says so: the vault row (name, contacts, keyed hash of the
identity, data key), and with the data key everything that was ever sealed about the person, alone or
together with others; and the payloads, with their salts, of entries whose only subject is this person.
What else names the ref stays: with the vault row gone, the ref is a random word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ledger.encoding import format_time, parse
from ledger.entries import Entry
from ledger.errors import ErasedIdentityError, InputError, NotFoundError, StoreBusyError, TocsinError
from ledger.exchange import OwnEvent
from ledger.forgetting.cases import Cases, NoCases, incidents_moved
from ledger.forgetting.coverage import TABLES
from ledger.forgetting.destroying import destroy_payloads, prepare
from ledger.forgetting.events import ERASURE_EXECUTED, ERASURE_REFUSED, Hold, erased_in, standing
from ledger.forgetting.holding import in_vault, refs_in, touches
from ledger.store.connection import Connection
from ledger.store.log import read_head
from ledger.vocabulary import OWN_SOURCE, verdict

if TYPE_CHECKING:
    from ledger.ledger import Ledger

RESIDUAL: Final = (
    "bundles, reports and announcements that were handed out",
    "backups made before",
    "messages that were delivered, and what providers keep of them",
    "the systems that sent the events, and their spools",
    "entries of other people that name the pseudonym",
    "events of unknown types: they are sealed under the ledger's own key; retention deletes them",
)
"""Where something may be left that this ledger cannot reach."""

_TRIES: Final = 50


class ErasureRefusedError(TocsinError):
    """Something forbids the erasure; nothing was destroyed, and the refusal was recorded.

    Attributes:
        index: leaf index of the event that records it.
        reasons: why, in words.
    """

    def __init__(self, index: int, reasons: Sequence[str]) -> None:
        self.index = index
        self.reasons = tuple(reasons)
        super().__init__(f"The erasure was refused (entry {index}): {' '.join(self.reasons)}")


class _MovedError(StoreBusyError):
    """What was read before the transaction is not true in it; read again."""


@dataclass(frozen=True, slots=True)
class Erased:
    """An erasure that was carried out.

    Attributes:
        ref: whose.
        index: leaf index of the event.
        key: id of the destroyed data key.
        payloads: payloads deleted.
        shared: entries about several people, this one among them; what was sealed there is lost for all.
        named: other entries that name the ref, which stay.
        needles: byte strings that may no longer be found in any file; not recorded, not shown.
    """

    ref: str
    index: int
    key: str
    payloads: int
    shared: int
    named: int
    needles: tuple[bytes, ...] = field(default=(), repr=False)

    def as_json(self) -> dict[str, Any]:
        """The erasure as JSON values."""
        names = ("ref", "index", "key", "payloads", "shared", "named")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class Found:
    """Where the log names a ref: leaf indices, ascending.

    Attributes:
        alone: producers' entries whose only subject it is.
        shared: producers' entries about others too.
        named: entries that name it otherwise: as an actor, or in Tocsin's own events.
        held: ids of the holds given that keep one of these entries.
    """

    alone: tuple[int, ...]
    shared: tuple[int, ...]
    named: tuple[int, ...]
    held: tuple[str, ...]

    def __add__(self, other: Found) -> Found:
        return Found(
            self.alone + other.alone,
            self.shared + other.shared,
            self.named + other.named,
            tuple(dict.fromkeys(self.held + other.held)),
        )


def find(connection: Connection, ref: str, holds: Sequence[Hold] = (), *, start: int = 0) -> Found:
    """Read the log from leaf `start` on for entries that name a ref, and which of these holds keep any of them."""
    alone: list[int] = []
    shared: list[int] = []
    named: list[int] = []
    held: dict[str, None] = {}
    rows = connection.stream(
        "SELECT position, entry, payload FROM event WHERE position > ? AND instr(payload, ?) ORDER BY position",
        (start, ref.encode()),
    )
    for row in rows:
        index, payload = row["position"] - 1, parse(row["payload"])
        entry = Entry.decode(row["entry"])
        people = set(refs_in(payload)) if entry.source != OWN_SOURCE and verdict(entry.type) == "known" else set()
        if ref not in people:
            named.append(index)
            continue
        (alone if len(people) == 1 else shared).append(index)
        held.update(dict.fromkeys(hold.id for hold in holds if touches(hold, payload)))
    return Found(tuple(alone), tuple(shared), tuple(named), tuple(held))


def erase(
    ledger: Ledger,
    ref: str,
    *,
    basis: str,
    by: str,
    payloads: bool = True,
    cases: Cases | None = None,
    override: str = "",
) -> Erased:
    """Erase an identity from the ledger, or record why that was refused.

    Afterwards the remains have to be wiped from the files, see `ledger.forgetting.scrub`.

    Args:
        ledger: where.
        ref: whose; subjects, actors and network addresses can be erased.
        basis: the rule it rests on, such as `eu-gdpr:A17-1-b`, or the request's number.
        by: ref of who orders it.
        payloads: also delete payloads about this person alone; False keeps them as evidence of who
            accessed what, under a pseudonym that leads nowhere.
        cases: investigations that may need the person.
        override: reason to erase although an open investigation affects the person; holds cannot be
            overridden, only lifted.

    Raises:
        NotFoundError: the vault has no such identity.
        ErasedIdentityError: it was erased before.
        ErasureRefusedError: a hold or an open investigation forbids it.
        InputError: no basis was given.
        StoreDamagedError: what would be destroyed is not what the log signed; nothing was.
    """
    if not basis.strip() or not basis.isprintable():
        raise InputError("An erasure needs its legal basis, such as eu-gdpr:A17-1-b.", field="basis")
    ledger.database.ensure(TABLES)
    cases = cases or NoCases()
    if payloads and ref.startswith("s_"):
        prepare(ledger)
    for _ in range(_TRIES):
        attempt = _Attempt(
            ledger, ref, basis=basis.strip(), by=by, payloads=payloads, cases=cases, override=override.strip()
        )
        try:
            [index] = ledger.decide(attempt.decide)
        except _MovedError:
            continue
        if attempt.reasons:
            raise ErasureRefusedError(index, attempt.reasons)
        assert attempt.done is not None
        return attempt.done
    raise StoreBusyError("Investigations kept changing while the erasure was decided; nothing was erased, try again.")


class _Attempt:
    """One decision, on one state of the investigations; `decide` may run more than once."""

    def __init__(
        self, ledger: Ledger, ref: str, *, basis: str, by: str, payloads: bool, cases: Cases, override: str
    ) -> None:
        self._ledger, self._ref, self._basis, self._by = ledger, ref, basis, by
        self._payloads, self._override = payloads and ref.startswith("s_"), override
        # Investigations are asked before the transaction: they read the ledger through its own doors.
        self._now = format_time(ledger.clock())
        # The long reading of the log, too, so that writers need not wait for it.
        with ledger.database.read() as connection:
            self._size = read_head(connection).size
            holds = self._holds = standing(connection).active(self._now)
            self._found = find(connection, ref, holds)
        self._affecting = tuple(cases.affecting(ref))
        self._concerned = {
            hold.target for hold in holds if hold.kind == "incident" and cases.concerns(hold.target, ref)
        }
        self.reasons: list[str] = []
        self.done: Erased | None = None

    def decide(self, connection: Connection, first: int) -> Sequence[OwnEvent]:
        self.reasons, self.done = [], None
        if not in_vault(connection, self._ref):
            index = erased_in(connection, self._ref)
            if index is not None:
                raise ErasedIdentityError(f"That identity was erased already; entry {index} says so.")
            raise NotFoundError("The vault has no identity of that name; there is nothing to erase.")
        holds = standing(connection).active(self._now)
        if holds != self._holds:
            raise _MovedError("A hold changed while the erasure was decided; nothing was erased. Try again.")
        _refuse_if_moved(connection, first, self._size)
        found = self._found + find(connection, self._ref, holds, start=self._size)
        blocking = [hold for hold in holds if self._blocks(hold, found)]
        objections = () if self._override else self._affecting
        if blocking or objections:
            self.reasons = [f"{hold.id} forbids it ({hold.authority}: {hold.basis})." for hold in blocking]
            self.reasons += [f"Incident {case} is open and affects this person." for case in objections]
            return [self._refusal([hold.id for hold in blocking], objections)]
        return [self._execute(connection, first, found)]

    def _blocks(self, hold: Hold, found: Found) -> bool:
        if hold.kind == "incident":
            return hold.target in self._concerned
        return hold.target == self._ref or hold.id in found.held

    def _refusal(self, holds: Sequence[str], incidents: Sequence[str]) -> OwnEvent:
        data = {
            "ref": self._ref,
            "basis": self._basis,
            "by": self._by,
            "holds": list(holds),
            "incidents": list(incidents),
        }
        return OwnEvent(ERASURE_REFUSED, data)

    def _execute(self, connection: Connection, first: int, found: Found) -> OwnEvent:
        alone = _present(connection, found.alone) if self._payloads else ()
        needles = _needles(connection, self._ref, alone)
        # First what may refuse: somebody altered what would be destroyed.
        deleted = destroy_payloads(self._ledger, connection, alone, first)
        key = self._ledger.vault.erase(connection, self._ref)
        named = len(found.named) + len(found.alone) - len(alone)
        data: dict[str, Any] = {
            "ref": self._ref,
            "basis": self._basis,
            "by": self._by,
            "scope": ["identity", "sealed_details"] + ["payloads"] * self._payloads,
            "keys": [key],
            "payloads": deleted,
            "shared": len(found.shared),
            "named": named,
            "residual": list(RESIDUAL),
        }
        if self._override and self._affecting:
            data["override"] = {"incidents": list(self._affecting), "reason": self._override}
        self.done = Erased(self._ref, first, key, len(alone), len(found.shared), named, needles)
        return OwnEvent(ERASURE_EXECUTED, data)


def _refuse_if_moved(connection: Connection, first: int, size: int) -> None:
    """What was decided before the transaction must still be true in it."""
    written = connection.execute("SELECT coalesce(max(position), 0) FROM event").fetchone()[0]
    if written != first or incidents_moved(connection, size):
        # Entries that share this commit are not in the table yet, so they could not be searched.
        raise _MovedError("The log grew while the erasure was decided; nothing was erased. Try again.")


def _present(connection: Connection, indices: Sequence[int]) -> tuple[int, ...]:
    """Those whose payload was not deleted by somebody else since the log was read."""
    sql = "SELECT 1 FROM event WHERE position = ? AND payload IS NOT NULL"
    return tuple(index for index in indices if connection.execute(sql, (index + 1,)).fetchone() is not None)


def _needles(connection: Connection, ref: str, indices: Sequence[int]) -> tuple[bytes, ...]:
    """Random bytes of what is about to be destroyed: if these are nowhere, nothing beside them is."""
    row = connection.execute("SELECT lookup, data_key, profile FROM vault WHERE ref = ?", (ref,)).fetchone()
    found = [row["lookup"], row["data_key"], row["profile"][:64]]
    for index in indices[:_SEARCHED]:
        salt = connection.execute("SELECT salt FROM event WHERE position = ?", (index + 1,)).fetchone()["salt"]
        found += [] if salt is None else [salt]
    return tuple(item for item in found if isinstance(item, bytes) and item)


_SEARCHED: Final = 200
