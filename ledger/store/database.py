"""Connections to the store: a pool, one writer at a time, and the store's errors in our words.

`ledger.store.sqlite` and `ledger.store.postgres` are the two stores; what they have in common is here.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar

from ledger.errors import StoreError
from ledger.store.connection import Connection
from ledger.store.transfer import Progress

BUSY_TIMEOUT_S: Final = 10.0
"""How long a writer waits for another process before it gives up."""


class OpenConnection(Connection, Protocol):
    """A connection as a driver holds it."""

    def close(self) -> None:
        """End it."""


Opened = TypeVar("Opened", bound=OpenConnection)


class Watch(Protocol):
    """Tells when the log may have grown."""

    def wait(self, timeout_s: float) -> None:
        """Return when something may have been appended since the last call, at the latest after this time."""

    def close(self) -> None:
        """End watching."""


class Database(ABC):
    """A store with many readers and one writer at a time, in this process and across processes.

    Attributes:
        place: names the store in messages; without any secret.
        conflicts: what a connection raises where a row takes a key that is taken.
        checks_itself: whether `check` can find damage of the store's own structure.
        began: called with the connection at the start of every write transaction, so that caches can be
            held against what other processes wrote meanwhile.
        rolled_back: called whenever a write transaction was undone, so that caches of what it wrote
            can be dropped.
    """

    conflicts: ClassVar[type[Exception]]
    checks_itself: ClassVar[bool]

    def __init__(self, place: str) -> None:
        self.place = place
        self.began: Callable[[Connection], None] = lambda _connection: None
        self.rolled_back: Callable[[], None] = lambda: None

    @property
    @abstractmethod
    def address(self) -> Any:
        """What `ledger.store.opening.reopen` opens in another process."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """Names this very store: a copy of it, or a backup put back, has another name."""

    @abstractmethod
    def read(self) -> AbstractContextManager[Connection]:
        """A connection that sees one consistent state of the store until the block ends."""

    def settled(self) -> AbstractContextManager[Connection]:
        """`read`, once every write that was under way has ended, also one whose connection was lost."""
        return self.read()

    @abstractmethod
    def write(self) -> AbstractContextManager[Connection]:
        """A transaction: committed when the block ends, rolled back when it raises.

        No other writer of any process is inside one at the same time.
        """

    @abstractmethod
    def grown(self, connection: Connection, size: int) -> None:
        """Tell watchers of other processes, once the transaction commits, that the log has `size` entries."""

    @abstractmethod
    def watch(self) -> Watch:
        """Begin to watch the log grow."""

    @abstractmethod
    def copy_to(self, path: Path, progress: Progress = lambda _done, _total: None) -> None:
        """Copy the whole store, as of one moment and without holding up writers, into the empty SQLite file `path`."""

    @abstractmethod
    def check(self, connection: Connection) -> str | None:
        """Have the store check its own structure; what is wrong, or None. See `checks_itself`."""

    @abstractmethod
    def close(self) -> None:
        """Close the idle connections; those in use close when their block ends."""

    def ensure(self, schema: str) -> None:
        """Create what is missing: `schema` is a list of CREATE ... IF NOT EXISTS statements."""
        with self.write() as connection:
            for statement in schema.split(";"):
                if statement.strip():
                    connection.execute(statement)


class Pooled(Database, Generic[Opened]):
    """What the drivers share: idle connections are kept, and writers of one process take turns."""

    def __init__(self, place: str) -> None:
        super().__init__(place)
        self._write_lock = threading.Lock()
        self._pool_lock = threading.Lock()
        self._idle: list[Opened] = []  # guarded by _pool_lock
        self._closed = False

    @abstractmethod
    def connect(self) -> Opened:
        """A new connection, which the caller closes."""

    @abstractmethod
    def translated(self) -> AbstractContextManager[None]:
        """Turn the driver's errors raised inside into `StoreError`s that name the store and the way out."""

    @abstractmethod
    def _begin_reading(self, connection: Opened) -> None: ...

    @abstractmethod
    def _begin_writing(self, connection: Opened) -> None: ...

    def _commit(self, connection: Opened) -> None:
        connection.execute("COMMIT")

    @abstractmethod
    def _rollback(self, connection: Opened) -> None:
        """End a transaction if there is one; raising means that the connection is of no use any more."""

    def _lost(self, _connection: Opened) -> bool:
        """Whether the connection itself is gone, so that another one may do what it could not."""
        return False

    def _acquire(self) -> Opened:
        with self._pool_lock:
            if self._closed:
                raise StoreError(f"The database {self.place} was closed by this program; open it again.")
            if self._idle:
                return self._idle.pop()
        return self.connect()

    def _begin(self, begin: Callable[[Opened], None]) -> Opened:
        """A connection inside a transaction; one that died while it was idle is replaced."""
        while True:
            with self._pool_lock:
                was_idle = bool(self._idle)
            connection = self._acquire()
            try:
                begin(connection)
            except BaseException:
                if not self._lost(connection):
                    self._release(connection)
                    raise
                connection.close()
                if not was_idle:
                    raise
            else:
                return connection

    def _release(self, connection: Opened) -> None:
        try:
            self._rollback(connection)
        except BaseException:
            with suppress(Exception):
                connection.close()
            raise
        with self._pool_lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """See `Database.read`."""
        with self.translated():
            connection = self._begin(self._begin_reading)
            try:
                yield connection
            finally:
                self._release(connection)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """See `Database.write`."""
        with self._write_lock, self.translated():
            connection = self._begin(self._begin_writing)
            try:
                self.began(connection)
                yield connection
                self._commit(connection)
            except BaseException:
                self.rolled_back()
                raise
            finally:
                self._release(connection)

    def close(self) -> None:
        """See `Database.close`."""
        with self._pool_lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
