"""A ledger that is killed while it is made or appended to; run by tests/ledger/test_crash.py.

appending.py append DIRECTORY NAME          append until killed, printing each receipt once it is held
appending.py steps create|append DIRECTORY  die before the 1st, 2nd, 3rd ... step of the job, each time in
                                            a fresh directory, and print what was left
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path

from dying import ORIGIN, deaths, report, view

from ledger import Ledger
from ledger.config import CONFIG
from ledger.verify import verify_database


def append_for_ever(directory: Path, name: str) -> None:
    with Ledger.open(directory) as ledger:
        for number in itertools.count():
            batch = [view(f"{name}-{number}-{part}") for part in range(1 + number % 7)]
            receipts = ledger.append(batch)
            sys.stdout.write(json.dumps([receipt.as_json() for receipt in receipts]) + "\n")
            sys.stdout.flush()
            if number % 5 == 0:
                ledger.access.follow()


def create(directory: Path) -> None:
    Ledger.create(directory, ORIGIN).close()


def append(directory: Path) -> None:
    with Ledger.open(directory) as ledger:
        ledger.append([view("1"), view("2")])
        ledger.access.follow()


def look(directory: Path) -> dict:
    with Ledger.open(directory) as ledger:
        findings = verify_database(ledger.database, ledger.vkey, vault=ledger.vault)
        return {"size": findings.size, "damage": [damage.kind for damage in findings.damage]}


def each_step(job: Callable[[Path], None], directory: Path) -> None:
    def make(step: int) -> Path:
        data = directory / f"{job.__name__}-{step}"
        if job is append:
            create(data)
        return data

    for step, status, data in deaths(make, job):
        ready = (data / CONFIG).exists()
        left = look(data) if job is append else {"ready": ready}
        job(data)
        report(step=step, status=status, left=left, after=look(data))


def main() -> None:
    if sys.argv[1] == "append":
        append_for_ever(Path(sys.argv[2]), sys.argv[3])
    else:
        each_step({"create": create, "append": append}[sys.argv[2]], Path(sys.argv[3]))


if __name__ == "__main__":
    main()
