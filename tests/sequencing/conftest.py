"""A real ledger behind a real socket, in this process or in others."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ledger import Ledger
from ledger.sequencing.client import RemoteAppender
from ledger.sequencing.local import listening
from ledger.sequencing.server import Server
from ledger.verifying.directory import verify_directory

ORIGIN = "example.org/sequenced"
TOCSIN = [sys.executable, "-c", "from api.cli import main; main()"]


def event(event_id: str = "event-1", **more: Any) -> dict[str, Any]:
    """A valid event; keyword arguments replace attributes."""
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": "https://crm.example.org/a",
        "type": "org.example.data.view.v1",
        "time": "2026-03-10T09:00:00Z",
        "data": {
            "actor": {"id": "employee-7", "kind": "human"},
            "outcome": "success",
            "resource": {"id": "customers/4711"},
            "subjects": [{"id": "cust-1"}],
            "text": "opened the file",
        },
    } | more


@pytest.fixture
def make_event() -> Callable[..., dict[str, Any]]:
    return event


@pytest.fixture
def data(tmp_path: Path) -> Path:
    directory = tmp_path / "data"
    Ledger.create(directory, ORIGIN).close()
    return directory


@pytest.fixture
def ledger(data: Path) -> Iterator[Ledger]:
    with Ledger.open(data) as opened:
        yield opened


@contextmanager
def running(ledger: Ledger, path: Path, **options: Any) -> Iterator[tuple[Server, Callable[[], None]]]:
    """A server in a thread of this process; gives it and what tells it to stop."""
    ready = threading.Event()
    servers: list[Server] = []
    ends: list[Callable[[], Any]] = []

    def work() -> None:
        async def main() -> None:
            stop, loop = asyncio.Event(), asyncio.get_running_loop()
            ends.append(lambda: loop.call_soon_threadsafe(stop.set))
            with listening(path) as listener:
                servers.append(Server(ledger, listener, **options))
                ready.set()
                await servers[0].run(stop)

        asyncio.run(main())

    thread = threading.Thread(target=work)
    thread.start()
    assert ready.wait(20)

    def stop() -> None:
        if thread.is_alive():
            ends[0]()
        thread.join(20)
        assert not thread.is_alive()

    try:
        yield servers[0], stop
    finally:
        stop()


@dataclass
class Served:
    """A server in a thread, and a way to it."""

    ledger: Ledger
    path: Path
    remote: RemoteAppender
    server: Server
    stop: Callable[[], None]


@pytest.fixture
def serve(ledger: Ledger, data: Path) -> Iterator[Callable[..., Served]]:
    with ExitStack() as stack:

        def start(**options: Any) -> Served:
            path = data / "sequencer.sock"
            server, stop = stack.enter_context(running(ledger, path, **options))
            remote = RemoteAppender(path, ORIGIN, patience_s=0.3)
            stack.callback(remote.close)
            return Served(ledger, path, remote, server, stop)

        yield start


@pytest.fixture
def tocsin() -> list[str]:
    """The command line, as a process of its own."""
    return TOCSIN


@pytest.fixture
def program() -> Callable[..., AbstractContextManager[subprocess.Popen[str]]]:
    """Starts a program whose lines can be read; killed at the end if it still runs."""

    @contextmanager
    def start(arguments: Sequence[object], **options: Any) -> Iterator[subprocess.Popen[str]]:
        variables = {name: value for name, value in os.environ.items() if name != "TOCSIN_TOKEN"}
        process = subprocess.Popen(
            list(map(str, arguments)),
            stdout=subprocess.PIPE,
            text=True,
            env=variables | options.pop("environment", {}),
            **options,
        )
        assert process.stdout is not None
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(20)
            process.stdout.close()

    return start


@pytest.fixture
def intact() -> Callable[[Path], int]:
    """Verifies a directory whole and gives its size."""

    def verify(directory: Path) -> int:
        findings = verify_directory(directory)
        assert findings.damage == []
        return int(findings.size)

    return verify


@pytest.fixture
def running_at() -> Callable[..., AbstractContextManager[Any]]:
    return running
