"""The sequencer: the one place where the log grows.

Callers hand in units of work. Whoever holds the commit lock takes every unit that queued meanwhile,
seals them together and commits them with one fsync and one signature (group commit without a timer
and without a thread). A unit is all or nothing; a unit that cannot be written is refused alone.

Across processes the head row is the fence: it is re-read inside the write transaction, and the
update names the head it extends.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from ledger.checkpoint import Checkpoint
from ledger.encoding import format_time
from ledger.entries import SALT_SIZE
from ledger.errors import (
    OverloadedError,
    StoreBusyError,
    StoreError,
    StoreFullError,
    TocsinError,
    UnknownOutcomeError,
)
from ledger.notes import Signer, sign_note
from ledger.seal import EMPTY, Draft, Head, Sealed, seal
from ledger.store.connection import Connection
from ledger.store.database import Database
from ledger.store.log import read_head, read_tail, write_sealed

MAX_GROUP: Final = 4096
"""Largest number of units that share one commit."""

MAX_WAITING: Final = 4096
"""Most units that wait for a commit; a store that has stalled must not fill the memory."""

Prepare = Callable[[Connection, int], Sequence[Draft]]
"""Makes a unit's drafts inside the write transaction, given the leaf index of the first of them;
raising refuses the unit and undoes its writes."""

Also = Callable[[Connection, Sequence[int]], None]
"""Writes that belong to the same transaction; receives the leaf indices of the unit's events."""

Signing = Callable[[Connection, Head], Signer]
"""The key that signs what follows a head."""


@dataclass(frozen=True, slots=True)
class Committed:
    """What became of a unit once it is durable.

    Attributes:
        first: leaf index of its first event, or of the next event to come where it had none.
        leaves: leaf hashes of its events, 32 bytes each.
        recorded: RFC 3339 time of acceptance; "" where it had no events.
    """

    first: int
    leaves: tuple[bytes, ...]
    recorded: str

    @property
    def indices(self) -> tuple[int, ...]:
        """Leaf indices of its events."""
        return tuple(range(self.first, self.first + len(self.leaves)))


@dataclass(eq=False, slots=True)
class _Unit:
    prepare: Prepare
    also: Also | None = None
    result: Committed | Exception | None = None


class VersionConflictError(TocsinError):
    """Another writer took this version of the stream first; reload the aggregate and decide again."""


