"""kill -9 before every step of writing a mirror, rebuilding from one, and recording that it was done."""

from __future__ import annotations

import signal

import pytest


def each_step(support, job, directory, stride=1):
    """What was left by a job killed before each (or each n-th) of its steps, and after it was done again."""
    reports = support.reports("refilling", job, directory, 1, stride)
    assert [report["status"] for report in reports] == [signal.SIGKILL] * (len(reports) - 1) + [0]
    return reports


def test_a_killed_mirror_shows_the_old_tree_or_the_new_one(support, tmp_path):
    reports = each_step(support, "mirror", tmp_path)
    old, new = ({"size": size, "entries": size} for size in (3, 303))
    assert all(report["after"] == new for report in reports)
    assert all(report["left"] in (old, new) for report in reports)
    assert len({report["left"]["size"] for report in reports}) == 2
    assert len(reports) > 15


@pytest.mark.parametrize("job", ["rebuild", "tiles"])
def test_a_killed_rebuild_leaves_what_was_there_or_the_whole(support, tmp_path, job):
    reports = each_step(support, job, tmp_path, stride=4)
    # Either state signs nothing; the rebuilt one says that no entry accounts for it yet.
    before = {"there": True, "marked": True, "size": 3, "damage": []} if job == "rebuild" else {"there": False}
    whole = {"there": True, "marked": True, "size": 303, "damage": ["rebuild_unrecorded"]}
    assert all(report["after"] == whole for report in reports)
    assert all(report["left"] in (before, whole) for report in reports)
    assert before in [report["left"] for report in reports]
    assert len(reports) > 15


def test_a_killed_confirmation_of_a_rebuilt_copy_is_recorded_once(support, tmp_path):
    for report in each_step(support, "record", tmp_path):
        left, after = report["left"], report["after"]
        assert (after["marked"], after["events"], after["size"], after["damage"]) == (False, 1, 305, [])
        assert (after["noted"], after["pending"]) == (1, False)
        assert (left["noted"], left["pending"]) in ((0, True), (1, False))
        # What the event accounts for and what is noted of it change in one step.
        assert left["damage"] == (["rebuild_unrecorded"] if left["pending"] else [])
        assert left["marked"] or left["noted"] == 1
