"""How the file is opened, and what of deleted rows stays in it."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing

import pytest

from ledger.errors import StoreDamagedError, StoreError
from ledger.store.sqlite import SqliteDatabase

pytestmark = pytest.mark.sqlite


@pytest.fixture
def database(tmp_path):
    with closing(SqliteDatabase(tmp_path / "x.db", create=True)) as database:
        database.ensure("CREATE TABLE IF NOT EXISTS t (a TEXT); CREATE TABLE IF NOT EXISTS u (b TEXT)")
        yield database


def test_every_connection_is_durable_and_wipes_what_it_deletes(database):
    wanted = {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1, "foreign_keys": 1, "trusted_schema": 0}
    with database.read() as one, database.read() as two, database.write() as three:
        assert len({id(one), id(two), id(three)}) == 3
        for connection in (one, two, three):
            found = {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in wanted}
            assert found == wanted


def test_deleted_bytes_are_gone_from_the_file(database):
    with database.write() as connection:
        connection.executemany("INSERT INTO t VALUES (?)", [(f"canary-{n}-" + "x" * 400,) for n in range(50)])
    with database.write() as connection:
        connection.execute("DELETE FROM t WHERE a LIKE 'canary-2%'")
    database.close()
    data = b"".join(path.read_bytes() for path in database.path.parent.iterdir())
    assert b"canary-1-" in data
    assert b"canary-2" not in data


def test_a_reader_sees_one_state_until_its_block_ends(database):
    with database.read() as reader:
        assert reader.execute("SELECT count(*) FROM t").fetchone()[0] == 0
        with database.write() as writer:
            writer.execute("INSERT INTO t VALUES ('x')")
        assert reader.execute("SELECT count(*) FROM t").fetchone()[0] == 0
    with database.read() as reader:
        assert reader.execute("SELECT count(*) FROM t").fetchone()[0] == 1


def test_what_raises_inside_a_transaction_undoes_it_and_says_so(database):
    undone = []
    database.rolled_back = lambda: undone.append(1)

    def fail():
        with database.write() as connection:
            connection.execute("INSERT INTO t VALUES ('x')")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with database.read() as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone()[0] == 0
    assert undone == [1]


def test_writers_of_one_process_take_turns(database):
    def write():
        for _ in range(20):
            with database.write() as connection:
                (count,) = connection.execute("SELECT count(*) FROM t").fetchone()
                connection.execute("INSERT INTO t VALUES (?)", (str(count),))

    threads = [threading.Thread(target=write) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as connection:
        rows = [int(row["a"]) for row in connection.execute("SELECT a FROM t ORDER BY rowid")]
    assert rows == list(range(120))


def test_errors_of_sqlite_are_ours(database, tmp_path):
    def select(sql):
        with database.read() as connection:
            connection.execute(sql).fetchall()

    with pytest.raises(StoreDamagedError, match="tocsin init"):
        select("SELECT * FROM nowhere")
    with pytest.raises(StoreError, match="refused the operation"):
        select("SELECT nothing FROM t")
    with pytest.raises(StoreDamagedError):
        select("SELECT CAST(x'ff' AS TEXT)")
    with pytest.raises(StoreError, match="There is no ledger"):
        SqliteDatabase(tmp_path / "missing.db")
    with pytest.raises(StoreError, match="cannot be opened"):
        SqliteDatabase(tmp_path / "missing" / "x.db", create=True)
    assert not (tmp_path / "missing.db").exists()


def test_closing_waits_for_nobody_and_ends_everything(database):
    with database.read() as connection:
        database.close()
        # Who is inside may finish.
        assert connection.execute("SELECT count(*) FROM t").fetchone()[0] == 0
    with pytest.raises(sqlite3.ProgrammingError):
        connection.execute("SELECT 1")
    with pytest.raises(StoreError, match="closed"), database.read():
        pass
