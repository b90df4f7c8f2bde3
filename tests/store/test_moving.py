"""Moving a ledger from store to store: one log at every moment, nothing left behind, every kill can be gone on from."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
from contextlib import closing, contextmanager
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql

from ledger import Ledger
from ledger.access import TABLES as ACCESS
from ledger.access import Criteria
from ledger.config import Restored, Store, read_config, write_config
from ledger.errors import ConfigError, StoreBusyError, StoreDamagedError, StoreError
from ledger.forgetting.wiping import wiping_of
from ledger.proofs import verify_receipt
from ledger.recovery import moving
from ledger.recovery.backup import Backup, take_backup
from ledger.recovery.errors import BackupDamagedError, UnconfirmedCopyError
from ledger.recovery.moving import MOVED, move
from ledger.recovery.restoring import restore
from ledger.store import schema
from ledger.store.catalogue import altered
from ledger.store.postgres import Address, PostgresConnection, PostgresDatabase
from ledger.verify import verify_database

pytestmark = pytest.mark.sqlite


class KilledError(BaseException):
    """Stands for the moment in which a process is killed: nothing that is written after it happens."""


def intact(ledger: Ledger) -> int:
    """The size of the log, once everything in it was verified and every entry proven."""
    findings = verify_database(ledger.database, ledger.vkey, vault=ledger.vault)
    assert findings.damage == []
    policy = f"log {ledger.vkey}\nquorum none\n".encode()
    stored = list(ledger.entries())
    for entry, proof in zip(stored, ledger.prove_many(range(len(stored))), strict=True):
        verify_receipt(proof, entry.entry, policy)
    return len(stored)


def moves(ledger: Ledger) -> list[dict]:
    """What the log says of its moves."""
    return [json.loads(stored.payload)["data"] for stored in ledger.entries() if stored.decode().type == MOVED]


@pytest.fixture
def data(tmp_path, event):
    """The directory of a ledger of three entries, in a file."""
    with closing(Ledger.create(tmp_path / "data", "example.org/audit", store=None)) as ledger:
        ledger.append([event(1), event(2)])
        ledger.access.follow()
    return tmp_path / "data"


@pytest.fixture(params=["into a server", "out of it"])
def journey(request, data, postgres):
    """A ledger in either store, and where it is to go."""
    place = postgres()
    if request.param == "into a server":
        return data, place
    move(data, place)
    (data / "ledger.db.moved").unlink()
    return data, None


@contextmanager
def killed_at(monkeypatch, name):
    """Have the process killed when the move comes to the step of this name."""

    def kill(*_args, **_options):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(moving, name, kill)
        with pytest.raises(KilledError):
            yield


def test_a_ledger_moves_into_a_server_and_back_with_all_its_tables(tmp_path, postgres, event):
    with Ledger.create(tmp_path / "data", "example.org/audit") as ledger:
        receipts = ledger.append([event(n) for n in range(1000)])
        ledger.access.follow()
        root = ledger.checkpoint()
    findings = move(tmp_path / "data", postgres())
    assert findings.size == 1001
    assert not (tmp_path / "data" / "ledger.db").exists()
    with Ledger.open(tmp_path / "data") as ledger:
        assert isinstance(ledger.database, PostgresDatabase)
        assert ledger.append([event(3)])[0].as_json() == receipts[3].as_json()
        assert ledger.append([event(1000)])[0].index == 1002
        assert intact(ledger) == 1003
        with ledger.database.read() as connection:
            assert connection.execute("SELECT note FROM checkpoint WHERE size = 1001").fetchone()[0] == root
    move(tmp_path / "data", None)
    assert read_config(tmp_path / "data").store is None
    with Ledger.open(tmp_path / "data") as ledger:
        assert ledger.append([event(1001)])[0].index == 1004
        assert intact(ledger) == 1005
        assert [(moved["to"], moved["size"]) for moved in moves(ledger)] == [("postgresql", 1001), ("file", 1003)]
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [
        "keys",
        "ledger.db",
        "ledger.db.moved",
        "tocsin.toml",
    ]


def test_a_ledger_moves_from_one_place_in_a_server_to_another(data, postgres, event):
    first, second = postgres(), postgres()
    move(data, first)
    with Ledger.open(data) as left:
        assert move(data, second).size == 4
        with pytest.raises(StoreError, match=second.schema):
            left.append([event(3)])
    with Ledger.open(data) as ledger:
        assert ledger.config.store == second
        assert intact(ledger) == 5


def test_a_move_never_writes_over_anything(data, tmp_path, postgres):
    taken = postgres()
    Ledger.create(tmp_path / "other", "example.org/other", store=taken).close()
    with pytest.raises(ConfigError, match="has tables already"):
        move(data, taken)
    with pytest.raises(ConfigError, match="there already"):
        move(data, None)
    with Ledger.open(data) as ledger:
        assert intact(ledger) == 3
    place = postgres()
    move(data, place)
    with pytest.raises(ConfigError, match="there already"):
        move(data, place)
    # Some other ledger's file lies where this one is to go.
    with closing(Ledger.create(tmp_path / "stranger", "example.org/stranger", store=None)):
        pass
    shutil.copy(tmp_path / "stranger" / "ledger.db", data / "ledger.db")
    with pytest.raises(ConfigError, match="another ledger"):
        move(data, None)
    (data / "ledger.db").unlink()
    first = (data / "ledger.db.moved").read_bytes()
    move(data, None)
    move(data, postgres())
    assert (data / "ledger.db.moved").read_bytes() == first
    assert (data / "ledger.db.moved-2").exists()


def test_a_move_of_a_damaged_log_is_refused_and_leaves_it_where_it_was(data, postgres, event):
    with Ledger.open(data) as ledger, ledger.database.write() as connection:
        connection.execute("UPDATE event SET payload = ? WHERE position = 2", (b"{}",))
    with pytest.raises(BackupDamagedError, match="at entry 1"):
        move(data, postgres())
    assert (data / "ledger.db").exists()
    assert read_config(data).store is None
    with Ledger.open(data) as ledger:
        assert ledger.append([event(3)])[0].index == 3


def test_who_has_the_old_store_open_writes_nothing_there_any_more(journey, event):
    directory, to = journey
    old_config = (directory / "tocsin.toml").read_bytes()
    with Ledger.open(directory) as left:
        size = left.size()
        move(directory, to)
        with pytest.raises(StoreError, match=r"was moved to .*tocsin\.toml"):
            left.append([event("late")])
        with pytest.raises(StoreError, match="was moved to"):
            left.access.follow()
        with pytest.raises(StoreError, match="was moved to"):
            take_backup(left, directory.parent / "late.tocsin")
        assert left.size() == size
    assert not (directory.parent / "late.tocsin").exists()
    if to is None:
        # Another host, which still has the old configuration.
        other = directory.parent / "other"
        shutil.copytree(directory, other)
        (other / "tocsin.toml").write_bytes(old_config)
        with pytest.raises(StoreError, match=r"was moved to the file ledger\.db"):
            Ledger.open(other)
    with Ledger.open(directory) as ledger:
        assert ledger.append([event("late")])[0].index == size + 1
        assert intact(ledger) == size + 2


def test_the_mark_names_the_new_place_without_its_password(data, postgres, tmp_path):
    place = postgres()
    url = place.url + ("&" if "?" in place.url else "?") + "sslpassword=hunter2"
    move(data, Store(url, place.schema))
    with closing(sqlite3.connect(data / "ledger.db.moved")) as left:
        (mark,) = left.execute("SELECT value FROM meta WHERE name = 'moved'").fetchone()
    assert place.schema in mark.decode()
    assert b"hunter2" not in (data / "ledger.db.moved").read_bytes()
    assert stat.S_IMODE((data / "tocsin.toml").stat().st_mode) == 0o600
    with Ledger.open(data) as ledger:
        assert b"hunter2" in (data / "tocsin.toml").read_bytes()
        path, _ = take_backup(ledger, tmp_path / "backup.tocsin")
    backup = Backup.open(path)
    assert "hunter2" not in backup.manifest.config
    assert b"hunter2" not in path.read_bytes()
    assert backup.config.store is None
    restore(backup, tmp_path / "restored")


def test_a_configuration_is_for_its_owner_only_whatever_was_there_before(data):
    path = data / "tocsin.toml"
    path.chmod(0o644)
    (data / f".tocsin.toml.{os.getpid()}.new").write_text("left by a kill")
    write_config(data, read_config(data))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("step", ["copy_all", "_verified", "_record", "write_config"])
def test_a_move_that_was_killed_is_begun_again_or_finished(journey, event, postgres, monkeypatch, step):
    directory, to = journey
    before = read_config(directory)
    with Ledger.open(directory) as ledger:
        size, earlier = ledger.size(), len(moves(ledger))
    with killed_at(monkeypatch, step):
        move(directory, to)
    assert read_config(directory) == before
    if step in ("copy_all", "_verified"):
        with Ledger.open(directory) as ledger:
            ledger.append([event("between")])
        size += 1
        # What a server got so far stays there.
        to = to and postgres()
    else:
        with pytest.raises(StoreError, match="was moved to"):
            Ledger.open(directory)
    move(directory, to)
    with Ledger.open(directory) as ledger:
        assert ledger.config.store == to
        assert [moved["size"] for moved in moves(ledger)[earlier:]] == [size]
        assert ledger.append([event("after")])[0].index == size + 1
        assert intact(ledger) == size + 2
    with pytest.raises(ConfigError, match="there already"):
        move(directory, to)


@pytest.mark.parametrize("step", ["_put_aside", "_rename"])
def test_the_old_file_is_put_aside_by_a_second_run_if_a_kill_came_before(data, postgres, event, monkeypatch, step):
    place = postgres()
    with killed_at(monkeypatch, step):
        move(data, place)
    assert (data / "ledger.db").exists()
    with Ledger.open(data) as ledger:
        ledger.append([event("after")])
    assert move(data, place).size == 5
    assert not (data / "ledger.db").exists()
    with Ledger.open(data) as ledger:
        assert len(moves(ledger)) == 1
        assert intact(ledger) == 5


def test_a_new_file_whose_renaming_was_cut_short_is_found(data, postgres, monkeypatch):
    move(data, postgres())
    with killed_at(monkeypatch, "_rename"):
        move(data, None)
    assert (data / "ledger.db.moving").exists()
    move(data, None)
    assert not (data / "ledger.db.moving").exists()
    with Ledger.open(data) as ledger:
        assert [moved["to"] for moved in moves(ledger)] == ["postgresql", "file"]
        assert intact(ledger) == 5


def test_a_move_that_was_cut_short_is_finished_in_the_same_place_only(data, postgres, tmp_path, monkeypatch, event):
    place, another = postgres(), postgres()
    with Ledger.create(tmp_path / "other", "example.org/other", store=another) as other:
        other.append([event(n) for n in range(5)])
    with killed_at(monkeypatch, "write_config"):
        move(data, place)
    with pytest.raises(ConfigError, match=place.schema):
        move(data, another)
    move(data, place)


def test_nothing_is_written_between_the_copy_and_the_mark(data, postgres, event, monkeypatch):
    """Also not beside the log, where no head would tell."""
    verified, refused = moving._verified, []

    def look(target, config, directory):
        with Ledger.open(directory) as other:
            other.database._timeout = 0.05
            other.database._idle.pop().close()
            for write in (lambda: other.append([event("late")]), other.access.follow):
                with pytest.raises(StoreBusyError) as error:
                    write()
                refused.append(error)
        return verified(target, config, directory)

    monkeypatch.setattr(moving, "_verified", look)
    move(data, postgres())
    assert len(refused) == 2


def test_a_source_whose_lock_was_lost_meanwhile_is_not_left(data, postgres, event, postgres_url, monkeypatch):
    move(data, postgres())
    verified, patient = moving._verified, moving._be_patient
    sessions = []

    def note(connection):
        patient(connection)
        if isinstance(connection, PostgresConnection):
            sessions.append(connection.raw.info.backend_pid)

    def lose(target, config, directory):
        with psycopg.connect(postgres_url, autocommit=True) as raw:
            raw.execute("SELECT pg_terminate_backend(%s, 5000)", (sessions[0],))
        with Ledger.open(directory) as other:
            other.append([event("meanwhile")])
        return verified(target, config, directory)

    with monkeypatch.context() as patch:
        patch.setattr(moving, "_be_patient", note)
        patch.setattr(moving, "_verified", lose)
        with pytest.raises(StoreBusyError, match="connection"):
            move(data, None)
    assert len(sessions) == 1
    assert read_config(data).store is not None
    move(data, None)
    with Ledger.open(data) as ledger:
        assert ledger.find("https://clinic.example/records", "view-meanwhile") is not None
        assert intact(ledger) == 6


def test_the_server_does_not_end_the_waiting_transaction(data, postgres, monkeypatch):
    move(data, postgres())
    found = []
    write = PostgresDatabase.write

    @contextmanager
    def watched(self):
        with write(self) as connection:
            yield connection
            row = connection.execute("SELECT current_setting('idle_in_transaction_session_timeout')").fetchone()
            found.append(row[0])

    with monkeypatch.context() as patch:
        patch.setattr(PostgresDatabase, "write", watched)
        move(data, None)
    assert found == ["0"]


def test_an_unconfirmed_copy_is_not_moved_anywhere(data, postgres):
    config = read_config(data)
    write_config(data, replace(config, restored=Restored("00", 3, "00", "2026-01-01T00:00:00Z", "00")))
    before = {path.name: path.stat().st_mtime_ns for path in data.iterdir()}
    place = postgres()
    with pytest.raises(UnconfirmedCopyError, match="not confirmed"):
        move(data, place)
    assert {path.name: path.stat().st_mtime_ns for path in data.iterdir()} == before
    with psycopg.connect(place.url) as raw:
        assert raw.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (place.schema,)).fetchone() is None


def test_the_old_file_is_whole_when_it_has_its_new_name(data, postgres):
    """A program that keeps it open keeps a write-ahead log beside it; without that the newest commits would be lost."""
    with Ledger.open(data) as left:
        assert left.size() == 3
        move(data, postgres())
        assert sorted(path.name for path in data.glob("ledger.db*")) == ["ledger.db.moved"]
    with closing(sqlite3.connect(f"{(data / 'ledger.db.moved').as_uri()}?immutable=1", uri=True)) as alone:
        assert alone.execute("SELECT count(*) FROM event").fetchone()[0] == 3
        assert alone.execute("SELECT 1 FROM meta WHERE name = 'moved'").fetchone() is not None


def test_an_old_file_that_is_being_read_is_put_aside_later(data, postgres):
    place = postgres()
    with Ledger.open(data) as left, left.database.read() as reader:
        assert reader.execute("SELECT count(*) FROM event").fetchone()[0] == 3
        with pytest.raises(StoreBusyError, match="same command"):
            move(data, place)
    assert (data / "ledger.db").exists()
    assert move(data, place).size == 4
    assert (data / "ledger.db.moved").exists()


def test_names_with_a_null_in_an_old_file_come_along(tmp_path, postgres, event):
    odd = event(1)
    odd["data"]["resource"] |= {"id": "a\0b", "container": "\0"}
    with closing(Ledger.create(tmp_path / "data", "example.org/audit", store=None)) as ledger:
        ledger.append([odd])
        ledger.access.follow()
        with ledger.database.write() as connection:
            connection.execute("UPDATE access_row SET resource = ?, container = ?", ("a\0b", "\0"))
    move(tmp_path / "data", postgres())
    with Ledger.open(tmp_path / "data") as ledger:
        assert [found.index for found in ledger.access.matches(Criteria(resources=["a\0b"]), ledger.size())] == [1]
        assert intact(ledger) == 3


@pytest.mark.parametrize("said", [None, "our audit log", "DROP TABLE vault"])
def test_a_table_that_cannot_come_along_stops_the_move(data, postgres, said):
    place = postgres()
    move(data, place)
    with psycopg.connect(place.url) as raw:
        table = sql.Identifier(place.schema, "tile")
        raw.execute(sql.SQL("COMMENT ON TABLE {} IS {}").format(table, sql.Literal(said)))
    with pytest.raises(StoreDamagedError, match="Of tile"):
        move(data, None)
    assert read_config(data).store == place


KEYS = [
    ("seen", "seen_pkey", "ALTER TABLE {} DROP CONSTRAINT {}"),
    ("event", "event_pkey", "ALTER TABLE {} DROP CONSTRAINT {}"),
    ("event", "event_stream_version_key", "ALTER TABLE {} DROP CONSTRAINT {}"),
    ("vault", "vault_lookup_key", "ALTER TABLE {} DROP CONSTRAINT {}"),
    ("source", "source_uri_key", "ALTER TABLE {0} DROP CONSTRAINT {1}; CREATE UNIQUE INDEX {1} ON {0} (uri, number)"),
    ("vault", "vault_lookup_key", "ALTER TABLE {0} DROP CONSTRAINT {1}; CREATE INDEX {1} ON {0} (lookup)"),
    (
        "vault",
        "vault_lookup_key",
        "ALTER TABLE {0} DROP CONSTRAINT {1}; CREATE UNIQUE INDEX {1} ON {0} (lookup) WHERE kind = 'x'",
    ),
    (
        "event",
        "event_stream_version_key",
        "ALTER TABLE {0} DROP CONSTRAINT {1}; CREATE UNIQUE INDEX {1} ON {0} (stream) INCLUDE (version)",
    ),
]


@pytest.mark.parametrize(("table", "key", "statement"), KEYS)
def test_a_key_that_is_missing_in_a_server_is_damage(in_postgres, table, key, statement):
    ledger = in_postgres()
    with ledger.database.write() as connection:
        assert altered(connection, f"{schema.TABLES};{ACCESS};", "") == []
        for part in statement.format(table, key).split(";"):
            connection.execute(part)
    findings = verify_database(ledger.database, ledger.vkey, vault=ledger.vault)
    assert [damage.kind for damage in findings.damage] == ["schema_altered"]
    assert f"of {table} " in findings.damage[0].message


def test_only_the_owner_of_the_tables_can_wipe_them(in_postgres, event, postgres_url):
    ledger = in_postgres()
    ledger.append([event(1)])
    role, place = f"r{os.urandom(8).hex()}", ledger.config.store.schema
    name, space = sql.Identifier(role), sql.Identifier(place)
    with psycopg.connect(postgres_url, autocommit=True) as raw:
        raw.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x'").format(name))
        try:
            raw.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(space, name))
            raw.execute(
                sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {} TO {}").format(space, name)
            )
            url = psycopg.conninfo.make_conninfo(postgres_url, user=role, password="x")
            with closing(PostgresDatabase(Address(url, place))) as other:
                with pytest.raises(StoreError, match="must own them"):
                    wiping_of(other).rewrite(timeout_s=5)
                # Where nothing is left to be told about samples, the server only warns that it skipped a table.
                wiping_of(ledger.database).rewrite(timeout_s=5)
                with pytest.raises(StoreError, match="must own them"):
                    wiping_of(other).rewrite(timeout_s=5)
        finally:
            raw.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(name))


def test_the_server_keeps_no_samples_of_what_was_erased(in_postgres, event):
    ledger = in_postgres()
    ledger.append([event(n) for n in range(300)])
    ledger.access.follow()
    sampled = (
        "SELECT count(*), count(*) FILTER (WHERE tablename = 'vault' AND attname = 'lookup') FROM pg_stats"
        " WHERE schemaname = current_schema() AND (tablename, attname::text) IN (SELECT table_name::text,"
        " column_name::text FROM information_schema.columns WHERE table_schema = current_schema()"
        " AND data_type IN ('bytea', 'text'))"
    )
    with closing(ledger.database.connect()) as connection:
        connection.raw.execute("ANALYZE")
        (every, lookups) = connection.execute(sampled).fetchone()
        assert every > lookups == 1
        wiping_of(ledger.database).rewrite(timeout_s=5)
        assert connection.execute(sampled).fetchone()[0] == 0
        # Also not when the server looks at the tables again of its own accord.
        connection.raw.execute("ANALYZE")
        assert connection.execute(sampled).fetchone()[0] == 0
        positions = "SELECT count(*) FROM pg_stats WHERE schemaname = current_schema() AND attname = 'position'"
        assert connection.execute(positions).fetchone()[0] > 0
    assert intact(ledger) == 301
    assert [found.index for found in ledger.access.matches(Criteria(resources=["record/7"]), 301)] == [8]
