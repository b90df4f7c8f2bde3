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
from ledger.errors import ConfigError, NoteError, NotFoundError, StoreDamagedError
from ledger.notes import ED25519, Verifier, open_note
from ledger.store.connection import Connection, Row
from ledger.store.sqlite import SqliteDatabase
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
_RETIRED: Final = """
CREATE TABLE IF NOT EXISTS witness_retired (
    origin TEXT NOT NULL,
    vkey   TEXT NOT NULL,
    PRIMARY KEY (origin, vkey)
) WITHOUT ROWID
"""
"""Keys that are no longer trusted. What they signed was cosigned all the same, and is still remembered."""

_DAMAGED: Final = (
    "The witness's memory {path} is damaged. Do not go on from an older copy: it would forget what was cosigned. "
    "Retire this witness and its key, and make a new one with `tocsin witness init`."
)


@dataclass(frozen=True, slots=True)
class KnownLog:
    """A log that a witness knows.

    Attributes:
        origin: its name.
        vkeys: the keys trusted for it; none when all were removed.
        retired: keys that were removed.
        state: what was last cosigned, None if nothing was.
        forks: signed checkpoints kept that contradict what was cosigned at the same size.
    """

    origin: str
    vkeys: tuple[str, ...]
    retired: tuple[str, ...]
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
            self._database = SqliteDatabase(path, create=create)
            try:
                if create:
                    self._database.ensure(TABLES)
                with self._database.read() as connection:
                    # Only a memory that is there may be completed: an empty one has forgotten.
                    connection.execute("SELECT 1 FROM witness_state, witness_log, witness_fork LIMIT 1").fetchone()
                self._database.ensure(_RETIRED)
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

    def add_log(self, origin: str, verifier: Verifier, *, again: bool = False) -> bool:
        """Trust a key for a log from now on; False when it was trusted already.

        Args:
            origin: the log.
            verifier: its key.
            again: trust it although it was removed before.

        Raises:
            ConfigError: the key is no log's key, or was removed, or the origin cannot stand in a checkpoint.
        """
        if verifier.kind != ED25519:
            raise ConfigError("A log signs with an Ed25519 key (0x01); this is the key of a witness (0x04).")
        try:
            Checkpoint(origin, 0, bytes(32))
        except NoteError as error:
            raise ConfigError(f"The origin cannot be used. {error}") from None
        with self._translated(), self._database.write() as connection:
            if verifier.vkey in _keys(connection, "witness_retired", origin):
                if not again:
                    raise ConfigError(
                        "This key was removed from the log, so that whoever has it can have nothing cosigned. Add it "
                        "with --again only if that was a mistake."
                    )
                connection.execute("DELETE FROM witness_retired WHERE origin = ? AND vkey = ?", (origin, verifier.vkey))
            added = connection.execute(
                "INSERT INTO witness_log (origin, vkey) VALUES (?, ?) ON CONFLICT DO NOTHING",
                (origin, verifier.vkey),
            ).rowcount
        return added == 1

    def remove_log_key(self, origin: str, verifier: Verifier, *, last: bool = False) -> None:
        """Trust a key for a log no longer; what was cosigned of the log stays remembered.

        Args:
            origin: the log.
            verifier: the key.
            last: go on although no key is left, so that nothing of the log is cosigned until one is added.

        Raises:
            NotFoundError: the key is not trusted for this log.
            ConfigError: it is the last one.
        """
        with self._translated(), self._database.write() as connection:
            trusted = _keys(connection, "witness_log", origin)
            if verifier.vkey not in trusted:
                raise NotFoundError(
                    "This witness does not trust that key for that log; `tocsin witness list` says which."
                )
            if len(trusted) == 1 and not last:
                raise ConfigError(
                    "This is the log's last key: without it nothing of the log is cosigned any more. Add the new key "
                    "first (`tocsin witness add-log`), or remove it with --last."
                )
            connection.execute("DELETE FROM witness_log WHERE origin = ? AND vkey = ?", (origin, verifier.vkey))
            connection.execute(
                "INSERT INTO witness_retired (origin, vkey) VALUES (?, ?) ON CONFLICT DO NOTHING",
                (origin, verifier.vkey),
            )

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
            origins = connection.execute(
                "SELECT origin FROM witness_log UNION SELECT origin FROM witness_retired ORDER BY origin"
            ).fetchall()
            return [
                KnownLog(
                    row["origin"],
                    tuple(verifier.vkey for verifier in _verifiers(connection, row["origin"])),
                    _keys(connection, "witness_retired", row["origin"]),
                    _read_state(connection, row["origin"]),
                    connection.execute(
                        "SELECT count(*) FROM witness_fork WHERE origin = ?", (row["origin"],)
                    ).fetchone()[0],
                )
                for row in origins
            ]

    def update(self, origin: str, decide: Callable[[State | None, tuple[Verifier, ...]], State]) -> State:
        """Replace a log's state by what `decide` makes of it; durable when this returns.

        What `decide` raises leaves the state as it was.

        Args:
            origin: the log.
            decide: given its state and the keys that are trusted for it, both as of this transaction.

        Raises:
            StoreError: the store failed. The new state may be stored all the same, so nothing that
                depends on the outcome may be signed; the submitter learns the outcome by asking again.
        """
        with self._translated(), self._database.write() as connection:
            # SPEC: "checking the old size against the latest checkpoint and persisting the new checkpoint
            # must be performed atomically": the write lock is held from this read to the commit.
            state = decide(_read_state(connection, origin), _verifiers(connection, origin))
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
                    known = dict.fromkeys((*log.vkeys, *log.retired))
                    open_note(log.state.note, [Verifier.from_vkey(vkey) for vkey in known])
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


def _keys(connection: Connection, table: str, origin: str) -> tuple[str, ...]:
    # Only names of this module are spliced in.
    sql = f"SELECT vkey FROM {table} WHERE origin = ? ORDER BY vkey"  # noqa: S608
    return tuple(row["vkey"] for row in connection.execute(sql, (origin,)).fetchall())


def _verifiers(connection: Connection, origin: str) -> tuple[Verifier, ...]:
    try:
        return tuple(Verifier.from_vkey(vkey) for vkey in _keys(connection, "witness_log", origin))
    except (NoteError, TypeError):
        raise StoreDamagedError("A stored key is malformed.") from None
