"""The ledger: open it, append to it, read it, prove from it.

Example:
    >>> with Ledger.create(Path("data"), origin="example.org/audit") as ledger:
    ...     [receipt] = ledger.append([event])
    ...     ledger.prove(receipt.index)
"""

from __future__ import annotations

import os
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from ledger import access
from ledger.checkpoint import Checkpoint
from ledger.cloudevents import CloudEvent, read_event
from ledger.config import DATABASE, Config, make_directory, read_config
from ledger.encoding import canonical, parse
from ledger.entries import Entry, StoredEntry
from ledger.errors import (
    ConfigError,
    ErasedError,
    EventConflictError,
    EventError,
    KeyMismatchError,
    NoteError,
    NotFoundError,
    StoreDamagedError,
)
from ledger.ingest import detail_context, draft_event
from ledger.keys import load_kek, load_signer
from ledger.merkle import inclusion_path, leaf_hash
from ledger.notes import open_note
from ledger.proofs import format_proof
from ledger.seal import Draft
from ledger.store import log, schema
from ledger.store.database import Database
from ledger.store.recorder import LedgerRecorder
from ledger.store.sequencer import Also, Sequencer
from ledger.tiles import TileReader, encode_bundle
from ledger.vault import Vault
from ledger.vocabulary import OWN_SOURCE, Verdict, verdict

MAX_BATCH: Final = 1000
"""Most events that one append takes."""


@dataclass(frozen=True, slots=True)
class Receipt:
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
    index: int
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


