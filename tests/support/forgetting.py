"""Erasures, retention runs and changes of the vault's key that are killed; run by tests/erasure/test_crash.py.

    forgetting.py erase|retain|rotate DIRECTORY FIRST STRIDE

Dies before the FIRST-th, FIRST+STRIDE-th ... step, each time in a fresh copy of a prepared ledger, and prints
what was left and what a repetition made of it.
"""

from __future__ import annotations

import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

from dying import ORIGIN, deaths, report, view

from ledger import Ledger
from ledger.forgetting.erasing import erase as erase_person
from ledger.forgetting.retention import Rule, run_rules
from ledger.forgetting.rotation import rotate_vault
from ledger.forgetting.scrub import finish, unfinished
from ledger.proofs import verify_receipt
from ledger.verify import verify_database

THEN = datetime(2024, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
CANARIES = (b"record-canary", b"Canary Nameworth")


def open_ledger(directory: Path) -> Ledger:
    return Ledger.open(directory, clock=lambda: NOW)


def event(name: str) -> dict:
    return view(name, person=name, resource=f"record-{name}")


def prepare(directory: Path) -> None:
    with Ledger.create(directory, ORIGIN, clock=lambda: THEN) as ledger:
        with ledger.database.write() as connection:
            ledger.vault.refer(connection, "actor", "officer")
            ledger.vault.refer(connection, "subject", "canary", {"name": "Canary Nameworth"})
        ledger.append([event("canary"), event("other")])
        ledger.append([event(f"more-{n}") for n in range(3)])
        ledger.access.follow()


def erase(directory: Path) -> None:
    with open_ledger(directory) as ledger:
        by = ledger.vault.find("actor", "officer")
        ref = ledger.vault.find("subject", "canary")
        needles: tuple[bytes, ...] = ()
        if ref is not None:
            needles = erase_person(ledger, ref, basis="b", by=by).needles
        finish(ledger, by=by, needles=needles)


def retain(directory: Path) -> None:
    with open_ledger(directory) as ledger:
        by = ledger.vault.find("actor", "officer")
        run_rules(ledger, [Rule("views", "*.data.view.v1", 365)], by=by, batch=2)
        finish(ledger, by=by)


def rotate(directory: Path) -> None:
    with open_ledger(directory) as ledger:
        rotate_vault(ledger, "file:keys/vault-2.key", by=ledger.vault.find("actor", "officer"))


def look(directory: Path, held: list[tuple[bytes, bytes, bytes]]) -> dict:
    """What a restart finds: verdict, whether every old receipt proves, what is gone, whether the log goes on."""
    with open_ledger(directory) as ledger:
        damage = [item.kind for item in verify_database(ledger.database, ledger.vkey, vault=ledger.vault).damage]
        for index, (entry, proof, policy) in enumerate(held):
            assert verify_receipt(proof, entry, policy).index == index
        other = ledger.vault.find("subject", "other")
        assert ledger.vault.profile(other) == {"id": "other"}
        return {
            "damage": damage,
            "known": ledger.vault.find("subject", "canary") is not None,
            "gone": sum(stored.payload is None for stored in ledger.entries()),
            "unfinished": len(unfinished(ledger)),
            "key": ledger.vault.key,
        }


def receipts(directory: Path) -> list[tuple[bytes, bytes, bytes]]:
    with open_ledger(directory) as ledger:
        entries = list(ledger.entries())
        policy = f"log {ledger.vkey}\nquorum none\n".encode()
        found = ledger.prove_many(range(len(entries)))
        return [(stored.entry, proof, policy) for stored, proof in zip(entries, found, strict=True)]


def main() -> None:
    job = {"erase": erase, "retain": retain, "rotate": rotate}[sys.argv[1]]
    directory, first, stride = Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    prepare(directory / "prepared")
    held = receipts(directory / "prepared")

    def make(step: int) -> Path:
        data = directory / f"step-{step}"
        shutil.copytree(directory / "prepared", data)
        return data

    for step, status, data in deaths(make, job, first=first, stride=stride):
        left = look(data, held)
        job(data)
        after = look(data, held)
        text = b"".join(path.read_bytes() for path in data.rglob("*") if path.is_file())
        after["found"] = [needle.decode() for needle in CANARIES if needle in text]
        report(step=step, status=status, left=left, after=after)


if __name__ == "__main__":
    main()
