"""PostgreSQL as the store: the same tables in one schema of a database.

One writer at a time, as with SQLite: a transaction begins by taking an advisory lock that ends with it. The
head's compare-and-set stays the fence: a writer that was paused, lost its connection and with it the lock,
cannot extend a log that has grown meanwhile.

Neither the pipeline mode nor server-side functions are used: large messages hang in the one, and the other
would be code beside the log that nobody verifies.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Final

import psycopg
from psycopg import conninfo, errors, sql
from psycopg.types.numeric import Int8BinaryDumper

from ledger.errors import ConfigError, StoreBusyError, StoreDamagedError, StoreError, StoreFullError
from ledger.store import sqlite
from ledger.store.connection import Connection
from ledger.store.database import BUSY_TIMEOUT_S, Pooled, Watch
from ledger.store.dialect import to_postgres
from ledger.store.transfer import Progress, copy_all

IDLE_S: Final = 60
"""How long the server lets a writer idle before it ends its transaction: a paused one must not stop the others."""

_SCHEMA: Final = re.compile(r"[a-z_][a-z0-9_]{0,55}", re.ASCII)
_COPY_FROM: Final = 200
"""From how many rows on COPY is faster than one INSERT from arrays."""
_MADE: Final = re.compile(r"\s*CREATE (TABLE|INDEX) IF NOT EXISTS (\w+)")
_PAGE: Final = 1000
_BEGIN_WRITING: Final = (
    # Any stricter level would see the store as it was before the wait for the lock.
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;"
    f" SET LOCAL idle_in_transaction_session_timeout = '{IDLE_S}s';"
    # The server keeps the numbers of locks apart by database, the text by schema.
    " SELECT pg_advisory_xact_lock(hashtextextended('tocsin/write/' || current_schema(), 0))"
)
_KEEPALIVE: Final = {
    "keepalives_idle": "30", "keepalives_interval": "10", "keepalives_count": "3", "tcp_user_timeout": "30000",
}  # fmt: skip
"""So that a dead peer is noticed within a minute, and its locks with it."""
_PART_ROWS: Final = 200
_PART_BYTES: Final = 256 * 1024
"""What goes out in one go of `executemany`, which psycopg pipelines: messages of many megabytes hang there."""
_ARRAYS: Final[dict[type | None, str]] = {int: "bigint[]", str: "text[]", bytes: "bytea[]"}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a ledger lies in a server.

    Attributes:
        url: libpq connection string or URL; it may hold a password, so it is not shown.
        schema: the schema that has its tables.
    """

    url: str = field(repr=False)
    schema: str = "tocsin"

    def check(self) -> None:
        """Refuse what cannot be used.

        Raises:
            ConfigError: the URL is malformed, or the schema is not a plain lower-case name.
        """
        if _SCHEMA.fullmatch(self.schema) is None:
            raise ConfigError("The schema of the store must be a plain name of a-z, 0-9 and _, such as tocsin.")
        try:
            parts = conninfo.conninfo_to_dict(self.url)
        except psycopg.Error:
            parts = {"host": "@"}
        # An unescaped @ in a password makes a part of it the host's name, which messages show.
        if "@" in f"{parts.get('host')}{parts.get('dbname')}":
            raise ConfigError(
                "The store's url is no PostgreSQL URL; write it as postgresql://user@host/database, with @ and / in a "
                "password escaped (%40, %2F)."
            ) from None

    @property
    def place(self) -> str:
        """Names it without any secret."""
        parts = conninfo.conninfo_to_dict(self.url)
        where = f"{parts.get('host', 'localhost')}/{parts.get('dbname') or parts.get('user') or ''}"
        return f"PostgreSQL {where}, schema {self.schema}"


class PostgresRow(tuple[Any, ...]):
    """A row with values by name or place; each result's columns have a class of their own."""

    __slots__ = ()
    places: ClassVar[dict[str, int]] = {}

    def __getitem__(self, key: Any) -> Any:
        return tuple.__getitem__(self, self.places[key] if type(key) is str else key)

    def keys(self) -> list[str]:
        """The column names in order."""
        return list(self.places)


@lru_cache(maxsize=512)
def _row_class(names: tuple[str, ...]) -> type[PostgresRow]:
    return type("PostgresRow", (PostgresRow,), {"__slots__": (), "places": {name: at for at, name in enumerate(names)}})


def _rows(cursor: psycopg.Cursor[Any]) -> type[PostgresRow]:
    return _row_class(tuple(column.name for column in cursor.description or ()))


class _BoolAsInteger(Int8BinaryDumper):
    """SQLite's truth values are integers, and so are the columns that hold them."""

    def dump(self, obj: Any) -> Any:
        return super().dump(int(obj))


