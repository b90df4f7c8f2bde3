"""Programs that are killed in the middle: by SIGKILL before their 1st, 2nd, 3rd ... step.

A step is an SQL statement or an operation on a file below a directory. Both are seen from outside (audit
events, SQLite's trace callback), so that nothing of the product is replaced.

The modules in this directory are programs and what they share. Tests do not import them but run them, see the
fixture `support`: a process that dies, forks or is traced must not be the one that runs the tests.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

ORIGIN = "example.org/audit"
FILE_STEPS = frozenset(
    ("open", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "sqlite3.connect")
)


class Death(NamedTuple):
    """One run of a job: what it was to die before, its exit status (0 where it had fewer steps), where it ran."""

    step: int
    status: int
    place: Path


def deaths(
    make: Callable[[int], Path], job: Callable[[Path], None], *, first: int = 1, stride: int = 1
) -> Iterator[Death]:
    """Run a job that dies before its `first`, `first + stride` ... step, until it runs to its end.

    Each time in the fresh directory that `make(step)` gives, which is removed afterwards.
    """
    for step in itertools.count(first, stride):
        place = make(step)
        pid = os.fork()
        if pid == 0:
            _die_before(step, place)
            job(place)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        yield Death(step, status, place)
        shutil.rmtree(place)
        if status == 0:
            return


def _die_before(step: int, directory: Path) -> None:
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


def report(**what: object) -> None:
    """Print one finding as a line of JSON."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def view(name: object, *, person: str | None = None, resource: str | None = None) -> dict:
    """One view of one patient's record."""
    return {
        "specversion": "1.0",
        "id": f"view-{name}",
        "source": "urn:crash",
        "type": "com.clinic.data.view.v1",
        "data": {
            "actor": {"id": "dr-grey"},
            "outcome": "success",
            "resource": {"id": resource or f"record/{name}"},
            "subjects": [{"id": person or f"patient-{name}"}],
            "text": "what was seen",
        },
    }
