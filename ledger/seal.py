"""Sealing: the pure step from events to a longer signed log.

`seal` takes the head of the log and a list of drafts and gives the rows to store, the new head and
the tree hashes to keep. It reads no clock, draws no randomness and touches no disk, so that the same
input gives the same log in a test, in the sequencer and in an auditor's recomputation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, NamedTuple
from uuid import UUID

from ledger.encoding import canonical_each
from ledger.entries import COMMITMENT_PREFIX, MAX_ENTRY, SALT_SIZE
from ledger.errors import InputError
from ledger.merkle import CompactRange
from ledger.tiles import TILE_HEIGHT, TILE_WIDTH

_SIZE_BYTES: Final = 8
GENESIS_CHAIN: Final = bytes(32)


class Draft(NamedTuple):
    """An event that is ready to become an entry.

    Attributes:
        type, id, source: as in the entry.
        time: RFC 3339 time of occurrence, or None for the time of recording.
        stream: which stream it belongs to.
        version: its place in the stream, counted from 1; None for the next free place.
        payload: bytes to commit to.
    """

    type: str
    id: str
    source: str
    time: str | None
    stream: UUID
    version: int | None
    payload: bytes


Row = tuple[int, bytes, int, str, bytes, bytes, bytes | None, bytes | None]
"""One sealed event as the store keeps it: position (the leaf index plus one), stream, version, topic, entry,
chain, salt, payload."""


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the log.

    Attributes:
        size: number of entries.
        recorded: RFC 3339 time of the newest entry, "" for an empty log.
        chain: SHA-256 chain over all leaf hashes, a redundant local check beside the tree.
        frontier: hashes of the full subtrees that make up the tree, largest first, 32 bytes each.
    """

    size: int
    recorded: str
    chain: bytes
    frontier: bytes

    @property
    def root(self) -> bytes:
        """RFC 9162 root hash of the tree at this size."""
        return self.range().root()

    def range(self) -> CompactRange:
        """The tree's compact range, ready to be extended.

        Raises:
            ProofError: the frontier does not fit the size.
        """
        return CompactRange.from_bytes(self.size.to_bytes(_SIZE_BYTES, "big") + self.frontier)


EMPTY: Final = Head(0, "", GENESIS_CHAIN, b"")


@dataclass(frozen=True, slots=True)
class Sealed:
    """What a commit stores.

    Attributes:
        rows: the new events.
        head: the new head.
        tiles: level-0 tiles that this batch filled, as (number, 8,192 bytes of hashes).
        nodes: new hashes of the tile levels above, as (level, number of the first, hashes).
        tail: leaf hashes after the last full level-0 tile.
        leaves: leaf hashes of the new events, 32 bytes each.
    """

    rows: tuple[Row, ...]
    head: Head
    tiles: tuple[tuple[int, bytes], ...]
    nodes: tuple[tuple[int, int, tuple[bytes, ...]], ...]
    tail: tuple[bytes, ...]
    leaves: tuple[bytes, ...]


def chain_hash(previous: bytes, leaf: bytes) -> bytes:
    """Next value of the chain: SHA-256(previous || leaf hash)."""
    return sha256(previous + leaf).digest()


