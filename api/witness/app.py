"""A witness over HTTP (C2SP tlog-witness): two routes, no state, one place that knows status codes."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from api.witness.limits import Limits, Throttle
from ledger.errors import ConfigError, NotFoundError, TocsinError
from ledger.witness.core import MAX_REQUEST_BYTES, Submission
from ledger.witness.errors import RefusedError, Verdict
from ledger.witness.service import Witness

BODY_TIMEOUT_S: Final = 10.0
"""How long a client may take to send its request."""
_RETRY_AFTER_S: Final = "5"

_log = logging.getLogger("tocsin.witness")


def create_app(witness: Witness, prefix: str = "", throttle: Throttle | None = None) -> Starlette:
    """Make the application.

    Args:
        witness: an open witness; the caller closes it after the application has shut down.
        prefix: path before both routes, such as `/tocsin`; empty for none.
        throttle: how often it may be asked; the usual limits when left out.

    Raises:
        ConfigError: the prefix is not a path.
    """
    if prefix and (not prefix.startswith("/") or prefix.endswith("/") or "{" in prefix or "//" in prefix):
        raise ConfigError("The prefix of a witness is a path such as /witness, without a slash at its end.")

    limit = Throttle(Limits()) if throttle is None else throttle

    async def add_checkpoint(request: Request) -> Response:
        peer = None if request.client is None else request.client.host
        wait = limit.ask(peer)
        if wait:
            return _push_back(wait)
        body = await _read(request)
        if isinstance(body, Response):
            return body
        try:
            submission = Submission.parse(body)
            wait = limit.ask(peer, submission.checkpoint.origin)
            if wait:
                return _push_back(wait)
            # The store waits for the disk, and maybe for another process.
            lines = await run_in_threadpool(witness.add_checkpoint, body)
        except TocsinError as error:
            return _refuse(error)
        return _text(lines)

    async def latest(request: Request) -> Response:
        wait = limit.ask(None if request.client is None else request.client.host)
        if wait:
            return _push_back(wait)
        try:
            note = await run_in_threadpool(witness.latest, request.path_params["origin_hash"])
        except TocsinError as error:
            return _refuse(error)
        return _text(note, {"cache-control": "max-age=5"})

    app = Starlette(
        routes=[
            Route(f"{prefix}/add-checkpoint", add_checkpoint, methods=["POST"]),
            Route(f"{prefix}/{{origin_hash}}/checkpoint", latest, methods=["GET"]),
        ],
    )
    app.router.redirect_slashes = False
    return app


def _push_back(wait: int) -> Response:
    # Not in the specification, but what transparency-dev's witness answers, and clients of both understand.
    message = f"Too many requests; ask again in {wait} seconds.\n"
    return PlainTextResponse(message, 429, headers={"retry-after": str(wait), "connection": "close"})


def _refuse(error: TocsinError) -> Response:
    """Turn what the witness raised into an answer; messages never repeat what was sent."""
    if isinstance(error, RefusedError):
        _log.info("refused with %d: %s", error.verdict, error)
        if error.verdict is Verdict.STALE:
            # SPEC: "The response body MUST consist of the tree size of the latest cosigned checkpoint in
            # decimal, followed by a newline (U+000A). The response MUST have a `Content-Type` of
            # `text/x.tlog.size`." Given as a header, because a media type would get a charset.
            return Response(f"{error.size}\n", 409, headers={"content-type": "text/x.tlog.size"})
        return PlainTextResponse(f"{error}\n", error.verdict)
    if isinstance(error, NotFoundError):
        return PlainTextResponse(f"{error}\n", 404)
    # The store or the clock failed. Their messages name files of this machine, so they stay here.
    _log.error("failed: %s", error)
    message = "The witness cannot cosign now. Ask again; the answer will say what it last cosigned.\n"
    return PlainTextResponse(message, 503, headers={"retry-after": _RETRY_AFTER_S})


async def _read(request: Request) -> bytes | Response:
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_REQUEST_BYTES:
                    message = f"The request is longer than {MAX_REQUEST_BYTES} bytes.\n"
                    return PlainTextResponse(message, 413, headers={"connection": "close"})
    except TimeoutError:
        return PlainTextResponse("The request did not arrive in time.\n", 408, headers={"connection": "close"})
    except ClientDisconnect:
        return Response(status_code=400)
    return bytes(body)


def _text(body: bytes, headers: dict[str, str] | None = None) -> Response:
    return Response(body, headers=headers, media_type="text/plain; charset=utf-8")
