"""Which tables a store has, and whether they are as Tocsin makes them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from typing import Final

from ledger.store.connection import Connection

Catalogue = dict[tuple[str, str], str | None]
"""What a store says of each (kind, name) in it."""

_TYPES: Final = {"INTEGER": "bigint", "TEXT": "text", "BLOB": "bytea"}


def tables(connection: Connection) -> frozenset[str]:
    """Names of all tables in the store."""
    if isinstance(connection, sqlite3.Connection):
        sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    else:
        sql = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
    return frozenset(row[0] for row in connection.execute(sql))


def has_table(connection: Connection, name: str) -> bool:
    """Whether the store has this table."""
    return name in tables(connection)


def altered(connection: Connection, schema: str, optional: str) -> list[str]:
    """Names of what is not as `schema` makes it, and of triggers, views and rules, which Tocsin never makes.

    Args:
        connection: a transaction.
        schema: CREATE statements of tables and indexes that must be there.
        optional: those of tables that must be as said if they are there.
    """
    here = isinstance(connection, sqlite3.Connection)
    found = _sqlite(connection) if here else _postgres(connection)
    wanted, perhaps = (_expected(text, sqlite=here) for text in (schema, optional))
    wrong = {key[1] for key, what in wanted.items() if found.get(key, "?") != what}
    wrong |= {key[1] for key, what in perhaps.items() if found.get(key, what) != what}
    # Triggers, views and rules are how a table could be made to change what is written.
    wrong |= {name for kind, name in found if kind not in ("table", "index")}
    return sorted(wrong)


def tables_of(schema: str) -> frozenset[str]:
    """Names of the tables that these CREATE statements make."""
    return frozenset(name for kind, name in _expected(schema, sqlite=True) if kind == "table")


def _expected(schema: str, *, sqlite: bool) -> Catalogue:
    """What a new store with this schema says of itself."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(schema)
        if sqlite:
            return _sqlite(connection)
        found: Catalogue = {}
        for kind, name in connection.execute("SELECT type, name FROM sqlite_schema WHERE sql IS NOT NULL").fetchall():
            if kind == "table":
                columns = connection.execute(f"PRAGMA table_info({name})").fetchall()
                found[kind, name] = _described(((row[1], _TYPES[row[2]]) for row in columns), _keys(connection, name))
            else:
                found[kind, name] = ""
        return found


def _keys(connection: sqlite3.Connection, table: str) -> set[tuple[str, ...]]:
    """The columns, in order of their names, of each key by which no two rows of a table may be alike."""
    primary = [row[1] for row in connection.execute(f"PRAGMA table_info({table})") if row[5]]
    unique = [row[1] for row in connection.execute(f"PRAGMA index_list({table})") if row[2]]
    keys = [[row[2] for row in connection.execute(f"PRAGMA index_info({name})")] for name in unique]
    return {tuple(sorted(key)) for key in [primary, *keys] if key}


def _sqlite(connection: Connection | sqlite3.Connection) -> Catalogue:
    return {
        (kind, name): None if sql is None else " ".join(str(sql).split())
        for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_schema")
    }


def _postgres(connection: Connection) -> Catalogue:
    found: Catalogue = {}
    for name in tables(connection):
        rows = connection.execute(
            "SELECT column_name::text, data_type::text FROM information_schema.columns"
            " WHERE table_schema = current_schema() AND table_name = ? ORDER BY ordinal_position",
            (name,),
        )
        # A key that is not valid, holds for some rows only, or is over expressions keeps no promise.
        keys = connection.execute(
            "SELECT (SELECT string_agg(a.attname::text, ' ' ORDER BY a.attname::text COLLATE \"C\") FROM pg_attribute a"
            " WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1])) FROM pg_index i"
            " JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = current_schema() AND c.relname = ? AND i.indisunique AND i.indisvalid"
            " AND i.indpred IS NULL AND i.indexprs IS NULL",
            (name,),
        )
        found["table", name] = _described(((row[0], row[1]) for row in rows), {tuple(row[0].split()) for row in keys})
    others = connection.execute(
        "SELECT 'index', indexname::text FROM pg_indexes WHERE schemaname = current_schema()"
        " UNION ALL SELECT 'view', viewname::text FROM pg_views WHERE schemaname = current_schema()"
        " UNION ALL SELECT 'rule', rulename::text FROM pg_rules WHERE schemaname = current_schema()"
        " UNION ALL SELECT 'trigger', t.tgname::text FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = current_schema() AND NOT t.tgisinternal"
    )
    return found | dict.fromkeys(others, "")


def _described(columns: Iterable[tuple[str, str]], keys: Iterable[tuple[str, ...]]) -> str:
    each = [f"{name} {kind}" for name, kind in columns] + [f"UNIQUE ({', '.join(key)})" for key in sorted(keys)]
    return ", ".join(each)
