"""System calls that fail, processes that die in them, power that is cut: what was promised stays true.

pytestmark = pytest.mark.sqlite

Needs strace (a visible skip names it where it is missing). By default a spread of all faults is tried;
TOCSIN_FAULTS=N tries up to N of each kind, and TOCSIN_FAULTS=1000 tries every one there is.

What is not shown: that the disk itself tells the truth about a sync; and what happens where the sync of a
*directory* fails that SQLite asked for, because SQLite ignores that failure.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys

import pytest

MOST = int(os.environ.get("TOCSIN_FAULTS", "0"))
PATIENCE_S = 20_000 if MOST else 280
UNHEARD = 4 << 8  # the fault also took the job's means to say anything
JOBS = ["append", "make", "backup", "restore", "rotate", "forget", "witness", "establish"]


@pytest.fixture(scope="module", autouse=True)
def strace(absent):
    if shutil.which("strace") is None:
        absent("strace is not installed: no system call can be made to fail here")
    tried = subprocess.run(["strace", "-o", os.devnull, sys.executable, "-c", ""], capture_output=True, check=False)
    if tried.returncode != 0:
        pytest.skip("strace may not trace (ptrace is forbidden): no system call can be made to fail here")


@pytest.mark.timeout(PATIENCE_S + 20)
@pytest.mark.parametrize("job", JOBS)
def test_a_failed_system_call_breaks_no_promise(tmp_path, support, job):
    plain, *runs = support.reports(
        "faulting", job, tmp_path, MOST or {"append": 2, "witness": 2}.get(job, 1), timeout_s=PATIENCE_S
    )
    assert (plain["status"], plain["problems"]) == (0, [])
    # Nothing but a fault of ours can end the job, and whatever went wrong is told as an error of Tocsin's.
    assert [run for run in runs if run["leaked"]] == []
    assert [run for run in runs if run["problems"]] == []
    assert {run["status"] for run in runs} - {UNHEARD} == {0, signal.SIGKILL}
    # A call that a retry makes superfluous is not reached; nearly all must be.
    fired = [run for run in runs if run["fired"]]
    assert len(fired) > 0.8 * len(runs)
    assert {"pwrite64", "openat"} <= {run["fault"][0] for run in fired}
    assert any(run["refused"] for run in fired)
    assert any(run["promised"] for run in fired)


@pytest.mark.timeout(PATIENCE_S + 20)
@pytest.mark.parametrize("job", JOBS)
def test_a_power_cut_takes_nothing_that_was_promised(tmp_path, support, job):
    """Not even where nothing survives but what was synced, or the rest only in part and out of order."""
    cuts = support.reports("cutting", job, tmp_path, MOST or 16, timeout_s=PATIENCE_S)
    assert [cut for cut in cuts if cut["problems"]] == []
    assert {cut["promised"] > 0 for cut in cuts if cut["strict"]} == {False, True}


@pytest.mark.timeout(PATIENCE_S + 20)
@pytest.mark.parametrize("job", ["append", "backup", "rotate", "witness"])
def test_what_a_failed_sync_lost_was_not_promised(tmp_path, support, job):
    """Failed and not persisted: the kernel forgets what it could not write, and says so once."""
    cuts = support.reports("cutting", job, tmp_path, MOST or 4, "broken", timeout_s=PATIENCE_S)
    assert [cut for cut in cuts if cut["problems"]] == []
    assert len({tuple(cut["fault"]) for cut in cuts}) >= 4
    assert any(cut["promised"] for cut in cuts)
