"""What goes into a ledger and what comes back: Tocsin's own events, and receipts for producers' events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

from ledger.vocabulary import Verdict

Prepared = TypeVar("Prepared")


class Receipt(NamedTuple):
    """The ledger's answer to an event it holds.

    Attributes:
        source, id: the event.
        ledger: the log's origin.
        index: leaf index; with the origin it names the entry for ever.
        entry_hash: leaf hash of the entry, hex SHA-256(0x00 || entry).
        accepted_at: when it was recorded, RFC 3339 UTC.
        schema_verdict: whether the vocabulary knows the type; unknown types are quarantined in view.
        new: False when this event had been recorded before.
    """

    source: str
    id: str
    ledger: str
    index: int  # type: ignore[assignment]  # hides a method of tuples that nobody needs here
    entry_hash: str
    accepted_at: str
    schema_verdict: Verdict
    new: bool

    def as_json(self) -> dict[str, Any]:
        """The receipt as sent to producers; the same on every repetition of the event."""
        return {
            "source": self.source,
            "id": self.id,
            "ledger": self.ledger,
            "index": self.index,
            "entry_hash": self.entry_hash,
            "accepted_at": self.accepted_at,
            "state": "committed",
            "schema_verdict": self.schema_verdict,
            "receipt_url": f"/v1/entries/{self.index}/proof",
        }


@dataclass(frozen=True, slots=True)
class OwnEvent:
    """An event that Tocsin itself records.

    Attributes:
        type: `org.tocsin.<family>.<verb>.v<n>`.
        data: JSON without floats and without personal data; people appear as refs.
        subject: the resource it is about, never a person.
        correlation: what it belongs to, such as an incident id.
    """

    type: str
    data: Mapping[str, Any]
    subject: str | None = None
    correlation: str | None = None


class Appender(Protocol[Prepared]):
    """Where producers' events go: a `Ledger`, or a process's way to one that another process holds.

    `Prepared` is what it makes of events before they are written; nobody else looks inside. Every method may
    be called from any thread.
    """

    def append(self, events: Sequence[Mapping[str, Any]], /) -> list[Receipt]:
        """Record events, all or none, durably; see `Ledger.append`."""

    def batch(self, events: Sequence[Mapping[str, Any]], /) -> Prepared:
        """Do what can be done without the store, refusing what is malformed; see `Ledger.batch`."""

    def append_each(self, batches: Sequence[Prepared], /) -> list[list[Receipt] | Exception]:
        """Record batches that have nothing to do with each other, durably; see `Ledger.append_each`."""
