"""What every store must do alike: the drivers' own conformance suite."""

from __future__ import annotations

import threading
from contextlib import closing, suppress
from itertools import islice

import pytest

from ledger.errors import StoreBusyError, StoreDamagedError, StoreError
from ledger.store.catalogue import altered, has_table, tables
from ledger.store.sqlite import SqliteDatabase
from ledger.store.transfer import statements

SCHEMA = """
CREATE TABLE IF NOT EXISTS item (
    id    INTEGER PRIMARY KEY,
    name  TEXT    NOT NULL UNIQUE,
    value BLOB,
    level INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS item_level ON item (level);
CREATE TABLE IF NOT EXISTS pair (
    one TEXT NOT NULL,
    two INTEGER NOT NULL,
    PRIMARY KEY (one, two)
) WITHOUT ROWID
"""


@pytest.fixture(autouse=True)
def _made(database):
    database.ensure(SCHEMA)


def names(database):
    with database.read() as connection:
        return [row["name"] for row in connection.execute("SELECT name FROM item ORDER BY id")]


def add(connection, *texts):
    connection.executemany("INSERT INTO item (name) VALUES (?)", [(text,) for text in texts])


def test_a_reader_sees_one_state_until_its_block_ends(database):
    with database.read() as reader:
        assert reader.execute("SELECT count(*) FROM item").fetchone()[0] == 0
        with database.write() as writer:
            add(writer, "x")
        assert reader.execute("SELECT count(*) FROM item").fetchone()[0] == 0
    assert names(database) == ["x"]


def test_what_raises_inside_a_transaction_undoes_it_and_says_so(database):
    undone = []
    database.rolled_back = lambda: undone.append(1)

    def fail():
        with database.write() as connection:
            add(connection, "x")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert names(database) == []
    assert undone == [1]


def test_every_write_begins_with_the_hook_that_caches_hang_on(database):
    seen = []
    database.began = lambda connection: seen.append(connection.execute("SELECT count(*) FROM item").fetchone()[0])
    for name in ("a", "b"):
        with database.write() as connection:
            add(connection, name)
    assert seen == [0, 1]


