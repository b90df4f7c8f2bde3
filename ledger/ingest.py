"""From a producer's event to a draft: identities become refs, what is said about people is sealed.

In `data`, `subjects[]`, `actor.id`, `actor.session`, `actor.on_behalf_of`, `credential` and
`client.ip` and `justification.approved_by[]` are replaced by the vault's pseudonyms; `raw`, `text`,
`details`, `change`, `outcome_reason`, `justification.text`, `query.text` and the rest of `client` are
sealed for the event's subjects. Of a type that the vocabulary does not know, all of `data` is sealed:
what is not understood is not left lying open.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from ledger.cloudevents import CloudEvent
from ledger.encoding import canonical_trusted
from ledger.seal import Draft
from ledger.vault import Vault
from ledger.vocabulary import verdict

_SEALED_FIELDS: Final = ("raw", "text", "details", "change", "outcome_reason")
_ACTOR_IDENTITIES: Final = frozenset(("id", "session", "on_behalf_of"))
_SEALED_PARTS: Final = (("justification", "text"), ("query", "text"))


def draft_event(
    connection: sqlite3.Connection,
    vault: Vault,
    stream: UUID,
    event: CloudEvent,
    digest: bytes,
) -> Draft:
    """Make the draft of a producer's event; call inside the write transaction.

    `digest` is the keyed fingerprint of the event as submitted. It goes into the payload so that the
    table of what was seen can be made again from the log.
    """
    payload: dict[str, Any] = {**event.attributes, "submission": digest.hex()}
    if "authid" in payload:
        payload["authid"] = vault.refer(connection, "actor", str(payload["authid"]))
    if event.data is not None:
        subjects: list[str] = []
        details: dict[str, Any] = {"data": event.data}
        if verdict(event.type) == "known":
            data, details = _split(event.data)
            subjects = _replace_identities(connection, vault, data)
            payload["data"] = data
        if details:
            context = detail_context(event.source, event.id)
            payload["sealed"] = vault.seal_details(connection, subjects, canonical_trusted(details), context)
    return Draft(
        type=event.type,
        id=event.id,
        source=event.source,
        time=event.time,
        stream=stream,
        version=None,
        payload=canonical_trusted(payload),
    )


def detail_context(source: str, event_id: str) -> bytes:
    """Associated data that ties sealed details to their event."""
    return f"{source}\0{event_id}".encode()


def _split(data: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part `data` into what is stored in the open and what is sealed."""
    clear = dict(data)
    details: dict[str, Any] = {}
    for name in _SEALED_FIELDS:
        if clear.get(name) is not None:
            details[name] = clear.pop(name)
    for name, part in _SEALED_PARTS:
        holder = clear.get(name)
        if isinstance(holder, dict) and part in holder:
            clear[name] = {key: item for key, item in holder.items() if key != part}
            details[f"{name}.{part}"] = holder[part]
    client = clear.pop("client", None) or {}
    if client.get("ip") is not None:
        clear["client"] = {"ip": client["ip"]}
    rest = {key: item for key, item in client.items() if key != "ip"}
    if rest:
        details["client"] = rest
    return clear, details


def _replace_identities(connection: sqlite3.Connection, vault: Vault, data: dict[str, Any]) -> list[str]:
    """Put refs in place of identities; returns the refs of the subjects."""
    data["actor"] = {
        name: vault.refer(connection, "actor", item) if name in _ACTOR_IDENTITIES and item is not None else item
        for name, item in data["actor"].items()
    }
    if data.get("credential") is not None:
        data["credential"] = vault.refer(connection, "actor", data["credential"])
    address = (data.get("client") or {}).get("ip")
    if address is not None:
        data["client"] = {"ip_ref": vault.refer(connection, "network", address)}
    justification = data.get("justification") or {}
    if "approved_by" in justification:
        approvers = [vault.refer(connection, "actor", name) for name in justification["approved_by"]]
        data["justification"] = {**justification, "approved_by": approvers}
    subjects = data.get("subjects")
    if subjects is None:
        return []
    refs = [vault.refer(connection, "subject", subject.get("ref") or subject["id"]) for subject in subjects]
    data["subjects"] = [
        {**{name: item for name, item in subject.items() if name != "id"}, "ref": ref}
        for subject, ref in zip(subjects, refs, strict=True)
    ]
    return refs
