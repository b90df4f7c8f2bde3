"""Sealing: the roots in the log are those of the definition, once per size, whatever is cut short."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading

import pytest

from ledger import Ledger, OwnEvent
from ledger.completeness import index_key, seal_index, sealing, seals, store, subject_report
from ledger.completeness.index import KINDS, SEALED_TYPE, Key, key_id
from ledger.completeness.trie import EMPTY, Leaf, verify_absent, verify_present
from ledger.errors import NotFoundError, StoreDamagedError, StoreError
from ledger.store.catalogue import tables
from ledger.verify import verify_database


def sealed_entries(ledger: Ledger) -> list[dict]:
    return [json.loads(stored.payload)["data"] for stored in ledger.entries() if stored.decode().type == SEALED_TYPE]


def test_the_logged_roots_are_those_of_the_definition(ledger, kit):
    kit.fill(ledger, 60)
    size = ledger.size()
    found = seal_index(ledger)
    assert [seal.root.kind for seal in found] == list(KINDS)
    for seal, logged in zip(found, sealed_entries(ledger), strict=True):
        assert seal.root.size == logged["size"] == size
        assert seal.root.root.hex() == logged["root"] == kit.naive(ledger, seal.root.kind, size).hex()
        assert logged["key"] == key_id(index_key(ledger))
        assert logged["unreadable"] == 0
    assert sealed_entries(ledger)[0]["count"] == 7


def test_sealing_again_changes_nothing_until_something_else_is_recorded(ledger, kit):
    kit.fill(ledger, 5)
    first = seal_index(ledger)
    size = ledger.size()
    assert seal_index(ledger) == first
    assert ledger.size() == size
    ledger.record([OwnEvent("org.tocsin.config.changed.v1", {"actor": {"id": "x"}})])
    second = seal_index(ledger)
    assert [seal.root.root for seal in second] == [seal.root.root for seal in first]
    assert second[0].root.size == size + 1


def test_growing_in_steps_gives_what_one_run_gives(ledger, kit, monkeypatch):
    monkeypatch.setattr(sealing, "PAGE", 7)
    monkeypatch.setattr(store, "PARTS", 2)
    for turn in range(4):
        kit.fill(ledger, 23, first=turn * 23, people=5 + 9 * turn, resources=3 + 11 * turn)
        for seal in seal_index(ledger):
            assert seal.root.root == kit.naive(ledger, seal.root.kind, seal.root.size)
    assert len(seals(ledger)) == 8


def test_stored_parts_prove_every_key_and_every_absence(ledger, kit):
    kit.fill(ledger, 80, people=30, resources=30)
    seal_index(ledger)
    with ledger.database.read() as connection:
        for kind in KINDS:
            root = store.root(connection, kind).root
            rows = connection.execute("SELECT label, count, last FROM access_map_key WHERE kind = ?", (kind,))
            leaves = [store.Positions(row["count"], row["last"]).leaf(row["label"]) for row in rows]
            assert len(leaves) > 20
            for leaf in leaves:
                verify_present(root, leaf, store.prove(connection, kind, leaf.label))
            for number in range(50):
                label = Key(kind, f"nobody-{number}").label(ledger.origin)
                verify_absent(root, label, store.prove(connection, kind, label))
            near = Leaf(leaves[0].label[:31] + bytes([leaves[0].label[31] ^ 1]), bytes(32))
            verify_absent(root, near.label, store.prove(connection, kind, near.label))


def test_an_earlier_size_is_hashed_from_the_lists(ledger, kit):
    kit.fill(ledger, 40)
    old = seal_index(ledger)
    kit.fill(ledger, 40, first=40)
    seal_index(ledger)
    key = index_key(ledger)
    with ledger.database.read() as connection:
        for seal in old:
            for name in ("record/1", "nobody"):
                label = Key(seal.root.kind, name).label(ledger.origin)
                root, _ = store.prove_at(connection, key, seal.root.kind, label, seal.root.size)
                assert root == seal.root.root


def test_a_log_without_accesses_seals_two_empty_maps(ledger):
    assert [seal.root.root for seal in seal_index(ledger)] == [EMPTY, EMPTY]


def test_a_run_cut_short_before_the_roots_were_logged_is_taken_up(ledger, kit, monkeypatch):
    kit.fill(ledger, 20)

    def power_cut(*_arguments: object, **_keywords: object) -> None:
        raise StoreError("The power is gone.")

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "record", power_cut)
        with pytest.raises(StoreError):
            seal_index(ledger)
    assert seals(ledger) == []
    size = ledger.size()
    found = seal_index(ledger)
    assert {seal.root.size for seal in found} == {size}
    assert len(sealed_entries(ledger)) == 2


def test_a_run_cut_short_while_reading_is_taken_up_and_older_reports_still_work(ledger, kit, monkeypatch):
    kit.fill(ledger, 20)
    old = seal_index(ledger)[0].root.size
    kit.fill(ledger, 20, first=20)

    def power_cut(_ledger: Ledger) -> list[store.Root]:
        raise StoreError("The power is gone.")

    with monkeypatch.context() as patch:
        patch.setattr(sealing, "_close", power_cut)
        with pytest.raises(StoreError):
            seal_index(ledger)
    ref = kit.ref(ledger, "cust-1")
    assert subject_report(ledger, ref).report.size == old
    for seal in seal_index(ledger):
        assert seal.root.root == kit.naive(ledger, seal.root.kind, seal.root.size)


def test_two_sealers_log_each_size_once(ledger, kit):
    kit.fill(ledger, 200)
    with Ledger.open(ledger.directory) as other:
        threads = [threading.Thread(target=seal_index, args=(one,)) for one in (ledger, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    logged = [(data["kind"], data["size"]) for data in sealed_entries(ledger)]
    assert len(set(logged)) == len(logged)
    for seal in seals(ledger):
        assert seal.root.root == kit.naive(ledger, seal.root.kind, seal.root.size)


def test_an_access_erased_before_it_was_indexed_is_counted(ledger, kit):
    ledger.append([kit.event(1, ["cust-1"]), kit.event(2, ["cust-2"])])
    kit.erase(ledger, 1)
    kit.erase(ledger, 0)  # the first entry is no access: it could have named nobody
    seal_index(ledger)
    assert [data["unreadable"] for data in sealed_entries(ledger)] == [1, 1]


@pytest.mark.sqlite
def test_no_name_stands_in_the_tables_of_the_index(ledger, kit):
    ledger.append([kit.event(1, ["cust-1"], "record/of-somebody")])
    seal_index(ledger)
    ref = kit.ref(ledger, "cust-1")
    with ledger.database.read() as connection:
        names = [name for name in tables(connection) if name.startswith("access_map_")]
        assert len(names) == 7
        dump = repr([tuple(row) for table in names for row in connection.execute(f"SELECT * FROM {table}")])
    for secret in (ref, "record/of-somebody", "cust-1"):
        assert secret not in dump


def test_a_report_before_the_first_seal_says_what_to_do(ledger, kit):
    ledger.append([kit.event(1, ["cust-1"])])
    with pytest.raises(NotFoundError, match="tocsin report seal"):
        subject_report(ledger, kit.ref(ledger, "cust-1"))
    seal_index(ledger)
    with pytest.raises(NotFoundError, match="last sizes are 2"):
        subject_report(ledger, kit.ref(ledger, "cust-1"), 1)


def test_the_database_of_a_sealed_ledger_verifies(ledger, kit):
    kit.fill(ledger, 30)
    seal_index(ledger)
    findings = verify_database(ledger.database, ledger.vkey, vault=ledger.vault)
    assert findings.damage == []
    assert findings.exit_code == 0


KILLED = """
import os, sys
from pathlib import Path
from ledger import Ledger
from ledger.completeness import seal_index, sealing, store
step, after = sys.argv[2], int(sys.argv[3])
sealing.PAGE, store.PARTS = 10, 3
place = {"absorb": store, "settle": store, "root": store, "_record": sealing}[step]
real = getattr(place, step)
def dying(*arguments, **keywords):
    global after
    after -= 1
    if after < 0:
        os.kill(os.getpid(), 9)
    return real(*arguments, **keywords)
