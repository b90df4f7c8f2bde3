"""The clock that ticks; the deadlines themselves are rows that incidents owns.

APScheduler decides only *when to look*. What is due is read from the database, so a restart, a
sleeping laptop or two servers on one ledger lose no reminder and repeat none: one of them holds the
lease and looks, the others ask again later.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from apscheduler.schedulers.background import BackgroundScheduler

from ledger import Ledger
from ledger.encoding import format_time
from ledger.errors import TocsinError

_log = logging.getLogger("tocsin.clock")

LEASE_NAME: Final = "clock"
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS api_lease (
  name TEXT PRIMARY KEY,
  holder TEXT NOT NULL,
  expires TEXT NOT NULL
) STRICT
"""


def each_of(*works: Callable[[datetime], Any]) -> Callable[[datetime], None]:
    """One piece of work made of several: all are tried, then the first failure is raised."""

    def work(now: datetime) -> None:
        failures = []
        for item in works:
            try:
                item(now)
            except Exception as error:  # noqa: BLE001 - raised below; the others must not wait for it
                failures.append(error)
        if failures:
            raise failures[0]

    return work


class Lease:
    """A row that at most one process holds, for a stated time.

    The holder extends it at each tick; when it dies, the row runs out by itself.
    """

    def __init__(self, ledger: Ledger, life: timedelta) -> None:
        self._ledger = ledger
        self._life = life
        self._holder = ledger.entropy(16).hex()
        ledger.database.ensure(SCHEMA)

    def take(self) -> bool:
        """Take the lease or extend it; False when somebody else holds it now."""
        now = self._ledger.clock()
        with self._ledger.database.write() as connection:
            cursor = connection.execute(
                "INSERT INTO api_lease (name, holder, expires) VALUES (?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires = excluded.expires "
                "WHERE api_lease.holder = excluded.holder OR api_lease.expires <= ?",
                (LEASE_NAME, self._holder, format_time(now + self._life), format_time(now)),
            )
            return cursor.rowcount == 1

    def release(self) -> None:
        """Give the lease back, so that the next process need not wait for it to run out."""
        with self._ledger.database.write() as connection:
            connection.execute("DELETE FROM api_lease WHERE name = ? AND holder = ?", (LEASE_NAME, self._holder))


class Ticker:
    """Calls `work(now)` at an interval, in its own thread, while this process holds the lease.

    Args:
        ledger: gives clock, entropy and the database of the lease.
        work: what to do at a tick; it reads what is due and may be called again after any failure.
        interval: time between ticks; the lease lives for three of them.
        stopping: called when the clock is to stop, so that work under way may end early.
    """

    def __init__(
        self,
        ledger: Ledger,
        work: Callable[[datetime], Any],
        interval: timedelta = timedelta(seconds=30),
        *,
        stopping: Callable[[], Any] = lambda: None,
    ) -> None:
        self._ledger = ledger
        self._work = work
        self._interval = interval
        self._stopping = stopping
        self._lease = Lease(ledger, 3 * interval)
        self._lock = threading.Lock()
        self._scheduler: Any = None
        self._last_tick = 0
        self._failures = 0
        self._leading = False
        self._working = False

    @property
    def last_tick(self) -> int:
        """Unix time of the last tick that did its work, 0 before the first."""
        return self._last_tick

    @property
    def leading(self) -> bool:
        """Whether this process held the lease at its last look; the others stand by."""
        return self._leading

    @property
    def failures(self) -> int:
        """Ticks that failed since the start."""
        return self._failures

    def tick(self) -> bool:
        """Look once. False when another process holds the lease, or the look failed (and was logged)."""
        with self._lock:
            try:
                self._leading = self._lease.take()
                if not self._leading:
                    return False
                now = self._ledger.clock()
                self._working = True
                self._work(now)
            except TocsinError as error:
                self._failures += 1
                _log.error("The clocks could not be read: %s", error)
                return False
            except Exception as error:  # noqa: BLE001 - one bad tick must not end the clock for ever
                self._failures += 1
                _log.error("The clocks could not be read: unexpected %s", type(error).__qualname__)
                return False
            finally:
                self._working = False
            self._last_tick = int(now.timestamp())
            return True

    def extend(self) -> None:
        """Keep the lease while a look takes longer than it lives, so that nobody begins the same work beside it."""
        try:
            if self._working:
                self._lease.take()
        except TocsinError as error:
            _log.warning("The lease of the clocks could not be extended: %s", error)

    def start(self) -> None:
        """Begin ticking; the first tick comes at once, in case something fell due while nobody looked."""
        self._scheduler = BackgroundScheduler(timezone="UTC")
        self._scheduler.add_job(
            self.tick,
            "interval",
            seconds=self._interval.total_seconds(),
            next_run_time=datetime.now(tz=self._ledger.clock().tzinfo),
            max_instances=1,
            coalesce=True,
            # A late look is still a look: never skip one because the machine was asleep.
            misfire_grace_time=None,
        )
        self._scheduler.add_job(self.extend, "interval", seconds=self._interval.total_seconds(), coalesce=True)
        self._scheduler.start()

    def stop(self) -> None:
        """Stop after the tick that is running, and give the lease back."""
        self._stopping()
        if self._scheduler is not None:
            self._scheduler.shutdown(wait=True)
            self._scheduler = None
        try:
            self._lease.release()
        except TocsinError as error:
            _log.warning("The lease of the clocks runs out by itself: %s", error)
