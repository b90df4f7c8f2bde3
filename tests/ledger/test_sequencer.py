"""The one place where the log grows: together, alone, against other processes, and when commits fail."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import pytest
from eventsourcing.persistence import IntegrityError, StoredEvent

from ledger import Ledger, OwnEvent
from ledger.checkpoint import Checkpoint
from ledger.config import DATABASE
from ledger.errors import EventConflictError, EventError, OverloadedError, StoreBusyError, StoreError, TocsinError
from ledger.notes import Verifier, open_note
from ledger.proofs import verify_receipt
from ledger.store.sqlite import SqliteDatabase


def note_event(number: int) -> OwnEvent:
    return OwnEvent("org.tocsin.report.generated.v1", {"number": number})


def versions(ledger: Ledger) -> list[int]:
    return [stored.decode().version for stored in ledger.entries()]


class Held:
    """Holds the sequencer's lock while others queue up, so that a group forms for certain."""

    def __init__(self, ledger: Ledger) -> None:
        self._sequencer = ledger._sequencer

    def run(self, calls: list) -> list:
        with ThreadPoolExecutor(len(calls)) as pool:
            with self._sequencer._lock:
                futures = [pool.submit(call) for call in calls]
                while len(self._sequencer._queue) < len(calls):
                    threading.Event().wait(0.001)
            return [future.exception() or future.result() for future in futures]


def test_sixteen_threads_share_commits_and_every_receipt_proves(ledger, kit):
    per_thread = 20

    def append(worker: int) -> list:
        return [ledger.append([kit.event(f"{worker}-{number}")])[0] for number in range(per_thread)]

    with ThreadPoolExecutor(16) as pool:
        receipts = [receipt for batch in pool.map(append, range(16)) for receipt in batch]
    assert sorted(receipt.index for receipt in receipts) == list(range(1, 16 * per_thread + 1))
    policy = kit.policy(ledger)
    for receipt in receipts:
        stored = ledger.entry(receipt.index)
        assert stored.decode().id == receipt.id
        assert verify_receipt(ledger.prove(receipt.index), stored.entry, policy).index == receipt.index
    assert versions(ledger) == list(range(1, 16 * per_thread + 2))
    assert kit.verify(ledger).exit_code == 0


def test_what_waits_together_is_committed_and_signed_once(ledger, kit):
    results = Held(ledger).run([lambda n=n: ledger.append([kit.event(n)]) for n in range(8)])
    assert sorted(receipt.index for [receipt] in results) == list(range(1, 9))
    with ledger.database.read() as connection:
        assert [row["size"] for row in connection.execute("SELECT size FROM checkpoint ORDER BY size")] == [1, 9]
    assert kit.verify(ledger).exit_code == 0


def test_every_commit_ends_in_a_checkpoint_over_everything(ledger, kit):
    verifier = Verifier.from_vkey(ledger.vkey)
    for number in range(3):
        ledger.append([kit.event(number)])
        checkpoint = Checkpoint.parse(open_note(ledger.checkpoint(), [verifier]).text)
        assert (checkpoint.origin, checkpoint.size) == (kit.origin, ledger.size())


def test_one_bad_unit_does_not_sink_the_group(ledger, kit):
    ledger.append([kit.event("taken")])
    conflicting = kit.event("taken", data={"outcome": "denied"})
    calls = [lambda n=n: ledger.append([kit.event(n)]) for n in range(5)]
    calls.insert(2, lambda: ledger.append([kit.event("lost"), conflicting]))
    results = Held(ledger).run(calls)
    assert isinstance(results[2], EventError)
    assert sorted(receipt.index for result in results if isinstance(result, list) for receipt in result) == [
        2,
        3,
        4,
        5,
        6,
    ]
    assert ledger.find(kit.source, "view-lost") is None
    assert kit.verify(ledger).exit_code == 0


