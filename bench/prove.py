"""Inclusion proofs out of a log of 1,000,000 entries (`--entries N` for another size)."""

from __future__ import annotations

import argparse
import random
import time

from harness import BATCH, batch, describe, percentile, scratch

from ledger import Ledger
from ledger.proofs import verify_receipt

PROOFS = 2000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    options = parser.parse_args()
    describe(f"{options.entries:,} entries, {PROOFS:,} proofs at random places, one process")
    with scratch() as directory, Ledger.create(directory / "ledger", "bench.example/log") as ledger:
        marks = []
        for start in range(0, options.entries, BATCH):
            ledger.append(batch(start))
            if start + BATCH in {10_000, 100_000, options.entries}:
                marks.append((ledger.size(), _prove(ledger)))
        index = ledger.size() // 2
        policy = f"log {ledger.vkey}\nquorum none\n".encode()
        assert verify_receipt(ledger.prove(index), ledger.entry(index).entry, policy).index == index
    for size, seconds in marks:
        print(
            f"proof at {size:>10,} entries: p50 {percentile(seconds, 0.5) * 1e3:.2f} ms,"
            f" p99 {percentile(seconds, 0.99) * 1e3:.2f} ms"
        )
    print(f"slowdown from {marks[0][0]:,} to {marks[-1][0]:,}: {_median(marks[-1][1]) / _median(marks[0][1]):.2f} x")


def _prove(ledger: Ledger) -> list[float]:
    places = random.Random(7)  # noqa: S311 - places to look at, not secrets
    seconds = []
    for _ in range(PROOFS):
        index = places.randrange(ledger.size())
        began = time.perf_counter()
        ledger.prove(index)
        seconds.append(time.perf_counter() - began)
    return seconds


def _median(values: list[float]) -> float:
    return percentile(values, 0.5)


if __name__ == "__main__":
    main()
