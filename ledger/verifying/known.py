"""What a verification knows before it walks: which key signs which checkpoint, and what was erased by a record.

Read again by every process that walks, from its own view of the store.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ledger.forgetting.coverage import read_coverage
from ledger.notes import Verifier
from ledger.rotation import KeyHistory, read_history
from ledger.store.connection import Connection


@dataclass(frozen=True, slots=True)
class Known:
    """What the walk may ask.

    Attributes:
        origin: the log's name.
        keys: every key of the log, and which checkpoint sizes it signs.
        erased: whether a recorded act accounts for the missing payload of a leaf index.
    """

    origin: str
    keys: KeyHistory
    erased: Callable[[int], bool] = lambda _index: False


def read_known(connection: Connection, verifier: Verifier) -> Known:
    """Make it out from the store.

    Args:
        connection: a read snapshot.
        verifier: one of the log's keys, pinned by the caller.
    """
    return Known(verifier.name, read_history(connection, verifier), read_coverage(connection).covers)
