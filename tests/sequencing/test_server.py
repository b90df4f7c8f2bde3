"""The server and the client over a real socket: what a caller sees is what `Ledger.append` would have shown."""

import logging
import os
import socket
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from ledger import Ledger
from ledger.errors import (
    ConfigError,
    EventConflictError,
    EventError,
    OverloadedError,
    StoreError,
    StoreFullError,
)
from ledger.proofs import verify_receipt
from ledger.sequencing import frames
from ledger.sequencing.client import RemoteAppender
from ledger.sequencing.errors import SequencerAwayError, SequencerMismatchError
from ledger.sequencing.frames import Request, format_request, framed
from ledger.sequencing.local import connect, listening
from ledger.sequencing.server import Limits
from ledger.witness.errors import AnchorOverdueError


def wait_for(condition):
    """Until something that another thread does has happened; a defect shows as the test's own limit."""
    while not condition():
        time.sleep(0.01)


def rest_of(connection):
    """Everything until the other side closes."""
    data = b""
    try:
        while part := connection.recv(65536):
            data += part
    except ConnectionResetError:
        pass
    return data


def test_receipts_are_those_of_the_ledger_itself(serve, make_event):
    events = [make_event("a"), make_event("b", type="x.y.z.v1", time=None), make_event("c", data=None, type="x")]
    served = serve()
    receipts = served.remote.append(events)
    assert [receipt.new for receipt in receipts] == [True] * 3
    policy = f"log {served.ledger.vkey}\nquorum none\n".encode()
    for receipt in receipts:
        verify_receipt(served.ledger.prove(receipt.index), served.ledger.entry(receipt.index).entry, policy)
    again = served.remote.append(events)
    assert again == served.ledger.append(events)  # the ledger knows them all
    assert [receipt.as_json() for receipt in again] == [receipt.as_json() for receipt in receipts]


def test_the_entry_is_the_same_as_one_made_in_process(serve, make_event, tmp_path):
    served = serve()
    event = make_event("one", time="2026-03-10T10:00:00.5+01:00", sequence=3)
    [remote] = served.remote.append([event])
    with Ledger.create(tmp_path / "other", "example.org/other") as other:
        [local] = other.append([event])
        theirs = other.entry(local.index).decode()
    ours = served.ledger.entry(remote.index).decode()
    assert ours.time == theirs.time == "2026-03-10T09:00:00.500Z"
    assert (ours.type, ours.id, ours.source, ours.version) == (theirs.type, theirs.id, theirs.source, theirs.version)


def test_batches_stand_and_fall_alone(serve, make_event):
    served = serve()
    good, conflict = (
        served.remote.batch([make_event("a")]),
        served.remote.batch([make_event("x"), make_event("a", subject="s")]),
    )
    empty = served.remote.batch([])
    results = served.remote.append_each([good, conflict, empty, good])
    assert [len(result) if isinstance(result, list) else type(result) for result in results] == [
        1,
        EventConflictError,
        0,
        1,
    ]
    [error] = [result for result in results if isinstance(result, Exception)]
    with pytest.raises(EventConflictError) as local:
        served.ledger.append([make_event("x"), make_event("a", subject="s")])
    assert (str(error), vars(error)) == (str(local.value), vars(local.value))
    assert served.ledger.size() == 2
    assert served.remote.append_each([]) == []


def test_what_is_malformed_is_refused_before_it_is_sent(serve, make_event):
    served = serve()
    served.stop()
    for events in ([make_event("a"), make_event("b", time="soon")], [make_event(str(n)) for n in range(1001)]):
        with pytest.raises(EventError) as remote:
            served.remote.append(events)
        with pytest.raises(EventError) as local:
            served.ledger.append(events)
        assert (str(remote.value), vars(remote.value)) == (str(local.value), vars(local.value))


