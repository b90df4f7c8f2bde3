"""Ledgers and witnesses whose power is cut; run by tests/ledger/test_syscall_faults.py.

    cutting.py JOB DIRECTORY MOST           cut the power at MOST moments of the job
    cutting.py JOB DIRECTORY MOST broken    the same where one sync fails and what it should have saved is lost

The job runs once, and what it writes is replayed onto a model of a disk. From there, what a power cut leaves at any
moment is written to a real directory and held against what had been promised until then: once with nothing that was
not synced, and once with a part of it, torn and out of order.
"""

from __future__ import annotations

import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from disk import TRACED, Disk
from dying import report
from promises import JOBS, Job
from tracing import Call, Run, run, spread

OPTIONS = ("-y", "-xx", "-s", "100000000", "-e", "trace=" + ",".join(f"?{name}" for name in TRACED))


def cuts(calls: list[Call], most: int) -> set[int]:
    """Moments, as numbers of calls that were made before: all at which something was said, and a spread of others."""
    said = [number for number, call in enumerate(calls, 1) if Disk.says(call)]
    syncs = [number for number, call in enumerate(calls) if call.name in ("fsync", "fdatasync")]
    other = max(2, most - len(said))
    return {
        *said,
        *(syncs[number - 1] for number in spread(len(syncs), other // 2)),
        *spread(len(calls), other - other // 2),
    }


def replay(job: Job, root: Path, done: Run, most: int, *, torn: bool = True) -> Iterator[dict]:
    place = root / "place"
    moments = cuts(done.calls, most)
    disk = Disk(root / "template", place)
    shutil.rmtree(place)
    for number, call in enumerate(done.calls, 1):
        disk.apply(call)
        if number in moments:
            for luck in (None, random.Random(number))[: 1 + torn]:
                disk.write(place, luck)
                problems = _check(job, place, disk.said)
                shutil.rmtree(place)
                yield {
                    "cut": number,
                    "after": call.name,
                    "strict": luck is None,
                    "promised": sum("promised" in item for item in disk.said),
                    "problems": problems,
                }


def _reported(calls: list[Call], name: str) -> list[int]:
    """Which syncs (from 1) are of files; of a directory, SQLite ignores the failure, which nobody above it can see."""
    places = [Disk.synced(call) for call in calls if call.name == name]
    return [number for number, path in enumerate(places, 1) if name == "fsync" or not path.is_dir()]


def _check(job: Job, place: Path, said: list) -> list[str]:
    try:
        return job.check(place, said, sure=False)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong is what the power cut has done
        return [f"{type(error).__name__}: {error}"]


def main() -> None:
    job = JOBS[sys.argv[1]]
    root, most = Path(sys.argv[2]).resolve(), int(sys.argv[3])
    job.prepare(root / "template")

    def traced(*options: str) -> Run:
        shutil.copytree(root / "template", root / "place")
        done = run(job.run, root / "place", [*OPTIONS, *options])
        for left in root.glob("place.*"):
            left.unlink()
        return done

    if sys.argv[4:] != ["broken"]:
        for found in replay(job, root, traced(), most):
            report(**found)
        return
    first = traced()
    reported = {name: _reported(first.calls, name) for name in ("fdatasync", "fsync")}
    shutil.rmtree(root / "place")
    for name, numbers in reported.items():
        for number in [numbers[place - 1] for place in spread(len(numbers), most)]:
            done = traced("-e", f"inject={name}:error=EIO:when={number}")
            for found in replay(job, root, done, 2, torn=False):
                report(fault=[name, number], **found)


if __name__ == "__main__":
    main()
