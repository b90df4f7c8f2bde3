"""The `eventsourcing` library's own tests of recorders, on ours."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from eventsourcing.persistence import StoredEvent
from eventsourcing.tests.persistence import (
    AggregateRecorderTestCase,
    ApplicationRecorderTestCase,
    NonInterleavingNotificationIDsBaseCase,
    ProcessRecorderTestCase,
    TrackingRecorderTestCase,
)

from ledger.errors import ErasedError
from ledger.notes import Signer
from ledger.store.database import Database
from ledger.store.recorder import LedgerRecorder
from ledger.store.schema import TABLES
from ledger.store.sequencer import Sequencer
from ledger.store.sqlite import SqliteDatabase


class OnTheLedger:
    """Makes a recorder over an empty log of its own, without the entry that `Ledger.create` starts with."""

    @pytest.fixture(autouse=True)
    def _kit(self, kit):
        self.kit = kit

    def create_database(self) -> Database:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        return SqliteDatabase(Path(directory.name) / "ledger.db", create=True)

    def create_recorder(self) -> LedgerRecorder:
        self.database = self.create_database()
        self.addCleanup(self.database.close)
        self.database.ensure(TABLES)
        entropy = self.kit.entropy("recorder")
        signer = Signer.from_seed(self.kit.origin, bytes(32))
        return LedgerRecorder(self.database, Sequencer(self.database, signer, self.kit.clock(), entropy))


class InPostgres(OnTheLedger):
    """The same over a PostgreSQL server."""

    @pytest.fixture(autouse=True)
    def _place(self, postgres):
        self.place = postgres

    def create_database(self) -> Database:
        from ledger.store.postgres import Address, PostgresDatabase

        place = self.place()
        return PostgresDatabase(Address(place.url, place.schema), create=True)


class Silent:
    """The library's aggregate recorders answer nothing; ours is an application recorder as well."""

    def create_recorder(self):
        recorder = super().create_recorder()
        insert = recorder.insert_events

        def insert_silently(events, **kwargs):
            insert(events, **kwargs)

        recorder.insert_events = insert_silently
        return recorder


class Subscribed:
    """The library leaves it to each recorder whether its subscriptions are tested."""

    def test_insert_subscribe(self):
        self.optional_test_insert_subscribe()


class TestAggregateRecorder(Silent, OnTheLedger, AggregateRecorderTestCase):
    pass


class TestAggregateRecorderInPostgres(Silent, InPostgres, AggregateRecorderTestCase):
    pass


class TestApplicationRecorder(Subscribed, OnTheLedger, ApplicationRecorderTestCase):
    pass


class TestApplicationRecorderInPostgres(Subscribed, InPostgres, ApplicationRecorderTestCase):
    pass


class TestTrackingRecorder(OnTheLedger, TrackingRecorderTestCase):
    pass


class TestTrackingRecorderInPostgres(InPostgres, TrackingRecorderTestCase):
    pass


class TestProcessRecorder(OnTheLedger, ProcessRecorderTestCase):
    pass


class TestProcessRecorderInPostgres(InPostgres, ProcessRecorderTestCase):
    pass


class TestNonInterleaving(OnTheLedger, NonInterleavingNotificationIDsBaseCase):
    pass


class TestNonInterleavingInPostgres(InPostgres, NonInterleavingNotificationIDsBaseCase):
    pass


def test_an_erased_payload_cannot_be_loaded_and_reads_as_empty_in_the_log(ledger, kit):
    stream = kit.stream
    events = [StoredEvent(stream, version, "org.tocsin.thing.done.v1", b"{}") for version in (1, 2)]
    ledger.recorder.insert_events(events)
    with ledger.database.write() as connection:
        connection.execute("UPDATE event SET payload = NULL, salt = NULL WHERE position = 3")
    assert [event.originator_version for event in ledger.recorder.select_events(stream, lte=1)] == [1]
    with pytest.raises(ErasedError):
        ledger.recorder.select_events(stream)
    assert [n.state for n in ledger.recorder.select_notifications(2, 10)] == [b"{}", b""]


def test_a_unit_of_aggregate_events_is_leaves_of_the_same_tree(ledger, kit):
    ledger.append([kit.event(1)])
    events = [StoredEvent(kit.stream, version, "org.tocsin.thing.done.v1", b"{}") for version in (1, 2)]
    assert ledger.recorder.insert_events(events) == [3, 4]
    ledger.append([kit.event(2)])
    kit.prove_all(ledger)
    assert [stored.decode().version for stored in ledger.stream_entries(kit.stream)] == [1, 2]
    assert kit.verify(ledger).exit_code == 0
