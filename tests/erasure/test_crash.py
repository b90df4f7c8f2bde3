"""kill -9 at any step of an erasure, a retention run or a change of the vault's key.

Whatever was left opens, verifies, and proves every old receipt; a repetition completes it.
"""

from __future__ import annotations

import random
import signal

import pytest

STRIDE = 4


def each_step(support, job, directory):
    """Reports of the job killed at every fourth step, from a step chosen by the day's luck of a fixed seed."""
    first = random.Random(job).randint(1, STRIDE)
    reports = support.reports("forgetting", job, directory, first, STRIDE)
    assert [report["status"] for report in reports] == [signal.SIGKILL] * (len(reports) - 1) + [0]
    assert all(report["left"]["damage"] == report["after"]["damage"] == [] for report in reports)
    assert all(report["after"]["unfinished"] == 0 for report in reports)
    return reports


def test_killed_anywhere_in_an_erasure(tmp_path, support):
    reports = each_step(support, "erase", tmp_path)
    # Either nothing happened, or the person and the payload are gone together with the event that says so.
    states = {(report["left"]["known"], report["left"]["gone"], report["left"]["unfinished"]) for report in reports}
    assert states <= {(True, 0, 0), (False, 1, 1), (False, 1, 0)}
    assert {(True, 0, 0), (False, 1, 1)} <= states
    assert all(not report["after"]["known"] and report["after"]["gone"] == 1 for report in reports)
    assert all(report["after"]["found"] == [] for report in reports)
    assert len(reports) > 15


def test_killed_anywhere_in_a_retention_run(tmp_path, support):
    reports = each_step(support, "retain", tmp_path)
    assert {report["left"]["gone"] for report in reports} == {0, 2, 4, 5}
    assert all(report["after"]["gone"] == 5 for report in reports)
    assert all(report["after"]["found"] == [] for report in reports)


@pytest.mark.parametrize("job", ["rotate"])
def test_killed_anywhere_in_a_change_of_the_vaults_key(tmp_path, support, job):
    reports = each_step(support, job, tmp_path)
    keys = [report["left"]["key"] for report in reports]
    # One moment at which the new key takes over, and no way back.
    assert len(set(keys)) > 1
    old = keys[0]
    turned = [key != old for key in keys]
    assert turned == sorted(turned)
    assert all(report["after"]["key"] != old for report in reports)
