"""What was submitted before: `(source, id)` of every producer's event, for ever.

A row keeps the keyed fingerprint of what was submitted, so that a repetition is told from another event
under the same id, also when the payload has been erased.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ledger.cloudevents import CloudEvent
from ledger.entries import Entry
from ledger.errors import EventConflictError
from ledger.store.connection import Connection, Row

_MOST_SOURCES: Final = 10_000
UNKNOWN: Final = b""
"""Fingerprint of an event whose content is lost, see `ledger.recovery.fromtiles`. A repetition cannot be compared
with it; it is taken for the same if type and time are, so that nothing is ever recorded twice."""
_INSERT: Final = "INSERT INTO seen (source, id, position, digest) VALUES"


class Seen:
    """Reserves a place in the log for each event that is new.

    Remembers the numbers of sources, which never change; but only once they are committed, see `keep`.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def keep(self, numbers: Mapping[str, int]) -> None:
        """Remember numbers that `place` gave, now that their transaction is durable."""
        if len(self._numbers) > _MOST_SOURCES:
            self._numbers = {}
        self._numbers.update(numbers)

    def place(
        self,
        connection: Connection,
        events: Sequence[CloudEvent],
        digests: Sequence[bytes],
        first: int,
        numbers: dict[str, int],
    ) -> list[tuple[int, bool]]:
        """Reserve (source, id) of events that go to leaf `first` and onwards; call in the write transaction.

        Args:
            connection: the transaction.
            events: in order.
            digests: keyed fingerprint of each as submitted.
            first: leaf index of the first one that is new.
            numbers: gains the numbers of sources that were looked up.

        Returns:
            For each event its leaf index and whether it is new.

        Raises:
            EventConflictError: an id was used before for other content.
        """
        number_of = {uri: self._number(connection, uri, numbers) for uri in dict.fromkeys(e.source for e in events)}
        rows = [
            (number_of[event.source], event.id, first + offset, digest)
            for offset, (event, digest) in enumerate(zip(events, digests, strict=True), 1)
        ]
        # Mostly all are new; then the index is gone through once for each, and nothing is looked up.
        if connection.insert("seen", "source, id, position, digest", rows, keep=True) == len(rows):
            return [(first + offset, True) for offset in range(len(rows))]
        connection.executemany(
            "DELETE FROM seen WHERE source = ? AND id = ? AND position > ?", [(row[0], row[1], first) for row in rows]
        )
        return _one_by_one(connection, events, rows, first)

    def _number(self, connection: Connection, uri: str, found: dict[str, int]) -> int:
        number = self._numbers.get(uri) or found.get(uri)
        if number is None:
            connection.execute("INSERT INTO source (uri) VALUES (?) ON CONFLICT DO NOTHING", (uri,))
            row = connection.execute("SELECT number FROM source WHERE uri = ?", (uri,)).fetchone()
            number = found[uri] = int(row["number"])
        return number


def _one_by_one(
    connection: Connection, events: Sequence[CloudEvent], rows: Sequence[tuple[int, str, int, bytes]], first: int
) -> list[tuple[int, bool]]:
    placed: list[tuple[int, bool]] = []
    index = first
    for number, (source, event_id, _, digest) in enumerate(rows):
        row = connection.execute(
            "SELECT position, digest FROM seen WHERE source = ? AND id = ?", (source, event_id)
        ).fetchone()
        if row is None:
            connection.execute(f"{_INSERT} (?, ?, ?, ?)", (source, event_id, index + 1, digest))
            placed.append((index, True))
            index += 1
        elif row["digest"] != digest and not _may_be(connection, row, events[number]):
            raise EventConflictError(
                f"Event {number}: its (source, id) was used before for an event with other content. "
                "Give a new event a new id.",
                field="/id",
                index=number,
            )
        else:
            placed.append((int(row["position"]) - 1, False))
    return placed


def _may_be(connection: Connection, seen: Row, event: CloudEvent) -> bool:
    """Whether an event may be the one whose content is lost, by what its entry still tells."""
    if seen["digest"] != UNKNOWN:
        return False
    row = connection.execute("SELECT entry FROM event WHERE position = ?", (seen["position"],)).fetchone()
    entry = Entry.decode(row["entry"])
    return entry.type == event.type and event.time in (None, entry.time)
