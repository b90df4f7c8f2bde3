"""Does the ledger slow down as it grows? Rate by tenth, size and memory, then inclusion proofs at full size.

`python bench/growth.py [--entries N] [--ids ordered|random] [--minutes M]`, by default 1,000,000: some minutes.
With `--minutes` it stops where it has got to by then. It takes some 1.2 kB of disk an entry while it runs.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import sys
import time
import uuid
from array import array
from itertools import pairwise
from pathlib import Path

from harness import BATCH, batch, describe, percentile, scratch

from ledger import Ledger
from ledger.proofs import verify_receipt

EARLY = 100_000
WINDOW = 50_000
PROOFS = 2000
MEGABYTE = 2**20


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--ids", choices=("ordered", "random"), default="ordered")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    options = parser.parse_args()
    describe(f"batches of {BATCH}, at most {options.entries:,} entries, ids {options.ids}, WAL, synchronous=FULL")
    with scratch() as directory, Ledger.create(directory / "ledger", "bench.example/log") as ledger:
        _grow(ledger, directory, options)
        _prove(ledger)


def _grow(ledger: Ledger, directory: Path, options: argparse.Namespace) -> None:
    """Append, and print how it went."""
    wall, processor = array("d"), array("d")
    end = time.monotonic() + options.minutes * 60
    step = max(options.entries // 20, BATCH)
    for start in range(0, options.entries, BATCH):
        if time.monotonic() > end:
            break
        events = batch(start)
        if options.ids == "random":
            for event in events:
                event["id"] = str(uuid.uuid4())
        began, used = time.perf_counter(), time.process_time()
        ledger.append(events)
        wall.append(time.perf_counter() - began)
        processor.append(time.process_time() - used)
        if (start + BATCH) % step == 0:
            rate = BATCH / percentile(wall[-step // BATCH :], 0.5)
            print(
                f"  {start + BATCH:>11,} entries, {rate:>7,.0f}/s, {_resident():,.0f} MiB resident,"
                f" load {os.getloadavg()[0]:.1f}",
                file=sys.stderr,
            )
    entries = len(wall) * BATCH
    size = sum(file.stat().st_size for file in directory.rglob("ledger.db*"))
    for name, seconds in (("", wall), (" of processor time", processor)):
        bounds = [len(seconds) * tenth // 10 for tenth in range(11)]
        rates = [BATCH / percentile(seconds[low:high], 0.5) for low, high in pairwise(bounds) if high > low]
        print(f"events a second{name} by tenth: {', '.join(f'{rate:,.0f}' for rate in rates)}")
        if entries >= EARLY + WINDOW:
            early = percentile(seconds[(EARLY - WINDOW) // BATCH : (EARLY + WINDOW) // BATCH], 0.5)
            late = percentile(seconds[-2 * WINDOW // BATCH :], 0.5)
            print(f"  at {entries:,} against at {EARLY:,}: {early / late:.3f}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{entries:,} entries in {sum(wall):,.0f} s of appending, {entries / sum(wall):,.0f} a second over all")
    print(f"{size / entries:,.0f} bytes of database an entry; peak memory {peak:,.0f} MiB")


def _prove(ledger: Ledger) -> None:
    """Inclusion proofs at random places, their time and how many statements each takes."""
    places = random.Random(7)  # noqa: S311 - places to look at, not secrets
    size = ledger.size()
    statements: list[str] = []
    with ledger.database.read() as connection:  # the one that the next reader gets, too
        connection.set_trace_callback(statements.append)  # type: ignore[attr-defined]
    counts = []
    for _ in range(PROOFS // 10):
        statements.clear()
        ledger.prove(places.randrange(size))
        counts.append(sum(statement.lstrip().startswith("SELECT") for statement in statements))
    with ledger.database.read() as connection:
        connection.set_trace_callback(None)  # type: ignore[attr-defined]
    seconds, processor = [], []
    for _ in range(PROOFS):
        index = places.randrange(size)
        began, used = time.perf_counter(), time.process_time()
        ledger.prove(index)
        seconds.append(time.perf_counter() - began)
        processor.append(time.process_time() - used)
    policy = f"log {ledger.vkey}\nquorum none\n".encode()
    assert verify_receipt(ledger.prove(size // 2), ledger.entry(size // 2).entry, policy).index == size // 2
    print(
        f"inclusion proof at {size:,}: p50 {percentile(seconds, 0.5) * 1e3:.2f} ms,"
        f" p99 {percentile(seconds, 0.99) * 1e3:.2f} ms, of the processor {percentile(processor, 0.5) * 1e3:.2f} ms and"
        f" {percentile(processor, 0.99) * 1e3:.2f} ms; {percentile(counts, 0.5)} statements"
        f" (at most {max(counts)}), head and checkpoint included"
    )


def _resident() -> float:
    """MiB of memory in use now; the peak where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return pages * resource.getpagesize() / MEGABYTE


if __name__ == "__main__":
    main()