setattr(place, step, dying)
with Ledger.open(Path(sys.argv[1])) as ledger:
    seal_index(ledger)
"""


@pytest.mark.parametrize(
    ("step", "after"), [("absorb", 0), ("absorb", 3), ("settle", 0), ("settle", 2), ("root", 1), ("_record", 1)]
)
def test_after_a_kill_at_any_step_the_next_run_seals_what_the_log_says(ledger, kit, step, after):
    kit.fill(ledger, 50)
    done = subprocess.run([sys.executable, "-c", KILLED, str(ledger.directory), step, str(after)], check=False)
    assert done.returncode == -signal.SIGKILL
    with Ledger.open(ledger.directory) as survivor:
        found = seal_index(survivor)
        assert len(sealed_entries(survivor)) == len(found) == 2
        for seal in found:
            assert seal.root.root == kit.naive(survivor, seal.root.kind, seal.root.size)
        assert seal_index(survivor) == found


@pytest.mark.sqlite
@pytest.mark.parametrize(
    "change",
    [
        "payload = CAST(replace(CAST(payload AS TEXT), 'success', 'denied') AS BLOB)",
        "salt = NULL",
        "salt = CAST('x' AS BLOB)",
        "entry = CAST('{}' AS BLOB)",
        'entry = CAST(replace(CAST(entry AS TEXT), \'"commitment":"\', \'"commitment":"0\') AS BLOB)',
        'entry = CAST(replace(CAST(entry AS TEXT), \'"commitment":"\', \'"commitment":"\u00e9\') AS BLOB)',
    ],
)
def test_nothing_is_indexed_that_its_entry_does_not_commit_to(ledger, kit, change):
    """Somebody wrote another payload into the database: no root may say that the log named whom it names."""
    kit.fill(ledger, 10)
    size = ledger.size()
    with ledger.database.write() as connection:
        connection.execute(f"UPDATE event SET {change} WHERE position = 5")
    with pytest.raises(StoreDamagedError, match=r"ntry 4 .*Nothing was changed.*tocsin verify"):
        seal_index(ledger)
    assert (sealing.indexed(ledger), seals(ledger), ledger.size()) == (0, [], size)
    assert verify_database(ledger.database, ledger.vkey).damage[0].index == 4


def test_an_entry_that_is_missing_stops_the_index(ledger, kit):
    kit.fill(ledger, 10)
    size = ledger.size()
    with ledger.database.write() as connection:
        connection.execute("DELETE FROM event WHERE position > ?", (size - 2,))
    with pytest.raises(StoreDamagedError, match="is missing"):
        seal_index(ledger)
