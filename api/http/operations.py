"""Routes for those who keep the server running: health, readiness, metrics."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from api.clock import Ticker
from api.http import metrics as prometheus
from api.http.metrics import Metrics
from api.http.schemas import problems
from ledger import Ledger
from ledger.errors import NotFoundError

_OK: dict[str, Any] = {"content": {"application/json": {"schema": {"type": "object"}}}}


def routes(ledger: Ledger, metrics: Metrics, ticker: Ticker | None) -> APIRouter:
    """The router; without a ticker its gauges stay 0."""
    router = APIRouter(tags=["operations"])

    @router.get("/healthz", operation_id="health", summary="The process answers", responses={200: _OK})
    async def health() -> JSONResponse:
        """Answers while the event loop runs; says nothing about the store."""
        return JSONResponse({"status": "alive"})

    @router.get(
        "/readyz",
        operation_id="ready",
        summary="The store can be read",
        responses={200: _OK, **problems(p503="The store cannot be read now.", p500="The store is damaged.")},
    )
    def ready() -> JSONResponse:
        """Reads the head of the log and its checkpoint."""
        size = ledger.size()
        with suppress(NotFoundError):  # an empty ledger is ready; its first event makes the checkpoint
            ledger.checkpoint()
        return JSONResponse({"status": "ready", "size": size})

    @router.get(
        "/metrics",
        operation_id="metrics",
        summary="Counters for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **problems()},
    )
    def show_metrics() -> Response:
        """Text format 0.0.4."""
        gauges = {
            "tocsin_ledger_size": ledger.size(),
            "tocsin_clock_last_tick_seconds": ticker.last_tick if ticker else 0,
            "tocsin_clock_failures": ticker.failures if ticker else 0,
        }
        return Response(metrics.render(gauges), headers={"Content-Type": prometheus.CONTENT_TYPE})

    return router
