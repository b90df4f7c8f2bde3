"""What a witness may cosign: bytes and the last state in, the next state or a refusal out. No I/O.

The rules of C2SP tlog-witness in the order in which they are decided:

1. `Submission.parse`     the request is well formed                      400
2. `authenticate`         the origin is known, its log signed             404, 403
3. `decide`               old size <= new size, an empty tree is empty    400, 422
                          the old size is the one last cosigned           409
                          the proof leads from the old root to the new    422

`authenticate` and `decide` must run inside the transaction that stores the result: comparing with the last
state and replacing it are one step, or a slower request could roll the witness back; and a key that was
removed before that step must not count in it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Self

from ledger.checkpoint import Checkpoint
from ledger.errors import NoteError, ProofError
from ledger.merkle import EMPTY_ROOT, HASH_SIZE, verify_consistency
from ledger.notes import Verifier, open_note, split_note
from ledger.wire import format_base64, parse_base64, parse_decimal
from ledger.witness.errors import ClockError, RefusedError, Verdict

MAX_REQUEST_BYTES: Final = 131_072
"""Room for 63 hashes and a note with 16 ML-DSA-44 signatures; the Go witnesses' limit."""
MAX_PROOF_LINES: Final = 63
MAX_TREE_SIZE: Final = 2**63 - 1
"""A consistency proof of 63 hashes reaches no further, and neither do SQLite's integers."""
CLOCK_SLACK_S: Final = 60
"""How far a clock may be set back (NTP) before the witness stops rather than repeat a time."""


