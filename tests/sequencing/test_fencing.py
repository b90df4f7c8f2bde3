"""A leader that was paused and wakes while another one leads: the head row keeps the log whole."""

import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from ledger import Ledger
from ledger.errors import StoreBusyError
from ledger.sequencing.client import RemoteAppender
from ledger.store import sequencer as sequencer_module

PAUSING = Path(__file__).with_name("pausing.py")


def wait_until_stopped(process):
    """Until the system says that the process is stopped."""
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)


@pytest.fixture
def leader(ledger, program):
    """Starts a leader that stops itself at a point; gives the process, a way to it, and the ledger."""

    @contextmanager
    def start(point):
        path = ledger.directory / "old.sock"
        with program([sys.executable, PAUSING, ledger.directory, path, point]) as process:
            assert process.stdout.readline() == "listening\n"
            remote = RemoteAppender(path, ledger.origin)
            yield process, remote, ledger
            remote.close()

    return start


@pytest.mark.usefixtures("each_store")
@pytest.mark.parametrize("point", ["before", "inside"])
def test_an_old_leader_that_wakes_extends_the_log_that_grew_meanwhile(leader, make_event, running_at, intact, point):
    with leader(point) as (old, to_old, ledger), ThreadPoolExecutor(2) as pool:
        new_path = ledger.directory / "sequencer.sock"
        [first] = to_old.append([make_event("first")])
        second = pool.submit(to_old.append, [make_event("second"), make_event("third")])
        wait_until_stopped(old)
        with running_at(ledger, new_path):  # the lock was lost, so another one leads
            to_new = RemoteAppender(new_path, ledger.origin)
            new = pool.submit(to_new.append, [make_event("new")])
            if point == "before":
                [taken] = new.result(20)
            else:
                time.sleep(0.2)
                assert not new.done()  # the write transaction is the old one's still
            old.send_signal(signal.SIGCONT)
            woken = second.result(20)
            [taken] = new.result(20)
            # Told again by the new leader, nothing is recorded twice.
            assert [each.as_json() for each in to_new.append([make_event("second"), make_event("third")])] == [
                each.as_json() for each in woken
            ]
            assert to_old.append([make_event("new")]) == to_new.append([make_event("new")])
            to_new.close()
        indices = [first.index, taken.index, *(each.index for each in woken)]
        assert sorted(indices) == [1, 2, 3, 4]
        assert (taken.index == 2) == (point == "before")
    assert intact(ledger.directory) == 5


@pytest.mark.usefixtures("each_store")
def test_a_writer_that_read_the_head_too_early_fails_and_writes_nothing(data, make_event, intact, monkeypatch):
    """What a store without a write lock could let happen: the head is read, another writer commits, then we do."""
    with Ledger.open(data) as paused, Ledger.open(data) as other:
        paused.append([make_event("first")])
        read_head = sequencer_module.read_head
        with paused.database.read() as connection:
            stale = read_head(connection)
        other.append([make_event("second")])
        with monkeypatch.context() as patched:
            patched.setattr(sequencer_module, "read_head", lambda _connection: stale)
            with pytest.raises(StoreBusyError):
                paused.append([make_event("third")])
        assert paused.size() == 3
        assert paused.append([make_event("third")])[0].index == 3
        assert other.append([make_event("fourth")])[0].index == 4
    assert intact(data) == 5
