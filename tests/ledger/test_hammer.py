"""Threads and processes that write to one ledger while others verify every proof they can get.

A fixed amount of work: readers end when the log has the size that the work must give. TOCSIN_HAMMER=N does N times
as much.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from ledger import Ledger
from ledger.proofs import verify_receipt

ROUNDS = 6 * int(os.environ.get("TOCSIN_HAMMER", "1"))
PROCESSES = {"a": (3, 2), "b": (2, 1), "c": (0, 1)}
"""Name: writer and reader threads."""


@pytest.fixture
def make_ledger(each_store: str, kit) -> Callable[[Path], Ledger]:
    """Makes a ledger in a directory, in each kind of store; other processes open it by its directory."""
    assert each_store
    return lambda directory: Ledger.create(directory, kit.origin)


@pytest.mark.timeout(600)
def test_writers_and_verifying_readers_in_threads_and_processes(tmp_path, kit, support, make_ledger):
    directory = tmp_path / "data"
    writers = [f"{name}{number}" for name, (count, _) in PROCESSES.items() for number in range(count)]
    with make_ledger(directory) as ledger:
        start = ledger.size() + len(support.reports("hammering_door", directory))
        # For each writer the making of its door; a round is 8 events, one of its own and three doors opened.
        size = start + len(writers) * (1 + 12 * ROUNDS) + ROUNDS
        running = {
            name: support.start("hammering", directory, name, *counts, ROUNDS, size)
            for name, counts in PROCESSES.items()
        }
        try:
            outputs = {name: program.communicate(timeout=500) for name, program in running.items()}
        finally:
            for program in running.values():
                program.kill()
                program.communicate()
        assert {name: (running[name].returncode, err) for name, (_, err) in outputs.items()} == dict.fromkeys(
            running, (0, "")
        )
        lines = [json.loads(line) for out, _ in outputs.values() for line in out.splitlines()]
        check_reading([line["done"] for line in lines if "done" in line])
        check_log(ledger, kit, [line["receipt"] for line in lines if "receipt" in line], writers, size)


def check_reading(done: list[dict[str, int]]) -> None:
    total = sum(map(Counter, done), Counter())
    assert len(done) == len(PROCESSES)
    assert min(total[name] for name in ("consistency", "inclusion", "tile", "receipt")) > 20, total


def check_log(ledger: Ledger, kit, receipts: list[dict], writers: list[str], size: int) -> None:
    findings = kit.verify(ledger)
    assert (findings.damage, findings.gaps, findings.size) == ([], [], size)
    entries = [stored.decode() for stored in ledger.entries()]

    # Every event that was sent is there once, whoever sent it and however often.
    sent = {f"view-{writer}-{number}" for writer in writers for number in range(ROUNDS)}
    sent |= {f"view-{writer}-{number}-{part}" for writer in writers for number in range(ROUNDS) for part in range(7)}
    sent |= {f"view-shared-{number}" for number in range(ROUNDS)}
    there = Counter(entry.id for entry in entries if entry.source == "urn:crash")
    assert there == Counter(sent)
    assert len({(entry.source, entry.id) for entry in entries}) == size

    # Streams have no gaps, and every opening of the door that all fought for was counted once.
    streams: dict[str, list[int]] = {}
    for entry in entries:
        streams.setdefault(entry.stream, []).append(entry.version)
    assert all(versions == list(range(1, len(versions) + 1)) for versions in streams.values())
    assert sorted(map(len, streams.values()))[:-1].count(1 + 2 * ROUNDS) == len(writers)
    assert 1 + len(writers) * ROUNDS in map(len, streams.values())

    # Whoever asked for the same event got the same receipt, and each proves.
    assert len({(item["id"], json.dumps(item, sort_keys=True)) for item in receipts}) == len(sent)
    policy = kit.policy(ledger)
    proofs = ledger.prove_many([item["index"] for item in receipts])
    for item, proof in zip(receipts, proofs, strict=True):
        assert verify_receipt(proof, ledger.entry(item["index"]).entry, policy).size == size
    # The read model that all of them drove has each access once.
    ledger.access.follow()
    assert kit.verify(ledger).accesses == len(sent)
