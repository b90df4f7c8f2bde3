"""Wiping a store: room is looked for before, copies stay on the volume, and each kind of store says what it did."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import Ledger
from ledger.config import read_config
from ledger.errors import StoreBusyError, StoreFullError
from ledger.forgetting.erasing import erase
from ledger.forgetting.retention import type_test
from ledger.forgetting.rotation import rotate_vault
from ledger.forgetting.scrub import finish, unfinished
from ledger.forgetting.sqlite_wiping import SqliteWiping
from ledger.forgetting.wiping import wiping_of

PATTERNS = st.text("abc.*?_0", min_size=1, max_size=8) | st.sampled_from(
    ["*.data.view.v1", "com.clinic.*", "*", "?", "[ab]*", "*[0-9]", "[^a]*", "com.[a-c]*.v?"]
)
TOPICS = st.text("abc._0x", max_size=10) | st.sampled_from(["com.clinic.data.view.v1", "a", "b", "Com.clinic.x.y.v1"])


@given(pattern=PATTERNS, topic=TOPICS)
def test_types_match_as_they_always_did(pattern, topic):
    """Rules that are in force must not come to mean anything else: SQLite's GLOB is what they were made for."""
    connection = sqlite3.connect(":memory:")
    try:
        (globbed,) = connection.execute("SELECT ? GLOB ?", (topic, pattern)).fetchone()
    finally:
        connection.close()
    assert type_test(pattern)(topic) == bool(globbed)


def test_a_set_may_be_negated_as_in_a_shell():
    assert not type_test("[!a]*")("abc")
    assert type_test("[!a]*")("bbc")


@pytest.fixture
def erased(ledger, kit, actor):
    """A person was erased, and the store was not wiped yet; gives the bytes that must go."""
    ledger.append([kit.view("canary", ["cust-canary"]), kit.view("both", ["cust-canary", "cust-2"])])
    return erase(ledger, ledger.vault.find("subject", "cust-canary"), basis="request 17", by=actor)


@pytest.mark.sqlite
def test_the_room_that_is_asked_for_is_the_room_that_is_taken(ledger, kit):
    """The peak is the temporary copy and the write-ahead log: two files of the pages that live."""
    for turn in range(10):
        ledger.append([kit.view(f"{turn}-{n}", [], text="t" * 900) for n in range(100)])
    path = ledger.database.path
    asked = []
    with pytest.raises(StoreFullError, match="Free disk space"):
        SqliteWiping(path, lambda place: asked.append(place) or 0).check_room()
    assert asked == [path.parent]
    wiping = wiping_of(ledger.database)
    wiping.rewrite(timeout_s=1)
    live = path.stat().st_size
    SqliteWiping(path, lambda _place: 2 * live + (1 << 20)).check_room()
    with pytest.raises(StoreFullError, match=f"{2 * live + (1 << 20):,} free bytes"):
        SqliteWiping(path, lambda _place: 2 * live + (1 << 20) - 1).check_room()


@pytest.mark.sqlite
def test_without_room_nothing_is_recorded_and_the_copies_stay(ledger, erased, actor, monkeypatch):
    usage = shutil.disk_usage(ledger.directory)
    size = ledger.size()
    deleted = []
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _place: usage._replace(free=1000))
        with pytest.raises(StoreFullError, match="there are 1,000"):
            finish(ledger, by=actor, needles=erased.needles, copies=lambda events: deleted.append(events) or {})
        with pytest.raises(StoreFullError):
            rotate_vault(ledger, "file:keys/new.key", by=actor)
    assert (unfinished(ledger), ledger.size(), deleted) == ((erased.index,), size, [])
    assert read_config(ledger.directory).vault_key == "file:keys/vault.key"
    assert finish(ledger, by=actor, needles=erased.needles) is not None


@pytest.mark.sqlite
def test_the_temporary_copy_never_leaves_the_volume_of_the_database(ledger, kit, erased, tmp_path, absent):
    """Seen from outside, by the system calls: the copy is made beside the database and nowhere else."""
    if shutil.which("strace") is None:
        absent("strace is not installed: where the copy is made cannot be seen")
    assert erased.payloads == 1
    for turn in range(4):  # more than SQLite keeps in memory
        ledger.append([kit.view(f"{turn}-{n}", [], text="t" * 4000) for n in range(250)])
    program = (
        "import sys; from pathlib import Path; from ledger.forgetting.sqlite_wiping import SqliteWiping;"
        "SqliteWiping(Path(sys.argv[1])).rewrite(timeout_s=5)"
    )
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-e", "trace=openat,open,creat", "-o", str(trace), sys.executable, "-c", program]
    done = subprocess.run([*command, str(ledger.database.path)], capture_output=True, text=True, check=False)
    if "ptrace" in done.stderr:
        pytest.skip("this machine forbids tracing")
    assert done.returncode == 0, done.stderr
    copies = [line for line in trace.read_text().splitlines() if "etilqs_" in line]
    assert copies
    assert all(f'"{ledger.directory}/etilqs_' in line for line in copies)


@pytest.mark.usefixtures("each_store")
def test_each_store_is_wiped_and_says_how(tmp_path, kit, clock):
    with Ledger.create(tmp_path / "data", kit.ORIGIN, clock=clock) as ledger:
        by = kit.refer(ledger, "officer", kind="actor")
        ledger.append([kit.view(f"n{n}", ["cust-canary"], text="t" * 3000) for n in range(60)])
        wiping_of(ledger.database).rewrite(timeout_s=5)  # so that what is freed is what the erasure freed
        done = erase(ledger, ledger.vault.find("subject", "cust-canary"), basis="request 17", by=by)
        wiped = finish(ledger, by=by, needles=done.needles)
        wiping = wiping_of(ledger.database)
        data = kit.data(ledger, wiped.index)
        assert data["method"] == wiping.method
        assert data["searched"] == wiped.searched == (len(done.needles) if wiping.searches else 0)
        assert wiped.freed > 0
        assert unfinished(ledger) == ()
        assert kit.damage(ledger) == []


def test_a_server_that_must_keep_old_rows_for_somebody_is_not_called_wiped(tmp_path, kit, clock, postgres):
    psycopg = pytest.importorskip("psycopg")
    place = postgres()
    with Ledger.create(tmp_path / "data", kit.ORIGIN, clock=clock, store=place) as ledger:
        by = kit.refer(ledger, "officer", kind="actor")
        ledger.append([kit.view("canary", ["cust-canary"])])
        with psycopg.connect(place.url) as other:
            # Another database user's transaction, which reads none of our tables and may yet.
            other.execute("SELECT pg_current_xact_id()")
            done = erase(ledger, ledger.vault.find("subject", "cust-canary"), basis="request 17", by=by)
            with pytest.raises(StoreBusyError, match="may still read"):
                finish(ledger, by=by, timeout_s=1)
            assert unfinished(ledger) == (done.index,)
        assert finish(ledger, by=by).events == (done.index,)


def test_a_table_that_is_being_read_is_not_waited_for_without_end(tmp_path, kit, clock, postgres):
    with Ledger.create(tmp_path / "data", kit.ORIGIN, clock=clock, store=postgres()) as ledger:
        by = kit.refer(ledger, "officer", kind="actor")
        ledger.append([kit.view("canary", ["cust-canary"])])
        erase(ledger, ledger.vault.find("subject", "cust-canary"), basis="request 17", by=by)
        with ledger.database.read() as reader:
            reader.execute("SELECT count(*) FROM event").fetchone()
            with pytest.raises(StoreBusyError, match="--finish"):
                finish(ledger, by=by, timeout_s=0.05)
        assert finish(ledger, by=by) is not None
