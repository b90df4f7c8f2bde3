"""Sealing of the completeness index in a server: read along at every tick, the roots logged at an interval.

Every tick works for a bounded time, in short transactions with a pause after each, so that neither the other
clocks nor those who append wait for it. Only the process that holds the lease of the clocks does it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ledger import Ledger
from ledger.completeness.sealing import index_steps, seal_steps
from ledger.encoding import parse_time
from ledger.errors import NotFoundError
from ledger.store.catalogue import has_table

_PAGE: Final = 200
"""Entries in one transaction: others wait that long for theirs."""
_PAUSE_S: Final = 0.005
"""A writer that waits for the store gets it between two steps."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """How far the index has come.

    Attributes:
        size: entries that the newest seal covers, 0 before the first.
        entry: leaf index of that seal, None before the first.
        indexed: entries that the index has read.
    """

    size: int
    entry: int | None
    indexed: int


def sealed(ledger: Ledger) -> Sealed:
    """How far the index has come; without one, nowhere."""
    with ledger.database.read() as connection:
        if not has_table(connection, "access_map_seal"):
            return Sealed(0, None, 0)
        row = connection.execute(
            "SELECT size, position FROM access_map_seal WHERE position IS NOT NULL ORDER BY position DESC LIMIT 1"
        ).fetchone()
        read = connection.execute("SELECT position FROM tracking WHERE name = 'access_map'").fetchone()
    indexed = 0 if read is None else read["position"]
    return Sealed(0, None, indexed) if row is None else Sealed(row["size"], row["position"] - 1, indexed)


class Sealing:
    """Seals the index of one ledger at an interval.

    Args:
        ledger: the ledger being served.
        every: time from one seal to the next.
        most: how long one tick may work.
        elapsed: gives seconds that only ever grow.
    """

    def __init__(
        self, ledger: Ledger, every: timedelta, most: timedelta, *, elapsed: Callable[[], float] = time.monotonic
    ) -> None:
        self._ledger = ledger
        self._every = every
        self._most_s = most.total_seconds()
        self._elapsed = elapsed
        self._stopping = threading.Event()
        self._steps: Iterator[tuple[int, int]] | None = None

    def tick(self, now: datetime) -> None:
        """Go on with what the last tick left, or begin what is due; at least one step, then until time is up."""
        if self._ledger.config.restored is not None:
            return  # an unconfirmed copy signs nothing
        end = self._elapsed() + self._most_s
        steps, self._steps = self._steps or self._begin(now), None
        for _ in steps:
            if self._stopping.wait(_PAUSE_S) or self._elapsed() >= end:
                self._steps = steps
                return

    def stop(self) -> None:
        """End the step that is under way; the next start goes on from there."""
        self._stopping.set()

    def _begin(self, now: datetime) -> Iterator[tuple[int, int]]:
        begin = seal_steps if self._due(now) else index_steps
        return begin(self._ledger, page=_PAGE)

    def _due(self, now: datetime) -> bool:
        try:
            # Before the first seal, count from the first entry.
            entry = self._ledger.entry(sealed(self._ledger).entry or 0)
        except NotFoundError:
            return False
        return now - parse_time(entry.decode().recorded) >= self._every
