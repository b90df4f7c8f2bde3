"""`tocsin sequencer` as processes of their own: who leads, who takes over, and what survives kill -9."""

import select
import signal
import subprocess
import threading
import time
from contextlib import ExitStack, contextmanager

import pytest

from ledger import Ledger
from ledger.errors import TocsinError
from ledger.proofs import verify_receipt
from ledger.sequencing.client import RemoteAppender
from ledger.sequencing.errors import SequencerAwayError
from ledger.sequencing.leader import LOCK, FileLock
from ledger.sequencing.local import SOCKET

ORIGIN = "example.org/sequenced"
STANDS_BY = "Another sequencer leads; this one stands by.\n"


@pytest.fixture
def sequencer(data, program, tocsin):
    """Starts `tocsin sequencer` on the data directory."""

    @contextmanager
    def start(*options):
        with program([*tocsin, "sequencer", "--data", data, *options]) as process:
            yield process

    return start


@pytest.fixture
def pair(sequencer):
    """A leader and a standby."""

    @contextmanager
    def start():
        with sequencer() as leader:
            assert listens(leader)
            with sequencer() as standby:
                assert standby.stdout.readline() == STANDS_BY
                yield leader, standby

    return start


def listens(process):
    return process.stdout.readline().startswith("The sequencer listens on ")


@pytest.fixture
def appender(data):
    """Makes ways to whoever leads."""
    with ExitStack() as stack:

        def make(**options):
            made = RemoteAppender(data / SOCKET, ORIGIN, **({"patience_s": 60.0} | options))
            stack.callback(made.close)
            return made

        yield make


@pytest.mark.usefixtures("each_store")
def test_killed_in_the_middle_of_the_load_the_standby_takes_over_and_nothing_is_lost(
    appender, data, pair, make_event, intact
):
    receipts, failures, enough = [], [], threading.Event()

    def work(name):
        remote = appender()
        try:
            for number in range(60):
                receipts.extend(
                    remote.append([make_event(f"{name}-{number}-{part}") for part in range(1 + number % 3)])
                )
                if len(receipts) > 60:
                    enough.set()
        except TocsinError as error:
            failures.append(error)
        finally:
            enough.set()

    with pair() as (leader, standby):
        threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        assert enough.wait(60)
        leader.kill()
        for thread in threads:
            thread.join(120)
        assert listens(standby)
    assert failures == []
    assert sorted(receipt.index for receipt in receipts) == list(range(1, 1 + 4 * 120))
    with Ledger.open(data) as ledger:
        policy = f"log {ledger.vkey}\nquorum none\n".encode()
        for receipt in receipts:
            stored = ledger.entry(receipt.index)
            verify_receipt(ledger.prove(receipt.index), stored.entry, policy)
            assert ledger.find(receipt.source, receipt.id).entry_hash == receipt.entry_hash
    assert intact(data) == 1 + 4 * 120


@pytest.mark.usefixtures("each_store")
def test_when_the_leader_is_stopped_the_standby_takes_over_and_can_be_stopped_itself(appender, data, pair, make_event):
    with pair() as (leader, standby):
        remote = appender()
        [first] = remote.append([make_event("a")])
        leader.send_signal(signal.SIGTERM)
        [second] = remote.append([make_event("b")])
        assert leader.wait(20) == 0
        assert listens(standby)
        assert (first.index, second.index) == (1, 2)
        standby.send_signal(signal.SIGINT)
        assert standby.wait(20) == 0
    assert not (data / SOCKET).exists()
    assert FileLock(data / LOCK).take()


def test_a_standby_that_is_stopped_leaves_the_leader_alone(appender, pair, make_event):
    with pair() as (leader, standby):
        standby.send_signal(signal.SIGTERM)
        assert standby.wait(20) == 0
        assert appender().append([make_event()])[0].new
        assert leader.poll() is None


def test_a_leader_that_is_paused_keeps_its_place_until_it_is_dead(appender, data, pair, make_event, intact):
    with pair() as (leader, standby):
        remote = appender(reply_s=0.3)
        [first] = remote.append([make_event("a")])
        leader.send_signal(signal.SIGSTOP)
        with pytest.raises(SequencerAwayError, match="not known"):
            remote.append([make_event("b")])
        time.sleep(0.5)  # the standby looks several times meanwhile
        assert not FileLock(data / LOCK).take()
        leader.send_signal(signal.SIGCONT)
        late = appender().append([make_event("b")])
        assert [each.index for each in late] == [2]
        leader.send_signal(signal.SIGSTOP)
        leader.kill()
        assert listens(standby)
        assert appender().append([make_event("a")])[0].as_json() == first.as_json()
        assert appender().append([make_event("c")])[0].index == 3
    assert intact(data) == 4


def test_a_socket_that_a_killed_leader_left_is_replaced(appender, data, sequencer, make_event):
    with sequencer() as leader:
        assert listens(leader)
        leader.kill()
        leader.wait(20)
    assert (data / SOCKET).is_socket()
    with sequencer() as leader:
        assert listens(leader)
        assert appender().append([make_event()])[0].new


def test_many_start_at_once_and_one_leads(appender, data, sequencer, make_event, intact):
    with ExitStack() as stack:
        running = [stack.enter_context(sequencer()) for _ in range(4)]
        first = {process: process.stdout.readline() for process in running}
        for number in range(4):
            [leads] = [process for process, line in first.items() if line.startswith("The sequencer")]
            assert all(line == STANDS_BY for process, line in first.items() if process is not leads)
            assert appender().append([make_event(f"{number}")])[0].index == number + 1
            leads.kill()
            leads.wait(20)
            del first[leads]
            waiting = {process.stdout.fileno(): process for process in first}
            if waiting:
                ready, _, _ = select.select(list(waiting), [], [], 60)
                process = waiting[ready[0]]
                first[process] = process.stdout.readline()
    assert intact(data) == 5


def test_one_clear_line_for_what_cannot_work(data, tmp_path, program, tocsin):
    (tmp_path / "notes").write_text("notes")
    for arguments, words in (
        (["--data", tmp_path / "nothing"], "tocsin init"),
        (["--data", data, "--socket", tmp_path / "notes"], "is no socket"),
        (["--data", data, "--policy", tmp_path / "none"], "cannot be read"),
    ):
        with program([*tocsin, "sequencer", *arguments], stderr=subprocess.PIPE) as process:
            _, err = process.communicate(timeout=60)
            assert process.returncode == 1
            assert err.startswith("tocsin: ")
            assert words in err
            assert "Traceback" not in err
