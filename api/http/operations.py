"""Routes for those who keep the server running: health, readiness, metrics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from api.anchoring import Anchoring
from api.clock import Ticker
from api.http import metrics as prometheus
from api.http.metrics import Metrics
from api.http.schemas import problems
from api.sealing import sealed
from api.verification import Verification
from ledger import Ledger, access
from ledger.errors import NotFoundError
from ledger.recovery.errors import UnconfirmedCopyError

_OK: dict[str, Any] = {"content": {"application/json": {"schema": {"type": "object"}}}}


def routes(
    ledger: Ledger,
    metrics: Metrics,
    ticker: Ticker | None,
    anchoring: Anchoring | None = None,
    verification: Verification | None = None,
) -> APIRouter:
    """The router; what the server does not have, it does not speak of."""
    router = APIRouter(tags=["operations"])

    @router.get("/healthz", operation_id="health", summary="The process answers", responses={200: _OK})
    async def health() -> JSONResponse:
        """Answers while the event loop runs; says nothing about the store."""
        return JSONResponse({"status": "alive"})

    @router.get(
        "/readyz",
        operation_id="ready",
        summary="The ledger can be read, and what limits it",
        responses={
            200: _OK,
            **problems(
                p503="The store cannot be read now, or it is a restored copy that nobody has confirmed.",
                p500="The store is damaged.",
            ),
        },
    )
    def ready() -> JSONResponse:
        """Reads the head of the log and its checkpoint.

        `limits` names what needs somebody's attention while the pages can still be read: `witnesses`, events
        are refused because the witnesses are too far behind or contradict the ledger; `verification`, the last
        one found damage. `clock` says whether this process looks at the clocks or stands by.
        """
        size = ledger.size()
        with suppress(NotFoundError):  # an empty ledger is ready; its first event makes the checkpoint
            ledger.checkpoint()
        if ledger.config.restored is not None:
            raise UnconfirmedCopyError("This is a restored copy that was not confirmed; it signs nothing.")
        limits = list(_limits(anchoring, verification))
        told: dict[str, Any] = {"status": "limited" if limits else "ready", "size": size}
        if limits:
            told["limits"] = limits
        if ticker is not None:
            told["clock"] = "leading" if ticker.leading else "standby"
        return JSONResponse(told)

    @router.get(
        "/metrics",
        operation_id="metrics",
        summary="Counters and gauges for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **problems()},
    )
    def show_metrics() -> Response:
        """Text format 0.0.4."""
        gauges = (
            _of_ledger(ledger) | _of_witnesses(anchoring) | _of_verification(ledger, verification) | _of_clock(ticker)
        )
        return Response(metrics.render(gauges), headers={"Content-Type": prometheus.CONTENT_TYPE})

    return router


def _limits(anchoring: Anchoring | None, verification: Verification | None) -> Iterator[dict[str, Any]]:
    if anchoring is not None:
        standing = anchoring.standing()
        if standing.refusing is not None or standing.lag is None:
            entries = None if standing.lag is None else standing.lag.entries
            yield {"name": "witnesses", "unwitnessed": entries, "alarms": len(standing.alarms)}
    last = None if verification is None else verification.last()
    if last is not None and last.failed:
        yield {"name": "verification", "kind": last.kind, "entry": last.first_bad_index}


def _of_ledger(ledger: Ledger) -> dict[str, float]:
    size = ledger.size()
    index = sealed(ledger)
    with ledger.database.read() as connection:
        row = connection.execute("SELECT position FROM tracking WHERE name = ?", (access.NAME,)).fetchone()
    # The indexes may have read on since the size was.
    return {
        "tocsin_ledger_size": size,
        "tocsin_ledger_unconfirmed": ledger.config.restored is not None,
        "tocsin_ledger_waiting": ledger.waiting,
        "tocsin_access_index_lag_entries": max(0, size - (0 if row is None else row["position"])),
        "tocsin_completeness_sealed_size": index.size,
        "tocsin_completeness_unsealed_entries": max(0, size - index.size),
        "tocsin_completeness_unread_entries": max(0, size - index.indexed),
    }


def _of_witnesses(anchoring: Anchoring | None) -> dict[str, float]:
    if anchoring is None:
        return {}
    standing = anchoring.standing()
    found: dict[str, float] = {"tocsin_witness_refusing": standing.refusing is not None or standing.lag is None}
    if standing.lag is not None:
        found |= {
            "tocsin_witnessed_size": standing.lag.witnessed,
            "tocsin_witness_lag_entries": standing.lag.entries,
            "tocsin_witness_lag_seconds": standing.lag.seconds,
        }
    return found


def _of_verification(ledger: Ledger, verification: Verification | None) -> dict[str, float]:
    last = None if verification is None else verification.last()
    if last is None:
        return {}
    age = (ledger.clock() - last.at).total_seconds()
    return {"tocsin_verification_age_seconds": max(0.0, age), "tocsin_verification_failed": last.failed}


def _of_clock(ticker: Ticker | None) -> dict[str, float]:
    return {
        "tocsin_clock_leading": ticker.leading if ticker else 0,
        "tocsin_clock_last_tick_seconds": ticker.last_tick if ticker else 0,
        "tocsin_clock_failures": ticker.failures if ticker else 0,
    }
