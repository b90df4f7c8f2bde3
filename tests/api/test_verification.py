"""Verification in the background: when it runs, what it records, what the overview then says."""

import json
import os
import re
import signal
import sqlite3
import threading
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from api import verification
from api.http import create_app
from api.verification import FAILED, PASSED, Verification
from ledger import Ledger
from ledger.verifying.resume import FILE

DAY = timedelta(hours=24)


def page(ledger: Ledger, incidents: Any, checked: Verification) -> str:
    with TestClient(create_app(ledger, incidents, verification=checked), base_url="http://127.0.0.1") as client:
        answer = client.get("/", headers={"accept": "text/html"})
        assert answer.status_code == 200
        return " ".join(re.sub(r"<[^>]+>", " ", answer.text).split())


def data_of(ledger: Ledger, index: int) -> tuple[str, dict[str, Any]]:
    stored = ledger.entry(index)
    assert stored.payload is not None
    return stored.decode().type, json.loads(stored.payload)["data"]


def test_an_intact_ledger_is_recorded_as_such(ledger: Ledger, incidents: Any, make_event: Any) -> None:
    ledger.append([make_event(f"event-{number}") for number in range(20)])
    ledger.access.follow()
    checked = Verification(ledger, DAY)
    assert checked.last() is None
    run = checked.run()
    assert run is not None
    assert (run.failed, run.size, run.entry) == (False, 21, 21)
    kind, data = data_of(ledger, 21)
    assert kind == PASSED
    assert (data["size"], data["mode"]) == (21, "full")
    assert re.fullmatch("[0-9a-f]{64}", data["findings"])
    assert (ledger.directory / FILE).exists()
    assert "Verified in full" in page(ledger, incidents, checked)
    # Another process, or this one started again, knows it too.
    assert Verification(ledger, DAY).last() == run


@pytest.mark.sqlite
def test_damage_is_recorded_and_the_overview_names_the_first_broken_entry(
    ledger: Ledger, incidents: Any, make_event: Any
) -> None:
    ledger.append([make_event(f"event-{number}") for number in range(20)])
    with closing(sqlite3.connect(ledger.directory / "ledger.db")) as connection:
        connection.execute("UPDATE event SET payload = x'7b7d' WHERE position = 8")
        connection.commit()
    checked = Verification(ledger, DAY)
    run = checked.run()
    assert run is not None
    assert run.failed
    kind, data = data_of(ledger, 21)
    assert kind == FAILED
    assert (data["kind"], data["first_bad_index"]) == ("payload_altered", 7)
    shown = page(ledger, incidents, checked)
    assert "Verification failed" in shown
    assert "First broken entry: 7 ( payload_altered )" in shown


def test_it_is_due_at_the_interval_and_one_at_a_time(ledger: Ledger, clock: Any, monkeypatch: Any) -> None:
    checked = Verification(ledger, DAY)
    runs: list[int] = []
    hold, begun = threading.Event(), threading.Event()

    def run() -> None:
        runs.append(1)
        begun.set()
        hold.wait(20)

    monkeypatch.setattr(checked, "run", run)
    checked.tick(clock())
    assert runs == []  # a new ledger is not due
    clock.now += DAY
    checked.tick(clock())
    assert begun.wait(20)
    checked.tick(clock())
    assert runs == [1]
    hold.set()
    checked.stop()
    checked.tick(clock())
    assert runs == [1]


def test_a_result_counts_from_when_it_was_recorded(ledger: Ledger, clock: Any) -> None:
    clock.now += DAY
    checked = Verification(ledger, DAY)
    assert checked._due(clock())
    checked.run()
    assert not checked._due(clock())
    clock.now += DAY
    assert checked._due(clock())


def test_a_run_that_is_killed_is_a_failure_and_one_that_is_stopped_is_nothing(ledger: Ledger, monkeypatch: Any) -> None:
    checked = Verification(ledger, DAY)
    original = verification.Pipe.recv_bytes  # the parent waits here for the child's answer

    def kill(connection: Any) -> bytes:
        assert checked._child is not None
        os.kill(checked._child.pid or 0, signal.SIGKILL)
        return original(connection)

    with monkeypatch.context() as patched:
        patched.setattr(verification.Pipe, "recv_bytes", kill)
        run = checked.run()
    assert run is not None
    assert (run.failed, run.kind) == (True, "unreadable")
    size = ledger.size()
    checked.stop()
    assert checked.run() is None
    assert ledger.size() == size


def test_what_cannot_be_read_is_a_failure_too(ledger: Ledger, tmp_path: Path) -> None:
    checked = Verification(ledger, DAY, policy=b"nonsense\n")
    run = checked.run()
    assert run is not None
    assert (run.failed, run.kind, run.first_bad_index) == (True, "unreadable", None)
    assert tmp_path.exists()
