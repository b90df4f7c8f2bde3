"""The Merkle map: a sparse binary tree over 256-bit labels, its roots and proofs. Pure.

A label is its own way through the tree: bit 0 (the most significant) says left or right at the root,
and so on down. So a root has *one* answer for each label: the way is followed by whoever checks, and
ends in that label's leaf, in another label's leaf, or at an empty place. A tree over sorted leaves,
where absence is two neighbours that stand side by side, was not taken: nothing in such a root says
that the leaves were sorted, so one root could prove a label present to one reader and absent to another.

    leaf    SHA-256(0x00 || "tocsin/index/v1" || label(32) || value(32))
    node    SHA-256(0x01 || "tocsin/index/v1" || left || right)
    empty   SHA-256(0x02 || "tocsin/index/v1"), the hash of every subtree without leaves

A leaf stands at the first depth, but never above `FLOOR`, where no other leaf shares its way. The
floor is there for privacy: a proof of absence that ended in a neighbour's leaf would show the
neighbour's label, and labels of resources can be guessed from a list of names. Below a floor of 32
bits the way of an absent label meets another leaf with a chance of (number of labels) / 2**32; in
all other cases a proof shows hashes and empty places alone.

A map of millions of labels is hashed in parts: the subtree below each 16-bit prefix, then those
hashes below each 8-bit prefix, then the root. `subtree` and `trace` do any of these: their items are
leaves that stand at `FLOOR` or below, or nodes that stand at the depth of the part above.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Final, NamedTuple

from ledger.errors import ProofError

HASH_SIZE: Final = 32
BITS: Final = 256
FLOOR: Final = 32
"""Depth above which no leaf stands."""

_DOMAIN: Final = b"tocsin/index/v1"
_LEAF: Final = b"\x00" + _DOMAIN
_NODE: Final = b"\x01" + _DOMAIN
EMPTY: Final = sha256(b"\x02" + _DOMAIN).digest()


class Item(NamedTuple):
    """A subtree that is hashed already: a leaf, or all leaves below a prefix.

    Attributes:
        way: the label, or the prefix with zeros behind it, as a 256-bit number.
        hash: 32 bytes.
    """

    way: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Leaf:
    """What the map says about one label.

    Attributes:
        label: 32 bytes.
        value: 32 bytes.
    """

    label: bytes
    value: bytes

    @property
    def hash(self) -> bytes:
        """Hash of the leaf, 32 bytes."""
        return sha256(_LEAF + self.label + self.value).digest()

    @property
    def item(self) -> Item:
        """The leaf as an item of `subtree` and `trace`."""
        return Item(int.from_bytes(self.label, "big"), self.hash)


@dataclass(frozen=True, slots=True)
class MapProof:
    """What stands beside the way of a label.

    Attributes:
        siblings: 32-byte hash of the other child at each depth, from the root down.
        neighbour: for an absent label whose way ends in another label's leaf, that leaf.
    """

    siblings: tuple[bytes, ...]
    neighbour: Leaf | None = None


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two children into their parent; nothing above nothing is nothing."""
    if left == EMPTY and right == EMPTY:
        return EMPTY
    return sha256(_NODE + left + right).digest()


def subtree(items: Sequence[Item], top: int, base: int) -> bytes:
    """Hash of the subtree at depth `top` that holds `items`.

    Args:
        items: strictly ascending by way, all with the same first `top` bits.
        top: depth of the subtree, 0 for the whole tree.
        base: depth above which no item stands: `FLOOR` for leaves, the prefix length for nodes.

    Raises:
        ProofError: the items are not strictly ascending.
    """
    _check_order(items)
    return _hash(items, 0, len(items), top, base)


