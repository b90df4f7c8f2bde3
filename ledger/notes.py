r"""Signed notes: text with Ed25519 signatures and witness cosignatures (C2SP signed-note v1.0.0).

A note is UTF-8 text that ends in a newline, an empty line, and one line per signature:
`— <key name> <base64 of (key id || signature)>`. Two kinds of key are known here:

- `0x01` signs the text itself (what a log does),
- `0x04` signs `cosignature/v1\ntime <seconds>\n` and the text of a checkpoint, and sends the time
  along (what a witness does; C2SP tlog-cosignature v1.0.1).

Opening a note is strict: a malformed line, a repeated (name, key id) or a bad signature by a known
key rejects the whole note; signatures by unknown keys are ignored.

Example:
    >>> signer = Signer.from_seed("example.com/log", seed)
    >>> note = sign_note(checkpoint.format(), [signer])
    >>> open_note(note, [Verifier.from_vkey(signer.vkey)]).text
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Self

from ledger.errors import NoteError
from ledger.notekeys import (
    COSIGNATURE,
    ED25519,
    KEY_ID_SIZE,
    TIME_SIZE,
    Keypair,
    Verifier,
    check_name,
    check_text,
    cosigned_message,
)
from ledger.wire import format_base64, parse_base64

__all__ = [
    "COSIGNATURE",
    "ED25519",
    "MAX_NOTE_BYTES",
    "MAX_SIGNATURES",
    "CosignatureSigner",
    "Note",
    "Signature",
    "Signer",
    "Verifier",
    "add_signatures",
    "open_note",
    "sign_note",
    "split_note",
]

MAX_NOTE_BYTES: Final = 1_000_000
"""Longest note that is opened; the same limit as Go's sumdb/note."""
MAX_SIGNATURES: Final = 100
"""Most signature lines in a note; the specification asks for at least 16, Go's sumdb/note takes 100."""

_DASH: Final = "\u2014 "


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line of a note.

    Attributes:
        name: key name.
        key_id: 4 bytes; with the name it identifies the key.
        blob: what follows the key id: 64 bytes of Ed25519, or 8 bytes of time and 64 of Ed25519.
        timestamp: POSIX seconds of a verified cosignature, None otherwise.
        key: 32-byte public key that verified it, empty for an unknown key.
    """

    name: str
    key_id: bytes
    blob: bytes
    timestamp: int | None = None
    key: bytes = b""

    @property
    def line(self) -> bytes:
        """The line as it stands in the note, with its newline."""
        return f"{_DASH}{self.name} {format_base64(self.key_id + self.blob)}\n".encode()


@dataclass(frozen=True, slots=True)
class Note:
    """A note whose text at least one known key signed.

    Attributes:
        text: the signed text, ending in a newline.
        signatures: the verified signatures, in the note's order; never empty.
        unknown: signatures by keys that were not asked about. They prove nothing.
    """

    text: str
    signatures: tuple[Signature, ...]
    unknown: tuple[Signature, ...] = ()


@dataclass(frozen=True, slots=True)
class Signer(Keypair):
    """A log's signing key (kind 0x01)."""

    @classmethod
    def from_private_key(cls, skey: str) -> Self:
        """Read Go's form `PRIVATE+KEY+<name>+<hex id>+<base64 of (0x01 || seed)>`.

        Raises:
            NoteError: malformed, of another kind, or the key id does not belong to the key.
        """
        return cls.parse_private_key(skey, ED25519)

    @property
    def private_key(self) -> str:
        """The text form that `from_private_key` reads; whoever has it can sign as this log."""
        return self.format_private_key(ED25519)

    @property
    def verifier(self) -> Verifier:
        """The public half."""
        return Verifier(self.name, ED25519, self.public)

    @property
    def vkey(self) -> str:
        """Public text form, `<name>+<hex id>+<base64>`."""
        return self.verifier.vkey

    def signature(self, text: str) -> Signature:
        """Sign a note's text.

        Raises:
            NoteError: the text cannot stand in a note.
        """
        check_text(text)
        return Signature(self.name, self.verifier.key_id, self.sign(text.encode()), key=self.public)


@dataclass(frozen=True, slots=True)
class CosignatureSigner(Keypair):
    """A witness's signing key (kind 0x04).

    The signed message does not hold the cosigner's name, so one key must never serve two cosigners.
    """

    @classmethod
    def from_private_key(cls, skey: str) -> Self:
        """Read `PRIVATE+KEY+<name>+<hex id>+<base64 of (0x04 || seed)>`.

        Raises:
            NoteError: malformed, of another kind, or the key id does not belong to the key.
        """
        return cls.parse_private_key(skey, COSIGNATURE)

    @property
    def private_key(self) -> str:
        """The text form that `from_private_key` reads; whoever has it can cosign as this witness."""
        return self.format_private_key(COSIGNATURE)

    @property
    def verifier(self) -> Verifier:
        """The public half."""
        return Verifier(self.name, COSIGNATURE, self.public)

    @property
    def vkey(self) -> str:
        """Public text form, `<name>+<hex id>+<base64>`."""
        return self.verifier.vkey

    def cosign(self, note: bytes, timestamp: int) -> bytes:
        """Cosign the checkpoint in a note; the caller has checked that it is consistent.

        Args:
            note: a signed checkpoint, verbatim. Its signatures are not verified here.
            timestamp: POSIX seconds, 1 to 2**63 - 1 (a witness must not send 0).

        Returns:
            One signature line with its newline, to be added to the note.

        Raises:
            NoteError: the note or its checkpoint is malformed, or the time is out of range.
        """
        if timestamp < 1:
            raise NoteError("A cosignature needs a time after 1970; set the clock.")
        text, _ = split_note(note)
        signature = self.sign(cosigned_message(text, timestamp))
        blob = timestamp.to_bytes(TIME_SIZE, "big") + signature
        return Signature(self.name, self.verifier.key_id, blob).line


