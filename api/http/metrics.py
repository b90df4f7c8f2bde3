"""Counters in the Prometheus text format 0.0.4, enough for one process and no more.

Labels come from a closed set (route templates, methods, status codes, problem names), never from
what a client sent, so that the page neither grows without end nor carries personal data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
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

    def events(self, received: int, recorded: int) -> None:
        """Count events that were acknowledged, and those of them that were new."""
        with self._lock:
            self._plain["tocsin_events_received_total"] += received
            self._plain["tocsin_events_recorded_total"] += recorded

    def render(self, gauges: Mapping[str, float]) -> str:
        """The whole page; `gauges` are values read at this moment, of those named in `GAUGES`."""
        with self._lock:
            requests = sorted(self._requests.items())
            plain = {name: self._plain[name] for name in COUNTERS}
        lines = _head("tocsin_http_requests_total", "Requests answered.", "counter")
        for (route, method, status), count in requests:
            labels = f'route="{_label(route)}",method="{_label(method)}",status="{status}"'
            lines.append(f"tocsin_http_requests_total{{{labels}}} {count}")
        for name, value in plain.items():
            lines += [*_head(name, COUNTERS[name], "counter"), f"{name} {value}"]
        for name, amount in gauges.items():
            lines += [*_head(name, GAUGES[name], "gauge"), f"{name} {amount:.15g}"]
        return "\n".join(lines) + "\n"


def _head(name: str, text: str, kind: str) -> list[str]:
    escaped = text.replace("\\", r"\\").replace("\n", r"\n")
    return [f"# HELP {name} {escaped}", f"# TYPE {name} {kind}"]


def _label(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


COUNTERS: Final = {
    "tocsin_events_received_total": "Events acknowledged over HTTP, repeats included.",
    "tocsin_events_recorded_total": "Events acknowledged over HTTP that were new.",
    "tocsin_sign_in_failures_total": "Requests refused for a missing or wrong token.",
    "tocsin_views_unrecorded_total": "Console pages shown although the look could not be recorded.",
}
GAUGES: Final = {
    "tocsin_ledger_size": "Entries in the ledger.",
    "tocsin_ledger_unconfirmed": "1 while this is a restored copy that nobody has confirmed; it signs nothing.",
    "tocsin_ledger_waiting": "Appends of this process that wait to be written.",
    "tocsin_witnessed_size": "Entries that a quorum of witnesses has cosigned.",
    "tocsin_witness_lag_entries": "Entries that no quorum of witnesses has cosigned yet.",
    "tocsin_witness_lag_seconds": "Age of the oldest entry that no quorum of witnesses has cosigned yet.",
    "tocsin_witness_refusing": "1 while events are refused because of the witnesses.",
    "tocsin_verification_age_seconds": "Seconds since the last verification in the background ended.",
    "tocsin_verification_failed": "1 when the last verification in the background found damage.",
    "tocsin_access_index_lag_entries": "Entries that the access index has not read yet.",
    "tocsin_completeness_sealed_size": "Entries that the newest seal of the completeness index covers.",
    "tocsin_completeness_unsealed_entries": "Entries that no seal of the completeness index covers yet.",
    "tocsin_completeness_unread_entries": "Entries that the completeness index has not read yet.",
    "tocsin_clock_leading": "1 when this process held the lease of the clocks at its last look.",
    "tocsin_clock_last_tick_seconds": "Unix time of the last tick of the clocks, 0 before the first.",
    "tocsin_clock_failures": "Ticks that failed since the start.",
}
