"""Logs that can be forked at will, and witnesses on real sockets."""

from __future__ import annotations

import http.client
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn

from api.cli.serve import listen
from api.witness import create_app
from ledger import Ledger
from ledger.checkpoint import Checkpoint
from ledger.merkle import consistency_proof, leaf_hash, root_hash
from ledger.notes import Signer, sign_note
from ledger.witness.config import make_witness
from ledger.witness.core import format_submission
from ledger.witness.service import Witness

ORIGIN = "log.example/behind-the-sofa"
WITNESS = "witness.example/w1"


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 3, 10, 9, 0, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class Log:
    """A log of numbered leaves; from leaf `fork_at` on, each branch has its own."""

    origin: str = ORIGIN
    seed: bytes = b"\x11" * 32
    fork_at: int = 1 << 30
    signer: Signer = field(init=False)

    def __post_init__(self) -> None:
        self.signer = Signer.from_seed(self.origin.replace(" ", "-"), self.seed)

    def leaves(self, size: int, branch: int = 0) -> list[bytes]:
        return [leaf_hash(b"%d/%d" % (n, branch if n >= self.fork_at else 0)) for n in range(size)]

    def root(self, size: int, branch: int = 0) -> bytes:
        return root_hash(self.leaves(size, branch))

    def note(self, size: int, branch: int = 0, root: bytes | None = None) -> bytes:
        return self.sign(Checkpoint(self.origin, size, self.root(size, branch) if root is None else root).format())

    def sign(self, text: str) -> bytes:
        return sign_note(text, [self.signer])

    def proof(self, old: int, new: int, branch: int = 0) -> list[bytes]:
        return consistency_proof(self.leaves(new, branch), old)

    def body(self, old: int, new: int, branch: int = 0) -> bytes:
        return format_submission(old, self.proof(old, new, branch) if old <= new else [], self.note(new, branch))


@dataclass
class Reply:
    status: int
    content_type: str | None
    body: bytes
    headers: dict[str, str]


def ask(url: str, method: str, path: str, body: bytes | None = None) -> Reply:
    """One request on a connection of its own, to see exactly what is on the wire."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
    try:
        connection.request(method, parts.path + path, body)
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return Reply(answer.status, headers.get("content-type"), answer.read(), headers)
    finally:
        connection.close()


def post(url: str, body: bytes) -> Reply:
    return ask(url, "POST", "/add-checkpoint", body)


@contextmanager
def running(witness: Witness, prefix: str = "") -> Iterator[str]:
    """Serve a witness from a thread; gives its URL."""
    with listen("127.0.0.1", 0) as listener:
        config = uvicorn.Config(create_app(witness, prefix), log_config=None, lifespan="off", ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}{prefix}"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def process(code: str, *arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run a program that announces `listening on URL` and serves; gives the URL and the process."""
    child = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        line = child.stdout.readline()
        found = re.search(r"listening on (\S+)", line)
        assert found, line + child.stderr.read()
        yield found[1], child
    finally:
        child.terminate()
        child.communicate(timeout=20)


@contextmanager
def odd(answer):
    """A witness that does what `answer(method, path, body)` says: (status, headers, body)."""

    class Handler(BaseHTTPRequestHandler):
        def respond(self):
            length = int(self.headers.get("content-length") or 0)
            status, headers, body = answer(self.command, self.path, self.rfile.read(length))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            with suppress(ConnectionError):  # a client that did not wait
                self.wfile.write(body)

        do_GET = do_POST = respond  # noqa: N815 - the names the library calls

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log() -> Log:
    return Log(fork_at=3)


@pytest.fixture
def make(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., Witness]]:
    """Makes witnesses that know `log`; each in its own directory."""
    opened: list[Witness] = []

    def build(name: str = WITNESS, *vkeys: tuple[str, Any]) -> Witness:
        directory = tmp_path / name.replace("/", "-")
        make_witness(directory, name)
        witness = Witness.open(directory, clock=clock)
        for origin, verifier in vkeys:
            witness.store.add_log(origin, verifier)
        opened.append(witness)
        return witness

    yield build
    for witness in opened:
        witness.close()


@pytest.fixture
def witness(make: Callable[..., Witness], log: Log) -> Witness:
    return make(WITNESS, (log.origin, log.signer.verifier))


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    with Ledger.create(tmp_path / "ledger", "example.org/audit", clock=clock) as opened:
        yield opened


@pytest.fixture(scope="session")
def tools() -> Any:
    """The helpers of this file, for tests that cannot import it."""
    return sys.modules[__name__]
