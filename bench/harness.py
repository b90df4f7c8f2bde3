"""What the measurements share: events, the machine, medians."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

BATCH = 1000


def event(number: int, people: int = 2000, *, person: int | None = None, row: int | None = None) -> dict[str, Any]:
    """An ordinary access: one actor, one resource, one person, an address, a sealed user agent.

    Args:
        number: makes its id.
        people: among how many persons `number` chooses, where `person` does not name one.
        person: whose data it is about.
        row: the resource; by default one of 5,000.
    """
    return {
        "specversion": "1.0",
        "id": f"{number:012d}",
        "source": "/bench",
        "type": "org.example.data.view.v1",
        "time": "2026-03-10T09:00:00Z",
        "data": {
            "actor": {"id": f"svc-{number % 20}", "kind": "service"},
            "outcome": "success",
            "resource": {"type": "row", "id": f"row-{number % 5000 if row is None else row}"},
            "subjects": [{"id": f"customer-{number % people if person is None else person}"}],
            "client": {"ip": f"192.0.2.{number % 250}", "user_agent": "bench/1.0"},
        },
    }


def batch(start: int, people: int = 2000) -> list[dict[str, Any]]:
    """`BATCH` events from number `start`."""
    return [event(number, people) for number in range(start, start + BATCH)]


def bare(path: Path) -> sqlite3.Connection:
    """A database with one table of a key and bytes, as durable as the ledger's."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE bare (position INTEGER PRIMARY KEY, bytes BLOB)")
    return connection


def describe(settings: str) -> None:
    """Print what the figures below depend on."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("orjson", "cryptography", "PyNaCl"))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"{_processor()}, {cores} cores, {sys.platform}, load {os.getloadavg()[0]:.1f}")
    print(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {libraries}")
    print(settings)


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Median and range."""
    return f"{statistics.median(values):,.{digits}f} (from {min(values):,.{digits}f} to {max(values):,.{digits}f})"


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all do not exceed."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory on the disk of the working directory: /tmp may be memory."""
    with TemporaryDirectory(dir=".", prefix=".bench-") as name:
        yield Path(name)