def test_a_refused_unit_costs_its_group_no_second_commit(ledger, kit):
    ledger.append([kit.event("taken")])
    conflicting = kit.event("taken", data={"outcome": "denied"})
    calls = [lambda n=n: ledger.append([kit.event(n)]) for n in range(6)]
    calls.insert(3, lambda: ledger.append([kit.event("lost"), conflicting]))
    results = Held(ledger).run(calls)
    assert isinstance(results[3], EventConflictError)
    with ledger.database.read() as connection:
        assert [row["size"] for row in connection.execute("SELECT size FROM checkpoint ORDER BY size")] == [1, 2, 8]
    # Whom the refused unit named was not kept, nor is a pseudonym handed out that was undone.
    assert ledger.vault.find("subject", "patient-lost") is None
    [receipt] = ledger.append([kit.event("lost")])
    assert ledger.vault.profile(ledger.vault.find("subject", "patient-lost")) == {"id": "patient-lost"}
    assert receipt.index == 8
    assert kit.verify(ledger).exit_code == 0


def test_several_batches_in_one_commit_stand_or_fall_alone(ledger, kit):
    ledger.append([kit.event("taken")])
    batches = [
        ledger.batch([kit.event(1), kit.event(2)]),
        ledger.batch([kit.event("taken", data={"outcome": "denied"})]),
        ledger.batch([kit.event(2), kit.event(3)]),
        ledger.batch([]),
    ]
    one, refused, two, empty = ledger.append_each(batches)
    assert [(receipt.index, receipt.new) for receipt in one] == [(2, True), (3, True)]
    assert isinstance(refused, EventConflictError)
    assert [(receipt.index, receipt.new) for receipt in two] == [(3, False), (4, True)]
    assert two[0].as_json() == one[1].as_json()
    assert empty == []
    assert kit.verify(ledger).exit_code == 0


def test_a_stalled_store_does_not_gather_units_without_end(ledger, kit):
    ledger._sequencer._max_waiting = 3
    with ThreadPoolExecutor(3) as pool:
        with ledger._sequencer._lock:  # the store has stalled
            futures = [pool.submit(ledger.append, [kit.event(number)]) for number in range(3)]
            while len(ledger._sequencer._queue) < 3:
                threading.Event().wait(0.001)
            with pytest.raises(OverloadedError, match="3 writes are waiting"):
                ledger.append([kit.event("refused")])
            with pytest.raises(OverloadedError):
                ledger.record([note_event(1)])
        assert sorted(future.result()[0].index for future in futures) == [1, 2, 3]
    assert [receipt.new for receipt in ledger.append([kit.event("refused")])] == [True]
    assert kit.verify(ledger).exit_code == 0


def test_a_stale_save_is_refused_alone(ledger, kit):
    recorder = ledger.recorder

    def save(version: int, state: bytes):
        return recorder.insert_events([StoredEvent(kit.stream, version, "org.tocsin.thing.done.v1", state)])

    save(1, b"{}")
    results = Held(ledger).run(
        [
            lambda: ledger.append([kit.event(1)]),
            lambda: save(1, b'{"stale":1}'),
            lambda: ledger.record([note_event(1)]),
            lambda: save(2, b'{"fresh":1}'),
        ]
    )
    assert isinstance(results[1], IntegrityError)
    assert [type(result) for number, result in enumerate(results) if number != 1] == [list, list, list]
    assert [event.state for event in recorder.select_events(kit.stream)] == [b"{}", b'{"fresh":1}']
    assert kit.verify(ledger).exit_code == 0


def test_a_gap_in_versions_is_not_hidden_from_verify(ledger, kit):
    """The library lets a caller skip versions; the log does not call that complete."""
    ledger.recorder.insert_events([StoredEvent(kit.stream, 5, "org.tocsin.thing.done.v1", b"{}")])
    assert [(d.kind, d.index) for d in kit.verify(ledger).damage] == [("stream_gap", 1)]


