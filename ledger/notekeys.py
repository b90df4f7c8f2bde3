"""Keys of signed notes: their names, ids and text forms, and what each kind signs.

A public key is written `<name>+<8 hex digits of key id>+<base64 of (kind || key)>` (C2SP signed-note);
a private one is Go's form of the same with `PRIVATE+KEY+` before it and the 32-byte seed in place of
the key. Two kinds are known, plain Ed25519 and the Ed25519 cosignature of C2SP tlog-cosignature.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Self

from nacl.bindings import crypto_sign, crypto_sign_BYTES, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import CryptoError

from ledger.checkpoint import Checkpoint
from ledger.errors import NoteError
from ledger.wire import format_base64, has_controls, parse_base64

ED25519: Final = 0x01
"""Key kind: a plain Ed25519 signature over the note's text."""
COSIGNATURE: Final = 0x04
"""Key kind: a timestamped Ed25519 cosignature over a checkpoint."""

KEY_ID_SIZE: Final = 4
TIME_SIZE: Final = 8
MAX_NAME_BYTES: Final = 255
MAX_TIMESTAMP: Final = 2**63 - 1

_KEY_SIZE: Final = 32
_KEY_PARTS: Final = re.compile(r"([^+]*)\+([0-9a-f]{8})\+(.*)", re.DOTALL)
_PRIVATE: Final = "PRIVATE+KEY+"


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key with its name.

    Attributes:
        name: key name (for a log, its origin).
        kind: `ED25519` or `COSIGNATURE`.
        key: 32-byte Ed25519 public key.

    Raises:
        NoteError: on construction, when the name, kind or key cannot be used.
    """

    name: str
    kind: int
    key: bytes

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.kind not in (ED25519, COSIGNATURE):
            raise NoteError(f"Key type 0x{self.kind:02x} is not supported; use 0x01 (Ed25519) or 0x04 (cosignature).")
        if len(self.key) != _KEY_SIZE:
            raise NoteError(f"The public key is {len(self.key)} bytes long instead of {_KEY_SIZE}.")

    @classmethod
    def from_vkey(cls, vkey: str) -> Self:
        """Read `<name>+<8 hex digits of key id>+<base64 of (kind || public key)>`.

        Raises:
            NoteError: malformed, of an unsupported kind, or the key id does not belong to the key.
        """
        name, key_id, kind, key = _parse_key(vkey, "verifier key")
        verifier = cls(name, kind, key)
        if verifier.key_id != key_id:
            raise NoteError("The verifier key's id does not belong to its name and key; copy it again.")
        return verifier

    @property
    def key_id(self) -> bytes:
        """Four bytes: SHA-256(name || 0x0A || kind || public key)[:4]."""
        return _key_id(self.name, self.kind, self.key)

    @property
    def vkey(self) -> str:
        """The text form that `from_vkey` reads; safe to publish."""
        return _format_key(self.name, self.key_id, self.kind, self.key)

    def verify(self, text: str, blob: bytes) -> int | None:
        """Check one signature over a note's text.

        Args:
            text: the note's text, ending in a newline.
            blob: the signature line's bytes after the key id.

        Returns:
            The POSIX time of a cosignature, None for a plain signature.

        Raises:
            NoteError: the signature is not by this key over this text.
        """
        if self.kind == ED25519:
            check_text(text)
            self._check(text.encode(), blob)
            return None
        if len(blob) != TIME_SIZE + crypto_sign_BYTES:
            raise NoteError("A cosignature by a known key has the wrong length; the note was altered.")
        timestamp = int.from_bytes(blob[:TIME_SIZE], "big")
        self._check(cosigned_message(text, timestamp), blob[TIME_SIZE:])
        return timestamp

    def _check(self, message: bytes, signature: bytes) -> None:
        # The library joins signature and message, so a longer signature must be refused before.
        if len(signature) == crypto_sign_BYTES:
            try:
                crypto_sign_open(signature + message, self.key)
            except CryptoError:
                pass
            else:
                return
        raise NoteError("A signature by a known key does not verify; the note was altered.")


@dataclass(frozen=True, slots=True)
class Keypair:
    """A named Ed25519 private key; the seed and secret never appear in its repr."""

    name: str
    public: bytes
    _seed: bytes = field(repr=False)
    _secret: bytes = field(repr=False)

    @classmethod
    def from_seed(cls, name: str, seed: bytes) -> Self:
        """Make the key pair that this 32-byte seed determines (RFC 8032).

        Raises:
            NoteError: the name is not a key name or the seed is not 32 bytes long.
        """
        check_name(name)
        if len(seed) != _KEY_SIZE:
            raise NoteError(f"The key seed is {len(seed)} bytes long instead of {_KEY_SIZE}.")
        public, secret = crypto_sign_seed_keypair(seed)
        return cls(name, public, seed, secret)

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte Ed25519 signature of a message."""
        return crypto_sign(message, self._secret)[:crypto_sign_BYTES]

    def format_private_key(self, kind: int) -> str:
        """Write `PRIVATE+KEY+<name>+<hex id>+<base64 of (kind || seed)>`."""
        return _PRIVATE + _format_key(self.name, _key_id(self.name, kind, self.public), kind, self._seed)

    @classmethod
    def parse_private_key(cls, skey: str, expected: int) -> Self:
        """Read what `format_private_key` wrote for the expected kind.

        Raises:
            NoteError: malformed, of another kind, or the key id does not belong to the key.
        """
        if not skey.startswith(_PRIVATE):
            raise NoteError("The private key does not start with PRIVATE+KEY+; this is not a signer key file.")
        name, key_id, kind, seed = _parse_key(skey.removeprefix(_PRIVATE), "private key")
        if kind != expected:
            raise NoteError(f"The private key is of type 0x{kind:02x}; a key of type 0x{expected:02x} is needed here.")
        pair = cls.from_seed(name, seed)
        if _key_id(name, kind, pair.public) != key_id:
            raise NoteError("The private key's id does not belong to its name and key; restore the key file.")
        return pair


