"""Moving a ledger between its two stores: from the file into a PostgreSQL server when it grows, or back.

At every moment one store at most takes entries. The old one is held by one write transaction, from before the
first row is copied until the copy is verified; that transaction ends by marking the old store as moved, after
which whoever has it open, or opens it by an old configuration, is refused. Only then is the move recorded in the
new store, and only then does the configuration name it. So

- cut short before the mark, nothing has happened, and the move can be begun again;
- cut short after it, nobody writes anywhere, and the same command finishes the move.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from ledger import Ledger, OwnEvent
from ledger.config import DATABASE, Config, Store, read_config, write_config
from ledger.errors import ConfigError, StoreBusyError
from ledger.findings import Findings
from ledger.keys import fsync_directory, load_kek
from ledger.recovery.errors import BackupDamagedError, UnconfirmedCopyError
from ledger.store.catalogue import has_table, tables
from ledger.store.connection import Connection
from ledger.store.database import Database
from ledger.store.log import read_head
from ledger.store.opening import open_store
from ledger.store.sqlite import SqliteDatabase, connect, translated
from ledger.store.transfer import copy_all
from ledger.vault import Vault
from ledger.verify import verify_database
from ledger.wrapping import MOVED_TO

MOVED = "org.tocsin.store.moved.v1"

STAGED: Final = f"{DATABASE}.moving"
"""The new file until it is whole and the old store is marked."""

_SIDES: Final = ("-wal", "-shm", "-journal")

Progress = Callable[[int, int], None]
"""Called with (done, total), in rows."""


def move(
    directory: Path,
    to: Store | None,
    *,
    progress: Progress = lambda _done, _total: None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    entropy: Callable[[int], bytes] = os.urandom,
) -> Findings:
    """Copy a ledger into another store, verify the copy, and make it the ledger's store.

    The old store stays as it is but for the mark, for the operator to keep or to destroy: a file is renamed to
    `ledger.db.moved`, tables in a server are left where they are. Repeating a move that was cut short finishes it.

    Args:
        directory: the data directory.
        to: a place in a server without tables, or None for the file in the directory.
        progress: called with rows copied.
        clock: gives the present, aware.
        entropy: gives n random bytes.

    Raises:
        UnconfirmedCopyError: the ledger is a restored copy that nobody has confirmed; nothing was done.
        ConfigError: the ledger is there already, or something else is.
        BackupDamagedError: the copy does not verify; the ledger stays where it was.
        StoreError: a store cannot be read or written.
    """
    config = read_config(directory)
    if config.restored is not None:
        raise UnconfirmedCopyError(
            f"{directory} was restored from a backup and is not confirmed, so it may not go on anywhere. Confirm it "
            f"with `tocsin restore --confirm --data {directory}` (docs/operations.md); then move it."
        )
    if config.store == to:
        return _tidy(directory, config)
    with closing(open_store(config, directory)) as source:
        with source.read() as rows:
            head, mark = read_head(rows), _mark(rows)
        if mark is None:
            config, findings = _copy(source, directory, to, progress)
        else:
            findings = _examine(source, replace(config, store=to), directory, mark)
        after = replace(config, store=to)
        size = findings.size if mark is None else head.size
    if to is None and (directory / STAGED).exists():
        _rename(directory / STAGED, directory / DATABASE)
    with closing(open_store(after, directory)) as target:
        # The configuration does not name the store yet, so that nobody else is in it.
        ledger = Ledger(directory, after, target, clock, entropy)
        ledger.vault.unlock(after.vault_key)
        _record(ledger, size, findings)
    write_config(directory, after)
    if config.store is None:
        _put_aside(directory)
    return findings


def _copy(source: Database, directory: Path, to: Store | None, progress: Progress) -> tuple[Config, Findings]:
    """Copy and verify, and end the old store; returns the configuration that was true meanwhile."""
    # A change of the signing key that was cut short is finished, and a log that cannot go on is not copied.
    Ledger.open(directory).close()
    with source.write() as rows:
        _be_patient(rows)
        if _mark(rows) is not None:
            raise StoreBusyError("Another program moved this ledger just now; look where its tocsin.toml says it is.")
        config = read_config(directory)
        after = replace(config, store=to)
        if to is None:
            _make_room(directory)
        with closing(_open_target(after, directory, create=True)) as target:
            with target.write() as place:
                _be_patient(place)
                if tables(place):
                    raise ConfigError(f"{target.place} has tables already; name an empty schema.")
                copy_all(rows, place, progress)
            findings = _verified(target, config, directory)
            # The server may have ended this transaction and given its lock away: then this fails, or the commit.
            where = f"the file {DATABASE} of its data directory" if to is None else target.place
            rows.execute("INSERT INTO meta VALUES (?, ?)", (MOVED_TO, where.encode()))
    return config, findings


def _examine(source: Database, after: Config, directory: Path, mark: str) -> Findings:
    """Look whether a move that was cut short had finished the copy, and verify it once more."""
    elsewhere = f"This ledger was moved to {mark}, or that was cut short. To finish it, name that place."
    if after.store is None and not any((directory / name).exists() for name in (STAGED, DATABASE)):
        raise ConfigError(elsewhere)
    with closing(_open_target(after, directory, create=False)) as target:
        with source.read() as rows, target.read() as copied:
            last = "SELECT chain FROM event WHERE position = ?"
            head, there = read_head(rows), has_table(copied, "event")
            found = copied.execute(last, (head.size,)).fetchone() if there else None
            if found is None or found["chain"] != head.chain:
                raise ConfigError(elsewhere)
        return _verified(target, after, directory)


def _tidy(directory: Path, config: Config) -> Findings:
    """Put the old file aside where a kill came before that.

    Raises:
        ConfigError: there is nothing left to do.
    """
    path = directory / DATABASE
    if config.store is None or not path.exists() or not _is_left(path):
        raise ConfigError(f"The ledger in {directory} is kept there already.")
    _put_aside(directory)
    with closing(open_store(config, directory)) as database:
        return _verified(database, config, directory)


def _make_room(directory: Path) -> None:
    """See that the file may be made, and remove what an attempt that was cut short left of it."""
    path = directory / DATABASE
    if path.exists():
        if not _is_left(path):
            raise ConfigError(f"There is another ledger in {path}; put that file away first.")
        _put_aside(directory)
    for side in ("", *_SIDES):
        (directory / f"{STAGED}{side}").unlink(missing_ok=True)


def _is_left(path: Path) -> bool:
    """Whether a file is what a moved ledger left behind."""
    with closing(SqliteDatabase(path)) as database, database.read() as connection:
        return has_table(connection, "meta") and _mark(connection) is not None


def _mark(connection: Connection) -> str | None:
    row = connection.execute("SELECT value FROM meta WHERE name = ?", (MOVED_TO,)).fetchone()
    return None if row is None else bytes(row["value"]).decode("utf-8", "replace")


def _open_target(after: Config, directory: Path, *, create: bool) -> Database:
    staged = directory / STAGED
    if after.store is None and (create or staged.exists()):
        return SqliteDatabase(staged, create=create)
    return open_store(after, directory, create=create)


def _be_patient(connection: Connection) -> None:
    """Have a server keep this transaction though nothing is asked in it while the copy is verified."""
    if not isinstance(connection, sqlite3.Connection):
        connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")


def _verified(target: Database, config: Config, directory: Path) -> Findings:
    key = load_kek(config.vault_key, directory)
    vault = Vault(target, key, config.origin, lambda _size: b"", lambda uri: load_kek(uri, directory))
    vault.unlock(config.vault_key)
    findings = verify_database(target, config.vkey, vault=vault)
    if findings.damage:
        first = findings.damage[0]
        where = "" if first.index is None else f" at entry {first.index}"
        raise BackupDamagedError(f"The copy does not verify{where} ({first.kind}): {first.message} Nothing was moved.")
    return findings


def _record(ledger: Ledger, size: int, findings: Findings) -> None:
    """Make the move the first entry that the new store has beyond the old one, once."""
    kind = "file" if ledger.config.store is None else "postgresql"

    def make(connection: Connection, first: int) -> Sequence[OwnEvent]:
        if first == size:
            return [OwnEvent(MOVED, {"to": kind, "size": size, "root": findings.root})]
        row = connection.execute("SELECT topic FROM event WHERE position = ?", (size + 1,)).fetchone()
        if row is None or row["topic"] != MOVED:
            raise ConfigError("The log in the new store has grown without recording its move: it is another history.")
        return []

    ledger.decide(make)


def _put_aside(directory: Path) -> None:
    """Rename the old file, so that no program that is told its path opens it; no earlier one is written over."""
    kept, count = directory / f"{DATABASE}.moved", 1
    while kept.exists():
        count += 1
        kept = directory / f"{DATABASE}.moved-{count}"
    _rename(directory / DATABASE, kept)


def _rename(path: Path, name: Path) -> None:
    """Rename a database file, with everything that its write-ahead log holds in it.

    Raises:
        StoreBusyError: another program reads it.
    """
    with translated(path), closing(connect(str(path))) as connection:
        connection.execute("PRAGMA busy_timeout = 1000").fetchone()
        busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    log = path.with_name(f"{path.name}-wal")
    if busy or (log.exists() and log.stat().st_size):
        raise StoreBusyError(
            f"{path} is in use, so it was not renamed. Stop the program that has it open, and run the same command "
            "again: it finishes the move."
        )
    for side in _SIDES:
        path.with_name(path.name + side).unlink(missing_ok=True)
    path.rename(name)
    fsync_directory(path.parent)
