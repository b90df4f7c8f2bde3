"""`POST /v1/events`: from an HTTP request to receipts.

`Ingest` knows no router: it takes headers and a stream of body chunks. `HotPath` answers beside FastAPI,
whose routing takes longer than an append; the route stays there for the OpenAPI document.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import zip_longest
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.http import cloudevents
from api.http.cloudevents import Envelope, Submission
from api.http.metrics import Metrics
from api.http.problems import RefusedError, of_error
from ledger import Ledger, Receipt
from ledger.batch import Batch
from ledger.errors import EventError, OverloadedError

PATH: Final = "/v1/events"
MAX_WAITING: Final = 4096
"""Most requests that wait for the store."""
MAX_WAITING_BYTES: Final = 64 * 1024 * 1024
"""Most bytes of bodies that wait for the store."""
_SMALL: Final = 16 * 1024
"""Bodies up to this size are read on the event loop: going to a thread and back takes longer than that."""

_CREATED: Final = 201
_OK: Final = 200


class Ingest:
    """Appends what arrives; the blocking ledger runs in a worker thread.

    Small requests that arrive while a commit is under way share the next one, and its thread.
    """

    def __init__(
        self,
        ledger: Ledger,
        metrics: Metrics,
        *,
        max_waiting: int = MAX_WAITING,
        max_waiting_bytes: int = MAX_WAITING_BYTES,
    ) -> None:
        self._ledger = ledger
        self._metrics = metrics
        self._most = (max_waiting, max_waiting_bytes)
        # Touched on the event loop alone.
        self._waiting = self._waiting_bytes = 0
        self._queue: deque[_Queued] = deque()
        self._drain: asyncio.Task[None] | None = None

    async def respond(self, headers: Iterable[tuple[str, str]], body: AsyncIterator[bytes]) -> Response:
        """Answer one request. 201 when something new was recorded, 200 when all of it was known.

        Raises:
            RequestError: the request was refused; nothing was written.
            TocsinError: the ledger refused, or too much waits for it already; nothing was written.
        """
        envelope = cloudevents.open_envelope(headers)
        content = await _collect(body)
        if self._waiting >= self._most[0] or self._waiting_bytes + len(content) > self._most[1]:
            raise OverloadedError("Too many requests are waiting for the store; nothing of this one was kept.")
        self._waiting += 1
        self._waiting_bytes += len(content)
        try:
            if len(content) > _SMALL:
                return await run_in_threadpool(self._append, envelope, content)
            return await self._append_with_others(envelope, content)
        finally:
            self._waiting -= 1
            self._waiting_bytes -= len(content)

    def _append(self, envelope: Envelope, body: bytes) -> Response:
        submission = cloudevents.read(envelope, body)
        try:
            receipts = self._ledger.append(submission.events) if submission.events else []
        except EventError as error:
            raise _refused(error, submission) from error
        return self._answer(receipts, many=submission.many)

    async def _append_with_others(self, envelope: Envelope, body: bytes) -> Response:
        submission = cloudevents.read(envelope, body)
        receipts: list[Receipt] = []
        try:
            if submission.events:
                queued = _Queued(self._ledger.batch(submission.events), asyncio.get_running_loop().create_future())
                self._queue.append(queued)
                if self._drain is None:
                    self._drain = asyncio.create_task(self._commit_queued())
                receipts = await queued.result
        except EventError as error:
            raise _refused(error, submission) from error
        return self._answer(receipts, many=submission.many)

    async def _commit_queued(self) -> None:
        """Commit what waits, together, until nothing does."""
        try:
            while self._queue:
                group = list(self._queue)
                self._queue.clear()
                await self._commit(group)
        finally:
            self._drain = None

    async def _commit(self, group: Sequence[_Queued]) -> None:
        results: list[list[Receipt] | Exception] = []
        try:
            results = await run_in_threadpool(self._ledger.append_each, [queued.batch for queued in group])
        except Exception as error:  # noqa: BLE001 - handed to every request that waits for it
            results = [error] * len(group)
        finally:
            for queued, result in zip_longest(group, results):
                if queued.result.done():  # the client went away
                    continue
                if isinstance(result, list):
                    queued.result.set_result(result)
                else:  # None where this was cancelled: the server stops
                    queued.result.set_exception(result or OverloadedError("The server stops; try again later."))

    def _answer(self, receipts: Sequence[Receipt], *, many: bool) -> Response:
        new = sum(receipt.new for receipt in receipts)
        self._metrics.add("tocsin_events_received_total", len(receipts))
        self._metrics.add("tocsin_events_recorded_total", new)
        return _answer(receipts, new=new, many=many)


class _Queued(NamedTuple):
    batch: Batch
    result: asyncio.Future[list[Receipt]]


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
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        response = await self._ingest.respond(headers, _chunks(receive))
        await response(scope, receive, send)


class _Route:
    path_format: Final = PATH


_ROUTE: Final = _Route()


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return


def _refused(error: EventError, submission: Submission) -> RefusedError:
    return RefusedError(of_error(error, batch=submission.many))


async def _collect(body: AsyncIterator[bytes]) -> bytes:
    """The whole body, refused as soon as it grows past the limit."""
    chunks = bytearray()
    async for chunk in body:
        chunks += chunk
        if len(chunks) > cloudevents.MAX_BYTES:
            raise cloudevents.too_large()
    return bytes(chunks)


def receipt_json(receipt: Receipt) -> dict[str, Any]:
    """A receipt with the address of its entry; the ledger's own `receipt_url` is its proof."""
    return {**receipt.as_json(), "entry_url": f"/v1/entries/{receipt.index}"}


def event_url(source: str, event_id: str) -> str:
    """Address of an event; both parts percent-encoded whole, as a source may hold slashes."""
    return f"/v1/events/{quote(source, safe='')}/{quote(event_id, safe='')}"


def _answer(receipts: Sequence[Receipt], *, new: int, many: bool) -> Response:
    status = _CREATED if new else _OK
    if many:
        content: Any = {"receipts": [receipt_json(receipt) for receipt in receipts]}
        return Response(orjson.dumps(content), status, media_type="application/json")
    (receipt,) = receipts
    # Location only here, where exactly one resource was made (RFC 9110 section 15.3.2).
    headers = {"Location": event_url(receipt.source, receipt.id)} if new else None
    return Response(orjson.dumps(receipt_json(receipt)), status, headers, media_type="application/json")
