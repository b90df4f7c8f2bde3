"""A ledger in a PostgreSQL server: order, fences, lost connections, killed writers, moving in and out."""

from __future__ import annotations

import threading
import time
from contextlib import closing, suppress

import psycopg
import pytest
from eventsourcing.persistence import StoredEvent
from typer.testing import CliRunner

from api.cli import app
from ledger import Ledger, OwnEvent
from ledger.access import Criteria
from ledger.config import Store, read_config
from ledger.errors import ConfigError, StoreBusyError, StoreError, UnknownOutcomeError
from ledger.proofs import verify_receipt
from ledger.store.opening import reopen
from ledger.store.postgres import Address, PostgresConnection, PostgresDatabase
from ledger.store.transfer import statements
from ledger.verify import verify_database


def intact(ledger: Ledger) -> int:
    """The size of the log, once everything in it was verified and every entry proven."""
    findings = verify_database(ledger.database, ledger.vkey, vault=ledger.vault)
    assert findings.damage == []
    policy = f"log {ledger.vkey}\nquorum none\n".encode()
    stored = list(ledger.entries())
    for entry, proof in zip(stored, ledger.prove_many(range(len(stored))), strict=True):
        verify_receipt(proof, entry.entry, policy)
    return len(stored)


def own_backend(connection) -> int:
    return int(connection.execute("SELECT pg_backend_pid()").fetchone()[0])


def end(url: str, backend: int) -> None:
    """End a session as an administrator or a timeout would."""
    with psycopg.connect(url, autocommit=True) as raw:
        raw.execute("SELECT pg_terminate_backend(%s)", (backend,))
        while raw.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (backend,)).fetchone():
            pass


def test_a_ledger_in_a_server_does_what_one_in_a_file_does(in_postgres, event):
    ledger = in_postgres()
    first = ledger.append([event(n) for n in range(600)])
    assert [receipt.index for receipt in first] == list(range(1, 601))
    again = ledger.append([event(5), event(600)])
    assert [(receipt.index, receipt.new) for receipt in again] == [(6, False), (601, True)]
    ledger.access.follow()
    assert intact(ledger) == 602
    assert intact(in_postgres()) == 602


def test_a_writer_that_lost_its_connection_writes_nothing_and_can_go_on(in_postgres, event, postgres_url):
    ledger = in_postgres()

    def lose(connection, _first):
        end(postgres_url, own_backend(connection))
        return ledger.batch([event("lost")]).prepare(connection, _first)

    with pytest.raises(StoreBusyError, match="connection"):
        ledger._sequencer.submit(lose)
    assert ledger.find("https://clinic.example/records", "view-lost") is None
    assert ledger.append([event("lost")])[0].new
    assert intact(ledger) == 2


def test_a_paused_writer_that_lost_the_lock_cannot_extend_a_log_that_has_grown(in_postgres, event, postgres_url):
    ledger, other = in_postgres(), in_postgres()

    def sleep(connection, first):
        end(postgres_url, own_backend(connection))
        other.append([event("meanwhile")])
        # It wakes with a session, but without the lock, and goes on from the head that it read before.
        fresh = ledger.database.connect()
        fresh.raw.execute("BEGIN")
        connection.raw.close()
        connection.raw = fresh.raw
        return ledger.batch([event("stale")]).prepare(connection, first)

    with pytest.raises(StoreBusyError, match="The log grew"):
        ledger._sequencer.submit(sleep)
    assert [entry.decode().id for entry in ledger.entries()][1:] == ["view-meanwhile"]
    assert ledger.append([event("stale")])[0].index == 2
    assert intact(other) == 3


@pytest.mark.parametrize("persisted", [True, False])
def test_a_commit_whose_answer_was_lost_is_judged_by_the_log(in_postgres, event, postgres_url, monkeypatch, persisted):
    ledger = in_postgres()
    execute = PostgresConnection.execute
    armed = [True]

    def cut(self, statement, values=(), /):
        if statement == "COMMIT" and armed:
            armed.clear()
            backend = self.raw.info.backend_pid
            if persisted:
                execute(self, statement, values)
            end(postgres_url, backend)
        return execute(self, statement, values)

    monkeypatch.setattr(PostgresConnection, "execute", cut)
    if persisted:
        # The second COMMIT meets a closed session: an error, but the log went through the head that was sealed.
        assert ledger.append([event("a")])[0].index == 1
    else:
        with pytest.raises(StoreBusyError):
            ledger.append([event("a")])
    monkeypatch.undo()
    assert ledger.append([event("a")])[0].new is not persisted
    assert intact(ledger) == 2


