"""The application factory: everything is handed in, nothing is looked up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.anchoring import Anchoring
from api.clock import Ticker
from api.console.pages import Console
from api.console.ports import Incidents
from api.http import announcements, law, log, operations
from api.http.edge import Edge
from api.http.guard import PUBLIC, Access, Guard, Sessions
from api.http.ingest import HotPath, Ingest
from api.http.metrics import Metrics
from api.http.problems import KINDS, Fault, Problem, RefusedError
from api.http.schemas import ProblemDetails
from api.verification import Verification
from ledger import Ledger
from ledger.exchange import Appender

VERSION = "1"


class Application(FastAPI):
    """FastAPI with the hot path beside it, behind an edge and a guard like its own."""

    hot: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if self.hot is not None and HotPath.takes(scope):
            await self.hot(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_app(
    ledger: Ledger,
    incidents: Incidents,
    *,
    access: Access | None = None,
    notices: Path | None = None,
    ticker: Ticker | None = None,
    exercise: bool = False,
    anchoring: Anchoring | None = None,
    verification: Verification | None = None,
    appender: Appender[Any] | None = None,
    sessions: Sessions | None = None,
) -> FastAPI:
    """Make the application.

    Args:
        ledger: an open ledger; the caller closes it after the application has shut down.
        incidents: the incidents of that ledger.
        access: who may talk to the server; by default loopback names without a token.
        notices: directory of the public announcements, if there is one.
        ticker: the clock to run while the application lives.
        exercise: the whole server is a drill; every page says so. Without it the pages of exercises do.
        anchoring: the ledger's witnesses, if it has any.
        verification: what verifies the ledger in the background, for the home page to show.
        appender: where producers' events go; by default the ledger itself.
        sessions: who is signed in to the console; by default known to this process alone.
    """
    access = access or Access(loopback=True, token_digest=None)
    metrics = Metrics()
    sessions = sessions or Sessions(ledger.clock, ledger.entropy)
    console = Console(
        ledger,
        incidents,
        access=access,
        sessions=sessions,
        metrics=metrics,
        notices=notices,
        exercise=exercise,
        anchoring=anchoring,
        verification=verification,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if ticker is not None:
            await run_in_threadpool(ticker.start)
        try:
            yield
        finally:
            if ticker is not None:
                await run_in_threadpool(ticker.stop)

    app = Application(
        title="Tocsin",
        version=VERSION,
        summary="An audit ledger that a stranger can check; a breach response that keeps the law's clocks.",
        lifespan=lifespan,
        docs_url=None,  # the stock pages load scripts from elsewhere, which our policy forbids
        redoc_url=None,
        redirect_slashes=False,
    )
    ingest = Ingest(appender or ledger, metrics)
    app.include_router(log.routes(ledger, ingest, anchoring))
    app.include_router(operations.routes(ledger, metrics, ticker, anchoring, verification))
    app.include_router(law.routes())
    app.include_router(announcements.routes(notices, console.announcements))
    app.include_router(console.routes(), include_in_schema=False)
    # The last one added is the outermost.
    guard = partial(
        Guard, access=access, sessions=sessions, refused=lambda: metrics.add("tocsin_sign_in_failures_total")
    )
    edge = partial(Edge, metrics=metrics, entropy=ledger.entropy, render=console.problem)
    app.add_middleware(guard)
    app.add_middleware(edge)
    app.hot = edge(guard(HotPath(ingest)))
    # Nothing is answered in here: `Edge` turns every exception into the same shape.
    app.add_exception_handler(HTTPException, _pass_on)
    app.add_exception_handler(RequestValidationError, _refuse_parameter)
    _describe(app, access)
    return app


def _pass_on(_: Request, error: Exception) -> Response:
    raise error


def _refuse_parameter(_: Request, error: Exception) -> Response:
    """Name the parameters that were refused; the library's own message would repeat their values."""
    assert isinstance(error, RequestValidationError)
    names = sorted({str(fault["loc"][-1]) for fault in error.errors() if fault["loc"][-1] in _PARAMETERS})
    detail = "A parameter of the path is out of range or of the wrong type."
    raise RefusedError(
        Problem(
            KINDS["invalid-request"],
            detail,
            faults=tuple(Fault(f"{name} is {_PARAMETERS[name]}.", f"/{name}") for name in names),
        )
    )


_PARAMETERS: Final = {"index": "a whole number from 0 to 2^53 - 1"}


def _describe(app: FastAPI, access: Access) -> None:
    """Complete the OpenAPI document with what FastAPI cannot see: problems and the token."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            components = document.setdefault("components", {})
            schema = ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
            definitions = schema.pop("$defs", {})
            components.setdefault("schemas", {}).update({**definitions, "ProblemDetails": schema})
            if access.token_digest is not None:
                components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
                _secure(document)
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign] # the documented way to extend the document


def _secure(document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        open_to_all = PUBLIC.fullmatch(path.replace("{", "").replace("}", "")) is not None
        for operation in methods.values():
            operation["security"] = [] if open_to_all else [{"token": []}]
