"""Wiping what was deleted out of the store, and recording that it was done; see `ledger.forgetting.wiping`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ledger.errors import StoreError
from ledger.exchange import OwnEvent
from ledger.forgetting.events import ERASURE_COMPLETED, standing
from ledger.forgetting.wiping import wiping_of
from ledger.store.database import BUSY_TIMEOUT_S

if TYPE_CHECKING:
    from ledger.ledger import Ledger

Copies = Callable[[Sequence[int]], Mapping[str, int]]
"""Deletes copies outside the database that belong to these erasures (leaf indices); what, and how many."""


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """What was wiped.

    Attributes:
        index: leaf index of the event that says so.
        events: leaf indices of the erasures and retention runs that are now finished.
        freed: bytes by which the store became smaller.
        searched: byte strings that were searched for, and not found; 0 where the store's files are out of reach.
        copies: what was deleted outside the database, by kind.
    """

    index: int
    events: tuple[int, ...]
    freed: int
    searched: int
    copies: Mapping[str, int]

    def as_json(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {
            "index": self.index,
            "events": list(self.events),
            "freed": self.freed,
            "searched": self.searched,
            "copies": dict(self.copies),
        }


def unfinished(ledger: Ledger) -> tuple[int, ...]:
    """Leaf indices of erasures and retention runs whose remains were not yet wiped, ascending."""
    with ledger.database.read() as connection:
        return tuple(sorted(standing(connection).unfinished))


def finish(
    ledger: Ledger,
    *,
    by: str,
    needles: Sequence[bytes] = (),
    copies: Copies = lambda _events: {},
    timeout_s: float = BUSY_TIMEOUT_S,
) -> Scrubbed | None:
    """Wipe the remains of every act that is not finished, and record that it was done.

    Repeating it after a crash completes it; where nothing is unfinished, nothing is done.

    Args:
        ledger: where.
        by: ref of who ordered it.
        needles: bytes that must be gone from the store's files.
        copies: deletes copies outside the database.
        timeout_s: how long to wait for other processes that are reading.

    Raises:
        StoreFullError: the disk has no room for it; nothing was done.
        StoreBusyError: another process is reading an old state; repeat it.
        StoreError: bytes that must be gone are still there; nothing was recorded.
    """
    events = unfinished(ledger)
    if not events:
        return None
    wiping = wiping_of(ledger.database)
    wiping.check_room()
    removed = dict(copies(events))
    freed = wiping.rewrite(timeout_s=timeout_s)
    if wiping.search(needles):
        raise StoreError(
            f"Bytes of what was erased are still found in {ledger.database.place} after it was written anew; "
            "is another program keeping its old pages? Stop other programs and run `tocsin erase --finish`."
        )
    searched = len(needles) if wiping.searches else 0
    data = {"events": list(events), "method": wiping.method, "searched": searched, "copies": removed, "by": by}
    [index] = ledger.record([OwnEvent(ERASURE_COMPLETED, data)])
    return Scrubbed(index, events, freed, searched, removed)
