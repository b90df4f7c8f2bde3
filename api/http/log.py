"""Routes over the log: events and entries, proofs, and the tiled read API of tlog-tiles."""

from __future__ import annotations

import re
from collections.abc import Callable
from hashlib import sha256
from typing import Annotated, Final
from urllib.parse import unquote

import orjson
from fastapi import APIRouter, Path, Request
from pydantic import BeforeValidator
from starlette.responses import Response

from api.anchoring import Anchoring
from api.http.ingest import Ingest, receipt_json
from api.http.problems import RequestError
from api.http.schemas import EVENTS_BODY, EntryView, Receipt, Receipts, problems
from ledger import Ledger
from ledger.encoding import MAX_INT
from ledger.errors import ProofError
from ledger.merkle import leaf_hash
from ledger.tiles import Tile


def _digits(text: str) -> str:
    """One spelling per index: no sign, no leading zero, no `1.0`, which Pydantic would all take."""
    if re.fullmatch(r"0|[1-9]\d{0,15}", text, re.ASCII) is None:
        raise ValueError
    return text


Index = Annotated[int, Path(ge=0, le=MAX_INT, description="Leaf index, from 0."), BeforeValidator(_digits)]

IMMUTABLE: Final = "public, max-age=31536000, immutable"
_EVENTS: Final = "/v1/events/"


def routes(ledger: Ledger, ingest: Ingest, anchoring: Anchoring | None = None) -> APIRouter:
    """The router over one ledger; with `anchoring`, strangers are shown what witnesses cosigned."""
    router = APIRouter()
    _events(router, ledger, ingest)
    _entries(router, ledger)
    _tiles(router, ledger, ledger.checkpoint if anchoring is None else anchoring.checkpoint)
    return router


def _events(router: APIRouter, ledger: Ledger, ingest: Ingest) -> None:
    @router.post(
        "/v1/events",
        operation_id="appendEvents",
        summary="Append events",
        tags=["events"],
        status_code=201,
        response_class=Response,
        responses={
            200: {
                "model": Receipt | Receipts,
                "description": "All of it was recorded before: same receipts.",
            },
            201: {"model": Receipt | Receipts, "description": "Recorded, durable, signed."},
            **problems(
                p400="The body cannot be read.",
                p408="The body did not arrive within a minute.",
                p409="An event exists with other content.",
                p413="More than 1000 events or 5 MiB.",
                p415="A type that is not taken.",
                p422="An event breaks a rule.",
                p503="The store cannot commit now; repeat after Retry-After.",
                p507="The disk of the ledger is full.",
            ),
        },
        openapi_extra=EVENTS_BODY,
    )
    async def append_events(request: Request) -> Response:
        """Write one event, or a batch of at most 1000 atomically; answer with receipts once durable."""
        return await ingest.respond(request.headers.items(), request.stream())

    @router.get(
        "/v1/events/{source:path}/{id:path}",
        operation_id="findEvent",
        summary="Find an event's receipt",
        tags=["events"],
        response_class=Response,
        responses={200: {"model": Receipt}, **problems(p404="No such event.")},
    )
    def find_event(request: Request, source: str, id: str) -> Response:  # noqa: A002, ARG001 - names of the public path
        """The receipt of an event, by the source and id its producer gave it, each percent-encoded."""
        found = ledger.find(*_source_and_id(request))
        if found is None:
            raise RequestError("not-found", "No event with this source and id is in the ledger.")
        return _json(receipt_json(found))


def _source_and_id(request: Request) -> tuple[str, str]:
    """Split the path before decoding it: a source is a URI-reference and may hold slashes itself."""
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    source, _, event_id = raw.decode("ascii", "replace").removeprefix(_EVENTS).rpartition("/")
    return unquote(source), unquote(event_id)


def _entries(router: APIRouter, ledger: Ledger) -> None:
    @router.get(
        "/v1/entries/{index}",
        operation_id="getEntry",
        summary="One entry with its payload",
        tags=["entries"],
        response_class=Response,
        responses={
            200: {"model": EntryView},
            **problems(p404="The ledger is shorter.", p422="Not an index."),
        },
    )
    def get_entry(index: Index) -> Response:
        """The entry, and its payload and salt unless they were erased."""
        stored = ledger.entry(index)
        here = stored.payload is not None
        return _json(
            {
                "index": stored.index,
                "entry": orjson.loads(stored.entry),
                "leaf_hash": leaf_hash(stored.entry).hex(),
                "state": "present" if here else "erased",
                "payload": orjson.loads(stored.payload) if stored.payload is not None else None,
                "salt": stored.salt.hex() if stored.salt is not None else None,
                "proof_url": f"/v1/entries/{stored.index}/proof",
            }
        )

    @router.get(
        "/v1/entries/{index}/proof",
        operation_id="getProof",
        summary="Offline receipt of an entry",
        tags=["entries"],
        response_class=Response,
        responses={
            200: {
                "content": {"text/plain": {"schema": {"type": "string"}}},
                "description": "c2sp.org/tlog-proof",
            },
            **problems(p404="The ledger is shorter.", p422="Not an index."),
        },
    )
    def get_proof(index: Index) -> Response:
        """Inclusion proof and signed checkpoint in one text that verifies without this server."""
        return Response(ledger.prove(index), media_type="text/plain")


def _tiles(router: APIRouter, ledger: Ledger, checkpoint: Callable[[], bytes]) -> None:
    @router.get(
        "/checkpoint",
        operation_id="getCheckpoint",
        summary="The newest signed checkpoint",
        tags=["verification"],
        response_class=Response,
        responses={
            200: {
                "content": {"text/plain": {"schema": {"type": "string"}}},
                "description": "c2sp.org/tlog-checkpoint",
            },
            304: {"description": "Still the one whose ETag was sent in If-None-Match."},
            **problems(p404="The ledger is empty."),
        },
    )
    def get_checkpoint(request: Request) -> Response:
        """Size and root of the tree, signed; where the ledger has witnesses, the newest they cosigned."""
        note = checkpoint()
        tag = f'"{sha256(note).hexdigest()}"'
        headers = {"Cache-Control": "public, max-age=5", "ETag": tag}
        known = {text.strip().removeprefix("W/") for text in request.headers.get("if-none-match", "").split(",")}
        if known & {tag, "*"}:
            return Response(status_code=304, headers=headers)
        return Response(note, media_type="text/plain", headers=headers)

    @router.get(
        "/tile/{path:path}",
        operation_id="getTile",
        summary="A tile of the tree or a bundle of entries",
        tags=["verification"],
        response_class=Response,
        responses={
            200: {
                "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
                "description": "c2sp.org/tlog-tiles",
            },
            **problems(p404="No such tile (yet)."),
        },
    )
    def get_tile(path: str) -> Response:
        """`<level>/<number>` or `entries/<number>`, with `.p/<width>` for a partial one."""
        try:
            tile = Tile.parse(f"tile/{path}")
        except ProofError as error:
            raise RequestError("not-found", str(error)) from None
        if tile.level is None:
            content = ledger.entry_bundle(tile.index, tile.width)
        else:
            content = ledger.tile(tile.level, tile.index, tile.width)
        return Response(content, media_type="application/octet-stream", headers={"Cache-Control": IMMUTABLE})


def _json(value: object) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")