def sign_note(text: str, signers: Iterable[Signer]) -> bytes:
    """Sign a text and return the whole note.

    Args:
        text: ends in a newline and has no other control character; it may contain empty lines.
        signers: at least one; each signs once, in this order.

    Raises:
        NoteError: the text cannot stand in a note, or there is no signer or one twice.
    """
    check_text(text)
    signatures = [signer.signature(text) for signer in signers]
    _check_signatures(signatures)
    return text.encode() + b"\n" + b"".join(signature.line for signature in signatures)


def add_signatures(note: bytes, lines: Iterable[bytes]) -> bytes:
    """Append signature lines (such as cosignatures) to a note.

    The lines are checked for form, not verified.

    Raises:
        NoteError: the note or a line is malformed, or a (name, key id) would stand there twice.
    """
    longer = note + b"".join(lines)
    # An empty line among the new ones would move the border between text and signatures.
    if split_note(longer)[0] != split_note(note)[0]:
        raise NoteError("The added lines hold an empty line; only signature lines can be added to a note.")
    return longer


def split_note(note: bytes) -> tuple[str, tuple[Signature, ...]]:
    """Take a note apart by its form alone; nothing is verified.

    Raises:
        NoteError: not a note in the strict form of this module.
    """
    if len(note) > MAX_NOTE_BYTES:
        raise NoteError(f"The note is longer than {MAX_NOTE_BYTES} bytes.")
    try:
        whole = note.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NoteError(f"The note is not valid UTF-8 at byte {error.start}.") from None
    # "The text is separated from the signatures by the last empty line in the note."
    head, separator, tail = whole.rpartition("\n\n")
    if not separator or not tail.endswith("\n"):
        raise NoteError("The note has no signature lines after an empty line, or is cut short.")
    text = head + "\n"
    check_text(text)
    lines = tail[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise NoteError(f"The note has {len(lines)} signature lines; at most {MAX_SIGNATURES} are read.")
    signatures = tuple(_parse_signature(line, number) for number, line in enumerate(lines, 1))
    _check_signatures(signatures)
    return text, signatures


def open_note(note: bytes, verifiers: Iterable[Verifier]) -> Note:
    """Verify a note against known keys.

    Args:
        note: the whole note, verbatim.
        verifiers: the keys the caller trusts.

    Returns:
        The text with the signatures that known keys made.

    Raises:
        NoteError: the note is malformed, a known key's signature is bad, no known key signed, or two
            different known keys share name and key id.
    """
    text, signatures = split_note(note)
    known: dict[tuple[str, bytes], Verifier] = {}
    for verifier in verifiers:
        if known.setdefault((verifier.name, verifier.key_id), verifier) != verifier:
            raise NoteError("Two of the given verifier keys share a name and key id; remove one.")
    verified: list[Signature] = []
    unknown: list[Signature] = []
    for signature in signatures:
        match = known.get((signature.name, signature.key_id))
        # "Verifiers MUST ignore signatures from unknown keys, even if they share a name or ID
        # (but not both) with a known key."
        if match is None:
            unknown.append(signature)
            continue
        # "If the key name and ID match a known key, verifiers MUST verify the signature."
        timestamp = match.verify(text, signature.blob)
        verified.append(Signature(signature.name, signature.key_id, signature.blob, timestamp=timestamp, key=match.key))
    if not verified:
        raise NoteError("No known key signed the note; check which verifier keys are trusted.")
    return Note(text, tuple(verified), tuple(unknown))


def _parse_signature(line: str, number: int) -> Signature:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    blob = parse_base64(encoded)
    # A key id and nothing else is no signature; Go's sumdb/note refuses it as well.
    if not line.startswith(_DASH) or not space or blob is None or len(blob) <= KEY_ID_SIZE:
        raise NoteError(f"Signature line {number} of the note is malformed.")
    try:
        check_name(name)
    except NoteError as error:
        raise NoteError(f"Signature line {number} of the note: {error}") from None
    return Signature(name, blob[:KEY_ID_SIZE], blob[KEY_ID_SIZE:])


def _check_signatures(signatures: Sequence[Signature]) -> None:
    if not signatures:
        raise NoteError("A note needs at least one signature.")
    if len({(signature.name, signature.key_id) for signature in signatures}) != len(signatures):
        raise NoteError("The note has two signatures with the same key name and key id.")
