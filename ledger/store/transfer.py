"""Copying a whole ledger from one store into another: backups of a server, and moving to one.

Each store knows the statements that made its tables: SQLite keeps them in its catalogue, in PostgreSQL they
are the tables' and indexes' comments. So every table comes along, whichever part of Tocsin it belongs to.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

from ledger.errors import StoreDamagedError
from ledger.store.catalogue import tables
from ledger.store.connection import Connection, Cursor

Progress = Callable[[int, int], None]
"""Called with (done, total), in tables' rows or a file's pages."""

_PAGE: Final = 1000
_NUL: Final = "\N{SYMBOL FOR NULL}"
"""Stands for U+0000, which PostgreSQL keeps in no text; see `ledger.access.storable`."""


def copy_all(source: Connection, target: Connection, progress: Progress = lambda _done, _total: None) -> None:
    """Make every table and index of one store in another, empty one, with all rows.

    Args:
        source: a transaction that sees one state.
        target: a write transaction of a store without tables.
        progress: called now and then.

    Raises:
        StoreDamagedError: a table does not say how it was made, so it would stay behind.
    """
    made = {name: sql for kind, name, sql in statements(source) if kind == "table"}
    unknown = sorted(tables(source) ^ made.keys())
    if unknown:
        raise StoreDamagedError(
            f"Of {', '.join(unknown)} the store does not say how it was made, so it cannot be copied. If it is not a "
            "table of Tocsin, take it out of the ledger's schema; else restore a backup."
        )
    total = sum(source.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in made)  # noqa: S608 - from the store's own catalogue
    done = 0
    keeps_null = isinstance(target, sqlite3.Connection)
    for name, sql in made.items():
        target.execute(sql)
        for page in _pages(source, name):
            columns = ", ".join(page[0].keys())
            target.insert(name, columns, [_portable(name, row, keeps_null=keeps_null) for row in page])
            done += len(page)
            progress(done, total)
    # Indexes last: filling them row by row takes longer.
    for kind, _, sql in statements(source):
        if kind == "index":
            target.execute(sql)
    if not isinstance(target, sqlite3.Connection):
        _advance_identities(target)


def statements(connection: Connection) -> Iterator[tuple[str, str, str]]:
    """(kind, name, CREATE statement) of every table and index, in the order in which they were made."""
    if isinstance(connection, sqlite3.Connection):
        rows: Cursor = connection.execute(
            "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND type IN ('table', 'index')"
            " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY rowid"
        )
    else:
        rows = connection.execute(
            "SELECT CASE c.relkind WHEN 'r' THEN 'table' ELSE 'index' END, c.relname::text,"
            " obj_description(c.oid, 'pg_class') FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'i')"
            " AND obj_description(c.oid, 'pg_class') IS NOT NULL ORDER BY c.oid"
        )
    for kind, name, sql in rows.fetchall():
        found = re.match(rf'\s*CREATE {kind.upper()} (?:IF NOT EXISTS )?(?="?{re.escape(name)}\b)', sql)
        # A comment that somebody else put there makes nothing.
        if found is not None:
            yield kind, name, f"CREATE {kind.upper()} IF NOT EXISTS {sql[found.end() :]}"


def _pages(source: Connection, name: str) -> Iterator[list[Any]]:
    rows = iter(source.stream(f"SELECT * FROM {name}"))  # noqa: S608 - from the store's own catalogue
    while page := list(islice(rows, _PAGE)):
        yield page


def _portable(table: str, row: Sequence[Any], *, keeps_null: bool) -> tuple[Any, ...]:
    """The row with one type to a column and no text that the target cannot keep.

    The first ledgers wrote a number into `meta`, and U+0000 into the access index.
    """
    if table == "meta":
        return tuple(str(item).encode() if isinstance(item, int) else item for item in row)
    if keeps_null:
        return tuple(row)
    return tuple(item.replace("\0", _NUL) if type(item) is str and "\0" in item else item for item in row)


def _advance_identities(target: Connection) -> None:
    for table, column in target.execute(
        "SELECT table_name::text, column_name::text FROM information_schema.columns"
        " WHERE table_schema = current_schema() AND is_identity = 'YES'"
    ).fetchall():
        target.execute(
            f"SELECT setval(pg_get_serial_sequence(?, ?), (SELECT greatest(max({column}), 1) FROM {table}))",  # noqa: S608 - from the catalogue
            (table, column),
        )
