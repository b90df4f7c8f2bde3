"""The sequencer: the one place where the log grows.

Callers hand in units of work. Whoever holds the commit lock takes every unit that queued meanwhile,
seals them together and commits them with one fsync and one signature (group commit without a timer
and without a thread). A unit is all or nothing; a unit that cannot be written is refused alone.

Across processes the head row is the fence: it is re-read inside the write transaction, and the
update names the head it extends.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from ledger.checkpoint import Checkpoint
from ledger.encoding import format_time
from ledger.entries import SALT_SIZE
from ledger.errors import StoreBusyError, TocsinError
from ledger.notes import Signer, sign_note
from ledger.seal import Draft, Head, Sealed, seal
from ledger.store.database import Database
from ledger.store.log import read_head, read_tail, write_sealed

MAX_GROUP: Final = 4096
"""Largest number of units that share one commit."""

Prepare = Callable[[sqlite3.Connection, int], Sequence[Draft]]
"""Makes a unit's drafts inside the write transaction, given the leaf index of the first of them;
raising refuses the unit and undoes its writes."""

Also = Callable[[sqlite3.Connection, Sequence[int]], None]
"""Writes that belong to the same transaction; receives the leaf indices of the unit's events."""


@dataclass(eq=False, slots=True)
class _Unit:
    prepare: Prepare
    also: Also | None
    done: bool = False
    indices: tuple[int, ...] = ()
    error: BaseException | None = None


class VersionConflictError(TocsinError):
    """Another writer took this version of the stream first; reload the aggregate and decide again."""


class Sequencer:
    """Appends to the log of one database.

    Args:
        database: the store.
        signer: signs one checkpoint per commit; its name is the log's origin.
        clock: gives the time of acceptance (aware).
        entropy: gives n random bytes for salts.
    """

    def __init__(
        self,
        database: Database,
        signer: Signer,
        clock: Callable[[], datetime],
        entropy: Callable[[int], bytes],
    ) -> None:
        self._database = database
        self._signer = signer
        self._clock = clock
        self._entropy = entropy
        self._queue: deque[_Unit] = deque()
        self._lock = threading.Lock()
        self._tail: _Tail | None = None  # guarded by _lock; dropped after any failure

    def submit(self, prepare: Prepare, also: Also | None = None) -> tuple[int, ...]:
        """Append a unit and return the leaf indices of its events once they are durable.

        Raises:
            TocsinError: the unit was refused, or the store failed; nothing of the unit was kept.
        """
        unit = _Unit(prepare, also)
        self._queue.append(unit)
        with self._lock:
            while not unit.done:
                group = [self._queue.popleft() for _ in range(min(len(self._queue), MAX_GROUP))]
                self._commit_group(group)
        if unit.error is not None:
            raise unit.error
        return unit.indices

    def _commit_group(self, group: Sequence[_Unit]) -> None:
        """Commit together; when that fails, each unit alone, so that one cannot sink the others."""
        try:
            self._commit(group)
        except BaseException as error:  # noqa: BLE001 - handed to the caller whose unit it is
            if len(group) == 1:
                group[0].error = error
                group[0].done = True
                return
            for unit in group:
                self._commit_group([unit])

    def _commit(self, group: Sequence[_Unit]) -> None:
        attempt = _Attempt()
        try:
            with self._database.write() as connection:
                self._write(connection, group, attempt)
        except BaseException:
            self._tail = None
            # A commit can fail after it became durable; the log tells which of the two happened.
            if attempt.sealed is None or not self._holds(attempt.sealed.head):
                raise
        for unit, indices in attempt.indices:
            unit.indices = indices
        for unit in group:
            unit.done = True

    def _write(self, connection: sqlite3.Connection, group: Sequence[_Unit], attempt: _Attempt) -> None:
        head = read_head(connection)
        drafts: list[Draft] = []
        for unit in group:
            first = head.size + len(drafts)
            new = unit.prepare(connection, first)
            attempt.indices.append((unit, tuple(range(first, first + len(new)))))
            drafts.extend(new)
        if drafts:
            attempt.sealed = self._seal(connection, head, drafts)
        for unit, indices in attempt.indices:
            if unit.also is not None:
                unit.also(connection, indices)

    def _seal(self, connection: sqlite3.Connection, head: Head, drafts: Sequence[Draft]) -> Sealed:
        tail = self._tail.leaves if self._tail and self._tail.head == head else None
        sealed = seal(
            head,
            drafts,
            _versions(connection, drafts),
            recorded=format_time(self._clock()),
            salts=self._entropy(SALT_SIZE * len(drafts)),
            tail=read_tail(connection, head.size) if tail is None else tail,
        )
        checkpoint = Checkpoint(self._signer.name, sealed.head.size, sealed.head.root)
        note = sign_note(checkpoint.format(), [self._signer])
        try:
            written = write_sealed(connection, head, sealed, note)
        except sqlite3.IntegrityError as error:
            raise VersionConflictError(
                "Another writer recorded this version of the stream first; nothing was written. "
                "Load the current state and try again.",
            ) from error
        if not written:
            raise StoreBusyError("The log grew while this batch was being written; nothing was lost. Try again.")
        self._tail = _Tail(sealed.head, sealed.tail)
        return sealed

    def _holds(self, head: Head) -> bool:
        """Whether the log went through `head`; another process may have appended since."""
        try:
            with self._database.read() as connection:
                row = connection.execute("SELECT chain FROM event WHERE position = ?", (head.size,)).fetchone()
        except TocsinError:
            return False
        return row is not None and row["chain"] == head.chain


@dataclass(slots=True)
class _Attempt:
    indices: list[tuple[_Unit, tuple[int, ...]]] = field(default_factory=list)
    sealed: Sealed | None = None


@dataclass(frozen=True, slots=True)
class _Tail:
    head: Head
    leaves: tuple[bytes, ...]


def _versions(connection: sqlite3.Connection, drafts: Sequence[Draft]) -> list[int]:
    """The place of each draft in its stream; None in a draft means the next free one."""
    last: dict[UUID, int] = {}
    versions = []
    for draft in drafts:
        version = draft.version
        if version is None:
            if draft.stream not in last:
                newest = connection.execute(
                    "SELECT max(version) FROM event WHERE stream = ?",
                    (draft.stream.bytes,),
                ).fetchone()[0]
                last[draft.stream] = newest or 0
            version = last[draft.stream] + 1
        last[draft.stream] = version
        versions.append(version)
    return versions
