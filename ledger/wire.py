"""Strict text codecs shared by the C2SP formats: decimals and base64 with exactly one spelling each.

Python's own decoders are generous: `int()` takes `+5`, ` 5`, `1_000` and Arabic digits, and
`b64decode` takes foreign characters and non-zero trailing bits. Two spellings of one value let one
receipt be read two ways, so every decoder here re-encodes and compares. `None` means "malformed";
the caller knows the file and line and raises its own error.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

MAX_UINT64: Final = 2**64 - 1

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,19}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


def parse_decimal(text: str) -> int | None:
    """Read an unsigned 64-bit ASCII decimal without sign, space or leading zero."""
    if _DECIMAL.fullmatch(text) is None:
        return None
    value = int(text)
    return value if value <= MAX_UINT64 else None


def parse_base64(text: str) -> bytes | None:
    """Read padded standard base64 (RFC 4648 section 4) in its only canonical spelling."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if format_base64(data) == text else None


def format_base64(data: bytes) -> str:
    """Write padded standard base64 (RFC 4648 section 4)."""
    return base64.b64encode(data).decode("ascii")


def has_controls(text: str) -> bool:
    r"""Whether text holds an ASCII control character (below U+0020) other than the newline."""
    return _CONTROL.search(text) is not None
