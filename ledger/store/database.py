"""Connections to the one SQLite file, and SQLite's errors in our words.

WAL so that readers never wait for the writer; `synchronous=FULL` so that a receipt survives a power
cut; `secure_delete` so that what is erased does not stay behind in free pages.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ledger.errors import StoreBusyError, StoreDamagedError, StoreError, StoreFullError

BUSY_TIMEOUT_S: Final = 10.0
"""How long a writer waits for another process before it gives up."""

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
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
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


class Database:
    """The SQLite file: many readers, one writer at a time in this process and across processes.

    `path` must exist unless `create` is true.

    Attributes:
        began: called with the connection at the start of every write transaction, so that caches can be
            held against what other processes wrote meanwhile.
        rolled_back: called whenever a write transaction was undone, so that caches of what it wrote
            can be dropped.
    """

    def __init__(self, path: Path, *, create: bool = False, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        self.path = path
        self.began: Callable[[sqlite3.Connection], None] = lambda _connection: None
        self.rolled_back: Callable[[], None] = lambda: None
        self._mode = "rwc" if create else "rw"
        self._timeout = busy_timeout_s
        self._write_lock = threading.Lock()
        self._pool_lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []  # guarded by _pool_lock
        self._closed = False
        if not create and not path.is_file():
            raise StoreError(f"There is no ledger at {path}; make one with `tocsin init --data {path.parent}`.")
        with translated(path):
            connection = self._connect()
            try:
                connection.execute("PRAGMA journal_mode=WAL").fetchone()
            except BaseException:
                connection.close()
                raise
            self._release(connection)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode={self._mode}",
            uri=True,
            timeout=self._timeout,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA secure_delete=ON")
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute("PRAGMA trusted_schema=OFF")
        except BaseException:
            connection.close()
            raise
        return connection

    def _acquire(self) -> sqlite3.Connection:
        with self._pool_lock:
            if self._closed:
                raise StoreError(f"The database {self.path} was closed by this program; open it again.")
            if self._idle:
                return self._idle.pop()
        return self._connect()

    def _release(self, connection: sqlite3.Connection) -> None:
        with self._pool_lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees one consistent state of the database until the block ends."""
        with translated(self.path):
            connection = self._acquire()
            try:
                connection.execute("BEGIN")
                yield connection
            finally:
                _end(connection, "ROLLBACK")
                self._release(connection)

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction: committed when the block ends, rolled back when it raises.

        IMMEDIATE, because a deferred transaction that reads first and writes later fails at once,
        without waiting, when another process has written in between.
        """
        with self._write_lock, translated(self.path):
            connection = self._acquire()
            try:
                connection.execute("BEGIN IMMEDIATE")
                self.began(connection)
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                self.rolled_back()
                raise
            finally:
                _end(connection, "ROLLBACK")
                self._release(connection)

    def ensure(self, schema: str) -> None:
        """Create what is missing: `schema` is a list of CREATE ... IF NOT EXISTS statements."""
        with self.write() as connection:
            for statement in schema.split(";"):
                if statement.strip():
                    connection.execute(statement)

    def close(self) -> None:
        """Close the idle connections; those in use close when their block ends."""
        with self._pool_lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


def _end(connection: sqlite3.Connection, statement: str) -> None:
    if connection.in_transaction:
        connection.execute(statement)
