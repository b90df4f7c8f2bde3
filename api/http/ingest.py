"""`POST /v1/events`: from an HTTP request to receipts.

`Ingest` knows no router: it takes headers and a stream of body chunks. `HotPath` answers beside FastAPI,
whose routing takes longer than an append; the route stays there for the OpenAPI document.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Generator, Iterable, Sequence
from functools import lru_cache
from types import coroutine
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from api.http import cloudevents
from api.http.cloudevents import Envelope, Submission
from api.http.groups import Groups
from api.http.metrics import Metrics
from api.http.problems import RefusedError, RequestError, of_error
from ledger.errors import EventError, OverloadedError
from ledger.exchange import Appender, Receipt

PATH: Final = "/v1/events"
MAX_WAITING: Final = 4096
"""Most requests that wait for the store."""
MAX_WAITING_BYTES: Final = 64 * 1024 * 1024
"""Most bytes of bodies that arrive or wait for the store."""
BODY_TIMEOUT_S: Final = 60.0
"""Seconds in which a body has to arrive."""
_SMALL: Final = 16 * 1024
"""Bodies up to this size are read on the event loop: going to a thread and back takes longer than that."""

_CREATED: Final = 201
_OK: Final = 200


class Answer(NamedTuple):
    """What is sent back. `headers` as ASGI takes them."""

    status: int
    headers: list[tuple[bytes, bytes]]
    content: bytes


class Ingest:
    """Appends what arrives; the blocking appender runs in threads.

    Small requests that arrive while a commit is under way share the next one.

    Args:
        appender: what records events: a `Ledger`, or a way to a process that has one.
        metrics: counts events.
        max_waiting: most requests that wait for the appender.
        max_waiting_bytes: most bytes of bodies that arrive or wait for it.
        body_timeout_s: seconds in which a body has to arrive.
    """

    def __init__(
        self,
        appender: Appender[Any],
        metrics: Metrics,
        *,
        max_waiting: int = MAX_WAITING,
        max_waiting_bytes: int = MAX_WAITING_BYTES,
        body_timeout_s: float = BODY_TIMEOUT_S,
    ) -> None:
        self._appender = appender
        self._groups = Groups(appender)
        self._metrics = metrics
        self._most = (max_waiting, max_waiting_bytes)
        self._body_timeout_s = body_timeout_s
        # Touched on the event loop alone.
        self._waiting = self._waiting_bytes = 0

    async def respond(self, headers: Iterable[tuple[str, str]], body: AsyncIterator[bytes]) -> Response:
        """Answer one request. 201 when something new was recorded, 200 when all of it was known.

        Raises:
            RequestError: the request was refused; nothing was written.
            TocsinError: the ledger refused, or too much waits for it already; nothing was written.
        """
        answer = await self.accept(cloudevents.open_envelope(headers), await self.collect(body))
        return Response(
            answer.content,
            answer.status,
            {name.decode("ascii"): value.decode("ascii") for name, value in answer.headers},
        )

    async def collect(self, body: AsyncIterator[bytes]) -> bytes:
        """Put a body together; what has arrived of it counts with what waits for the store.

        Raises:
            RequestError: the body is too large or too slow.
            OverloadedError: too much arrives or waits already; nothing of this body was kept.
        """
        chunks = bytearray()
        try:
            async with asyncio.timeout(self._body_timeout_s):
                async for chunk in body:
                    if len(chunks) + len(chunk) > cloudevents.MAX_BYTES:
                        raise cloudevents.too_large()
                    if self._waiting_bytes + len(chunk) > self._most[1]:
                        raise _overloaded()
                    chunks += chunk
                    self._waiting_bytes += len(chunk)
        except TimeoutError as error:
            # RFC 9110 section 15.5.9: the connection is not used again.
            raise RequestError("request-timeout", "The body did not arrive in time.", Connection="close") from error
        finally:
            self._waiting_bytes -= len(chunks)  # `accept` counts it again, before anything else can run
        return bytes(chunks)

    async def accept(self, envelope: Envelope, content: bytes) -> Answer:
        """Record the events of one request whose body has arrived; raises what `respond` does."""
        size = len(content)
        if self._waiting >= self._most[0] or self._waiting_bytes + size > self._most[1]:
            raise _overloaded()
        self._waiting += 1
        self._waiting_bytes += size
        try:
            if size > _SMALL:
                return await run_in_threadpool(self._append, envelope, content)
            submission = cloudevents.read(envelope, content)
            try:
                receipts = await self._groups.append(submission.events) if submission.events else []
            except EventError as error:
                raise _refused(error, submission) from error
            return self._answer(receipts, many=submission.many)
        finally:
            self._waiting -= 1
            self._waiting_bytes -= size

    def _append(self, envelope: Envelope, body: bytes) -> Answer:
        submission = cloudevents.read(envelope, body)
        try:
            receipts = self._appender.append(submission.events) if submission.events else []
        except EventError as error:
            raise _refused(error, submission) from error
        return self._answer(receipts, many=submission.many)

    def _answer(self, receipts: Sequence[Receipt], *, many: bool) -> Answer:
        new = sum([receipt.new for receipt in receipts])
        self._metrics.events(len(receipts), new)
        return _answer(receipts, new=new, many=many)


class HotPath:
    """ASGI application that answers `POST /v1/events`, and nothing else is sent to it."""

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest

    @staticmethod
    def takes(scope: Scope) -> bool:
        """Whether a request is for this application."""
        return bool(scope["type"] == "http" and scope["path"] == PATH and scope["method"] == "POST")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        scope["route"] = _ROUTE  # by which the metrics and the log name the request
        envelope = cloudevents.open_raw(scope["headers"])
        status, headers, content = await self._ingest.accept(envelope, await self._content(receive))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def _content(self, receive: Receive) -> bytes:
        """The body; nearly always it is there with the head, and then no clock is started for it."""
        first = receive().__await__()
        try:
            stop = next(first)
        except StopIteration as arrived:
            message: Message = arrived.value
        else:
            return await self._ingest.collect(_chunks(_resumed(stop, first), receive))
        if message["type"] != "http.request" or message.get("more_body", False):
            return await self._ingest.collect(_chunks(_at_once(message), receive))
        content: bytes = message.get("body", b"")
        if len(content) > cloudevents.MAX_BYTES:
            raise cloudevents.too_large()
        return content


class _Route:
    path_format: Final = PATH


_ROUTE: Final = _Route()


async def _at_once(message: Message) -> Message:
    return message


@coroutine
def _resumed(stop: Any, rest: Generator[Any, Any, Message]) -> Generator[Any, Any, Message]:
    """Go on waiting for a message that was asked for before; `stop` is what it waits for."""
    try:
        yield stop
        return (yield from rest)
    finally:
        rest.close()  # a cancellation that comes while it waits for `stop` does not reach it otherwise


async def _chunks(first: Awaitable[Message], receive: Receive) -> AsyncIterator[bytes]:
    message = await first
    while message["type"] != "http.disconnect":
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return
        message = await receive()
    raise ClientDisconnect


def _refused(error: EventError, submission: Submission) -> RefusedError:
    return RefusedError(of_error(error, batch=submission.many))


def _overloaded() -> OverloadedError:
    return OverloadedError("Too many requests are waiting for the store; nothing of this one was kept.")


def receipt_json(receipt: Receipt) -> dict[str, Any]:
    """A receipt with the address of its entry; the ledger's own `receipt_url` is its proof."""
    return {**receipt.as_json(), "entry_url": f"/v1/entries/{receipt.index}"}


