"""Counters in the Prometheus text format 0.0.4, enough for one process and no more.

Labels come from a closed set (route templates, methods, status codes, problem names), never from
what a client sent, so that the page neither grows without end nor carries personal data.
"""

from __future__ import annotations

from collections import Counter
from threading import Lock
from typing import Final

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counts requests and problems; thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._plain: Counter[str] = Counter()

    def request(self, route: str, method: str, status: int) -> None:
        """Count one answered request under its route template."""
        with self._lock:
            self._requests[route, method, status] += 1

    def add(self, name: str, amount: int = 1) -> None:
        """Raise one of the counters named in `HELP`."""
        with self._lock:
            self._plain[name] += amount

    def render(self, gauges: dict[str, int]) -> str:
        """The whole page; `gauges` are values read at this moment."""
        with self._lock:
            requests = sorted(self._requests.items())
            plain = {name: self._plain[name] for name in COUNTERS}
        lines = [
            "# HELP tocsin_http_requests_total Requests answered.",
            "# TYPE tocsin_http_requests_total counter",
        ]
        for (route, method, status), count in requests:
            labels = f'route="{route}",method="{method}",status="{status}"'
            lines.append(f"tocsin_http_requests_total{{{labels}}} {count}")
        for name, value in plain.items():
            lines += [f"# HELP {name} {COUNTERS[name]}", f"# TYPE {name} counter", f"{name} {value}"]
        for name, value in gauges.items():
            lines += [f"# HELP {name} {GAUGES[name]}", f"# TYPE {name} gauge", f"{name} {value}"]
        return "\n".join(lines) + "\n"


COUNTERS: Final = {
    "tocsin_events_received_total": "Events acknowledged over HTTP, repeats included.",
    "tocsin_events_recorded_total": "Events acknowledged over HTTP that were new.",
    "tocsin_sign_in_failures_total": "Requests refused for a missing or wrong token.",
    "tocsin_views_unrecorded_total": "Console pages shown although the look could not be recorded.",
}
GAUGES: Final = {
    "tocsin_ledger_size": "Entries in the ledger.",
    "tocsin_clock_last_tick_seconds": "Unix time of the last tick of the clocks, 0 before the first.",
    "tocsin_clock_failures": "Ticks that failed since the start.",
}
