"""The embedded store: one SQLite file.

WAL so that readers never wait for the writer; `synchronous=FULL` so that a receipt survives a power
cut; `secure_delete` so that what is erased does not stay behind in free pages.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Final

from ledger.errors import StoreBusyError, StoreDamagedError, StoreError, StoreFullError
from ledger.keys import fsync_directory
from ledger.store.connection import Connection
from ledger.store.database import BUSY_TIMEOUT_S, Pooled, Watch
from ledger.store.transfer import Progress

_ROWS: Final = 50
"""Rows per INSERT: the time for one row falls little beyond that, and every SQLite can do with 400 values."""

_PAGES: Final = 4096
"""Pages copied in one go, between which writers have their turn."""

_POLL_S: Final = 0.05
"""How often a watch looks again: SQLite does not tell one process what another has written."""

_BUSY, _LOCKED, _READONLY, _IOERR, _CORRUPT, _FULL, _CANTOPEN, _NOTADB = 5, 6, 8, 10, 11, 13, 14, 26

_HELD: Final = (
    StoreBusyError,
    "The database {path} is held by another process; nothing was written. Try again, or stop that process.",
)
_BROKEN: Final = (
    StoreDamagedError,
    "The database {path} is damaged or is no database. Run `tocsin verify` to see what holds, then restore a backup.",
)
_CLOSED_OFF: Final = (
    StoreError,
    "The database {path} cannot be opened for writing. Check that the path and rights are right.",
)
_EXPLANATIONS: Final[dict[int, tuple[type[StoreError], str]]] = {
    _BUSY: _HELD,
    _LOCKED: _HELD,
    _CORRUPT: _BROKEN,
    _NOTADB: _BROKEN,
    _CANTOPEN: _CLOSED_OFF,
    _READONLY: _CLOSED_OFF,
    _FULL: (
        StoreFullError,
        "No space is left for the database {path}; nothing was written. Free disk space and try again.",
    ),
    _IOERR: (
        StoreError,
        "The disk reported an error on {path}; nothing was written. Check disk space and health.",
    ),
}
_UNSYNCED: Final = (
    StoreError,
    (
        "The disk could not make {path} durable. What was under way may or may not be recorded, whole; check the "
        "disk, then send it again: that is safe."
    ),
)
_SYNC_ERRORS: Final = frozenset((sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC))


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn `sqlite3` errors raised inside into `StoreError`s that name the file and the way out."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:
        # SQLite quotes a damaged schema in its message, which then may not be text.
        raise _translate(error, path) from error


def _translate(error: sqlite3.Error | UnicodeDecodeError, path: Path) -> StoreError:
    kind, message = _explain(error)
    return kind(message.format(path=path, directory=path.parent))


def _explain(error: sqlite3.Error | UnicodeDecodeError) -> tuple[type[StoreError], str]:
    """Our class for an SQLite error, and what to say; some errors have no code of their own."""
    whole = getattr(error, "sqlite_errorcode", 0)
    if whole in _SYNC_ERRORS:
        return _UNSYNCED
    code = whole & 0xFF
    text = str(error)
    if text.startswith("no such table"):
        return StoreDamagedError, (
            "The database {path} lacks tables of a Tocsin ledger. "
            "If its making was cut short, `tocsin init --data {directory}` completes it; else restore a backup."
        )
    if isinstance(error, UnicodeDecodeError) or text.startswith("Could not decode to UTF-8"):
        code = _CORRUPT
    return _EXPLANATIONS.get(code) or (
        StoreError,
        f"The database {{path}} refused the operation ({type(error).__name__}); nothing was written.",
    )


class SqliteConnection(sqlite3.Connection):
    """A connection with what `ledger.store.connection.Connection` adds; use it as the `factory` of `connect`."""

    def tuples(self, sql: str, values: Sequence[Any] = (), /) -> list[tuple[Any, ...]]:
        """See `ledger.store.connection.Connection.tuples`."""
        cursor = self.cursor()
        cursor.row_factory = None
        return cursor.execute(sql, values).fetchall()

    def stream(self, sql: str, values: Sequence[Any] = (), /) -> Iterator[Any]:
        """Rows one after the other; SQLite holds one at a time anyway."""
        return self.execute(sql, values)

    def insert(self, table: str, columns: str, rows: Sequence[Sequence[Any]], /, *, keep: bool = False) -> int:
        """Insert rows many at a time, which takes two thirds of the time that one at a time takes."""
        if not rows:
            return 0
        one = f"({', '.join('?' * len(rows[0]))})"
        start = f"INSERT INTO {table} ({columns}) VALUES"
        end = "ON CONFLICT DO NOTHING" if keep else ""
        whole = len(rows) - len(rows) % _ROWS
        written = 0
        for first in range(0, whole, _ROWS):
            values = list(chain.from_iterable(rows[first : first + _ROWS]))
            written += self.execute(f"{start} {', '.join([one] * _ROWS)} {end}", values).rowcount
        if whole < len(rows):
            written += self.executemany(f"{start} {one} {end}", rows[whole:]).rowcount
        return written


def connect(name: str, *, uri: bool = False) -> SqliteConnection:
    """A bare connection to an SQLite database, such as a copy or a scratch file, without a ledger's settings."""
    connection = sqlite3.connect(name, uri=uri, isolation_level=None, factory=SqliteConnection)
    connection.row_factory = sqlite3.Row
    return connection


