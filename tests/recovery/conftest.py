"""Ledgers to rotate, back up and restore; the command line as its own process; real witnesses."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from api.cli.serve import listen
from api.witness import create_app
from ledger import Ledger
from ledger.config import read_config
from ledger.findings import Findings
from ledger.notes import Verifier
from ledger.store.opening import open_store
from ledger.verify import verify_database
from ledger.witness.config import make_witness
from ledger.witness.service import Witness

ORIGIN = "example.org/audit"
WITNESS = "witness.example/w1"


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 3, 10, 9, 0, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now

    def move(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Kit:
    origin: str = ORIGIN

    def event(self, name: object) -> dict[str, Any]:
        return {
            "specversion": "1.0",
            "id": f"view-{name}",
            "source": "https://clinic.example/records",
            "type": "com.clinic.data.view.v1",
            "data": {
                "actor": {"id": "dr-grey"},
                "outcome": "success",
                "resource": {"id": f"record/{name}"},
                "subjects": [{"id": f"patient-{name}"}],
                "text": "what was seen",
            },
        }

    def fill(self, ledger: Ledger, count: int, prefix: str = "") -> None:
        """One commit for each event."""
        for number in range(count):
            ledger.append([self.event(f"{prefix}{number}")])

    def verify(self, directory: Path, *, vkey: str | None = None) -> Findings:
        """As an auditor does: from the files, without the secret keys."""
        config = read_config(directory)
        with closing(open_store(config, directory)) as database:
            return verify_database(database, vkey or config.vkey)

    def tocsin(self, *arguments: object, data: bytes | None = None) -> Ran:
        done = subprocess.run(
            [sys.executable, "-c", "from api.cli import main; main()", *map(str, arguments)],
            check=False,
            capture_output=True,
            input=data,
            timeout=120,
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    def policy(self, ledger: Ledger, witness: Witness, url: str) -> bytes:
        logs = "".join(f"log {key.vkey}\n" for key in read_config(ledger.directory).keys)
        return f"{logs}witness w {witness.vkey} {url}\nquorum w\n".encode()

    @contextmanager
    def witness(self, directory: Path, *vkeys: str, clock: Clock | None = None) -> Iterator[tuple[Witness, str]]:
        """A real witness on a real socket; gives it and its URL."""
        make_witness(directory, WITNESS)
        with Witness.open(directory, clock=clock or (lambda: datetime.now(UTC))) as witness:
            for vkey in vkeys:
                verifier = Verifier.from_vkey(vkey)
                witness.store.add_log(verifier.name, verifier)
            with listen("127.0.0.1", 0) as listener:
                server = uvicorn.Server(
                    uvicorn.Config(create_app(witness, ""), log_config=None, lifespan="off", ws="none")
                )
                thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
                thread.start()
                try:
                    while not server.started:
                        time.sleep(0.01)
                    yield witness, f"http://127.0.0.1:{listener.getsockname()[1]}"
                finally:
                    server.should_exit = True
                    thread.join()


@pytest.fixture(scope="session")
def kit() -> Kit:
    return Kit()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def ledger(data: Path, clock: Clock) -> Iterator[Ledger]:
    with Ledger.create(data, ORIGIN, clock=clock) as opened:
        yield opened
