"""Event-sourced aggregates whose events are entries of the log."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from eventsourcing.application import AggregateNotFoundError
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import IntegrityError

from ledger.application import LedgerApplication
from ledger.errors import InputError, StoreDamagedError

AT = datetime(2026, 3, 10, 8, 30, tzinfo=UTC)


class Door(Aggregate):
    TOPIC = "org.tocsin.test_door.v1"

    class Created(Aggregate.Created):
        TOPIC = "org.tocsin.test_door.built.v1"
        room: str

    class Opened(Aggregate.Event):
        TOPIC = "org.tocsin.test_door.opened.v1"
        by: str

    @event(Created)
    def __init__(self, room: str) -> None:
        self.room = room
        self.openings: list[str] = []

    @event(Opened)
    def open(self, by: str) -> None:
        self.openings.append(by)


def test_a_saved_aggregate_is_loaded_again_from_the_log(ledger, kit):
    application = LedgerApplication(ledger)
    door = Door(room="archive")
    door.open(by="a_one")
    application.save(door)
    again = LedgerApplication(ledger).repository.get(door.id)
    assert (again.room, again.openings, again.version) == ("archive", ["a_one"], 2)
    again.open(by="a_two")
    application.save(again)
    assert application.repository.get(door.id).openings == ["a_one", "a_two"]
    entries = [stored.decode() for stored in ledger.stream_entries(door.id)]
    assert [(e.type, e.version, e.source) for e in entries] == [
        ("org.tocsin.test_door.built.v1", 1, "urn:tocsin:ledger"),
        ("org.tocsin.test_door.opened.v1", 2, "urn:tocsin:ledger"),
        ("org.tocsin.test_door.opened.v1", 3, "urn:tocsin:ledger"),
    ]
    kit.prove_all(ledger)
    assert kit.verify(ledger).exit_code == 0


def test_the_entry_carries_the_time_of_the_event(ledger):
    door = Door(room="archive")
    door.trigger_event(Door.Opened, timestamp=AT, by="a_one")
    LedgerApplication(ledger).save(door)
    stored = ledger.stream_entries(door.id)[-1]
    assert stored.decode().time == "2026-03-10T08:30:00.000Z"
    assert stored.decode().recorded == "2026-03-10T09:00:00.000Z"
    assert json.loads(stored.payload) == {"by": "a_one", "timestamp": "2026-03-10T08:30:00+00:00"}


def test_a_stale_aggregate_is_refused_and_the_newer_one_stands(ledger, kit):
    application = LedgerApplication(ledger)
    door = Door(room="archive")
    application.save(door)
    one, two = (application.repository.get(door.id) for _ in range(2))
    one.open(by="a_one")
    application.save(one)
    two.open(by="a_two")
    with pytest.raises(IntegrityError):
        application.save(two)
    assert application.repository.get(door.id).openings == ["a_one"]
    assert kit.verify(ledger).exit_code == 0


def test_rows_beside_the_log_stand_or_fall_with_the_save(ledger):
    ledger.database.ensure("CREATE TABLE IF NOT EXISTS outbox_test (leaf INTEGER PRIMARY KEY)")
    application = LedgerApplication(ledger)
    door = Door(room="archive")

    def put(connection, indices):
        connection.executemany("INSERT INTO outbox_test VALUES (?)", [(index,) for index in indices])

    def fail(connection, indices):
        put(connection, indices)
        raise StoreDamagedError("no")

    with pytest.raises(StoreDamagedError):
        application.save(door, also=fail)
    with pytest.raises(AggregateNotFoundError):
        application.repository.get(door.id)
    other = Door(room="cellar")
    application.save(other, also=put)
    with ledger.database.read() as connection:
        assert [row["leaf"] for row in connection.execute("SELECT leaf FROM outbox_test")] == [1]


def test_what_has_no_canonical_form_is_not_saved(ledger):
    door = Door(room="archive")
    door.trigger_event(Door.Opened, by=1.5)
    with pytest.raises(InputError):
        LedgerApplication(ledger).save(door)
    assert ledger.size() == 1


@pytest.mark.parametrize("topic", ["os:system", "ledger.errors:TocsinError", "com.clinic.data.view.v1"])
def test_a_topic_from_the_database_never_imports_anything(ledger, topic):
    application = LedgerApplication(ledger)
    door = Door(room="archive")
    application.save(door)
    with ledger.database.write() as connection:
        connection.execute("UPDATE event SET topic = ? WHERE position = 2", (topic,))
    with pytest.raises(StoreDamagedError):
        application.repository.get(door.id)


def test_there_are_no_snapshots_to_trust(ledger):
    with pytest.raises(StoreDamagedError):
        LedgerApplication(ledger).factory.aggregate_recorder(purpose="snapshots")
