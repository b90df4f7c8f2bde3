"""Durable append through the whole ledger, against bare SQLite inserts of the same bytes.

Both sides write to the same disk in WAL mode with `synchronous=FULL`, one transaction per batch,
alternating, so that a slow moment of the machine hits both.
"""

from __future__ import annotations

import platform
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path

from ledger import Ledger

BATCH = 1000
ROUNDS = 15


def event(number: int) -> dict[str, object]:
    """An ordinary access: one actor, one resource, one person, a sealed user agent."""
    return {
        "specversion": "1.0",
        "id": f"{number:012d}",
        "source": "/bench",
        "type": "org.example.data.view.v1",
        "time": "2026-03-10T09:00:00Z",
        "data": {
            "actor": {"id": f"svc-{number % 20}", "kind": "service"},
            "outcome": "success",
            "resource": {"type": "row", "id": f"row-{number % 5000}"},
            "subjects": [{"id": f"customer-{number % 2000}"}],
            "client": {"ip": f"192.0.2.{number % 250}", "user_agent": "bench/1.0"},
        },
    }


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(dir=".") as name:
        directory = Path(name)
        bare = sqlite3.connect(directory / "bare.db", isolation_level=None)
        bare.execute("PRAGMA journal_mode=WAL")
        bare.execute("PRAGMA synchronous=FULL")
        bare.execute("CREATE TABLE event (position INTEGER PRIMARY KEY, entry BLOB, payload BLOB)")
        ratios: list[float] = []
        rates: list[float] = []
        with Ledger.create(directory / "ledger") as ledger:
            ledger.append([event(number) for number in range(BATCH)])
            for turn in range(1, ROUNDS + 1):
                events = [event(turn * BATCH + number) for number in range(BATCH)]
                began = time.perf_counter()
                first = ledger.append(events)[0].index
                ours = time.perf_counter() - began
                rows = [(s.index, s.entry, s.payload) for s in ledger.entries(first, first + BATCH)]
                began = time.perf_counter()
                bare.execute("BEGIN IMMEDIATE")
                bare.executemany("INSERT INTO event VALUES (?, ?, ?)", rows)
                bare.execute("COMMIT")
                ratios.append((time.perf_counter() - began) / ours)
                rates.append(BATCH / ours)
        bare.close()
    print(f"{platform.machine()}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {sys.platform}")
    print(f"batches of {BATCH}, {ROUNDS} rounds, WAL, synchronous=FULL, one process")
    print(f"append: median {statistics.median(rates):,.0f} events/s (this machine, this hour)")
    print(f"ratio to bare executemany: median {statistics.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}")


if __name__ == "__main__":
    main()
