"""What is kept when two signed views of one log contradict each other: one JSON file that convicts.

Three kinds, by what the file proves to a stranger who has nothing but the log's verifier key:

- `fork`      The log signed two trees of which neither extends the other. Both checkpoints are in the
              file and signed by the log. At equal sizes the roots differ; at different sizes the proof
              shows which root the larger tree had at the smaller size, and the smaller one signed another.
- `longer`    The log signed a larger tree than the one it now presents as its newest: an old backup, a
              truncation, or a fork that cannot be shown yet. Both checkpoints are in the file.
- `claim`     Only a witness says so (an answer of 409 or 422); it did not give the other checkpoint. A
              witness can lie, so this accuses nobody; it is a reason to look.

`Evidence.check` recomputes the kind from the file alone and refuses a file that says more than it shows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, Literal, Self

from ledger.checkpoint import Checkpoint
from ledger.encoding import canonical, format_time, parse_strict, parse_time
from ledger.errors import InputError, NoteError, VerificationError
from ledger.merkle import HASH_SIZE, verify_consistency
from ledger.notes import Verifier, open_note
from ledger.wire import format_base64, parse_base64, parse_decimal

FORMAT: Final = "org.tocsin.equivocation.v1"
MAX_EVIDENCE_BYTES: Final = 4_000_000

Kind = Literal["fork", "longer", "claim"]

_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Claim:
    """What a witness answered.

    Attributes:
        witness: its verifier key.
        status: HTTP status.
        size: the size it said it last cosigned, None if it gave none.
    """

    witness: str
    status: int
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """Two views of one log, as found.

    Attributes:
        vkey: the log's verifier key.
        ours: the signed checkpoint that was submitted.
        theirs: the other signed checkpoint, with cosignatures; None when it was not to be had.
        claim: the witness's answer that led here, None if there was none.
        root: root of the larger tree at the smaller size, 32 bytes; empty when not shown.
        proof: consistency proof from (smaller size, `root`) to the larger checkpoint.
        found: when, RFC 3339.
    """

    vkey: str
    ours: bytes
    theirs: bytes | None
    claim: Claim | None
    root: bytes
    proof: tuple[bytes, ...]
    found: str

    @classmethod
    def make(
        cls,
        vkey: str,
        ours: bytes,
        theirs: bytes | None,
        *,
        found: datetime,
        claim: Claim | None = None,
        root: bytes = b"",
        proof: tuple[bytes, ...] = (),
    ) -> Self:
        """Put evidence together at a moment."""
        return cls(vkey, ours, theirs, claim, root, proof, format_time(found))

    @property
    def kind(self) -> Kind:
        """What the file proves; see `check`."""
        return self.check()

    @property
    def proven(self) -> bool:
        """Whether the file convicts by itself, without believing the witness."""
        return self.check() != "claim"

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the file."""
        return sha256(self.to_bytes()).hexdigest()

    def check(self) -> Kind:
        """Verify the evidence offline, from its own bytes and the log's key.

        Raises:
            VerificationError: a checkpoint is not signed by the log, or nothing contradicts anything.
        """
        verifier = Verifier.from_vkey(self.vkey)
        ours = _signed(self.ours, verifier)
        if self.theirs is None:
            if self.claim is None:
                raise VerificationError("The evidence holds one checkpoint and no claim; nothing contradicts it.")
            return "claim"
        theirs = _signed(self.theirs, verifier)
        if ours.origin != theirs.origin:
            raise VerificationError("The two checkpoints are of different logs; they cannot contradict each other.")
        small, large = sorted((ours, theirs), key=lambda checkpoint: checkpoint.size)
        if small.size == large.size:
            if small.root == large.root:
                raise VerificationError("The two checkpoints show the same tree; nothing contradicts it.")
            return "fork"
        if self.root:
            verify_consistency(small.size, large.size, self.root, large.root, self.proof)
            # From size 0 the proof is empty and binds nothing, so it cannot convict.
            if small.size and self.root != small.root:
                return "fork"
            raise VerificationError("The larger tree extends the smaller one; nothing contradicts it.")
        if theirs.size > ours.size:
            return "longer"
        raise VerificationError("The proof that the trees differ is missing from the evidence.")

    def to_bytes(self) -> bytes:
        """The file: canonical JSON. Sizes stand as text, since JSON readers lose integers beyond 2^53."""
        claim = self.claim
        return canonical(
            {
                "format": FORMAT,
                "found": self.found,
                "vkey": self.vkey,
                "ours": _text(self.ours),
                "theirs": None if self.theirs is None else _text(self.theirs),
                "claim": None
                if claim is None
                else {
                    "witness": claim.witness,
                    "status": claim.status,
                    "size": None if claim.size is None else str(claim.size),
                },
                "root": self.root.hex(),
                "proof": [format_base64(item) for item in self.proof],
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a file that `to_bytes` wrote, strictly, and check it.

        Raises:
            VerificationError: it is malformed, or it does not show what it says.
        """
        if len(data) > MAX_EVIDENCE_BYTES:
            raise VerificationError(f"The evidence is longer than {MAX_EVIDENCE_BYTES} bytes.")
        try:
            evidence = cls._read(parse_strict(data))
        except (InputError, TypeError, KeyError, AttributeError, UnicodeEncodeError):
            raise VerificationError("The file is not evidence in the form that Tocsin writes.") from None
        evidence.check()
        return evidence

    @classmethod
    def _read(cls, value: Mapping[str, Any]) -> Self:
        claim, theirs = value["claim"], value["theirs"]
        root = value["root"]
        proof = [parse_base64(item) for item in value["proof"]]
        hashes = tuple(item for item in proof if item is not None and len(item) == HASH_SIZE)
        if (
            not isinstance(value["vkey"], str)
            or value["format"] != FORMAT
            or len(hashes) != len(proof)
            or (root and _HEX.fullmatch(root) is None)
        ):
            raise InputError("The evidence is malformed.")
        evidence = cls(
            value["vkey"],
            value["ours"].encode(),
            None if theirs is None else theirs.encode(),
            None if claim is None else _read_claim(claim),
            bytes.fromhex(root),
            hashes,
            format_time(parse_time(value["found"])),
        )
        # Whatever else stood there is lost by now: only a file that comes out the same was read whole.
        if evidence.to_bytes() != canonical(dict(value)):
            raise InputError("The evidence is malformed.")
        return evidence


def evidence_facts(evidence: Evidence) -> dict[str, Any]:
    """What an incident can be opened with, in the words of the incident's facts.

    Returns:
        `title` and `summary`, ready to show; `detected`, RFC 3339, for the clock of that name; `facts`,
        `{path: {"state": "known"|"assumed", "value": ..., "note": ...}}`; `evidence`, kind, hex digest and
        the file itself as text, to be attached. No personal data is in any of it.
    """
    kind = evidence.check()
    origin = _signed(evidence.ours, Verifier.from_vkey(evidence.vkey)).origin
    state = "assumed" if kind == "claim" else "known"
    note = f"{_MEANING[kind]} Evidence SHA-256 {evidence.digest}."
    facts = {"incident_types": {"state": state, "value": ["security_incident"], "note": note}}
    if kind == "fork":
        # Somebody with the log's key signed another history; whether personal data was altered is to be found out.
        facts["breach_types"] = {"state": "assumed", "value": ["alteration"], "note": note}
    if kind == "longer":
        facts["breach_types"] = {"state": "assumed", "value": ["loss"], "note": note}
    return {
        "title": f"{_TITLE[kind]}: {origin}",
        "summary": _MEANING[kind],
        "detected": evidence.found,
        "facts": facts,
        "evidence": {"kind": kind, "sha256": evidence.digest, "file": evidence.to_bytes().decode()},
    }


_TITLE: Final[dict[Kind, str]] = {
    "fork": "The ledger's key signed two histories",
    "longer": "The ledger is shorter than it was",
    "claim": "A witness contradicts the ledger",
}
_MEANING: Final[dict[Kind, str]] = {
    "fork": "Two checkpoints signed by the ledger's key contradict each other: the key was misused, or the database "
    "was replaced by another history.",
    "longer": "The ledger's key signed a longer log than this server holds: an old backup was started, or the newest "
    "entries were removed.",
    "claim": "A witness says that it cosigned something this log does not contain, and did not show it.",
}


def _signed(note: bytes, verifier: Verifier) -> Checkpoint:
    return Checkpoint.parse(open_note(note, [verifier]).text)


def _text(note: bytes) -> str:
    try:
        return note.decode("utf-8")
    except UnicodeDecodeError:
        raise NoteError("A checkpoint in the evidence is not valid UTF-8.") from None


def _read_claim(value: Mapping[str, Any]) -> Claim:
    size = None if value["size"] is None else parse_decimal(value["size"])
    if type(value["status"]) is not int or (size is None) != (value["size"] is None):
        raise InputError("The evidence is malformed.")
    if not isinstance(value["witness"], str):
        raise InputError("The evidence is malformed.")
    return Claim(value["witness"], value["status"], size)
