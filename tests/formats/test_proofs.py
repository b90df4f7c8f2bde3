"""Offline receipts: the tlog-proof text and its verification under a policy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.checkpoint import Checkpoint
from ledger.errors import NoteError, PolicyError, ProofError, VerificationError
from ledger.merkle import inclusion_proof, leaf_hash, root_hash
from ledger.notes import CosignatureSigner, Signer, sign_note
from ledger.proofs import InclusionProof, Receipt, format_proof, parse_proof, verify_receipt

LOG = Signer.from_seed("example.com/log", bytes(range(32)))
OTHER_LOG = Signer.from_seed("example.com/other", bytes([1]) * 32)
W1 = CosignatureSigner.from_seed("witness.example/w1", bytes([2]) * 32)
W2 = CosignatureSigner.from_seed("witness.example/w2", bytes([3]) * 32)
STRANGER = CosignatureSigner.from_seed("stranger.example", bytes([4]) * 32)

ENTRIES = [b"entry %d" % number for number in range(11)]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]
ROOT = root_hash(LEAVES)
INDEX = 6

POLICY = f"""\
log {LOG.vkey}
log {OTHER_LOG.vkey}
witness W1 {W1.vkey}
witness W2 {W2.vkey}
group both all W1 W2
quorum both
""".encode()
NO_QUORUM = f"log {LOG.vkey}\nquorum none\n".encode()


def signed(*cosigners, signer=LOG, origin=LOG.name, size=11, root=ROOT):
    note = sign_note(Checkpoint(origin, size, root).format(), [signer])
    return note + b"".join(cosigner.cosign(note, 1_000 + at) for at, cosigner in enumerate(cosigners))


def receipt(note, index=INDEX, extra=None):
    return format_proof(index, inclusion_proof(LEAVES, index), note, extra)


FULL = receipt(signed(W1, W2))
BARE = receipt(signed())


def test_wire_format():
    lines = FULL.decode().split("\n")
    assert lines[0] == "c2sp.org/tlog-proof@v1"
    assert lines[1] == "index 6"
    assert len(lines[2]) == 44
    blank = lines.index("")
    assert blank == 2 + len(inclusion_proof(LEAVES, INDEX))
    assert lines[blank + 1 : blank + 3] == ["example.com/log", "11"]
    assert FULL.endswith(b"\n")
    assert receipt(signed(), extra=b"\0\1\2").decode().split("\n")[1] == "extra AAEC"


def test_a_one_leaf_tree_has_no_path():
    note = signed(size=1, root=LEAVES[0])
    text = format_proof(0, [], note)
    assert text == b"c2sp.org/tlog-proof@v1\nindex 0\n\n" + note
    assert verify_receipt(text, ENTRIES[0], NO_QUORUM).size == 1


def test_a_receipt_verifies_offline():
    assert verify_receipt(FULL, ENTRIES[INDEX], POLICY) == Receipt(
        index=INDEX,
        size=len(ENTRIES),
        root=ROOT,
        origin="example.com/log",
        cosigned=(("witness.example/w1", 1_000), ("witness.example/w2", 1_001)),
    )


def test_every_index_verifies_and_only_with_its_entry():
    for index in range(len(ENTRIES)):
        text = receipt(signed(), index)
        for number, entry in enumerate(ENTRIES):
            if number == index:
                assert verify_receipt(text, entry, NO_QUORUM).index == index
            else:
                with pytest.raises(ProofError):
                    verify_receipt(text, entry, NO_QUORUM)


def test_quorum_none_still_reports_known_cosigners():
    policy = f"log {LOG.vkey}\nwitness W1 {W1.vkey}\nquorum none\n".encode()
    text = receipt(signed(STRANGER, W1))
    assert verify_receipt(text, ENTRIES[INDEX], policy).cosigned == (("witness.example/w1", 1_001),)
    assert verify_receipt(text, ENTRIES[INDEX], NO_QUORUM).cosigned == ()


@pytest.mark.parametrize("cosigners", [(), (W1,), (W2,), (W1, STRANGER)])
def test_too_few_witnesses(cosigners):
    with pytest.raises(PolicyError, match="quorum"):
        verify_receipt(receipt(signed(*cosigners)), ENTRIES[INDEX], POLICY)


def test_an_unknown_log_is_refused():
    stranger = Signer.from_seed("example.com/unknown", bytes(32))
    with pytest.raises(PolicyError, match="does not know the log"):
        verify_receipt(receipt(signed(W1, W2, signer=stranger, origin=stranger.name)), ENTRIES[INDEX], POLICY)
    with pytest.raises(PolicyError, match="does not know the log"):
        verify_receipt(BARE, ENTRIES[INDEX], b"quorum none\n")


def test_a_known_log_cannot_sign_for_another():
    with pytest.raises(NoteError, match="did not sign"):
        verify_receipt(receipt(signed(W1, W2, signer=OTHER_LOG)), ENTRIES[INDEX], POLICY)


def test_cosignatures_without_the_log_are_not_enough():
    note = signed(W1, W2, signer=Signer.from_seed("stranger", bytes(32)))
    with pytest.raises(NoteError, match="did not sign"):
        verify_receipt(receipt(note), ENTRIES[INDEX], POLICY)
    with pytest.raises(NoteError, match="No known key"):
        verify_receipt(receipt(signed(signer=Signer.from_seed("stranger", bytes(32)))), ENTRIES[INDEX], NO_QUORUM)


def test_a_key_of_the_same_name_is_not_the_log():
    impostor = Signer.from_seed(LOG.name, bytes([77]) * 32)
    with pytest.raises(NoteError):
        verify_receipt(receipt(signed(signer=impostor)), ENTRIES[INDEX], NO_QUORUM)


def test_a_forged_witness_rejects_even_without_need():
    note = signed(W1)
    forged = W2.cosign(signed(size=12), 5)  # good, but over another tree
    policy = f"log {LOG.vkey}\nwitness W2 {W2.vkey}\nquorum none\n".encode()
    with pytest.raises(NoteError, match="does not verify"):
        verify_receipt(receipt(note + forged), ENTRIES[INDEX], policy)


def test_wrong_root_size_index_and_path():
    path = inclusion_proof(LEAVES, INDEX)
    for text in (
        receipt(signed(root=leaf_hash(b"other"))),
        receipt(signed(size=INDEX)),
        receipt(signed(size=0)),
        format_proof(INDEX + 1, path, signed()),
        format_proof(2**64 - 1, path, signed()),
        format_proof(INDEX, path[:-1], signed()),
        format_proof(INDEX, [], signed()),
        format_proof(INDEX, [*path, ROOT], signed()),
        format_proof(INDEX, [ROOT] * 64, signed()),
    ):
        with pytest.raises(ProofError):
            verify_receipt(text, ENTRIES[INDEX], NO_QUORUM)


def test_extra_data_is_carried_and_proves_nothing():
    text = receipt(signed(), extra=b"context")
    assert parse_proof(text).extra == b"context"
    assert verify_receipt(text, ENTRIES[INDEX], NO_QUORUM) == verify_receipt(BARE, ENTRIES[INDEX], NO_QUORUM)
    assert receipt(signed(), extra=b"") == BARE


HEAD, NOTE = BARE.split(b"\n\n", 1)
HASH = HEAD.split(b"\n")[2]
LINES = [b"c2sp.org/tlog-proof@v1", b"index 6", *HEAD.split(b"\n")[2:]]


@pytest.mark.parametrize(
    ("head", "line"),
    [
        ([b""], "Line 1|no empty line"),
        ([b"c2sp.org/tlog-proof@v2", *LINES[1:]], "Line 1"),
        ([b"C2SP.org/tlog-proof@v1", *LINES[1:]], "Line 1"),
        ([LINES[0] + b" ", *LINES[1:]], "Line 1"),
        ([LINES[0] + b"\r", *LINES[1:]], "Line 1"),
        ([b"\xef\xbb\xbf" + LINES[0], *LINES[1:]], "non-ASCII"),
        ([LINES[0]], "Line 2"),
        ([LINES[0], *LINES[2:]], "Line 2"),
        ([LINES[0], b"index", *LINES[2:]], "Line 2"),
        ([LINES[0], b"index ", *LINES[2:]], "Line 2"),
        ([LINES[0], b"6", *LINES[2:]], "Line 2"),
        ([LINES[0], b"index  6", *LINES[2:]], "Line 2"),
        ([LINES[0], b"index +6", *LINES[2:]], "Line 2"),
        ([LINES[0], b"index 06", *LINES[2:]], "Line 2"),
        ([LINES[0], b"index -6", *LINES[2:]], "Line 2"),
        ([LINES[0], b"index 6 ", *LINES[2:]], "Line 2"),
        ([LINES[0], b"index 1_0", *LINES[2:]], "Line 2"),
        ([LINES[0], b"index 18446744073709551616", *LINES[2:]], "Line 2"),
        ([LINES[0], b"index\t6", *LINES[2:]], "Line 2"),
        ([LINES[0], b"Index 6", *LINES[2:]], "Line 2"),
        ([LINES[0], b"extra", *LINES[1:]], "Line 2"),
        ([LINES[0], b"extra ", *LINES[1:]], "Line 2"),
        ([LINES[0], b"extra AAE", *LINES[1:]], "Line 2"),
        ([LINES[0], b"extra AAF=", *LINES[1:]], "Line 2"),
        ([LINES[0], b"extra AA==AA==", *LINES[1:]], "Line 2"),
        ([LINES[0], b"extra AAEC", b"extra AAEC", *LINES[1:]], "Line 3"),
        ([LINES[0], LINES[1], b"extra AAEC", *LINES[2:]], "Line 3"),
        ([LINES[0], LINES[1], LINES[1], *LINES[2:]], "Line 3"),
        ([LINES[0], LINES[1], HASH[:-1], *LINES[3:]], "Line 3"),
        ([LINES[0], LINES[1], HASH + b" ", *LINES[3:]], "Line 3"),
        ([LINES[0], LINES[1], HASH + b"\r", *LINES[3:]], "Line 3"),
        ([LINES[0], LINES[1], b"AAEC", *LINES[3:]], "Line 3"),
        ([LINES[0], LINES[1], *[HASH] * 65], "65 hashes"),
    ],
)
def test_malformed_heads_are_refused(head, line):
    assert b"\n".join(LINES) == HEAD
    with pytest.raises(ProofError, match=line):
        parse_proof(b"\n".join(head) + b"\n\n" + NOTE)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        HEAD,
        HEAD + b"\n",
        HEAD + b"\n\n",
        HEAD + b"\n" + NOTE,
        HEAD + b"\n\n\n" + NOTE,
        BARE[:-1],
        BARE + b"\n",
        BARE + b"trailing\n",
        HEAD + b"\n\n" + sign_note("no checkpoint\n", [LOG]),
        b"x" * 2_000_001,
    ],
)
def test_malformed_proofs_are_refused(text):
    with pytest.raises(VerificationError):
        parse_proof(text)


def test_what_the_format_cannot_hold_is_not_written():
    for index, path in ((-1, []), (2**64, []), (0, [bytes(31)]), (0, [bytes(32)] * 65)):
        with pytest.raises(ProofError):
            format_proof(index, path, signed())
    with pytest.raises(ProofError, match="longer than"):
        format_proof(0, [], signed(), bytes(2_000_000))
    with pytest.raises(NoteError):
        format_proof(0, [], b"not a note")
    with pytest.raises(NoteError):
        format_proof(0, [], sign_note("no checkpoint\n", [LOG]))


@given(
    st.integers(0, 2**64 - 1),
    st.lists(st.binary(min_size=32, max_size=32), max_size=64),
    st.none() | st.binary(min_size=1, max_size=40),
)
def test_proofs_read_back(index, path, extra):
    note = signed(W1)
    text = format_proof(index, path, note, extra)
    assert parse_proof(text) == InclusionProof(index, tuple(path), note, extra)


def verdict(text, entry, policy):
    """The receipt, or None for a clean refusal; anything else escapes and fails the test."""
    try:
        return verify_receipt(text, entry, policy)
    except VerificationError:
        return None


@pytest.mark.parametrize("change", ["flip", "high", "delete", "double", "newline"])
def test_every_changed_byte_of_a_receipt_is_refused(change):
    """With a quorum that needs every signature, no byte of a receipt is without meaning."""
    for at in range(len(FULL)):
        byte = FULL[at : at + 1]
        middle = {
            "flip": bytes([byte[0] ^ 1]),
            "high": bytes([byte[0] ^ 128]),
            "delete": b"",
            "double": byte * 2,
            "newline": byte + b"\n",
        }[change]
        altered = FULL[:at] + middle + FULL[at + 1 :]
        if altered != FULL:
            assert verdict(altered, ENTRIES[INDEX], POLICY) is None, f"{change} at byte {at}"


def test_every_truncation_is_refused():
    for at in range(len(FULL)):
        assert verdict(FULL[:at], ENTRIES[INDEX], POLICY) is None
        assert verdict(FULL[at + 1 :], ENTRIES[INDEX], POLICY) is None


@given(st.binary(max_size=120), st.binary(max_size=40), st.binary(max_size=120))
def test_random_bytes_are_refused_cleanly(text, entry, policy):
    assert verdict(text, entry, policy) is None
    assert verdict(text, entry, POLICY) is None
    assert verdict(FULL, entry, POLICY) is None
    assert verdict(HEAD + b"\n\n" + text, ENTRIES[INDEX], NO_QUORUM) is None


@st.composite
def mangled(draw, valid):
    """A valid file with a few pieces cut out, repeated, overwritten or inserted."""
    data = bytearray(valid)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 40)))
        piece = draw(
            st.binary(max_size=8)
            | st.sampled_from([b"\n", b"\n\n", b" ", b"\xe2\x80\x94 ", b"=", b"+", b"\r\n", b"\0"])
            | st.just(bytes(data[start:end]) * 2)
        )
        data[start:end] = piece
    return bytes(data)


@given(mangled(FULL))
def test_mangled_receipts_never_prove_more(text):
    """Whatever still verifies says exactly what the untouched receipt says."""
    assert verdict(text, ENTRIES[INDEX], POLICY) in (None, verify_receipt(FULL, ENTRIES[INDEX], POLICY))


@given(mangled(POLICY))
def test_mangled_policies_fail_cleanly(policy):
    verdict(FULL, ENTRIES[INDEX], policy)
