"""One leader at a time, and the next one when it is gone."""

import signal
import sys

import pytest

from ledger import Ledger
from ledger.errors import ConfigError
from ledger.sequencing.leader import LOCK, FileLock, lead, leader_lock

HOLDER = """
import sys, time
from pathlib import Path
from ledger.sequencing.leader import FileLock
print(FileLock.take(lock := FileLock(Path(sys.argv[1]))), flush=True)
time.sleep(60)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / LOCK


def test_at_most_one_holds_the_lock(path):
    first, second = FileLock(path), FileLock(path)
    assert first.take()
    assert first.take()  # it has it already
    assert (second.take(), second.held()) == (False, False)
    second.release()
    assert not second.take()
    first.release()
    assert not first.held()
    assert second.take()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_lock_whose_file_was_removed_locks_nobody_out_and_says_so(path):
    first, second = FileLock(path), FileLock(path)
    assert first.take()
    path.unlink()
    assert not first.held()
    assert second.take()
    assert second.held()
    assert not first.held()
    assert not first.take()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_system_frees_the_lock_of_the_dead(path, program, number):
    with program([sys.executable, "-c", HOLDER, path]) as holder:
        assert holder.stdout.readline() == "True\n"
        lock = FileLock(path)
        assert not lock.take()
        holder.send_signal(signal.SIGSTOP)
        assert not lock.take()  # stopped is not dead
        holder.send_signal(number)
        holder.send_signal(signal.SIGCONT)
        holder.wait(20)
        assert lock.take()


def test_who_waits_says_so_once_and_leads_when_the_other_ends(path):
    first, second = FileLock(path), FileLock(path)
    first.take()
    said, pauses = [], []

    def pause(_seconds):
        pauses.append(1)
        if len(pauses) == 3:
            first.release()
        return False

    assert lead(second, lambda: said.append("waits"), pause)
    assert (said, len(pauses), second.held()) == (["waits"], 3, True)
    assert lead(second, lambda: said.append("never"), pause)
    assert said == ["waits"]


def test_who_waits_can_be_told_to_give_up(path):
    first, second = FileLock(path), FileLock(path)
    first.take()
    assert not lead(second, lambda: None, lambda _seconds: True)
    assert not second.held()


@pytest.mark.usefixtures("each_store")
def test_a_ledger_has_its_lock_where_its_store_is(data):
    with Ledger.open(data) as ledger, Ledger.open(data) as other:
        first, second = leader_lock(ledger), leader_lock(other)
        assert (first.held(), first.take(), first.held(), first.take()) == (False, True, True, True)
        assert (second.take(), second.held()) == (False, False)
        first.release()
        first.release()
        assert second.take()
        assert not first.take()
        second.release()


def test_the_lock_of_a_ledger_in_a_file_is_beside_it(ledger):
    lock = leader_lock(ledger)
    assert lock.take()
    assert not FileLock(ledger.directory / LOCK).take()


def test_a_lock_that_cannot_be_made_says_where(tmp_path):
    with pytest.raises(ConfigError, match=LOCK):
        FileLock(tmp_path / "nowhere" / LOCK).take()
