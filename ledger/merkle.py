"""The Merkle tree of RFC 6962 section 2 and RFC 9162 section 2.1: hashes, proofs, verification.

Leaf = SHA-256(0x00 || entry), node = SHA-256(0x01 || left || right), the empty tree is SHA-256("").
All hashes are 32 bytes. `index` counts leaves from 0, `size` is the number of leaves.

Proofs are generated from a *node reader*, `node(level, index)`, which returns the hash of the full
subtree over leaves `[index * 2**level, (index + 1) * 2**level)`; a proof reads O(log size) nodes.
The functions that take a list of leaf hashes are for small trees and tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Final, Self

from ledger.errors import ProofError

HASH_SIZE: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()
MAX_SIZE: Final = 2**64 - 1

NodeReader = Callable[[int, int], bytes]
"""`node(level, index)` -> 32-byte hash of the full subtree at that level and index."""


def leaf_hash(data: bytes) -> bytes:
    """Hash one entry as a leaf (RFC 9162 section 2.1.1)."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two children into their parent (RFC 9162 section 2.1.1)."""
    return sha256(b"\x01" + left + right).digest()


def root_hash(leaf_hashes: Sequence[bytes]) -> bytes:
    """Root of the tree over these leaf hashes; SHA-256("") for none.

    Raises:
        ProofError: a leaf hash is not 32 bytes long.
    """
    tree = CompactRange()
    tree.extend(leaf_hashes)
    return tree.root()


def inclusion_proof(leaf_hashes: Sequence[bytes], index: int) -> list[bytes]:
    """Audit path of leaf `index`, from its sibling up to the child of the root.

    Raises:
        ProofError: the index is outside the tree or a leaf hash is not 32 bytes long.
    """
    return inclusion_path(index, len(leaf_hashes), _list_reader(leaf_hashes))


def consistency_proof(leaf_hashes: Sequence[bytes], old_size: int) -> list[bytes]:
    """Proof that the tree over the first `old_size` leaves is a prefix of the whole one.

    Empty for old size 0 (an empty tree is a prefix of every tree) and for equal sizes.

    Raises:
        ProofError: the old size is outside the tree or a leaf hash is not 32 bytes long.
    """
    return consistency_path(old_size, len(leaf_hashes), _list_reader(leaf_hashes))


def inclusion_path(index: int, size: int, node: NodeReader) -> list[bytes]:
    """PATH(index, D[size]) of RFC 9162 section 2.1.3.1, from stored nodes.

    Raises:
        ProofError: the index is outside the tree.
    """
    if not 0 <= index < size:
        raise ProofError(f"Leaf {index} is not in a tree of {size} leaves; ask for one below its size.")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(_range_hash(middle, end, node))
            end = middle
        else:
            path.append(_range_hash(start, middle, node))
            start = middle
    path.reverse()
    return path


def consistency_path(old_size: int, new_size: int, node: NodeReader) -> list[bytes]:
    """PROOF(old_size, D[new_size]) of RFC 9162 section 2.1.4.1, from stored nodes.

    Raises:
        ProofError: the old size is larger than the new one or negative.
    """
    if not 0 <= old_size <= new_size:
        raise ProofError(f"No tree of {new_size} leaves extends one of {old_size}; swap the sizes.")
    if old_size in (0, new_size):
        return []
    path: list[bytes] = []
    start, end, whole = 0, new_size, True
    while end != old_size:
        middle = start + _split(end - start)
        if old_size <= middle:
            path.append(_range_hash(middle, end, node))
            end = middle
        else:
            path.append(_range_hash(start, middle, node))
            start, whole = middle, False
    if not whole:
        # The old tree ends inside the new one: its last subtree is not the old root, so send it.
        path.append(_range_hash(start, end, node))
    path.reverse()
    return path