class PostgresConnection:
    """A connection that speaks our dialect."""

    def __init__(self, raw: psycopg.Connection[PostgresRow]) -> None:
        self.raw = raw
        self._streams = itertools.count()

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> psycopg.Cursor[PostgresRow]:
        """See `ledger.store.connection.Connection.execute`."""
        cursor = self.raw.cursor(binary=True).execute(to_postgres(statement).encode(), values)
        made = _MADE.match(statement)
        if made is not None:
            self._comment(made[1], made[2], statement.strip())
        return cursor

    def _comment(self, kind: str, name: str, statement: str) -> None:
        """Have the statement stay with what it made, so that the same can be made in another store."""
        there = "SELECT obj_description(to_regclass(%s), 'pg_class') IS NOT NULL"
        if not self.raw.execute(there, (name,)).fetchone()[0]:  # type: ignore[index]
            comment = sql.SQL("COMMENT ON {} {} IS {}")
            self.raw.execute(comment.format(sql.SQL(kind), sql.Identifier(name), sql.Literal(statement)))

    def tuples(self, statement: str, values: Sequence[Any] = (), /) -> list[tuple[Any, ...]]:
        """See `ledger.store.connection.Connection.tuples`; a `PostgresRow` is one."""
        return list[tuple[Any, ...]](self.execute(statement, values).fetchall())

    def executemany(self, statement: str, rows: Iterable[Sequence[Any]], /) -> _Written:
        """See `ledger.store.connection.Connection.executemany`."""
        text = to_postgres(statement).encode()
        cursor = self.raw.cursor(binary=True)
        written = 0
        for part in _parts(rows):
            if len(part) == 1:
                cursor.execute(text, part[0])
            else:
                cursor.executemany(text, part)
            written += max(cursor.rowcount, 0)
        return _Written(written)

    def stream(self, statement: str, values: Sequence[Any] = (), /) -> Iterator[PostgresRow]:
        """Rows of a server-side cursor, fetched a page at a time."""
        with self.raw.cursor(name=f"s{next(self._streams)}") as cursor:
            cursor.itersize = _PAGE
            cursor.execute(to_postgres(statement).encode(), values, binary=True)
            yield from cursor

    def insert(self, table: str, columns: str, rows: Sequence[Sequence[Any]], /, *, keep: bool = False) -> int:
        """See `ledger.store.connection.Connection.insert`."""
        if not rows:
            return 0
        columns = to_postgres(columns)
        by_column = list(zip(*rows, strict=True))
        kinds = [next((type(item) for item in column if item is not None), None) for column in by_column]
        if None in kinds:
            return self._insert_without(table, columns, rows, kinds, keep=keep)
        if not keep and len(rows) >= _COPY_FROM:
            return self._copy(f"COPY {table} ({columns}) FROM STDIN (FORMAT BINARY)", rows, kinds)
        places = ", ".join(f"%b::{_ARRAYS[kind]}" for kind in kinds)
        end = " ON CONFLICT DO NOTHING" if keep else ""
        text = f"INSERT INTO {table} ({columns}) SELECT * FROM unnest({places}){end}"  # noqa: S608 - names from the code
        return max(
            self.raw.cursor(binary=True).execute(text.encode(), [list(column) for column in by_column]).rowcount, 0
        )

    def _insert_without(
        self, table: str, columns: str, rows: Sequence[Sequence[Any]], kinds: Sequence[type | None], *, keep: bool
    ) -> int:
        """Insert without the columns that are NULL in every row: of what type they are cannot be told."""
        names = [name for name, kind in zip(columns.split(","), kinds, strict=True) if kind is not None]
        kept = [tuple(item for item, kind in zip(row, kinds, strict=True) if kind is not None) for row in rows]
        return self.insert(table, ",".join(names), kept, keep=keep)

    def _copy(self, statement: str, rows: Sequence[Sequence[Any]], kinds: Sequence[type | None]) -> int:
        cursor = self.raw.cursor(binary=True)
        with cursor.copy(statement.encode()) as copy:
            copy.set_types([_ARRAYS[kind][:-2] for kind in kinds])
            for row in rows:
                copy.write_row(row)
        return cursor.rowcount

    def close(self) -> None:
        """End it."""
        self.raw.close()


@dataclass(frozen=True, slots=True)
class _Written:
    """The result of `executemany`, which has no rows."""

    rowcount: int

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def fetchone(self) -> None:
        """Nothing."""

    def fetchmany(self, _size: int = 1, /) -> list[Any]:
        """Nothing."""
        return []

    def fetchall(self) -> list[Any]:
        """Nothing."""
        return []


