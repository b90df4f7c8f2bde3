"""Reading a ledger and proving from it; nothing here writes."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

from ledger.checkpoint import Checkpoint
from ledger.encoding import parse
from ledger.entries import Entry, StoredEntry
from ledger.errors import ErasedError, NotFoundError
from ledger.exchange import Receipt
from ledger.ingest import detail_context
from ledger.merkle import inclusion_path, leaf_hash
from ledger.proofs import format_proof
from ledger.store import log
from ledger.store.connection import Connection
from ledger.store.database import Database
from ledger.tiles import TileReader, encode_bundle
from ledger.vault import Vault
from ledger.vocabulary import verdict


class LogReader(ABC):
    """The reading half of a ledger; see `ledger.ledger.Ledger` for its attributes."""

    origin: str
    database: Database
    vault: Vault
    stream: uuid.UUID

    @abstractmethod
    def open_checkpoint(self, note: bytes) -> Checkpoint:
        """Verify this log's newest checkpoint."""

    def size(self) -> int:
        """Number of entries."""
        with self.database.read() as connection:
            return log.read_head(connection).size

    def checkpoint(self) -> bytes:
        """The newest checkpoint, a signed note (c2sp.org/tlog-checkpoint)."""
        with self.database.read() as connection:
            return log.read_checkpoint(connection)

    def entry(self, index: int) -> StoredEntry:
        """One entry.

        Raises:
            NotFoundError: the log is not that long.
        """
        for stored in self.entries(index, index + 1):
            return stored
        raise NotFoundError(f"The log has no entry {index} yet.")

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[StoredEntry]:
        """Entries with leaf index in [start, stop), in order, as of one moment."""
        with self.database.read() as connection:
            end = log.read_head(connection).size
            yield from log.read_entries(connection, max(start, 0), end if stop is None else min(stop, end))

    def stream_entries(self, stream: uuid.UUID) -> list[StoredEntry]:
        """All entries of one stream by version."""
        with self.database.read() as connection:
            rows = connection.execute(
                "SELECT position, entry, payload, salt FROM event WHERE stream = ? ORDER BY version",
                (stream.bytes,),
            ).fetchall()
        return [StoredEntry(row["position"] - 1, row["entry"], row["payload"], row["salt"]) for row in rows]

    def details(self, stored: StoredEntry) -> dict[str, Any]:
        """What was sealed in an entry's payload: raw record, free text, client details.

        Raises:
            ErasedError: the payload or one of its subjects was erased.
        """
        if stored.payload is None:
            raise ErasedError(f"The payload of entry {stored.index} was erased or lost; its commitment remains.")
        payload = parse(stored.payload)
        if "sealed" not in payload:
            return {}
        entry = stored.decode()
        subjects = [subject["ref"] for subject in payload.get("data", {}).get("subjects") or ()]
        with self.database.read() as connection:
            plain = self.vault.open_details(
                connection, subjects, payload["sealed"], detail_context(entry.source, entry.id)
            )
        return dict(parse(plain))

    def find(self, source: str, event_id: str) -> Receipt | None:
        """The receipt of a producer's event, or None when it was never recorded."""
        with self.database.read() as connection:
            row = connection.execute(
                "SELECT position FROM seen WHERE id = ? AND source = (SELECT number FROM source WHERE uri = ?)",
                (event_id, source),
            ).fetchone()
        return None if row is None else self.receipts([row["position"] - 1])[0]

    def prove(self, index: int) -> bytes:
        """Offline proof that entry `index` is in the log, as c2sp.org/tlog-proof text.

        Raises:
            NotFoundError: the log is not that long.
        """
        return self.prove_many([index])[0]

    def prove_many(self, indices: Sequence[int]) -> list[bytes]:
        """Proofs for several entries, all leading to one checkpoint."""
        with self.database.read() as connection:
            note = log.read_checkpoint(connection)
            paths = self._paths(connection, note, indices)
        return [format_proof(index, path, note) for index, path in zip(indices, paths, strict=True)]

    def inclusion_paths(self, indices: Sequence[int]) -> tuple[bytes, list[list[bytes]]]:
        """The newest checkpoint and, for each index, its inclusion path (leaf's sibling first)."""
        with self.database.read() as connection:
            note = log.read_checkpoint(connection)
            return note, self._paths(connection, note, indices)

    def _paths(self, connection: Connection, note: bytes, indices: Sequence[int]) -> list[list[bytes]]:
        size = self.open_checkpoint(note).size
        for index in indices:
            if not 0 <= index < size:
                raise NotFoundError(f"The log has no entry {index} yet.")
        node = TileReader(lambda level, number, width: log.read_tile(connection, level, number, width), size)
        return [inclusion_path(index, size, node) for index in indices]

    def tile(self, level: int, number: int, width: int) -> bytes:
        """A Merkle tile (c2sp.org/tlog-tiles), `width` hashes of 32 bytes.

        Raises:
            NotFoundError: the log has no such tile yet.
        """
        with self.database.read() as connection:
            return log.read_tile(connection, level, number, width)

    def entry_bundle(self, number: int, width: int) -> bytes:
        """An entry bundle (c2sp.org/tlog-tiles): `width` entries, each behind its uint16 length.

        Raises:
            NotFoundError: the log has not that many entries yet.
        """
        start = number * 256
        entries = [stored.entry for stored in self.entries(start, start + width)]
        if len(entries) != width or not entries:
            raise NotFoundError(f"The log has no entry bundle {number} of width {width} yet.")
        return encode_bundle(entries)

    def quarantined(self) -> dict[str, int]:
        """Event types that the vocabulary does not know, with how many of each were recorded."""
        with self.database.read() as connection:
            rows = connection.execute(
                "SELECT topic, count(*) AS events FROM event WHERE stream = ? GROUP BY topic",
                (self.stream.bytes,),
            ).fetchall()
        return {
            row["topic"]: row["events"]
            for row in rows
            if verdict(row["topic"]) == "unknown" and not row["topic"].startswith("org.tocsin.")
        }

    def receipts(self, indices: Sequence[int]) -> list[Receipt]:
        """Receipts of events that are in the log, as they were first given (`new` is False)."""
        receipts = []
        with self.database.read() as connection:
            for index in indices:
                row = connection.execute("SELECT entry FROM event WHERE position = ?", (index + 1,)).fetchone()
                entry = Entry.decode(row["entry"])
                receipts.append(
                    Receipt(
                        entry.source,
                        entry.id,
                        self.origin,
                        index,
                        leaf_hash(row["entry"]).hex(),
                        entry.recorded,
                        verdict(entry.type),
                        new=False,
                    ),
                )
        return receipts
