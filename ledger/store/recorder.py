"""The `eventsourcing` library's recorder interface over the log.

Implements the library's abstract classes and nothing of its concrete ones, whose hooks change in
every minor release. `notification_id` is the leaf index plus one: dense, assigned by the sequencer.
Aggregates' events and producers' events are rows of one table and leaves of one tree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from eventsourcing.persistence import (
    ApplicationRecorder,
    IntegrityError,
    ListenNotifySubscription,
    Notification,
    ProcessRecorder,
    StoredEvent,
    Subscription,
    Tracking,
)

from ledger.errors import ErasedError
from ledger.seal import Draft
from ledger.store.connection import Connection, Row
from ledger.store.database import Database, Watch
from ledger.store.sequencer import Sequencer, VersionConflictError
from ledger.vocabulary import OWN_SOURCE

_LOOK_S: Final = 0.25
"""How long a subscription waits for news before it looks again, and sees whether it was stopped."""


@dataclass(frozen=True)
class TimedEvent(StoredEvent):
    """A stored event that says when it happened (RFC 3339 UTC)."""

    time: str


class LedgerRecorder(ProcessRecorder):
    """Records and reads aggregates' events in the log."""

    def __init__(self, database: Database, sequencer: Sequencer) -> None:
        self._database = database
        self._sequencer = sequencer

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int]:
        """Append the events as one unit.

        Args:
            stored_events: events with their versions.
            **kwargs: `tracking` is recorded, and `also(connection, indices)` is called, in the same
                transaction.

        Raises:
            IntegrityError: a version is taken, or the tracking position was recorded before.
        """
        tracking: Tracking | None = kwargs.get("tracking")
        also: Callable[[Connection, Sequence[int]], None] | None = kwargs.get("also")
        if not stored_events and tracking is None and also is None:
            return []

        def alongside(connection: Connection, indices: Sequence[int]) -> None:
            if tracking is not None:
                _insert_tracking(connection, tracking)
            if also is not None:
                also(connection, indices)

        drafts = [_draft(event) for event in stored_events]
        try:
            indices = self._sequencer.submit(lambda _connection, _first: drafts, alongside)
        except VersionConflictError as error:
            raise IntegrityError(str(error)) from error
        return [index + 1 for index in indices]

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """Events of one stream in order of version.

        Raises:
            ErasedError: the payload of one of them was erased.
        """
        sql = "SELECT version, topic, payload FROM event WHERE stream = ?"
        values: list[Any] = [_uuid(originator_id).bytes]
        for condition, value in ((" AND version > ?", gt), (" AND version <= ?", lte)):
            if value is not None:
                sql += condition
                values.append(value)
        sql += f" ORDER BY version {'DESC' if desc else 'ASC'}"
        if limit is not None:
            sql += " LIMIT ?"
            values.append(limit)
        with self._database.read() as connection:
            rows = connection.execute(sql, values).fetchall()
        return [StoredEvent(originator_id, row["version"], row["topic"], _payload(row)) for row in rows]

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """Events of the whole log by position, at most `limit`; an erased payload reads as empty."""
        sql = "SELECT position, stream, version, topic, payload FROM event WHERE position >= ?"
        values: list[Any] = [0 if start is None else start + (not inclusive_of_start)]
        if stop is not None:
            sql += " AND position <= ?"
            values.append(stop)
        if topics:
            sql += f" AND topic IN ({', '.join('?' * len(topics))})"
            values.extend(topics)
        with self._database.read() as connection:
            rows = connection.execute(f"{sql} ORDER BY position LIMIT ?", [*values, limit]).fetchall()
        return [
            Notification(
                UUID(bytes=row["stream"]),
                row["version"],
                row["topic"],
                row["payload"] or b"",
                row["position"],
            )
            for row in rows
        ]

    def max_notification_id(self) -> int | None:
        """Position of the newest event, or None."""
        with self._database.read() as connection:
            newest: int | None = connection.execute("SELECT max(position) FROM event").fetchone()[0]
        return newest

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> Subscription[ApplicationRecorder]:
        """Iterate over events as they are recorded, by this or another process."""
        return _Subscription(self, self._database.watch(), gt, topics)

    def insert_tracking(self, tracking: Tracking) -> None:
        """Record how far a projection got.

        Raises:
            IntegrityError: it got that far before.
        """
        with self._database.write() as connection:
            _insert_tracking(connection, tracking)

    def max_tracking_id(self, application_name: str) -> int | None:
        """How far a projection got, or None."""
        with self._database.read() as connection:
            row = connection.execute("SELECT position FROM tracking WHERE name = ?", (application_name,)).fetchone()
        return None if row is None else int(row["position"])


class _Subscription(ListenNotifySubscription[ApplicationRecorder]):
    """Looks again whenever the store says that the log may have grown.

    The watch begins before the first look, so that nothing is committed unseen between the two.
    """

    def __init__(self, recorder: LedgerRecorder, watch: Watch, gt: int | None, topics: Sequence[str]) -> None:
        self._watch = watch
        super().__init__(recorder, gt, topics)

    def _loop_on_pull(self) -> None:
        try:
            while not self._has_been_stopped:
                self._pull()
                self._watch.wait(_LOOK_S)
        except BaseException as error:  # noqa: BLE001 - handed to the iterating thread, as the library does
            self._thread_error = self._thread_error or error
            self.stop()
        finally:
            self._watch.close()


def _draft(event: StoredEvent) -> Draft:
    stream = _uuid(event.originator_id)
    return Draft(
        type=event.topic,
        id=f"{stream}/{event.originator_version}",
        source=OWN_SOURCE,
        time=event.time if isinstance(event, TimedEvent) else None,
        stream=stream,
        version=event.originator_version,
        payload=event.state,
    )


def _insert_tracking(connection: Connection, tracking: Tracking) -> None:
    changed = connection.execute(
        "INSERT INTO tracking VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET position = excluded.position"
        " WHERE tracking.position < excluded.position",
        (tracking.application_name, tracking.notification_id),
    ).rowcount
    if changed != 1:
        raise IntegrityError(f"{tracking.application_name} was already tracked up to {tracking.notification_id}.")


def _payload(row: Row) -> bytes:
    payload: bytes | None = row["payload"]
    if payload is None:
        raise ErasedError(
            f"What version {row['version']} of this stream said is gone: it was erased, or lost before the log was "
            "rebuilt from tiles. The stream cannot be loaded past the version before."
        )
    return payload


def _uuid(originator_id: UUID | str) -> UUID:
    return originator_id if isinstance(originator_id, UUID) else UUID(originator_id)