def _parts(rows: Iterable[Sequence[Any]]) -> Iterator[list[Sequence[Any]]]:
    part: list[Sequence[Any]] = []
    size = 0
    for row in rows:
        weight = sum(len(item) for item in row if isinstance(item, (bytes, str)))
        if part and (len(part) == _PART_ROWS or size + weight > _PART_BYTES):
            yield part
            part, size = [], 0
        part.append(row)
        size += weight
    if part:
        yield part


class PostgresDatabase(Pooled[PostgresConnection]):
    """A ledger in a schema of a PostgreSQL database.

    Args:
        address: where.
        create: make the schema if it is not there.
        busy_timeout_s: how long a writer waits for another.

    Raises:
        ConfigError: the address is malformed, or the server would lose what was acknowledged.
        StoreError: the server cannot be reached, or has no such schema.
    """

    conflicts: ClassVar[type[Exception]] = errors.UniqueViolation
    checks_itself: ClassVar[bool] = False

    def __init__(self, address: Address, *, create: bool = False, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        address.check()
        super().__init__(address.place)
        self._address = address
        self._timeout = busy_timeout_s
        with self.translated():
            connection = self.connect()
            try:
                self._prepare(connection.raw, create=create)
            except BaseException:
                connection.close()
                raise
            self._release(connection)

    def _prepare(self, raw: psycopg.Connection[PostgresRow], *, create: bool) -> None:
        if self._setting(raw, "fsync") == "off" or self._setting(raw, "full_page_writes") == "off":
            raise ConfigError(
                f"{self.place} runs with fsync or full_page_writes off: a power cut would lose acknowledged events. "
                "Turn both on in the server's configuration."
            )
        if self._setting(raw, "server_encoding") != "UTF8":
            raise ConfigError(f"{self.place} does not store text as UTF-8; make a database with ENCODING 'UTF8'.")
        name = sql.Identifier(self._address.schema)
        there = raw.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (self._address.schema,)).fetchone()
        if there is None and not create:
            raise StoreError(f"There is no ledger in {self.place}; make one with `tocsin init`.")
        if there is None:
            raw.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(name))

    @staticmethod
    def _setting(raw: psycopg.Connection[PostgresRow], name: str) -> str:
        row = raw.execute("SELECT current_setting(%s)", (name,)).fetchone()
        return "" if row is None else str(row[0])

    @property
    def address(self) -> Address:
        """Where it is."""
        return self._address

    @property
    def identity(self) -> str:
        """The server's identifier and timeline, the database, and the table's number.

        A promoted replica or a restored base backup is on another timeline, a restored dump has other numbers.
        """
        with self.read() as connection:
            row = connection.execute(
                "SELECT (SELECT system_identifier::text FROM pg_control_system()), current_database()::text,"
                " to_regclass('event')::oid::bigint, substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)"
            ).fetchone()
        return "\0".join(str(item) for item in row)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn the driver's errors raised inside into `StoreError`s that name the store and the way out."""
        try:
            yield
        except psycopg.Error as error:
            raise _translate(error, self.place) from error

    def connect(self) -> PostgresConnection:
        """A new connection, which the caller closes."""
        given = conninfo.conninfo_to_dict(self._address.url)
        missing: dict[str, Any] = {name: value for name, value in _KEEPALIVE.items() if name not in given}
        raw: psycopg.Connection[PostgresRow] = psycopg.connect(
            self._address.url,
            autocommit=True,
            row_factory=_rows,
            connect_timeout=max(2, int(self._timeout)),
            application_name="tocsin",
            **missing,
        )
        try:
            raw.adapters.register_dumper(int, Int8BinaryDumper)
            raw.adapters.register_dumper(bool, _BoolAsInteger)
            search = sql.SQL("SET search_path TO {}").format(sql.Identifier(self._address.schema))
            raw.execute(search)
            raw.execute(
                f"SET client_min_messages = warning; SET lock_timeout = {int(self._timeout * 1000)};"
                " SET idle_in_transaction_session_timeout = 0; SET tcp_keepalives_idle = 30;"
                " SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3"
            )
            if self._setting(raw, "synchronous_commit") == "off":
                raw.execute("SET synchronous_commit = on")
        except BaseException:
            raw.close()
            raise
        return PostgresConnection(raw)

    def _lost(self, connection: PostgresConnection) -> bool:
        return bool(connection.raw.closed)

    def _begin_reading(self, connection: PostgresConnection) -> None:
        connection.raw.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def _begin_writing(self, connection: PostgresConnection) -> None:
        connection.raw.execute(_BEGIN_WRITING)  # one message and one answer

    @contextmanager
    def settled(self) -> Iterator[Connection]:
        """See `Database.settled`: the lock is free only when the server has ended what held it."""
        with self.translated():
            connection = self._begin(self._begin_writing)
            try:
                yield connection
            finally:
                self._release(connection)

    def _commit(self, connection: PostgresConnection) -> None:
        if connection.execute("COMMIT").statusmessage != "COMMIT":
            raise StoreError(f"{self.place} undid a transaction in which a statement had failed; nothing was written.")

    def _rollback(self, connection: PostgresConnection) -> None:
        raw = connection.raw
        if raw.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            raw.execute("ROLLBACK")

    def grown(self, connection: Connection, size: int) -> None:
        """See `Database.grown`."""
        connection.execute("SELECT pg_notify('tocsin/' || current_schema(), ?)", (str(size),))

    def watch(self) -> Watch:
        """See `Database.watch`."""
        with self.translated():
            return _Listen(self, self._address.schema)

    def copy_to(self, path: Path, progress: Progress = lambda _done, _total: None) -> None:
        """See `Database.copy_to`."""
        with sqlite.translated(path), closing(sqlite.connect(str(path))) as target, self.read() as source:
            target.execute("BEGIN")
            copy_all(source, target, progress)
            target.execute("COMMIT")

    def check(self, _connection: Connection) -> str | None:
        """Nothing: `pg_amcheck` and the data checksums of the server are for that."""
        return None


