"""Sealing: a pure function whose result does not depend on how events were batched."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from typing import NamedTuple
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.entries import MAX_ENTRY, Entry, commit, commits_to
from ledger.errors import InputError, ProofError
from ledger.merkle import leaf_hash, node_hash, root_hash
from ledger.seal import EMPTY, Draft, Head, Sealed, seal

RECORDED = "2026-03-10T09:00:00.000Z"
STREAM = UUID(int=1)


def draft(number: int, size: int = 8) -> Draft:
    return Draft("a.b.c.v1", f"id-{number}", "urn:x", None, STREAM, None, b"x" * size)


def salts(first: int, count: int) -> bytes:
    return b"".join(hashlib.sha256(f"salt {number}".encode()).digest() for number in range(first, first + count))


class Row(NamedTuple):
    position: int
    stream: bytes
    version: int
    topic: str
    entry: bytes
    chain: bytes
    salt: bytes
    payload: bytes


class Log:
    """Applies sealed batches as the store does, keeping everything in memory."""

    def __init__(self) -> None:
        self.head: Head = EMPTY
        self.tail: tuple[bytes, ...] = ()
        self.rows: list = []
        self.tiles: dict[int, bytes] = {}
        self.levels: dict[int, list[bytes]] = {}

    def append(self, count: int, recorded: str = RECORDED) -> Sealed:
        first = self.head.size
        sealed = seal(
            self.head,
            [draft(number) for number in range(first, first + count)],
            range(first + 1, first + count + 1),
            recorded=recorded,
            salts=salts(first, count),
            tail=self.tail,
        )
        self.head, self.tail = sealed.head, sealed.tail
        self.rows += [Row(*row) for row in sealed.rows]
        for number, hashes in sealed.tiles:
            assert self.tiles.setdefault(number, hashes) == hashes
        for level, start, hashes in sealed.nodes:
            assert start == len(self.levels.setdefault(level, []))
            self.levels[level] += hashes
        return sealed


def naive_nodes(leaves: list[bytes], height: int) -> list[bytes]:
    """Hashes of all full subtrees of 2**height leaves, by folding, from left to right."""
    row = leaves
    for _ in range(height):
        row = [node_hash(row[at], row[at + 1]) for at in range(0, len(row) - 1, 2)]
    return row


def split(total: int, cuts: list[int]) -> list[int]:
    points = [0, *sorted(cut % (total + 1) for cut in cuts), total]
    return [b - a for a, b in itertools.pairwise(points)]


@settings(max_examples=40)
@given(st.integers(0, 1300), st.lists(st.integers(0, 1300), max_size=6))
def test_any_split_into_batches_gives_the_same_log(total, cuts):
    whole, parts = Log(), Log()
    whole.append(total)
    for count in split(total, cuts):
        parts.append(count)
    assert parts.rows == whole.rows
    assert dataclasses.replace(parts.head, recorded="") == dataclasses.replace(whole.head, recorded="")
    assert parts.tiles == whole.tiles
    assert parts.levels == whole.levels
    assert parts.tail == whole.tail


@settings(max_examples=20)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=5))
def test_tiles_nodes_root_and_chain_are_the_naive_ones(batches):
    log = Log()
    for count in batches:
        log.append(count)
    leaves = [leaf_hash(row.entry) for row in log.rows]
    assert log.head.size == len(leaves) == sum(batches)
    assert log.head.root == root_hash(leaves)
    assert log.tiles == {
        number: b"".join(leaves[number * 256 : number * 256 + 256]) for number in range(len(leaves) // 256)
    }
    assert log.levels.get(1, []) == naive_nodes(leaves, 8)
    assert log.tail == tuple(leaves[len(leaves) - len(leaves) % 256 :])
    chain = bytes(32)
    for row, leaf in zip(log.rows, leaves, strict=True):
        chain = hashlib.sha256(chain + leaf).digest()
        assert row.chain == chain
    assert log.head.chain == chain


def test_the_second_tile_level():
    log = Log()
    for _ in range(66):
        log.append(1000)
    leaves = [leaf_hash(row.entry) for row in log.rows]
    assert log.levels[1] == naive_nodes(leaves, 8)
    assert log.levels[2] == naive_nodes(leaves, 16)
    assert log.head.root == root_hash(leaves)


def test_rows_are_what_their_entries_say():
    log = Log()
    log.append(3)
    for number, row in enumerate(log.rows):
        entry = Entry.decode(row.entry)
        assert (row.position, row.version, row.topic, row.stream) == (
            number + 1,
            entry.version,
            entry.type,
            STREAM.bytes,
        )
        assert entry.recorded == entry.time == RECORDED
        assert commits_to(entry.commitment, row.salt, row.payload)


def test_recorded_never_goes_back():
    log = Log()
    log.append(1)
    log.append(1, "2026-03-10T08:00:00.000Z")
    log.append(1, "2026-03-10T10:00:00.000Z")
    assert [Entry.decode(row.entry).recorded for row in log.rows] == [RECORDED, RECORDED, "2026-03-10T10:00:00.000Z"]


def test_sealing_changes_none_of_its_arguments():
    drafts = [draft(number) for number in range(5)]
    arguments = (EMPTY, drafts, [1, 2, 3, 4, 5])
    first = seal(*arguments, recorded=RECORDED, salts=salts(0, 5), tail=[])
    again = seal(*arguments, recorded=RECORDED, salts=salts(0, 5), tail=[])
    assert first == again
    assert drafts == [draft(number) for number in range(5)]
    assert EMPTY.size == 0


def test_an_entry_must_fit_an_entry_bundle():
    long = draft(0)._replace(source="x" * MAX_ENTRY)
    with pytest.raises(InputError, match="65535"):
        seal(EMPTY, [long], [1], recorded=RECORDED, salts=salts(0, 1), tail=[])


def test_a_head_that_does_not_fit_is_not_extended():
    with pytest.raises(ProofError):
        seal(Head(3, "", bytes(32), bytes(32)), [draft(0)], [1], recorded=RECORDED, salts=salts(0, 1), tail=[])


ODD_TEXTS = st.sampled_from(
    ["plain", "a/b", '"', "\\", "\x7f", "\n", "é", "\u2028", "\N{GRINNING FACE}", "</script>", " ", ""]
)
DRAFTS = st.lists(
    st.builds(
        Draft,
        type=ODD_TEXTS,
        id=ODD_TEXTS,
        source=ODD_TEXTS,
        time=st.none() | st.sampled_from(["2026-03-10T08:00:00.000Z", "é"]),
        stream=st.sampled_from([STREAM, UUID(int=2)]),
        version=st.none(),
        payload=st.binary(max_size=3),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=300)
@given(DRAFTS, st.integers(1, 2**53 - 9))
def test_an_entry_is_what_the_plain_encoder_writes(drafts, version):
    versions = range(version, version + len(drafts))
    sealed = seal(EMPTY, drafts, versions, recorded=RECORDED, salts=salts(0, len(drafts)), tail=())
    for draft, place, row in zip(drafts, versions, map(Row._make, sealed.rows), strict=True):
        expected = Entry(
            commitment=commit(row.salt, draft.payload),
            id=draft.id,
            recorded=RECORDED,
            source=draft.source,
            stream=str(draft.stream),
            time=draft.time or RECORDED,
            type=draft.type,
            version=place,
        )
        assert row.entry == expected.encode()
        assert (row.version, row.topic, row.payload, row.stream) == (
            place,
            draft.type,
            draft.payload,
            draft.stream.bytes,
        )


def test_an_entry_that_is_too_large_is_refused():
    with pytest.raises(InputError, match="65535"):
        seal(EMPTY, [draft(1)._replace(id="x" * MAX_ENTRY)], [1], recorded=RECORDED, salts=salts(0, 1), tail=())
