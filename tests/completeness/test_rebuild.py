"""Making the tables beside the log again: damage by hand is repaired, nobody is told "nobody", a kill does no harm."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading

import pytest
from typer.testing import CliRunner

from api.cli import app
from ledger import Criteria, Ledger
from ledger.completeness import index_key, log_of, recompute, seal_index, seals, subject_report
from ledger.completeness.rebuild import rebuild_index
from ledger.completeness.sealing import index_steps
from ledger.errors import EventConflictError, StoreBusyError, StoreDamagedError
from ledger.forgetting.erasing import erase
from ledger.recovery import rebuilding
from ledger.recovery.rebuilding import rebuild_tables
from ledger.verify import verify_database


def damage(ledger: Ledger) -> list[str]:
    return [item.kind for item in verify_database(ledger.database, ledger.vkey, vault=ledger.vault).damage]


def everything(ledger: Ledger) -> dict[str, list[tuple]]:
    """What the tables say, but for the numbers that they give to keys of the index."""
    asked = {
        "access": "SELECT * FROM access_row ORDER BY position, part",
        "seen": "SELECT uri, id, position, digest FROM seen JOIN source ON number = source ORDER BY uri, id",
        "lists": "SELECT kind, label, count, last, position FROM access_map_key JOIN access_map_entry USING (number)"
        " ORDER BY kind, label, position",
        "nodes": "SELECT * FROM access_map_node ORDER BY kind, depth, prefix",
        "seals": "SELECT * FROM access_map_seal ORDER BY kind, size",
        "tracking": "SELECT * FROM tracking ORDER BY name",
        "unreadable": "SELECT * FROM access_map_unreadable ORDER BY position",
    }
    with ledger.database.read() as connection:
        return {name: [tuple(row) for row in connection.execute(sql)] for name, sql in asked.items()}


def read_all(ledger: Ledger) -> None:
    ledger.access.follow()
    for _ in index_steps(ledger):
        pass


@pytest.fixture
def used(ledger, kit):
    """A ledger with accesses, seals, an erasure and a further seal."""
    kit.fill(ledger, 60)
    seal_index(ledger)
    with ledger.database.write() as connection:
        by = ledger.vault.refer(connection, "actor", "officer")
    erase(ledger, kit.ref(ledger, "cust-1"), basis="request 1", by=by)
    kit.fill(ledger, 25, first=60, people=9)
    seal_index(ledger)
    read_all(ledger)
    assert sum(stored.payload is None for stored in ledger.entries()) == 3
    return ledger


def test_what_is_right_stays_as_it_is(used):
    before = everything(used)
    tables = rebuild_tables(used)
    assert (tables.entries, tables.accesses, tables.submissions, tables.lost) == (used.size(), 0, 0, 0)
    index = rebuild_index(used)
    assert index.matches
    assert (index.entries, index.seals, index.unreadable) == (used.size(), 4, 0)
    assert index.erased == sum(stored.payload is None for stored in used.entries())
    assert everything(used) == before
    assert damage(used) == []


DAMAGES = [
    "DELETE FROM access_row",
    "DELETE FROM access_row WHERE position % 3 = 0",
    "UPDATE access_row SET subject = NULL WHERE position < 30",
    "UPDATE access_row SET actor = 's_forged', outcome = 'denied'",
    (
        "INSERT INTO access_row SELECT position, part + 90, time, type, action, outcome, actor, credential, address,"
        " resource, container, subject FROM access_row WHERE position = 20"
    ),
    "UPDATE tracking SET position = 10 WHERE name = 'access'",
    "UPDATE tracking SET position = 999 WHERE name = 'access'",
    "DELETE FROM tracking WHERE name = 'access'",
    "UPDATE seen SET digest = ? WHERE position IN (SELECT position FROM event WHERE payload IS NOT NULL)",
    "UPDATE seen SET position = position + 1",
    "DELETE FROM seen WHERE position IN (SELECT position FROM event WHERE payload IS NOT NULL)",
    "INSERT INTO seen SELECT source, 'forged', position, digest FROM seen WHERE position = 20",
    "INSERT INTO seen SELECT source, 'forged', 900, digest FROM seen WHERE position = 20",
    "INSERT INTO source (uri) VALUES ('https://nobody.example')",
    "DELETE FROM source",
    "UPDATE source SET uri = 'https://nobody.example'",
]


@pytest.mark.parametrize("statement", DAMAGES)
def test_damage_by_hand_is_found_and_repaired(used, kit, statement):
    before = everything(used)
    with used.database.write() as connection:
        connection.execute(statement, [b"\0"] * statement.count("?"))
    assert everything(used) != before or statement.startswith("INSERT INTO source")
    rebuild_tables(used)
    assert everything(used) == before
    assert damage(used) == []
    [again] = used.append([original(used, kit, 84)])
    assert not again.new


def original(ledger: Ledger, kit, number: int) -> dict:
    """One of the events that `used` was filled with, as it was submitted."""
    sent: list[dict] = []

    class Catch:
        def append(self, events):
            sent.extend(events)

    kit.fill(Catch(), 25, first=60, people=9)
    assert ledger.size() > number
    return sent[number - 60]


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM access_map_node",
        "UPDATE access_map_key SET last = ?, count = 7",
        "DELETE FROM access_map_entry WHERE position IN (SELECT position FROM event WHERE payload IS NOT NULL)",
        "DELETE FROM access_map_seal",
        "UPDATE access_map_seal SET root = ?, position = NULL",
        "INSERT INTO access_map_unreadable SELECT position FROM event WHERE payload IS NOT NULL",
    ],
)
def test_damage_of_the_completeness_index_is_repaired(used, kit, statement):
    before = everything(used)
    with used.database.write() as connection:
        connection.execute(statement, [b"\0"] * statement.count("?"))
    assert everything(used) != before
    assert rebuild_index(used).matches
    assert everything(used) == before
    assert recompute(log_of(used), index_key(used), used.vkey).as_json()["verdict"] == "matches"
    assert subject_report(used, kit.ref(used, "cust-2")).verdict.unreadable == 0


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM access_map_entry WHERE position IN (SELECT position FROM event WHERE payload IS NULL)",
        "UPDATE tracking SET position = 0 WHERE name = 'access_map'",
        (
            "UPDATE access_map_key SET label = ? WHERE number = (SELECT min(number) FROM access_map_entry"
            " WHERE position IN (SELECT position FROM event WHERE payload IS NULL))"
        ),
    ],
)
def test_a_memory_of_erased_entries_that_was_lost_is_not_passed_over(used, statement):
    with used.database.write() as connection:
        connection.execute(statement, [b"\0"] * statement.count("?"))
    assert not rebuild_index(used).matches
    done = CliRunner().invoke(app, ["rebuild", "--data", str(used.directory)])
    assert done.exit_code == 2
    assert "does not give the root sealed at size" in done.output
    assert damage(used) == []


def test_a_ledger_that_was_never_sealed_gets_no_index(ledger, kit):
    kit.fill(ledger, 5)
    assert rebuild_index(ledger) is None
    assert rebuild_tables(ledger).entries == 6


def test_the_fingerprint_of_an_erased_event_is_kept_or_told_lost(used, kit):
    erased = next(stored.index for stored in used.entries() if stored.payload is None)
    with used.database.write() as connection:
        connection.execute("DELETE FROM seen WHERE position = ?", (erased + 1,))
    tables = rebuild_tables(used)
    assert (tables.submissions, tables.lost) == (1, 1)
    assert rebuild_tables(used).lost == 1
    assert damage(used) == []
    entry = used.entry(erased).decode()
    with pytest.raises(EventConflictError):
        used.append([kit.event(1, ["x"], id=entry.id, type="com.clinic.data.print.v1")])


def test_nothing_is_made_from_a_damaged_log(used):
    with used.database.write() as connection:
        connection.execute("UPDATE event SET payload = ? WHERE position = 70", (b"{}",))
        connection.execute("DELETE FROM access_row WHERE position > 60")
    with pytest.raises(StoreDamagedError, match="tocsin verify"):
        rebuild_tables(used)
    with used.database.write() as connection:
        connection.execute("DELETE FROM event WHERE position = 65")
    with pytest.raises(StoreDamagedError, match="missing"):
        rebuild_tables(used)


def test_a_missing_table_is_made_and_readers_wait_for_it(used, kit):
    before = everything(used)
    asked = Criteria(subjects=[kit.ref(used, "cust-2")])
    wanted = list(used.access.matches(asked, used.size()))
    with used.database.write() as connection:
        connection.execute("DROP TABLE access_row")
    with pytest.raises(StoreDamagedError):
        list(used.access.matches(asked, used.size()))
    rebuild_tables(used)
    assert everything(used) == before
    assert list(used.access.matches(asked, used.size())) == wanted


def test_an_index_begun_anew_under_a_reader_is_read_again(used, kit, monkeypatch):
    """The moment that counts: the reader has followed the log, and before it looks the index is emptied."""
    asked = Criteria(subjects=[kit.ref(used, "cust-2")])
    wanted = list(used.access.matches(asked, used.size()))
    follow, left = used.access.follow, [1, 1]

    def follow_and_lose() -> int:
        read = follow()
        if left:
            left.pop()
            with used.database.write() as connection:
                connection.execute("DELETE FROM access_row")
                connection.execute("UPDATE tracking SET position = 0 WHERE name = 'access'")
        return read

    monkeypatch.setattr(used.access, "follow", follow_and_lose)
    assert list(used.access.matches(asked, used.size())) == wanted
    assert left == []


def test_readers_see_all_of_it_at_every_moment(used, kit, monkeypatch):
    """While pages are put right one by one, a search gives the whole answer; never "nobody was affected"."""
    monkeypatch.setattr(rebuilding, "_PAGE", 5)
    asked = Criteria(subjects=[kit.ref(used, "cust-2")])
    wanted = list(used.access.matches(asked, used.size()))
    size = used.size()
    assert wanted
    with used.database.write() as connection:
        connection.execute("UPDATE tracking SET position = 999 WHERE name = 'access'")  # makes it begin anew
    seen: list[bool] = []
    stop = threading.Event()

    def read() -> None:
        with Ledger.open(used.directory) as other:
            while not stop.is_set():
                seen.append(list(other.access.matches(asked, size)) == wanted)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        while len(seen) < 3 and reader.is_alive():
            stop.wait(0.01)
        for _ in range(3):
            rebuild_tables(used)
    finally:
        stop.set()
        reader.join()
    assert len(seen) > 3
    assert all(seen)


def test_reports_are_refused_with_the_reason_while_the_index_is_made_again(used, kit, monkeypatch):
    ref, size = kit.ref(used, "cust-2"), seals(used)[-1].root.size

    def power_cut(_ledger: Ledger) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ledger.completeness.rebuild.index_steps", power_cut)
        with pytest.raises(KeyboardInterrupt):
            rebuild_index(used)
    with pytest.raises(StoreBusyError, match="tocsin rebuild"):
        subject_report(used, ref, size)
    assert log_of(used).claims  # what was remembered of erased entries is not lost in between
    assert recompute(log_of(used), index_key(used), used.vkey).as_json()["verdict"] == "matches"
    seal_index(used)  # whoever seals next takes it up
    assert subject_report(used, ref, size).verdict.unreadable == 0
    assert rebuild_index(used).matches


KILLED = """
import os, sys
from pathlib import Path
from ledger import Ledger
from ledger.completeness import rebuild, sealing, store
from ledger.completeness.rebuild import rebuild_index
from ledger.recovery import rebuilding
step, after = sys.argv[2], int(sys.argv[3])
sealing.PAGE, store.PARTS, rebuilding._PAGE = 10, 3, 10
place, name = {
    "page": (rebuilding._Work, "page"), "finish": (rebuilding._Work, "finish"), "begin": (rebuild, "_begin"),
    "absorb": (store, "absorb"), "settle": (store, "settle"), "check": (store, "prove_at"),
}[step]
real = getattr(place, name)
def dying(*arguments, **keywords):
    global after
    after -= 1
    if after < 0:
        os.kill(os.getpid(), 9)
    result = real(*arguments, **keywords)
    if step == "begin":
        os.kill(os.getpid(), 9)
    return result