def test_killed_writers_lose_nothing_that_was_acknowledged(in_postgres, support):
    ledger = in_postgres()
    acknowledged: list[int] = []
    for turn in range(3):
        with support.start("writing", ledger.directory, f"w{turn}", 1000) as process:
            assert process.stdout is not None
            acknowledged += [int(next(process.stdout)) for _ in range(15)]
            process.kill()
            acknowledged += [int(line) for line in process.stdout if line.endswith("\n")]
    size = intact(ledger)
    assert max(acknowledged) < size
    assert len(set(acknowledged)) == len(acknowledged)
    assert size - 1 - len(acknowledged) <= 3


def test_several_processes_make_one_order_without_gaps_and_a_follower_misses_nothing(in_postgres, support):
    ledger = in_postgres()
    seen: list[int] = []
    everything = threading.Event()

    def follow():
        with ledger.recorder.subscribe(gt=1) as subscription:
            for notification in subscription:
                seen.append(notification.id)
                if len(seen) == 120:
                    everything.set()
                    return

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    writers = [support.start("writing", ledger.directory, f"p{number}", 40) for number in range(3)]
    indices = [int(line) for writer in writers for line in writer.communicate()[0].split()]
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert sorted(indices) == list(range(1, 121))
    assert everything.wait(60)
    assert seen == list(range(2, 122))
    assert intact(ledger) == 121


def test_a_subscription_is_told_at_once_what_another_connection_appends(in_postgres, event):
    ledger, other = in_postgres(), in_postgres()
    watch = ledger.database.watch()
    with closing(watch):
        told = threading.Event()

        def wait():
            watch.wait(60)
            told.set()

        waiting = threading.Thread(target=wait)
        waiting.start()
        other.append([event(1)])
        # Without the notification it would wait for a minute.
        assert told.wait(20)
        waiting.join()


def test_aggregates_conflict_as_they_should_across_connections(in_postgres, event):
    from uuid import UUID

    from eventsourcing.persistence import IntegrityError

    ledger, other = in_postgres(), in_postgres()
    first = [StoredEvent(UUID(int=7), 1, "org.tocsin.thing.done.v1", b"{}")]
    ledger.recorder.insert_events(first)
    with pytest.raises(IntegrityError):
        other.recorder.insert_events(first)
    other.append([event(1)])
    assert intact(ledger) == 3


def test_ledgers_in_one_server_do_not_know_each_other(tmp_path, postgres, event):
    with (
        closing(Ledger.create(tmp_path / "a", "example.org/a", store=postgres())) as one,
        closing(Ledger.create(tmp_path / "b", "example.org/b", store=postgres())) as two,
        one.database.write(),
    ):
        # A writer of one does not hold up the other.
        two.append([event(1)])
        assert two.size() == 2


def test_a_backup_of_a_server_restores_into_a_file(in_postgres, event, tmp_path):
    from ledger.recovery.backup import Backup, take_backup
    from ledger.recovery.restoring import restore

    ledger = in_postgres()
    ledger.append([event(n) for n in range(300)])
    path, manifest = take_backup(ledger, tmp_path / "backup.tocsin")
    assert manifest.size == 301
    findings = restore(Backup.open(path), tmp_path / "restored")
    assert findings.damage == []
    assert read_config(tmp_path / "restored").store is None


def test_a_resource_whose_name_holds_a_null_can_be_found_on_either_store(each_store, tmp_path, event):
    assert each_store
    odd = event(1)
    odd["data"]["resource"] |= {"id": "a\0b", "container": "\0"}
    with Ledger.create(tmp_path / "data", "example.org/audit") as ledger:
        ledger.append([odd, event(2)])
        found = list(ledger.access.matches(Criteria(resources=["a\0b"], containers=["\0"]), ledger.size()))
        assert [access.index for access in found] == [1]
        assert intact(ledger) == 3


def test_names_of_any_length_and_script_can_be_found_on_either_store(each_store, tmp_path, event):
    assert each_store
    long = "\N{GRINNING FACE}" * 1024
    odd = event(1)
    odd["data"]["resource"] |= {"id": long, "container": long[:700]}
    with Ledger.create(tmp_path / "data", "example.org/audit") as ledger:
        ledger.append([odd, event(2)])
        for criteria in (Criteria(resources=[long]), Criteria(containers=[long[:700]])):
            assert [access.index for access in ledger.access.matches(criteria, ledger.size())] == [1]
        assert not list(ledger.access.matches(Criteria(resources=[long[:1023]]), ledger.size()))
        assert intact(ledger) == 3


