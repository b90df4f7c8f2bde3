"""`POST /v1/events`: from an HTTP request to receipts.

`Ingest` knows no router: it takes headers and a stream of body chunks, so that a bare ASGI
application can be put beside FastAPI for the hot path without a second reading of the rules.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Final
from urllib.parse import quote

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.http import cloudevents
from api.http.cloudevents import Envelope
from api.http.metrics import Metrics
from api.http.problems import RefusedError, of_error
from ledger import Ledger, Receipt
from ledger.errors import EventError

_CREATED: Final = 201
_OK: Final = 200


class Ingest:
    """Appends what arrives; the blocking ledger runs in a worker thread."""

    def __init__(self, ledger: Ledger, metrics: Metrics) -> None:
        self._ledger = ledger
        self._metrics = metrics

    async def respond(self, headers: Iterable[tuple[str, str]], body: AsyncIterator[bytes]) -> Response:
        """Answer one request. 201 when something new was recorded, 200 when all of it was known.

        Raises:
            RequestError: the request was refused; nothing was written.
            TocsinError: the ledger refused; nothing was written.
        """
        envelope = cloudevents.open_envelope(headers)
        return await run_in_threadpool(self._append, envelope, await _collect(body))

    def _append(self, envelope: Envelope, body: bytes) -> Response:
        submission = cloudevents.read(envelope, body)
        try:
            receipts = self._ledger.append(submission.events) if submission.events else []
        except EventError as error:
            raise RefusedError(of_error(error, batch=submission.many)) from error
        new = sum(receipt.new for receipt in receipts)
        self._metrics.add("tocsin_events_received_total", len(receipts))
        self._metrics.add("tocsin_events_recorded_total", new)
        return _answer(receipts, new=new, many=submission.many)


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
