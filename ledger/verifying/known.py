"""What a verification knows before it walks: which key signs which checkpoint, and what was erased by a record.

Read again by every process that walks, from its own view of the store.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ledger.forgetting.coverage import TABLE_NAME, read_coverage
from ledger.notes import Verifier
from ledger.recovery.lostpayloads import NOTHING, Lost, read_lost
from ledger.rotation import KeyHistory, read_history
from ledger.store.catalogue import has_table
from ledger.store.connection import Connection


@dataclass(frozen=True, slots=True)
class Known:
    """What the walk may ask.

    Attributes:
        origin: the log's name.
        keys: every key of the log, and which checkpoint sizes it signs.
        erased: whether a recorded act accounts for the missing payload of a leaf index.
        lost: what was rebuilt from tiles, without payloads and without the checkpoints in between.
    """

    origin: str
    keys: KeyHistory
    erased: Callable[[int], bool] = lambda _index: False
    lost: Lost = NOTHING


def read_known(connection: Connection, verifier: Verifier) -> Known:
    """Make it out from the store.

    Args:
        connection: a read snapshot.
        verifier: one of the log's keys, pinned by the caller.
    """
    history, lost = read_history(connection, verifier), read_lost(connection)
    # Without the list nothing is covered, and the log need not be searched for events that would say so.
    if not has_table(connection, TABLE_NAME):
        return Known(verifier.name, history, lost=lost)
    return Known(verifier.name, history, read_coverage(connection).covers, lost)
