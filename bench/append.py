"""Durable append through the whole ledger, against bare SQLite inserts of the same bytes.

Both sides write to the same disk in WAL mode with `synchronous=FULL`, one transaction per batch,
alternating, so that a slow moment of the machine hits both. The bare side has one table of a key and one
blob, no index, no hash; the blob is all that the ledger keeps of the event in its row: entry, payload,
salt, chain, stream and type.
"""

from __future__ import annotations

import gc
import sqlite3
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from harness import BATCH, bare, batch, describe, scratch, spread

from ledger import Ledger

ROUNDS = 30
INSERT = "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
Result = TypeVar("Result")


def kept(ledger: Ledger, first: int) -> list[tuple[object, ...]]:
    """What the ledger stored for a batch, as its rows."""
    with ledger.database.read() as connection:
        return [
            tuple(row)
            for row in connection.execute(
                "SELECT position, stream, version, topic, entry, chain, salt, payload FROM event"
                " WHERE position > ? AND position <= ? ORDER BY position",
                (first, first + BATCH),
            )
        ]


def timed(work: Callable[[], Result]) -> tuple[Result, float, float]:
    """What it returns, and the seconds it took: by the clock, and of the processor."""
    began, used = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - began, time.process_time() - used


def insert(connection: sqlite3.Connection, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
    """One durable transaction."""
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(statement, rows)
    connection.execute("COMMIT")


def measure(title: str, people: Callable[[int], int]) -> None:
    """One kind of load: `people(turn)` is among how many persons a batch's subjects are."""
    with scratch() as directory:
        plain, indexed = bare(directory / "bare.db"), bare(directory / "indexed.db")
        indexed.execute(
            "CREATE TABLE event (position INTEGER PRIMARY KEY, stream BLOB, version INTEGER, topic TEXT, entry BLOB,"
            " chain BLOB, salt BLOB, payload BLOB, UNIQUE (stream, version))"
        )
        ours, bares, rows_only = [], [], []
        used, bare_used = [], []
        with Ledger.create(directory / "ledger", "bench.example/log") as ledger:
            for turn in range(-3, ROUNDS):
                events = batch((turn + 3) * BATCH, people(turn))
                receipts, elapsed, processor = timed(partial(ledger.append, events))
                rows = kept(ledger, receipts[0].index)
                blobs = [
                    (row[0], b"".join(part if isinstance(part, bytes) else str(part).encode() for part in row[1:]))
                    for row in rows
                ]
                _, bare_elapsed, bare_processor = timed(partial(insert, plain, "INSERT INTO bare VALUES (?, ?)", blobs))
                _, row_elapsed, _ = timed(partial(insert, indexed, INSERT, rows))
                if turn >= 0:
                    ours.append(elapsed)
                    bares.append(bare_elapsed)
                    rows_only.append(row_elapsed)
                    used.append(processor)
                    bare_used.append(bare_processor)
        plain.close()
        indexed.close()
    print(f"\n{title}")
    print(f"  append, events/s: {spread([BATCH / each for each in ours], 0)}; p99 {max(ours) * 1e3:.0f} ms a batch")
    paired = [other / own for own, other in zip(ours, bares, strict=True)]
    print(f"  ratio to bare executemany of the same bytes, paired rounds: {spread(paired)}")
    print(f"  the same over the whole run (checkpoints of the WAL included): {sum(bares) / sum(ours):.3f}")
    shares = [other / own for own, other in zip(used, bare_used, strict=True)]
    print(
        f"  the same of processor time, paired rounds: {spread(shares)}; {statistics.median(used) * 1e3:.1f} ms a batch"
    )
    print(f"  bare inserts of the same rows with the version index: {statistics.median(rows_only) * 1e3:.1f} ms,")
    print(
        f"  bare bytes {statistics.median(bares) * 1e3:.1f} ms, ledger {statistics.median(ours) * 1e3:.1f} ms a batch"
    )


def main() -> None:
    """Measure and print."""
    describe(f"batches of {BATCH}, {ROUNDS} rounds, WAL, synchronous=FULL, secure_delete, one process, one caller")
    measure("people who are known already (2,000 in turn), collector as it is", lambda _: 2000)
    measure("every event about a new person", lambda _: 10**9)
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    measure("known people, collector as `tocsin serve` would want it (frozen, thresholds raised)", lambda _: 2000)


if __name__ == "__main__":
    main()
