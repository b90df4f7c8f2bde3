"""Who holds a lease, and whether that worker still lives.

An owner names its boot, process-id space, process and start time, so a worker that was killed is known to
be dead at once, without waiting for its leases to run out, and a process id used again by another
program is not mistaken for it. Where that cannot be known (another host, another container), only the
expiry counts.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")


def new_owner(entropy: Callable[[int], bytes]) -> str:
    """Name of this process as a lease owner, different at every call."""
    pid = os.getpid()
    return f"{_space()}:{pid}:{_started(pid)}:{entropy(8).hex()}"


def is_dead(owner: str) -> bool:
    """Whether the owner is certainly gone; False where it lives or cannot be known."""
    space, _, rest = owner.partition(":")
    parts = rest.split(":")
    if space != _space() or len(parts) != 3 or not parts[0].isdigit():  # noqa: PLR2004  # pid, start, random
        return False
    return _started(int(parts[0])) != parts[1]


def _space() -> str:
    """Boot id and process-id namespace: within one of them a process id means one process."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        namespace = (_PROC / "self/ns/pid").readlink().name
    except OSError:
        return f"unknown-{os.uname().nodename}"
    return f"{boot}/{namespace}".replace(":", "")


def _started(pid: int) -> str:
    """Start time of a process in clock ticks since boot; "" when there is no such process."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "" if _PROC.is_dir() and (_PROC / "self").exists() else _alive(pid)
    # A killed process stays in the table until its parent collects it: state Z means it is gone.
    return "" if fields[0] in ("Z", "X") else fields[19]


def _alive(pid: int) -> str:
    """Without /proc: "?" for a process that exists, "" for one that does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        return "?"
    return "?"
