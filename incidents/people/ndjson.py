"""Reading strict NDJSON files of people and inventories: every mistake is named by its line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from incidents.errors import LineError
from ledger.encoding import check, parse
from ledger.errors import InputError

MAX_LINE: Final = 1 << 24
"""Longest line in bytes: an inventory line may list some hundred thousand subjects."""

Record = dict[str, Any]


def records(path: Path, told: Callable[[int], None] | None = None) -> Iterator[tuple[int, Record]]:
    """Line number (from 1) and object of every line.

    Args:
        path: the file.
        told: called with the number of bytes read so far.

    Raises:
        LineError: the file cannot be read, or a line is not one JSON object.
    """
    done = 0
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                done += len(line)
                yield number, _record(line, number)
                if told is not None:
                    told(done)
    except FileNotFoundError:
        raise LineError(f"{path.name} does not exist; give the path of an NDJSON file.") from None
    except OSError as error:
        raise LineError(f"{path.name} cannot be read ({error.strerror}); check the path and its rights.") from None


def _record(line: bytes, number: int) -> Record:
    if not line.strip():
        raise LineError(f"Line {number} is empty; every line must be one JSON object.", line=number)
    if len(line) > MAX_LINE:
        raise LineError(f"Line {number} is longer than {MAX_LINE} bytes; split it.", line=number)
    try:
        value = parse(line)
        check(value)
    except InputError as error:
        field = error.field
        what = f"field {field}: not representable" if field else "not valid JSON"
        raise LineError(f"Line {number}: {what}; correct the line and load again.", line=number, field=field) from None
    if not isinstance(value, dict):
        raise LineError(f"Line {number} is not a JSON object.", line=number)
    return value


def digest(path: Path) -> bytes:
    """SHA-256 of the file's bytes, to see that it did not change between two readings."""
    total = sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            total.update(chunk)
    return total.digest()


class Fields:
    """Checks the fields of one record; every complaint names line and field, never a value."""

    def __init__(self, record: Record, line: int) -> None:
        self.record = record
        self.line = line

    def fail(self, field: str, what: str) -> LineError:
        """The error for a field of this line."""
        return LineError(f"Line {self.line}, field {field}: {what}", line=self.line, field=f"/{field}")

    def only(self, names: frozenset[str]) -> None:
        """Refuse fields that are not in `names`."""
        extra = sorted(set(self.record) - names)
        if extra:
            # A misplaced value could stand where a name should be, so even the field's name is not repeated.
            raise LineError(
                f"Line {self.line} has {len(extra)} unknown field(s); allowed are {', '.join(sorted(names))}.",
                line=self.line,
            )

    def text(self, field: str, limit: int) -> str:
        """A required, non-empty text without control characters."""
        value = self.record.get(field)
        if not isinstance(value, str) or not value.strip():
            raise self.fail(field, "a text is required here.")
        if len(value) > limit or not value.isprintable():
            raise self.fail(field, f"at most {limit} printable characters are allowed.")
        return value

    def texts(self, field: str, limit: int, *, required: bool = False) -> list[str]:
        """A list of non-empty texts without repetition; missing means empty unless `required`."""
        value = self.record.get(field, [])
        if not isinstance(value, list):
            raise self.fail(field, "a list of texts is required here.")
        for position, item in enumerate(value):
            if not isinstance(item, str) or not item.strip() or len(item) > limit or not item.isprintable():
                raise self.fail(field, f"item {position + 1} is not a text of at most {limit} printable characters.")
        if len(set(value)) != len(value):
            raise self.fail(field, "an item is listed twice.")
        if required and not value:
            raise self.fail(field, "at least one item is required.")
        return list(value)
