"""The index in tables beside the log: fed page by page, hashed part by part.

Every step is one transaction of bounded work and memory. An unsealed step leaves nothing behind that
the next run does not take up. The tables are a read model: nothing in them is believed that does not
hash to a root in the log.

`access_map_entry` also remembers under which labels an entry stood whose payload is erased later.
That is how an auditor can still recompute a root that was sealed before the erasure. While the tables are
made again (`ledger.completeness.rebuild`), `access_map_claim` keeps what they said of such entries.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from ledger.completeness.index import (
    KINDS,
    Key,
    Kind,
    Positions,
    blind_of,
    concerns,
    read_lightly,
    touched,
)
from ledger.completeness.trie import BITS, FLOOR, Item, Leaf, MapProof, subtree, trace
from ledger.entries import StoredEntry
from ledger.errors import InputError, StoreDamagedError
from ledger.store.connection import Connection, Row

NAME: Final = "access_map"
PARTS: Final = 500
"""Most 16-bit prefixes that one transaction hashes again."""
_UPPER, _LOWER = 8, 16
_LABEL: Final = 32
_VALUES: Final = 400
"""Values in one statement; every SQLite can do with that many."""

TABLES: Final = """
CREATE TABLE IF NOT EXISTS access_map_key (
    number INTEGER PRIMARY KEY,
    kind   TEXT    NOT NULL,
    label  BLOB    NOT NULL,
    count  INTEGER NOT NULL,
    last   BLOB    NOT NULL,
    UNIQUE (kind, label)
);
CREATE TABLE IF NOT EXISTS access_map_entry (
    number   INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (number, position)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS access_map_unreadable (
    position INTEGER PRIMARY KEY
);
CREATE TABLE IF NOT EXISTS access_map_node (
    kind   TEXT    NOT NULL,
    depth  INTEGER NOT NULL,
    prefix INTEGER NOT NULL,
    hash   BLOB    NOT NULL,
    PRIMARY KEY (kind, depth, prefix)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS access_map_dirty (
    kind  TEXT NOT NULL,
    low   BLOB NOT NULL,
    high  BLOB NOT NULL,
    PRIMARY KEY (kind, low)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS access_map_seal (
    kind       TEXT    NOT NULL,
    size       INTEGER NOT NULL,
    root       BLOB    NOT NULL,
    count      INTEGER NOT NULL,
    unreadable INTEGER NOT NULL,
    position   INTEGER,
    PRIMARY KEY (kind, size)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS access_map_claim (
    position INTEGER NOT NULL,
    kind     TEXT    NOT NULL,
    label    BLOB    NOT NULL,
    PRIMARY KEY (position, kind, label)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tracking (
    name     TEXT PRIMARY KEY,
    position INTEGER NOT NULL
) WITHOUT ROWID
"""
"""`tracking` is the ledger's own; it stands here for the scratch database of `recompute`."""


@dataclass(frozen=True, slots=True)
class Root:
    """A map at a size.

    Attributes:
        kind: which map.
        size: it covers the first `size` entries.
        root: 32 bytes.
        count: how many keys it has.
        unreadable: accesses among these entries whose payload was gone before they were indexed.
    """

    kind: Kind
    size: int
    root: bytes
    count: int
    unreadable: int


def tracked(connection: Connection) -> int:
    """How many entries the index has read."""
    row = connection.execute("SELECT position FROM tracking WHERE name = ?", (NAME,)).fetchone()
    return 0 if row is None else int(row["position"])


def absorb(
    connection: Connection,
    origin: str,
    index_key: bytes,
    page: Iterable[StoredEntry],
    claims: Mapping[int, Mapping[Kind, Sequence[bytes]]] | None = None,
) -> None:
    """Index the entries that follow what was read.

    Args:
        connection: a write transaction.
        origin: the log.
        index_key: 32 bytes.
        page: entries in log order.
        claims: what is said of entries with an erased payload, by leaf index: labels by kind.
    """
    size = tracked(connection)
    found: dict[tuple[Kind, bytes], list[int]] = {}
    labels: dict[Key, bytes] = {}
    for stored in page:
        if stored.index != size:
            raise InputError(f"Entry {stored.index} stands where entry {size} should; give the log from its start.")
        size += 1
        if stored.payload is None:
            claimed = (claims or {}).get(stored.index)
            if claimed is not None:
                for kind, claimed_labels in claimed.items():
                    for label in set(claimed_labels):
                        found.setdefault((kind, label), []).append(stored.index)
            elif concerns(read_lightly(stored).type):
                connection.execute("INSERT INTO access_map_unreadable (position) VALUES (?)", (stored.index + 1,))
            continue
        for key in touched(stored, read_lightly(stored)):
            label = labels.get(key) or labels.setdefault(key, key.label(origin))
            found.setdefault((key.kind, label), []).append(stored.index)
    for kind in KINDS:
        _extend(connection, index_key, kind, {label: indices for (of, label), indices in found.items() if of == kind})
    connection.execute(
        "INSERT INTO tracking VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET position = excluded.position", (NAME, size)
    )


def _extend(connection: Connection, index_key: bytes, kind: Kind, found: Mapping[bytes, list[int]]) -> None:
    """Make the lists of some labels longer. Statements for many rows at once: one for each key took twice as long."""
    known = _known(connection, kind, list(found))
    (last,) = connection.execute("SELECT coalesce(max(number), 0) FROM access_map_key").fetchone()
    rows: list[tuple[int, Kind, bytes, int, bytes]] = []
    for label, indices in found.items():
        number, before = known.get(label) or (None, Positions.empty(blind_of(index_key, label), label))
        if number is None:
            last = number = last + 1
        after = before.extended(indices)
        rows.append((number, kind, label, after.count, after.last))
    connection.executemany(
        "INSERT INTO access_map_key VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (number) DO UPDATE SET count = excluded.count, last = excluded.last",
        rows,
    )
    connection.executemany(
        "INSERT INTO access_map_entry VALUES (?, ?)",
        sorted((row[0], index + 1) for row in rows for index in found[row[2]]),
    )
    connection.executemany(
        "INSERT INTO access_map_dirty VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        [(kind, low, low + b"\xff" * (_LABEL - len(low))) for low in sorted({label[: _LOWER // 8] for label in found})],
    )


def _known(connection: Connection, kind: Kind, labels: Sequence[bytes]) -> dict[bytes, tuple[int, Positions]]:
    known: dict[bytes, tuple[int, Positions]] = {}
    for start in range(0, len(labels), _VALUES):
        some = labels[start : start + _VALUES]
        rows = connection.execute(
            # Only a number of marks is spliced in.
            "SELECT number, label, count, last FROM access_map_key"  # noqa: S608
            f" WHERE kind = ? AND label IN ({', '.join('?' * len(some))})",
            [kind, *some],
        )
        known.update((row["label"], (row["number"], Positions(row["count"], row["last"]))) for row in rows)
    return known


def settle(connection: Connection) -> bool:
    """Hash again what changed, at most `PARTS` prefixes; returns whether nothing is left to do."""
    dirty = [
        (row["kind"], row["low"])
        for row in connection.execute("SELECT kind, low FROM access_map_dirty ORDER BY kind, low LIMIT ?", (PARTS,))
    ]
    _put(connection, _LOWER, _hash_leaves(connection))
    above = sorted({(kind, low[0]) for kind, low in dirty})
    _put(
        connection,
        _UPPER,
        [(kind, at, subtree(_nodes(connection, kind, _LOWER, at, _UPPER), _UPPER, _LOWER)) for kind, at in above],
    )
    connection.executemany("DELETE FROM access_map_dirty WHERE kind = ? AND low = ?", dirty)
    return len(dirty) < PARTS


def _hash_leaves(connection: Connection) -> list[tuple[str, int, bytes]]:
    """(kind, prefix, hash) of the first `PARTS` prefixes that changed."""
    rows = connection.execute(
        "SELECT leaf.kind, leaf.label, leaf.count, leaf.last"
        " FROM (SELECT kind, low, high FROM access_map_dirty ORDER BY kind, low LIMIT ?) AS dirty"
        # CROSS, so that SQLite goes through the short list first.
        " CROSS JOIN access_map_key AS leaf WHERE leaf.kind = dirty.kind"
        " AND leaf.label BETWEEN dirty.low AND dirty.high ORDER BY leaf.kind, leaf.label",
        (PARTS,),
    )
    hashed = []
    for (kind, low), part in groupby(rows, lambda row: (row["kind"], row["label"][: _LOWER // 8])):
        leaves = [Positions(row["count"], row["last"]).leaf(row["label"]).item for row in part]
        hashed.append((kind, int.from_bytes(low, "big"), subtree(leaves, _LOWER, FLOOR)))
    return hashed


def settled(connection: Connection) -> bool:
    """Whether nothing waits to be hashed again."""
    return connection.execute("SELECT 1 FROM access_map_dirty LIMIT 1").fetchone() is None


def _put(connection: Connection, depth: int, nodes: Iterable[tuple[str, int, bytes]]) -> None:
    connection.executemany(
        "INSERT INTO access_map_node VALUES (?, ?, ?, ?)"
        " ON CONFLICT (kind, depth, prefix) DO UPDATE SET hash = excluded.hash",
        [(kind, depth, prefix, node) for kind, prefix, node in nodes],
    )


def _leaves(connection: Connection, kind: str, prefix: int) -> list[Leaf]:
    """The leaves below a 16-bit prefix, ascending."""
    start = prefix.to_bytes(2, "big")
    rows = connection.execute(
        "SELECT label, count, last FROM access_map_key WHERE kind = ? AND label BETWEEN ? AND ? ORDER BY label",
        (kind, start, start + b"\xff" * (_LABEL - 2)),
    )
    return [Positions(row["count"], row["last"]).leaf(row["label"]) for row in rows]


def _nodes(connection: Connection, kind: str, depth: int, prefix: int, prefix_bits: int) -> list[Item]:
    """The stored nodes of one depth below a prefix, ascending."""
    width = depth - prefix_bits
    rows = connection.execute(
        "SELECT prefix, hash FROM access_map_node WHERE kind = ? AND depth = ? AND prefix BETWEEN ? AND ?"
        " ORDER BY prefix",
        (kind, depth, prefix << width, (prefix + 1 << width) - 1),
    )
    return [Item(row["prefix"] << BITS - depth, row["hash"]) for row in rows]


def root(connection: Connection, kind: Kind) -> Root:
    """The map of everything that was read; `settle` must have nothing left to do."""
    (count,) = connection.execute("SELECT count(*) FROM access_map_key WHERE kind = ?", (kind,)).fetchone()
    (unreadable,) = connection.execute("SELECT count(*) FROM access_map_unreadable").fetchone()
    node = subtree(_nodes(connection, kind, _UPPER, 0, 0), 0, _UPPER)
    return Root(kind, tracked(connection), node, count, unreadable)


def prove(connection: Connection, kind: Kind, label: bytes) -> MapProof:
    """The proof for a label in the map of everything that was read and settled."""
    way = int.from_bytes(label, "big")
    siblings, place = trace(_nodes(connection, kind, _UPPER, 0, 0), way, 0, _UPPER)
    if place is None:
        return MapProof(tuple(siblings))
    below, place = trace(_nodes(connection, kind, _LOWER, way >> BITS - _UPPER, _UPPER), way, _UPPER, _LOWER)
    siblings += below
    if place is None:
        return MapProof(tuple(siblings))
    leaves = _leaves(connection, kind, way >> BITS - _LOWER)
    return _end(siblings, leaves, label)


def _end(siblings: list[bytes], leaves: list[Leaf], label: bytes) -> MapProof:
    below, place = trace([leaf.item for leaf in leaves], int.from_bytes(label, "big"), _LOWER, FLOOR)
    neighbour = None if place is None or leaves[place].label == label else leaves[place]
    return MapProof((*siblings, *below), neighbour)


def prove_at(connection: Connection, index_key: bytes, kind: Kind, label: bytes, size: int) -> tuple[bytes, MapProof]:
    """Root and proof at an earlier size, hashed from the lists: reads the whole map once.

    Memory is bounded by the 65,536 subtrees below the 16-bit prefixes.
    """
    wanted = int.from_bytes(label[:2], "big")
    nodes: list[Item] = []
    inside: list[Leaf] = []
    for prefix, group in groupby(_leaves_at(connection, index_key, kind, size), lambda leaf: leaf.label[:2]):
        leaves = list(group)
        number = int.from_bytes(prefix, "big")
        nodes.append(Item(number << BITS - _LOWER, subtree([leaf.item for leaf in leaves], _LOWER, FLOOR)))
        if number == wanted:
            inside = leaves
    siblings, place = trace(nodes, int.from_bytes(label, "big"), 0, _LOWER)
    whole = subtree(nodes, 0, _LOWER)
    return whole, MapProof(tuple(siblings)) if place is None else _end(siblings, inside, label)


def _leaves_at(connection: Connection, index_key: bytes, kind: Kind, size: int) -> Iterator[Leaf]:
    rows = connection.stream(
        "SELECT label, position FROM access_map_key JOIN access_map_entry USING (number)"
        " WHERE kind = ? AND position <= ? ORDER BY label, position",
        (kind, size),
    )
    for label, group in groupby(rows, lambda row: row["label"]):
        empty = Positions.empty(blind_of(index_key, label), label)
        yield empty.extended(row["position"] - 1 for row in group).leaf(label)


def positions(connection: Connection, kind: Kind, label: bytes, size: int) -> list[int]:
    """Leaf indices below `size` that stand under a label, ascending."""
    rows = connection.execute(
        "SELECT position FROM access_map_key JOIN access_map_entry USING (number)"
        " WHERE kind = ? AND label = ? AND position <= ? ORDER BY position",
        (kind, label, size),
    )
    return [row["position"] - 1 for row in rows]


def claims(connection: Connection, start: int, stop: int) -> dict[int, dict[Kind, list[bytes]]]:
    """What former tables said of erased entries with leaf index in [start, stop), see `access_map_claim`."""
    found: dict[int, dict[Kind, list[bytes]]] = {}
    rows = connection.stream(
        "SELECT position, kind, label FROM access_map_claim WHERE position > ? AND position <= ?", (start, stop)
    )
    for row in rows:
        labels = found.setdefault(row["position"] - 1, {})
        if row["kind"]:  # else it says that the entry was read, and nothing more
            labels.setdefault(_kind(row), []).append(row["label"])
    return found


def _kind(row: Row) -> Kind:
    if row["kind"] not in KINDS or not isinstance(row["label"], bytes) or len(row["label"]) != _LABEL:
        raise StoreDamagedError("The tables of the index hold what it never writes; run `tocsin rebuild`.")
    kind: Kind = row["kind"]
    return kind


def remembered(connection: Connection, indices: Sequence[int]) -> dict[int, dict[Kind, list[bytes]]]:
    """Under which labels entries stood when they were indexed; those that were unreadable then are left out.

    Raises:
        StoreDamagedError: the tables hold what the index never writes.
    """
    size = tracked(connection)
    unreadable = {row["position"] - 1 for row in connection.stream("SELECT position FROM access_map_unreadable")}
    known: dict[int, dict[Kind, list[bytes]]] = {
        index: {} for index in indices if index < size and index not in unreadable
    }
    wanted = frozenset(indices)
    # Where the tables are being made again, the rest is known from before.
    before = claims(connection, size, max(wanted, default=0) + 1)
    known |= {index: labels for index, labels in before.items() if index in wanted}
    if not known:
        return known
    rows = connection.stream("SELECT position, kind, label FROM access_map_key JOIN access_map_entry USING (number)")
    for row in rows:
        labels = known.get(row["position"] - 1)
        if labels is not None:
            labels.setdefault(_kind(row), []).append(row["label"])
    return known
