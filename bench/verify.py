"""Full verification, every payload hashed again, against a bare scan of the same rows; and with two processes.

`python bench/verify.py [--entries N] [--singles N] [--rounds N]`, by default 300,000 entries in commits of 1,000 and
5,000 in commits of one. Ratios are of processor time, so that what else the machine does matters less; the
speed-up is of time on the wall, and means something only where two cores are free.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from harness import BATCH, batch, describe, event, scratch, spread

from ledger import Ledger
from ledger.verify import verify_database
from ledger.verifying.parts import SPAN
from ledger.verifying.walk import PAGE

LOG = (
    "SELECT position, stream, version, topic, entry, chain, salt, payload FROM event"
    " WHERE position > ? ORDER BY position LIMIT ?"
)
ALL = (
    LOG,
    (
        "SELECT position, part, time, type, action, outcome, actor, credential, address, resource, container, subject"
        " FROM access_row WHERE position > ? ORDER BY position, part LIMIT ?"
    ),
    "SELECT id, position, digest FROM seen WHERE source = 1 AND id > ? ORDER BY id LIMIT ?",
    "SELECT size, note FROM checkpoint WHERE size > ? ORDER BY size LIMIT ?",
    "SELECT number, level, hashes FROM tile WHERE level = 0 AND number > ? ORDER BY number LIMIT ?",
)
"""What a verification of this log reads, paged in the same way; no row here has a second part."""


@dataclass(frozen=True)
class Taken:
    """Seconds that something took: on the wall, and of processors, child processes included."""

    wall: float
    cpu: float


def timed(work: Callable[[], object]) -> Taken:
    """Do something and say what it took."""
    wall, cpu = time.perf_counter(), processors()
    work()
    return Taken(time.perf_counter() - wall, processors() - cpu)


def processors() -> float:
    """Seconds of processor time of this process and of those of its children that have ended."""
    both = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def scan(ledger: Ledger, statements: tuple[str, ...]) -> None:
    """Read every row, and do nothing with it."""
    with ledger.database.read() as connection:
        for statement in statements:
            last: object = "" if " id > " in statement else -1
            while rows := connection.execute(statement, (last, PAGE)).fetchall():
                last = rows[-1][0]


def verify(ledger: Ledger, jobs: int) -> None:
    """Verify all of it."""
    findings = verify_database(ledger.database, ledger.vkey, jobs=jobs)
    assert findings.exit_code == 0, findings


def check(ledger: Ledger) -> None:
    """What SQLite checks of its own structure, which is part of every full verification."""
    with ledger.database.read() as connection:
        assert ledger.database.check(connection) is None


def burn(_number: int) -> bytes:
    """Hash for a while, in as many steps as Python takes for entries."""
    value = b""
    for _ in range(1_000_000):
        value = hashlib.sha256(value).digest()
    return value


def gain() -> float:
    """What two processes gain on this machine at this moment, in something that shares nothing."""
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        list(pool.map(burn, range(2)))  # both have begun
        one = timed(lambda: pool.submit(burn, 0).result()).wall
        return 2 * one / timed(lambda: list(pool.map(burn, range(2)))).wall


def compare(ledger: Ledger, entries: int, rounds: int) -> None:
    """Measure in turn, and print."""
    logs, scans, ones, checks, twos, gains = [], [], [], [], [], []
    for _ in range(rounds):
        logs.append(timed(lambda: scan(ledger, (LOG,))))
        scans.append(timed(lambda: scan(ledger, ALL)))
        ones.append(timed(lambda: verify(ledger, 1)))
        checks.append(timed(lambda: check(ledger)))
        if entries >= 2 * SPAN:
            twos.append(timed(lambda: verify(ledger, 2)))
            gains.append(gain())

    def ratio(some: list[Taken], of: list[Taken], less: list[Taken] | None = None) -> str:
        none = [Taken(0, 0)] * rounds
        return spread([a.cpu / (b.cpu - c.cpu) for a, b, c in zip(some, of, less or none, strict=True)])

    def each(taken: list[Taken]) -> str:
        return f"{statistics.median(item.cpu for item in taken) / entries * 1e6:.2f}"

    print(f"microseconds of processor an entry: scan of the log {each(logs)}, scan of all rows that are read "
          f"{each(scans)}, verify {each(ones)}, of which SQLite's own check {each(checks)}")  # fmt: skip
    print(f"verify, one process: {entries / statistics.median(item.wall for item in ones):,.0f} entries/s on the wall")
    print(f"ratio to a scan of all rows that are read: {ratio(scans, ones)}")
    print(f"the same without SQLite's check of its own structure: {ratio(scans, ones, checks)}")
    print(f"ratio to a scan of the log alone: {ratio(logs, ones)}; without that check {ratio(logs, ones, checks)}")
    if twos:
        faster = [a.wall / b.wall for a, b in zip(ones, twos, strict=True)]
        print(f"verify, two processes: {entries / statistics.median(item.wall for item in twos):,.0f} entries/s, "
              f"speed-up {spread(faster, 2)} x, {each(twos)} microseconds of processor an entry")  # fmt: skip
        print(f"what two processes gained at that time in hashing that shares nothing: {spread(gains, 2)} x")


def build(directory: Path, entries: int, size: int) -> Ledger:
    """A log of this length in commits of this size, with its access index."""
    ledger = Ledger.create(directory, "bench.example/log")
    for start in range(0, entries, size):
        ledger.append(batch(start) if size == BATCH else [event(start)])
    ledger.access.follow()
    return ledger


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=300_000)
    parser.add_argument("--singles", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    describe(f"{options.rounds} rounds, access index followed, vault rows not decrypted, pages of {PAGE}")
    with scratch() as directory:
        for entries, size in ((options.entries, BATCH), (options.singles, 1)):
            if entries:
                print(f"\n{entries:,} entries in commits of {size:,}")
                with build(directory / str(size), entries, size) as ledger:
                    compare(ledger, entries, options.rounds)
    print(f"\nload at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