@dataclass(frozen=True, slots=True)
class Submission:
    """The body of an add-checkpoint request, taken apart; nothing in it is verified yet.

    Attributes:
        old_size: the size that the submitter thinks this witness last cosigned.
        proof: consistency proof from that size to the checkpoint's, 32-byte hashes.
        note: the signed checkpoint, verbatim.
        checkpoint: the note's text, parsed.
    """

    old_size: int
    proof: tuple[bytes, ...]
    note: bytes
    checkpoint: Checkpoint

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read a request body, strictly: only what `format_submission` can write is accepted.

        Raises:
            RefusedError: `MALFORMED`, naming the line.
        """
        if len(body) > MAX_REQUEST_BYTES:
            raise _malformed(f"The request is longer than {MAX_REQUEST_BYTES} bytes.")
        head, separator, note = body.partition(b"\n\n")
        if not separator:
            raise _malformed("The request has no empty line before its checkpoint, or is cut short.")
        try:
            first, *lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError:
            raise _malformed("The request holds non-ASCII characters before its checkpoint.") from None
        # SPEC: "The old size line MUST consist of the string `old`, a single space (0x20), and the tree
        # size of the previous checkpoint encoded as an ASCII decimal with no leading zeroes".
        old_size = parse_decimal(first.removeprefix("old ")) if first.startswith("old ") else None
        if old_size is None:
            raise _malformed("Line 1 is not `old`, a space and a decimal without leading zeros.")
        # SPEC: the client "MUST NOT send more than 63 consistency proof lines."
        if len(lines) > MAX_PROOF_LINES:
            raise _malformed(f"There are {len(lines)} proof lines; at most {MAX_PROOF_LINES} are allowed.")
        proof = tuple(_parse_hash(line, number) for number, line in enumerate(lines, 2))
        try:
            checkpoint = Checkpoint.parse(split_note(note)[0])
        except NoteError as error:
            raise _malformed(str(error)) from None
        if max(old_size, checkpoint.size) > MAX_TREE_SIZE:
            raise _malformed("A tree size is beyond 2^63 - 1, which this witness cannot keep.")
        return cls(old_size, proof, note, checkpoint)


def format_submission(old_size: int, proof: Collection[bytes], note: bytes) -> bytes:
    """Write the body of an add-checkpoint request; the note is a signed checkpoint, verbatim."""
    lines = (f"old {old_size}", *(format_base64(item) for item in proof))
    return "".join(line + "\n" for line in lines).encode("ascii") + b"\n" + note


@dataclass(frozen=True, slots=True)
class State:
    """What a witness remembers of a log: the newest checkpoint it cosigned, and when.

    Attributes:
        note: the checkpoint with the log's verified signatures and no others.
        time: POSIX seconds of the newest cosignature.
        checkpoint: the note's text, parsed.
    """

    note: bytes
    time: int
    checkpoint: Checkpoint

    @classmethod
    def read(cls, note: bytes, time: int) -> Self:
        """Rebuild a stored state.

        Raises:
            NoteError: the note is not a signed checkpoint.
        """
        return cls(note, time, Checkpoint.parse(split_note(note)[0]))


def authenticate(submission: Submission, verifiers: Collection[Verifier]) -> bytes:
    """Check that a trusted key of the origin signed, and return the note with such signatures alone.

    Args:
        submission: a parsed request.
        verifiers: the keys trusted for the submitted checkpoint's origin, none if it is unknown.

    Raises:
        RefusedError: `UNKNOWN_LOG` or `UNTRUSTED`.
    """
    # SPEC: "If the checkpoint origin is unknown, the witness MUST respond with a "404 Not Found"".
    if not verifiers:
        raise RefusedError(Verdict.UNKNOWN_LOG, "This witness does not know a log with this origin.")
    # SPEC: "The witness MUST verify the checkpoint signature against the public key(s) it trusts for the
    # checkpoint origin, and it MUST ignore signatures from unknown keys. [...] If none of the signatures
    # verify against a trusted public key, the witness MUST respond with a "403 Forbidden"".
    try:
        note = open_note(submission.note, verifiers)
    except NoteError:
        raise RefusedError(Verdict.UNTRUSTED, "No key that is trusted for this log signed the checkpoint.") from None
    # What unknown keys added is dropped: it was not checked, so it is neither kept nor passed on.
    return note.text.encode() + b"\n" + b"".join(signature.line for signature in note.signatures)


def decide(submission: Submission, note: bytes, state: State | None, now: int) -> State:
    """Decide what the witness remembers next; once that is durable, it may cosign.

    Args:
        submission: a parsed request.
        note: what `authenticate` returned for it.
        state: what is remembered of this log, None when it was never cosigned.
        now: POSIX seconds.

    Raises:
        RefusedError: `MALFORMED`, `STALE` or `INCONSISTENT`.
        ClockError: the clock stands before the newest cosignature, or before 1970.
    """
    old_size, new = submission.old_size, submission.checkpoint
    # SPEC: "The old size MUST be equal to or lower than the checkpoint size. Otherwise, the witness MUST
    # respond with a "400 Bad Request"".
    if old_size > new.size:
        raise _malformed("The old size is larger than the checkpoint's.")
    # SPEC: "A checkpoint of size zero MUST have the root hash of the empty tree, which RFC 6962, Section 2.1
    # defines as the hash of the empty string. Otherwise [...] "422 Unprocessable Entity"".
    if new.size == 0 and new.root != EMPTY_ROOT:
        raise RefusedError(Verdict.INCONSISTENT, "The checkpoint has size 0 but not the root of the empty tree.")
    # SPEC: "The witness MUST check that the old size matches the size of the latest checkpoint it cosigned
    # for the checkpoint's origin (or zero if it never cosigned a checkpoint for that origin)."
    known_size, known_root = (state.checkpoint.size, state.checkpoint.root) if state else (0, EMPTY_ROOT)
    if old_size != known_size:
        raise RefusedError(Verdict.STALE, f"This witness last cosigned size {known_size} of this log.", size=known_size)
    # SPEC: "If the old size matches the checkpoint size, the witness MUST check that the root hashes are
    # also identical." and "The proof MUST be empty if the old size is zero. If the Merkle Consistency Proof
    # doesn't verify, the witness MUST respond with a "422 Unprocessable Entity"". Both are in here.
    try:
        verify_consistency(known_size, new.size, known_root, new.root, submission.proof)
    except ProofError as error:
        # Anybody can send a true checkpoint with a false proof; two roots for one size only the log can sign.
        forked = known_size == new.size and known_root != new.root
        raise RefusedError(Verdict.INCONSISTENT, str(error), forked=forked) from None
    return State(note, _next_time(state, now), new)


def _next_time(state: State | None, now: int) -> int:
    """When the next cosignature is dated: never 0, never before the one before it."""
    last = state.time if state else 1
    if now < last - CLOCK_SLACK_S:
        raise ClockError("The witness's clock stands before its newest cosignature; set the clock right.")
    return max(now, last)


def _parse_hash(line: str, number: int) -> bytes:
    data = parse_base64(line)
    if data is None or len(data) != HASH_SIZE:
        raise _malformed(f"Line {number} is not a 32-byte hash in canonical base64.")
    return data


def _malformed(message: str) -> RefusedError:
    return RefusedError(Verdict.MALFORMED, message)