class Ledger:
    """One log with its vault and its read models, in one data directory.

    Attributes:
        directory: the data directory.
        origin: the log's name.
        vkey: the log's verifier key.
        clock: gives the present, aware.
        entropy: gives n random bytes.
        database: the store, for read models beside the log.
        vault: identities behind the refs.
        access: the access read model.
        recorder: the `eventsourcing` recorder; see `ledger.application`.
    """

    def __init__(
        self,
        directory: Path,
        config: Config,
        database: Database,
        clock: Callable[[], datetime],
        entropy: Callable[[int], bytes],
    ) -> None:
        self.directory = directory
        self.origin = config.origin
        self.vkey = config.vkey
        self.clock = clock
        self.entropy = entropy
        self.database = database
        self.signer = load_signer(config.signing_key, directory, config.origin)
        if self.signer.vkey != config.vkey:
            raise KeyMismatchError(
                f"The signing key behind {config.signing_key} is not the one this ledger was made with. "
                "Put back the key whose vkey stands in tocsin.toml.",
            )
        self.vault = Vault(database, load_kek(config.vault_key, directory), config.origin, entropy)
        self._sequencer = Sequencer(database, self.signer, clock, entropy)
        database.rolled_back = self.vault.forget
        self.recorder = LedgerRecorder(database, self._sequencer)
        self.access = access.AccessIndex(database)
        # All producers' events form one stream: random streams would scatter the version index.
        self._stream = uuid.uuid5(uuid.NAMESPACE_URL, config.origin)

    @classmethod
    def create(
        cls,
        directory: Path,
        origin: str | None = None,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> Self:
        """Open the ledger in `directory`, making what is missing of it.

        Raises:
            ConfigError: the directory cannot be made, or holds another ledger.
            StoreError: the database cannot be made.
        """
        config = make_directory(directory, origin, entropy)
        database = Database(directory / DATABASE, create=True)
        try:
            database.ensure(schema.TABLES)
            database.ensure(access.TABLES)
            ledger = cls(directory, config, database, clock, entropy)
            with database.write() as connection:
                ledger.vault.initialise(connection)
                connection.execute("INSERT INTO meta VALUES ('schema', ?) ON CONFLICT DO NOTHING", (schema.VERSION,))
            ledger.vault.unlock(config.vault_key)
            ledger._check_head()
            ledger._start()
        except BaseException:
            database.close()
            raise
        return ledger

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> Self:
        """Open an existing ledger.

        Raises:
            ConfigError: there is none, or a key is missing or not this ledger's.
            StoreError: the database cannot be read.
        """
        config = read_config(directory)
        database = Database(directory / DATABASE)
        try:
            ledger = cls(directory, config, database, clock, entropy)
            ledger._check_schema()
            ledger.vault.unlock(config.vault_key)
            ledger._check_head()
        except BaseException:
            database.close()
            raise
        return ledger

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the database. What was acknowledged is on disk already."""
        self.database.close()

    def append(self, events: Sequence[Mapping[str, Any]]) -> list[Receipt]:
        """Record producers' CloudEvents (decoded JSON), all or none, and return a receipt for each.

        An event that was recorded before, by `(source, id)`, gets its original receipt and is not
        recorded again.

        Raises:
            EventError: an event is malformed, or there are more than `MAX_BATCH`.
            EventConflictError: an id was used before for other content.
            StoreError: the store refused.
        """
        if len(events) > MAX_BATCH:
            raise EventError(f"A batch holds at most {MAX_BATCH} events; send smaller batches.")
        checked = [read_event(event, index) for index, event in enumerate(events)]
        placed: list[tuple[int, bool]] = []

        def prepare(connection: sqlite3.Connection, first: int) -> Sequence[Draft]:
            placed.clear()
            drafts: list[Draft] = []
            for number, event in enumerate(checked):
                index = first + len(drafts)
                digest = self.vault.fingerprint(event.canonical)
                known = _place(connection, event, digest, number, index)
                placed.append((index, True) if known is None else (known, False))
                if known is None:
                    drafts.append(draft_event(connection, self.vault, self._stream, event, digest))
            return drafts

        self._sequencer.submit(prepare)
        return self._receipts(placed)

    def record(self, events: Sequence[OwnEvent], also: Also | None = None) -> list[int]:
        """Record Tocsin's own events and return their leaf indices.

        Args:
            events: in order; all or none.
            also: `also(connection, indices)` runs in the same transaction, for rows that must stand or
                fall with the events.
        """
        drafts = [self._own_draft(event) for event in events]
        return list(self._sequencer.submit(lambda _connection, _first: drafts, also))

    def _own_draft(self, event: OwnEvent) -> Draft:
        payload: dict[str, Any] = {"data": dict(event.data)}
        if event.subject is not None:
            payload["subject"] = event.subject
        if event.correlation is not None:
            payload["correlationid"] = event.correlation
        return Draft(event.type, self.new_id(), OWN_SOURCE, None, self._stream, None, canonical(payload))

    def new_id(self) -> str:
        """A UUIDv7 (RFC 9562): time-ordered, so that indexes over ids stay compact."""
        milliseconds = int(self.clock().timestamp() * 1000)
        value = milliseconds << 80 | int.from_bytes(self.entropy(10), "big")
        value = value & ~(0xF << 76) | 0x7 << 76
        return str(uuid.UUID(int=value & ~(0x3 << 62) | 0x2 << 62))

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
            raise ErasedError(f"The payload of entry {stored.index} was erased; its commitment remains.")
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
        return None if row is None else self._receipts([(row["position"] - 1, False)])[0]

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

    def _paths(self, connection: sqlite3.Connection, note: bytes, indices: Sequence[int]) -> list[list[bytes]]:
        size = Checkpoint.parse(open_note(note, [self.signer.verifier]).text).size
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
                (self._stream.bytes,),
            ).fetchall()
        return {
            row["topic"]: row["events"]
            for row in rows
            if verdict(row["topic"]) == "unknown" and not row["topic"].startswith("org.tocsin.")
        }

    def _receipts(self, placed: Sequence[tuple[int, bool]]) -> list[Receipt]:
        receipts = []
        with self.database.read() as connection:
            for index, new in placed:
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
                        new,
                    ),
                )
        return receipts

    def _start(self) -> None:
        """Make the first entry say which log this is and which key signs it."""

        def prepare(_connection: sqlite3.Connection, first: int) -> Sequence[Draft]:
            if first:
                return []
            return [
                self._own_draft(OwnEvent("org.tocsin.logging.started.v1", {"origin": self.origin, "vkey": self.vkey}))
            ]

        self._sequencer.submit(prepare)

    def _check_schema(self) -> None:
        with self.database.read() as connection:
            found = connection.execute(
                "SELECT value FROM meta WHERE name = 'schema'",
            ).fetchone()
        if found is None or found["value"] != schema.VERSION:
            raise ConfigError(
                f"{self.database.path} was written by another version of Tocsin; use that version, or migrate it.",
            )

    def _check_head(self) -> None:
        """Refuse to extend a log whose head and newest signed checkpoint disagree."""
        with self.database.read() as connection:
            head = log.read_head(connection)
            last = connection.execute("SELECT position, chain FROM event ORDER BY position DESC LIMIT 1").fetchone()
            if head.size == 0 and last is None:
                return
            try:
                note = open_note(log.read_checkpoint(connection), [self.signer.verifier])
                agrees = Checkpoint.parse(note.text) == Checkpoint(self.origin, head.size, head.root)
            except (NoteError, NotFoundError):
                agrees = False
        if not agrees or last is None or (last["position"], last["chain"]) != (head.size, head.chain):
            raise StoreDamagedError(
                "The head of the log is not what its newest checkpoint signs. Nothing may be appended; "
                "run `tocsin verify` to see what is damaged.",
            )


def _place(connection: sqlite3.Connection, event: CloudEvent, digest: bytes, number: int, index: int) -> int | None:
    """Reserve (source, id) for leaf `index`; returns the index it already has, if it has one."""
    connection.execute("INSERT INTO source (uri) VALUES (?) ON CONFLICT DO NOTHING", (event.source,))
    row = connection.execute(
        "SELECT position, digest FROM seen WHERE id = ? AND source = (SELECT number FROM source WHERE uri = ?)",
        (event.id, event.source),
    ).fetchone()
    if row is None:
        connection.execute(
            "INSERT INTO seen SELECT number, ?, ?, ? FROM source WHERE uri = ?",
            (event.id, index + 1, digest, event.source),
        )
        return None
    if row["digest"] != digest:
        raise EventConflictError(
            f"Event {number}: its (source, id) was used before for an event with other content. "
            "Give a new event a new id.",
            field="/id",
            index=number,
        )
    return int(row["position"]) - 1
