"""Run a job under strace: see its system calls, or make one of them fail.

The job runs in a forked child that waits until strace is attached, so what is counted are the job's own calls
and the same job makes the same calls every time.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import subprocess
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

Say = Callable[[object], None]
"""Tells somebody outside: what was said cannot be taken back by a crash."""

Job = Callable[[Path, Say], None]

_PR_SET_PTRACER, _ANYBODY = 0x59616D61, ctypes.c_ulong(-1)
_LINE = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+|\?)(?:<([^>]*)>(?:\(deleted\))?)?(.*)")


UNHEARD = 4
"""Exit status of a job that could not say something because that write failed too: it ends as on a broken pipe."""


class Call(NamedTuple):
    """One system call: name, text of its arguments, result (-1 on failure), path of the result, remarks."""

    name: str
    arguments: str
    result: int
    path: str
    remark: str


class Run(NamedTuple):
    """A job that ended: its wait status, what it said, its calls."""

    status: int
    said: list[Any]
    calls: list[Call]


def run(job: Job, place: Path, options: Sequence[str] = ()) -> Run:
    """Run a job in `place` under strace with these options.

    What the job says goes to a file beside `place`, by one `write` each. An exception that the job does not
    catch is exit status 3, with the traceback said last.
    """
    log, said = place.with_name(f"{place.name}.strace"), place.with_name(f"{place.name}.said")
    ready, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(go)
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _ANYBODY)
        os.read(ready, 1)
        _child(job, place, said)
    os.close(ready)
    command = ["strace", "-f", "-p", str(pid), "-o", str(log), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        first = strace.stderr.readline()
        # Let go in any case: a child that nobody traces must not wait for ever.
        os.write(go, b"g")
        os.close(go)
        _, status = os.waitpid(pid, 0)
        rest = strace.stderr.read()
    if "attached" not in first:
        raise RuntimeError(f"strace could not attach: {first}{rest}")
    text = said.read_text() if said.exists() else ""
    return Run(status, [json.loads(line) for line in text.splitlines()], list(_parse(log)))


def _child(job: Job, place: Path, said: Path) -> None:
    descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def say(what: object) -> None:
        try:
            os.write(descriptor, json.dumps(what).encode() + b"\n")
        except OSError:
            os._exit(UNHEARD)

    try:
        job(place, say)
    except BaseException:  # noqa: BLE001 - the forked child must end here, whatever happened
        say({"leaked": traceback.format_exc()})
        os._exit(3)
    os._exit(0)


def _parse(log: Path) -> Iterator[Call]:
    with log.open() as lines:
        for line in lines:
            match = _LINE.match(line)
            if match is not None:
                _, name, arguments, result, path, remark = match.groups()
                yield Call(name, arguments, -1 if result == "?" else int(result), path or "", remark)


def spread(count: int, most: int) -> list[int]:
    """At most `most` of the numbers 1 to `count`, evenly, the first and the last among them."""
    if count <= most:
        return list(range(1, count + 1))
    if most < 2:
        return [(count + 1) // 2][:most]
    return sorted({1 + round(place * (count - 1) / (most - 1)) for place in range(most)})