def seal(
    head: Head,
    drafts: Sequence[Draft],
    versions: Sequence[int],
    *,
    recorded: str,
    salts: bytes,
    tail: Sequence[bytes],
) -> Sealed:
    """Append `drafts` to the log that ends in `head`.

    Args:
        head: the current end of the log.
        drafts: events in order.
        versions: the place of each draft in its stream.
        recorded: RFC 3339 time of acceptance; clamped so that it never decreases along the log.
        salts: 32 random bytes per draft, concatenated.
        tail: leaf hashes after the last full level-0 tile (`head.size % 256` of them).

    Raises:
        InputError: an entry would be larger than 65,535 bytes.
    """
    recorded = max(recorded, head.recorded)
    each_salt = [salts[start : start + SALT_SIZE] for start in range(0, SALT_SIZE * len(drafts), SALT_SIZE)]
    types, ids, sources, given, streams, _, payloads = (
        zip(*drafts, strict=True) if drafts else [()] * len(Draft._fields)
    )
    commitments = [
        sha256(COMMITMENT_PREFIX + salt + payload).hexdigest()
        for salt, payload in zip(each_salt, payloads, strict=True)
    ]
    times = [time or recorded for time in given]
    entries = _encode(_Columns(commitments, ids, recorded, sources, streams, times, types, versions))
    # 0x00 before a leaf, RFC 9162 section 2.1.1: `leaf_hash`, without a call for each.
    leaves = [sha256(b"\0" + entry).digest() for entry in entries]
    chain = _chain(head.chain, leaves)
    tree = head.range()
    grown = tree.extend(leaves)
    open_leaves = [*tail, *leaves]
    return Sealed(
        rows=tuple(
            zip(
                range(head.size + 1, tree.size + 1),
                _owners(streams),
                versions,
                types,
                entries,
                chain,
                each_salt,
                payloads,
                strict=True,
            )
        ),
        head=Head(tree.size, recorded, chain[-1] if chain else head.chain, tree.to_bytes()[_SIZE_BYTES:]),
        tiles=_full_tiles(head.size, open_leaves),
        nodes=tuple(
            (level // TILE_HEIGHT, first, tuple(hashes))
            for level, (first, hashes) in enumerate(grown)
            if level and level % TILE_HEIGHT == 0
        ),
        tail=tuple(open_leaves[len(open_leaves) - tree.size % TILE_WIDTH :]),
        leaves=tuple(leaves),
    )


class _Columns(NamedTuple):
    """The values of entries, one list for each field but `recorded`."""

    commitments: Sequence[str]
    ids: Sequence[str]
    recorded: str
    sources: Sequence[str]
    streams: Sequence[UUID]
    times: Sequence[str]
    types: Sequence[str]
    versions: Sequence[int]


def _encode(columns: _Columns) -> list[bytes]:
    """The entries, byte for byte what `ledger.entries.Entry.encode` gives."""
    commitments, ids, recorded, sources, streams, times, types, versions = columns
    if _is_one(streams) and _is_bare("".join({recorded, *types, *sources, *times, *ids})):
        middle, end = f'","recorded":"{recorded}","source":"', f'","stream":"{streams[0]}","time":"'
        entries = [
            f'{{"commitment":"{commitment}","id":"{name}{middle}{source}{end}{time}","type":"{kind}"'
            f',"version":{version}}}'.encode()
            for commitment, name, source, time, kind, version in zip(
                commitments, ids, sources, times, types, versions, strict=True
            )
        ]
    else:
        entries = canonical_each(
            [
                {
                    "commitment": commitment,
                    "id": name,
                    "recorded": recorded,
                    "source": source,
                    "stream": str(stream),
                    "time": time,
                    "type": kind,
                    "version": version,
                }
                for commitment, name, source, stream, time, kind, version in zip(
                    commitments, ids, sources, streams, times, types, versions, strict=True
                )
            ]
        )
    longest = max(map(len, entries), default=0)
    if longest > MAX_ENTRY:
        raise InputError(f"The entry would be {longest} bytes; the limit is {MAX_ENTRY}.")
    return entries


def _is_bare(text: str) -> bool:
    """Whether JSON writes the text as it is."""
    return text.isascii() and text.isprintable() and '"' not in text and "\\" not in text


def _is_one(streams: Sequence[UUID]) -> bool:
    return len(set(map(id, streams))) == 1


def _chain(previous: bytes, leaves: Sequence[bytes]) -> list[bytes]:
    """The chain after each leaf: `chain_hash`, without a call for each."""
    chain = []
    for leaf in leaves:
        previous = sha256(previous + leaf).digest()
        chain.append(previous)
    return chain


def _owners(streams: Sequence[UUID]) -> list[bytes]:
    return [streams[0].bytes] * len(streams) if _is_one(streams) else [stream.bytes for stream in streams]


def _full_tiles(size: int, hashes: Sequence[bytes]) -> tuple[tuple[int, bytes], ...]:
    first = size // TILE_WIDTH
    return tuple(
        (first + number, b"".join(hashes[number * TILE_WIDTH : (number + 1) * TILE_WIDTH]))
        for number in range(len(hashes) // TILE_WIDTH)
    )