def verify_inclusion(index: int, size: int, leaf_hash: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Check that `leaf_hash` is leaf `index` of the tree of `size` leaves with this root.

    The iterative algorithm of RFC 9162 section 2.1.3.2.

    Raises:
        ProofError: it is not, or the proof is malformed.
    """
    if not 0 <= index < size:
        raise ProofError(f"Leaf {index} cannot be in a tree of {size} leaves; the receipt was altered.")
    _check_lengths((leaf_hash, *proof))
    running = leaf_hash
    for sibling, on_left in _climb(index, size - 1, proof):
        running = node_hash(sibling, running) if on_left else node_hash(running, sibling)
    if running != root:
        raise ProofError(f"The inclusion proof of leaf {index} does not lead to the root of size {size}.")


def verify_consistency(old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree of `new_size` leaves only appended to the tree of `old_size` leaves.

    The iterative algorithm of RFC 9162 section 2.1.4.2. Old size 0 is not defined there; as in C2SP
    tlog-witness the proof must then be empty and nothing is left to check but that both roots are hashes.

    Raises:
        ProofError: it did not, or the proof is malformed.
    """
    if not 0 <= old_size <= new_size:
        raise ProofError(f"A tree of {new_size} leaves cannot extend one of {old_size}; the log shrank.")
    if old_size in (0, new_size):
        _verify_trivial(old_size == new_size, old_root, new_root, proof)
        return
    _check_lengths(proof)
    if not proof:
        raise ProofError("The consistency proof is empty although the sizes differ; hashes are missing.")
    # A complete old tree is itself a node of the new one, so the proof leaves it out.
    first, *siblings = proof if old_size & (old_size - 1) else (old_root, *proof)
    # The old tree's last full subtree is where both paths start; below it the trees are the same.
    depth = (old_size & -old_size).bit_length() - 1
    old_running = new_running = first
    for sibling, on_left in _climb(old_size - 1 >> depth, new_size - 1 >> depth, siblings):
        if on_left:
            old_running = node_hash(sibling, old_running)
            new_running = node_hash(sibling, new_running)
        else:
            new_running = node_hash(new_running, sibling)
    if old_running != old_root:
        raise ProofError(f"The consistency proof does not lead to the root of the older size {old_size}.")
    if new_running != new_root:
        raise ProofError(f"The consistency proof does not lead to the root of the newer size {new_size}.")


def _verify_trivial(same_size: bool, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Consistency where no hash can be computed: equal sizes, or growth from nothing."""
    if proof:
        raise ProofError("A consistency proof from size 0 or between equal sizes must be empty.")
    if not same_size:
        _check_lengths((old_root, new_root))
    elif old_root != new_root:
        raise ProofError("Two different roots are claimed for one size; the log was forked.")


class CompactRange:
    """The right border of a growing tree: at most 64 hashes, enough to append and to know the root.

    Args:
        size: number of leaves already in the tree.
        frontier: hashes of the full subtrees that make it up, one per set bit of `size`, the largest
            (leftmost) first.

    Raises:
        ProofError: on construction, when the frontier does not fit the size.
    """

    __slots__ = ("_frontier", "_size")

    def __init__(self, size: int = 0, frontier: Sequence[bytes] = ()) -> None:
        if not 0 <= size <= MAX_SIZE or len(frontier) != size.bit_count():
            raise ProofError(f"A frontier of {len(frontier)} hashes does not fit a tree of {size} leaves.")
        _check_lengths(frontier)
        self._size = size
        self._frontier = list(frontier)

    @property
    def size(self) -> int:
        """Number of leaves appended so far."""
        return self._size

    @property
    def frontier(self) -> tuple[bytes, ...]:
        """Hashes of the full subtrees that make up the tree, largest (leftmost) first."""
        return tuple(self._frontier)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CompactRange):
            return NotImplemented
        return self._size == other._size and self._frontier == other._frontier

    __hash__ = None  # type: ignore[assignment]  # mutable, so it must not be a dictionary key

    def __repr__(self) -> str:
        return f"CompactRange(size={self._size})"

    def append(self, leaf_hash: bytes) -> None:
        """Append one leaf hash.

        Raises:
            ProofError: it is not 32 bytes long.
        """
        self.extend((leaf_hash,))

    def extend(self, leaf_hashes: Sequence[bytes]) -> list[tuple[int, list[bytes]]]:
        """Append leaf hashes and return every full subtree they complete.

        Returns:
            One `(first, hashes)` per level that gained nodes, level 0 (the leaves) first: `hashes[i]`
            is the node `(level, first + i)`. A store that keeps every eighth level has its tiles here.

        Raises:
            ProofError: a leaf hash is not 32 bytes long, or the tree would pass 2**64 - 1 leaves.
        """
        if any(len(item) != HASH_SIZE for item in leaf_hashes):
            raise ProofError("A leaf hash is not 32 bytes long; pass leaf_hash(entry), not the entry.")
        old_size = self._size
        if old_size + len(leaf_hashes) > MAX_SIZE:
            raise ProofError("The tree is full: it cannot hold more than 2^64 - 1 leaves.")
        completed: list[tuple[int, list[bytes]]] = []
        tail: list[bytes] = []
        row, level = list(leaf_hashes), 0
        while row:
            completed.append((old_size >> level, row))
            # A set bit means the old tree has an unpaired node here, the left sibling of our first one.
            nodes = [self._frontier.pop(), *row] if old_size >> level & 1 else row
            if len(nodes) & 1:
                tail.append(nodes[-1])
            row = [
                sha256(b"\x01" + left + right).digest()
                for left, right in zip(nodes[::2], nodes[1::2], strict=False)  # an odd last node waits in tail
            ]
            level += 1
        self._frontier.extend(reversed(tail))
        self._size = old_size + len(leaf_hashes)
        return completed

    def root(self) -> bytes:
        """Root hash of the tree at its present size."""
        return _fold(self._frontier) if self._frontier else EMPTY_ROOT

    def copy(self) -> CompactRange:
        """Return an independent copy; appending to it leaves this one as it is."""
        return CompactRange(self._size, self._frontier)

    def to_bytes(self) -> bytes:
        """Encode as `uint64be size || frontier hashes`, 8 to 2,056 bytes."""
        return self._size.to_bytes(8, "big") + b"".join(self._frontier)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Decode what `to_bytes` wrote.

        Raises:
            ProofError: the length does not fit the size in the first eight bytes.
        """
        size = int.from_bytes(data[:8], "big")
        if len(data) != 8 + size.bit_count() * HASH_SIZE:
            raise ProofError("The stored tree frontier does not have the length its size demands.")
        return cls(size, [data[at : at + HASH_SIZE] for at in range(8, len(data), HASH_SIZE)])


def _split(width: int) -> int:
    """The largest power of two below `width` (>= 2)."""
    return 1 << (width - 1).bit_length() - 1


def _range_hash(start: int, end: int, node: NodeReader) -> bytes:
    """MTH(D[start:end]) where start is aligned to the width, from full subtrees, left to right."""
    parts: list[bytes] = []
    while start < end:
        level = (end - start).bit_length() - 1
        parts.append(node(level, start >> level))
        start += 1 << level
    return _fold(parts)


def _fold(parts: Sequence[bytes]) -> bytes:
    """Hash full subtrees of falling size into their common root (at least one)."""
    running = parts[-1]
    for left in reversed(parts[:-1]):
        running = node_hash(left, running)
    return running


def _list_reader(leaf_hashes: Sequence[bytes]) -> NodeReader:
    rows = [hashes for _, hashes in CompactRange().extend(leaf_hashes)]
    return lambda level, index: rows[level][index]


def _climb(position: int, last: int, proof: Sequence[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Walk from a node to the root: each sibling on the way and whether it stands on the left.

    `position` is the node's number within its level and `last` that of the level's last node (fn and
    sn in RFC 9162 sections 2.1.3.2 and 2.1.4.2).
    """
    for sibling in proof:
        if last == 0:
            raise ProofError("The proof has more hashes than the path to the root; it was altered.")
        on_left = bool(position & 1) or position == last
        yield sibling, on_left
        if on_left:
            # The last node of a level with no sibling moves up unhashed.
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        position >>= 1
        last >>= 1
    if last != 0:
        raise ProofError("The proof ends below the root; hashes are missing.")


def _check_lengths(proof: Sequence[bytes]) -> None:
    if any(len(item) != HASH_SIZE for item in proof):
        raise ProofError("A hash is not 32 bytes long; the proof was altered.")