def test_writers_take_turns_in_one_process_and_across_connections(database, again):
    others = [database, again(), again()]

    def write(through):
        for _ in range(10):
            with through.write() as connection:
                (count,) = connection.execute("SELECT count(*) FROM item").fetchone()
                add(connection, str(count))

    threads = [threading.Thread(target=write, args=(each,)) for each in others * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Nobody counted what somebody else was about to add.
    assert sorted(names(database), key=int) == [str(number) for number in range(60)]


def test_a_savepoint_undoes_a_part_and_the_rest_goes_on(database):
    with database.write() as connection:
        add(connection, "a")
        connection.execute("SAVEPOINT unit")
        add(connection, "b")
        connection.execute("ROLLBACK TO unit")
        connection.execute("RELEASE unit")
        add(connection, "c")
    assert names(database) == ["a", "c"]


def test_a_taken_key_is_the_conflict_that_the_store_names(database):
    with database.write() as connection:
        add(connection, "a")

    def take_again():
        with database.write() as connection:
            try:
                add(connection, "a")
            except database.conflicts as error:
                raise KeyError from error

    with pytest.raises(KeyError):
        take_again()
    assert names(database) == ["a"]


@pytest.mark.parametrize("count", [1, 7, 49, 50, 51, 199, 200, 201, 2500])
def test_many_rows_go_in_whole_whichever_way_is_fastest(database, count):
    rows = [(n, f"n{n}", None if n % 3 else bytes([n % 256]) * 20, n % 5) for n in range(1, count + 1)]
    with database.write() as connection:
        assert connection.insert("item", "id, name, value, level", rows) == count
    with database.read() as connection:
        found = [tuple(row) for row in connection.execute("SELECT id, name, value, level FROM item ORDER BY id")]
    assert found == rows


@pytest.mark.parametrize("count", [3, 60, 300])
def test_rows_that_are_there_stay_as_they_are(database, count):
    with database.write() as connection:
        add(connection, "n1")
        connection.execute("UPDATE item SET level = 9")
        rows = [(f"n{n}", n) for n in range(count)]
        assert connection.insert("item", "name, level", rows, keep=True) == count - 1
        assert connection.execute("SELECT level FROM item WHERE name = 'n1'").fetchone()["level"] == 9


def test_a_column_without_any_value_is_left_out(database):
    with database.write() as connection:
        assert connection.insert("item", "name, value, level", [("a", None, 1), ("b", None, 2)]) == 2
    with database.read() as connection:
        assert [row["value"] for row in connection.execute("SELECT value FROM item")] == [None, None]


def test_a_long_result_is_streamed_while_other_statements_run(database):
    with database.write() as connection:
        connection.insert("item", "name, level", [(f"n{n:05}", n) for n in range(3000)])
    with database.read() as connection:
        rows = connection.stream("SELECT name, level FROM item WHERE level >= ? ORDER BY id", (10,))
        for seen, row in enumerate(islice(rows, 1500), 10):
            again = connection.execute("SELECT level FROM item WHERE name = ?", (row["name"],)).fetchone()
            assert again[0] == row["level"] == seen
        assert connection.execute("SELECT count(*) FROM item").fetchone()[0] == 3000


def test_text_is_compared_byte_by_byte(database):
    words = ["Z", "a", "B", "é", "_", "ab", "Ab", "z", "a b", "a-b", "ä", "\U0001f600", "ﬁ"]
    with database.write() as connection:
        add(connection, *words)
    with database.read() as connection:
        found = [row["name"] for row in connection.execute("SELECT name FROM item ORDER BY name")]
        assert found == sorted(words, key=lambda word: word.encode())
        between = connection.execute("SELECT count(*) FROM item WHERE name >= 'a' AND name < 'b'").fetchone()[0]
    assert between == sum(b"a" <= word.encode() < b"b" for word in words)


def test_values_come_back_as_they_went_in(database):
    rows = [(2**62, "%s %b ? $1", b"\x00\xff%?", -(2**40)), (3, "it's 100%", b"", 0), (4, "", None, 1)]
    with database.write() as connection:
        for row in rows:
            connection.execute("INSERT INTO item (id, name, value, level) VALUES (?, ?, ?, ?)", row)
        connection.execute("INSERT INTO item (id, name, level) VALUES (5, '? and % and ''?''', ?)", (True,))
    with database.read() as connection:
        found = [tuple(row) for row in connection.execute("SELECT id, name, value, level FROM item ORDER BY id")]
    assert found == [*rows[1:], (5, "? and % and '?'", None, 1), rows[0]]


def test_bytes_are_found_inside_bytes(database):
    with database.write() as connection:
        connection.execute("INSERT INTO item (name, value) VALUES ('a', ?)", (b"xx\x00needle\xffyy",))
        connection.execute("INSERT INTO item (name, value) VALUES ('b', ?)", (b"hay",))
    with database.read() as connection:
        rows = connection.execute("SELECT name FROM item WHERE instr(value, ?)", (b"\x00needle\xff",)).fetchall()
    assert [row["name"] for row in rows] == ["a"]


def test_the_newest_key_is_told(database):
    with database.write() as connection:
        first, second = (
            connection.execute("INSERT INTO item (name) VALUES (?) RETURNING id", (name,)).fetchone()["id"]
            for name in ("a", "b")
        )
    assert second > first


def test_the_catalogue_tells_what_is_there_and_what_was_changed(database):
    with database.read() as connection:
        assert tables(connection) == {"item", "pair"}
        assert has_table(connection, "pair")
        assert not has_table(connection, "item_level")
        assert altered(connection, SCHEMA, "CREATE TABLE other (a TEXT)") == []
        assert [name for kind, name, _ in statements(connection) if kind == "table"] == ["item", "pair"]
    with database.write() as connection:
        connection.execute("ALTER TABLE pair ADD COLUMN three TEXT")
        connection.execute("CREATE VIEW looking AS SELECT name FROM item")
        connection.execute("DROP INDEX item_level")
    with database.read() as connection:
        assert altered(connection, SCHEMA, "") == ["item_level", "looking", "pair"]


def test_making_tables_again_changes_nothing(database, again):
    with database.write() as connection:
        add(connection, "a")
    again().ensure(SCHEMA)
    assert names(database) == ["a"]


def test_a_missing_table_and_a_wrong_statement_are_our_errors(database):
    def select(sql):
        with database.read() as connection:
            connection.execute(sql).fetchall()

    with pytest.raises(StoreDamagedError, match="tocsin init"):
        select("SELECT * FROM nowhere")
    with pytest.raises(StoreError, match=r"refused the operation|lacks tables"):
        select("SELECT nothing FROM item")


def test_after_an_error_the_store_can_be_used_again(database):
    def fail():
        with database.write() as connection:
            add(connection, "x")
            connection.execute("SELEKT")

    for _ in range(3):
        with pytest.raises(StoreError):
            fail()
    assert names(database) == []
    with database.write() as connection:
        add(connection, "y")
    assert names(database) == ["y"]


def test_nothing_is_written_through_a_reader(database):
    # SQLite takes the write and undoes it with the block; PostgreSQL refuses it outright.
    with suppress(StoreError), database.read() as connection:
        add(connection, "x")
    assert names(database) == []


def test_closing_waits_for_nobody_and_ends_everything(database):
    with database.read() as connection:
        database.close()
        # Who is inside may finish.
        assert connection.execute("SELECT count(*) FROM item").fetchone()[0] == 0
    with pytest.raises(StoreError, match="closed"), database.read():
        pass


def test_the_identity_is_that_of_the_store_and_stays(database, again, tmp_path):
    database.ensure("CREATE TABLE IF NOT EXISTS event (position INTEGER PRIMARY KEY)")
    assert database.identity == again().identity
    copy = tmp_path / "copy.db"
    database.copy_to(copy)
    with closing(SqliteDatabase(copy)) as other:
        assert other.identity != database.identity


def test_a_writer_that_waits_too_long_is_told_who_holds_the_store(database):
    with (
        closing(type(database)(database.address, busy_timeout_s=0.05)) as other,
        database.write(),
        pytest.raises(StoreBusyError, match="held by another process"),
        other.write(),
    ):
        pass
