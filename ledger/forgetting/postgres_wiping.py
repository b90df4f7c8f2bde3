"""Wiping a PostgreSQL store: VACUUM FULL copies each table's living rows into new files and drops the old ones.

For its planner the server keeps samples of what stands in each column (`pg_statistic`), which outlive the rows
they came from. So it is told to take none of texts and bytes, and those that it has are dropped.

What the server keeps elsewhere is out of reach from here: its write-ahead log until the segments are
recycled, archives of that log, replicas, base backups. docs/erasure.md says what to do about them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Final

import psycopg
from psycopg import errors, sql

from ledger.errors import StoreBusyError, StoreError
from ledger.store.catalogue import tables
from ledger.store.postgres import PostgresConnection, PostgresDatabase

_PAUSE_S: Final = 0.2
_NUMBER: Final = re.compile(r"\d+")
_KINDS: Final = {"bytea": "bytea", "text": 'text COLLATE "C"'}
_SAMPLED: Final = (
    "SELECT c.relname::text, a.attname::text, format_type(a.atttypid, NULL) FROM pg_attribute a"
    " JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = current_schema() AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped"
    " AND a.atttypid IN ('bytea'::regtype, 'text'::regtype)"
    " AND (a.attstattarget IS DISTINCT FROM 0 OR EXISTS (SELECT 1 FROM pg_stats s WHERE s.schemaname = n.nspname"
    " AND s.tablename = c.relname AND s.attname = a.attname)) ORDER BY c.relname, a.attnum"
)
"""Columns of texts or bytes that the server has samples of, or will take some of."""


class PostgresWiping:
    """See `ledger.forgetting.wiping.Wiping`; its searching is not possible: the files are the server's."""

    method = "vacuum-full"
    searches = False

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    def check_room(self) -> None:
        """Nothing: how much disk the server has left is not for its users to see."""

    def rewrite(self, *, timeout_s: float) -> int:
        """Write every table anew; returns the bytes saved.

        Raises:
            StoreBusyError: somebody held a table for longer than `timeout_s`, or an open transaction may still
                see what was deleted, so that the server copied it as well.
            StoreError: the server refused, or the user does not own the tables.
        """
        until = time.monotonic() + timeout_s
        with self._database.translated(), closing(self._database.connect()) as connection:
            raw = connection.raw
            raw.execute(f"SET lock_timeout = {int(timeout_s * 1000)}")
            before, files = self._size(connection), self._files(connection)
            try:
                self._forget_samples(connection)
                for name in sorted(tables(connection)):
                    # What holds on to old rows may be the server's own ANALYZE, which is soon over.
                    while self._kept(connection, name):
                        if time.monotonic() > until:
                            raise self._still_read()
                        time.sleep(_PAUSE_S)
                    raw.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(name)))
            except errors.LockNotAvailable:
                raise StoreBusyError(
                    f"A table of {self._database.place} is being read, so it could not be written anew. Run "
                    "`tocsin erase --finish` when that has ended."
                ) from None
            except errors.InsufficientPrivilege:
                raise self._not_owned() from None
            # Who does not own a table is only warned that it was skipped.
            if files & self._files(connection) or connection.execute(_SAMPLED).fetchone() is not None:
                raise self._not_owned()
            return max(0, before - self._size(connection))

    @staticmethod
    def _kept(connection: PostgresConnection, name: str) -> int:
        """Write a table anew; returns how many deleted rows had to be kept for others, which VERBOSE tells."""
        kept: list[int] = []

        def hear(said: psycopg.errors.Diagnostic) -> None:
            kept.append(_first_number(said.message_detail))

        connection.raw.add_notice_handler(hear)
        try:
            connection.raw.execute(sql.SQL("VACUUM (FULL, VERBOSE) {}").format(sql.Identifier(name)))
        finally:
            connection.raw.remove_notice_handler(hear)
        return sum(kept)

    def _still_read(self) -> StoreBusyError:
        return StoreBusyError(
            f"The tables of {self._database.place} were written anew, but an open transaction may still read what "
            "was deleted, so it was copied as well. Run `tocsin erase --finish` when that transaction has ended."
        )

    def _not_owned(self) -> StoreError:
        return StoreError(
            f"The tables of {self._database.place} were not written anew: the user must own them. Make it their owner "
            "(ALTER TABLE … OWNER TO …), then run `tocsin erase --finish`."
        )

    @staticmethod
    def _forget_samples(connection: PostgresConnection) -> None:
        by_table: dict[str, list[sql.Composable]] = {}
        for table, column, kind in connection.execute(_SAMPLED).fetchall():
            # Only a change of its type drops what is known of a column, also when it is of that type already.
            step = sql.SQL("ALTER COLUMN {0} SET STATISTICS 0, ALTER COLUMN {0} TYPE {1}")
            by_table.setdefault(table, []).append(step.format(sql.Identifier(column), sql.SQL(_KINDS[kind])))
        for table, steps in by_table.items():
            connection.raw.execute(
                sql.SQL("ALTER TABLE {} {}").format(sql.Identifier(table), sql.SQL(", ").join(steps))
            )

    @staticmethod
    def _files(connection: PostgresConnection) -> set[int]:
        """Numbers of the files that the tables lie in."""
        rows = connection.execute(
            "SELECT pg_relation_filenode(c.oid)::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = current_schema() AND c.relkind = 'r'"
        )
        return {int(row[0]) for row in rows}

    @staticmethod
    def _size(connection: PostgresConnection) -> int:
        row = connection.execute(
            "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = current_schema() AND c.relkind = 'r'"
        ).fetchone()
        return 0 if row is None else int(row[0])

    def search(self, _needles: Sequence[bytes]) -> int:
        """Nothing can be looked at."""
        return 0


def _first_number(detail: str | None) -> int:
    """What VERBOSE says first of a table: dead rows that could not be removed yet, in any language."""
    found = _NUMBER.search(detail or "")
    return int(found[0]) if found else 0
