"""Sealing the index: its roots become entries of the log.

`seal_index` reads what the log has gained, hashes it in, and records one `org.tocsin.index.sealed.v1`
for each map:

    construction  "tocsin/index/v1"
    kind          "subject" or "resource"
    size          the map covers entries 0 to size - 1
    root          hex
    count         keys in the map
    unreadable    accesses among those entries whose payload was erased before they were indexed
    key           public name of the index key

From then on the log cannot show another index for that size without showing two roots. Whom an entry named
cannot be read any more once its payload is erased, so whatever destroys payloads calls `index_before` first.
What a payload says counts only if its entry commits to it: a payload that was altered in the database would
otherwise be indexed under whatever name was written into it, and look lawful once it is destroyed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ledger import Ledger, OwnEvent
from ledger.completeness import store
from ledger.completeness.errors import AlreadySealedError
from ledger.completeness.index import CONSTRUCTION, KEY_CONTEXT, KINDS, SEALED_TYPE, Kind, key_id
from ledger.completeness.source import checked
from ledger.completeness.store import Root
from ledger.entries import SALT_SIZE, StoredEntry, commit
from ledger.errors import NotFoundError, StoreDamagedError
from ledger.store.connection import Connection
from ledger.store.log import read_entries

PAGE: Final = 1000
_WAY_ON: Final = "Nothing was changed. Run `tocsin verify`, then restore a backup."
Progress = Callable[[int, int], None]
"""Called with (entries indexed, entries in all)."""


@dataclass(frozen=True, slots=True)
class Seal:
    """A root in the log.

    Attributes:
        index: leaf index of the event that logged it.
        root: the map.
    """

    index: int
    root: Root

    def as_json(self) -> dict[str, Any]:
        """The seal for programs."""
        root = self.root
        return {
            "index": self.index,
            "kind": root.kind,
            "size": root.size,
            "root": root.root.hex(),
            "count": root.count,
            "unreadable": root.unreadable,
        }


def index_key(ledger: Ledger) -> bytes:
    """The key that opens the lists of all leaves, 32 bytes: for the operator and the auditor, nobody else."""
    return ledger.vault.fingerprint(KEY_CONTEXT)


def seal_index(ledger: Ledger, *, progress: Progress = lambda _done, _total: None) -> list[Seal]:
    """Index what the log has gained and log the roots; the newest seal, one per map, is returned.

    Repeating it changes nothing until other entries than seals have come, and a run that was cut
    short is taken up where it stopped.

    Raises:
        StoreError: the store refused.
    """
    for done, total in seal_steps(ledger):
        progress(done, total)
    newest = seals(ledger)
    return [seal for seal in newest if seal.root.size == newest[-1].root.size]


def seal_steps(ledger: Ledger, *, page: int | None = None) -> Iterator[tuple[int, int]]:
    """`seal_index` in steps of one transaction each; gives (entries indexed, entries in all) after each.

    Args:
        ledger: where.
        page: most entries that one transaction reads; `PAGE` when not given.
    """
    ledger.database.ensure(store.TABLES)
    _record(ledger, _pending(ledger))
    grown = _grown(ledger)
    # Tables that are being made again may be behind a seal that they once gave.
    if grown or indexed(ledger) < _newest_size(ledger):
        yield from index_steps(ledger, page=page)
        yield from settle_steps(ledger)
    if grown:
        _record(ledger, _close(ledger))


def index_steps(ledger: Ledger, *, page: int | None = None) -> Iterator[tuple[int, int]]:
    """Read the log up to where it ends now, and seal nothing; steps as of `seal_steps`."""
    ledger.database.ensure(store.TABLES)
    end = ledger.size()
    done = indexed(ledger)
    while done < end:
        with ledger.database.write() as connection:
            done = _absorb(ledger, connection, min(store.tracked(connection) + (page or PAGE), end))
        yield min(done, end), end


def indexed(ledger: Ledger) -> int:
    """How many entries the index has read; the tables must be there."""
    with ledger.database.read() as connection:
        return store.tracked(connection)


def index_before(ledger: Ledger, connection: Connection, size: int) -> None:
    """Have the first `size` entries in the index before payloads among them are destroyed.

    Call `index_steps` before the transaction, so that hardly anything is left to do inside it.

    Args:
        ledger: where.
        connection: the write transaction that destroys them.
        size: up to where; these entries must be in the log already.
    """
    while store.tracked(connection) < size:
        _absorb(ledger, connection, min(store.tracked(connection) + PAGE, size))


def _absorb(ledger: Ledger, connection: Connection, stop: int) -> int:
    """Index the entries up to `stop`; returns how many the index has read then."""
    start = store.tracked(connection)
    if start < stop:
        page = [checked(stored) for stored in read_entries(connection, start, stop)]
        if not page:
            raise StoreDamagedError(f"Entry {start} is missing from the database. {_WAY_ON}")
        require_committed(page)
        erased = any(stored.payload is None for stored in page)
        claims = store.claims(connection, start, stop) if erased else None
        store.absorb(connection, ledger.origin, index_key(ledger), page, claims)
    return store.tracked(connection)


def require_committed(page: Sequence[StoredEntry]) -> None:
    """Refuse payloads that are not what their entries commit to; those that are gone say nothing.

    An entry's bytes are canonical and begin with its commitment, so nothing has to be read but that.

    Args:
        page: entries whose columns hold bytes.

    Raises:
        StoreDamagedError: one was altered; the message names the entry.
    """
    for stored in page:
        if stored.payload is None:
            continue
        salt = stored.salt or b""
        begins = f'{{"commitment":"{commit(salt, stored.payload)}",'
        if len(salt) != SALT_SIZE or not stored.entry.startswith(begins.encode()):
            raise StoreDamagedError(
                f"The payload of entry {stored.index} is not what the entry commits to: it was altered in the "
                f"database. {_WAY_ON}"
            )


def settle_steps(ledger: Ledger) -> Iterator[tuple[int, int]]:
    """Hash again what changed, until nothing is left but the root; steps as of `seal_steps`."""
    total = indexed(ledger)
    settled = False
    while not settled:
        with ledger.database.write() as connection:
            settled = store.settle(connection)
        yield total, total


def seals(ledger: Ledger) -> list[Seal]:
    """Every seal this index made, smallest size first."""
    ledger.database.ensure(store.TABLES)
    with ledger.database.read() as connection:
        rows = connection.execute(
            "SELECT * FROM access_map_seal WHERE position IS NOT NULL ORDER BY size, kind DESC"
        ).fetchall()
    return [
        Seal(row["position"] - 1, Root(row["kind"], row["size"], row["root"], row["count"], row["unreadable"]))
        for row in rows
    ]


def find_seals(ledger: Ledger, size: int | None = None) -> dict[Kind, Seal]:
    """The seals of one size, the newest when none is given.

    Raises:
        NotFoundError: nothing was sealed at that size.
    """
    known = seals(ledger)
    if not known:
        raise NotFoundError("The index was never sealed; run `tocsin report seal`.")
    wanted = known[-1].root.size if size is None else size
    found = {seal.root.kind: seal for seal in known if seal.root.size == wanted}
    if len(found) != len(KINDS):
        sizes = ", ".join(str(number) for number in sorted({seal.root.size for seal in known})[-5:])
        raise NotFoundError(f"The index was not sealed at size {wanted}; the last sizes are {sizes}.")
    return found


def _pending(ledger: Ledger) -> list[Root]:
    """Roots that were computed and not logged: the last run was cut short in between."""
    with ledger.database.read() as connection:
        rows = connection.execute(
            "SELECT kind, size, root, count, unreadable FROM access_map_seal WHERE position IS NULL ORDER BY kind DESC"
        ).fetchall()
    return [Root(*row) for row in rows]


def _grown(ledger: Ledger) -> bool:
    """Whether anything but seals came since the last seal."""
    size = _newest_size(ledger)
    with ledger.database.read() as connection:
        row = connection.execute(
            "SELECT 1 FROM event WHERE position > ? AND topic != ? LIMIT 1", (size, SEALED_TYPE)
        ).fetchone()
    return row is not None


def _newest_size(ledger: Ledger) -> int:
    with ledger.database.read() as connection:
        return int(connection.execute("SELECT coalesce(max(size), 0) FROM access_map_seal").fetchone()[0])


def _close(ledger: Ledger) -> list[Root]:
    """Compute both roots at the size the index has reached, and remember them as not yet logged."""
    while True:
        with ledger.database.write() as connection:
            # Another process may have read on in the meantime.
            if not store.settle(connection):
                continue
            roots = [store.root(connection, kind) for kind in KINDS]
            for root in roots:
                connection.execute(
                    "INSERT INTO access_map_seal (kind, size, root, count, unreadable) VALUES (?, ?, ?, ?, ?)"
                    " ON CONFLICT DO NOTHING",
                    (root.kind, root.size, root.root, root.count, root.unreadable),
                )
            return roots


def _record(ledger: Ledger, roots: Sequence[Root]) -> None:
    if not roots:
        return
    public = key_id(index_key(ledger))
    events = [
        OwnEvent(
            SEALED_TYPE,
            {
                "construction": CONSTRUCTION,
                "kind": root.kind,
                "size": root.size,
                "root": root.root.hex(),
                "count": root.count,
                "unreadable": root.unreadable,
                "key": public,
            },
        )
        for root in roots
    ]

    def mark(connection: Connection, indices: Sequence[int]) -> None:
        for root, index in zip(roots, indices, strict=True):
            marked = connection.execute(
                "UPDATE access_map_seal SET position = ? WHERE kind = ? AND size = ? AND position IS NULL",
                (index + 1, root.kind, root.size),
            ).rowcount
            if marked != 1:
                raise AlreadySealedError(f"Another process has logged the index of size {root.size} already.")

    try:
        ledger.record(events, also=mark)
    except AlreadySealedError:
        # Its roots are these roots: both are a function of the same entries.
        return
