"""Token buckets, nested: a message goes when the provider's and the destination's bucket both allow it.

Pure: the caller gives the time and sleeps as long as it is told. Buckets start empty, because the worst
moment for a burst is the first second of a mailing that nobody's filters have seen before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

FLOOR: Final = 1 / 64
"""A bucket slowed down again and again never falls below this share of the granted rate."""


@dataclass(slots=True)
class Bucket:
    """Tokens flow in at `rate` per second up to `burst`; a message takes some out, in advance if need be.

    Kept as the instant at which the bucket would be empty (generic cell rate algorithm), so that taking is
    two additions.
    """

    rate: float
    burst: float
    _empty_at: float
    _share: float = 1.0

    @classmethod
    def start(cls, rate: float, now: float, burst: float | None = None) -> Bucket:
        """An empty bucket; `burst` defaults to a tenth of a second's worth, at least one token."""
        return cls(rate, max(1.0, rate / 10) if burst is None else burst, now)

    def take(self, cost: float, now: float) -> float:
        """Reserve `cost` tokens and say how many seconds from `now` they are there."""
        rate = self.rate * self._share
        self._empty_at = max(self._empty_at, now - self.burst / rate) + cost / rate
        return max(0.0, self._empty_at - now)

    def slow_down(self) -> None:
        """The provider pushed back: halve the rate."""
        self._share = max(FLOOR, self._share / 2)

    def speed_up(self) -> None:
        """A message went well: win back a hundredth of the granted rate."""
        self._share = min(1.0, self._share + 0.01)


@dataclass(slots=True)
class Pacer:
    """The buckets of one run.

    Attributes:
        provider_rates: provider -> messages per second.
        domain_rate: messages per second to one destination domain; None is unlimited.
    """

    provider_rates: Mapping[str, float | None] = field(default_factory=dict)
    domain_rate: float | None = None
    _buckets: dict[str, Bucket] = field(default_factory=dict)

    def reserve(self, provider: str, domain: str, cost: float, now: float) -> float:
        """Seconds to wait before this message may go.

        Args:
            provider: its name.
            domain: destination domain, "" where there is none.
            cost: units: SMS segments, pages, else 1.
            now: seconds on a monotonic clock.
        """
        wait = 0.0
        rate = self.provider_rates.get(provider)
        if rate:
            wait = self._bucket(f"provider/{provider}", rate, now).take(cost, now)
        if domain and self.domain_rate:
            wait = max(wait, self._bucket(f"domain/{domain}", self.domain_rate, now).take(cost, now))
        return wait

    def feedback(self, provider: str, *, pushed_back: bool) -> None:
        """Adapt to what the provider answered."""
        bucket = self._buckets.get(f"provider/{provider}")
        if bucket is not None:
            if pushed_back:
                bucket.slow_down()
            else:
                bucket.speed_up()

    def _bucket(self, name: str, rate: float, now: float) -> Bucket:
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = Bucket.start(rate, now)
        return bucket
