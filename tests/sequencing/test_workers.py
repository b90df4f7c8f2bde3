"""`tocsin serve --workers`: several processes answer, one writes, none is left behind."""

import json
import os
import re
import signal
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from api.http import cloudevents
from api.http.guard import SESSION_LIFE
from api.http.sessions import StoredSessions
from ledger import Ledger
from ledger.proofs import verify_receipt
from ledger.sequencing.local import SOCKET

STRUCTURED = {"content-type": cloudevents.STRUCTURED}
TOKEN = "correct-horse-battery-staple"


class Server:
    """A running server: its address, its process and, from its log, those of its children."""

    def __init__(self, process, base, log):
        self.process, self.base, self._log = process, base, log

    @property
    def log(self):
        return self._log.read_text()

    @property
    def workers(self):
        return [int(pid) for pid in re.findall(r"Started server process \[(\d+)\]", self.log)]

    @property
    def sequencers(self):
        return [int(pid) for pid in re.findall(r"tocsin\.workers\[(\d+)\] The sequencer listens", self.log)]

    def wait_for(self, condition):
        while not condition():
            assert self.process.poll() is None, self.log
            time.sleep(0.02)


@pytest.fixture
def serving(data, program, tocsin):
    """Starts the server with two workers and waits until all of it runs."""

    @contextmanager
    def start(*options, sequencers=1, **environment):
        log = data.parent / "serve.log"
        with (
            log.open("w") as err,
            program(
                [*tocsin, "serve", "--port", "0", "--data", data, "--workers", "2", *options],
                stderr=err,
                environment=environment,
            ) as process,
        ):
            line = process.stdout.readline()
            found = re.search(r"http://\S+:\d+/", line)
            assert found is not None, line + log.read_text()
            server = Server(process, found[0], log)
            server.wait_for(lambda: len(server.workers) == 2 and len(server.sequencers) == sequencers)
            try:
                yield server
            finally:
                process.terminate()
                process.wait(40)
            for pid in server.workers + server.sequencers:
                assert gone(pid), server.log

    return start


