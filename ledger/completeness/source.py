"""A whole log to read from: a ledger, or a file exported from one for an auditor without database.

The file is NDJSON. First line: `format` "org.tocsin.log-export.v1", `origin`, `checkpoint` (signed
note). Then one object per entry: `index`, `entry` and `payload` (exact bytes as text), `salt` (hex);
where the payload is gone, `labels` says under which labels of the index the entry stood, by kind, or
is null when the index could not read it either. The index key is not in the file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from ledger import Ledger
from ledger.checkpoint import Checkpoint
from ledger.completeness import store
from ledger.completeness.index import KINDS, Kind
from ledger.encoding import parse
from ledger.entries import StoredEntry
from ledger.errors import InputError, StoreDamagedError
from ledger.notes import split_note

FORMAT: Final = "org.tocsin.log-export.v1"
_LABEL: Final = 32
Claims = Mapping[int, Mapping[Kind, Sequence[bytes]]]
"""Labels, by kind, under which entries stood whose payload is gone; by leaf index."""


@dataclass(frozen=True, slots=True)
class LogSource:
    """A log as of one checkpoint.

    Attributes:
        origin: its name.
        checkpoint: signed note over all entries that `read` gives; not verified yet.
        claims: see `Claims`.
        read: gives all entries in order, as often as asked.
    """

    origin: str
    checkpoint: bytes
    claims: Claims
    read: Callable[[], Generator[StoredEntry]]


def log_of(ledger: Ledger) -> LogSource:
    """A ledger as it is now."""
    ledger.database.ensure(store.TABLES)
    checkpoint = ledger.checkpoint()
    size = Checkpoint.parse(split_note(checkpoint)[0]).size
    with ledger.database.read() as connection:
        rows = connection.stream("SELECT position FROM event WHERE payload IS NULL AND position <= ?", (size,))
        claims = store.remembered(connection, [row["position"] - 1 for row in rows])
    return LogSource(ledger.origin, checkpoint, claims, lambda: _entries(ledger, size))


def _entries(ledger: Ledger, size: int) -> Generator[StoredEntry]:
    yield from map(checked, ledger.entries(0, size))


def checked(stored: StoredEntry) -> StoredEntry:
    """The entry, if its columns hold bytes: a damaged database can give any type.

    Raises:
        StoreDamagedError: they do not.
    """
    columns: tuple[object, ...] = (stored.entry, stored.payload or b"", stored.salt or b"")
    if not all(isinstance(column, bytes) for column in columns):
        raise StoreDamagedError(
            f"Entry {stored.index} is damaged in the database. Run `tocsin verify`, then restore a backup."
        )
    return stored


def write_export(source: LogSource, file: BinaryIO) -> int:
    """Write a log to a file for an auditor; returns how many entries it has."""
    _write_line(file, {"format": FORMAT, "origin": source.origin, "checkpoint": source.checkpoint.decode()})
    count = 0
    for stored in source.read():
        line = _line_of(stored)
        if stored.payload is None:
            claimed = source.claims.get(stored.index)
            # An empty object says that the entry was read and named nothing; null that it was never read.
            line["labels"] = None
            if claimed is not None:
                line["labels"] = {kind: [label.hex() for label in claimed[kind]] for kind in KINDS if kind in claimed}
        _write_line(file, line)
        count += 1
    return count


def _line_of(stored: StoredEntry) -> dict[str, Any]:
    try:
        return {
            "index": stored.index,
            "entry": stored.entry.decode(),
            "payload": None if stored.payload is None else stored.payload.decode(),
            "salt": None if stored.salt is None else stored.salt.hex(),
        }
    except UnicodeDecodeError:
        raise StoreDamagedError(
            f"Entry {stored.index} is damaged in the database. Run `tocsin verify`, then restore a backup."
        ) from None


def _write_line(file: BinaryIO, value: Mapping[str, Any]) -> None:
    file.write(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")


def open_export(path: Path) -> LogSource:
    """A log from a file that `write_export` wrote.

    Raises:
        InputError: the file cannot be read or is none; from `read`, that a line is malformed.
    """
    claims: dict[int, dict[Kind, list[bytes]]] = {}
    with _opened(path) as file:
        header = _line(file.readline(), 1)
        if header.keys() != {"format", "origin", "checkpoint"} or header["format"] != FORMAT:
            raise InputError("Line 1 of the export is not the head of an exported log.")
        if not isinstance(header["origin"], str) or not isinstance(header["checkpoint"], str):
            raise InputError("Line 1 of the export: origin and checkpoint must be texts.")
        for number, text in enumerate(file, 2):
            line = _line(text, number)
            if line.get("labels") is not None:
                claims[_stored(line, number).index] = _labels(line["labels"], number)
    return LogSource(header["origin"], header["checkpoint"].encode(), claims, lambda: _read(path))


def _read(path: Path) -> Generator[StoredEntry]:
    with _opened(path) as file:
        file.readline()
        for number, text in enumerate(file, 2):
            yield _stored(_line(text, number), number)


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None


def _line(text: bytes, number: int) -> dict[str, Any]:
    try:
        value = parse(text)
    except InputError:
        value = None
    if not isinstance(value, dict):
        raise InputError(f"Line {number} of the export is not a JSON object.")
    return value


def _stored(line: Mapping[str, Any], number: int) -> StoredEntry:
    index, entry, payload, salt = (line.get(name) for name in ("index", "entry", "payload", "salt"))
    texts = isinstance(entry, str) and all(item is None or isinstance(item, str) for item in (payload, salt))
    if type(index) is not int or not texts or (payload is None) != (salt is None):
        raise InputError(f"Line {number} of the export does not hold an entry.")
    try:
        return StoredEntry(
            index,
            str(entry).encode(),
            None if payload is None else payload.encode(),
            None if salt is None else bytes.fromhex(salt),
        )
    except ValueError:
        raise InputError(f"Line {number} of the export: the salt is not hex.") from None


def _labels(value: object, number: int) -> dict[Kind, list[bytes]]:
    labels: dict[Kind, list[bytes]] = {}
    try:
        if isinstance(value, dict) and value.keys() <= set(KINDS):
            for kind in KINDS:
                labels[kind] = [bytes.fromhex(item) for item in value.get(kind, ())]
            if all(len(label) == _LABEL for part in labels.values() for label in part):
                return labels
    except (TypeError, ValueError):
        pass
    raise InputError(f"Line {number} of the export: labels are not lists of 32 bytes in hex by kind.")
