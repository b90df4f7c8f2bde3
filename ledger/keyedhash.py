"""HMAC-SHA-256 (RFC 2104) for many messages under one key.

The standard library's one-shot form looks the algorithm up and prepares the key on every call, which
takes longer than hashing a small message. Here the two prepared states are kept and copied.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Final

_BLOCK: Final = 64
_INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))


def keyed_hash(key: bytes) -> Callable[[bytes], bytes]:
    """A function that gives the 32-byte HMAC-SHA-256 of a message; safe to call from several threads."""
    block = (sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
    inner, outer = sha256(block.translate(_INNER)), sha256(block.translate(_OUTER))

    def digest(message: bytes) -> bytes:
        first = inner.copy()
        first.update(message)
        second = outer.copy()
        second.update(first.digest())
        return second.digest()

    return digest
