"""What the rest of Tocsin asks of a database connection, whichever store is behind it.

The statements are written once, in the SQL that SQLite and PostgreSQL share, with `?` for each value.
What differs between the two stands in the drivers: see `Dialect`.
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
        """Run one statement."""

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> Cursor:
        """Run one statement once for each row of values."""
