"""The Merkle tree against RFC 6962's definitions, published vectors and a naive oracle."""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import ProofError, VerificationError
from ledger.merkle import (
    EMPTY_ROOT,
    CompactRange,
    consistency_path,
    consistency_proof,
    inclusion_path,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_hash,
    verify_consistency,
    verify_inclusion,
)

# The reference tree of eight leaves, as in Certificate Transparency's own tests.
ENTRIES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
LEAVES = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
    "0298d122906dcfc10892cb53a73992fc5b9f493ea4c9badb27b791b4127a7fe7",
    "07506a85fd9dd2f120eb694f86011e5bb4662e5c415a62917033d4a9624487e7",
    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    "4271a26be0d8a84f0bd54c8c302e7cb3a3b5d1fa6780a40bcce2873477dab658",
    "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
    "46f6ffadd3d06a09ff3c5860d2755c8b9819db7df44251788c7d8e3180de8eb1",
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
NODE_2_3 = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
NODE_4_5 = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
NODE_6_7 = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
NODE_4_7 = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
INCLUSION = {
    (0, 8): [LEAVES[1], NODE_2_3, NODE_4_7],
    (5, 8): [LEAVES[4], NODE_6_7, ROOTS[4]],
    (2, 3): [ROOTS[2]],
    (1, 5): [LEAVES[0], NODE_2_3, LEAVES[4]],
}
CONSISTENCY = {
    (1, 8): [LEAVES[1], NODE_2_3, NODE_4_7],
    (2, 5): [NODE_2_3, LEAVES[4]],
    (6, 8): [NODE_4_5, NODE_6_7, ROOTS[4]],
    (6, 7): [NODE_4_5, LEAVES[6], ROOTS[4]],
}
BIG_ROOTS = {
    256: "15e2dd4973ae44de8c8cf3048fd98d17adaaea6287f4e0606a55a643617408c0",
    257: "d418c0873259bce7d0561ab004486112416c1c4490865415342bfe06e673146c",
    1000: "c89faf3395d034a77c12c76d636db96358d6d2839c3c68f6329a07231e82fce2",
    65536: "bc9bca909516d5bf148c2bf2dea0a0d9f717ce4987d2fe7504d6694363b41598",
    70000: "0759167a0f98e35e802d46ff7c7d29d2c3f03a63a256deb6abbff357a91b63b1",
}

HASHES = st.binary(min_size=32, max_size=32)


def numbered(size):
    """Leaf hashes of the entries 0, 1, 2... as 8-byte big-endian numbers."""
    return [leaf_hash(index.to_bytes(8, "big")) for index in range(size)]


# The oracle: RFC 6962 section 2.1 word for word, recursive and slow.
def split(width):
    return 2 ** max(power for power in range(width) if 2**power < width)


def mth(leaves):
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def path(m, leaves):
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(m, leaves, whole):
    if m == len(leaves):
        return [] if whole else [mth(leaves)]
    k = split(len(leaves))
    if m <= k:
        return [*subproof(m, leaves[:k], whole), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), mth(leaves[:k])]


def test_hashes_carry_their_domain_prefix():
    assert leaf_hash(b"L123456").hex() == "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56"
    assert node_hash(b"N123", b"N456").hex() == "aa217fe888e47007fa15edab33c2b492a722cb106c64667fc2b044444de66bbb"
    assert leaf_hash(b"").hex() == LEAVES[0]
    assert EMPTY_ROOT.hex() == ROOTS[0]


def test_reference_tree_has_the_published_hashes():
    leaves = [leaf_hash(entry) for entry in ENTRIES]
    assert [leaf.hex() for leaf in leaves] == LEAVES
    assert [root_hash(leaves[:size]).hex() for size in range(9)] == ROOTS


@pytest.mark.parametrize(("index", "size"), INCLUSION)
def test_reference_inclusion_proofs(index, size):
    leaves = [bytes.fromhex(leaf) for leaf in LEAVES[:size]]
    proof = inclusion_proof(leaves, index)
    assert [item.hex() for item in proof] == INCLUSION[index, size]
    verify_inclusion(index, size, leaves[index], proof, bytes.fromhex(ROOTS[size]))


@pytest.mark.parametrize(("old", "new"), CONSISTENCY)
def test_reference_consistency_proofs(old, new):
    proof = consistency_proof([bytes.fromhex(leaf) for leaf in LEAVES[:new]], old)
    assert [item.hex() for item in proof] == CONSISTENCY[old, new]
    verify_consistency(old, new, bytes.fromhex(ROOTS[old]), bytes.fromhex(ROOTS[new]), proof)


@pytest.mark.parametrize("size", BIG_ROOTS)
def test_bigger_trees_have_the_published_roots(size):
    assert root_hash(numbered(size)).hex() == BIG_ROOTS[size]


