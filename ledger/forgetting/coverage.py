"""Which payloads are gone by a recorded act, and which are simply missing.

The table `forgotten` lists the positions; each erasure or retention event commits to its part of them by
count and Merkle root (RFC 9162 over the leaf indices, 8 bytes big-endian each). So the list needs no
trust: it counts only as far as it is what a signed entry says.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ledger.errors import TocsinError
from ledger.forgetting.events import INDEX, LIST, Standing, standing
from ledger.merkle import CompactRange, leaf_hash
from ledger.store.catalogue import has_table
from ledger.store.connection import Connection

TABLE_NAME: Final = LIST
TABLE_SQL: Final = f"CREATE TABLE {TABLE_NAME} (position INTEGER PRIMARY KEY, event INTEGER NOT NULL)"
"""As SQLite keeps it in its catalogue."""
TABLES: Final = f"{TABLE_SQL.replace('TABLE', 'TABLE IF NOT EXISTS')};\n{INDEX}"
"""Made when something is forgotten for the first time."""

_CHUNK: Final = 4096


class PositionTree:
    """Count and root of leaf indices, taken in ascending order."""

    def __init__(self) -> None:
        self._tree = CompactRange()
        self._open: list[bytes] = []
        self.count = 0

    def add(self, index: int) -> None:
        """Take the next leaf index."""
        self.count += 1
        self._open.append(leaf_hash(index.to_bytes(8, "big")))
        if len(self._open) == _CHUNK:
            self._close()

    def root(self) -> str:
        """Merkle root, hex."""
        self._close()
        return self._tree.root().hex()

    def _close(self) -> None:
        self._tree.extend(self._open)
        self._open.clear()


def positions_root(indices: Iterable[int]) -> str:
    """Merkle root (hex) of leaf indices in ascending order."""
    tree = PositionTree()
    for index in indices:
        tree.add(index)
    return tree.root()


@dataclass(frozen=True)
class Coverage:
    """What recorded acts of forgetting account for.

    Attributes:
        starts, stops: half-open runs of leaf indices whose payloads were deleted.
        refs: refs erased from the vault.
        broken: leaf indices of events whose list of positions is not the one they commit to.
    """

    starts: Sequence[int] = ()
    stops: Sequence[int] = ()
    refs: frozenset[str] = frozenset()
    broken: tuple[int, ...] = ()

    def covers(self, index: int) -> bool:
        """Whether a recorded act deleted this entry's payload."""
        place = bisect_right(self.starts, index) - 1
        return place >= 0 and index < self.stops[place]


def judge(rows: Iterable[tuple[int, int]], known: Standing) -> Coverage:
    """Hold the list of positions against what the events commit to.

    Args:
        rows: (leaf index of the deleted payload, leaf index of the event), ascending by the first.
        known: what the log says.
    """
    trees: dict[int, PositionTree] = {}
    owners: list[tuple[int, int, int]] = []
    broken: set[int] = set()
    for index, event in rows:
        if event not in known.deleted or index >= event:
            broken.add(event)
            continue
        trees.setdefault(event, PositionTree()).add(index)
        if owners and owners[-1][1] == index and owners[-1][2] == event:
            owners[-1] = (owners[-1][0], index + 1, event)
        else:
            owners.append((index, index + 1, event))
    for event, said in known.deleted.items():
        tree = trees.get(event) or PositionTree()
        if (tree.count, tree.root()) != (said.count, said.root):
            broken.add(event)
    whole = [(start, stop) for start, stop, event in owners if event not in broken]
    return Coverage(
        [start for start, _ in whole], [stop for _, stop in whole], frozenset(known.erased), tuple(sorted(broken))
    )


def read_coverage(connection: Connection) -> Coverage:
    """What this snapshot of the log accounts for; nothing where nothing was ever forgotten.

    The events are believed here as they stand; `verify` hashes them like every other entry.
    """
    rows: Iterable[tuple[int, int]] = ()
    if has_table(connection, TABLE_NAME):
        # A damaged file can give any type; such a row then accounts for nothing.
        rows = (
            (position - 1, event)
            for position, event in connection.stream("SELECT position, event FROM forgotten ORDER BY position")
            if isinstance(position, int) and isinstance(event, int) and position > 0
        )
    try:
        return judge(rows, standing(connection))
    except TocsinError:
        return Coverage()


def check_list(connection: Connection, known: Coverage) -> Iterator[tuple[str, int | None, str]]:
    """Damage of the list of deleted payloads, for `ledger.verify_tables`: (kind, leaf index, message)."""
    for event in known.broken:
        yield (
            "erasure_list_altered",
            event if event >= 0 else None,
            "The list of deleted payloads is not the one that this entry commits to.",
        )
    if not has_table(connection, TABLE_NAME):
        return
    back = connection.execute(
        "SELECT min(event.position) FROM event JOIN forgotten ON forgotten.position = event.position"
        " WHERE event.payload IS NOT NULL OR event.salt IS NOT NULL"
    ).fetchone()[0]
    if back is not None:
        yield ("erasure_undone", back - 1, "A payload that was erased by record is there again.")
    for ref in sorted(known.refs):
        if connection.execute("SELECT 1 FROM vault WHERE ref = ?", (ref,)).fetchone() is not None:
            yield ("erasure_undone", None, f"The vault has a row for {ref}, which was erased by record.")


def delete_payloads(connection: Connection, indices: Sequence[int], event: int) -> dict[str, object]:
    """Delete payloads and salts with what the access index copied of them, and list them under `event`.

    Args:
        connection: the write transaction that also records the event.
        indices: leaf indices, ascending.
        event: leaf index that the event will have.

    Returns:
        What the event must say of them: `count` and `root`.
    """
    positions = [(index + 1,) for index in indices]
    connection.executemany("UPDATE event SET payload = NULL, salt = NULL WHERE position = ?", positions)
    connection.executemany("DELETE FROM access_row WHERE position = ?", positions)
    connection.executemany("INSERT INTO forgotten VALUES (?, ?)", [(index + 1, event) for index in indices])
    return {"count": len(indices), "root": positions_root(indices)}
