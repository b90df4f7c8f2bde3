"""What a witness keeps: the logs it knows and the newest checkpoint it cosigned of each.

One SQLite file with the ledger's settings (WAL, `synchronous=FULL`). `update` is the only way a state
changes: it reads, lets the pure core decide and writes inside one `BEGIN IMMEDIATE` transaction, which
serialises threads and processes alike, and returns when the commit is on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final, Self

from ledger.checkpoint import Checkpoint
from ledger.errors import ConfigError, NoteError, StoreDamagedError
from ledger.notes import ED25519, Verifier, open_note
from ledger.store.connection import Connection, Row
from ledger.store.database import Database
from ledger.witness.core import MAX_TREE_SIZE, State

MAX_FORKS: Final = 100
"""Forked checkpoints kept for one log; the first convicts, the rest only help to find out when."""

TABLES: Final = """
CREATE TABLE IF NOT EXISTS witness_log (
    origin TEXT NOT NULL,
    vkey   TEXT NOT NULL,
    PRIMARY KEY (origin, vkey)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS witness_state (
    digest BLOB    PRIMARY KEY,
    origin TEXT    NOT NULL UNIQUE,
    size   INTEGER NOT NULL,
    time   INTEGER NOT NULL,
    note   BLOB    NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS witness_fork (
    origin TEXT    NOT NULL,
    size   INTEGER NOT NULL,
    root   BLOB    NOT NULL,
    time   INTEGER NOT NULL,
    note   BLOB    NOT NULL,
    cosigned BLOB  NOT NULL,
    PRIMARY KEY (origin, size, root)
) WITHOUT ROWID
"""

_DAMAGED: Final = (
    "The witness's memory {path} is damaged. Do not go on from an older copy: it would forget what was cosigned. "
    "Retire this witness and its key, and make a new one with `tocsin witness init`."
)


@dataclass(frozen=True, slots=True)
class KnownLog:
    """A log that a witness knows.

    Attributes:
        origin: its name.
        vkeys: the keys trusted for it.
        state: what was last cosigned, None if nothing was.
        forks: signed checkpoints kept that contradict what was cosigned at the same size.
    """

    origin: str
    vkeys: tuple[str, ...]
    state: State | None
    forks: int


class WitnessStore:
    """The memory of one witness.

    Args:
        path: the database file; it must exist unless `create` is true.
        create: make the file; only `tocsin witness init` does, for a key that never signed.

    Raises:
        ConfigError: the file is missing.
        StoreError: the file cannot be read as a witness's memory.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        if not create and not path.is_file():
            raise ConfigError(
                f"The witness's memory {path} is missing. A witness that forgot what it cosigned must not cosign "
                "again: retire its key and make a new witness with `tocsin witness init`.",
            )
        self.path = path
        with self._translated():
            self._database = Database(path, create=create)
            try:
                if create:
                    self._database.ensure(TABLES)
                self._check()
            except BaseException:
                self._database.close()
                raise

    @classmethod
    def create(cls, path: Path) -> Self:
        """Make the memory of a new witness, or open it if it is there."""
        return cls(path, create=True)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def add_log(self, origin: str, verifier: Verifier) -> bool:
        """Trust a key for a log from now on; False when it was trusted already.

        Raises:
            ConfigError: the key is no log's key, or the origin cannot stand in a checkpoint.
        """
        if verifier.kind != ED25519:
            raise ConfigError("A log signs with an Ed25519 key (0x01); this is the key of a witness (0x04).")
        try:
            Checkpoint(origin, 0, bytes(32))
        except NoteError as error:
            raise ConfigError(f"The origin cannot be used. {error}") from None
        with self._translated(), self._database.write() as connection:
            added = connection.execute(
                "INSERT INTO witness_log (origin, vkey) VALUES (?, ?) ON CONFLICT DO NOTHING",
                (origin, verifier.vkey),
            ).rowcount
        return added == 1

    def verifiers(self, origin: str) -> tuple[Verifier, ...]:
        """The keys trusted for an origin; none when the log is unknown."""
        with self._translated(), self._database.read() as connection:
            return _verifiers(connection, origin)

    def latest(self, digest: bytes) -> State | None:
        """What was last cosigned of the log whose origin has this SHA-256; None if nothing was."""
        with self._translated(), self._database.read() as connection:
            row = connection.execute(
                "SELECT origin, size, time, note FROM witness_state WHERE digest = ?", (digest,)
            ).fetchone()
            return None if row is None else _state(row)

    def logs(self) -> list[KnownLog]:
        """All logs this witness knows, by origin."""
        with self._translated(), self._database.read() as connection:
            origins = connection.execute("SELECT DISTINCT origin FROM witness_log ORDER BY origin").fetchall()
            return [
                KnownLog(
                    row["origin"],
                    tuple(verifier.vkey for verifier in _verifiers(connection, row["origin"])),
                    _read_state(connection, row["origin"]),
                    connection.execute(
                        "SELECT count(*) FROM witness_fork WHERE origin = ?", (row["origin"],)
                    ).fetchone()[0],
                )
                for row in origins
            ]

    def update(self, origin: str, decide: Callable[[State | None], State]) -> State:
        """Replace a log's state by what `decide` makes of it; durable when this returns.

        What `decide` raises leaves the state as it was.

        Raises:
            StoreError: the store failed. The new state may be stored all the same, so nothing that
                depends on the outcome may be signed; the submitter learns the outcome by asking again.
        """
        with self._translated(), self._database.write() as connection:
            # SPEC: "checking the old size against the latest checkpoint and persisting the new checkpoint
            # must be performed atomically": the write lock is held from this read to the commit.
            state = decide(_read_state(connection, origin))
            connection.execute(
                "INSERT INTO witness_state (digest, origin, size, time, note) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (digest) DO UPDATE SET size = excluded.size, time = excluded.time, note = excluded.note",
                (sha256(origin.encode()).digest(), origin, state.checkpoint.size, state.time, state.note),
            )
        return state

    def keep_fork(self, note: bytes, time: int) -> None:
        """Keep a checkpoint that its log signed although it had signed another root for that size."""
        fork = State.read(note, time).checkpoint
        with self._translated(), self._database.write() as connection:
            state = _read_state(connection, fork.origin)
            kept = connection.execute("SELECT count(*) FROM witness_fork WHERE origin = ?", (fork.origin,)).fetchone()
            if state is None or kept[0] >= MAX_FORKS:
                return
            connection.execute(
                "INSERT INTO witness_fork VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (fork.origin, fork.size, fork.root, time, note, state.note),
            )

    def forks(self, origin: str) -> list[tuple[bytes, bytes]]:
        """Pairs of signed checkpoints of one size and different roots: (refused, cosigned)."""
        with self._translated(), self._database.read() as connection:
            rows = connection.execute(
                "SELECT note, cosigned FROM witness_fork WHERE origin = ? ORDER BY size, time", (origin,)
            ).fetchall()
        return [(row["note"], row["cosigned"]) for row in rows]

    def _check(self) -> None:
        """Refuse a memory whose states are not what their logs signed."""
        for log in self.logs():
            try:
                if log.state is not None:
                    open_note(log.state.note, [Verifier.from_vkey(vkey) for vkey in log.vkeys])
            except NoteError:
                raise StoreDamagedError(_DAMAGED.format(path=self.path)) from None

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """A damaged memory needs other advice than a damaged ledger."""
        try:
            yield
        except StoreDamagedError:
            raise StoreDamagedError(_DAMAGED.format(path=self.path)) from None


def _read_state(connection: Connection, origin: str) -> State | None:
    row = connection.execute(
        "SELECT origin, size, time, note FROM witness_state WHERE origin = ?", (origin,)
    ).fetchone()
    return None if row is None else _state(row)


def _state(row: Row) -> State:
    try:
        state = State.read(row["note"], row["time"])
        whole = (state.checkpoint.origin, state.checkpoint.size) == (row["origin"], row["size"])
    except (NoteError, TypeError, AttributeError):
        whole = False
    if not whole or not 0 < row["time"] <= MAX_TREE_SIZE:
        raise StoreDamagedError("A stored state is not a checkpoint.")
    return state


def _verifiers(connection: Connection, origin: str) -> tuple[Verifier, ...]:
    rows = connection.execute("SELECT vkey FROM witness_log WHERE origin = ? ORDER BY vkey", (origin,)).fetchall()
    try:
        return tuple(Verifier.from_vkey(row["vkey"]) for row in rows)
    except (NoteError, TypeError):
        raise StoreDamagedError("A stored key is malformed.") from None
