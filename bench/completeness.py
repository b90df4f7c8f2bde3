"""What it costs to prove that nothing is left out: sealing, reports, verification, recomputation.

Building is compared with appending the same entries in the same run; proving and verifying a report
with the plain inclusion proofs of the same entries, which prove that they are real and not that they
are all.
"""

from __future__ import annotations

import argparse
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness

from ledger import Ledger
from ledger.completeness import (
    index_key,
    log_of,
    recompute,
    resource_report,
    seal_index,
    seals,
    subject_report,
    verify_report,
)
from ledger.proofs import verify_receipt

BATCH = 1000
REPORTS = 30


def event(number: int, people: int, resources: int) -> dict[str, object]:
    """An ordinary access of one person's data; people and resources return in an order that looks random."""
    return harness.event(number, person=number * 104729 % people, row=number * 7919 % resources)


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that an action took, and its result."""
    began = time.perf_counter()
    result = action()
    return time.perf_counter() - began, result


def fill(ledger: Ledger, first: int, count: int, people: int, resources: int) -> float:
    """Append events; returns the seconds."""
    spent = 0.0
    for start in range(first, first + count, BATCH):
        events = [event(number, people, resources) for number in range(start, min(start + BATCH, first + count))]
        spent += timed(lambda events=events: ledger.append(events))[0]
    return spent


def build(ledger: Ledger, total: int, people: int, resources: int) -> None:
    """Append and seal in parts, then one small seal at the end."""
    parts = 4
    print("\nbuilding        entries  keys     append s  seal s   seal/append")
    for part in range(parts):
        count = total // parts
        append = fill(ledger, part * count, count, people, resources)
        took, found = timed(lambda: seal_index(ledger))
        keys = sum(seal.root.count for seal in found)
        print(f"  part {part + 1}     {count:9,}  {keys:7,}  {append:8.2f}  {took:6.2f}   {took / append:.2f}")
    append = fill(ledger, total, BATCH, people, resources)
    took, _ = timed(lambda: seal_index(ledger))
    print(f"  small seal {BATCH:8,}           {append:8.2f}  {took:6.2f}   {took / append:.2f}")
    with ledger.database.read() as connection:
        if _has_dbstat(connection):
            (ours,) = connection.execute("SELECT sum(pgsize) FROM dbstat WHERE name LIKE '%access_map%'").fetchone()
            (whole,) = connection.execute("SELECT sum(pgsize) FROM dbstat").fetchone()
            print(f"  tables of the index: {ours / whole:.3f} of the database")


def _has_dbstat(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM pragma_module_list WHERE name = 'dbstat'").fetchone() is not None


def report(ledger: Ledger, people: int) -> None:
    """Make and verify reports, against the same entries' inclusion proofs alone."""
    policy = f"log {ledger.vkey}\nquorum none\n".encode()
    make: list[float] = []
    check: list[float] = []
    plain_make: list[float] = []
    plain_check: list[float] = []
    sizes: list[int] = []
    lists: list[int] = []
    for number in range(REPORTS):
        ref = ledger.vault.find("subject", f"customer-{number * 31 % people}")
        assert ref is not None
        took, made = timed(lambda ref=ref: subject_report(ledger, ref))
        data = made.report.to_bytes()
        make.append(took)
        check.append(timed(lambda data=data: verify_report(data, ledger.vkey))[0])
        indices = list(made.report.sections[0].positions)
        took, proofs = timed(lambda indices=indices: ledger.prove_many(indices))
        plain_make.append(took)
        pairs = [(proof, access.stored.entry) for proof, access in zip(proofs, made.report.accesses, strict=True)]
        plain_check.append(timed(lambda pairs=pairs: [verify_receipt(*pair, policy) for pair in pairs])[0])
        sizes.append(len(data))
        lists.append(len(indices))
    absent, _ = timed(lambda: resource_report(ledger, "no such row"))
    middle = statistics.median
    print(
        f"\nreports about one person, {middle(lists):.0f} accesses each, median of {REPORTS}; making includes verifying"
    )
    ratio = middle(make) / middle(plain_make)
    print(f"  make    {1000 * middle(make):7.2f} ms   {ratio:6.2f} x the inclusion proofs of the same entries alone")
    ratio = middle(check) / middle(plain_check)
    print(f"  verify  {1000 * middle(check):7.2f} ms   {ratio:6.2f} x their receipts alone")
    print(f"  file    {middle(sizes):7,.0f} bytes")
    print(f"  absence {1000 * absent:7.2f} ms to prove and verify that nobody touched a resource")
    old = seals(ledger)[0].root.size
    took, _ = timed(lambda: subject_report(ledger, ref, old))
    print(f"  older   {1000 * took:7,.0f} ms   {took / middle(make):6.0f} x, at the first sealed size")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--people", type=int, default=20_000)
    parser.add_argument("--resources", type=int, default=5_000)
    options = parser.parse_args()
    print(f"{platform.machine()}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {sys.platform}")
    print(
        f"{options.entries:,} entries, {options.people:,} people, {options.resources:,} resources, batches of {BATCH},"
    )
    print("WAL, synchronous=FULL, one process; figures of this machine and hour, compare the ratios")
    with tempfile.TemporaryDirectory(dir=".") as name, Ledger.create(Path(name) / "ledger") as ledger:
        build(ledger, options.entries, options.people, options.resources)
        report(ledger, options.people)
        scan, _ = timed(lambda: sum(len(stored.entry) for stored in ledger.entries()))
        took, result = timed(lambda: recompute(log_of(ledger), index_key(ledger), ledger.vkey))
        assert result.first_mismatch is None
        ratio = took / scan
        print(f"\nrecompute {len(result.findings)} roots: {took:.1f} s, {ratio:.0f} x a bare scan of the entries")


if __name__ == "__main__":
    main()