setattr(place, name, dying)
with Ledger.open(Path(sys.argv[1])) as ledger:
    rebuilding.rebuild_tables(ledger)
    rebuild_index(ledger)
"""


@pytest.mark.parametrize(
    ("step", "after"),
    [("page", 0), ("page", 4), ("finish", 0), ("begin", 1), ("absorb", 0), ("absorb", 5), ("settle", 1), ("check", 0)],
)
def test_after_a_kill_at_any_step_a_repetition_finishes(used, kit, step, after):
    before = everything(used)
    with used.database.write() as connection:
        connection.execute("UPDATE access_row SET subject = NULL")
        connection.execute("UPDATE seen SET position = position + 1")
        connection.execute("DELETE FROM access_map_node")
    done = subprocess.run([sys.executable, "-c", KILLED, str(used.directory), step, str(after)], check=False)
    assert done.returncode == -signal.SIGKILL
    with Ledger.open(used.directory) as survivor:
        assert recompute(log_of(survivor), index_key(survivor), survivor.vkey).as_json()["verdict"] == "matches"
        rebuild_tables(survivor)
        assert rebuild_index(survivor).matches
        assert everything(survivor) == before
        assert damage(survivor) == []
        assert subject_report(survivor, kit.ref(survivor, "cust-2")).verdict.unreadable == 0


def test_the_command_says_what_it_did(used):
    with used.database.write() as connection:
        connection.execute("DELETE FROM access_row WHERE position < 20")
    done = CliRunner().invoke(app, ["rebuild", "--data", str(used.directory), "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.output)
    assert said["entries"] == used.size()
    assert said["accesses"] > 0
    assert said["completeness"]["matches"] is True
    done = CliRunner().invoke(app, ["rebuild", "--data", str(used.directory)])
    assert done.exit_code == 0
    assert "Access index: 0 entries put right" in done.output
    assert CliRunner().invoke(app, ["verify", "--data", str(used.directory)]).exit_code == 0


@pytest.mark.usefixtures("each_store")
def test_each_store_can_do_it(tmp_path, kit):
    with kit.create(tmp_path / "data") as ledger:
        kit.fill(ledger, 40)
        seal_index(ledger)
        with ledger.database.write() as connection:
            by = ledger.vault.refer(connection, "actor", "officer")
        erase(ledger, kit.ref(ledger, "cust-1"), basis="request 1", by=by)
        seal_index(ledger)
        read_all(ledger)
        before = everything(ledger)
        with ledger.database.write() as connection:
            connection.execute("UPDATE access_row SET outcome = ?", ("denied",))
            connection.execute("DELETE FROM seen WHERE position < ? AND position > ?", (4, 2))
            connection.execute("DELETE FROM access_map_node")
        rebuild_tables(ledger)
        assert rebuild_index(ledger).matches
        after = everything(ledger)
        if ledger.entry(2).payload is None:  # its fingerprint cannot be known again
            after.pop("seen"), before.pop("seen")
        assert after == before
        assert damage(ledger) == []