def test_every_small_tree_agrees_with_the_oracle():
    leaves = numbered(40)
    roots = [mth(leaves[:size]) for size in range(41)]
    for size in range(41):
        assert root_hash(leaves[:size]) == roots[size]
        for index in range(size):
            proof = inclusion_proof(leaves[:size], index)
            assert proof == path(index, leaves[:size])
            verify_inclusion(index, size, leaves[index], proof, roots[size])
        for old in range(1, size + 1):
            proof = consistency_proof(leaves[:size], old)
            assert proof == subproof(old, leaves[:size], True)
            verify_consistency(old, size, roots[old], roots[size], proof)


@given(st.integers(1, 1500), st.data())
def test_larger_trees_agree_with_the_oracle(size, data):
    leaves = numbered(size)
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    assert inclusion_proof(leaves, index) == path(index, leaves)
    assert consistency_proof(leaves, old) == subproof(old, leaves, True)


def test_published_cases_of_transparency_dev(shared: Path):
    """All 196 cases of transparency-dev/merkle; one of them is that library's own policy."""
    directory = shared / "vectors" / "merkle"
    disagreements = []
    counts = dict.fromkeys(("inclusion", "consistency"), 0)
    for kind in counts:
        for file in sorted((directory / kind).rglob("*.json")):
            case = json.loads(file.read_text())
            proof = [base64.b64decode(item) for item in case["proof"] or ()]
            roots = [base64.b64decode(case[key] or "") for key in ("root", "root1", "root2") if key in case]
            counts[kind] += 1
            try:
                if kind == "inclusion":
                    leaf = base64.b64decode(case["leafHash"] or "")
                    verify_inclusion(case["leafIdx"], case["treeSize"], leaf, proof, roots[0])
                else:
                    verify_consistency(case["size1"], case["size2"], *roots, proof)
                accepted = True
            except ProofError:
                accepted = False
            if accepted == case["wantErr"]:
                disagreements.append(f"{kind}: {case['desc']}")
    assert counts == {"inclusion": 98, "consistency": 98}
    assert disagreements == ["consistency: sizes are equal (zero) and proof is empty"]


def refused(check, arguments):
    try:
        check(*arguments)
    except ProofError:
        return True
    return False


def inclusion_mutations(index, size, leaf, proof, root):
    """The mutation table of transparency-dev/merkle for an inclusion proof."""
    yield "index + 1", (index + 1, size, leaf, proof, root)
    yield "index - 1", (index - 1, size, leaf, proof, root)
    yield "index ^ 2", (index ^ 2, size, leaf, proof, root)
    if index:
        yield "index * 2", (index * 2, size, leaf, proof, root)
        yield "index / 2", (index // 2, size, leaf, proof, root)
    yield "size 0", (index, 0, leaf, proof, root)
    yield "size = index", (index, index, leaf, proof, root)
    yield "size * 2", (index, size * 2, leaf, proof, root)
    yield "wrong leaf", (index, size, leaf_hash(b"other"), proof, root)
    yield "wrong root", (index, size, leaf, proof, leaf_hash(b"other"))
    yield from ((what, (index, size, leaf, bad, root)) for what, bad in proof_mutations(proof, root))


def proof_mutations(proof, root):
    if proof:
        yield "empty proof", []
        yield "truncated proof", proof[:-1]
        yield "truncated hash", [*proof[:-1], proof[-1][:-1]]
        yield "lengthened hash", [*proof[:-1], proof[-1] + b"\0"]
        yield "two hashes joined", [b"".join(proof[:2]), *proof[2:]] if proof[1:] else [proof[0] * 2]
    yield "trailing garbage", [*proof, b"garbage"]
    yield "trailing root", [*proof, root]
    yield "trailing zeros", [*proof, bytes(32)]
    yield "preceding garbage", [b"garbage", *proof]
    yield "preceding root", [root, *proof]
    for at, item in enumerate(proof):
        yield f"bit 4 of hash {at}", [*proof[:at], bytes([item[0] ^ 16]) + item[1:], *proof[at + 1 :]]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 8, 12, 33])
def test_altered_inclusion_proofs_are_refused(size):
    leaves = numbered(size)
    root = root_hash(leaves)
    for index in range(size):
        for what, case in inclusion_mutations(index, size, leaves[index], inclusion_proof(leaves, index), root):
            assert refused(verify_inclusion, case), f"accepted {what} for leaf {index} of {size}"


@pytest.mark.parametrize("new", [2, 3, 5, 7, 8, 12, 33])
def test_altered_consistency_proofs_are_refused(new):
    leaves = numbered(new)
    new_root = root_hash(leaves)
    for old in range(1, new):
        old_root = root_hash(leaves[:old])
        proof = consistency_proof(leaves, old)
        cases = [
            ("swapped roots", (old, new, new_root, old_root, proof)),
            ("wrong old root", (old, new, leaf_hash(b"x"), new_root, proof)),
            ("wrong new root", (old, new, old_root, leaf_hash(b"x"), proof)),
            ("swapped sizes", (new, old, old_root, new_root, proof)),
            ("old size + 1", (old + 1, new, old_root, new_root, proof)),
            ("old size - 1", (old - 1, new, old_root, new_root, proof)),
            ("old size * 2", (old * 2, new, old_root, new_root, proof)),
            ("negative size", (-old, new, old_root, new_root, proof)),
            ("new size * 2", (old, new * 2, old_root, new_root, proof)),
        ]
        cases += [(what, (old, new, old_root, new_root, bad)) for what, bad in proof_mutations(proof, new_root)]
        for what, case in cases:
            assert refused(verify_consistency, case), f"accepted {what} for {old} -> {new}"