def check_name(name: str) -> None:
    """Refuse what is no key name: "non-empty", no "Unicode spaces or plus"; and over 255 bytes."""
    if not name or "+" in name or any(char.isspace() or char < " " for char in name):
        raise NoteError("The key name is empty or holds a space, a control character or a plus sign.")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise NoteError("The key name is not valid Unicode.") from None
    if size > MAX_NAME_BYTES:
        raise NoteError(f"The key name is longer than {MAX_NAME_BYTES} bytes.")


def check_text(text: str) -> None:
    """Refuse what is no note text: it ends in a newline and holds no other control character."""
    if not text.endswith("\n") or has_controls(text):
        raise NoteError("A note's text must end in a newline and hold no other control character.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NoteError("The note's text is not valid Unicode.") from None


def cosigned_message(text: str, timestamp: int) -> bytes:
    """What a 0x04 key signs; only a checkpoint can be cosigned."""
    if timestamp > MAX_TIMESTAMP:
        raise NoteError("The cosignature's time is beyond 2^63 - 1 seconds.")
    Checkpoint.parse(text)
    return f"cosignature/v1\ntime {timestamp}\n{text}".encode()


def _key_id(name: str, kind: int, public: bytes) -> bytes:
    return sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()[:KEY_ID_SIZE]


def _format_key(name: str, key_id: bytes, kind: int, material: bytes) -> str:
    return f"{name}+{key_id.hex()}+{format_base64(bytes([kind]) + material)}"


def _parse_key(text: str, what: str) -> tuple[str, bytes, int, bytes]:
    """Split `<name>+<hex id>+<base64>` into name, key id, kind and key material."""
    match = _KEY_PARTS.fullmatch(text)
    encoded = None if match is None else parse_base64(match[3])
    if match is None or not encoded:
        raise NoteError(f"The {what} does not have the form name+id+base64; copy it again.")
    return match[1], bytes.fromhex(match[2]), encoded[0], encoded[1:]
