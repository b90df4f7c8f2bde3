"""How often a witness may be asked: token buckets for each peer, and for each log that a peer submits.

A log is limited per peer, not alone: its checkpoints are public, so anybody could use up what it may send.
A peer is an address as uvicorn gives it, behind a proxy on the loopback interface the one that the proxy
names; of IPv6 the /64, since one customer has that many. The memory is bounded: the peer that was silent
longest is forgotten first, which only fills its bucket again.
"""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Final

MOST_BUCKETS: Final = 10_000
PER_PEER: Final = 10
"""A peer may send for that many logs as often as it may for one."""
_MINUTE: Final = 60.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be asked.

    Attributes:
        per_minute: requests a minute for one log by one peer, of which as many may come at once; 0 for any
            number.
    """

    per_minute: int = 120


class Throttle:
    """Counts requests.

    Args:
        limits: what may be asked.
        clock: monotonic seconds.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = limits.per_minute
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()  # tokens left, when

    def ask(self, peer: str | None, origin: str = "") -> int:
        """Take note of a request.

        Args:
            peer: the address it comes from.
            origin: the log it submits; "" before that is known.

        Returns:
            0 when it may be answered, else in how many seconds the next one may come.
        """
        if not self._rate:
            return 0
        burst = self._rate * (1 if origin else PER_PEER)
        speed = burst / _MINUTE
        key = (_network(peer), origin)
        with self._lock:
            now = self._clock()
            left, since = self._buckets.pop(key, (float(burst), now))
            left = min(float(burst), left + (now - since) * speed)
            allowed = left >= 1
            self._buckets[key] = (left - allowed, now)
            if len(self._buckets) > MOST_BUCKETS:
                self._buckets.popitem(last=False)
        return 0 if allowed else max(1, ceil((1 - left) / speed))

    @property
    def remembered(self) -> int:
        """How many buckets are kept."""
        return len(self._buckets)


def _network(peer: str | None) -> str:
    try:
        address = ipaddress.ip_address(peer or "")
    except ValueError:
        return peer or ""
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped or ipaddress.ip_network((address, 64), strict=False))
    return str(address)
