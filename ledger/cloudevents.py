"""Reading a producer's CloudEvent (1.0.2) strictly, before anything is stored.

Attribute names and rules are those of the CloudEvents specification and its extensions; `data` has a
closed set of fields for types the vocabulary knows. Messages name the field and never its value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from ledger.encoding import canonical_trusted, check, format_time, parse_time
from ledger.errors import EventError, InputError
from ledger.vocabulary import ACTOR_KINDS, FIELDS, OUTCOMES, required, verdict

MAX_EVENT: Final = 256 * 1024
"""Largest event in bytes of canonical JSON."""

MAX_SUBJECTS: Final = 10_000
MAX_TEXT: Final = 1024

CORE: Final = frozenset(("specversion", "id", "source", "type", "time", "data", "data_base64"))
NAME: Final = re.compile(r"[a-z0-9]{1,20}", re.ASCII)
ID: Final = re.compile(r"[\x21-\x7e]{1,64}", re.ASCII)
TYPE: Final = re.compile(r"[\x21-\x7e]{1,128}", re.ASCII)
URI_REFERENCE: Final = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]{1,255}", re.ASCII)
CLASSIFICATIONS: Final = frozenset(("public", "internal", "confidential", "restricted"))
RESERVED: Final = "urn:tocsin:"
ACTOR: Final = frozenset(("id", "kind", "org", "roles", "session", "mfa", "on_behalf_of", "location_country"))
SUBJECT: Final = frozenset(("id", "ref", "category", "relation"))
OBJECTS: Final[dict[str, frozenset[str] | None]] = {
    "resource": frozenset(("type", "id", "container", "count", "fields")),
    "query": frozenset(("digest", "text", "text_ref", "result_count", "truncated")),
    "client": frozenset(("ip", "user_agent", "device", "geo")),
    "recipient": frozenset(("id", "name", "kind", "country", "safeguard")),
    "justification": frozenset(("code", "text", "ticket", "approved_by", "break_glass")),
    "policy": frozenset(("id", "version", "decision", "obligations")),
    "change": frozenset(("fields", "before_ref", "after_ref")),
    "details": None,
}


class CloudEvent(NamedTuple):
    """A validated event.

    Attributes:
        id, source, type: the identifying attributes.
        time: RFC 3339 UTC time of occurrence, or None when the producer gave none.
        attributes: all other context attributes but `specversion`.
        data: the JSON payload, or None.
        canonical: canonical bytes of the event as submitted; what "the same event" means.
    """

    id: str
    source: str
    type: str
    time: str | None
    attributes: Mapping[str, Any]
    data: Any
    canonical: bytes


def read_event(value: Any, index: int = 0) -> CloudEvent:
    """Validate one decoded JSON event.

    Args:
        value: the decoded event.
        index: its place in the batch, for the error.

    Raises:
        EventError: naming the field.
    """
    try:
        return _read(value)
    except EventError:
        raise
    except InputError as error:
        raise EventError(f"Event {index}: {error}", field=error.field, index=index) from None


def _read(value: Any) -> CloudEvent:
    if not isinstance(value, Mapping):
        raise InputError("An event is a JSON object with CloudEvents attributes.")
    check(value if isinstance(value, dict) else dict(value))
    if value.get("specversion") != "1.0":
        raise InputError('specversion must be "1.0".', field="/specversion")
    event_id = _matching(value, "id", ID, "1 to 64 printable ASCII characters without spaces")
    source = _matching(value, "source", URI_REFERENCE, "a URI-reference of at most 255 characters")
    event_type = _matching(value, "type", TYPE, "1 to 128 printable ASCII characters without spaces")
    if source.lower().startswith(RESERVED):
        raise InputError("source must not start with urn:tocsin:, which the ledger keeps for itself.", field="/source")
    moment = None
    for name in ("time", "recordedtime"):
        if value.get(name) is not None:
            when = format_time(parse_time(value[name], f"/{name}"))
            moment = when if name == "time" else moment
    attributes = _attributes(value)
    data = value.get("data")
    if "data_base64" in value:
        raise InputError("data_base64 is not accepted: send data as JSON.", field="/data_base64")
    if verdict(event_type) == "known":
        _check_data(data, required(event_type))
    elif data is not None and not isinstance(data, dict):
        raise InputError("/data must be a JSON object.", field="/data")
    encoded = canonical_trusted(value if isinstance(value, dict) else dict(value))
    if len(encoded) > MAX_EVENT:
        raise InputError(f"The event is larger than {MAX_EVENT} bytes; keep documents elsewhere and send digests.")
    return CloudEvent(event_id, source, event_type, moment, attributes, data, encoded)


def _matching(value: Mapping[str, Any], name: str, pattern: re.Pattern[str], what: str) -> str:
    text = value.get(name)
    if not isinstance(text, str) or pattern.fullmatch(text) is None:
        raise InputError(f"{name} is missing or is not {what}.", field=f"/{name}")
    return text


def _attributes(value: Mapping[str, Any]) -> dict[str, Any]:
    attributes = {}
    for name, item in value.items():
        if name in CORE or item is None:
            continue
        if NAME.fullmatch(name) is None:
            raise InputError(
                "An attribute name is not 1 to 20 lower-case letters and digits; "
                "put the producer's own fields into data.details.",
            )
        if not isinstance(item, (str, int, bool)):
            raise InputError(f"/{name} must be a string, an integer or a boolean.", field=f"/{name}")
        attributes[name] = item
    if attributes.get("dataclassification", "restricted") not in CLASSIFICATIONS:
        raise InputError(
            "dataclassification must be public, internal, confidential or restricted.",
            field="/dataclassification",
        )
    return attributes


def _check_data(data: Any, needed: frozenset[str]) -> None:
    if not isinstance(data, dict):
        raise InputError("/data is missing or is not a JSON object.", field="/data")
    for name in sorted(needed):
        if data.get(name) is None:
            raise InputError(f"/data/{name} is missing; this type of event must carry it.", field=f"/data/{name}")
    if not data.keys() <= FIELDS:
        raise InputError(
            "/data has a field that this type does not know; put the producer's own fields into data.details. "
            f"Known fields: {', '.join(sorted(FIELDS))}.",
            field="/data",
        )
    _check_actor(data.get("actor"))
    _one_of(data, "outcome", OUTCOMES, "/data/outcome")
    for name, parts in OBJECTS.items():
        _closed(data.get(name), parts, f"/data/{name}")
    resource = data.get("resource") or {}
    for name in ("id", "type", "container"):
        _text(resource, name, f"/data/resource/{name}", needed=name == "id" and "resource" in needed)
    _text(data.get("client") or {}, "ip", "/data/client/ip")
    _text(data, "credential", "/data/credential")
    _check_subjects(data.get("subjects"))
    approvers = (data.get("justification") or {}).get("approved_by", [])
    if not isinstance(approvers, list) or not all(isinstance(name, str) and name for name in approvers):
        raise InputError(
            "/data/justification/approved_by must be a list of texts.",
            field="/data/justification/approved_by",
        )


def _closed(value: Any, parts: frozenset[str] | None, path: str) -> None:
    """An optional object whose fields all belong to `parts` (None: any)."""
    if value is None:
        return
    if not isinstance(value, dict):
        raise InputError(f"{path} must be a JSON object.", field=path)
    if parts is not None and not value.keys() <= parts:
        raise InputError(
            f"{path} has a field it cannot have; it may have {', '.join(sorted(parts))}. "
            "Put the producer's own fields into data.details.",
            field=path,
        )


def _check_actor(actor: Any) -> None:
    _closed(actor, ACTOR, "/data/actor")
    _text(actor, "id", "/data/actor/id", needed=True)
    for name in ("session", "on_behalf_of"):
        _text(actor, name, f"/data/actor/{name}")
    _one_of(actor, "kind", ACTOR_KINDS, "/data/actor/kind")


def _check_subjects(subjects: Any) -> None:
    if subjects is None:
        return
    if not isinstance(subjects, list) or len(subjects) > MAX_SUBJECTS:
        raise InputError(f"/data/subjects must be a list of at most {MAX_SUBJECTS} objects.", field="/data/subjects")
    for place, subject in enumerate(subjects):
        path = f"/data/subjects/{place}"
        _closed(subject, SUBJECT, path)
        if not isinstance(subject, dict) or ("ref" in subject) == ("id" in subject):
            raise InputError(f"{path} must be an object with the person's id as `id` or `ref`.", field=path)
        _text(subject, "ref" if "ref" in subject else "id", path, needed=True)


def _one_of(holder: Mapping[str, Any], name: str, allowed: frozenset[str], path: str) -> None:
    item = holder.get(name)
    if item is not None and (not isinstance(item, str) or item not in allowed):
        raise InputError(f"{path} must be one of {', '.join(sorted(allowed))}.", field=path)


def _text(holder: Mapping[str, Any], name: str, path: str, *, needed: bool = False) -> None:
    item = holder.get(name)
    if item is None and not needed:
        return
    if not isinstance(item, str) or not item or len(item) > MAX_TEXT:
        raise InputError(f"{path} is missing or is not a text of 1 to {MAX_TEXT} characters.", field=path)
