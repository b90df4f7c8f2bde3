"""Offline receipts: an entry's proof of inclusion in one file (C2SP tlog-proof).

    c2sp.org/tlog-proof@v1
    extra <base64>              optional, authenticated by nothing
    index <decimal>
    <base64 hash>               zero or more, from the leaf's sibling up
                                an empty line
    <checkpoint, verbatim>      signed by the log, cosigned by witnesses

`verify_receipt` needs the receipt, the entry and a policy, and nothing else: no network, no clock.
It proves that the entry is in the log at that index. It does not prove that the log holds everything
it should, nor that what the entry says is true.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ledger.checkpoint import Checkpoint
from ledger.errors import NoteError, PolicyError, ProofError
from ledger.merkle import HASH_SIZE, leaf_hash, verify_inclusion
from ledger.notes import MAX_NOTE_BYTES, open_note, split_note
from ledger.policy import Policy, parse_policy
from ledger.wire import MAX_UINT64, format_base64, parse_base64, parse_decimal

HEADER: Final = "c2sp.org/tlog-proof@v1"
MAX_PATH: Final = 64
"""Hashes in a path; a tree of 2**64 leaves is no higher."""
MAX_PROOF_BYTES: Final = 2 * MAX_NOTE_BYTES


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """A tlog-proof taken apart; nothing in it is verified yet.

    Attributes:
        index: the entry's index, from 0.
        path: 32-byte hashes from the leaf's sibling up to the child of the root.
        checkpoint: the signed note, verbatim.
        extra: opaque data that nobody signed, None when absent.
    """

    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a verified receipt proves: this entry is leaf `index` of that log's tree.

    Attributes:
        index: the entry's index, from 0.
        size: number of leaves of the signed tree.
        root: 32-byte root of the signed tree.
        origin: the log, as the policy knows it.
        cosigned: (key name, POSIX seconds) of each verified cosignature by a witness of the policy.
    """

    index: int
    size: int
    root: bytes
    origin: str
    cosigned: tuple[tuple[str, int], ...]


def format_proof(index: int, path: Sequence[bytes], checkpoint_note: bytes, extra: bytes | None = None) -> bytes:
    """Write a tlog-proof.

    Args:
        index: the entry's index, from 0.
        path: 32-byte hashes, leaf's sibling first.
        checkpoint_note: the signed checkpoint with its cosignatures, verbatim.
        extra: unauthenticated data; None or empty leaves the line out.

    Raises:
        ProofError: an index or hash that the format cannot hold.
        NoteError: the checkpoint is not a signed checkpoint.
    """
    if not 0 <= index <= MAX_UINT64:
        raise ProofError("The index of a proof must be between 0 and 2^64 - 1.")
    if len(path) > MAX_PATH or any(len(item) != HASH_SIZE for item in path):
        raise ProofError(f"The path of a proof is at most {MAX_PATH} hashes of 32 bytes.")
    _check_checkpoint(checkpoint_note)
    lines = [HEADER]
    if extra:
        lines.append(f"extra {format_base64(extra)}")
    lines.append(f"index {index}")
    lines.extend(format_base64(item) for item in path)
    text = "".join(line + "\n" for line in lines).encode() + b"\n" + checkpoint_note
    if len(text) > MAX_PROOF_BYTES:
        raise ProofError(f"The proof would be longer than {MAX_PROOF_BYTES} bytes; shorten the extra data.")
    return text


