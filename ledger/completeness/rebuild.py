"""Making the tables of the index again from the log.

The old tables are dropped and new ones begun in one transaction; what they said of entries whose payload is
gone is set aside in it (`access_map_claim`), because nothing else says whom those entries named. Then the log
is read page by page, as for a seal: a run that was cut short is taken up by the next seal or the next
rebuild, and until then reports are refused with the reason. Claims are believed no more than before: the
result says whether the new tables give the newest root in the log.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ledger.completeness import store
from ledger.completeness.check import Sealed, read_seal
from ledger.completeness.errors import ReportError
from ledger.completeness.index import KINDS, SEALED_TYPE, key_id
from ledger.completeness.sealing import Progress, index_key, index_steps, indexed, settle_steps
from ledger.entries import Entry
from ledger.errors import InputError
from ledger.store.catalogue import has_table
from ledger.store.connection import Connection

if TYPE_CHECKING:
    from ledger.ledger import Ledger

_ALL: Final = tuple(f"access_map_{name}" for name in ("key", "entry", "unreadable", "node", "dirty", "seal"))


@dataclass(frozen=True, slots=True)
class RebuiltIndex:
    """What was made again.

    Attributes:
        entries: entries read.
        erased: of these, entries whose labels were taken from the old tables because their payload is gone.
        unreadable: accesses whose payload is gone and of which the old tables said nothing.
        seals: seals in the log.
        sealed: size of the newest, 0 where there is none.
        matches: whether the new tables give its roots; True where there is none.
    """

    entries: int
    erased: int
    unreadable: int
    seals: int
    sealed: int
    matches: bool

    def as_json(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}


def rebuild_index(ledger: Ledger, progress: Progress = lambda _done, _total: None) -> RebuiltIndex | None:
    """Make the tables of the index again; None where the ledger has no index and never sealed one.

    Raises:
        StoreDamagedError: an entry is damaged; the log has to be repaired first.
        StoreError: the store refused.
    """
    size = ledger.size()
    with ledger.database.read() as connection:
        found = list(_seals(ledger, connection, 0, size))
        if not found and not has_table(connection, _ALL[0]):
            return None
    ledger.database.ensure(store.TABLES)
    with ledger.database.write() as connection:
        found += _seals(ledger, connection, size, None)
        erased = _begin(connection, found)
    for done, total in index_steps(ledger):
        progress(done, total)
    for done, total in settle_steps(ledger):
        progress(done, total)
    sealed = max((seal.size for _, seal in found), default=0)
    newest = [seal for _, seal in found if seal.size == sealed]
    with ledger.database.read() as connection:
        matches = all(
            store.prove_at(connection, index_key(ledger), kind, bytes(32), sealed)[0] == seal.root
            for seal in newest
            for kind in KINDS
            if kind == seal.kind
        )
        unreadable = store.root(connection, KINDS[0]).unreadable
    return RebuiltIndex(indexed(ledger), erased, unreadable, len(found), sealed, matches)


def _seals(ledger: Ledger, connection: Connection, start: int, stop: int | None) -> Iterator[tuple[int, Sealed]]:
    """Seals that this ledger's index made, with their leaf indices, among entries with leaf index in [start, stop)."""
    public = key_id(index_key(ledger))
    sql = "SELECT position, entry, payload FROM event WHERE position > ? AND topic = ?"
    values: list[Any] = [start, SEALED_TYPE]
    if stop is not None:
        sql, values = f"{sql} AND position <= ?", [*values, stop]
    for row in connection.stream(f"{sql} ORDER BY position", values):
        try:
            seal = read_seal(Entry.decode(row["entry"]), row["payload"] or b"")
        except (ReportError, InputError):
            continue  # not one of this index, or damaged: `verify` and `recompute` name it
        if seal.key == public and seal.kind in KINDS and seal.size < row["position"]:
            yield row["position"] - 1, seal


def _begin(connection: Connection, seals: list[tuple[int, Sealed]]) -> int:
    """Set aside what only the tables know, and begin them anew; returns of how many erased entries they knew."""
    size = store.tracked(connection)
    connection.execute("DELETE FROM access_map_claim WHERE position <= ?", (size,))
    # A label of no kind says that the entry was read, whatever it named.
    connection.execute(
        "INSERT INTO access_map_claim (position, kind, label) SELECT position, ?, ? FROM event"
        " WHERE payload IS NULL AND position <= ? AND position NOT IN (SELECT position FROM access_map_unreadable)",
        ("", b"", size),
    )
    connection.execute(
        "INSERT INTO access_map_claim (position, kind, label) SELECT item.position, leaf.kind, leaf.label"
        " FROM access_map_entry AS item JOIN access_map_key AS leaf ON leaf.number = item.number"
        " JOIN event ON event.position = item.position WHERE event.payload IS NULL AND item.position <= ?"
        " ON CONFLICT DO NOTHING",
        (size,),
    )
    connection.execute(
        "DELETE FROM access_map_claim WHERE kind NOT IN (?, ?, ?) OR (kind <> ? AND length(label) <> 32)",
        ("", *KINDS, ""),
    )
    for name in _ALL:
        connection.execute(f"DROP TABLE {name}")
    for statement in store.TABLES.split(";"):
        connection.execute(statement)
    connection.execute("DELETE FROM tracking WHERE name = ?", (store.NAME,))
    for index, seal in seals:
        connection.execute(
            "INSERT INTO access_map_seal (kind, size, root, count, unreadable, position) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            (seal.kind, seal.size, seal.root, seal.count, seal.unreadable, index + 1),
        )
    (known,) = connection.execute("SELECT count(*) FROM access_map_claim WHERE kind = ?", ("",)).fetchone()
    return int(known)
