"""kill -9 before every step of a rotation, a backup, a restoration and a confirmation."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest


def each_step(support, job: str, directory: Path) -> list[dict]:
    """What was left by a job killed before each of its steps, and after it was done again."""
    reports = support.reports("recovering", job, directory)
    assert [report["status"] for report in reports] == [signal.SIGKILL] * (len(reports) - 1) + [0]
    return reports


@pytest.mark.parametrize("job", ["rotate", "retire"])
def test_a_killed_rotation_leaves_one_key_that_signs_and_can_be_asked_again(tmp_path, support, job):
    reports = each_step(support, job, tmp_path)
    for report in reports:
        for seen in (report["left"], report["after"]):
            assert seen["before"]["damage"] == seen["after"]["damage"] == [], report
            assert seen["same"], report
        # Asking again after a kill that came late rotates once more, which is safe; never less than once.
        assert report["after"]["rotations"] in (1, 2)
    assert {report["left"]["rotations"] for report in reports} == {0, 1}
    assert len(reports) > 20


def test_a_killed_backup_leaves_nothing_under_the_final_name(tmp_path, support):
    reports = each_step(support, "backup", tmp_path)
    # Killed between the two names of a finished backup, both are left: the file is whole.
    assert all(report["after"]["there"] for report in reports)
    assert all(report["after"]["rest"] == [] or report["left"]["there"] for report in reports)
    there = [report["left"]["there"] for report in reports]
    assert there == sorted(there)
    assert set(there) == {False, True}
    # The half file that a kill leaves has a hidden name, and the next backup takes it over.
    assert any(report["left"]["rest"] == [".new.tocsin.part"] for report in reports)


def test_a_killed_restoration_leaves_a_whole_marked_copy_or_none(tmp_path, support):
    reports = each_step(support, "restore", tmp_path)
    whole = {"there": True, "marked": True, "size": 3, "damage": []}
    assert all(report["after"] == whole for report in reports)
    assert all(report["left"] in (whole, {"there": False}) for report in reports)
    assert len({report["left"]["there"] for report in reports}) == 2


def test_a_killed_confirmation_is_recorded_once(tmp_path, support):
    reports = each_step(support, "confirm", tmp_path)
    for report in reports:
        left, after = report["left"], report["after"]
        assert after == {"marked": False, "refused": False, "events": 1, "size": 4, "damage": []}
        assert left["damage"] == []
        assert left["marked"] == left["refused"]
        assert left["events"] == left["size"] - 3 <= 1
        assert left["marked"] or left["events"] == 1
    assert {report["left"]["marked"] for report in reports} == {True, False}