def trace(items: Sequence[Item], way: int, top: int, base: int) -> tuple[list[bytes], int | None]:
    """Follow a way through the subtree at depth `top`.

    Returns:
        The sibling at each depth from `top` down, and the place among `items` of the item the way ends
        in, None when it ends at an empty place.

    Raises:
        ProofError: the items are not strictly ascending.
    """
    _check_order(items)
    siblings: list[bytes] = []
    low, high, depth = 0, len(items), top
    while low < high and not (high - low == 1 and depth >= base):
        middle = _middle(items, low, high, depth)
        if way >> (BITS - 1 - depth) & 1:
            siblings.append(_hash(items, low, middle, depth + 1, base))
            low = middle
        else:
            siblings.append(_hash(items, middle, high, depth + 1, base))
            high = middle
        depth += 1
    return siblings, low if low < high else None


def verify_present(root: bytes, leaf: Leaf, proof: MapProof) -> None:
    """Check that the map with this root has this leaf.

    Raises:
        ProofError: it has not, or the proof is malformed.
    """
    if proof.neighbour is not None:
        raise ProofError("The map proof of something present names a neighbour; it was altered.")
    _check_leaf_place(proof.siblings)
    if _climb(leaf.label, leaf.hash, proof.siblings) != root:
        raise ProofError("The map proof does not lead from the list of positions to the sealed root.")


def verify_absent(root: bytes, label: bytes, proof: MapProof) -> None:
    """Check that the map with this root has no leaf for `label`.

    Raises:
        ProofError: it may have one, or the proof is malformed.
    """
    if proof.neighbour is None:
        end = EMPTY
        if proof.siblings and proof.siblings[-1] == EMPTY:
            raise ProofError("The map proof of absence is longer than it must be; it was altered.")
    else:
        end = proof.neighbour.hash
        _check_leaf_place(proof.siblings)
        if proof.neighbour.label == label:
            raise ProofError("The map proof of absence ends in the very leaf that should be absent.")
        shift = BITS - len(proof.siblings)
        if int.from_bytes(proof.neighbour.label, "big") >> shift != int.from_bytes(label, "big") >> shift:
            raise ProofError("The neighbour in the map proof does not stand in the way of what should be absent.")
    if _climb(label, end, proof.siblings) != root:
        raise ProofError("The map proof of absence does not lead to the sealed root.")


def _check_leaf_place(siblings: Sequence[bytes]) -> None:
    # One leaf has one place, so that one truth has one proof.
    if not FLOOR <= len(siblings) <= BITS or (len(siblings) > FLOOR and siblings[-1] == EMPTY):
        raise ProofError("The map proof ends where no leaf can stand; it was altered.")


def _climb(label: bytes, end: bytes, siblings: Sequence[bytes]) -> bytes:
    if len(label) != HASH_SIZE or len(siblings) > BITS or any(len(item) != HASH_SIZE for item in siblings):
        raise ProofError("A hash of the map proof is not 32 bytes long, or there are too many; it was altered.")
    way = int.from_bytes(label, "big")
    running = end
    for depth in range(len(siblings) - 1, -1, -1):
        right = way >> (BITS - 1 - depth) & 1
        running = node_hash(siblings[depth], running) if right else node_hash(running, siblings[depth])
    return running


def _check_order(items: Sequence[Item]) -> None:
    if any(before.way >= after.way for before, after in pairwise(items)):
        raise ProofError("Labels of a map must be given in strictly ascending order.")


def _middle(items: Sequence[Item], low: int, high: int, depth: int) -> int:
    """First place in [low, high) whose way goes right at `depth`."""
    border = (items[low].way >> (BITS - depth) << 1 | 1) << (BITS - 1 - depth)
    return bisect_left(items, (border,), low, high)


def _hash(items: Sequence[Item], low: int, high: int, depth: int, base: int) -> bytes:
    if low == high:
        return EMPTY
    if high - low == 1:
        way, running = items[low]
        for level in range(base - 1, depth - 1, -1):
            right = way >> (BITS - 1 - level) & 1
            running = sha256(_NODE + (EMPTY + running if right else running + EMPTY)).digest()
        return running
    middle = _middle(items, low, high, depth)
    # Two ways part somewhere, so a range of two or more is never empty on both sides.
    return sha256(
        _NODE + _hash(items, low, middle, depth + 1, base) + _hash(items, middle, high, depth + 1, base)
    ).digest()
