"""What the rest of Tocsin asks of a database connection, whichever store is behind it.

The statements are written once, in the SQL that SQLite and PostgreSQL share, with `?` for each value;
`ledger.store.dialect` puts into PostgreSQL's words the little that the two say differently.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol


class Row(Protocol):
    """One row of a result: values by column name or by place."""

    def __getitem__(self, key: Any, /) -> Any: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __len__(self) -> int: ...
    def keys(self) -> Iterable[str]:
        """The column names in order."""


class Cursor(Protocol):
    """The result of one statement."""

    @property
    def rowcount(self) -> int:
        """How many rows the statement wrote; -1 where that is not known."""

    def __iter__(self) -> Iterator[Any]: ...
    def fetchone(self) -> Any:
        """The next `Row`, or None."""

    def fetchmany(self, size: int = ..., /) -> list[Any]:
        """At most `size` more rows."""

    def fetchall(self) -> list[Any]:
        """All rows that are left."""


class Connection(Protocol):
    """A connection inside the transaction that `Database.read` or `Database.write` opened."""

    def execute(self, sql: str, values: Sequence[Any] = ..., /) -> Cursor:
        """Run one statement. Its whole result may be held in memory: use `stream` where that can be long."""

    def tuples(self, sql: str, values: Sequence[Any] = ..., /) -> list[tuple[Any, ...]]:
        """The whole result of a SELECT as plain tuples, which cost less than a `Row` each."""

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> Cursor:
        """Run one statement once for each row of values."""

    def stream(self, sql: str, values: Sequence[Any] = ..., /) -> Iterator[Any]:
        """Rows of a SELECT one after the other, in bounded memory; other statements may run in between."""

    def insert(self, table: str, columns: str, rows: Sequence[Sequence[Any]], /, *, keep: bool = False) -> int:
        """Insert many rows in the store's fastest way.

        Args:
            table: its name.
            columns: their names with commas between.
            rows: values, all of one width; all values of a column are of one type or None.
            keep: leave rows alone that are there already, by any unique key.

        Returns:
            How many rows were written.
        """