def test_also_is_in_the_same_transaction_and_undoes_its_own_unit_only(ledger, kit):
    ledger.database.ensure("CREATE TABLE IF NOT EXISTS outbox_test (leaf INTEGER PRIMARY KEY)")

    def put(connection, indices):
        connection.executemany("INSERT INTO outbox_test VALUES (?)", [(index,) for index in indices])

    def put_and_fail(connection, indices):
        put(connection, indices)
        raise StoreError("The outbox refused.")

    def leaves():
        with ledger.database.read() as connection:
            return [row["leaf"] for row in connection.execute("SELECT leaf FROM outbox_test")]

    with pytest.raises(StoreError, match="outbox refused"):
        ledger.record([note_event(0)], also=put_and_fail)
    assert (leaves(), ledger.size()) == ([], 1)
    results = Held(ledger).run(
        [
            lambda: ledger.record([note_event(1), note_event(2)], also=put),
            lambda: ledger.record([note_event(3)], also=put_and_fail),
            lambda: ledger.record([note_event(4)], also=put),
        ]
    )
    assert isinstance(results[1], StoreError)
    assert sorted(results[0] + results[2]) == leaves() == [1, 2, 3]
    recorded = sorted(stored.payload for stored in ledger.entries(1))
    assert recorded == [b'{"data":{"number":1}}', b'{"data":{"number":2}}', b'{"data":{"number":4}}']
    assert kit.verify(ledger).exit_code == 0


def test_an_sql_error_in_also_is_a_store_error(ledger):
    with pytest.raises(TocsinError):
        ledger.record([note_event(1)], also=lambda connection, _: connection.execute("INSERT INTO nowhere VALUES (1)"))
    assert ledger.size() == 1


class Connection:
    """A real connection whose next COMMIT fails, before or after it took effect."""

    def __init__(self, real: sqlite3.Connection, persisted: bool, after=lambda: None) -> None:
        self._real, self._persisted, self._after = real, persisted, after

    def execute(self, sql, *arguments):
        if sql != "COMMIT":
            return self._real.execute(sql, *arguments)
        if self._persisted:
            self._real.execute(sql)
            self._after()
        raise sqlite3.OperationalError("disk I/O error")

    def __getattr__(self, name):
        return getattr(self._real, name)


class Failing(SqliteDatabase):
    """The real database; the next `failures` commits fail."""

    failures: int = 0
    persisted: bool = False

    @staticmethod
    def after() -> None:
        """What happens between the commit and its error."""

    def _acquire(self):
        real = super()._acquire()
        if self.failures and self._write_lock.locked():
            self.failures -= 1
            return Connection(real, self.persisted, self.after)
        return real

    def _release(self, connection):
        super()._release(getattr(connection, "_real", connection))


@pytest.fixture
def failing(ledger):
    database = Failing(ledger.directory / DATABASE)
    with closing(database):
        ledger.database = ledger._sequencer._database = ledger.vault._database = database
        database.rolled_back = ledger.vault.forget
        yield database


@pytest.mark.sqlite
@pytest.mark.parametrize("together", [1, 5])
def test_a_commit_that_failed_but_persisted_is_a_success_and_is_not_repeated(ledger, kit, failing, together):
    ledger.database.ensure("CREATE TABLE IF NOT EXISTS outbox_test (leaf INTEGER PRIMARY KEY)")

    def put(connection, indices):
        connection.executemany("INSERT INTO outbox_test VALUES (?)", [(index,) for index in indices])

    failing.failures, failing.persisted = 1, True
    results = Held(ledger).run([lambda n=n: ledger.record([note_event(n)], also=put) for n in range(together)])
    assert sorted(index for [index] in results) == list(range(1, together + 1))
    assert ledger.size() == together + 1
    with ledger.database.read() as connection:
        assert connection.execute("SELECT count(*) FROM outbox_test").fetchone()[0] == together
    ledger.append([kit.event(1)])
    assert kit.verify(ledger).exit_code == 0