def test_what_all_workers_send_while_a_commit_is_under_way_shares_the_next(serve, make_event):
    served = serve()
    with ThreadPoolExecutor(9) as pool:
        with served.ledger._sequencer._lock:  # a commit that takes long
            first = pool.submit(served.remote.append, [make_event("first")])
            wait_for(lambda: served.ledger._sequencer._queue)
            others = [pool.submit(served.remote.append, [make_event(f"other-{n}")]) for n in range(8)]
            wait_for(lambda: len(served.server._queue) == 8)
        receipts = [future.result(20)[0] for future in (first, *others)]
    assert sorted(receipt.index for receipt in receipts) == list(range(1, 10))
    with served.ledger.database.read() as connection:
        sizes = [row[0] for row in connection.execute("SELECT size FROM checkpoint ORDER BY size")]
    assert sizes == [1, 2, 10]


def test_what_is_too_much_is_refused_and_what_waits_is_kept(serve, make_event):
    served = serve(limits=Limits(batches=2))
    with ThreadPoolExecutor(4) as pool:
        with served.ledger._sequencer._lock:  # the store has stalled
            sent = [pool.submit(served.remote.append, [make_event(f"sent-{n}")]) for n in range(4)]
            wait_for(lambda: sum(future.done() for future in sent) == 2)
        refused = [future.exception(20) for future in sent if future.exception(20)]
        assert [type(error) for error in refused] == [OverloadedError] * 2
        assert [future.result(20)[0].new for future in sent if not future.exception(20)] == [True] * 2
    assert served.ledger.size() == 3
    assert served.remote.append([make_event("later")])[0].new


def test_a_request_larger_than_all_that_may_wait_is_refused(serve, make_event):
    served = serve(limits=Limits(size=200))
    with pytest.raises(OverloadedError, match="nothing of this"):
        served.remote.append([make_event()])
    assert served.ledger.size() == 1


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0\0\0\0",
        b"\xff\xff\xff\xff",
        framed(b"\x02"),
        framed(b"\x01\0\1x"),
        framed(format_request(Request(1, ((b"{}",),)))),
        framed(format_request(Request(1, ((b'{"id":"a","source":"b","type":"c"}',) * 1001,)))),
    ],
)
def test_a_malformed_frame_ends_its_connection_and_no_other(serve, make_event, caplog, garbage):
    served = serve()
    served.remote.append([make_event("before")])
    with caplog.at_level(logging.ERROR, "tocsin.sequencer"), connect(served.path, 20) as connection:
        connection.sendall(garbage)
        greeting = framed(frames.format_greeting(frames.Greeting(1, served.ledger.origin)))
        assert rest_of(connection) == greeting
    assert "A connection was closed" in caplog.text
    assert "unexpected" not in caplog.text
    [receipt] = served.remote.append([make_event("after")])
    assert receipt.index == 2


def test_half_a_frame_harms_nobody(serve, make_event):
    served = serve()
    with connect(served.path, 20) as half, connect(served.path, 20) as gone:
        half.sendall(b"\0\0\1\0half")
        gone.sendall(b"\0\0")
        gone.close()
        assert served.remote.append([make_event()])[0].index == 1
        served.stop()  # does not wait for the other half


def test_a_worker_that_goes_away_in_the_middle_takes_nobody_with_it(serve, make_event):
    served = serve()
    request = framed(format_request(Request(1, (served.remote.batch([make_event("gone")]).texts,))))
    with served.ledger._sequencer._lock, connect(served.path, 20) as gone:
        gone.sendall(request)
        wait_for(lambda: served.ledger._sequencer._queue)
        gone.close()
    assert served.remote.append([make_event("stays")])[0].new
    assert not served.remote.append([make_event("gone")])[0].new


def test_another_user_is_sent_away(serve, make_event, caplog):
    served = serve(trusted=os.geteuid() + 1)
    with connect(served.path, 20) as connection:
        assert rest_of(connection) == b""
    assert f"user {os.geteuid()} connected" in caplog.text
    with pytest.raises(SequencerAwayError):
        served.remote.append([make_event()])
    assert served.ledger.size() == 1


def test_connections_are_bounded(serve, make_event):
    served = serve(limits=Limits(connections=2))
    with connect(served.path, 20) as one, connect(served.path, 20) as two:
        for connection in (one, two):
            assert connection.recv(1)
        with connect(served.path, 20) as third:
            assert rest_of(third) == b""
    assert served.remote.append([make_event()])[0].new


