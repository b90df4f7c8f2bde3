"""Programs that are killed in the middle; run by test_crash.py, never imported.

    crashing.py append DIRECTORY NAME          append until killed, printing each receipt once it is held
    crashing.py steps create|append DIRECTORY  die by SIGKILL before the 1st, 2nd, 3rd ... step of the job,
                                               each time in a fresh directory, and print what was left

A step is an SQL statement or an operation on a file below the directory. Both are seen from outside
(audit events, SQLite's trace callback), so that nothing of the product is replaced.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

from ledger import Ledger
from ledger.config import CONFIG
from ledger.verify import verify_database

ORIGIN = "example.org/audit"
FILE_STEPS = frozenset(("open", "os.link", "os.mkdir", "os.remove", "os.rename", "sqlite3.connect"))


def event(name: object) -> dict:
    return {
        "specversion": "1.0",
        "id": f"view-{name}",
        "source": "urn:crash",
        "type": "com.clinic.data.view.v1",
        "data": {
            "actor": {"id": "dr-grey"},
            "outcome": "success",
            "resource": {"id": f"record/{name}"},
            "subjects": [{"id": f"patient-{name}"}],
            "text": "what was seen",
        },
    }


def append_for_ever(directory: Path, name: str) -> None:
    with Ledger.open(directory) as ledger:
        for number in itertools.count():
            batch = [event(f"{name}-{number}-{part}") for part in range(1 + number % 7)]
            receipts = ledger.append(batch)
            sys.stdout.write(json.dumps([receipt.as_json() for receipt in receipts]) + "\n")
            sys.stdout.flush()
            if number % 5 == 0:
                ledger.access.follow()


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


def create(directory: Path) -> None:
    Ledger.create(directory, ORIGIN).close()


def append(directory: Path) -> None:
    with Ledger.open(directory) as ledger:
        ledger.append([event("1"), event("2")])
        ledger.access.follow()


def look(directory: Path) -> dict:
    with Ledger.open(directory) as ledger:
        findings = verify_database(ledger.database, ledger.vkey, vault=ledger.vault)
        return {"size": findings.size, "damage": [damage.kind for damage in findings.damage]}


def each_step(job: Callable[[Path], None], directory: Path) -> None:
    for step in itertools.count(1):
        data = directory / f"{job.__name__}-{step}"
        if job is append:
            create(data)
        pid = os.fork()
        if pid == 0:
            die_before(step, data)
            job(data)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        ready = (data / CONFIG).exists()
        left = look(data) if job is append else {"ready": ready}
        job(data)
        report = {"step": step, "status": status, "left": left, "after": look(data)}
        sys.stdout.write(json.dumps(report) + "\n")
        shutil.rmtree(data)
        if status == 0:
            return


def main() -> None:
    if sys.argv[1] == "append":
        append_for_ever(Path(sys.argv[2]), sys.argv[3])
    else:
        each_step({"create": create, "append": append}[sys.argv[2]], Path(sys.argv[3]))


if __name__ == "__main__":
    main()
