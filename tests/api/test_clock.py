"""The ticker: one holder at a time, no tick lost for ever, no failure that ends it."""

import threading
from datetime import datetime, timedelta
from typing import Any

from starlette.testclient import TestClient

from api.clock import Lease, Ticker
from api.http import create_app
from ledger import Ledger
from ledger.errors import StoreBusyError

INTERVAL = timedelta(seconds=30)


def test_only_the_holder_of_the_lease_looks(ledger: Ledger, clock: Any) -> None:
    looks: list[str] = []
    first = Ticker(ledger, lambda _: looks.append("first"), INTERVAL)
    second = Ticker(ledger, lambda _: looks.append("second"), INTERVAL)
    assert first.tick()
    assert not second.tick()
    clock.now += INTERVAL
    assert first.tick()  # extends the lease
    clock.now += 3 * INTERVAL - timedelta(milliseconds=1)
    assert not second.tick()
    clock.now += timedelta(milliseconds=1)
    assert second.tick()  # the first one has died
    assert not first.tick()
    assert looks == ["first", "first", "second"]


def test_a_long_look_keeps_the_lease_so_that_the_work_is_not_begun_twice(ledger: Ledger, clock: Any) -> None:
    second = Ticker(ledger, lambda _: None, INTERVAL)
    began: list[bool] = []

    def work(_: datetime) -> None:
        for _round in range(5):
            clock.now += 2 * INTERVAL
            first.extend()
            began.append(second.tick())

    first = Ticker(ledger, work, INTERVAL)
    assert first.tick()
    assert began == [False] * 5
    clock.now += 3 * INTERVAL
    first.extend()  # no look is under way: a lease that ran out is not taken back
    assert second.tick()


def test_a_released_lease_is_free_at_once(ledger: Ledger) -> None:
    first, second = Lease(ledger, INTERVAL), Lease(ledger, INTERVAL)
    assert first.take()
    second.release()  # not its own
    assert not second.take()
    first.release()
    assert second.take()


def test_a_failing_tick_is_counted_and_the_next_one_works(ledger: Ledger, clock: Any) -> None:
    failures: list[Exception] = [StoreBusyError("busy"), RuntimeError("maria.canary@example.org")]

    def work(_: datetime) -> None:
        if failures:
            raise failures.pop(0)

    ticker = Ticker(ledger, work, INTERVAL)
    assert [ticker.tick(), ticker.tick(), ticker.tick()] == [False, False, True]
    assert ticker.failures == 2
    assert ticker.last_tick == int(clock.now.timestamp())


def test_the_ticker_runs_with_the_application_and_stops_with_it(ledger: Ledger, incidents: Any) -> None:
    ticked = threading.Event()
    ticker = Ticker(ledger, lambda _: ticked.set(), timedelta(hours=1))
    with TestClient(create_app(ledger, incidents, ticker=ticker), base_url="http://127.0.0.1") as client:
        assert ticked.wait(10)  # the first look comes at once, not after an hour
        assert "tocsin_clock_failures 0\n" in client.get("/metrics").text
    assert Lease(ledger, INTERVAL).take()  # given back
