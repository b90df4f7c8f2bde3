"""kill -9: whatever was acknowledged is there, proves, and the log goes on.

SIGKILL takes the process and leaves the operating system, so this shows that nothing half-written is
ever taken for whole. It does not show what a power cut does to data that was not yet synced.
"""

from __future__ import annotations

import json
import random
import signal
import threading
from contextlib import closing
from pathlib import Path

from ledger import Ledger
from ledger.proofs import verify_receipt


def killed_while_appending(support, directory: Path, name: str, seconds: float) -> list[dict]:
    """Receipts that the child had printed when it was killed."""
    child = support.start("appending", "append", directory, name)
    lines = [child.stdout.readline()]
    threading.Timer(seconds, child.kill).start()
    rest, stderr = child.communicate(timeout=60)
    assert (child.returncode, stderr) == (-signal.SIGKILL, "")
    # The last line may be cut by the kill: then its receipt was not handed over.
    lines += rest.splitlines(keepends=True)
    return [receipt for line in lines if line.endswith("\n") for receipt in json.loads(line)]


def test_every_receipt_handed_over_before_a_kill_is_found_and_proves(tmp_path, kit, support):
    moments = random.Random(20260310)
    directory = tmp_path / "data"
    kit.create(directory).close()
    receipts: list[dict] = []
    for number in range(6):
        receipts += killed_while_appending(support, directory, f"round{number}", moments.uniform(0, 0.25))
        with closing(Ledger.open(directory)) as ledger:
            assert kit.verify(ledger).damage == []
            policy = kit.policy(ledger)
            for receipt in receipts:
                assert ledger.find(receipt["source"], receipt["id"]).as_json() == receipt
            proofs = ledger.prove_many([receipt["index"] for receipt in receipts])
            for receipt, proof in zip(receipts, proofs, strict=True):
                stored = ledger.entry(receipt["index"])
                assert verify_receipt(proof, stored.entry, policy).index == receipt["index"]
                assert ledger.details(stored) == {"text": "what was seen"}
            # The log goes on where it stands.
            [receipt] = ledger.append([kit.event(number)])
            assert receipt.index == ledger.size() - 1
    assert len(receipts) >= 6


def each_step(support, job: str, directory: Path) -> list[dict]:
    """What was left by a job killed before its 1st, 2nd, ... step; the last report is of the job that ended."""
    reports = support.reports("appending", "steps", job, directory)
    assert [report["status"] for report in reports] == [signal.SIGKILL] * (len(reports) - 1) + [0]
    return reports


def test_killed_before_each_step_of_an_append(tmp_path, support):
    """All or nothing at every step, and the producer's retry gives one entry per event."""
    reports = each_step(support, "append", tmp_path)
    assert all(report["left"]["damage"] == report["after"]["damage"] == [] for report in reports)
    sizes = [report["left"]["size"] for report in reports]
    assert sizes == sorted(sizes)
    assert set(sizes) == {1, 3}
    assert {report["after"]["size"] for report in reports} == {3}
    assert len(reports) > 30


def test_killed_before_each_step_of_making_a_ledger(tmp_path, support):
    """A half-made directory is completed by the next call, with whole keys and one first entry."""
    reports = each_step(support, "create", tmp_path)
    assert all(report["after"] == {"size": 1, "damage": []} for report in reports)
    assert {report["left"]["ready"] for report in reports} == {False, True}
    assert len(reports) > 40
