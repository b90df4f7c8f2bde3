"""What is kept when two signed views of one log contradict each other: one JSON file that convicts.

Four kinds, by what the file proves to a stranger who has nothing but the log's verifier key:

- `fork`      The log signed two trees of which neither extends the other. Both checkpoints are in the
              file and signed by the log. At equal sizes the roots differ; at different sizes the proof
              shows which root the larger tree had at the smaller size, and the smaller one signed another.
- `longer`    The log signed a larger tree than the one it now presents as its newest: an old backup, a
              truncation, or a fork that cannot be shown yet. Both checkpoints are in the file.
- `retired_key`  As one of the two above, but one checkpoint is signed by a key only for a size at which
              another key had replaced it. Whoever has the replaced key misused it, or used it before it was
              replaced; a key counts for the sizes of its period alone, so the log did not sign two trees.
- `claim`     Only a witness says so (an answer of 409 or 422); it did not give the other checkpoint. A
              witness can lie, so this accuses nobody; it is a reason to look.

The two checkpoints may be signed by different keys of the log: then the statements of the rotations between
them, which both keys of each signed, are in the file, and one key that is pinned vouches for all. Each
statement names its place, so the sizes that each key signs follow from them. Since when a key was in doubt
stands beside it, where the log says so: nobody signed that, and no kind depends on it.

`Evidence.check` recomputes the kind from the file alone and refuses a file that says more than it shows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from itertools import pairwise
from typing import Any, Final, Literal, Self

from ledger.checkpoint import Checkpoint
from ledger.encoding import canonical, format_time, parse_strict, parse_time
from ledger.errors import InputError, NoteError, VerificationError
from ledger.merkle import HASH_SIZE, verify_consistency
from ledger.notes import Verifier, open_note, split_note
from ledger.rotation import Rotation
from ledger.wire import format_base64, parse_base64, parse_decimal

FORMAT: Final = "org.tocsin.equivocation.v1"
MAX_EVIDENCE_BYTES: Final = 4_000_000

Kind = Literal["fork", "longer", "retired_key", "claim"]
HALTING: Final = ("fork", "longer")
"""What convicts the log: nothing is accepted until somebody looked."""

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
        rotations: changes of the log's key; what they link to `vkey` is a key of the log too.
    """

    vkey: str
    ours: bytes
    theirs: bytes | None
    claim: Claim | None
    root: bytes
    proof: tuple[bytes, ...]
    found: str
    rotations: tuple[Rotation, ...] = ()

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
        rotations: Sequence[Rotation] = (),
    ) -> Self:
        """Put evidence together at a moment."""
        return cls(vkey, ours, theirs, claim, root, proof, format_time(found), tuple(rotations))

    @property
    def kind(self) -> Kind:
        """What the file proves; see `check`."""
        return self.check()

    @property
    def proven(self) -> bool:
        """Whether the file convicts the log by itself, without believing the witness."""
        return self.check() in HALTING

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the file."""
        return sha256(self.to_bytes()).hexdigest()

    @property
    def keys(self) -> list[Verifier]:
        """`vkey` and every key that rotations link to it, each by a statement that both keys signed.

        Raises:
            VerificationError: a key or a statement does not hold.
        """
        return [Verifier.from_vkey(vkey) for vkey in sorted(self._last_sizes())]

    def _last_sizes(self) -> dict[str, int | None]:
        """Each key of the log and the largest size that it signs; None for the one that was not replaced."""
        origin = Checkpoint.parse(split_note(self.ours)[0]).origin
        for rotation in self.rotations:
            Rotation.read(rotation.data(), origin, rotation.index)
        for before, after in pairwise(self.rotations):
            if before.new != after.old or before.index >= after.index:
                raise VerificationError("The changes of the key in the evidence do not follow one another.")
        sizes: dict[str, int | None] = {item.old: item.index + 1 for item in self.rotations}
        if self.rotations:
            sizes[self.rotations[-1].new] = None
        return sizes if self.vkey in sizes else {self.vkey: None}

    def check(self) -> Kind:
        """Verify the evidence offline, from its own bytes and the log's key.

        Raises:
            VerificationError: a checkpoint is not signed by the log, or nothing contradicts anything.
        """
        lasts = self._last_sizes()
        ours, ours_counts = _signed(self.ours, lasts)
        if self.theirs is None:
            if self.claim is None:
                raise VerificationError("The evidence holds one checkpoint and no claim; nothing contradicts it.")
            return "claim"
        theirs, theirs_counts = _signed(self.theirs, lasts)
        kind = self._contradiction(ours, theirs)
        return kind if ours_counts and theirs_counts else "retired_key"

    def _contradiction(self, ours: Checkpoint, theirs: Checkpoint) -> Kind:
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
            | ({"rotations": [_of_rotation(item) for item in self.rotations]} if self.rotations else {})
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
            _read_rotations(value),
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
    origin = Checkpoint.parse(split_note(evidence.ours)[0]).origin
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
    "retired_key": "A replaced key of the ledger was misused",
    "claim": "A witness contradicts the ledger",
}
_MEANING: Final[dict[Kind, str]] = {
    "fork": "Two checkpoints signed by the ledger's key contradict each other: the key was misused, or the database "
    "was replaced by another history.",
    "longer": "The ledger's key signed a longer log than this server holds: an old backup was started, or the newest "
    "entries were removed.",
    "retired_key": "A key that the ledger replaced signed a checkpoint that is not of this log, for a size at which it "
    "counts no more: whoever has that key misused it. The ledger itself did not sign two histories.",
    "claim": "A witness says that it cosigned something this log does not contain, and did not show it.",
}


def _signed(note: bytes, lasts: Mapping[str, int | None]) -> tuple[Checkpoint, bool]:
    """A checkpoint, and whether one of the keys that signed it may sign its size or a larger one."""
    keys = {vkey: Verifier.from_vkey(vkey) for vkey in lasts}
    opened = open_note(note, keys.values())
    checkpoint = Checkpoint.parse(opened.text)
    signed = {item.key for item in opened.signatures}
    ends = [last for vkey, last in lasts.items() if keys[vkey].key in signed]
    return checkpoint, any(last is None or checkpoint.size <= last for last in ends)


def _of_rotation(rotation: Rotation) -> dict[str, Any]:
    data = rotation.data()
    since = rotation.compromised_since
    return (
        {"index": str(rotation.index)}
        | {name: data[name] for name in ("old", "new", "statement")}
        | ({} if since is None else {"compromised_since": str(since)})
    )


def _read_rotations(value: Mapping[str, Any]) -> tuple[Rotation, ...]:
    found = []
    if not value.get("rotations", [None]):
        raise InputError("The evidence is malformed.")  # none are written as no field at all
    origin = Checkpoint.parse(split_note(value["ours"].encode())[0]).origin if "rotations" in value else ""
    for item in value.get("rotations", []):
        index, since = parse_decimal(item["index"]), None
        if "compromised_since" in item:
            since = parse_decimal(item["compromised_since"])
        if index is None or ("compromised_since" in item and since is None):
            raise InputError("The evidence is malformed.")
        found.append(Rotation.read({**item, "compromised_since": since}, origin, index))
    return tuple(found)


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
