"""Problem details (RFC 9457): the one place where an error becomes an HTTP answer.

Two promises: the same shape for every refusal, and no byte of what was sent in any of them. The
pointers in `errors[]` are cut at the first name that is not part of our own vocabulary, because a
JSON key can be somebody's email address as easily as a value can.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ledger import errors
from ledger.recovery.errors import UnconfirmedCopyError
from ledger.sequencing.errors import SequencerAwayError
from ledger.vocabulary import FIELDS
from ledger.witness.errors import AnchorOverdueError, HaltedError

MEDIA_TYPE: Final = "application/problem+json"


@dataclass(frozen=True)
class Kind:
    """One kind of problem; `/problems/{name}` shows `title` and `advice` to whoever follows `type`."""

    name: str
    status: int
    title: str
    advice: str

    @property
    def type(self) -> str:
        """URI reference of the kind, an absolute path on this server (RFC 9457 section 3.1.1)."""
        return f"/problems/{self.name}"


KINDS: Final[Mapping[str, Kind]] = {
    kind.name: kind
    for kind in (
        Kind(
            "malformed-body",
            400,
            "The body cannot be read",
            "The body is not the JSON, NDJSON or set of CloudEvents headers that its Content-Type promises. "
            "Nothing was written. Correct it and send it again.",
        ),
        Kind(
            "invalid-event",
            422,
            "An event was refused",
            "The body could be read, but an event in it breaks a rule; errors[] points at the place. A batch "
            "is written whole or not at all, so nothing was written.",
        ),
        Kind(
            "invalid-request",
            422,
            "A parameter was refused",
            "A part of the path or query is not what the operation takes; errors[] names it.",
        ),
        Kind(
            "invalid-facts",
            422,
            "The facts were refused",
            "The body is not the facts of one incident as the law engine reads them, or they contradict each "
            "other; errors[] lists every place at once. Nothing was assessed.",
        ),
        Kind(
            "event-conflict",
            409,
            "The event exists with other content",
            "An event with the same source and id was recorded before, with other content. What was recorded "
            "stays. If this is a different event, give it an id of its own; if it corrects the first, send a "
            "new event that says so.",
        ),
        Kind(
            "unsupported-media-type",
            415,
            "This Content-Type is not taken here",
            "Send application/cloudevents+json, application/cloudevents-batch+json, application/x-ndjson, or "
            "a JSON body with the CloudEvents attributes as ce- headers; UTF-8, without a Content-Encoding.",
        ),
        Kind(
            "too-large",
            413,
            "The request is too large",
            "One request carries at most 1000 events and 5 MiB. Split it; each part is atomic.",
        ),
        Kind(
            "request-timeout",
            408,
            "The body did not arrive in time",
            "A body has to arrive within a minute. Nothing was written; send it again, over a slow line in smaller "
            "parts. Repeating is safe: source and id identify the event.",
        ),
        Kind("not-found", 404, "Not in this ledger", "Nothing is recorded under this address."),
        Kind(
            "erased",
            410,
            "Erased",
            "The content existed and was erased. Its commitment and its proofs remain in the ledger.",
        ),
        Kind("method-not-allowed", 405, "Method not allowed", "The Allow header lists what this address takes."),
        Kind(
            "unauthenticated",
            401,
            "Not signed in",
            "Send the token as 'Authorization: Bearer ...', or sign in at /login with a browser.",
        ),
        Kind(
            "cross-origin",
            403,
            "Refused across origins",
            "A page of another origin tried to make this request in a browser. Nothing was done.",
        ),
        Kind(
            "misdirected",
            421,
            "Wrong host name",
            "This server listens on the loopback interface without a token and answers only to the names "
            "127.0.0.1, [::1] and localhost, so that no web page can reach it through a rebound DNS name.",
        ),
        Kind(
            "store-busy",
            503,
            "The ledger is busy",
            "Another process holds the store. Nothing was written; repeat the same request after the time in "
            "Retry-After. Repeating is safe: source and id identify the event.",
        ),
        Kind(
            "sequencer-away",
            503,
            "The process that writes does not answer",
            "The process that writes for all workers is not there, so whether the events were recorded is not known. "
            "Repeat the same request after the time in Retry-After. Repeating is safe: source and id identify the "
            "event, so nothing is recorded twice.",
        ),
        Kind(
            "overloaded",
            503,
            "Too much is waiting to be written",
            "More events are waiting for the store than the server takes. Nothing of this request was queued; "
            "repeat it after the time in Retry-After. Repeating is safe: source and id identify the event.",
        ),
        Kind(
            "store-unavailable",
            503,
            "The ledger cannot commit",
            "The store refused the write. Nothing was written and nothing acknowledged is lost. Keep the "
            "events; the server's log says why, under the request id in `instance`.",
        ),
        Kind(
            "not-anchored",
            503,
            "The witnesses are too far behind",
            "More of the ledger than its budget allows is not cosigned by witnesses outside, so nothing more is "
            "accepted. Nothing was written. Keep the events and repeat the same request after the time in "
            "Retry-After; it ends by itself once the witnesses answer.",
        ),
        Kind(
            "halted",
            503,
            "The ledger is halted",
            "There is evidence, not yet looked into, that this ledger's key signed another history or that entries "
            "were lost. Nothing was written. Keep the events; whoever runs the server settles the evidence "
            "(`tocsin witness evidence`), and then it goes on.",
        ),
        Kind(
            "unconfirmed-copy",
            503,
            "A restored copy that nobody has confirmed",
            "This ledger was put back from a backup and may be older than what was shown to others, so it signs "
            "nothing. Nothing was written. Keep the events; whoever runs the server confirms the copy "
            "(`tocsin restore --confirm`) and starts the server again.",
        ),
        Kind(
            "store-full",
            507,
            "The ledger cannot grow",
            "The disk of the ledger is full. Nothing was written and nothing acknowledged is lost. Keep the "
            "events, free space, send them again.",
        ),
        Kind(
            "store-damaged",
            500,
            "The ledger is damaged",
            "The store cannot be read as a ledger. Run `tocsin verify`; it names the first damaged entry.",
        ),
        Kind(
            "internal",
            500,
            "Something broke on our side",
            "The server's log has an entry under the request id in `instance`.",
        ),
    )
}


@dataclass(frozen=True)
class Fault:
    """One member of `errors[]`: what is wrong and where, by JSON Pointer into the body sent."""

    detail: str
    pointer: str


@dataclass(frozen=True)
class Problem:
    """An answer to be: its kind, one sentence of detail and what else goes on the wire."""

    kind: Kind
    detail: str
    faults: tuple[Fault, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int | None = None

    def as_json(self, instance: str) -> dict[str, Any]:
        """The RFC 9457 members, `errors` only where there are any."""
        body: dict[str, Any] = {
            "type": self.kind.type,
            "title": self.kind.title,
            "status": self.status or self.kind.status,
            "detail": self.detail,
            "instance": instance,
        }
        if self.faults:
            body["errors"] = [{"detail": fault.detail, "pointer": fault.pointer} for fault in self.faults]
        return body

    def response(self, instance: str) -> Response:
        """The problem as a response; the caller gives the request's id."""
        return Response(
            orjson.dumps(self.as_json(instance)),
            status_code=self.status or self.kind.status,
            media_type=MEDIA_TYPE,
            headers={"Cache-Control": "no-store", **self.headers},
        )


