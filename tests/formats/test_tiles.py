"""Tile names, widths, node arithmetic and entry bundles."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import ProofError
from ledger.merkle import (
    CompactRange,
    consistency_path,
    consistency_proof,
    inclusion_path,
    inclusion_proof,
    leaf_hash,
    root_hash,
    verify_consistency,
    verify_inclusion,
)
from ledger.tiles import (
    Tile,
    TileReader,
    bundles_for,
    decode_bundle,
    encode_bundle,
    locate,
    partial_width,
    subtree_in_tile,
    tile_width,
    tiles_for,
)

PATHS = {
    0: "000",
    255: "255",
    999: "999",
    1000: "x001/000",
    999999: "x999/999",
    1000000: "x001/x000/000",
    1234067: "x001/x234/067",
}


class Tiles:
    """Every tile of a tree, held at its widest, as a store would hold them."""

    def __init__(self, size):
        self.leaves = [leaf_hash(index.to_bytes(8, "big")) for index in range(size)]
        rows = CompactRange().extend(self.leaves)
        self.levels = [b"".join(hashes) for level, (_, hashes) in enumerate(rows) if level % 8 == 0]
        self.asked = []

    def __call__(self, level, index, width):
        self.asked.append(Tile(level, index, width))
        return self.levels[level][index * 8192 : index * 8192 + width * 32]


@pytest.mark.parametrize(("index", "number"), PATHS.items())
def test_tile_numbers_are_spelled_in_groups_of_three(index, number):
    assert Tile(0, index).path == f"tile/0/{number}"
    assert Tile(3, index, 17).path == f"tile/3/{number}.p/17"
    assert Tile(None, index).path == f"tile/entries/{number}"
    assert Tile(None, index, 1).path == f"tile/entries/{number}.p/1"


@given(
    st.none() | st.integers(0, 63),
    st.integers(0, 2**64 - 1) | st.sampled_from(sorted(PATHS)),
    st.integers(1, 256),
)
def test_tile_paths_read_back(level, index, width):
    tile = Tile(level, index, width)
    assert Tile.parse(tile.path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile",
        "tile/0",
        "tile/0/",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/00/000",
        "tile/01/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/data/000",
        "tile/entries",
        "/tile/0/000",
        "tile/0/000/",
        "tile/0/000\n",
        "tile/0/x000/000",
        "tile/0/001/000",
        "tile/0/x001/x000",
        "tile/0/x001",
        "tile/0/X001/000",
        "tile/0/000.p/0",
        "tile/0/000.p/01",
        "tile/0/000.p/256",
        "tile/0/000.p/999",
        "tile/0/000.p/",
        "tile/0/000.p",
        "tile/0/000.P/1",
        "tile/0/\u0660\u0660\u0660",  # Arabic-Indic zeros
        "tile/0/x018/x446/x744/x073/x709/x551/616",  # 2**64
        "tile/8/0/000",  # the form of Go's sumdb, with a height
    ],
)
def test_other_spellings_name_no_tile(path):
    with pytest.raises(ProofError):
        Tile.parse(path)


@given(st.text(max_size=40) | st.from_regex(r"tile/[0-9a-z]{0,3}/[x0-9/]{0,12}(\.p/[0-9]{0,4})?", fullmatch=True))
def test_whatever_parses_formats_back(path):
    try:
        tile = Tile.parse(path)
    except ProofError:
        return
    assert tile.path == path


@pytest.mark.parametrize("fields", [(-1, 0, 1), (64, 0, 1), (0, -1, 1), (0, 2**64, 1), (0, 0, 0), (0, 0, 257)])
def test_tiles_out_of_range_do_not_exist(fields):
    with pytest.raises(ProofError):
        Tile(*fields)


def test_worked_example_of_70000_entries():
    """L0: 273 full + .p/112; L1: 1 full + .p/17; L2: .p/1."""
    tiles = list(tiles_for(70_000))
    for level, full, width in ((0, 273, 112), (1, 1, 17), (2, 0, 1)):
        assert [tile for tile in tiles if tile.level == level] == [
            *(Tile(level, index) for index in range(full)),
            Tile(level, full, width),
        ]
        assert partial_width(level, 70_000) == width
    assert {tile.level for tile in tiles} == {0, 1, 2}


def test_a_full_tile_yields_the_first_hash_above():
    assert [tile.path for tile in tiles_for(256)] == ["tile/0/000", "tile/1/000.p/1"]
    assert [tile.path for tile in tiles_for(255)] == ["tile/0/000.p/255"]
    assert list(tiles_for(0)) == []
    assert list(bundles_for(0)) == []
    assert [tile.path for tile in bundles_for(257)] == ["tile/entries/000", "tile/entries/001.p/1"]


@given(st.integers(0, 200_000), st.integers(0, 3_000))
def test_new_tiles_are_the_difference(since, added):
    size = since + added
    before, after = set(tiles_for(since)), set(tiles_for(size))
    assert set(tiles_for(size, since=since)) == after - before
    assert set(bundles_for(size, since=since)) == set(bundles_for(size)) - set(bundles_for(since))
    assert all(tile_width(tile.level or 0, tile.index, size) == tile.width for tile in after)


def test_locate_covers_every_height():
    assert locate(0, 0) == (0, 0, 0, 0)
    assert locate(7, 3) == (0, 1, 7, 128)
    assert locate(8, 3) == (1, 0, 0, 3)
    assert locate(10, 65) == (1, 1, 2, 4)


@given(st.integers(0, 20), st.integers(0, 2**40))
def test_located_leaves_are_the_nodes_leaves(level, index):
    tile_level, tile_index, height, offset = locate(level, index)
    hash_span = 256**tile_level
    start = (tile_index * 256 + offset) * hash_span
    assert start == index << level
    assert hash_span << height == 1 << level
    assert offset + (1 << height) <= 256


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 1000, 65_536, 70_000])
def test_proofs_from_tiles_are_the_proofs_from_leaves(size):
    store = Tiles(size)
    root = root_hash(store.leaves)
    for index in {0, size // 3, size // 2, size - 1}:
        proof = inclusion_path(index, size, TileReader(store, size))
        assert proof == inclusion_proof(store.leaves, index)
        verify_inclusion(index, size, store.leaves[index], proof, root)
    for old in {1, size // 3 + 1, size // 2 + 1, size}:
        proof = consistency_path(old, size, TileReader(store, size))
        assert proof == consistency_proof(store.leaves, old)
        verify_consistency(old, size, root_hash(store.leaves[:old]), root, proof)
    assert set(store.asked) <= set(tiles_for(size))


@given(st.integers(1, 3000), st.data())
def test_proofs_for_an_older_size_use_the_older_widths(size, data):
    store = Tiles(3000)
    index = data.draw(st.integers(0, size - 1))
    assert inclusion_path(index, size, TileReader(store, size)) == inclusion_proof(store.leaves[:size], index)
    assert set(store.asked) <= set(tiles_for(size))


def test_a_reader_fetches_each_tile_once():
    store = Tiles(70_000)
    inclusion_path(40_000, 70_000, TileReader(store, 70_000))
    assert len(store.asked) == len(set(store.asked)) <= 5


def test_a_reader_refuses_nodes_that_are_not_full():
    node = TileReader(Tiles(300), 300)
    for level, index in ((8, 1), (0, 300), (-1, 0), (0, -1), (9, 0)):
        with pytest.raises(ProofError, match="no full subtree"):
            node(level, index)


@pytest.mark.parametrize("data", [b"", bytes(31), bytes(8191), bytes(8193)])
def test_a_tile_of_the_wrong_length_is_refused(data):
    with pytest.raises(ProofError, match="tile/0/000 is"):
        TileReader(lambda *_: data, 300)(0, 5)


@given(st.lists(st.binary(max_size=70), min_size=1, max_size=256))
def test_bundles_read_back(entries):
    data = encode_bundle(entries)
    assert decode_bundle(data) == entries
    assert decode_bundle(data, len(entries)) == entries


def test_bundle_wire_format():
    assert encode_bundle([b"", b"abc"]) == b"\0\0\0\x03abc"
    longest = bytes(65_535)
    assert decode_bundle(encode_bundle([longest])) == [longest]


@given(st.binary(max_size=60))
def test_whatever_decodes_encodes_back(data):
    try:
        entries = decode_bundle(data)
    except ProofError:
        return
    assert encode_bundle(entries) == data


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\1", b"\0\1a\0", b"\0\1a\0\2b", b"\0\0" * 257])
def test_broken_bundles_are_refused(data):
    with pytest.raises(ProofError):
        decode_bundle(data)


def test_bundles_outside_the_format_are_refused():
    for entries in ([], [b""] * 257, [bytes(65_536)]):
        with pytest.raises(ProofError):
            encode_bundle(entries)
    with pytest.raises(ProofError, match="not the 3"):
        decode_bundle(encode_bundle([b"a", b"b"]), 3)


def test_a_short_tile_has_no_such_node():
    assert subtree_in_tile(bytes(64), 0, 1) == bytes(32)
    for height, offset in ((0, 2), (1, 1), (7, 128)):
        with pytest.raises(ProofError, match="too short"):
            subtree_in_tile(bytes(64), height, offset)
