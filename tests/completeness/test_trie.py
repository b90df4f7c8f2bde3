"""The Merkle map: one root, one answer for each label."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ledger.completeness.trie import (
    BITS,
    EMPTY,
    FLOOR,
    Item,
    Leaf,
    MapProof,
    subtree,
    trace,
    verify_absent,
    verify_present,
)
from ledger.errors import ProofError


def crowded() -> st.SearchStrategy[bytes]:
    """Labels that often share long beginnings, so that ways part early, late and below the floor."""
    stems = [bytes(32), b"\xff" * 32, bytes(3) + b"\x01" + bytes(28)]
    near = st.tuples(st.sampled_from(stems), st.integers(0, 255)).map(
        lambda pair: (int.from_bytes(pair[0], "big") ^ 1 << pair[1]).to_bytes(32, "big")
    )
    return st.one_of(st.binary(min_size=32, max_size=32), near, st.sampled_from(stems))


MAPS = st.dictionaries(crowded(), st.binary(min_size=32, max_size=32), max_size=12)


def items(leaves: dict[bytes, bytes]) -> list[Item]:
    return sorted(Leaf(label, value).item for label, value in leaves.items())


def prove(leaves: dict[bytes, bytes], label: bytes) -> MapProof:
    siblings, place = trace(items(leaves), int.from_bytes(label, "big"), 0, FLOOR)
    ordered = sorted(leaves)
    if place is None or ordered[place] == label:
        return MapProof(tuple(siblings))
    return MapProof(tuple(siblings), Leaf(ordered[place], leaves[ordered[place]]))


def root_of(leaves: dict[bytes, bytes]) -> bytes:
    return subtree(items(leaves), 0, FLOOR)


@given(leaves=MAPS)
def test_the_root_is_the_one_of_the_definition(kit, leaves):
    assert root_of(leaves) == kit.naive_root(leaves)


@given(MAPS, crowded())
def test_every_label_is_proven_present_or_absent_and_never_both(leaves, label):
    root = root_of(leaves)
    proof = prove(leaves, label)
    if label in leaves:
        verify_present(root, Leaf(label, leaves[label]), proof)
        with pytest.raises(ProofError):
            verify_absent(root, label, proof)
    else:
        verify_absent(root, label, proof)
        with pytest.raises(ProofError):
            verify_present(root, Leaf(label, bytes(32)), proof)


@given(MAPS, st.data())
def test_another_value_is_not_proven(leaves, data):
    assume(leaves)
    label = data.draw(st.sampled_from(sorted(leaves)))
    value = data.draw(st.binary(min_size=32, max_size=32))
    assume(value != leaves[label])
    with pytest.raises(ProofError):
        verify_present(root_of(leaves), Leaf(label, value), prove(leaves, label))


def verify_either(root: bytes, leaves: dict[bytes, bytes], label: bytes, proof: MapProof) -> None:
    if label in leaves:
        verify_present(root, Leaf(label, leaves[label]), proof)
    else:
        verify_absent(root, label, proof)


@given(MAPS, crowded(), st.data())
def test_an_altered_proof_fails(leaves, label, data):
    root = root_of(leaves)
    proof = prove(leaves, label)
    siblings = list(proof.siblings)
    change = data.draw(st.sampled_from(["swap", "drop", "add", "flip"]))
    place = data.draw(st.integers(0, max(0, len(siblings) - 1)))
    if change == "add":
        siblings.insert(place, data.draw(st.sampled_from([EMPTY, bytes(32)])))
    else:
        assume(siblings)
        if change == "drop":
            del siblings[place]
        elif change == "flip":
            siblings[place] = bytes([siblings[place][0] ^ 1]) + siblings[place][1:]
        else:
            siblings[place], siblings[-1] = siblings[-1], siblings[place]
    assume(tuple(siblings) != proof.siblings)
    altered = MapProof(tuple(siblings), proof.neighbour)
    with pytest.raises(ProofError):
        verify_either(root, leaves, label, altered)


@given(MAPS, crowded(), crowded(), st.binary(min_size=32, max_size=32))
def test_a_wrong_neighbour_fails(leaves, label, other, value):
    assume(label not in leaves)
    proof = prove(leaves, label)
    neighbour = Leaf(other, value)
    assume(neighbour != proof.neighbour)
    with pytest.raises(ProofError):
        verify_absent(root_of(leaves), label, MapProof(proof.siblings, neighbour))


def test_an_absent_label_that_shares_the_way_below_the_floor_meets_its_neighbour():
    there = bytes(31) + b"\x01"
    leaves = {there: b"v" * 32, b"\xff" * 32: b"w" * 32}
    proof = prove(leaves, bytes(32))
    assert proof.neighbour == Leaf(there, b"v" * 32)
    assert len(proof.siblings) == FLOOR
    verify_absent(root_of(leaves), bytes(32), proof)


def test_the_neighbour_must_be_another_leaf_on_the_same_way():
    leaves = {bytes(31) + b"\x01": b"v" * 32, b"\xff" * 32: b"w" * 32}
    proof = prove(leaves, bytes(32))
    with pytest.raises(ProofError, match="very leaf"):
        verify_absent(root_of(leaves), bytes(31) + b"\x01", proof)
    with pytest.raises(ProofError, match="in the way"):
        verify_absent(root_of(leaves), b"\xff" * 31 + b"\xfe", MapProof(proof.siblings, proof.neighbour))


def test_leaves_stand_no_higher_than_the_floor_so_proofs_show_no_neighbour():
    leaves = {bytes([number]) + bytes(31): b"v" * 32 for number in range(50)}
    for number in range(50, 256):
        assert prove(leaves, bytes([number]) + bytes(31)).neighbour is None
    assert len(prove(leaves, bytes(32)).siblings) == FLOOR


def test_the_empty_map_has_nothing():
    assert root_of({}) == EMPTY
    verify_absent(EMPTY, bytes(32), MapProof(()))


@given(MAPS, st.sampled_from([1, 4, 8, 16, 32]))
def test_hashing_in_parts_gives_the_same_root(leaves, depth):
    parts: dict[int, list[Item]] = {}
    for item in items(leaves):
        parts.setdefault(item.way >> BITS - depth, []).append(item)
    nodes = [Item(prefix << BITS - depth, subtree(part, depth, FLOOR)) for prefix, part in parts.items()]
    assert subtree(nodes, 0, depth) == root_of(leaves)


def test_leaves_out_of_order_are_refused():
    with pytest.raises(ProofError):
        subtree([Item(2, bytes(32)), Item(1, bytes(32))], 0, FLOOR)
    with pytest.raises(ProofError):
        trace([Item(2, bytes(32)), Item(2, bytes(32))], 2, 0, FLOOR)
