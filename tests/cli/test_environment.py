"""A held database and a full disk: one clear error, nothing half-written, and all goes on afterwards."""

from __future__ import annotations

import os
import resource
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="resource limits are POSIX")


def limit(size):
    """No file may grow beyond `size` bytes: the kernel refuses the write, as on a full disk."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_database_held_by_another_process(data, process, ndjson, make_event):
    """The command waits its ten seconds, then says who is in the way."""
    with closing(sqlite3.connect(data / "ledger.db", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        ran = process("append", ndjson(make_event(1)), "--data", data)
        assert ran.code == 1
        assert ran.err.startswith("tocsin: The database ")
        assert "held by another process; nothing was written" in ran.err
        # Reading and verifying need not wait.
        assert process("verify", "--data", data).code == 0
        holder.execute("ROLLBACK")
    assert process("append", ndjson(make_event(1)), "--data", data).out == "1 recorded, 0 were there already.\n"


def test_a_disk_that_fills_up_during_append(data, process, ndjson, make_event):
    path = ndjson(*[make_event(number, text="x" * 500) for number in range(900)])
    size = (data / "ledger.db").stat().st_size
    ran = process("append", path, "--data", data, before=limit(size + 200_000))
    assert ran.code == 1
    assert str(data / "ledger.db") in ran.err
    assert "nothing was written" in ran.err
    assert "patient" not in ran.err
    # There is space again.
    assert process("verify", "--data", data, "--json").json["size"] == 4
    assert process("append", path, "--data", data).out == "900 recorded, 0 were there already.\n"
    assert process("verify", "--data", data).code == 0


@pytest.mark.parametrize("size", [0, 100, 1000, 20_000])
def test_a_disk_that_is_full_during_init(tmp_path, process, size):
    data = tmp_path / "data"
    ran = process("init", "--data", data, before=limit(size))
    assert ran.code == 1
    assert str(data) in ran.err
    made = process("init", "--data", data, "--json")
    assert (made.code, made.json["size"]) == (0, 1)
    assert process("verify", "--data", data).code == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("command", ["checkpoint", "init --json", "verify", "verify --json", "prove 1"])
def test_output_that_cannot_be_written(data, process, command):
    with Path("/dev/full").open("w") as full:
        ran = process(*command.split(), "--data", data, stdout=full)
    assert ran.code == 1
    assert ran.err == "tocsin: The system reported an error: No space left on device."


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_proof_that_cannot_be_written(data, process):
    ran = process("prove", "1", "--data", data, "-o", "/dev/full")
    assert (ran.code, ran.err) == (1, "tocsin: /dev/full cannot be written: No space left on device.")


def test_a_reader_that_went_away(data, process):
    """As in `tocsin checkpoint | true`."""
    receiving, sending = os.pipe()
    os.close(receiving)
    ran = process("checkpoint", "--data", data, stdout=sending)
    os.close(sending)
    assert (ran.code, ran.err) == (1, "")
