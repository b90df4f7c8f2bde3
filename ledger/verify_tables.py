"""Verification of the tables beside the log: nothing in them that the log does not account for.

`ledger.verify` walks the log and compares what each entry should have left in other tables. Here the
other direction is checked: rows that belong to no entry, tables or triggers that should not be there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ledger import access
from ledger.forgetting import coverage
from ledger.recovery.lostpayloads import META as LOST
from ledger.store import schema
from ledger.store.catalogue import altered, tables, tables_of
from ledger.store.connection import Connection
from ledger.wrapping import STATE

Finding = tuple[str, int | None, str]
"""Kind of damage, leaf index if one is concerned, message."""

_META: Final = frozenset(("schema", "vault.lookup", "vault.shared"))
_REF_COLUMNS: Final = ("actor", "credential", "address", "subject")


def check_tables(connection: Connection, size: int, producers: int) -> Iterator[Finding]:
    """Compare the tables beside the log with what a log of this length accounts for.

    Args:
        connection: a read snapshot.
        size: entries in the log.
        producers: how many of them are producers' events.
    """
    known = coverage.read_coverage(connection)
    yield from _check_schema(connection)
    yield from _check_meta(connection)
    yield from _check_seen(connection, producers)
    yield from _check_access(connection, size, known.refs)
    yield from coverage.check_list(connection, known)


def read_indexed(connection: Connection) -> int:
    """How many entries the access index says it has read; -1 when that cannot be made out."""
    row = connection.execute("SELECT position FROM tracking WHERE name = ?", (access.NAME,)).fetchone()
    if row is None:
        return 0
    return row["position"] if isinstance(row["position"], int) else -1


def other_tables(connection: Connection) -> list[str]:
    """Tables of other packages, which `verify` does not know."""
    return sorted(tables(connection) - tables_of(f"{schema.TABLES};{access.TABLES}") - {coverage.TABLE_NAME})


def _check_schema(connection: Connection) -> Iterator[Finding]:
    # The list of what was forgotten is made when something is forgotten for the first time.
    wrong = altered(connection, f"{schema.TABLES};{access.TABLES};", coverage.TABLE_SQL)
    if wrong:
        yield ("schema_altered", None, f"The database's own description of {', '.join(wrong)} was changed.")


def _check_meta(connection: Connection) -> Iterator[Finding]:
    meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
    if meta.keys() - {STATE, LOST} != _META or meta["schema"] not in schema.VERSIONS:
        yield ("schema_altered", None, "The table `meta` does not hold what a ledger of this version has there.")


def _check_seen(connection: Connection, producers: int) -> Iterator[Finding]:
    (rows,) = connection.execute("SELECT count(*) FROM seen").fetchone()
    (unused,) = connection.execute(
        "SELECT count(*) FROM source WHERE number NOT IN (SELECT source FROM seen)"
    ).fetchone()
    if rows != producers or unused:
        yield (
            "duplicate_guard_altered",
            None,
            "There are not as many rows that recognise repeated events as there are events.",
        )


def _check_access(connection: Connection, size: int, erased: frozenset[str]) -> Iterator[Finding]:
    indexed = read_indexed(connection)
    if not 0 <= indexed <= size:
        yield ("read_model_altered", None, "The access index claims to know entries that the log does not have.")
    stray = connection.execute(
        "SELECT position FROM access_row WHERE position < 1 OR position > ? LIMIT 1", (min(indexed, size),)
    ).fetchone()
    if stray is not None:
        yield ("read_model_altered", None, "The access index has rows of entries it has not read.")
    for column in _REF_COLUMNS:
        missing = connection.stream(
            f"SELECT ref FROM (SELECT DISTINCT {column} AS ref FROM access_row WHERE {column} IS NOT NULL)"  # noqa: S608 - a name of this module
            " WHERE ref NOT IN (SELECT ref FROM vault)"
        )
        ref = next((row["ref"] for row in missing if row["ref"] not in erased), None)
        if ref is not None:
            yield ("identity_missing", None, f"The vault has no identity for {ref}, and no recorded erasure covers it.")
            return
