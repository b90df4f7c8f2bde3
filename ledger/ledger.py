"""The ledger: open it, append to it, read it, prove from it.

Example:
    >>> with Ledger.create(Path("data"), origin="example.org/audit") as ledger:
    ...     [receipt] = ledger.append([event])
    ...     ledger.prove(receipt.index)
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from ledger import access
from ledger.admission import read_events
from ledger.batch import Batch
from ledger.checkpoint import Checkpoint
from ledger.config import Config, Store, make_directory, read_config
from ledger.encoding import canonical
from ledger.errors import (
    ConfigError,
    EventError,
    KeyMismatchError,
    NoteError,
    NotFoundError,
    StoreDamagedError,
)
from ledger.exchange import OwnEvent, Receipt
from ledger.keys import load_kek, load_signer
from ledger.notes import Signer, Verifier, open_note
from ledger.reader import LogReader
from ledger.recovery.errors import UnconfirmedCopyError
from ledger.rotation import finish_rotation, next_signer, read_history
from ledger.seal import Draft, Head
from ledger.store import log, schema
from ledger.store.connection import Connection
from ledger.store.database import Database
from ledger.store.opening import open_store
from ledger.store.recorder import LedgerRecorder
from ledger.store.seen import Seen
from ledger.store.sequencer import Also, Sequencer
from ledger.vault import Vault
from ledger.vocabulary import OWN_SOURCE

MAX_BATCH: Final = 1000
"""Most events that one append takes."""


class Ledger(LogReader):
    """One log with its vault and its read models, in one data directory.

    Attributes:
        directory: the data directory.
        origin: the log's name.
        vkey: the log's verifier key, the newest where there were several.
        config: what `tocsin.toml` said when it was last read.
        clock: gives the present, aware.
        entropy: gives n random bytes.
        before_append: called first in every `append`, and refuses by raising; Tocsin's own events are not
            asked about. See `ledger.witness.publication`.
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
        self.before_append: Callable[[], None] = lambda: None
        self.database = database
        self.config = config
        self.signer = load_signer(config.signing_key, directory, config.origin)
        if self.signer.vkey != config.vkey:
            raise KeyMismatchError(
                f"The signing key behind {config.signing_key} is not the one this ledger was made with. "
                "Put back the key whose vkey stands in tocsin.toml.",
            )
        self.vault = Vault(
            database,
            load_kek(config.vault_key, directory),
            config.origin,
            entropy,
            lambda uri: load_kek(uri, directory),
        )
        self._sequencer = Sequencer(database, self.signer, clock, entropy, signing=self._signing)
        database.began = self.vault.refresh
        database.rolled_back = self.vault.forget
        self.recorder = LedgerRecorder(database, self._sequencer)
        self.access = access.AccessIndex(database)
        self.seen = Seen()
        # All producers' events form one stream: random streams would scatter the version index.
        self.stream = uuid.uuid5(uuid.NAMESPACE_URL, config.origin)

    @classmethod
    def create(
        cls,
        directory: Path,
        origin: str | None = None,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        entropy: Callable[[int], bytes] = os.urandom,
        predecessor: Mapping[str, Any] | None = None,
        store: Store | None = None,
    ) -> Self:
        """Open the ledger in `directory`, making what is missing of it.

        Args:
            directory: the data directory.
            origin: the log's name; None takes a local one.
            clock: gives the present, aware.
            entropy: gives n random bytes.
            predecessor: the log that a new one continues, see `ledger.recovery.succession`.
            store: where a new log is kept; None for a file in the directory.

        Raises:
            ConfigError: the directory cannot be made, or holds another ledger.
            StoreError: the database cannot be made.
        """
        config = make_directory(directory, origin, entropy, store)
        database = open_store(config, directory, create=True)
        try:
            database.ensure(schema.TABLES)
            database.ensure(access.TABLES)
            ledger = cls(directory, config, database, clock, entropy)
            with database.write() as connection:
                ledger.vault.initialise(connection)
                connection.execute("INSERT INTO meta VALUES ('schema', ?) ON CONFLICT DO NOTHING", (schema.VERSION,))
            ledger.vault.unlock(config.vault_key)
            ledger._follow_rotation()
            ledger._check_head()
            ledger._start(predecessor)
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
        database = open_store(config, directory)
        try:
            ledger = cls(directory, config, database, clock, entropy)
            ledger._check_schema()
            ledger.vault.unlock(config.vault_key)
            ledger._follow_rotation()
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
            StoreError: the store refused, or `before_append` did.
        """
        batch = self.batch(events)
        return batch.receipts(self._sequencer.commit(batch.prepare))

    def batch(self, events: Sequence[Mapping[str, Any]]) -> Batch:
        """Do what an append can do beforehand, without the store: validate and fingerprint the events.

        Raises:
            EventError: an event is malformed, or there are more than `MAX_BATCH`.
            StoreError: `before_append` refused.
        """
        self.before_append()
        if len(events) > MAX_BATCH:
            raise EventError(f"A batch holds at most {MAX_BATCH} events; send smaller batches.")
        return Batch(self, read_events(events))

    def append_each(self, batches: Sequence[Batch]) -> list[list[Receipt] | Exception]:
        """Append batches that have nothing to do with each other, in one commit.

        Returns:
            For each what `append` would have returned or raised.

        Raises:
            OverloadedError: too much waits to be written already; nothing was queued.
        """
        results = self._sequencer.commit_each([batch.prepare for batch in batches])
        return [
            result if isinstance(result, Exception) else batch.receipts(result)
            for batch, result in zip(batches, results, strict=True)
        ]

    def record(self, events: Sequence[OwnEvent], also: Also | None = None) -> list[int]:
        """Record Tocsin's own events and return their leaf indices.

        Args:
            events: in order; all or none.
            also: `also(connection, indices)` runs in the same transaction, for rows that must stand or
                fall with the events.
        """
        drafts = [self._own_draft(event) for event in events]
        return list(self._sequencer.submit(lambda _connection, _first: drafts, also))

    def decide(self, make: Callable[[Connection, int], Sequence[OwnEvent]]) -> list[int]:
        """Record own events that `make` decides on, with writes of its own, in one transaction.

        Args:
            make: `make(connection, first)`, where `first` is the leaf index of its first event; it may be
                called again when the transaction has to be repeated, and raising undoes its writes.
        """
        return list(
            self._sequencer.submit(lambda connection, first: [self._own_draft(e) for e in make(connection, first)])
        )

    def _own_draft(self, event: OwnEvent) -> Draft:
        payload: dict[str, Any] = {"data": dict(event.data)}
        if event.subject is not None:
            payload["subject"] = event.subject
        if event.correlation is not None:
            payload["correlationid"] = event.correlation
        return Draft(event.type, self.new_id(), OWN_SOURCE, None, self.stream, None, canonical(payload))

    @property
    def waiting(self) -> int:
        """Appends of this process that wait to be written."""
        return self._sequencer.waiting

    def new_id(self) -> str:
        """A UUIDv7 (RFC 9562): time-ordered, so that indexes over ids stay compact."""
        milliseconds = int(self.clock().timestamp() * 1000)
        value = milliseconds << 80 | int.from_bytes(self.entropy(10), "big")
        value = value & ~(0xF << 76) | 0x7 << 76
        return str(uuid.UUID(int=value & ~(0x3 << 62) | 0x2 << 62))

    @property
    def verifiers(self) -> list[Verifier]:
        """Every key that has signed this log, oldest first."""
        return [Verifier.from_vkey(key.vkey) for key in self.config.keys]

    def open_checkpoint(self, note: bytes) -> Checkpoint:
        """Verify this log's newest checkpoint, also where another program has changed the signing key.

        Raises:
            NoteError: it is not signed by the current key.
        """
        try:
            return Checkpoint.parse(open_note(note, [self.signer.verifier]).text)
        except NoteError:
            self.reload()
            return Checkpoint.parse(open_note(note, [self.signer.verifier]).text)

    def _start(self, predecessor: Mapping[str, Any] | None) -> None:
        """Make the first entry say which log this is, which key signs it and which log it continues."""
        data: dict[str, Any] = {"origin": self.origin, "vkey": self.vkey}
        first_event = OwnEvent("org.tocsin.logging.started.v1", data)
        if predecessor is not None:
            first_event = OwnEvent("org.tocsin.ledger.succeeded.v1", data | {"predecessor": dict(predecessor)})

        def prepare(_connection: Connection, first: int) -> Sequence[Draft]:
            return [] if first else [self._own_draft(first_event)]

        self._sequencer.submit(prepare)

    def reload(self) -> None:
        """Read the configuration again and take the key that the log says signs next."""
        with self.database.read() as connection:
            self._take_signer(read_config(self.directory), connection)

    def _signing(self, connection: Connection, head: Head) -> Signer:
        """The key to sign with; called inside the write transaction wherever another program may have written."""
        restored = self.config.restored
        if restored is not None:
            raise UnconfirmedCopyError(
                f"Nothing is signed: {self.directory} was restored from a backup of {restored.size} entries, and it "
                "was not confirmed that no longer log was ever shown to anybody. Confirm it with `tocsin restore "
                f"--confirm --data {self.directory}` (docs/operations.md)."
            )
        if head.size and _next_key(connection) not in (None, self.signer.verifier.key_id):
            self._take_signer(read_config(self.directory), connection)
        return self.signer

    def _follow_rotation(self) -> None:
        """Finish a rotation that was cut short after the log had recorded it."""
        if self.config.next_key is not None:
            with self.database.read() as connection:
                self._take_signer(self.config, connection)
                first = read_history(connection, self.signer.verifier).periods[-1].first
            if self.vkey == self.config.next_key.vkey:
                with suppress(ConfigError):  # a reader without the right to write does without
                    finish_rotation(self.directory, first)
                self.config = read_config(self.directory)

    def _take_signer(self, config: Config, connection: Connection) -> None:
        places = [config.signing_key] + ([] if config.next_key is None else [config.next_key.signing_key])
        wanted = _next_key(connection) or self.signer.verifier.key_id
        for place in places:
            with suppress(ConfigError):
                signer = load_signer(place, self.directory, self.origin)
                if signer.verifier.key_id == wanted:
                    self.config, self.signer, self.vkey = config, signer, signer.vkey
                    return
        raise KeyMismatchError(
            f"The log's signing key was changed to one with id {wanted.hex()}, which {self.directory} does not have. "
            "Put that key and the newest tocsin.toml in place."
        )

    def _check_schema(self) -> None:
        with self.database.read() as connection:
            found = connection.execute(
                "SELECT value FROM meta WHERE name = 'schema'",
            ).fetchone()
        if found is None or found["value"] not in schema.VERSIONS:
            raise ConfigError(
                f"{self.database.place} was written by another version of Tocsin; use that version, or migrate it.",
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


def _next_key(connection: Connection) -> bytes | None:
    """Id of the key that signs next; None where the log is empty or its newest checkpoint is damaged."""
    try:
        return next_signer(log.read_checkpoint(connection))[1]
    except (NoteError, NotFoundError, StoreDamagedError):
        return None
