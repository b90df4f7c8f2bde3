"""Does appending slow down as the log grows? The rate around 100,000 entries against the rate at the end.

`python bench/growth.py [--entries N] [--ids ordered|random]`, by default 1,000,000: some minutes.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
import uuid

from harness import BATCH, batch, describe, scratch

from ledger import Ledger

EARLY = 100_000
WINDOW = 50_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--ids", choices=("ordered", "random"), default="ordered")
    options = parser.parse_args()
    describe(f"batches of {BATCH}, {options.entries:,} entries, ids {options.ids}, WAL, synchronous=FULL")
    seconds: list[float] = []
    with scratch() as directory, Ledger.create(directory / "ledger", "bench.example/log") as ledger:
        for start in range(0, options.entries, BATCH):
            events = batch(start)
            if options.ids == "random":
                for event in events:
                    event["id"] = str(uuid.uuid4())
            began = time.perf_counter()
            ledger.append(events)
            seconds.append(time.perf_counter() - began)
        size = sum(file.stat().st_size for file in directory.rglob("ledger.db*"))
    tenth = max(len(seconds) // 10, 1)
    tenths = [BATCH / statistics.median(seconds[at : at + tenth]) for at in range(0, len(seconds), tenth)]
    print("rate by tenth, events/s:", ", ".join(f"{rate:,.0f}" for rate in tenths))
    early = statistics.median(seconds[max(EARLY - WINDOW, 0) // BATCH : (EARLY + WINDOW) // BATCH])
    late = statistics.median(seconds[-2 * WINDOW // BATCH :])
    print(f"rate at {options.entries:,} against the rate at {EARLY:,}: {early / late:.3f}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{size / options.entries:,.0f} bytes of database an entry; peak memory {peak:,.0f} MiB")


if __name__ == "__main__":
    main()
