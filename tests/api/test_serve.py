"""`tocsin serve` as a process of its own: what it refuses, what it serves, what survives kill -9."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from api.cli import serve
from api.http import cloudevents
from ledger import Ledger
from ledger.errors import ConfigError

COMMAND = [sys.executable, "-c", "from api.cli import main; main()", "serve", "--port", "0", "--data"]
TOKEN = "correct-horse-battery-staple"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    directory = tmp_path / "data"
    Ledger.create(directory, "example.org/serve").close()
    return directory


@contextmanager
def serving(data: Path, *options: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start the server and wait for the line that says where it listens."""
    variables = {name: value for name, value in os.environ.items() if name != "TOCSIN_TOKEN"}
    log = data.parent / "serve.log"
    with log.open("w") as err:
        process = subprocess.Popen(
            [*COMMAND, str(data), *options], stdout=subprocess.PIPE, stderr=err, text=True, env=variables | environment
        )
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            found = re.search(r"http://\S+:\d+/", line)
            assert found is not None, line + log.read_text()
            yield process, found[0]
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(20)
            process.stdout.close()


def refused(data: Path, *options: str, **environment: str) -> str:
    """Start the server where it must not start; gives its one line."""
    variables = {name: value for name, value in os.environ.items() if name != "TOCSIN_TOKEN"}
    done = subprocess.run(
        [*COMMAND, str(data), *options],
        check=False,
        capture_output=True,
        text=True,
        env=variables | environment,
        timeout=60,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("tocsin: ")
    return done.stderr


def test_a_whole_visit_and_a_clean_end(data: Path, make_event: Callable[..., dict[str, Any]]) -> None:
    with serving(data, "--tick", "0.05") as (process, base):
        assert base.startswith("http://127.0.0.1:")
        with httpx2.Client(base_url=base) as client:
            sent = client.post("/v1/events", json=make_event(), headers={"content-type": cloudevents.STRUCTURED})
            assert sent.status_code == 201
            assert "server" not in sent.headers
            assert client.get("/", headers={"accept": "text/html"}).status_code == 200
            assert client.get("/checkpoint").text.startswith("example.org/serve\n2\n")
            assert client.get("/healthz", headers={"host": "rebound.example.org"}).status_code == 421
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in {0, -signal.SIGTERM}
    log = (data.parent / "serve.log").read_text()
    assert "POST /v1/events 201" in log
    assert "Traceback" not in log
    for private in ("cust-1", "employee-7", "event-1"):
        assert private not in log


def test_an_acknowledged_event_survives_kill_9(data: Path, make_event: Callable[..., dict[str, Any]]) -> None:
    receipts: list[dict[str, Any]] = []
    with serving(data) as (process, base), httpx2.Client(base_url=base) as client:
        for number in range(5):
            lines = "\n".join(json.dumps(make_event(f"{number}-{item}")) for item in range(50))
            answer = client.post("/v1/events", content=lines, headers={"content-type": cloudevents.NDJSON})
            receipts += answer.json()["receipts"]
        process.kill()
        assert process.wait(20) == -signal.SIGKILL
    assert len(receipts) == 250
    with Ledger.open(data) as ledger:
        for receipt in receipts:
            found = ledger.find(receipt["source"], receipt["id"])
            assert found is not None
            assert (found.index, found.entry_hash) == (receipt["index"], receipt["entry_hash"])
    with serving(data) as (_, base), httpx2.Client(base_url=base) as client:
        again = client.post("/v1/events", json=make_event("0-0"), headers={"content-type": cloudevents.STRUCTURED})
        assert again.status_code == 200
        assert again.json() == receipts[0]


def test_any_interleaving_of_repeats_records_each_event_once(
    data: Path, make_event: Callable[..., dict[str, Any]]
) -> None:
    with serving(data) as (_, base), httpx2.Client(base_url=base) as client:

        def send(number: int) -> tuple[int, dict[str, Any]]:
            made = make_event(f"repeat-{number % 10}")
            answer = client.post("/v1/events", json=made, headers={"content-type": cloudevents.STRUCTURED})
            return answer.status_code, answer.json()

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(send, range(80)))
        assert client.get("/readyz").json()["size"] == 11
    assert sorted(status for status, _ in answers) == [200] * 70 + [201] * 10
    assert len({json.dumps(receipt, sort_keys=True) for _, receipt in answers}) == 10


def test_a_big_upload_is_refused_before_it_is_sent(data: Path) -> None:
    with serving(data) as (_, base):
        host, port = re.fullmatch(r"http://(.*):(\d+)/", base).groups()  # type: ignore[union-attr]
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(
                f"POST /v1/events HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-ndjson\r\n"
                "Content-Length: 9000000\r\nExpect: 100-continue\r\n\r\n".encode()
            )
            assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_another_address_needs_a_token(data: Path) -> None:
    assert "TOCSIN_TOKEN" in refused(data, "--host", "0.0.0.0")
    assert "shorter than 20" in refused(data, "--host", "0.0.0.0", TOCSIN_TOKEN="short")
    with serving(data, "--host", "0.0.0.0", TOCSIN_TOKEN=TOKEN) as (_, base):
        url = base.replace("0.0.0.0", "127.0.0.1")
        assert httpx2.get(url + "readyz").status_code == 401
        assert httpx2.get(url + "readyz", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_one_clear_line_for_what_cannot_work(data: Path, tmp_path: Path) -> None:
    assert "tocsin init" in refused(tmp_path / "nothing")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        # The last --port wins.
        line = refused(data, "--port", str(taken.getsockname()[1]))
    assert "Cannot listen on 127.0.0.1" in line
    with pytest.raises(ConfigError, match="--port"):
        serve.listen("192.0.2.1", 0)
