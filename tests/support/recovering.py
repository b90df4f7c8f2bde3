"""Rotations, backups and restorations that are killed; run by tests/recovery/test_kills.py.

    recovering.py JOB DIRECTORY [FIRST STRIDE]

After each death the state is looked at and the job is done again, as an operator would; one JSON line says
what was found.
"""

from __future__ import annotations

import shutil
import sys
from contextlib import closing
from pathlib import Path

from dying import ORIGIN, deaths, report, view

from ledger import Ledger
from ledger.config import DATABASE, read_config
from ledger.errors import StoreError
from ledger.notes import split_note
from ledger.recovery.backup import Backup, take_backup
from ledger.recovery.restoring import RESTORED, confirm_with_loss, restore
from ledger.recovery.rotating import retire, rotate
from ledger.store.sqlite import SqliteDatabase
from ledger.verify import verify_database


def prepare(place: Path) -> None:
    place.mkdir()
    with Ledger.create(place / "data", ORIGIN) as ledger:
        ledger.append([view("1"), view("2")])
        take_backup(ledger, place / "old.tocsin")


def put_back(place: Path) -> None:
    """A restored copy with its keys, unconfirmed."""
    restore(Backup.open(place / "old.tocsin"), place / "copy")
    shutil.copytree(place / "data" / "keys", place / "copy" / "keys")


def job_rotate(place: Path) -> None:
    with Ledger.open(place / "data") as ledger:
        rotate(ledger)


def job_retire(place: Path) -> None:
    with Ledger.open(place / "data") as ledger:
        retire(ledger, 2)


def job_backup(place: Path) -> None:
    with Ledger.open(place / "data") as ledger:
        take_backup(ledger, place / "new.tocsin")


def job_restore(place: Path) -> None:
    restore(Backup.open(place / "old.tocsin"), place / "copy")


def job_confirm(place: Path) -> None:
    with Ledger.open(place / "copy") as ledger:
        if ledger.config.restored is not None:
            confirm_with_loss(ledger, "the disk was lost")


def verified(directory: Path) -> dict:
    with closing(SqliteDatabase(directory / DATABASE)) as database:
        findings = verify_database(database, read_config(directory).vkey)
    return {"size": findings.size, "damage": [damage.kind for damage in findings.damage]}


def look_keys(place: Path) -> dict:
    """The log verifies and goes on, under exactly one key, whichever it is."""
    before = verified(place / "data")
    with Ledger.open(place / "data") as ledger:
        ledger.append([view(f"after-{ledger.size()}")])
        signed = [signature.key_id.hex() for signature in split_note(ledger.checkpoint())[1]]
        rotated = len(read_config(place / "data").keys) - 1
        same = signed == [ledger.vkey.split("+")[1]]
    return {"before": before, "rotations": rotated, "same": same, "after": verified(place / "data")}


def look_backup(place: Path) -> dict:
    path = place / "new.tocsin"
    if path.exists():
        Backup.open(path).extract(None)
    return {"there": path.exists(), "rest": sorted(item.name for item in place.glob(".*"))}


def look_restore(place: Path) -> dict:
    copy = place / "copy"
    if not copy.exists():
        return {"there": False}
    config = read_config(copy)
    return {"there": True, "marked": config.restored is not None, **verified(copy)}


def look_confirm(place: Path) -> dict:
    copy = place / "copy"
    with Ledger.open(copy) as ledger:
        events = sum(stored.decode().type == RESTORED for stored in ledger.entries())
        try:
            if ledger.config.restored is not None:
                ledger.append([view("4")])
            refused = False
        except StoreError:
            refused = True
        return {"marked": ledger.config.restored is not None, "refused": refused, "events": events, **verified(copy)}


JOBS = {
    "rotate": (job_rotate, look_keys),
    "retire": (job_retire, look_keys),
    "backup": (job_backup, look_backup),
    "restore": (job_restore, look_restore),
    "confirm": (job_confirm, look_confirm),
}


def main() -> None:
    name, root = sys.argv[1], Path(sys.argv[2])
    first, stride = (int(text) for text in (*sys.argv[3:], "1", "1")[:2])
    job, look = JOBS[name]
    prepare(root / "template")
    if name == "confirm":
        put_back(root / "template")

    def make(step: int) -> Path:
        place = root / f"{name}-{step}"
        shutil.copytree(root / "template", place)
        return place

    for step, status, place in deaths(make, job, first=first, stride=stride):
        left = look(place)
        done = name in ("backup", "restore") and left["there"]
        if not done:
            job(place)
        report(step=step, status=status, left=left, after=look(place))


if __name__ == "__main__":
    main()
