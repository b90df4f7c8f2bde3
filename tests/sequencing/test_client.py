"""The way to the sequencer when it breaks: tried again where that is safe, and a clear end where it is not there."""

import threading
from contextlib import contextmanager, suppress

import pytest

from ledger.errors import EventError, StoreBusyError
from ledger.sequencing import client, frames
from ledger.sequencing.client import RemoteAppender
from ledger.sequencing.errors import FrameError, SequencerAwayError, SequencerMismatchError
from ledger.sequencing.frames import Greeting, Place, Refusal, Reply, format_greeting, format_reply, framed
from ledger.sequencing.local import connect, listening

ORIGIN = "example.org/sequenced"
PLACE = Place(1, bytes(32), "2026-03-10T09:00:00.000Z", True, True)


def exactly(connection, size):
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionResetError
        data += part
    return data


def frame(connection):
    (length,) = frames.LENGTH.unpack(exactly(connection, 4))
    return exactly(connection, length)


@contextmanager
def answering(path, *scripts):
    """A sequencer that handles its first connection by the first script, and so on, the last one for ever."""
    seen = []

    def work(listener):
        while True:
            connection, _ = listener.accept()
            with connection:
                if ended.is_set():
                    return
                script = scripts[min(len(seen), len(scripts) - 1)]
                seen.append(script)
                with suppress(OSError):
                    script(connection)

    ended = threading.Event()
    with listening(path) as listener:
        thread = threading.Thread(target=work, args=(listener,))
        thread.start()
        try:
            yield seen
        finally:
            ended.set()
            connect(path, 20).close()
            thread.join(20)


def greet(connection, version=frames.VERSION, origin=ORIGIN):
    connection.sendall(framed(format_greeting(Greeting(version, origin))))


def hang_up(_connection):
    """Closes at once."""


def lose_the_answer(served):
    """Passes the request on and closes instead of passing the answer back."""

    def script(connection):
        with connect(served.path, 20) as real:
            connection.sendall(framed(frame(real)))
            real.sendall(framed(frame(connection)))
            frame(real)

    return script


def pass_on(served):
    def script(connection):
        with connect(served.path, 20) as real:
            connection.sendall(framed(frame(real)))
            while True:
                real.sendall(framed(frame(connection)))
                connection.sendall(framed(frame(real)))

    return script


def say(*payloads):
    """Greets and answers each request with the next payload."""

    def script(connection):
        greet(connection)
        for payload in payloads:
            frame(connection)
            connection.sendall(framed(payload))
        while connection.recv(65536):
            pass

    return script


def test_a_lost_answer_is_asked_for_again_and_nothing_is_recorded_twice(serve, make_event, tmp_path):
    served = serve()
    events = [make_event("a"), make_event("b")]
    with answering(tmp_path / "s", lose_the_answer(served), hang_up, pass_on(served)) as seen:
        remote = RemoteAppender(tmp_path / "s", ORIGIN)
        receipts = remote.append(events)
        assert len(seen) == 3
        assert [receipt.index for receipt in receipts] == [1, 2]
        assert served.ledger.size() == 3
        assert remote.append(events) == receipts
        assert len(seen) == 3  # over the same connection
        remote.close()


def test_the_next_leader_is_found_without_an_error(serve, make_event, running_at):
    served = serve()
    first = served.remote.append([make_event("a")])
    served.stop()
    with running_at(served.ledger, served.path):
        again = served.remote.append([make_event("a")])
        assert [receipt.as_json() for receipt in again] == [receipt.as_json() for receipt in first]


def test_without_a_sequencer_it_waits_longer_each_time_and_then_says_so(tmp_path, make_event):
    now, slept = [0.0], []

    def sleep(seconds):
        slept.append(seconds)
        now[0] += seconds

    remote = RemoteAppender(tmp_path / "s", ORIGIN, clock=lambda: now[0], sleep=sleep)
    with pytest.raises(SequencerAwayError, match="records nothing twice") as caught:
        remote.append([make_event()])
    assert isinstance(caught.value, StoreBusyError)
    assert slept == sorted(slept)
    assert slept[0] < 0.05
    assert max(slept) == 0.5
    assert 4 < sum(slept) <= client.PATIENCE_S


def test_a_sequencer_that_always_hangs_up_is_given_up(tmp_path, make_event):
    with answering(tmp_path / "s", greet) as seen:
        with pytest.raises(SequencerAwayError, match="is not there"):
            RemoteAppender(tmp_path / "s", ORIGIN, patience_s=0.2).append([make_event()])
        assert 2 < len(seen) < 20


def test_a_sequencer_that_never_answers_is_given_up(tmp_path, make_event):
    with answering(tmp_path / "s", say()) as seen:
        with pytest.raises(SequencerAwayError, match=r"within 0\.1 seconds.*not known"):
            RemoteAppender(tmp_path / "s", ORIGIN, reply_s=0.1).append([make_event()])
        assert len(seen) == 1


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"\3", "too early"),
        (b"GET", "No reply|too early"),
        (format_reply(Reply(7, ((PLACE,),))), "another request"),
        (format_reply(Reply(1, ())), "number of batches"),
        (format_reply(Reply(1, ((PLACE, PLACE),))), "number of receipts"),
        (format_reply(Reply(1, (Refusal("Ouch", "?"),))), "one version"),
    ],
)
def test_an_answer_that_is_none_is_refused(tmp_path, make_event, payload, message):
    with answering(tmp_path / "s", say(payload)):
        remote = RemoteAppender(tmp_path / "s", ORIGIN)
        with pytest.raises(FrameError, match=message):
            remote.append([make_event()])
        remote.close()


def test_who_does_not_greet_as_a_sequencer_is_refused(tmp_path, make_event):
    for script, kind, message in (
        (lambda connection: greet(connection, version=2), SequencerMismatchError, "version 2"),
        (lambda connection: greet(connection, origin="example.org/other"), SequencerMismatchError, "another log"),
        (lambda connection: connection.sendall(framed(b"220 mail")), FrameError, "does not greet"),
        (lambda connection: connection.sendall(b"HTTP/1.1 400"), FrameError, "bytes"),
    ):
        with answering(tmp_path / "s", script), pytest.raises(kind, match=message):
            RemoteAppender(tmp_path / "s", ORIGIN).append([make_event()])


def test_much_at_once_goes_in_several_requests(serve, make_event, monkeypatch):
    served = serve()
    sizes = []
    ask = RemoteAppender._ask
    monkeypatch.setattr(
        RemoteAppender, "_ask", lambda self, request: sizes.append(len(request.batches)) or ask(self, request)
    )
    monkeypatch.setattr(client, "MAX_BATCHES", 3)
    results = served.remote.append_each([served.remote.batch([make_event(str(n))]) for n in range(8)])
    assert sizes == [3, 3, 2]
    assert [result[0].index for result in results] == list(range(1, 9))

    one = served.remote.batch([make_event("x")])
    monkeypatch.setattr(client, "MAX_FRAME", 2 * one.size + client._OVERHEAD)
    sizes.clear()
    served.remote.append_each([one] * 5)
    assert sizes == [2, 2, 1]
    with pytest.raises(EventError, match="smaller batches"):
        served.remote.batch([make_event(str(n)) for n in range(4)])


def test_many_threads_share_an_appender(serve, make_event):
    served = serve()
    indices = []

    def work(name):
        indices.extend(served.remote.append([make_event(f"{name}-{n}")])[0].index for n in range(10))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(indices) == list(range(1, 81))