class _Listen:
    """LISTEN on a connection of its own, made anew when it is lost."""

    def __init__(self, database: PostgresDatabase, schema: str) -> None:
        self._database = database
        self._listen = sql.SQL("LISTEN {}").format(sql.Identifier(f"tocsin/{schema}"))
        self._connection = self._connect()

    def _connect(self) -> PostgresConnection:
        connection = self._database.connect()
        try:
            connection.raw.execute(self._listen)
        except BaseException:
            connection.close()
            raise
        return connection

    def wait(self, timeout_s: float) -> None:
        try:
            for _ in self._connection.raw.notifies(timeout=timeout_s, stop_after=1):
                return
        except psycopg.Error:
            # What was appended meanwhile is seen when the caller looks again; here it only must not be in a hurry.
            self._connection.close()
            time.sleep(timeout_s)
            with suppress(psycopg.Error):
                self._connection = self._connect()

    def close(self) -> None:
        self._connection.close()


_BUSY: Final = (StoreBusyError, "is held by another process; nothing was written. Try again, or stop that process.")
_FULL: Final = (StoreFullError, "has no space left; nothing was written. Free disk space and try again.")
_ENDED: Final = (StoreBusyError, "ended the connection; what was under way may be repeated.")
_LIMIT: Final = (StoreError, "has a limit that this exceeds; nothing was written.")
_DAMAGED: Final = (StoreDamagedError, "is damaged. Run `tocsin verify` to see what holds, then restore a backup.")
_INCOMPLETE: Final = (
    StoreDamagedError,
    "lacks tables of a Tocsin ledger. If its making was cut short, `tocsin init` completes it; else restore a backup.",
)
_UNFIT: Final = (StoreError, "cannot keep a text that holds U+0000; nothing was written. Leave that character out.")
_AWAY: Final = (
    StoreBusyError,
    "cannot be reached, or the connection was lost; what was under way may be repeated. Check server and url.",
)
_EXPLANATIONS: Final[tuple[tuple[type[psycopg.Error], tuple[type[StoreError], str]], ...]] = (
    (errors.UndefinedTable, _INCOMPLETE),
    (errors.UndefinedColumn, _INCOMPLETE),
    (errors.LockNotAvailable, _BUSY),
    (errors.DiskFull, _FULL),
    (errors.OutOfMemory, _FULL),
    (errors.DataCorrupted, _DAMAGED),
    (errors.IndexCorrupted, _DAMAGED),
    (errors.IdleInTransactionSessionTimeout, _ENDED),
    (errors.AdminShutdown, _ENDED),
    (errors.CrashShutdown, _ENDED),
    (errors.ProgramLimitExceeded, _LIMIT),
    (errors.QueryCanceled, _BUSY),
    (errors.SerializationFailure, _BUSY),
    (psycopg.OperationalError, _AWAY),
    (psycopg.DataError, _UNFIT),
)


def _translate(error: psycopg.Error, place: str) -> StoreError:
    for found, (kind, what) in _EXPLANATIONS:
        if isinstance(error, found):
            return kind(f"{place} {what}")
    return StoreError(f"{place} refused the operation ({type(error).__name__}); nothing was written.")
