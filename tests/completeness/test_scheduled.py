"""A server seals by itself: when it is due, a bounded piece at each tick, in one process, and goes on where it was."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from api.cli import app
from api.clock import Ticker, each_of
from api.erasing import prepare_forgetting
from api.sealing import Sealing, sealed
from ledger import Ledger, OwnEvent
from ledger.completeness import index_key, log_of, recompute, seal_index, seals, subject_report
from ledger.config import Restored
from ledger.errors import StoreFullError

DAY = timedelta(days=1)


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 3, 10, 9, 0, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path, kit, clock):
    with closing(Ledger.create(tmp_path / "data", kit.origin, clock=clock)) as opened:
        yield opened


def always(ledger: Ledger, every: timedelta = DAY) -> Sealing:
    """A sealing whose ticks have all the time they want."""
    return Sealing(ledger, every, timedelta(seconds=1), elapsed=lambda: 0.0)


def one_step(ledger: Ledger, every: timedelta = DAY) -> Sealing:
    """A sealing whose every tick is out of time after one step."""
    return Sealing(ledger, every, timedelta(seconds=1), elapsed=itertools.count(0, 10).__next__)


def test_it_seals_after_a_day_and_then_once_a_day(ledger, kit, clock):
    kit.fill(ledger, 30)
    sealing = always(ledger)
    sealing.tick(clock.now)
    assert seals(ledger) == []
    assert sealed(ledger).indexed == ledger.size()  # read along, so that little is left when it is due
    clock.now += DAY
    sealing.tick(clock.now)
    assert {seal.root.size for seal in seals(ledger)} == {31}
    for _ in range(3):
        clock.now += timedelta(hours=7)
        kit.fill(ledger, 2, first=100 + clock.now.hour * 10)
        sealing.tick(clock.now)
    assert len(seals(ledger)) == 2
    clock.now += timedelta(hours=4)
    sealing.tick(clock.now)
    assert len(seals(ledger)) == 4


def test_a_quiet_ledger_gets_no_seals(ledger, kit, clock):
    kit.fill(ledger, 3)
    sealing = always(ledger)
    for _ in range(4):
        clock.now += DAY
        sealing.tick(clock.now)
    assert len(seals(ledger)) == 2
    assert ledger.size() == 6


def test_a_tick_does_one_piece_and_the_next_goes_on(ledger, kit, clock):
    kit.fill(ledger, 900, people=30)
    clock.now += DAY
    sealing = one_step(ledger)
    read = []
    while not seals(ledger):
        sealing.tick(clock.now)
        read.append(sealed(ledger).indexed)
        assert len(read) < 50
    assert read[:5] == [200, 400, 600, 800, 901]
    for seal in seals(ledger):
        assert seal.root.root == kit.naive(ledger, seal.root.kind, seal.root.size)


def test_writers_get_in_between_two_pieces(ledger, kit, clock):
    kit.fill(ledger, 500)
    clock.now += DAY
    sealing = one_step(ledger)
    for number in range(12):
        sealing.tick(clock.now)
        kit.fill(ledger, 1, first=1000 + number)
    assert seals(ledger)
    for seal in seals(ledger):
        assert seal.root.root == kit.naive(ledger, seal.root.kind, seal.root.size)


def test_what_a_stopped_server_left_the_next_one_takes_up(ledger, kit, clock):
    kit.fill(ledger, 500)
    clock.now += DAY
    sealing = always(ledger)
    sealing.stop()
    sealing.tick(clock.now)
    assert sealed(ledger) == sealed(ledger).__class__(0, None, 200)
    always(ledger).tick(clock.now)
    assert {seal.root.size for seal in seals(ledger)} == {501}


def test_a_clock_that_stops_does_not_wait_for_all_that_is_left(ledger, kit, clock):
    kit.fill(ledger, 500)
    sealing = always(ledger)
    ticker = Ticker(ledger, sealing.tick, stopping=sealing.stop)
    ticker.stop()
    sealing.tick(clock.now)
    assert sealed(ledger).indexed == 200


def test_of_two_servers_the_one_with_the_lease_seals(ledger, kit, clock):
    kit.fill(ledger, 20)
    clock.now += DAY
    with closing(Ledger.open(ledger.directory, clock=clock)) as other:
        tickers = [Ticker(one, each_of(always(one).tick)) for one in (ledger, other)]
        assert [ticker.tick() for ticker in tickers] == [True, False]
        assert [ticker.leading for ticker in tickers] == [True, False]
        assert len(seals(ledger)) == 2
        tickers[0].stop()
        assert tickers[1].tick()
        assert tickers[1].leading


def test_an_unconfirmed_copy_seals_nothing_and_fails_no_tick(ledger, kit, clock):
    kit.fill(ledger, 5)
    clock.now += DAY
    object.__setattr__(ledger.config, "restored", Restored("id", 1, "00", "then", "00"))
    always(ledger).tick(clock.now)
    assert sealed(ledger).entry is None


def test_without_an_index_there_is_nothing_sealed(ledger):
    assert sealed(ledger) == sealed(ledger).__class__(0, None, 0)


def test_before_forgetting_the_roots_are_in_the_log_once(ledger, kit):
    kit.fill(ledger, 10)
    prepare_forgetting(ledger, wipe=True)
    assert {seal.root.size for seal in seals(ledger)} == {11}
    ledger.record([OwnEvent("org.tocsin.config.changed.v1", {"actor": {"id": "x"}})])
    prepare_forgetting(ledger, wipe=True)  # only Tocsin's own events came, whose payloads are never destroyed
    assert len(seals(ledger)) == 2
    kit.fill(ledger, 1, first=50)
    prepare_forgetting(ledger, wipe=False)
    assert len(seals(ledger)) == 4


@pytest.mark.sqlite
def test_without_room_to_wipe_nothing_is_begun(ledger, kit, monkeypatch):
    kit.fill(ledger, 3)
    usage = shutil.disk_usage(ledger.directory)
    monkeypatch.setattr(shutil, "disk_usage", lambda _place: usage._replace(free=10_000))
    with pytest.raises(StoreFullError, match="--defer"):
        prepare_forgetting(ledger, wipe=True)
    assert seals(ledger) == []
    prepare_forgetting(ledger, wipe=False)
    assert len(seals(ledger)) == 2


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [str(item) for item in arguments])


def test_the_commands_that_forget_seal_first(ledger, kit):
    kit.fill(ledger, 30)
    bob = kit.ref(ledger, "cust-2")
    done = run("erase", "cust-1", "--data", ledger.directory, "--as", "dpo", "--basis", "request 1", "--json")
    assert done.exit_code == 0, done.output
    [size] = {seal.root.size for seal in seals(ledger)}
    assert size >= 31
    (ledger.directory / "retention.toml").write_text(
        '[[rule]]\nname = "views"\ntype = "*.data.*"\ndays = 1\naction = "delete-payload"\n'
    )
    done = run("retention", "run", "--data", ledger.directory, "--as", "dpo", "--json")
    assert done.exit_code == 0, done.output
    seal_index(ledger)
    verdict = subject_report(ledger, bob).verdict
    assert verdict.unreadable == 0
    done = run("report", "recompute", "--data", ledger.directory)
    assert done.exit_code == 0, done.output


def test_a_server_seals_by_itself(tmp_path, kit):
    with closing(Ledger.create(tmp_path / "served", kit.origin)) as served:
        kit.fill(served, 30)
        program = "from api.cli import main; main()"
        options = ["serve", "--data", str(served.directory), "--port", "0", "--tick", "0.05", "--seal-every", "0.00001"]
        with subprocess.Popen(
            [sys.executable, "-c", program, *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as server:
            try:
                for _ in range(600):
                    if sealed(served).size or server.poll() is not None:
                        break
                    time.sleep(0.05)
            finally:
                server.terminate()
        assert sealed(served).size >= 31
        assert recompute(log_of(served), index_key(served), served.vkey).as_json()["verdict"] == "matches"
