"""What the JSON answers look like, for the OpenAPI document. Routes build the answers themselves."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from api.http import cloudevents
from api.http.problems import MEDIA_TYPE


class Receipt(BaseModel):
    """Proof that an event is in the ledger, and where."""

    source: str = Field(examples=["https://crm.example.org"])
    id: str = Field(examples=["01970000-0000-7000-8000-000000000001"])
    ledger: str = Field(description="Origin of the ledger, the first line of its checkpoints.")
    index: int = Field(ge=0, description="Leaf index of the entry.")
    entry_hash: str = Field(pattern="^[0-9a-f]{64}$", description="RFC 9162 leaf hash of the entry.")
    accepted_at: str = Field(description="RFC 3339 time of acceptance.")
    state: str = Field(examples=["committed"])
    schema_verdict: str = Field(description="known, or unknown: then the event is kept and set apart in view.")
    receipt_url: str = Field(description="Where its offline proof is.")
    entry_url: str


class Receipts(BaseModel):
    """One receipt per event, in the order in which they were sent."""

    receipts: list[Receipt]


class EntryView(BaseModel):
    """An entry and, until it is erased, its payload.

    The entry's exact bytes are this `entry` object as canonical JSON (RFC 8785). The payload's are
    `payload` in the same form: SHA-256("tocsin/payload/v1" || salt || payload) is `entry.commitment`.
    """

    index: int = Field(ge=0)
    entry: dict[str, Any]
    leaf_hash: str = Field(pattern="^[0-9a-f]{64}$")
    state: str = Field(description="present, or erased: then payload and salt are null for ever.")
    payload: dict[str, Any] | None
    salt: str | None
    proof_url: str


class Fault(BaseModel):
    """One thing that is wrong."""

    detail: str
    pointer: str = Field(description="JSON Pointer (RFC 6901) into the body that was sent, or to a parameter by name.")


class ProblemDetails(BaseModel):
    """Problem details, RFC 9457. Never repeats what was sent."""

    type: str = Field(description="Reference to a page on this server that explains the kind of problem.")
    title: str
    status: int
    detail: str
    instance: str = Field(description="URN of this request, also in X-Request-Id and in the server's log.")
    errors: list[Fault] = Field(default_factory=list)


PROBLEM = {"content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}}


def problems(**described: str) -> dict[int | str, dict[str, Any]]:
    """Problem responses for a route: `problems(p404="No such entry.")`; `default` is always among them."""
    found: dict[int | str, dict[str, Any]] = {
        int(name[1:]): {"description": text, **PROBLEM} for name, text in described.items()
    }
    found["default"] = {"description": "Any other refusal has the same shape.", **PROBLEM}
    return found


_EVENT = {
    "type": "object",
    "required": ["specversion", "id", "source", "type", "time"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "maxLength": 64},
        "source": {"type": "string", "format": "uri-reference"},
        "type": {"type": "string"},
        "time": {"type": "string", "format": "date-time"},
        "data": {"type": "object"},
    },
}

EVENTS_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": (
            f"At most {cloudevents.MAX_EVENTS} events and {cloudevents.MAX_BYTES} bytes, written whole or "
            "not at all. Binary mode: the attributes as ce- headers, the body is `data`."
        ),
        "content": {
            cloudevents.STRUCTURED: {"schema": _EVENT},
            cloudevents.BATCH: {"schema": {"type": "array", "items": _EVENT, "maxItems": cloudevents.MAX_EVENTS}},
            cloudevents.NDJSON: {"schema": {"type": "string", "description": "One event per line."}},
            "application/json": {"schema": {"type": "object", "description": "Binary mode: the data alone."}},
        },
    }
}
