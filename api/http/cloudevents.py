"""CloudEvents over HTTP: from the three content modes and NDJSON to plain dicts.

Source: CloudEvents HTTP Protocol Binding 1.0.2, sections 3.1 (binary), 3.2 (structured), 3.3 (batch).
Pure: bytes and headers in, dicts out. What the attributes mean is the ledger's business.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from email.message import Message
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote

from api.http.problems import RequestError
from ledger import encoding
from ledger.errors import InputError

MAX_EVENTS: Final = 1000
MAX_BYTES: Final = 5 * 1024 * 1024
_SHORT_LENGTH: Final = 6
"""A Content-Length of so many digits is below `MAX_BYTES`."""

STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
NDJSON: Final = "application/x-ndjson"
ACCEPTED: Final = f"{STRUCTURED}, {BATCH}, {NDJSON}"

_ATTRIBUTE = re.compile(r"[a-z0-9]{1,40}", re.ASCII)


@dataclass(frozen=True)
class Submission:
    """The events of one request, in order. `many`: they came as a list, so a list of receipts is due."""

    events: Sequence[dict[str, Any]]
    many: bool


@dataclass(frozen=True)
class Envelope:
    """The part of a request that decides how its body is read, checked before the body is."""

    mode: str
    media_type: str
    attributes: dict[str, str]


def open_envelope(headers: Iterable[tuple[str, str]]) -> Envelope:
    """Decide the content mode from the headers.

    Args:
        headers: lower-case names and values, repeated ones repeated.

    Raises:
        RequestError: 415 for a type or encoding that is not taken, 413 for a declared length above
            `MAX_BYTES`, 400 for `ce-` headers that cannot be attributes.
    """
    pairs = list(headers)
    plain = {name: value for name, value in pairs if not name.startswith("ce-")}
    media_type = _media_type(plain.get("content-type", ""))
    if plain.get("content-encoding", "identity").strip().lower() != "identity":
        raise RequestError("unsupported-media-type", "Send the body without a Content-Encoding.")
    length = plain.get("content-length", "")
    if length.isdecimal() and int(length) > MAX_BYTES:
        raise too_large()
    attributes = _attributes(pairs)
    if media_type in {STRUCTURED, BATCH}:
        return Envelope(media_type, media_type, {})
    if "specversion" in attributes:
        return Envelope("binary", media_type, attributes)
    if media_type == NDJSON:
        return Envelope(NDJSON, media_type, {})
    raise RequestError(
        "unsupported-media-type",
        "The Content-Type is none of those taken here, and there is no ce-specversion header.",
        Accept=ACCEPTED,
    )


def open_raw(headers: Iterable[tuple[bytes, bytes]]) -> Envelope:
    """`open_envelope` of headers as ASGI gives them; the ordinary ones are recognised without decoding them."""
    content_type = b""
    for name, value in headers:
        if name == b"content-type":
            content_type = value
        elif name == b"content-length":
            if len(value) > _SHORT_LENGTH:
                break
        elif name == b"content-encoding" or name.startswith(b"ce-"):
            break
    else:
        envelope = _bodily(content_type)
        if envelope is not None:
            return envelope
    return open_envelope((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)


@lru_cache(maxsize=256)
def _bodily(content_type: bytes) -> Envelope | None:
    """The envelope of a request whose body says everything; None where more than the type has to be looked at."""
    try:
        media_type = _media_type(content_type.decode("latin-1"))
    except RequestError:
        return None
    return Envelope(media_type, media_type, {}) if media_type in {STRUCTURED, BATCH, NDJSON} else None


def too_large() -> RequestError:
    """The refusal of a body over the limit, also used while the body is still arriving."""
    return RequestError("too-large", f"The body is larger than {MAX_BYTES} bytes; split it.")


def read(envelope: Envelope, body: bytes) -> Submission:
    """Read the events out of a body.

    Raises:
        RequestError: 400 when the body is not what its type promises, 413 above `MAX_EVENTS` events.
    """
    if envelope.mode == STRUCTURED:
        return Submission([_event(_json(body, ""), "")], many=False)
    if envelope.mode == "binary":
        return Submission([_binary(envelope, body)], many=False)
    if envelope.mode == BATCH:
        items = _json(body, "")
        if not isinstance(items, list):
            raise _malformed("A batch is a JSON array of events.", "")
    else:
        lines = [line for line in body.split(b"\n") if line.strip()]
        _limit(len(lines))
        try:
            items = [encoding.parse(line) for line in lines]
        except InputError:  # once more, to say where
            items = [_json(line, f"/{position}") for position, line in enumerate(lines)]
    _limit(len(items))
    if not all(type(item) is dict for item in items):
        items = [_event(item, f"/{position}") for position, item in enumerate(items)]
    return Submission(items, many=True)


def _limit(count: int) -> None:
    if count > MAX_EVENTS:
        raise RequestError("too-large", f"The request holds more than {MAX_EVENTS} events; split it.")


def _malformed(detail: str, pointer: str) -> RequestError:
    return RequestError("malformed-body", detail, pointer=pointer)


def _json(text: bytes, pointer: str) -> Any:
    try:
        return encoding.parse(text)
    except InputError as error:
        # The line number inside one NDJSON line is always 1; the pointer already says which line.
        raise _malformed(str(error), pointer) from None


def _event(value: Any, pointer: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _malformed("An event is a JSON object.", pointer)
    return value


@lru_cache(maxsize=256)
def _media_type(header: str) -> str:
    """The bare media type; any charset but UTF-8 is refused, as JSON has no other (RFC 8259 8.1)."""
    parsed = Message()
    parsed["Content-Type"] = header
    charset = parsed.get_param("charset")
    if isinstance(charset, tuple) or str(charset or "utf-8").lower() not in {"utf-8", "utf8", "us-ascii"}:
        raise RequestError("unsupported-media-type", "Send the body as UTF-8.", Accept=ACCEPTED)
    return header.partition(";")[0].strip().lower()


def _attributes(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for header, value in pairs:
        if not header.startswith("ce-"):
            continue
        name = header[3:]
        if _ATTRIBUTE.fullmatch(name) is None or name in {"data", "datacontenttype"}:
            raise _malformed("A ce- header does not name a CloudEvents attribute (a-z and 0-9 only).", "")
        if name in found:
            raise _malformed("A ce- header appears twice.", "")
        found[name] = _decode_value(value)
    return found


def _decode_value(value: str) -> str:
    """Undo quoting, then one round of percent-decoding (binding 1.0.2, section 3.1.3.2)."""
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError:
        raise _malformed("A ce- header is not percent-encoded UTF-8.", "") from None


def _binary(envelope: Envelope, body: bytes) -> dict[str, Any]:
    event: dict[str, Any] = dict(envelope.attributes)
    if envelope.media_type:
        event["datacontenttype"] = envelope.media_type
    if not body:
        return event
    if envelope.media_type == "application/json" or envelope.media_type.endswith("+json"):
        event["data"] = _json(body, "/data")
    else:
        event["data_base64"] = base64.b64encode(body).decode("ascii")
    return event
