"""Validated events on their way into the log."""

from __future__ import annotations

from collections.abc import Sequence
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
        new = zip(self._events, self._digests, self._placed, strict=True)
        return draft_events(
            connection,
            self._ledger.vault,
            self._ledger.stream,
            ((event, digest) for event, digest, (_, is_new) in new if is_new),
        )

    def receipts(self, committed: Committed) -> list[Receipt]:
        """The receipts, once the unit is durable."""
        ledger = self._ledger
        ledger.seen.keep(self._sources)
        known = [index for index, _ in self._placed if index < committed.first]
        before = dict(zip(known, ledger.receipts(known), strict=True)) if known else {}
        receipts = []
        for event, (index, new) in zip(self._events, self._placed, strict=True):
            if index < committed.first:
                receipts.append(before[index])
                continue
            leaf = committed.leaves[index - committed.first].hex()
            receipts.append(
                Receipt(
                    event.source, event.id, ledger.origin, index, leaf, committed.recorded, verdict(event.type), new
                )
            )
        return receipts
