"""The rules of tlog-witness, decided without any I/O."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.checkpoint import Checkpoint
from ledger.errors import NoteError
from ledger.merkle import EMPTY_ROOT
from ledger.notes import CosignatureSigner, Signer, add_signatures, sign_note
from ledger.witness.core import (
    MAX_REQUEST_BYTES,
    MAX_TREE_SIZE,
    State,
    Submission,
    authenticate,
    decide,
    format_submission,
)
from ledger.witness.errors import ClockError, RefusedError, Verdict

NOW = 1_773_000_000


def verdict(call):
    with pytest.raises(RefusedError) as caught:
        call()
    return caught.value


def submit(log, state, old, new, *, branch=0, now=NOW, proof=None):
    note = log.note(new, branch)
    hashes = log.proof(old, new, branch) if proof is None else proof
    submission = Submission.parse(format_submission(old, hashes, note))
    return decide(submission, authenticate(submission, [log.signer.verifier]), state, now)


HASH = st.binary(min_size=32, max_size=32)


@given(
    old=st.integers(0, MAX_TREE_SIZE), size=st.integers(0, MAX_TREE_SIZE), root=HASH, proof=st.lists(HASH, max_size=63)
)
def test_a_submission_reads_back_as_it_was_written(old, size, root, proof):
    signer = Signer.from_seed("log.example/p", bytes(32))
    note = sign_note(Checkpoint("log.example/p", size, root).format(), [signer])
    body = format_submission(old, proof, note)
    read = Submission.parse(body)
    assert (read.old_size, read.proof, read.note, read.checkpoint.size) == (old, tuple(proof), note, size)
    assert format_submission(read.old_size, read.proof, read.note) == body


def refused_or_canonical(data):
    try:
        read = Submission.parse(data)
    except RefusedError as error:
        what = error.verdict
    else:
        assert format_submission(read.old_size, read.proof, read.note) == data
        return
    assert what is Verdict.MALFORMED


@given(st.binary(max_size=300))
def test_no_bytes_but_a_submission_are_read_as_one(data):
    refused_or_canonical(data)


@given(st.data())
def test_damaged_submissions_are_refused_or_still_canonical(data):
    signer = Signer.from_seed("log.example/p", bytes(32))
    body = bytearray(
        format_submission(5, [bytes(32)], sign_note(Checkpoint("log.example/p", 9, bytes(32)).format(), [signer]))
    )
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "double"])):
            case "flip":
                body[at] ^= 1 << data.draw(st.integers(0, 7))
            case "cut":
                del body[at]
            case _:
                body.insert(at, body[at])
    refused_or_canonical(bytes(body))


# SPEC: "The old size line MUST consist of the string `old`, a single space (0x20), and the tree size of the
# previous checkpoint encoded as an ASCII decimal with no leading zeroes (unless the size is zero, in which
# case the encoding MUST be `0`)."
# SPEC: each line "MUST terminate in a newline character (U+000A)".
@pytest.mark.parametrize(
    "line",
    ["", "old", "old ", "old  1", "old 01", "old 00", "old +1", "old -1", "old 1 ", " old 1", "Old 1", "old\t1",
     "old 1_0", "old ٣", "old 1\r", "old 18446744073709551616", "old 9223372036854775808", "size 1", "old 1\nold 1"],
)  # fmt: skip
def test_only_one_spelling_of_the_old_size_line(log, line):
    body = line.encode() + b"\n\n" + log.note(9)
    assert verdict(lambda: Submission.parse(body)).verdict is Verdict.MALFORMED


# SPEC: "Each consistency proof line MUST encode a single hash in base64. The client MUST NOT send more than 63
# consistency proof lines."
def test_proof_lines_are_32_bytes_of_canonical_base64_and_at_most_63(log):
    good = "A" * 43 + "="
    note = log.note(9).decode()
    assert len(Submission.parse(f"old 1\n{63 * (good + chr(10))}\n{note}".encode()).proof) == 63
    for lines in (
        [good] * 64,
        [good[:-1]],
        ["A" * 42 + "B="],
        ["A" * 40 + "===="],
        [good + " "],
        ["!" + good],
        ["AAAA"],
    ):
        text = "".join(line + "\n" for line in lines)
        refusal = verdict(lambda text=text: Submission.parse(f"old 1\n{text}\n{note}".encode()))
        assert refusal.verdict is Verdict.MALFORMED


def test_what_is_no_signed_checkpoint_is_malformed(log):
    for note in (
        b"",
        b"\n",
        b"text\n",
        log.note(9)[:-1],
        log.note(9) + b"x",
        b"\n" + log.note(9),
        log.sign("no checkpoint\n"),
    ):
        assert verdict(lambda note=note: Submission.parse(b"old 0\n\n" + note)).verdict is Verdict.MALFORMED


def test_sizes_that_sqlite_cannot_keep_are_refused_before_anything_else(log):
    note = log.note(2**63, root=bytes(32))
    assert verdict(lambda: Submission.parse(b"old 0\n\n" + note)).verdict is Verdict.MALFORMED
    assert Submission.parse(b"old 0\n\n" + log.note(2**63 - 1, root=bytes(32))).checkpoint.size == MAX_TREE_SIZE


def test_a_long_request_is_refused():
    assert verdict(lambda: Submission.parse(b"x" * (MAX_REQUEST_BYTES + 1))).verdict is Verdict.MALFORMED


# SPEC: "If the checkpoint origin is unknown, the witness MUST respond with a "404 Not Found" HTTP status code."
def test_an_unknown_origin(log):
    submission = Submission.parse(log.body(0, 5))
    assert verdict(lambda: authenticate(submission, [])).verdict is Verdict.UNKNOWN_LOG


# SPEC: "The witness MUST verify the checkpoint signature against the public key(s) it trusts for the
# checkpoint origin, and it MUST ignore signatures from unknown keys. [...] If none of the signatures verify
# against a trusted public key, the witness MUST respond with a "403 Forbidden" HTTP status code."
def test_signatures_count_only_by_trusted_keys(log):
    other = Signer.from_seed(log.origin, b"\x22" * 32)
    both = sign_note(Checkpoint(log.origin, 5, log.root(5)).format(), [other, log.signer])
    cosigned = add_signatures(both, [CosignatureSigner.from_seed("w.example/x", b"\x33" * 32).cosign(both, 1)])
    submission = Submission.parse(b"old 0\n\n" + cosigned)
    # Only the line that was verified is kept.
    assert authenticate(submission, [log.signer.verifier]) == log.note(5)

    only_other = Submission.parse(b"old 0\n\n" + sign_note(Checkpoint(log.origin, 5, log.root(5)).format(), [other]))
    assert verdict(lambda: authenticate(only_other, [log.signer.verifier])).verdict is Verdict.UNTRUSTED
    # A trusted (name, id) whose signature fails: the line of another checkpoint.
    forged = log.note(6).partition(b"\n\n")[0] + b"\n\n" + log.note(5).partition(b"\n\n")[2]
    submission = Submission.parse(b"old 0\n\n" + forged)
    assert verdict(lambda: authenticate(submission, [log.signer.verifier])).verdict is Verdict.UNTRUSTED
    # A good signature by another trusted key does not mend it.
    broken = Submission.parse(
        b"old 0\n\n"
        + add_signatures(
            forged, [sign_note(Checkpoint(log.origin, 6, log.root(6)).format(), [other]).rpartition(b"\n\n")[2]]
        )
    )
    assert verdict(lambda: authenticate(broken, [log.signer.verifier, other.verifier])).verdict is Verdict.UNTRUSTED


# SPEC: "The old size MUST be equal to or lower than the checkpoint size. Otherwise, the witness MUST respond
# with a "400 Bad Request" HTTP status code."
def test_an_old_size_beyond_the_checkpoint(log):
    state = submit(log, None, 0, 8)
    assert verdict(lambda: submit(log, state, 8, 5, proof=[])).verdict is Verdict.MALFORMED
    assert verdict(lambda: submit(log, None, 6, 5, proof=[])).verdict is Verdict.MALFORMED


# SPEC: "The witness MUST check that the old size matches the size of the latest checkpoint it cosigned for the
# checkpoint's origin (or zero if it never cosigned a checkpoint for that origin). If it doesn't match, the
# witness MUST respond with a "409 Conflict" HTTP status code."
@pytest.mark.parametrize("old", [0, 1, 4, 6, 8])
def test_another_old_size_is_answered_with_ours(log, old):
    state = submit(log, None, 0, 5)
    refusal = verdict(lambda: submit(log, state, old, 8))
    assert (refusal.verdict, refusal.size, refusal.forked) == (Verdict.STALE, 5, False)
    assert verdict(lambda: submit(log, None, 5, 8)).size == 0


# SPEC: "The consistency proof lines MUST encode a Merkle Consistency Proof from the old size to the checkpoint
# size [...]. The proof MUST be empty if the old size is zero. If the Merkle Consistency Proof doesn't verify,
# the witness MUST respond with a "422 Unprocessable Entity" HTTP status code."
def test_the_proof_must_lead_from_the_old_root_to_the_new(log):
    state = submit(log, None, 0, 5)
    assert submit(log, state, 5, 8).checkpoint.root == log.root(8)
    good = log.proof(5, 8)
    for proof in ([], good[:-1], [*good, bytes(32)], [bytes(32), *good[1:]], good[::-1]):
        refusal = verdict(lambda proof=proof: submit(log, state, 5, 8, proof=proof))
        assert (refusal.verdict, refusal.forked) == (Verdict.INCONSISTENT, False)
    assert verdict(lambda: submit(log, None, 0, 5, proof=[bytes(32)])).verdict is Verdict.INCONSISTENT
    assert verdict(lambda: submit(log, state, 5, 5, proof=[bytes(32)])).verdict is Verdict.INCONSISTENT
    # The other branch has a proof of its own, from another root at size 5.
    assert verdict(lambda: submit(log, state, 5, 8, branch=1)).verdict is Verdict.INCONSISTENT


# SPEC: "If the old size matches the checkpoint size, the witness MUST check that the root hashes are also
# identical." Otherwise 422 (409 in v1.0.0).
def test_one_size_has_one_root(log):
    state = submit(log, None, 0, 5)
    refusal = verdict(lambda: submit(log, state, 5, 5, branch=1))
    assert (refusal.verdict, refusal.forked) == (Verdict.INCONSISTENT, True)


# SPEC: "A checkpoint of size zero MUST have the root hash of the empty tree".
def test_an_empty_tree(log):
    state = submit(log, None, 0, 0)
    assert (state.checkpoint.size, state.checkpoint.root) == (0, EMPTY_ROOT)
    assert submit(log, state, 0, 0).checkpoint.size == 0
    assert submit(log, state, 0, 5).checkpoint.size == 5
    bad = Submission.parse(b"old 0\n\n" + log.note(0, root=bytes(32)))
    for last in (None, state):
        refusal = verdict(lambda last=last: decide(bad, bad.note, last, NOW))
        assert refusal.verdict is Verdict.INCONSISTENT
    # What can never be right is not answered with a size to try again from.
    assert verdict(lambda: decide(bad, bad.note, submit(log, None, 0, 5), NOW)).verdict is Verdict.INCONSISTENT
    # An empty tree after a larger one is a roll-back, and told so.
    assert verdict(lambda: submit(log, submit(log, None, 0, 5), 0, 0)).size == 5


# SPEC: the timestamp of a cosignature "MUST NOT be zero"; as of it, the tree is the largest the witness has seen.
def test_cosignatures_are_never_dated_earlier_than_the_one_before(log):
    state = submit(log, None, 0, 5, now=NOW)
    assert submit(log, state, 5, 5, now=NOW + 9).time == NOW + 9
    assert submit(log, state, 5, 8, now=NOW - 60).time == NOW
    with pytest.raises(ClockError):
        submit(log, state, 5, 8, now=NOW - 61)
    assert submit(log, None, 0, 5, now=0).time == 1
    with pytest.raises(ClockError):
        submit(log, None, 0, 5, now=-1000)


def test_a_stored_state_reads_back_and_damage_does_not(log):
    state = submit(log, None, 0, 5)
    assert State.read(state.note, state.time) == state
    with pytest.raises(NoteError):
        State.read(state.note[:-1], state.time)


def test_messages_do_not_repeat_what_was_sent(log):
    secret = "sesame-4711"
    for body in (
        f"old {secret}\n\n".encode() + log.note(1),
        f"old 1\n{secret}\n\n".encode() + log.note(1),
        f"old 0\n\n{secret}\n".encode(),
    ):
        assert secret not in str(verdict(lambda body=body: Submission.parse(body)))
