"""What the ledger's tests share: a clock, repeatable randomness, events of a made-up clinic."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from ledger import Ledger
from ledger.proofs import verify_receipt
from ledger.verify import Findings, verify_database

ORIGIN = "example.org/audit"
STREAM = UUID(int=77)
SOURCE = "https://clinic.example/records"


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 10, 9, 0, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Stream:
    """Repeatable random bytes."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._count = 0
        self._lock = threading.Lock()

    def __call__(self, size: int) -> bytes:
        with self._lock:
            self._count += 1
            return hashlib.shake_256(f"{self._seed}/{self._count}".encode()).digest(size)


@dataclass
class Kit:
    """Factories; session-scoped, so that Hypothesis examples may use them too."""

    origin: str = ORIGIN
    source: str = SOURCE
    clock: Callable[[], Clock] = Clock
    entropy: Callable[[str], Stream] = Stream
    stream: UUID = STREAM

    def create(self, directory: Path, seed: str = "kit", clock: Clock | None = None) -> Ledger:
        return Ledger.create(directory, self.origin, clock=clock or Clock(), entropy=Stream(seed))

    def event(self, name: object, data: dict[str, Any] | None = None, **attributes: Any) -> dict[str, Any]:
        """One view of one patient's record; `data` changes fields of data, None there takes one away."""
        merged = {
            "actor": {"id": "dr-grey", "kind": "human"},
            "outcome": "success",
            "resource": {"id": f"record/{name}", "type": "record"},
            "subjects": [{"id": f"patient-{name}"}],
            "client": {"ip": "192.0.2.7"},
        } | (data or {})
        event = {
            "specversion": "1.0",
            "id": f"view-{name}",
            "source": self.source,
            "type": "com.clinic.data.view.v1",
            "time": "2026-03-10T08:59:59Z",
            "data": {key: item for key, item in merged.items() if item is not None},
        } | attributes
        return {key: item for key, item in event.items() if item is not None}

    def policy(self, ledger: Ledger) -> bytes:
        return f"log {ledger.vkey}\nquorum none\n".encode()

    def verify(self, ledger: Ledger) -> Findings:
        return verify_database(ledger.database, ledger.vkey, vault=ledger.vault)

    def prove_all(self, ledger: Ledger) -> None:
        """Every entry is proven by a receipt that needs nothing but itself, the entry and the policy."""
        stored = list(ledger.entries())
        policy = self.policy(ledger)
        for entry, proof in zip(stored, ledger.prove_many(range(len(stored))), strict=True):
            assert verify_receipt(proof, entry.entry, policy).index == entry.index


@pytest.fixture(scope="session")
def kit() -> Kit:
    return Kit()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path, kit: Kit, clock: Clock) -> Iterator[Ledger]:
    with closing(kit.create(tmp_path / "data", clock=clock)) as ledger:
        yield ledger
