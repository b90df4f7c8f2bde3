"""Validated events on their way into the log."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import TYPE_CHECKING

from ledger.cloudevents import CloudEvent
from ledger.exchange import Receipt
from ledger.ingest import draft_events
from ledger.seal import Draft
from ledger.store.connection import Connection
from ledger.store.sequencer import Committed
from ledger.vocabulary import verdict

if TYPE_CHECKING:
    from ledger.ledger import Ledger


class Batch:
    """Validated events on their way into the log, all or none; see `Ledger.batch`."""

    def __init__(self, ledger: Ledger, events: Sequence[CloudEvent]) -> None:
        self._ledger = ledger
        self._events = events
        # Hashed here, while nobody waits for the write lock.
        self._digests = [ledger.vault.fingerprint(event.canonical) for event in events]
        self._placed: list[tuple[int, bool]] = []
        self._sources: dict[str, int] = {}

    def prepare(self, connection: Connection, first: int) -> Sequence[Draft]:
        """Reserve and draft what is new; may be called again when a transaction has to be repeated."""
        self._sources = {}
        self._placed = self._ledger.seen.place(connection, self._events, self._digests, first, self._sources)
        new = [is_new for _, is_new in self._placed]
        events, digests = list(compress(self._events, new)), list(compress(self._digests, new))
        return draft_events(connection, self._ledger.vault, self._ledger.stream, events, digests)

    def receipts(self, committed: Committed) -> list[Receipt]:
        """The receipts, once the unit is durable."""
        ledger = self._ledger
        ledger.seen.keep(self._sources)
        known = [index for index, _ in self._placed if index < committed.first]
        before = dict(zip(known, ledger.receipts(known), strict=True)) if known else {}
        first, leaves, recorded = committed.first, committed.leaves, committed.recorded
        return [
            Receipt(source, name, ledger.origin, index, leaves[index - first].hex(), recorded, verdict(kind), new)
            if index >= first
            else before[index]
            for (name, source, kind, _, _, _, _), (index, new) in zip(self._events, self._placed, strict=True)
        ]
