"""Wiping what was deleted out of a store, whichever store it is.

Deleting a row leaves its bytes where they were until something else is written over them. `Wiping` writes the
store anew, so that only what lives is copied, and searches where that can be done.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ledger.forgetting.sqlite_wiping import SqliteWiping
from ledger.store.database import Database
from ledger.store.sqlite import SqliteDatabase


class Wiping(Protocol):
    """How one kind of store is wiped.

    Attributes:
        method: what `org.tocsin.erasure.completed.v1` calls it.
        searches: whether `search` can look at the store's files.
    """

    method: str
    searches: bool

    def check_room(self) -> None:
        """See that `rewrite` will have the disk space it needs, as far as that can be told beforehand.

        Raises:
            StoreFullError: it will not.
        """

    def rewrite(self, *, timeout_s: float) -> int:
        """Write the store anew; returns the bytes saved. A crash leaves the old state or the new one.

        Raises:
            StoreBusyError: somebody reads an old state, so that the remains had to be kept for them.
            StoreError: the disk refused.
        """

    def search(self, needles: Sequence[bytes]) -> int:
        """How many of the byte strings are found in the store's files; 0 where it cannot look."""


def wiping_of(database: Database) -> Wiping:
    """How this store is wiped."""
    if isinstance(database, SqliteDatabase):
        return SqliteWiping(database.path)
    # The driver is an extra: only who uses that store has it.
    from ledger.forgetting.postgres_wiping import PostgresWiping
    from ledger.store.postgres import PostgresDatabase

    assert isinstance(database, PostgresDatabase)
    return PostgresWiping(database)
