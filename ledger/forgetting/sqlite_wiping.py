"""Wiping an SQLite file.

SQLite with `secure_delete` overwrites what it frees, but a page that was once split or merged may keep an
old copy of a row that was later deleted elsewhere, and the write-ahead log keeps whole old pages. So the
database is written anew (VACUUM: only live rows are copied, and the disk space is given back), the
write-ahead log is emptied, and the files are then searched for bytes that must be gone. The temporary copy
that VACUUM makes lies beside the database and not in /tmp, so that it does not leave the (encrypted) volume.

Deleting is not overwriting: what a file system or a disk keeps of freed blocks is beyond a program's
reach; docs/erasure.md says what helps (an encrypted volume).
"""

from __future__ import annotations

import mmap
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from ledger.errors import StoreBusyError, StoreError, StoreFullError
from ledger.store.sqlite import translated

_SIDES: Final = ("", "-wal", "-shm", "-journal")
_SPARE: Final = 1 << 20
"""For the log entry that says so, and what others append meanwhile."""


def free_space(place: Path) -> int:
    """Bytes that a program may still write on the file system of a directory."""
    return shutil.disk_usage(place).free


class SqliteWiping:
    """Wipes one database file.

    Args:
        path: the file.
        free: gives the free bytes on the file system of a directory.
    """

    method = "rewritten"
    searches = True

    def __init__(self, path: Path, free: Callable[[Path], int] = free_space) -> None:
        self._path = path
        self._free = free

    def check_room(self) -> None:
        """The file is written twice: to a temporary copy, and from there through the write-ahead log.

        Raises:
            StoreFullError: the disk has less room.
        """
        place = self._path.absolute().parent
        needed, free = 2 * self._live() + _SPARE, self._free(place)
        if free < needed:
            raise StoreFullError(
                f"Wiping {self._path.name} writes it anew, which needs {needed:,} free bytes on the disk of {place}; "
                f"there are {free:,}. Nothing was done. Free disk space first, or erase now with `--defer` and wipe "
                "later with `tocsin erase --finish`."
            )

    def _live(self) -> int:
        """Bytes of the pages that a new file would have."""
        with translated(self._path), closing(self._connect(timeout_s=0)) as connection:
            names = ("page_count", "freelist_count", "page_size")
            pages, unused, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names)
        return int((pages - unused) * size)

    def rewrite(self, *, timeout_s: float) -> int:
        """See `ledger.forgetting.wiping.Wiping.rewrite`."""
        path = self._path
        before = path.stat().st_size
        with translated(path), closing(self._connect(timeout_s=timeout_s)) as connection:
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA secure_delete=ON")
            place = str(path.absolute().parent).replace("'", "''")
            # Deprecated, and the only way to say it after the start: the environment is read once.
            connection.execute(f"PRAGMA temp_store_directory = '{place}'")
            try:
                connection.execute("VACUUM")
            finally:
                connection.execute("PRAGMA temp_store_directory = ''")
            # VACUUM itself leaves one frame of each page in the write-ahead log.
            busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            raise StoreBusyError(
                f"{path.name} was written anew, but another process is reading its old state, so traces remain in the "
                "write-ahead log. Run `tocsin erase --finish` when that process has ended its reading."
            )
        return max(0, before - path.stat().st_size)

    def _connect(self, *, timeout_s: float) -> sqlite3.Connection:
        uri = f"{self._path.absolute().as_uri()}?mode=rw"
        return sqlite3.connect(uri, uri=True, timeout=timeout_s, isolation_level=None)

    def search(self, needles: Sequence[bytes]) -> int:
        """See `ledger.forgetting.wiping.Wiping.search`."""
        found: set[bytes] = set()
        for side in _SIDES:
            file = self._path.with_name(self._path.name + side)
            try:
                if needles and file.is_file() and file.stat().st_size:
                    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
                        found.update(needle for needle in needles if content.find(needle) >= 0)
            except OSError as error:
                raise StoreError(
                    f"{file} could not be searched for what was erased: {error.strerror}. Run `tocsin erase --finish`."
                ) from None
        return len(found)
