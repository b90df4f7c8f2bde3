"""The parent of the workers: it starts again what ended, patiently, and leaves nothing running."""

import multiprocessing
import signal
import time

from api import workers
from api.workers import Kept

SPAWN = multiprocessing.get_context("spawn")


def test_what_ends_at_once_is_started_less_and_less_quickly():
    kept = Kept(lambda: SPAWN.Process(target=int))
    now, pauses = 100.0, []
    for _ in range(8):
        kept.start(now)
        kept.process.join()
        kept.ended(now + 0.5)
        pauses.append(round(kept.due - now - 0.5, 3))
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    kept.start(now)
    kept.process.join()
    kept.ended(now + 60)  # it had worked for a while
    assert kept.due == now + 60


DEAF = "import pathlib, signal, time; signal.signal(15, signal.SIG_IGN); pathlib.Path({!r}).touch(); time.sleep(60)"


def test_what_does_not_stop_is_killed(monkeypatch, caplog, tmp_path):
    monkeypatch.setattr(workers, "_STOP_S", 0.2)
    willing = SPAWN.Process(target=time.sleep, args=(60,))
    deaf = SPAWN.Process(target=exec, args=(DEAF.format(str(tmp_path / "deaf")),))
    for process in (willing, deaf):
        process.start()
    while not (tmp_path / "deaf").exists():
        time.sleep(0.02)
    workers._stop([willing, deaf])
    assert [willing.exitcode, deaf.exitcode] == [-signal.SIGTERM, -signal.SIGKILL]
    assert f"process {deaf.pid}) did not stop and is killed" in caplog.text
    assert str(willing.pid) not in caplog.text
