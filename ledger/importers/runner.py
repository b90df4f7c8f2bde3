"""Importing a whole file: validate everything, then append in batches.

Nothing is appended while any record of the file is refused. A killed import is simply repeated: the
ledger dedupes by (source, id), so what was committed before is found there and the rest follows.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from ledger.cloudevents import read_event
from ledger.errors import EventError, InputError
from ledger.importers import cloudtrail, lossless
from ledger.importers.reading import Located, opened, records
from ledger.ledger import MAX_BATCH, Ledger

Phase = Literal["check", "append"]
Progress = Callable[[Phase, int, int | None], None]
"""Called with (phase, records done, records in all or None while they are still being counted)."""


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import found.

    Attributes:
        read: records in the file.
        new: entries this import added.
        present: records whose entry was there before, or that the file holds more than once.
    """

    read: int
    new: int
    present: int

    def as_json(self) -> dict[str, int]:
        """The report as a JSON object."""
        return {"read": self.read, "new": self.new, "present": self.present}


def import_cloudtrail(
    ledger: Ledger, path: Path, *, batch: int = MAX_BATCH, progress: Progress | None = None
) -> ImportReport:
    """Append every record of a CloudTrail file to the ledger, each exactly once.

    Args:
        ledger: where to.
        path: NDJSON, a JSON array or `{"Records": [...]}`, plain or gzipped; a regular file.
        batch: records to a commit.
        progress: told after every batch.

    Raises:
        InputError: the file or one of its records was refused (the message names the line or record
            and the field, never content); nothing was appended.
        EventConflictError: a record has the source and id of an earlier entry but other content;
            batches before it were appended.
    """
    tell = progress or (lambda *_: None)
    with opened(path) as stream:
        before = os.fstat(stream.fileno())
        total = 0
        for total, (place, event) in enumerate(_events(path.name, records(stream)), 1):
            _check(path.name, place, event)
            if total % batch == 0:
                tell("check", total, None)
        tell("check", total, None)
        after = os.fstat(stream.fileno())
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise InputError(
                f"{path.name} changed while it was checked; nothing was imported. "
                "Import it once it is written completely."
            )
        read = new = 0
        for chunk in _batches(_events(path.name, records(stream)), batch):
            new += _append(ledger, path.name, chunk)
            read += len(chunk)
            tell("append", read, total)
    return ImportReport(read=read, new=new, present=read - new)


def _events(name: str, found: Iterator[Located]) -> Iterator[tuple[str, cloudtrail.Event]]:
    """(place, event) of each record; a refusal gains the file and the place."""
    places = iter(found)
    while True:
        place = ""
        try:
            place, text = next(places)
            yield place, cloudtrail.to_event(lossless.parse(text))
        except StopIteration:
            return
        except InputError as error:
            raise _refused(name, place, error) from None


def _check(name: str, place: str, event: cloudtrail.Event) -> None:
    """Refuse now what the ledger would refuse later."""
    try:
        read_event(event)
    except InputError as error:
        raise _refused(name, place, error) from None


def _refused(name: str, place: str, error: InputError) -> InputError:
    where = f"{name}, {place}" if place else name
    field = f" (field {error.field})" if error.field else ""
    reason = str(error).removeprefix("Event 0: ").rstrip(".")
    return InputError(f"{where}: {reason}{field}. Nothing was imported.", field=error.field)


def _batches(events: Iterator[tuple[str, cloudtrail.Event]], size: int) -> Iterator[list[tuple[str, cloudtrail.Event]]]:
    while chunk := list(islice(events, size)):
        yield chunk


def _append(ledger: Ledger, name: str, chunk: list[tuple[str, cloudtrail.Event]]) -> int:
    """Append one batch; returns how many entries are new."""
    try:
        receipts = ledger.append([event for _, event in chunk])
    except EventError as error:
        place = chunk[error.index][0] if error.index < len(chunk) else ""
        message = f"{name}, {place}: {error} Batches before it are imported; repeat the import once it is settled."
        raise type(error)(message, field=error.field, index=error.index) from None
    return sum(receipt.new for receipt in receipts)