class Sequencer:
    """Appends to the log of one database.

    Args:
        database: the store.
        signer: signs one checkpoint per commit; its name is the log's origin.
        clock: gives the time of acceptance (aware).
        entropy: gives n random bytes for salts.
        signing: gives the key to sign with where another program may have written last, inside the write
            transaction; raising refuses to sign. None signs with `signer` always.
        max_waiting: most units that may wait while a commit is under way.
    """

    def __init__(
        self,
        database: Database,
        signer: Signer,
        clock: Callable[[], datetime],
        entropy: Callable[[int], bytes],
        *,
        signing: Signing | None = None,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._database = database
        self._signer = signer
        self._clock = clock
        self._entropy = entropy
        self._signing = signing
        self._max_waiting = max_waiting
        self._queue: deque[_Unit] = deque()
        self._lock = threading.Lock()
        self._tail: _Tail | None = None  # guarded by _lock; dropped after any failure

    @property
    def waiting(self) -> int:
        """Units that wait to be written."""
        return len(self._queue)

    def submit(self, prepare: Prepare, also: Also | None = None) -> tuple[int, ...]:
        """Append a unit and return the leaf indices of its events once they are durable.

        Raises:
            OverloadedError: too many units wait already; this one was not queued.
            TocsinError: the unit was refused, or the store failed; nothing of the unit was kept.
        """
        return self.commit(prepare, also).indices

    def commit(self, prepare: Prepare, also: Also | None = None) -> Committed:
        """`submit`, with what receipts are made of."""
        [result] = self._run([_Unit(prepare, also)])
        if isinstance(result, Exception):
            raise result
        return result

    def commit_each(self, prepares: Sequence[Prepare]) -> list[Committed | Exception]:
        """Append several units that have nothing to do with each other in one commit.

        Returns:
            For each what `commit` would have returned or raised.

        Raises:
            OverloadedError: too many units wait already; none of these was queued.
        """
        return self._run([_Unit(prepare) for prepare in prepares])

    def _run(self, units: Sequence[_Unit]) -> list[Committed | Exception]:
        if len(self._queue) + len(units) > self._max_waiting:
            raise OverloadedError(
                f"{self._max_waiting} writes are waiting already; nothing of this one was kept. Try again in a moment."
            )
        self._queue.extend(units)
        results: list[Committed | Exception] = []
        for unit in units:
            if unit.result is None:
                self._work_until_done(unit)
            assert unit.result is not None
            results.append(unit.result)
        return results

    def _work_until_done(self, unit: _Unit) -> None:
        with self._lock:
            while unit.result is None:
                self._commit_group([self._queue.popleft() for _ in range(min(len(self._queue), MAX_GROUP))])

    def _commit_group(self, group: Sequence[_Unit]) -> None:
        """Commit together; when that fails, all that can be; when that fails, each unit alone.

        So one unit that is refused sinks no other, and costs the others one repetition and not their group.
        """
        for apart in (False, True) if len(group) > 1 else (False,):
            try:
                self._commit(group, apart=apart)
            except _StoreFailedError as failed:
                # One by one they would meet the same, each after as long a wait; or be written a second time.
                _refuse(group, failed.error)
                return
            except Exception as error:  # noqa: BLE001 - handed to the caller whose unit it is
                if len(group) == 1:
                    group[0].result = error
            except BaseException:
                _refuse(group, StoreError("The writing was interrupted; nothing was kept. Try again."))
                raise
            else:
                return
        for unit in group:
            if unit.result is None:
                self._commit_group([unit])

    def _commit(self, group: Sequence[_Unit], *, apart: bool) -> None:
        attempt = _Attempt()
        try:
            with self._database.write() as connection:
                self._write(connection, group, attempt, apart=apart)
                attempt.written = True
        except BaseException as error:
            self._tail = None
            if not self._became_durable(attempt, error):
                raise
        for unit, result in attempt.results(group):
            unit.result = result

    def _became_durable(self, attempt: _Attempt, error: BaseException) -> bool:
        """Whether an attempt that ended in an error is in the log all the same.

        Raises:
            _StoreFailedError: this cannot be told, or the store will not take the group's other units either.
        """
        lost = isinstance(error, StoreBusyError | StoreFullError) and error.__cause__ is not None
        if not attempt.written:
            if lost and isinstance(error, StoreError):
                raise _StoreFailedError(error) from error
            return False
        # A commit can fail after it became durable; the log tells which of the two happened.
        held = None if attempt.sealed is None else self._holds(attempt.sealed.head)
        if held is None and isinstance(error, Exception):
            unknown = UnknownOutcomeError(
                "The store was lost while it committed, so what was under way may or may not be recorded, whole. "
                "Events may be sent again; of anything else see first whether it is there."
            )
            raise _StoreFailedError(error if attempt.sealed is None and not lost else unknown) from error
        return bool(held)

    def _write(self, connection: Connection, group: Sequence[_Unit], attempt: _Attempt, *, apart: bool) -> None:
        head = attempt.before = read_head(connection)
        drafts: list[Draft] = []
        for unit in group:
            first = head.size + len(drafts)
            new = self._prepare_apart(connection, unit, first, attempt) if apart else unit.prepare(connection, first)
            if new is not None:
                attempt.places[unit] = range(first, first + len(new))
                drafts.extend(new)
        if drafts:
            attempt.sealed = self._seal(connection, head, drafts)
        for unit, place in attempt.places.items():
            if unit.also is not None:
                unit.also(connection, tuple(place))

    def _prepare_apart(
        self, connection: Connection, unit: _Unit, first: int, attempt: _Attempt
    ) -> Sequence[Draft] | None:
        """Prepare a unit so that its writes can be undone alone; None when it is refused."""
        connection.execute("SAVEPOINT unit")
        try:
            new = unit.prepare(connection, first)
        except TocsinError as error:
            connection.execute("ROLLBACK TO unit")
            connection.execute("RELEASE unit")
            self._database.rolled_back()
            attempt.refused[unit] = error
            return None
        connection.execute("RELEASE unit")
        return new

    def _seal(self, connection: Connection, head: Head, drafts: Sequence[Draft]) -> Sealed:
        tail = self._tail.leaves if self._tail and self._tail.head == head else None
        if tail is None and self._signing is not None:
            self._signer = self._signing(connection, head)
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
        except self._database.conflicts as error:
            raise VersionConflictError(
                "Another writer recorded this version of the stream first; nothing was written. "
                "Load the current state and try again.",
            ) from error
        if not written:
            raise StoreBusyError("The log grew while this batch was being written; nothing was lost. Try again.")
        self._database.grown(connection, sealed.head.size)
        self._tail = _Tail(sealed.head, sealed.tail)
        return sealed

    def _holds(self, head: Head) -> bool | None:
        """Whether the log went through `head`, after which others may have appended; None if the store is away."""
        try:
            with self._database.settled() as connection:
                row = connection.execute("SELECT chain FROM event WHERE position = ?", (head.size,)).fetchone()
        except TocsinError:
            return None
        return row is not None and row["chain"] == head.chain


def _refuse(group: Sequence[_Unit], error: Exception) -> None:
    for unit in group:
        unit.result = error


class _StoreFailedError(Exception):
    """The store failed a whole group; `error` is for each of its units."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


@dataclass(slots=True)
class _Attempt:
    before: Head = EMPTY
    places: dict[_Unit, range] = field(default_factory=dict)
    refused: dict[_Unit, TocsinError] = field(default_factory=dict)
    sealed: Sealed | None = None
    written: bool = False

    def results(self, group: Sequence[_Unit]) -> Iterator[tuple[_Unit, Committed | Exception]]:
        """What became of each unit, given that the attempt is durable."""
        size = self.before.size
        for unit in group:
            place = self.places.get(unit)
            if place is None:
                yield unit, self.refused[unit]
            elif place and self.sealed is not None:
                leaves = self.sealed.leaves[place.start - size : place.stop - size]
                yield unit, Committed(place.start, leaves, self.sealed.head.recorded)
            else:
                yield unit, Committed(place.start, (), "")


@dataclass(frozen=True, slots=True)
class _Tail:
    head: Head
    leaves: tuple[bytes, ...]


def _versions(connection: Connection, drafts: Sequence[Draft]) -> list[int]:
    """The place of each draft in its stream; None in a draft means the next free one."""
    if all(draft.version is None for draft in drafts) and len({id(draft.stream) for draft in drafts}) == 1:
        newest = _newest(connection, drafts[0].stream)
        return list(range(newest + 1, newest + 1 + len(drafts)))
    last: dict[UUID, int] = {}
    versions = []
    for draft in drafts:
        version = draft.version
        if version is None:
            if draft.stream not in last:
                last[draft.stream] = _newest(connection, draft.stream)
            version = last[draft.stream] + 1
        last[draft.stream] = version
        versions.append(version)
    return versions


def _newest(connection: Connection, stream: UUID) -> int:
    row = connection.execute("SELECT max(version) FROM event WHERE stream = ?", (stream.bytes,)).fetchone()
    return row[0] or 0