def parse_proof(text: bytes) -> InclusionProof:
    """Read a tlog-proof, strictly: only what `format_proof` can write is accepted.

    Raises:
        ProofError: the part before the checkpoint is malformed; the message names the line.
        NoteError: the checkpoint is not a signed checkpoint.
    """
    if len(text) > MAX_PROOF_BYTES:
        raise ProofError(f"The proof is longer than {MAX_PROOF_BYTES} bytes.")
    # The first empty line ends the proof: a checkpoint never starts with one, and holds others.
    head, separator, checkpoint = text.partition(b"\n\n")
    if not separator:
        raise ProofError("The proof has no empty line before its checkpoint, or is cut short.")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise ProofError("The proof holds non-ASCII characters before its checkpoint.") from None
    at = 0
    if lines[at] != HEADER:
        raise ProofError(f"Line 1 of the proof is not `{HEADER}`; this is no tlog-proof file.")
    at += 1
    extra = None
    if at < len(lines) and lines[at].startswith("extra "):
        extra = parse_base64(lines[at].removeprefix("extra "))
        if not extra:
            raise ProofError("Line 2 of the proof: the extra data is not canonical base64, or is empty.")
        at += 1
    index = parse_decimal(lines[at].removeprefix("index ")) if at < len(lines) else None
    if index is None or not lines[at].startswith("index "):
        raise ProofError(f"Line {at + 1} of the proof is not `index` and a decimal without leading zeros.")
    path = tuple(_parse_hash(line, number) for number, line in enumerate(lines[at + 1 :], at + 2))
    if len(path) > MAX_PATH:
        raise ProofError(f"The proof has {len(path)} hashes; no tree is higher than {MAX_PATH}.")
    _check_checkpoint(checkpoint)
    return InclusionProof(index, path, checkpoint, extra)


def verify_receipt(text: bytes, entry: bytes, policy: bytes) -> Receipt:
    """Verify a receipt offline.

    Args:
        text: the tlog-proof file.
        entry: the exact bytes of the entry; its leaf hash is SHA-256(0x00 || entry).
        policy: the tlog-policy file that says whom to trust.

    Raises:
        ProofError: the receipt is malformed or does not bind the entry to the signed root.
        NoteError: the checkpoint is malformed or the log did not sign it.
        PolicyError: the policy is malformed, does not know the log, or its quorum is not reached.
    """
    rules = parse_policy(policy)
    return verify_proof(parse_proof(text), leaf_hash(entry), rules)


def verify_proof(proof: InclusionProof, leaf: bytes, policy: Policy) -> Receipt:
    """Verify a parsed proof for a leaf hash under a parsed policy; see `verify_receipt`.

    Raises:
        VerificationError: one of the classes of `verify_receipt`.
    """
    checkpoint, cosigned = verify_checkpoint(proof.checkpoint, policy)
    # (4) The path binds the entry to the signed root.
    verify_inclusion(proof.index, checkpoint.size, leaf, proof.path, checkpoint.root)
    return Receipt(proof.index, checkpoint.size, checkpoint.root, checkpoint.origin, cosigned)


def verify_checkpoint(note_bytes: bytes, policy: Policy) -> tuple[Checkpoint, tuple[tuple[str, int], ...]]:
    """Verify a checkpoint under a policy; returns it with (name, POSIX seconds) of its cosignatures.

    Raises:
        VerificationError: one of the classes of `verify_receipt`.
    """
    # (1) The origin is known to the policy. The text is not trusted before (2).
    text, _ = split_note(note_bytes)
    checkpoint = Checkpoint.parse(text)
    logs = policy.log_keys(checkpoint.origin)
    if not logs:
        raise PolicyError("The policy does not know the log that the checkpoint names.")
    # (2) The log signed it, and no known key's signature is bad.
    note = open_note(note_bytes, policy.verifiers)
    log_ids = {(log.name, log.key_id) for log in logs}
    if not any((signature.name, signature.key_id) in log_ids for signature in note.signatures):
        raise NoteError("The log that the checkpoint names did not sign it.")
    # (3) Enough witnesses saw the same tree.
    cosignatures = [signature for signature in note.signatures if signature.timestamp is not None]
    if not policy.satisfied(signature.key for signature in cosignatures):
        raise PolicyError("The checkpoint does not have the cosignatures that the policy's quorum asks for.")
    return checkpoint, tuple((signature.name, signature.timestamp or 0) for signature in cosignatures)


def _parse_hash(line: str, number: int) -> bytes:
    data = parse_base64(line)
    if data is None or len(data) != HASH_SIZE:
        raise ProofError(f"Line {number} of the proof is not a 32-byte hash in canonical base64.")
    return data


def _check_checkpoint(note: bytes) -> None:
    text, _ = split_note(note)
    Checkpoint.parse(text)
