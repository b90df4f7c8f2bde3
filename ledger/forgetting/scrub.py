"""Wiping what was deleted out of the files.

SQLite with `secure_delete` overwrites what it frees, but a page that was once split or merged may keep an
old copy of a row that was later deleted elsewhere, and the write-ahead log keeps whole old pages. So the
database is written anew (VACUUM: only live rows are copied, and the disk space is given back), the
write-ahead log is emptied, and the files are then searched for bytes that must be gone.

Deleting is not overwriting: what a file system or a disk keeps of freed blocks is beyond a program's
reach; docs/erasure.md says what helps (an encrypted volume).
"""

from __future__ import annotations

import mmap
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ledger.errors import StoreBusyError, StoreError
from ledger.exchange import OwnEvent
from ledger.forgetting.events import ERASURE_COMPLETED, standing
from ledger.store.database import BUSY_TIMEOUT_S, translated

if TYPE_CHECKING:
    from ledger.ledger import Ledger

_SIDES: Final = ("", "-wal", "-shm", "-journal")

Copies = Callable[[Sequence[int]], Mapping[str, int]]
"""Deletes copies outside the database that belong to these erasures (leaf indices); what, and how many."""


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """What was wiped.

    Attributes:
        index: leaf index of the event that says so.
        events: leaf indices of the erasures and retention runs that are now finished.
        freed: bytes by which the database file became smaller.
        searched: byte strings that were searched for, and not found.
        copies: what was deleted outside the database, by kind.
    """

    index: int
    events: tuple[int, ...]
    freed: int
    searched: int
    copies: Mapping[str, int]

    def as_json(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {
            "index": self.index,
            "events": list(self.events),
            "freed": self.freed,
            "searched": self.searched,
            "copies": dict(self.copies),
        }


def unfinished(ledger: Ledger) -> tuple[int, ...]:
    """Leaf indices of erasures and retention runs whose remains were not yet wiped, ascending."""
    with ledger.database.read() as connection:
        return tuple(sorted(standing(connection).unfinished))


def finish(
    ledger: Ledger,
    *,
    by: str,
    needles: Sequence[bytes] = (),
    copies: Copies = lambda _events: {},
    timeout_s: float = BUSY_TIMEOUT_S,
) -> Scrubbed | None:
    """Wipe the remains of every act that is not finished, and record that it was done.

    Repeating it after a crash completes it; where nothing is unfinished, nothing is done.

    Args:
        ledger: where.
        by: ref of who ordered it.
        needles: bytes that must be gone from the database's files.
        copies: deletes copies outside the database.
        timeout_s: how long to wait for other processes that are reading.

    Raises:
        StoreBusyError: another process is reading an old state; repeat it.
        StoreError: bytes that must be gone are still there; nothing was recorded.
    """
    events = unfinished(ledger)
    if not events:
        return None
    removed = dict(copies(events))
    freed = rewrite(ledger.database.path, timeout_s=timeout_s)
    if search(ledger.database.path, needles):
        raise StoreError(
            f"Bytes of what was erased are still found in {ledger.database.path} after it was written anew; "
            "is another program keeping its old pages? Stop other programs and run `tocsin erase --finish`."
        )
    data = {"events": list(events), "method": "rewritten", "searched": len(needles), "copies": removed, "by": by}
    [index] = ledger.record([OwnEvent(ERASURE_COMPLETED, data)])
    return Scrubbed(index, events, freed, len(needles), removed)


def rewrite(path: Path, *, timeout_s: float = BUSY_TIMEOUT_S) -> int:
    """Write the database file anew and empty its write-ahead log; returns the bytes saved.

    Needs as much free disk space as the database takes. A crash leaves the old file or the new one.

    Raises:
        StoreBusyError: somebody is reading an old state, so the write-ahead log cannot be emptied.
        StoreError: the disk refused.
    """
    before = path.stat().st_size
    uri = f"{path.absolute().as_uri()}?mode=rw"
    with (
        translated(path),
        closing(sqlite3.connect(uri, uri=True, timeout=timeout_s, isolation_level=None)) as connection,
    ):
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA secure_delete=ON")
        connection.execute("VACUUM")
        # VACUUM itself leaves one frame of each page in the write-ahead log.
        busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    if busy:
        raise StoreBusyError(
            f"{path.name} was written anew, but another process is reading its old state, so traces remain in the "
            "write-ahead log. Run `tocsin erase --finish` when that process has ended its reading."
        )
    return max(0, before - path.stat().st_size)


def search(path: Path, needles: Sequence[bytes]) -> int:
    """How many of the byte strings are found in the database's files."""
    found: set[bytes] = set()
    for side in _SIDES:
        file = path.with_name(path.name + side)
        if needles and file.is_file() and file.stat().st_size:
            with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
                found.update(needle for needle in needles if content.find(needle) >= 0)
    return len(found)
