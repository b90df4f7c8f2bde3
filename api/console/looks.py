"""Looking is an event too: who opens a page about people leaves an entry.

At most one entry per page and minute: a page that is reloaded all night must not bury the log. The
entry names the page, and nobody: until there are accounts, the console knows a token and no person.
Reading *these* entries is not recorded, so looking at the log does not grow it without end.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from threading import Lock
from typing import Final

from api.http.metrics import Metrics
from ledger import Ledger, OwnEvent
from ledger.errors import StoreError

EVENT_TYPE: Final = "org.tocsin.log.viewed.v1"
ONCE_PER: Final = timedelta(minutes=1)
_MAX_PAGES: Final = 10_000


class Looks:
    """Records looks; thread-safe."""

    def __init__(self, ledger: Ledger, metrics: Metrics) -> None:
        self._ledger = ledger
        self._metrics = metrics
        self._lock = Lock()
        self._last: dict[str, tuple[datetime, int]] = {}

    def record(self, page: str) -> int | None:
        """Record that `page` is being looked at.

        Returns:
            The leaf index of the entry, this one or the one of less than a minute ago; None when the
            store refused. The page is shown all the same, and says so: a full disk at three in the
            morning must not blind those who answer for the breach.
        """
        now = self._ledger.clock()
        with self._lock:
            known = self._last.get(page)
            if known is not None and now - known[0] < ONCE_PER:
                return known[1]
            try:
                (index,) = self._ledger.record([OwnEvent(type=EVENT_TYPE, data={"page": page})])
            except StoreError:
                self._metrics.add("tocsin_views_unrecorded_total")
                return None
            if len(self._last) >= _MAX_PAGES:
                self._last.clear()
            self._last[page] = (now, index)
            return index