def test_a_commit_that_nobody_can_tell_about_is_not_repeated(in_postgres, postgres_url, monkeypatch):
    """The session ends right after the commit, and every idle connection with it: nothing is written twice."""
    ledger = in_postgres()
    with ledger.database.read(), ledger.database.read(), ledger.database.read():
        pass
    execute = PostgresConnection.execute
    armed = [True]

    def cut(self, statement, values=(), /):
        result = execute(self, statement, values)
        if statement == "COMMIT" and armed:
            armed.clear()
            for connection in [self, *ledger.database._idle]:
                end(postgres_url, connection.raw.info.backend_pid)
            execute(self, "SELECT 1")
        return result

    monkeypatch.setattr(PostgresConnection, "execute", cut)
    own = [OwnEvent("org.tocsin.thing.noted.v1", {"number": number}) for number in range(2)]
    units = [lambda _connection, _first, event=event: [ledger._own_draft(event)] for event in own]
    results = ledger._sequencer.commit_each(units)
    assert [result.indices for result in results] == [(1,), (2,)]
    assert intact(ledger) == 3


def test_a_commit_whose_server_went_away_is_said_to_be_unknown(in_postgres, postgres_url, monkeypatch, event):
    ledger = in_postgres()
    execute, away = PostgresConnection.execute, []

    def cut(self, statement, values=(), /):
        if statement == "COMMIT":
            away.append(1)
            end(postgres_url, self.raw.info.backend_pid)
        return execute(self, statement, values)

    def refuse(self):
        if away:
            raise psycopg.OperationalError
        return connect(self)

    connect = PostgresDatabase.connect
    monkeypatch.setattr(PostgresConnection, "execute", cut)
    monkeypatch.setattr(PostgresDatabase, "connect", refuse)
    with pytest.raises(UnknownOutcomeError, match="may or may not"):
        ledger.append([event(1)])
    monkeypatch.undo()
    assert ledger.append([event(1)])[0].new
    assert intact(ledger) == 2


def test_a_group_meets_a_store_that_is_held_once_and_not_unit_by_unit(in_postgres, event):
    ledger, other = in_postgres(), in_postgres()
    database = PostgresDatabase(ledger.database.address, busy_timeout_s=0.3)
    tries = []
    begin = database._begin_writing
    database._begin_writing = lambda connection: tries.append(1) or begin(connection)
    ledger._sequencer._database = database
    with closing(database), other.database.write():
        batches = [ledger.batch([event(n)]).prepare for n in range(6)]
        results = ledger._sequencer.commit_each(batches)
    assert {type(result) for result in results} == {StoreBusyError}
    assert len(tries) == 1


def test_a_statement_that_failed_unseen_makes_the_commit_fail(in_postgres):
    database = in_postgres().database

    def swallow():
        with database.write() as connection:
            connection.execute("INSERT INTO tracking VALUES ('a', 1)")
            with suppress(psycopg.Error):
                connection.execute("INSERT INTO tracking VALUES ('a', 2)")

    with pytest.raises(StoreError, match="nothing was written"):
        swallow()


def test_the_server_being_started_again_costs_nobody_a_request(in_postgres, postgres_url, event):
    ledger = in_postgres()
    with ledger.database.read(), ledger.database.read(), ledger.database.read():
        pass
    for connection in list(ledger.database._idle):
        end(postgres_url, connection.raw.info.backend_pid)
    assert ledger.size() == 1
    assert ledger.append([event(1)])[0].index == 1


def test_a_watch_that_lost_its_connection_waits_and_listens_again(in_postgres, postgres_url, event):
    ledger, other = in_postgres(), in_postgres()
    watch = ledger.database.watch()
    with closing(watch):
        end(postgres_url, watch._connection.raw.info.backend_pid)
        turns = 0
        began = time.monotonic()
        while time.monotonic() < began + 0.5:
            watch.wait(0.1)
            turns += 1
        assert turns <= 6
        told = threading.Event()
        waiting = threading.Thread(target=lambda: (watch.wait(60), told.set()))
        waiting.start()
        other.append([event(1)])
        assert told.wait(20)
        waiting.join()


def test_a_table_whose_making_was_undone_is_known_when_it_is_made_again(in_postgres):
    database = in_postgres().database
    text = "CREATE TABLE IF NOT EXISTS late (a TEXT)"

    def undo():
        with database.write() as connection:
            connection.execute(text)
            raise KeyError

    with pytest.raises(KeyError):
        undo()
    database.ensure(text)
    with database.read() as connection:
        assert "late" in [name for _, name, _ in statements(connection)]


