"""Ledgers and witnesses whose system calls fail; run by tests/ledger/test_syscall_faults.py.

    faulting.py JOB DIRECTORY MOST     make each call of the job fail in each way, at most MOST of a kind

First the job's calls are counted; then it runs once for each fault, each time on a fresh copy. Afterwards, with
the fault gone, what was promised is held against what is there. One JSON line for each run.
"""

from __future__ import annotations

import shutil
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dying import report
from promises import JOBS
from tracing import run, spread

WAYS: dict[str, tuple[str, ...]] = {
    "pwrite64": ("error=EIO", "error=ENOSPC", "error=EINTR", "signal=KILL"),
    "write": ("error=EIO", "error=ENOSPC", "error=EINTR", "signal=KILL"),
    "fdatasync": ("error=EIO", "error=ENOSPC", "error=EINTR", "signal=KILL"),
    "fsync": ("error=EIO", "error=ENOSPC", "signal=KILL"),
    "ftruncate": ("error=EIO", "signal=KILL"),
    "openat": ("error=EIO", "error=EMFILE", "error=EINTR", "signal=KILL"),
    "unlink": ("error=EIO", "signal=KILL"),
    "rename": ("error=EIO", "error=ENOSPC", "signal=KILL"),
    "link": ("error=EIO", "signal=KILL"),
    "linkat": ("error=EIO", "signal=KILL"),
    "unlinkat": ("error=EIO", "signal=KILL"),
    "renameat": ("error=EIO", "error=ENOSPC", "signal=KILL"),
    "mkdirat": ("error=EIO", "error=ENOSPC", "signal=KILL"),
    "mkdir": ("error=EIO", "error=ENOSPC", "signal=KILL"),
    "pread64": ("error=EIO", "error=EINTR", "signal=KILL"),
    "mmap": ("error=ENOMEM",),
    "flock": ("error=EIO",),
    "fcntl": ("error=EIO",),
}
LASTING = ("pwrite64", "write", "fdatasync", "fsync")
"""Calls that also fail from some moment on, and not only once: a full or broken disk."""


class Fault(NamedTuple):
    call: str
    way: str
    when: str


def faults(places: dict[str, list[int]], most: int) -> Iterator[Fault]:
    for call, every in WAYS.items():
        # The quick sweep: one error and one death for each kind of call.
        ways = every if most > 1 else (every[0], *every[1:][-1:])
        occurrences = places.get(call, [])
        for way in ways:
            for number in spread(len(occurrences), most):
                yield Fault(call, way, str(occurrences[number - 1]))
        if call in LASTING and occurrences:
            for way in (item for item in ways if item.startswith("error=E") and item != "error=EINTR"):
                for number in spread(len(occurrences), (most + 1) // 2):
                    yield Fault(call, way, f"{occurrences[number - 1]}+")


def places(calls: list, place: Path) -> dict[str, list[int]]:
    """For each kind of call, which of them (from 1) touch a file below the place."""
    seen: Counter[str] = Counter()
    found: dict[str, list[int]] = {}
    for call in calls:
        seen[call.name] += 1
        if f"{place}/" in call.arguments or f"{place}/" in call.path or f"{place}>" in call.arguments:
            found.setdefault(call.name, []).append(seen[call.name])
    return found


def main() -> None:
    job = JOBS[sys.argv[1]]
    root, most = Path(sys.argv[2]).resolve(), int(sys.argv[3])
    job.prepare(root / "template")
    place = root / "place"

    def once(options: list[str], *, sure: bool = True) -> tuple:
        shutil.copytree(root / "template", place)
        done = run(job.run, place, options)
        problems = job.check(place, done.said, sure=sure and done.status == 0)
        shutil.rmtree(place)
        for left in root.glob("place.*"):
            left.unlink()
        return done, problems

    names = ",".join(f"?{name}" for name in WAYS)
    done, problems = once(["-y", "-e", f"trace={names}"])
    report(fault=None, status=done.status, said=len(done.said), problems=problems)
    for fault in faults(places(done.calls, place), most):
        options = ["-e", f"trace={fault.call}", "-e", f"inject={fault.call}:{fault.way}:when={fault.when}"]
        done, problems = once(options, sure=fault.call not in ("fdatasync", "fsync"))
        killed = done.status == signal.SIGKILL
        report(
            fault=list(fault),
            status=done.status,
            fired=killed or any("INJECTED" in call.remark for call in done.calls),
            refused=sum("refused" in item for item in done.said),
            promised=sum("promised" in item for item in done.said),
            leaked=[item["leaked"] for item in done.said if "leaked" in item],
            problems=problems,
        )


if __name__ == "__main__":
    main()
