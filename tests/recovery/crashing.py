"""Jobs that die by SIGKILL before their 1st, 2nd, 3rd ... step; run by test_kills.py, never imported.

    crashing.py JOB DIRECTORY [FIRST STRIDE]

A step is an SQL statement or an operation on a file, seen from outside (audit events, SQLite's trace
callback), so that nothing of the product is replaced. After each death the state is looked at and the job
is done again, as an operator would; one JSON line says what was found.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from ledger import Ledger
from ledger.config import CONFIG, DATABASE, read_config
from ledger.errors import StoreError
from ledger.notes import split_note
from ledger.recovery.backup import Backup, take_backup
from ledger.recovery.restoring import RESTORED, confirm_with_loss, restore
from ledger.recovery.rotating import retire, rotate
from ledger.store.database import Database
from ledger.verify import verify_database

ORIGIN = "example.org/audit"
FILE_STEPS = frozenset(
    ("open", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "sqlite3.connect")
)


def event(name: object) -> dict:
    return {
        "specversion": "1.0",
        "id": f"view-{name}",
        "source": "urn:crash",
        "type": "com.clinic.data.view.v1",
        "data": {"actor": {"id": "dr"}, "outcome": "success", "resource": {"id": f"r/{name}"}},
    }


def die_before(step: int, directory: Path) -> None:
    counter = itertools.count(1)
    connect = sqlite3.connect

    def tick(_statement: str = "") -> None:
        if next(counter) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(name: str, arguments: tuple) -> None:
        if name in FILE_STEPS and str(directory) in str(arguments[0]):
            tick()

    def traced(*arguments: object, **settings: object) -> sqlite3.Connection:
        connection = connect(*arguments, **settings)
        connection.set_trace_callback(tick)
        return connection

    sqlite3.connect = traced
    sys.addaudithook(watch)


def prepare(place: Path) -> None:
    place.mkdir()
    with Ledger.create(place / "data", ORIGIN) as ledger:
        ledger.append([event("1"), event("2")])
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
    with closing(Database(directory / DATABASE)) as database:
        findings = verify_database(database, read_config(directory).vkey)
    return {"size": findings.size, "damage": [damage.kind for damage in findings.damage]}


def look_keys(place: Path) -> dict:
    """The log verifies and goes on, under exactly one key, whichever it is."""
    before = verified(place / "data")
    with Ledger.open(place / "data") as ledger:
        ledger.append([event(f"after-{ledger.size()}")])
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
                ledger.append([event("4")])
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
    for step in itertools.count(first, stride):
        place = root / f"{name}-{step}"
        shutil.copytree(root / "template", place)
        pid = os.fork()
        if pid == 0:
            die_before(step, place)
            job(place)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        left = look(place)
        done = name in ("backup", "restore") and left["there"]
        if not done:
            job(place)
        print(json.dumps({"step": step, "status": status, "left": left, "after": look(place)}), flush=True)  # noqa: T201 - the report
        shutil.rmtree(place)
        if status == 0:
            return


if __name__ == "__main__":
    assert CONFIG
    main()
