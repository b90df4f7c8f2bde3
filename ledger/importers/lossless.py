"""JSON from elsewhere, brought without loss into what the ledger can hold.

The ledger's canonical JSON has no floats, no integers beyond 2**53 - 1 and only printable-ASCII keys.
Foreign logs know none of these limits; what exceeds them is kept as text.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from ledger.encoding import MAX_INT
from ledger.errors import InputError

MAX_NESTING: Final = 20
"""Levels kept as structure; deeper parts are kept as JSON text (the ledger allows 32, envelope included)."""

_WHOLE = re.compile(r"0\.0+|-?[1-9]\d{0,14}\.0+", re.ASCII)


def parse(text: str | bytes) -> Any:
    """Decode JSON without losing digits.

    A number with a fraction becomes the integer it equals (`89.0` is 89) or else its own text.

    Raises:
        InputError: not JSON; the message gives the column, never content.
    """
    try:
        return json.loads(text, parse_float=_number, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise InputError(f"not valid JSON (column {error.colno})") from None
    except UnicodeDecodeError:
        raise InputError("not valid UTF-8") from None
    except (ValueError, RecursionError):
        raise InputError("not readable JSON: a number or a nesting beyond any real record") from None


def plain(value: Any, depth: int = 0) -> Any:
    """The same content in the ledger's JSON subset: no floats, short integers, ASCII keys, valid Unicode."""
    kind = type(value)
    if kind is dict or kind is list:
        return json.dumps(value) if depth >= MAX_NESTING else _structure(value, depth + 1)
    if kind is str:
        return readable(value)
    if kind is float:
        return _number(repr(value))
    if kind is int and not -MAX_INT <= value <= MAX_INT:
        return str(value)
    return value


def _structure(value: dict[str, Any] | list[Any], depth: int) -> Any:
    # Short ASCII texts are nearly all there is in a record, so they are let through on the spot.
    if isinstance(value, list):
        return [item if type(item) is str and item.isascii() else plain(item, depth) for item in value]
    return {
        key if key.isascii() and key.isprintable() and key and "\\" not in key else ascii_key(key): (
            item if type(item) is str and item.isascii() else plain(item, depth)
        )
        for key, item in value.items()
    }


def readable(text: str) -> str:
    """Text with halves of surrogate pairs (possible in JSON, impossible in UTF-8) written as escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def ascii_key(key: str) -> str:
    """A key as printable ASCII, reversible: Python's backslash escapes; the empty key is one backslash."""
    return key.encode("unicode_escape").decode("ascii") or "\\"


def _number(text: str) -> int | str:
    return int(text.partition(".")[0]) if _WHOLE.fullmatch(text) else text


def _refuse_constant(_: str) -> Any:
    raise ValueError