class RequestError(errors.TocsinError):
    """The HTTP request itself was refused, before any domain code saw it."""

    def __init__(self, kind: str, detail: str, *, pointer: str | None = None, **headers: str) -> None:
        super().__init__(detail)
        self.problem = Problem(
            KINDS[kind],
            detail,
            faults=() if pointer is None else (Fault(detail, pointer),),
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )


class RefusedError(RequestError):
    """A refusal whose problem was already worked out, where the shape of the body was known."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.kind.name, problem.detail)
        self.problem = problem


_VOCABULARY: Final = (
    "specversion id source type time recordedtime sequence datacontenttype dataschema subject "
    "correlationid causationid traceparent authtype authid dataclassification dataregulation datacategory "
    "dssematerial data data_base64 actor kind org roles session mfa on_behalf_of location_country outcome "
    "outcome_reason resource container count fields query digest text_ref result_count truncated subjects "
    "ref category relation subjects_count subjects_root bulk processing purpose legal_basis personal_data "
    "special_category recipient name country safeguard justification code text ticket approved_by "
    "break_glass policy version decision obligations change before_ref after_ref client ip ip_ref "
    "user_agent device geo evidence media_type size sealed"
)
_NAMES: Final = frozenset(_VOCABULARY.split()) | FIELDS
_INDEX: Final = re.compile(r"\d{1,6}", re.ASCII)


def safe_pointer(pointer: str) -> str:
    """Cut a JSON Pointer before the first segment that is neither vocabulary nor an array index."""
    kept: list[str] = []
    for segment in pointer.split("/")[1:]:
        if segment not in _NAMES and _INDEX.fullmatch(segment) is None:
            break
        kept.append(segment)
    return "".join(f"/{segment}" for segment in kept)


def of_error(error: Exception, *, batch: bool = False) -> Problem:
    """Map an error to its problem.

    Args:
        error: anything a route raised.
        batch: the body was a list of events, so a pointer starts with the event's position in it.
    """
    if isinstance(error, RequestError):
        return error.problem
    if isinstance(error, HTTPException):
        return _of_http(error)
    for kind, build in _MAP:
        if isinstance(error, kind):
            return build(error, batch)
    return Problem(KINDS["internal"], "The request failed for a reason that is not yours.")


def _of_http(error: HTTPException) -> Problem:
    """What the router itself refuses: unknown path, wrong method."""
    if error.status_code == KINDS["method-not-allowed"].status:
        headers = dict(error.headers or {})
        return Problem(KINDS["method-not-allowed"], "This address does not take this method.", headers=headers)
    if error.status_code == KINDS["not-found"].status:
        return Problem(KINDS["not-found"], "There is nothing at this address.")
    return Problem(KINDS["internal"], "The request could not be handled.", status=error.status_code)


def _of_input(name: str) -> Callable[[Exception, bool], Problem]:
    def build(error: Exception, batch: bool) -> Problem:
        assert isinstance(error, errors.InputError)
        pointer = safe_pointer(error.field)
        detail = str(error)
        if error.field and pointer != error.field:
            detail = detail.replace(error.field, pointer or "/")
        position = f"/{error.index}" if batch and isinstance(error, errors.EventError) else ""
        return Problem(KINDS[name], detail, faults=(Fault(detail, position + pointer),))

    return build


def _plain(name: str) -> Callable[[Exception, bool], Problem]:
    def build(error: Exception, batch: bool) -> Problem:  # noqa: ARG001 - one signature for the table
        return Problem(KINDS[name], str(error))

    return build


def _of_store(name: str, **headers: str) -> Callable[[Exception, bool], Problem]:
    """The store's own message names files of this machine; it is for the log, not for the client."""

    def build(error: Exception, batch: bool) -> Problem:  # noqa: ARG001 - one signature for the table
        given = {key.replace("_", "-"): value for key, value in headers.items()}
        return Problem(KINDS[name], KINDS[name].advice, headers=given)

    return build


# First match wins, so subclasses stand before their bases.
_MAP: Final[tuple[tuple[type[Exception], Callable[[Exception, bool], Problem]], ...]] = (
    (errors.EventConflictError, _of_input("event-conflict")),
    (errors.InputError, _of_input("invalid-event")),
    (AnchorOverdueError, _of_store("not-anchored", Retry_After="30")),
    (HaltedError, _of_store("halted", Retry_After="600")),
    (UnconfirmedCopyError, _of_store("unconfirmed-copy", Retry_After="600")),
    (errors.OverloadedError, _of_store("overloaded", Retry_After="1")),
    (SequencerAwayError, _of_store("sequencer-away", Retry_After="2")),
    (errors.StoreBusyError, _of_store("store-busy", Retry_After="1")),
    (errors.StoreFullError, _of_store("store-full")),
    (errors.StoreDamagedError, _of_store("store-damaged")),
    (errors.StoreError, _of_store("store-unavailable", Retry_After="30")),
    (errors.ErasedError, _plain("erased")),
    (errors.NotFoundError, _plain("not-found")),
)