def test_stopping_finishes_and_answers_what_was_begun(serve, make_event):
    served = serve()
    with ThreadPoolExecutor(2) as pool:
        with served.ledger._sequencer._lock:
            begun = pool.submit(served.remote.append, [make_event()])
            wait_for(lambda: served.ledger._sequencer._queue)
            stopping = pool.submit(served.stop)
            wait_for(lambda: _refused(served.path))
            assert not begun.done()
        assert begun.result(20)[0].new
        stopping.result(20)
    assert not served.path.exists()


def _refused(path):
    try:
        connect(path, 1).close()
    except OSError:
        return True
    return False


def test_a_leader_that_lost_the_lock_stops(serve, make_event, monkeypatch, caplog):
    monkeypatch.setattr("ledger.sequencing.server._LOOK_S", 0.01)
    leads = threading.Event()
    leads.set()
    served = serve(leads=leads.is_set)
    assert served.remote.append([make_event()])[0].new
    leads.clear()
    wait_for(lambda: not served.path.exists())
    assert "leads no more" in caplog.text
    with pytest.raises(SequencerAwayError):
        served.remote.append([make_event("b")])


def test_the_budget_of_the_witnesses_is_asked_on_both_sides(serve, make_event):
    served = serve()

    def late():
        raise AnchorOverdueError("The witnesses are late.")

    served.ledger.before_append = late
    with pytest.raises(AnchorOverdueError, match="late"):
        served.remote.append([make_event()])
    served.ledger.before_append = lambda: None
    worker = RemoteAppender(served.path, served.ledger.origin, before_append=late)
    with pytest.raises(AnchorOverdueError, match="late"):
        worker.batch([make_event()])
    assert served.ledger.size() == 1


@pytest.mark.parametrize(
    ("error", "kind"), [(StoreFullError("full"), StoreFullError), (ZeroDivisionError("cust-1"), StoreError)]
)
def test_a_failure_of_the_store_reaches_all_who_wait(serve, make_event, monkeypatch, error, kind):
    served = serve()

    def fail(_batches):
        raise error

    monkeypatch.setattr(served.ledger, "append_each", fail)
    with pytest.raises(kind) as caught:
        served.remote.append([make_event()])
    assert type(caught.value) is kind
    assert "cust-1" not in str(caught.value)
    monkeypatch.undo()
    assert served.remote.append([make_event()])[0].new


def test_the_socket_is_for_its_owner_and_replaces_a_dead_one(serve, data, make_event):
    path = data / "sequencer.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert path.exists()
    served = serve()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert served.remote.append([make_event()])[0].new
    assert [each.name for each in data.iterdir() if "sock" in each.name] == ["sequencer.sock"]
    served.stop()
    assert not path.exists()


def test_a_file_that_is_no_socket_is_left_alone(tmp_path):
    path = tmp_path / "sequencer.sock"
    path.write_text("notes")
    with pytest.raises(ConfigError, match="no socket"), listening(path):
        pass
    assert path.read_text() == "notes"
    with pytest.raises(ConfigError, match="--socket"), listening(tmp_path / "nowhere" / "s"):
        pass


def test_the_socket_of_the_next_leader_is_left_alone(tmp_path):
    path = tmp_path / "sequencer.sock"
    with listening(path):
        with listening(path):
            pass
        assert not path.exists()
        taken = listening(path)
        taken.__enter__()
    assert path.exists()
    taken.__exit__(None, None, None)
    assert not path.exists()


def test_a_long_way_to_the_socket_is_no_obstacle(ledger, tmp_path, make_event, running_at):
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    with running_at(ledger, deep / "sequencer.sock"):
        remote = RemoteAppender(deep / "sequencer.sock", ledger.origin)
        assert remote.append([make_event()])[0].new
        remote.close()


def test_a_sequencer_of_another_log_is_refused(serve, make_event):
    served = serve()
    with pytest.raises(SequencerMismatchError, match=r"another log than example\.org/mine"):
        RemoteAppender(served.path, "example.org/mine").append([make_event()])
    assert served.ledger.size() == 1
