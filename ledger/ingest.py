"""From a producer's event to a draft: identities become refs, what is said about people is sealed.

In `data`, `subjects[]`, `actor.id`, `actor.session`, `actor.on_behalf_of`, `credential` and
`client.ip` and `justification.approved_by[]` are replaced by the vault's pseudonyms; `raw`, `text`,
`details`, `change`, `outcome_reason`, `justification.text`, `query.text` and the rest of `client` are
sealed for the event's subjects. Of a type that the vocabulary does not know, all of `data` is sealed:
what is not understood is not left lying open.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final
from uuid import UUID

from ledger.cloudevents import CloudEvent
from ledger.encoding import canonical_each
from ledger.seal import Draft
from ledger.store.connection import Connection
from ledger.vault import Vault
from ledger.vocabulary import verdict

_SEALED_FIELDS: Final = frozenset(("raw", "text", "details", "change", "outcome_reason"))
_HOLDERS: Final = frozenset(("actor", "justification", "query"))
_ACTOR_IDENTITIES: Final = ("id", "session", "on_behalf_of")
_CHUNK: Final = 128
"""Events encoded in one call; bounds the memory that large events take twice."""


def draft_events(
    connection: Connection,
    vault: Vault,
    stream: UUID,
    events: Iterable[tuple[CloudEvent, bytes]],
) -> list[Draft]:
    """Make the drafts of producers' events; call inside the write transaction.

    Each event comes with the keyed fingerprint of what was submitted. It goes into the payload so that
    the table of what was seen can be made again from the log.
    """
    drafts: list[Draft] = []
    remaining = iter(events)
    while chunk := list(islice(remaining, _CHUNK)):
        drafts += _draft_chunk(connection, vault, stream, chunk)
    return drafts


def _draft_chunk(
    connection: Connection,
    vault: Vault,
    stream: UUID,
    chunk: Sequence[tuple[CloudEvent, bytes]],
) -> Iterable[Draft]:
    payloads: list[dict[str, Any]] = []
    holders: list[dict[str, Any]] = []
    sealed: list[tuple[Sequence[str], bytes]] = []
    details: list[dict[str, Any]] = []
    for event, digest in chunk:
        payload: dict[str, Any] = {**event.attributes, "submission": digest.hex()}
        payloads.append(payload)
        if "authid" in payload:
            payload["authid"] = vault.refer(connection, "actor", str(payload["authid"]))
        if event.data is None:
            continue
        subjects: list[str] = []
        if verdict(event.type) == "known":
            hidden: dict[str, Any] = {}
            payload["data"] = _part(connection, vault, event.data, hidden, subjects)
        else:
            hidden = {"data": event.data}
        if hidden:
            holders.append(payload)
            details.append(hidden)
            sealed.append((subjects, detail_context(event.source, event.id)))
    texts = zip(sealed, canonical_each(details), strict=True)
    for payload, text in zip(
        holders,
        vault.seal_each(connection, [(subjects, plain, context) for (subjects, context), plain in texts]),
        strict=True,
    ):
        payload["sealed"] = text
    return [
        Draft(event.type, event.id, event.source, event.time, stream, None, payload)
        for (event, _), payload in zip(chunk, canonical_each(payloads), strict=True)
    ]


def detail_context(source: str, event_id: str) -> bytes:
    """Associated data that ties sealed details to their event."""
    return f"{source}\0{event_id}".encode()


def _part(
    connection: Connection,
    vault: Vault,
    data: Mapping[str, Any],
    hidden: dict[str, Any],
    people: list[str],
) -> dict[str, Any]:
    """What of `data` is stored in the open, with refs in place of identities.

    Puts what is to be sealed into `hidden`, and the refs of the subjects into `people`.
    """
    clear: dict[str, Any] = {}
    for name, item in data.items():
        if name in _SEALED_FIELDS and item is not None:
            hidden[name] = item
        elif name == "subjects" and item is not None:
            clear[name] = [_subject(connection, vault, subject, people) for subject in item]
        elif name == "client":
            _client(connection, vault, item or {}, clear, hidden)
        elif name in _HOLDERS and item is not None:
            clear[name] = _holder(connection, vault, name, item, hidden)
        elif name == "credential" and item is not None:
            clear[name] = vault.refer(connection, "actor", item)
        else:
            clear[name] = item
    return clear


def _client(
    connection: Connection, vault: Vault, item: Mapping[str, Any], clear: dict[str, Any], hidden: dict[str, Any]
) -> None:
    rest = dict(item)
    address = rest.pop("ip", None)
    if address is not None:
        clear["client"] = {"ip_ref": vault.refer(connection, "network", address)}
    if rest:
        hidden["client"] = rest


def _subject(connection: Connection, vault: Vault, subject: Mapping[str, Any], people: list[str]) -> Any:
    ref = vault.refer(connection, "subject", subject.get("ref") or subject["id"])
    people.append(ref)
    if len(subject) == 1:
        return {"ref": ref}
    return {**{name: item for name, item in subject.items() if name != "id"}, "ref": ref}


def _holder(
    connection: Connection, vault: Vault, name: str, item: Mapping[str, Any], hidden: dict[str, Any]
) -> dict[str, Any]:
    """An object that names actors or has a text: they become refs, the text is sealed."""
    clear = dict(item)
    if name == "actor":
        for part in _ACTOR_IDENTITIES:
            identity = clear.get(part)
            if identity is not None:
                clear[part] = vault.refer(connection, "actor", identity)
        return clear
    if "text" in clear:
        hidden[f"{name}.text"] = clear.pop("text")
    if name == "justification" and "approved_by" in clear:
        clear["approved_by"] = [vault.refer(connection, "actor", approver) for approver in clear["approved_by"]]
    return clear