def test_old_size_zero_takes_only_the_empty_proof():
    leaves = numbered(5)
    assert consistency_proof(leaves, 0) == []
    verify_consistency(0, 5, EMPTY_ROOT, root_hash(leaves), [])
    verify_consistency(0, 0, EMPTY_ROOT, EMPTY_ROOT, [])
    with pytest.raises(ProofError):
        verify_consistency(0, 5, EMPTY_ROOT, root_hash(leaves), [EMPTY_ROOT])
    with pytest.raises(ProofError):
        verify_consistency(0, 0, EMPTY_ROOT, leaves[0], [])


def test_equal_sizes_compare_roots():
    root = root_hash(numbered(6))
    verify_consistency(6, 6, root, root, [])
    with pytest.raises(ProofError, match="forked"):
        verify_consistency(6, 6, root, EMPTY_ROOT, [])


def test_proofs_outside_the_tree_are_refused():
    leaves = numbered(3)
    for index in (-1, 3, 4):
        with pytest.raises(ProofError):
            inclusion_proof(leaves, index)
    for old in (-1, 4):
        with pytest.raises(ProofError):
            consistency_proof(leaves, old)
    with pytest.raises(ProofError):
        inclusion_proof([], 0)


def test_a_leaf_that_is_no_hash_is_refused():
    with pytest.raises(ProofError, match="leaf_hash"):
        root_hash([b"an entry, not its hash"])


@given(st.lists(HASHES, max_size=8), st.integers(-3, 40), st.integers(-3, 40), HASHES, HASHES)
def test_random_proofs_raise_only_verification_errors(proof, first, second, one, other):
    for check in (
        lambda: verify_inclusion(first, second, one, proof, other),
        lambda: verify_consistency(first, second, one, other, proof),
    ):
        try:
            check()
        except VerificationError:
            continue
        assert proof == []
        assert first in (0, second)


def test_path_generation_reads_few_nodes():
    """A proof in a tree of ten million leaves touches O(log n) nodes, each inside the tree."""
    size, reads = 10_000_019, []

    def node(level, index):
        assert (index + 1) << level <= size
        reads.append((level, index))
        return bytes(32)

    inclusion_path(1_234_567, size, node)
    assert len(reads) <= 2 * size.bit_length()
    reads.clear()
    consistency_path(9_876_543, size, node)
    assert len(reads) <= 2 * size.bit_length()


@given(st.lists(st.integers(0, 70), max_size=8))
def test_compact_range_grows_in_any_batches(batches):
    leaves = numbered(sum(batches))
    tree, done = CompactRange(), 0
    for count in batches:
        completed = tree.extend(leaves[done : done + count])
        for level, (first, hashes) in enumerate(completed):
            assert first == done >> level
            assert len(hashes) == ((done + count) >> level) - first
            for offset, item in enumerate(hashes):
                start = (first + offset) << level
                assert item == mth(leaves[start : start + (1 << level)])
        done += count
        assert tree.size == done
        assert tree.root() == mth(leaves[:done])
        assert CompactRange.from_bytes(tree.to_bytes()) == tree
        assert CompactRange(tree.size, tree.frontier) == tree


def test_compact_range_appends_one_by_one_and_copies():
    leaves = numbered(20)
    tree = CompactRange()
    for leaf in leaves:
        before, root = tree.copy(), tree.root()
        tree.append(leaf)
        assert before.root() == root
        assert before != tree
    assert tree.root() == mth(leaves)
    assert len(tree.frontier) == 2


@given(st.binary(max_size=120) | st.builds(lambda n, rest: n.to_bytes(8, "big") + rest, st.integers(0, 9), st.binary()))
def test_stored_frontiers_are_read_strictly(data):
    try:
        tree = CompactRange.from_bytes(data)
    except ProofError:
        return
    assert tree.to_bytes() == data


def test_frontier_must_fit_the_size():
    for size, frontier in (
        (3, [bytes(32)]),
        (1, []),
        (0, [bytes(32)]),
        (1, [bytes(31)]),
        (-1, []),
        (2**64, [bytes(32)]),
    ):
        with pytest.raises(ProofError):
            CompactRange(size, frontier)


def test_the_largest_tree_has_64_hashes_and_takes_no_more():
    tree = CompactRange(2**64 - 1, [bytes(32)] * 64)
    assert len(tree.to_bytes()) == 2056
    with pytest.raises(ProofError, match="full"):
        tree.append(bytes(32))


def test_a_compact_range_equals_only_its_like():
    tree = CompactRange()
    assert tree == CompactRange()
    assert tree != "a tree"
    assert repr(tree) == "CompactRange(size=0)"
    with pytest.raises(TypeError):
        hash(tree)
