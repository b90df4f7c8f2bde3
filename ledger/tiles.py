"""Tiles and entry bundles: how a log is laid out for reading (C2SP tlog-tiles v0.1.0).

A full tile holds 256 hashes: tile (level, index) entry i is the root of the full subtree over
`256**level` leaves number `index * 256 + i`. A tile at the right border is *partial*, with a width
of 1 to 255. Entry bundles follow level 0: bundle n holds entries 256 n onwards, each as
`uint16be length || entry`. Everything here is arithmetic on numbers, paths and bytes; no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self

from ledger.errors import ProofError
from ledger.merkle import HASH_SIZE, node_hash

TILE_HEIGHT: Final = 8
"""Tree levels per tile."""
TILE_WIDTH: Final = 256
"""Hashes in a full tile, entries in a full bundle."""
MAX_LEVEL: Final = 63
MAX_ENTRY_SIZE: Final = 65_535
"""Bytes; the bundle format counts an entry's length in two bytes."""
_LENGTH_SIZE: Final = 2
_MAX_INDEX: Final = 2**64 - 1

_PATH = re.compile(r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?", re.ASCII)

TileData = Callable[[int, int, int], bytes]
"""`read_tile(level, index, width)` -> `width * 32` bytes; width 256 asks for the full tile."""


@dataclass(frozen=True, slots=True)
class Tile:
    """Name of a Merkle tile, or of an entry bundle when `level` is None.

    Attributes:
        level: 0 to 63, or None for an entry bundle.
        index: position within the level, from 0.
        width: hashes (entries) in it, 1 to 256; 256 is a full tile.

    Raises:
        ProofError: on construction, when a number is out of range.
    """

    level: int | None
    index: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        if self.level is not None and not 0 <= self.level <= MAX_LEVEL:
            raise ProofError(f"There is no tile level {self.level}; levels run from 0 to {MAX_LEVEL}.")
        if not 0 <= self.index <= _MAX_INDEX:
            raise ProofError(f"There is no tile index {self.index}; it must be an unsigned 64-bit number.")
        if not 1 <= self.width <= TILE_WIDTH:
            raise ProofError(f"A tile cannot be {self.width} wide; widths run from 1 to {TILE_WIDTH}.")

    @property
    def path(self) -> str:
        """URL path below the log's prefix, such as `tile/0/x001/234.p/5`."""
        # Zero-padded elements of three digits, all but the last prefixed with an x.
        rest, last = divmod(self.index, 1000)
        number = f"{last:03d}"
        while rest:
            rest, part = divmod(rest, 1000)
            number = f"x{part:03d}/{number}"
        kind = "entries" if self.level is None else str(self.level)
        suffix = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"tile/{kind}/{number}{suffix}"

    @classmethod
    def parse(cls, path: str) -> Self:
        """Read a path that `path` would have written, and no other spelling of it.

        Raises:
            ProofError: the path names no tile.
        """
        match = _PATH.fullmatch(path)
        if match is not None:
            kind, number, width = match.groups()
            level = None if kind == "entries" else int(kind)
            # "256" is spelled without a suffix, so a written width of 256 or more never re-formats.
            tile = cls._checked(level, int(re.sub("[x/]", "", number)), int(width or TILE_WIDTH))
            if tile is not None and tile.path == path:
                return tile
        raise ProofError("The path names no tile or entry bundle; see C2SP tlog-tiles for the form.")

    @classmethod
    def _checked(cls, level: int | None, index: int, width: int) -> Self | None:
        try:
            return cls(level, index, width)
        except ProofError:
            return None


def level_size(level: int, size: int) -> int:
    """Number of hashes at a tile level of a tree of `size` leaves: floor(size / 256**level)."""
    return size >> TILE_HEIGHT * level


def partial_width(level: int, size: int) -> int:
    """Width of the partial tile at the right border of a level, 0 when there is none."""
    return level_size(level, size) % TILE_WIDTH


def tile_width(level: int, index: int, size: int) -> int:
    """Width that tile (level, index) has in a tree of `size` leaves: 0 (absent) to 256 (full)."""
    return max(0, min(TILE_WIDTH, level_size(level, size) - index * TILE_WIDTH))


def tiles_for(size: int, *, since: int = 0) -> Iterator[Tile]:
    """Merkle tiles that a tree of `size` leaves has and the tree of `since` leaves had not.

    Lowest level first. A tile that grew appears with its new width only; tiles of sizes in between
    are not listed (partial tiles must exist for every *published* checkpoint size).
    """
    level = 0
    while level_size(level, size):
        yield from _grown(level, level_size(level, since), level_size(level, size))
        level += 1


def bundles_for(size: int, *, since: int = 0) -> Iterator[Tile]:
    """Entry bundles that a log of `size` entries has and the log of `since` entries had not."""
    yield from _grown(None, since, size)


def _grown(level: int | None, old: int, new: int) -> Iterator[Tile]:
    if old < new:
        for index in range(old // TILE_WIDTH, (new - 1) // TILE_WIDTH + 1):
            yield Tile(level, index, min(TILE_WIDTH, new - index * TILE_WIDTH))


def locate(level: int, index: int) -> tuple[int, int, int, int]:
    """Find a tree node in the tiles.

    Args:
        level: tree level, 0 for leaves.
        index: position of the node within that level.

    Returns:
        `(tile level, tile index, height, offset)`: the node is the root over the `2**height` hashes
        of that tile that start at hash number `offset`; height is 0 to 7.
    """
    tile_level, height = divmod(level, TILE_HEIGHT)
    tile_index, offset = divmod(index << height, TILE_WIDTH)
    return tile_level, tile_index, height, offset


def subtree_in_tile(data: bytes, height: int, offset: int) -> bytes:
    """Root over `2**height` hashes of a tile, from hash number `offset`.

    Raises:
        ProofError: the tile is too short to hold them.
    """
    end = (offset + (1 << height)) * HASH_SIZE
    if len(data) < end:
        raise ProofError("The tile is too short for the node that was asked of it.")
    row = [data[at : at + HASH_SIZE] for at in range(offset * HASH_SIZE, end, HASH_SIZE)]
    while len(row) > 1:
        row = [node_hash(left, right) for left, right in zip(row[::2], row[1::2], strict=True)]
    return row[0]


class TileReader:
    """A node reader (`ledger.merkle.NodeReader`) over the tiles of a tree of a fixed size.

    Asks for the widths that exist at that size and fetches each tile once. It trusts nothing it
    reads: what is built from the nodes must be checked against a signed root.

    Example:
        >>> node = TileReader(read_tile, size=checkpoint.size)
        >>> path = inclusion_path(index, checkpoint.size, node)
    """

    def __init__(self, read_tile: TileData, size: int) -> None:
        self._read_tile = read_tile
        self._size = size
        self._tiles: dict[tuple[int, int], bytes] = {}

    def __call__(self, level: int, index: int) -> bytes:
        """Return the 32-byte hash of the full subtree `index` at tree level `level`.

        Raises:
            ProofError: the subtree is not full at this size, or a tile has the wrong length.
        """
        if level < 0 or index < 0 or index + 1 << level > self._size:
            raise ProofError(f"A tree of {self._size} leaves has no full subtree {index} at level {level}.")
        tile_level, tile_index, height, offset = locate(level, index)
        return subtree_in_tile(self._tile(tile_level, tile_index), height, offset)

    def _tile(self, level: int, index: int) -> bytes:
        data = self._tiles.get((level, index))
        if data is None:
            width = tile_width(level, index, self._size)
            data = self._read_tile(level, index, width)
            if len(data) != width * HASH_SIZE:
                path = Tile(level, index, width).path
                raise ProofError(f"{path} is {len(data)} bytes long instead of {width * HASH_SIZE}.")
            self._tiles[level, index] = data
        return data


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Encode 1 to 256 entries as an entry bundle: `uint16be length || entry` each.

    Raises:
        ProofError: too many or no entries, or an entry is longer than 65,535 bytes.
    """
    if not 1 <= len(entries) <= TILE_WIDTH:
        raise ProofError(f"An entry bundle holds 1 to {TILE_WIDTH} entries, not {len(entries)}.")
    for position, entry in enumerate(entries):
        if len(entry) > MAX_ENTRY_SIZE:
            raise ProofError(f"Entry {position} of the bundle is longer than {MAX_ENTRY_SIZE} bytes.")
    return b"".join(len(entry).to_bytes(_LENGTH_SIZE, "big") + entry for entry in entries)


def decode_bundle(data: bytes, width: int | None = None) -> list[bytes]:
    """Decode an entry bundle; `width` is the number of entries it must hold, if known.

    Raises:
        ProofError: the bundle is cut short, empty, too long, or not `width` entries wide.
    """
    entries: list[bytes] = []
    at = 0
    while at < len(data):
        start = at + _LENGTH_SIZE
        end = start + int.from_bytes(data[at:start], "big")
        if start > len(data) or end > len(data):
            raise ProofError(f"The entry bundle is cut short inside entry {len(entries)}.")
        entries.append(data[start:end])
        at = end
    if not 1 <= len(entries) <= TILE_WIDTH or (width is not None and len(entries) != width):
        raise ProofError(f"The entry bundle holds {len(entries)} entries, not the {width or '1 to 256'} it should.")
    return entries
