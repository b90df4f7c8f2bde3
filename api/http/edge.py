"""The outermost layer: request ids, security headers, one log line, and no exception past it.

The log line holds the route's template, never the path: a path can hold an event id that somebody
made of a name. An unexpected exception is logged by its class and its frames alone, because its
message may hold what was sent.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.metrics import Metrics
from api.http.problems import MEDIA_TYPE, Problem, of_error
from ledger.errors import TocsinError

_log = logging.getLogger("tocsin.http")

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # Not `no-referrer`: that makes browsers send `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}

Render = Callable[[Request, Problem, str], Response]


class Edge:
    """ASGI middleware around everything else."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, entropy: Callable[[int], bytes], render: Render) -> None:
        self._app = app
        self._metrics = metrics
        self._entropy = entropy
        self._render = render

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens inside."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request = request_id(self._entropy(16))
        status = 0

        async def dressed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _dress(message, scope, request)
            await send(message)

        try:
            await self._app(scope, receive, dressed)
        except ClientDisconnect:
            status = _GONE
        except Exception as error:
            problem, instance = of_error(error), f"urn:uuid:{request}"
            _log_failure(error, problem, instance)
            if status:  # the head is out; closing the connection is all that is left
                raise
            await self.answer(scope, problem, instance)(scope, receive, dressed)
        route = getattr(scope.get("route"), "path_format", "(none)")
        method = _method(scope)
        self._metrics.request(route, method, status)
        if _log.isEnabledFor(logging.INFO):
            took = (time.perf_counter() - started) * 1e3
            _log.info("%s %s %d %.1f ms urn:uuid:%s", method, route, status, took, request)

    def answer(self, scope: Scope, problem: Problem, instance: str) -> Response:
        """The problem as a page for a browser, as problem details for everything else."""
        wants_page = "text/html" in Headers(scope=scope).get("accept", "")
        if wants_page and not scope["path"].startswith("/v1/"):
            return self._render(Request(scope), problem, instance)
        return problem.response(instance)


def request_id(random: bytes) -> str:
    """A UUID of version 4 (RFC 9562 section 5.4) from 16 random bytes, as text."""
    digits = random.hex()
    variant = "89ab"[random[8] >> 4 & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def _dress(message: Message, scope: Scope, request: str) -> None:
    """Add what every answer carries, where the answer does not say it itself."""
    given: list[tuple[bytes, bytes]] = message["headers"]
    names = {name for name, _ in given}
    added = _ENCODED if names.isdisjoint(_NAMES) else [item for item in _ENCODED if item[0] not in names]
    headers = [*given, *added, (b"x-request-id", request.encode())]
    if scope.get("scheme") == "https":
        headers.append((b"strict-transport-security", b"max-age=31536000"))
    if message["status"] >= HTTPStatus.BAD_REQUEST:
        # The media type of a problem has no charset parameter.
        headers = [
            (name, _PROBLEM if name == b"content-type" and value.startswith(_PROBLEM) else value)
            for name, value in headers
        ]
    message["headers"] = headers


_ENCODED: Final = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()] + [
    (b"cache-control", b"no-store")
]
_NAMES: Final = frozenset(name for name, _ in _ENCODED)
_PROBLEM: Final = MEDIA_TYPE.encode()
_GONE: Final = 499
"""What the log and the metrics say when the client went away before its request was there; nothing is sent."""
_METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


def _method(scope: Scope) -> str:
    method = str(scope["method"])
    return method if method in _METHODS else "OTHER"


def _log_failure(error: Exception, problem: Problem, instance: str) -> None:
    """Say in the log what the answer leaves out; only for failures on our side."""
    if problem.kind.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return
    if isinstance(error, TocsinError):
        _log.error("%s in %s: %s", type(error).__name__, instance, error)
        return
    frames = " < ".join(
        f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}"
        for frame in reversed(traceback.extract_tb(error.__traceback__))
    )
    _log.error("unexpected %s in %s at %s", type(error).__qualname__, instance, frames)
