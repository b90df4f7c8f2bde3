"""Rows of the log in SQL: reading the head, writing a sealed batch, reading entries and tiles.

The tile table holds level 0 only when full, and every level above as a row that grows by one hash
whenever 256 below it are complete; the ragged right edge of level 0 is hashed from the last (at most
255) entries. So a commit that completes no tile writes none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from ledger.entries import StoredEntry
from ledger.errors import NotFoundError, StoreDamagedError
from ledger.merkle import leaf_hash
from ledger.seal import EMPTY, Head, Sealed
from ledger.store.connection import Connection
from ledger.tiles import TILE_WIDTH

_PAGE: Final = 1000
_HASH: Final = 32


def read_head(connection: Connection) -> Head:
    """The end of the log; the empty head where nothing was written yet."""
    row = connection.execute("SELECT size, recorded, chain, frontier FROM head").fetchone()
    if row is None:
        return EMPTY
    size, recorded, chain, frontier = row
    # A damaged file can give any type.
    typed = isinstance(size, int) and isinstance(recorded, str) and isinstance(chain, bytes)
    if not typed or len(chain) != _HASH or not _fits(size, frontier):
        raise StoreDamagedError(
            "The head of the log is damaged in the database. "
            "Run `tocsin verify` to see what still holds, then restore a backup.",
        )
    return Head(size, recorded, chain, frontier)


def _fits(size: int, frontier: object) -> bool:
    return isinstance(frontier, bytes) and size > 0 and len(frontier) == _HASH * size.bit_count()


def read_tail(connection: Connection, size: int) -> list[bytes]:
    """Leaf hashes after the last full level-0 tile."""
    start = size - size % TILE_WIDTH
    return [
        leaf_hash(row["entry"])
        for row in connection.execute(
            "SELECT entry FROM event WHERE position > ? AND position <= ? ORDER BY position",
            (start, size),
        )
    ]


def write_sealed(connection: Connection, before: Head, sealed: Sealed, note: bytes) -> bool:
    """Write a sealed batch inside the caller's transaction.

    Returns:
        False, with nothing written, when the log does not end in `before` (any more).
    """
    head = sealed.head
    if before.size == 0:
        changed = connection.execute(
            "INSERT INTO head VALUES (1, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (head.size, head.recorded, head.chain, head.frontier),
        ).rowcount
    else:
        changed = connection.execute(
            "UPDATE head SET size = ?, recorded = ?, chain = ?, frontier = ? WHERE size = ? AND chain = ?",
            (head.size, head.recorded, head.chain, head.frontier, before.size, before.chain),
        ).rowcount
    if changed != 1:
        return False
    connection.insert("event", "position, stream, version, topic, entry, chain, salt, payload", sealed.rows)
    connection.executemany("INSERT INTO tile VALUES (0, ?, ?)", sealed.tiles)
    for level, first, hashes in sealed.nodes:
        _grow_level(connection, level, first, hashes)
    connection.execute("INSERT INTO checkpoint (size, note) VALUES (?, ?)", (head.size, note))
    return True


def _grow_level(connection: Connection, level: int, first: int, hashes: Sequence[bytes]) -> None:
    while hashes:
        number, place = divmod(first, TILE_WIDTH)
        fitting = hashes[: TILE_WIDTH - place]
        connection.execute(
            "INSERT INTO tile VALUES (?, ?, ?) ON CONFLICT (level, number) DO UPDATE"
            " SET hashes = CAST(tile.hashes || excluded.hashes AS BLOB)",
            (level, number, b"".join(fitting)),
        )
        hashes = hashes[len(fitting) :]
        first += len(fitting)


def read_tile(connection: Connection, level: int, number: int, width: int) -> bytes:
    """The first `width` hashes (32 bytes each) of a tile.

    Raises:
        NotFoundError: the tree has no such tile yet.
    """
    if not 1 <= width <= TILE_WIDTH:
        raise NotFoundError("A tile is 1 to 256 hashes wide.")
    row = connection.execute(
        "SELECT hashes FROM tile WHERE level = ? AND number = ?",
        (level, number),
    ).fetchone()
    if row is not None:
        hashes: bytes = row["hashes"]
    elif level == 0:
        start = number * TILE_WIDTH
        hashes = b"".join(
            leaf_hash(row["entry"])
            for row in connection.execute(
                "SELECT entry FROM event WHERE position > ? AND position <= ? ORDER BY position",
                (start, start + width),
            )
        )
    else:
        hashes = b""
    if len(hashes) < width * _HASH:
        raise NotFoundError(f"The log has no tile {level}/{number} of width {width} yet.")
    return hashes[: width * _HASH]


def read_entries(connection: Connection, start: int, stop: int) -> Iterator[StoredEntry]:
    """Entries with leaf index in [start, stop), in order."""
    while start < stop:
        rows = connection.execute(
            "SELECT position, entry, payload, salt FROM event WHERE position > ? AND position <= ?"
            " ORDER BY position LIMIT ?",
            (start, stop, _PAGE),
        ).fetchall()
        for row in rows:
            yield StoredEntry(row["position"] - 1, row["entry"], row["payload"], row["salt"])
        if len(rows) < _PAGE:
            return
        start = rows[-1]["position"]


def read_checkpoint(connection: Connection) -> bytes:
    """The newest signed checkpoint.

    Raises:
        NotFoundError: the log is empty.
        StoreDamagedError: it is not even bytes.
    """
    row = connection.execute("SELECT note FROM checkpoint ORDER BY size DESC LIMIT 1").fetchone()
    if row is None:
        raise NotFoundError("The log is empty, so it has no checkpoint yet.")
    if not isinstance(row["note"], bytes):
        raise StoreDamagedError("The newest checkpoint is damaged in the database; run `tocsin verify`.")
    return row["note"]