class SqliteDatabase(Pooled[SqliteConnection]):
    """A ledger in one file; `path` must exist unless `create` is true."""

    conflicts: ClassVar[type[Exception]] = sqlite3.IntegrityError
    checks_itself: ClassVar[bool] = True

    def __init__(self, path: Path, *, create: bool = False, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        super().__init__(str(path))
        self.path = path
        self._mode = "rwc" if create else "rw"
        self._timeout = busy_timeout_s
        if not create and not path.is_file():
            raise StoreError(f"There is no ledger at {path}; make one with `tocsin init --data {path.parent}`.")
        with translated(path):
            connection = self.connect()
            try:
                connection.execute("PRAGMA journal_mode=WAL").fetchone()
                connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()
                # SQLite made the write-ahead log just now, and goes on if its name cannot be made durable.
                _sync_names(path.parent)
            except BaseException:
                connection.close()
                raise
            self._release(connection)

    @property
    def address(self) -> Path:
        """The file."""
        return self.path

    @property
    def identity(self) -> str:
        """The file's path and number; a restored file can be given the number of the one that it replaces."""
        path = self.path.resolve()
        return f"{path}\0{path.stat().st_ino}"

    def translated(self) -> AbstractContextManager[None]:
        """See `Pooled.translated`."""
        return translated(self.path)

    def connect(self) -> SqliteConnection:
        """See `Pooled.connect`."""
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode={self._mode}",
            uri=True,
            timeout=self._timeout,
            isolation_level=None,
            check_same_thread=False,
            factory=SqliteConnection,
        )
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA secure_delete=ON")
            # A batch about new people changes more pages than the default 2 MB hold; they would be written twice.
            connection.execute("PRAGMA cache_size=-8000")
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute("PRAGMA trusted_schema=OFF")
        except BaseException:
            connection.close()
            raise
        return connection

    def _begin_reading(self, connection: SqliteConnection) -> None:
        connection.execute("BEGIN")

    def _begin_writing(self, connection: SqliteConnection) -> None:
        # A deferred transaction that reads first and writes later fails at once, without waiting, when
        # another process has written in between.
        connection.execute("BEGIN IMMEDIATE")

    def _rollback(self, connection: SqliteConnection) -> None:
        if connection.in_transaction:
            connection.execute("ROLLBACK")

    def grown(self, connection: Connection, size: int) -> None:
        """Nothing: watchers look for themselves."""

    def watch(self) -> Watch:
        """See `Database.watch`."""
        return _Poll()

    def copy_to(self, path: Path, progress: Progress = lambda _done, _total: None) -> None:
        """See `Database.copy_to`."""
        # The read transaction holds one state of the database, so that writers cannot make the copy start again.
        with translated(path), closing(connect(str(path))) as target, self.translated():
            source = self._begin(self._begin_reading)
            try:
                source.execute("SELECT name FROM sqlite_schema LIMIT 1").fetchone()
                source.backup(target, pages=_PAGES, progress=lambda _status, left, all_: progress(all_ - left, all_))
            finally:
                self._release(source)

    def check(self, connection: Connection) -> str | None:
        """SQLite's own integrity check, indexes included."""
        if connection.execute("PRAGMA integrity_check(1)").fetchone()[0] == "ok":
            return None
        return "The database file is damaged in its own structure or indexes."


def _sync_names(directory: Path) -> None:
    try:
        fsync_directory(directory)
    except OSError as error:
        raise StoreError(
            f"The names in {directory} cannot be made durable: {error.strerror}. Check the disk's health."
        ) from None


class _Poll:
    def __init__(self) -> None:
        self._closed = threading.Event()

    def wait(self, timeout_s: float) -> None:
        self._closed.wait(min(_POLL_S, timeout_s))

    def close(self) -> None:
        self._closed.set()