def test_a_stricter_default_of_the_server_lets_no_writer_see_the_past(tmp_path, postgres, postgres_url):
    place = postgres()
    strict = (
        f"{postgres_url}{'&' if '?' in postgres_url else '?'}options=-c%20default_transaction_isolation%3Dserializable"
    )
    with Ledger.create(tmp_path / "data", "example.org/audit", store=Store(strict, place.schema)) as ledger:
        with closing(reopen(ledger.database.address)) as other, other.write() as holding:
            seen = []

            def write():
                with ledger.database.write() as connection:
                    seen.append(connection.execute("SELECT count(*) FROM tracking").fetchone()[0])

            waiting = threading.Thread(target=write)
            waiting.start()
            while not holding.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").fetchone():
                pass
            holding.execute("INSERT INTO tracking VALUES ('a', 1)")
        waiting.join()
    assert seen == [1]


def test_damage_in_a_server_is_named_as_in_a_file(in_postgres, event):
    ledger = in_postgres()
    ledger.append([event(n) for n in range(10)])
    with ledger.database.write() as connection:
        connection.execute("UPDATE event SET payload = ? WHERE position = 6", (b"{}",))
    findings = verify_database(ledger.database, ledger.vkey, vault=ledger.vault)
    assert (findings.damage[0].kind, findings.damage[0].index) == ("payload_altered", 5)


def test_a_trigger_in_the_server_is_damage(in_postgres, event):
    ledger = in_postgres()
    ledger.append([event(1)])
    with ledger.database.write() as connection:
        connection.execute("CREATE FUNCTION sneak() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'")
        connection.execute("CREATE TRIGGER sneaking BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION sneak()")
    findings = verify_database(ledger.database, ledger.vkey, vault=ledger.vault)
    assert [damage.kind for damage in findings.damage] == ["schema_altered"]
    assert "sneaking" in findings.damage[0].message


def test_the_command_line_makes_verifies_and_moves_one(tmp_path, postgres, monkeypatch):
    place = postgres()
    monkeypatch.setenv("TOCSIN_STORE_URL", place.url)
    data, run = str(tmp_path / "data"), CliRunner()
    made = run.invoke(app, ["init", "--data", data, "--store", "env:TOCSIN_STORE_URL", "--schema", place.schema])
    assert made.exit_code == 0, made.output
    # The URL, which may hold a password, stays in the environment.
    assert place.url not in (tmp_path / "data" / "tocsin.toml").read_text()
    assert run.invoke(app, ["verify", "--data", data, "--json"]).exit_code == 0
    assert run.invoke(app, ["move", "--data", data, "--to-file", "--json"]).exit_code == 0
    assert (tmp_path / "data" / "ledger.db").exists()
    assert run.invoke(app, ["verify", "--data", data, "--json"]).exit_code == 0
    assert run.invoke(app, ["move", "--data", data]).exit_code != 0
    assert run.invoke(app, ["move", "--data", data, "--to-file", "--store", "x"]).exit_code != 0


@pytest.mark.parametrize(
    ("url", "schema", "error"),
    [
        ("postgresql://nobody@127.0.0.1:1/x", "tocsin", StoreBusyError),
        ("postgresql://[bad", "tocsin", ConfigError),
        ("postgresql://me:sec@ret/secret@db.example/x", "tocsin", ConfigError),
        ("postgresql://x/y", "Robert'); DROP", ConfigError),
        ("env:TOCSIN_NOT_SET", "tocsin", ConfigError),
    ],
)
def test_a_store_that_cannot_be_had_is_one_clear_error_without_its_password(tmp_path, url, schema, error):
    with pytest.raises(error) as refused:
        Ledger.create(tmp_path / "data", "example.org/audit", store=Store(url, schema))
    assert "secret" not in str(refused.value)


def test_a_password_is_never_shown(postgres_url):
    address = Address("postgresql://me:secret@db.example/tocsin", "tocsin")
    assert "secret" not in f"{address!r} {address.place} {Store(address.url)!r}"
    with pytest.raises(StoreError) as refused:
        reopen(Address(postgres_url, "t_not_there"))
    assert "t_not_there" in str(refused.value)


def test_two_commands_for_one_directory_cannot_name_two_stores(tmp_path, postgres):
    Ledger.create(tmp_path / "data", "example.org/audit", store=postgres()).close()
    with pytest.raises(ConfigError, match="another store"):
        Ledger.create(tmp_path / "data", "example.org/audit", store=postgres())
