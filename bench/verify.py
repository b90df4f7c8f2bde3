"""Full verification, every payload hashed again, against a bare scan of the same rows.

`--entries N` (default 300,000). The second figure is the speed-up from two processes.
"""

from __future__ import annotations

import argparse
import statistics
import time

from harness import BATCH, batch, describe, scratch, spread

from ledger import Ledger
from ledger.verify import verify_database

ROUNDS = 3


def scan(ledger: Ledger) -> float:
    """Seconds to read every row of the log, and nothing else."""
    began = time.perf_counter()
    with ledger.database.read() as connection:
        cursor = connection.execute(
            "SELECT position, stream, version, topic, entry, chain, salt, payload FROM event ORDER BY position"
        )
        while cursor.fetchmany(BATCH):
            pass
    return time.perf_counter() - began


def verify(ledger: Ledger, jobs: int) -> float:
    """Seconds to verify it all."""
    began = time.perf_counter()
    findings = verify_database(ledger.database, ledger.vkey, jobs=jobs)
    elapsed = time.perf_counter() - began
    assert findings.exit_code == 0, findings
    return elapsed


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=300_000)
    options = parser.parse_args()
    describe(f"{options.entries:,} entries, {ROUNDS} rounds, access index followed, vault rows not decrypted")
    scans, ones, twos = [], [], []
    with scratch() as directory, Ledger.create(directory / "ledger", "bench.example/log") as ledger:
        for start in range(0, options.entries, BATCH):
            ledger.append(batch(start))
        ledger.access.follow()
        for _ in range(ROUNDS):
            scans.append(scan(ledger))
            ones.append(verify(ledger, 1))
            twos.append(verify(ledger, 2))
    one, two = (options.entries / statistics.median(seconds) for seconds in (ones, twos))
    print(f"verify: {one:,.0f} entries/s with one process, {two:,.0f} with two")
    print(f"ratio to a bare scan, one process: {spread([a / b for a, b in zip(scans, ones, strict=True)])}")
    print(f"speed-up from two processes: {spread([a / b for a, b in zip(ones, twos, strict=True)], 2)} x")


if __name__ == "__main__":
    main()