def receipt_text(receipt: Receipt) -> str:
    """What the JSON encoder makes of `receipt_json`, in a fraction of the time."""
    index = receipt.index
    return (
        f'{{"source":{_quoted(receipt.source)},"id":{_text(receipt.id)},"ledger":{_quoted(receipt.ledger)},'
        f'"index":{index},"entry_hash":"{receipt.entry_hash}","accepted_at":"{receipt.accepted_at}",'
        f'"state":"committed","schema_verdict":"{receipt.schema_verdict}","receipt_url":"/v1/entries/{index}/proof","entry_url":"/v1/entries/{index}"}}'
    )


_PLAIN: Final = re.compile(r"[ !#-\[\]-~]*", re.ASCII)
"""Text that stands in JSON as it is."""
_UNRESERVED: Final = re.compile(r"[A-Za-z0-9_.~-]*", re.ASCII)
"""Text that stands in a URL as it is, RFC 3986 section 2.3."""


def _text(text: str) -> str:
    return f'"{text}"' if _PLAIN.fullmatch(text) is not None else orjson.dumps(text).decode()


_quoted = lru_cache(maxsize=1024)(_text)


def event_url(source: str, event_id: str) -> str:
    """Address of an event; both parts percent-encoded whole, as a source may hold slashes."""
    return f"/v1/events/{_segment(source)}/{event_id if _UNRESERVED.fullmatch(event_id) else quote(event_id, safe='')}"


@lru_cache(maxsize=1024)
def _segment(text: str) -> str:
    return quote(text, safe="")


_JSON: Final = (b"content-type", b"application/json")


def _answer(receipts: Sequence[Receipt], *, new: int, many: bool) -> Answer:
    if many:
        text = f'{{"receipts":[{",".join([receipt_text(receipt) for receipt in receipts])}]}}'
    else:
        text = receipt_text(receipts[0])
    content = text.encode()
    headers = [_JSON, (b"content-length", b"%d" % len(content))]
    if new and not many:
        # Location only here, where exactly one resource was made (RFC 9110 section 15.3.2).
        headers.append((b"location", event_url(receipts[0].source, receipts[0].id).encode("ascii")))
    return Answer(_CREATED if new else _OK, headers, content)