def gone(pid):
    """Whether a process has ended; a zombie that nobody asks after has."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def post(base, event, **headers):
    """Over a connection of its own, so that any worker may get it."""
    return httpx2.post(base + "v1/events", json=event, headers=STRUCTURED | headers, timeout=60)


def test_two_workers_answer_and_every_receipt_proves(serving, data, make_event, intact):
    receipts = []
    with serving() as server:

        def singles(name):
            with httpx2.Client(base_url=server.base, timeout=60) as client:
                for number in range(25):
                    answer = client.post("/v1/events", json=make_event(f"{name}-{number}"), headers=STRUCTURED)
                    assert answer.status_code == 201, answer.text
                    receipts.append(answer.json())

        def lines(name):
            body = "\n".join(json.dumps(make_event(f"{name}-{number}")) for number in range(200))
            answer = httpx2.post(
                server.base + "v1/events", content=body, headers={"content-type": cloudevents.NDJSON}, timeout=60
            )
            assert answer.status_code == 201, answer.text
            receipts.extend(answer.json()["receipts"])

        with ThreadPoolExecutor(10) as pool:
            for future in [pool.submit(singles, f"s{n}") for n in range(8)] + [
                pool.submit(lines, f"l{n}") for n in range(2)
            ]:
                future.result(120)
        again = post(server.base, make_event("s0-0"))
        assert (again.status_code, again.json()) == (200, next(r for r in receipts if r["id"] == "s0-0"))
        refused = post(server.base, make_event("s0-0", subject="other"))
        assert refused.status_code == 409
        assert refused.json()["errors"][0]["pointer"] == "/id"
        answered = {pid for pid in server.workers if f"tocsin.http[{pid}] POST /v1/events" in server.log}
        assert len(answered) == 2
    assert sorted(receipt["index"] for receipt in receipts) == list(range(1, 601))
    with Ledger.open(data) as ledger:
        policy = f"log {ledger.vkey}\nquorum none\n".encode()
        for receipt in receipts:
            stored = ledger.entry(receipt["index"])
            verify_receipt(ledger.prove(receipt["index"]), stored.entry, policy)
            assert ledger.receipts([receipt["index"]])[0].entry_hash == receipt["entry_hash"]
    assert intact(data) == 601
    assert server.process.returncode == 0
    assert "Traceback" not in server.log
    for private in ("cust-1", "employee-7", "s0-0"):
        assert private not in server.log


@pytest.mark.parametrize("victim", ["workers", "sequencers"])
def test_what_is_killed_is_started_again_and_no_acknowledged_event_is_lost(serving, data, make_event, intact, victim):
    receipts = {}
    with serving() as server:

        def work(name):
            for number in range(20):
                event, answer = make_event(f"{name}-{number}"), None
                while answer is None or answer.status_code == 503:
                    try:
                        answer = post(server.base, event)
                    except httpx2.TransportError:  # the worker that had it was killed: send it again
                        assert victim == "workers"
                assert answer.status_code in {200, 201}
                receipts[event["id"]] = answer.json()

        with ThreadPoolExecutor(4) as pool:
            futures = [pool.submit(work, f"w{n}") for n in range(4)]
            server.wait_for(lambda: len(receipts) > 10)
            os.kill(getattr(server, victim)[0], signal.SIGKILL)
            for future in futures:
                future.result(120)
        server.wait_for(lambda: len(getattr(server, victim)) == (3 if victim == "workers" else 2))
        for number in range(4):
            assert post(server.base, make_event(f"after-{number}")).status_code == 201
        # Not from memory: what was acknowledged is what is there.
        assert post(server.base, make_event("w0-0")).json() == receipts["w0-0"]
    assert sorted(receipt["index"] for receipt in receipts.values()) == list(range(1, 81))
    assert intact(data) == 85
    assert f"ended with {-signal.SIGKILL}" in server.log


def test_children_end_when_the_parent_is_killed(serving, data):
    with serving() as server:
        server.process.kill()
        server.process.wait(20)
        while not all(gone(pid) for pid in server.workers + server.sequencers):
            time.sleep(0.02)
    assert not (data / SOCKET).exists()  # they ended in order


def test_control_c_ends_all_in_order(serving, make_event):
    with serving() as server:
        assert post(server.base, make_event()).status_code == 201
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(40) == 0
    log = server.log
    assert all(log.count(f"Finished server process [{pid}]") == 1 for pid in server.workers)
    assert "did not stop" not in log


def test_a_sequencer_that_runs_already_is_used_and_its_absence_is_said(serving, data, program, tocsin, make_event):
    path = data.parent / "other.sock"
    with program([*tocsin, "sequencer", "--data", data, "--socket", path]) as sequencer:
        assert sequencer.stdout.readline().startswith("The sequencer listens")
        with serving("--sequencer", path, sequencers=0) as server:
            assert post(server.base, make_event("a")).status_code == 201
            sequencer.send_signal(signal.SIGTERM)
            assert sequencer.wait(20) == 0
            answer = post(server.base, make_event("b"))
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
            assert answer.json()["type"] == "/problems/sequencer-away"
            assert str(path) not in answer.text
            malformed = post(server.base, make_event("c", time="soon"))
            assert malformed.status_code == 422  # needs no sequencer
            assert httpx2.get(server.base + "v1/entries/1/proof").status_code == 200  # nor does reading
            with program([*tocsin, "sequencer", "--data", data, "--socket", path]) as again:
                assert again.stdout.readline().startswith("The sequencer listens")
                assert post(server.base, make_event("b")).json()["index"] == 2


def test_who_signed_in_at_one_worker_is_known_to_all(serving):
    with serving("--host", "127.0.0.1", TOCSIN_TOKEN=TOKEN) as server:
        page = {"accept": "text/html"}
        signed_in = httpx2.post(server.base + "login", data={"token": TOKEN, "next": "/"}, headers=page)
        assert signed_in.status_code == 303
        cookie = {"cookie": signed_in.headers["set-cookie"].partition(";")[0], **page}
        asked = set()
        while len(asked) < 2:  # a new connection each time, until both workers have answered
            assert httpx2.get(server.base + "readyz", headers=cookie).status_code == 200
            asked = {pid for pid in server.workers if f"tocsin.http[{pid}] GET /readyz 200" in server.log}
        assert httpx2.post(server.base + "logout", headers=cookie).status_code in {200, 303}
        for _ in range(12):
            assert httpx2.get(server.base + "readyz", headers=cookie).status_code == 303


def test_stored_sessions_end_and_are_bounded(ledger, monkeypatch):
    sessions = StoredSessions(ledger)
    first, second = sessions.open(), sessions.open()
    assert sessions.holds(first)
    assert not sessions.holds("made up")
    StoredSessions(ledger).close(first)
    assert not sessions.holds(first)
    assert sessions.holds(second)
    with ledger.database.read() as connection:
        assert second.encode() not in b"".join(row["key"] for row in connection.execute("SELECT key FROM api_session"))
    monkeypatch.setattr("api.http.sessions.MAX_SESSIONS", 3)
    latest = [sessions.open() for _ in range(3)]
    assert [sessions.holds(one) for one in (second, *latest)] == [False, True, True, True]
    later = StoredSessions(ledger)
    later._clock = lambda: ledger.clock() + SESSION_LIFE
    assert not any(later.holds(one) for one in latest)
    later.open()
    with ledger.database.read() as connection:
        assert connection.execute("SELECT count(*) FROM api_session").fetchone()[0] == 1


def test_one_clear_line_for_what_cannot_work(data, tmp_path, program, tocsin):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for arguments, words in (
            (["--data", data, "--port", taken.getsockname()[1]], "Cannot listen on 127.0.0.1"),
            (["--data", tmp_path / "nothing", "--port", 0], "tocsin init"),
            (["--data", data, "--port", 0, "--host", "0.0.0.0"], "TOCSIN_TOKEN"),
        ):
            with program([*tocsin, "serve", "--workers", 2, *arguments], stderr=subprocess.PIPE) as process:
                out, err = process.communicate(timeout=60)
                assert (process.returncode, out) == (1, "")
                assert words in err
                assert err.startswith("tocsin: ")
                assert "Traceback" not in err


def test_a_second_server_on_the_address_is_refused(serving, data, program, tocsin):
    with serving() as server:
        port = server.base.rstrip("/").rpartition(":")[2]
        for more in ([], ["--workers", "2"]):
            arguments = [*tocsin, "serve", "--data", data, "--port", port, *more]
            with program(arguments, stderr=subprocess.PIPE) as process:
                _, err = process.communicate(timeout=60)
                assert process.returncode == 1
                assert "Cannot listen" in err