@pytest.mark.sqlite
def test_a_persisted_commit_is_recognised_although_the_log_went_on(ledger, kit, failing):
    """Another process appended between the commit and its error: the head is no longer ours."""
    with closing(Ledger.open(ledger.directory)) as other:
        failing.after = lambda: other.record([note_event(99)])
        failing.failures, failing.persisted = 1, True
        assert ledger.record([note_event(1)]) == [1]
    assert ledger.size() == 3
    assert kit.verify(ledger).exit_code == 0


@pytest.mark.sqlite
def test_a_commit_that_failed_and_did_not_persist_is_an_error_and_can_be_repeated(ledger, kit, failing):
    failing.failures, failing.persisted = 1, False
    with pytest.raises(StoreError):
        ledger.append([kit.event(1)])
    assert ledger.size() == 1
    [receipt] = ledger.append([kit.event(1)])
    assert (receipt.new, receipt.index) == (True, 1)
    # The pseudonym made in the undone transaction was not handed out again.
    assert ledger.vault.profile(ledger.vault.find("subject", "patient-1")) == {"id": "patient-1"}
    assert ledger.details(ledger.entry(1)) == {}
    assert kit.verify(ledger).exit_code == 0


@pytest.mark.sqlite
def test_a_group_whose_commit_failed_is_tried_again_one_by_one(ledger, kit, failing):
    failing.failures, failing.persisted = 1, False
    results = Held(ledger).run([lambda n=n: ledger.append([kit.event(n)]) for n in range(4)])
    assert sorted(receipt.index for [receipt] in results) == [1, 2, 3, 4]
    assert kit.verify(ledger).exit_code == 0


def test_recorded_never_decreases_when_the_clock_goes_back(ledger, kit, clock):
    for seconds in (0, 5, -3600, 10, 86400, -1):
        clock.move(seconds)
        ledger.append([kit.event(f"{seconds}")])
    recorded = [stored.decode().recorded for stored in ledger.entries()]
    assert recorded == sorted(recorded)
    assert recorded[2] == recorded[3] == recorded[4] == "2026-03-10T09:00:05.000Z"
    assert recorded[5] == recorded[6]
    assert kit.verify(ledger).exit_code == 0


WRITER = """
import sys
from pathlib import Path
from ledger import Ledger
directory, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
with Ledger.open(directory) as ledger:
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(count):
        event = {"specversion": "1.0", "id": f"{name}-{number}", "source": "urn:two", "type": "x.y.z.v1",
                 "data": {"writer": name}}
        shared = {"specversion": "1.0", "id": f"both-{number}", "source": "urn:two", "type": "x.y.z.v1"}
        ledger.append([event, shared])
        ledger.record([])
"""


def test_two_processes_append_to_one_ledger(ledger, kit):
    count = 40
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(ledger.directory), name, str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "two")
    ]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    ledger.append([kit.event(number) for number in range(5)])
    for writer in writers:
        _, stderr = writer.communicate(timeout=60)
        assert (writer.returncode, stderr) == (0, "")
    found = [stored.decode().id for stored in ledger.entries(1)]
    expected = [f"{name}-{number}" for name in ("one", "two", "both", "view") for number in range(count)]
    assert sorted(found) == sorted(set(expected) - {f"view-{number}" for number in range(5, count)})
    assert versions(ledger) == list(range(1, len(found) + 2))
    kit.prove_all(ledger)
    assert kit.verify(ledger).exit_code == 0


@contextmanager
def held_by_another(path):
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.close()


@pytest.mark.sqlite
def test_a_database_held_by_another_process_is_a_clear_error_and_nothing_is_lost(ledger, kit):
    path = ledger.directory / DATABASE
    with closing(SqliteDatabase(path, busy_timeout_s=0.05)) as database:
        ledger._sequencer._database = database
        with held_by_another(path):
            with pytest.raises(StoreBusyError, match="held by another process"):
                ledger.append([kit.event(1)])
            # Readers do not wait for writers.
            assert ledger.size() == 1
        assert [receipt.new for receipt in ledger.append([kit.event(1)])] == [True]
    assert kit.verify(ledger).exit_code == 0
