"""The tree, computed again from the leaves, and what the stored tiles must therefore hold.

Of the leaves only those of the last, unfilled tile are kept: a full level-0 tile is remembered by its
SHA-256, the levels above by their hashes (one for 256 entries), so that ten million entries need a few
megabytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from ledger.merkle import HASH_SIZE, CompactRange
from ledger.store.connection import Connection
from ledger.tiles import MAX_LEVEL, TILE_HEIGHT, TILE_WIDTH

Finding = tuple[str, int | None, str]
"""Kind of damage, leaf index if one is concerned, message."""


@dataclass(frozen=True, slots=True)
class Grown:
    """What a stretch of leaves added to a tree.

    Attributes:
        size, frontier: the tree at its end.
        nodes: hash over each full level-0 tile, 32 bytes.
        digests: SHA-256 of each full level-0 tile's 8,192 bytes.
        tail: leaf hashes after the last full tile.
    """

    size: int
    frontier: tuple[bytes, ...]
    nodes: tuple[bytes, ...]
    digests: tuple[bytes, ...]
    tail: tuple[bytes, ...]


class Growth:
    """A tree that grows by leaves, from nothing or from a known frontier.

    Args:
        tree: where it begins.
        tail: leaf hashes after the last full level-0 tile there, `tree.size % 256` of them.
    """

    def __init__(self, tree: CompactRange | None = None, tail: Sequence[bytes] = ()) -> None:
        self.tree = tree or CompactRange()
        self.checked = 0
        self._tail = list(tail)
        self._first = self.tree.size // TILE_WIDTH
        self._nodes: list[bytes] = []
        self._digests: list[bytes] = []
        # A tree over the full tiles: its levels 0, 8, 16... are the tile levels 1, 2, 3...
        self._upper = CompactRange(self._first, self.tree.frontier[: self._first.bit_count()])
        self._levels: dict[int, tuple[int, list[bytes]]] = {}

    def add(self, leaf: bytes) -> None:
        """Append one leaf hash."""
        self._tail.append(leaf)
        completed = self.tree.extend((leaf,))
        if len(self._tail) == TILE_WIDTH:
            self._fill((completed[TILE_HEIGHT][1][0],), (sha256(b"".join(self._tail)).digest(),))
            self._tail.clear()

    def ahead(self, leaves: Sequence[bytes], stops: Iterable[int]) -> tuple[Grown, dict[int, bytes]]:
        """What these leaf hashes would add, for `absorb`, with nothing appended yet.

        Args:
            leaves: leaf hashes.
            stops: tree sizes on the way, ascending.

        Returns:
            What is added, and the root at each of the sizes.
        """
        tree = self.tree.copy()
        before = tree.size
        nodes: list[bytes] = []
        roots: dict[int, bytes] = {}
        for stop in (*stops, before + len(leaves)):
            completed = tree.extend(leaves[tree.size - before : stop - before])
            if len(completed) > TILE_HEIGHT:
                nodes += completed[TILE_HEIGHT][1]
            roots[stop] = tree.root()
        tail = [*self._tail, *leaves]
        full = len(tail) - len(tail) % TILE_WIDTH
        digests = [sha256(b"".join(tail[at : at + TILE_WIDTH])).digest() for at in range(0, full, TILE_WIDTH)]
        return Grown(tree.size, tree.frontier, tuple(nodes), tuple(digests), tuple(tail[full:])), roots

    def absorb(self, grown: Grown) -> None:
        """Append a stretch that was computed by `ahead`, or by another `Growth` that began here at a full tile."""
        self.tree = CompactRange(grown.size, grown.frontier)
        self._tail = list(grown.tail)
        self._fill(grown.nodes, grown.digests)

    def grown(self) -> Grown:
        """What was added since the beginning."""
        return Grown(self.tree.size, self.tree.frontier, tuple(self._nodes), tuple(self._digests), tuple(self._tail))

    def _fill(self, nodes: Sequence[bytes], digests: Sequence[bytes]) -> None:
        self._nodes += nodes
        self._digests += digests
        for level, (first, hashes) in enumerate(self._upper.extend(nodes)):
            if level % TILE_HEIGHT == 0:
                self._levels.setdefault(level // TILE_HEIGHT + 1, (first, []))[1].extend(hashes)

    def check_tiles(self, connection: Connection) -> Iterator[Finding]:
        """Compare the stored tiles; hashes from before the beginning are not compared."""
        due = {(0, self._first + number) for number in range(len(self._digests))}
        for level, (first, hashes) in self._levels.items():
            due |= {(level, n) for n in range(first // TILE_WIDTH, -(-(first + len(hashes)) // TILE_WIDTH))}
        for level, number, hashes in connection.stream("SELECT level, number, hashes FROM tile"):
            known = isinstance(level, int) and isinstance(number, int) and 0 <= level <= MAX_LEVEL and number >= 0
            self.checked += (level, number) in due
            due.discard((level, number))
            if not (known and isinstance(hashes, bytes) and self._holds(level, number, hashes)):
                index = number * TILE_WIDTH ** (level + 1) if known else None
                yield ("tile_altered", index, f"Tile {level}/{number} does not hold the tree's hashes.")
        for level, number in sorted(due):
            yield ("tile_missing", number * TILE_WIDTH ** (level + 1), f"Tile {level}/{number} is missing.")

    def _holds(self, level: int, number: int, hashes: bytes) -> bool:
        start = number * TILE_WIDTH
        if level == 0:
            if len(hashes) != TILE_WIDTH * HASH_SIZE or start + TILE_WIDTH > self.tree.size:
                return False
            return number < self._first or sha256(hashes).digest() == self._digests[number - self._first]
        total = self.tree.size >> TILE_HEIGHT * level
        first, known = self._levels.get(level, (total, []))
        if start >= total or len(hashes) != min(total - start, TILE_WIDTH) * HASH_SIZE:
            return False
        new = known[max(start - first, 0) : start + TILE_WIDTH - first] if first < start + TILE_WIDTH else []
        return hashes.endswith(b"".join(new))
