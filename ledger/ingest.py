"""From a producer's event to a draft: identities become refs, what is said about people is sealed.

In `data`, `subjects[]`, `actor.id`, `actor.session`, `actor.on_behalf_of`, `credential` and
`client.ip` and `justification.approved_by[]` are replaced by the vault's pseudonyms; `raw`, `text`,
`details`, `change`, `outcome_reason`, `justification.text`, `query.text` and the rest of `client` are
sealed for the event's subjects. Of a type that the vocabulary does not know, all of `data` is sealed:
what is not understood is not left lying open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from ledger.cloudevents import CloudEvent
from ledger.encoding import canonical_each
from ledger.names import Names
from ledger.seal import Draft
from ledger.store.connection import Connection
from ledger.vault import Vault
from ledger.vocabulary import verdict

_SEALED_FIELDS: Final = frozenset(("raw", "text", "details", "change", "outcome_reason"))
_Parts = tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]
"""An event taken apart: what is stored in the open, what is to be sealed, and refs of those whose keys seal it."""

_ACTOR_IDENTITIES: Final = ("id", "session", "on_behalf_of")
_TREATED: Final = _SEALED_FIELDS | {"subjects", "client", "actor", "justification", "query", "credential"}
_CHUNK: Final = 32
"""Events treated together, so that what is made of them is still in the processor's cache when it is encoded."""


def draft_events(
    connection: Connection,
    vault: Vault,
    stream: UUID,
    events: Sequence[CloudEvent],
    digests: Sequence[bytes],
) -> list[Draft]:
    """Make the drafts of producers' events; call inside the write transaction.

    `digests` are the keyed fingerprints of what was submitted. They go into the payloads so that the
    table of what was seen can be made again from the log.
    """
    names = vault.names
    drafts: list[Draft] = []
    for start in range(0, len(events), _CHUNK):
        chunk, prints = events[start : start + _CHUNK], digests[start : start + _CHUNK]
        parts = [_take_apart(event, digest, names) for event, digest in zip(chunk, prints, strict=True)]
        if names.lacking:
            # Somebody was not known by heart and stands in the parts as a blank: ask for all others too, then again.
            for event, digest in zip(events[start + _CHUNK :], digests[start + _CHUNK :], strict=True):
                _take_apart(event, digest, names)
            vault.add_names(connection)
            parts = [_take_apart(event, digest, names) for event, digest in zip(chunk, prints, strict=True)]
        drafts += [
            Draft(event.type, event.id, event.source, event.time, stream, None, payload)
            for event, payload in zip(chunk, _payloads(connection, vault, chunk, parts), strict=True)
        ]
    return drafts


def _payloads(
    connection: Connection, vault: Vault, chunk: Sequence[CloudEvent], parts: Sequence[_Parts]
) -> list[bytes]:
    """Seal what is to be sealed, and encode."""
    holders = [
        (payload, people, detail_context(event.source, event.id), hidden)
        for event, (payload, hidden, people) in zip(chunk, parts, strict=True)
        if hidden
    ]
    plains = canonical_each([hidden for _, _, _, hidden in holders])
    texts = vault.seal_each(
        connection,
        ((people, plain, context) for (_, people, context, _), plain in zip(holders, plains, strict=True)),
    )
    for (payload, _, _, _), text in zip(holders, texts, strict=True):
        payload["sealed"] = text
    return canonical_each([payload for payload, _, _ in parts])


def detail_context(source: str, event_id: str) -> bytes:
    """Associated data that ties sealed details to their event."""
    return f"{source}\0{event_id}".encode()


def _take_apart(event: CloudEvent, digest: bytes, names: Names) -> _Parts:
    payload: dict[str, Any] = {**event.attributes, "submission": digest.hex()}
    if "authid" in payload:
        payload["authid"] = names.actor[str(payload["authid"])]
    data = event.data
    if data is None:
        return payload, {}, ()
    if verdict(event.type) != "known":
        return payload, {"data": data}, ()
    hidden: dict[str, Any] = {}
    subjects = data.get("subjects")
    people = () if subjects is None else tuple([names.subject[each.get("ref") or each["id"]] for each in subjects])
    payload["data"] = _open_part(data, names, hidden, people)
    return payload, hidden, people


def _open_part(
    data: Mapping[str, Any], names: Names, hidden: dict[str, Any], people: tuple[str, ...]
) -> dict[str, Any]:
    """What of `data` is stored in the open, with refs in place of identities; the rest goes into `hidden`."""
    clear: dict[str, Any] = {}
    for name, item in data.items():
        if name not in _TREATED:
            clear[name] = item
        elif item is None:
            if name != "client":
                clear[name] = None
        elif name == "actor":
            clear[name] = _actor(item, names)
        elif name == "subjects":
            clear[name] = [_subject(subject, ref) for subject, ref in zip(item, people, strict=True)]
        elif name == "client":
            _client(item, names, clear, hidden)
        elif name in _SEALED_FIELDS:
            hidden[name] = item
        elif name == "credential":
            clear[name] = names.actor[item]
        else:
            clear[name] = _with_text(name, item, names, hidden)
    return clear


def _client(item: Mapping[str, Any], names: Names, clear: dict[str, Any], hidden: dict[str, Any]) -> None:
    rest = dict(item)
    address = rest.pop("ip", None)
    if address is not None:
        clear["client"] = {"ip_ref": names.network[address]}
    if rest:
        hidden["client"] = rest


def _subject(subject: Mapping[str, Any], ref: str) -> dict[str, Any]:
    if len(subject) == 1:
        return {"ref": ref}
    return {**{name: item for name, item in subject.items() if name != "id"}, "ref": ref}


def _actor(item: Mapping[str, Any], names: Names) -> dict[str, Any]:
    clear = dict(item)
    for part in _ACTOR_IDENTITIES:
        identity = item.get(part)
        if identity is not None:
            clear[part] = names.actor[identity]
    return clear


def _with_text(name: str, item: Mapping[str, Any], names: Names, hidden: dict[str, Any]) -> dict[str, Any]:
    """A justification or a query: the text is sealed, those who approved become refs."""
    clear = dict(item)
    if "text" in clear:
        hidden[f"{name}.text"] = clear.pop("text")
    if name == "justification" and "approved_by" in clear:
        clear["approved_by"] = [names.actor[approver] for approver in clear["approved_by"]]
    return clear
