"""Holds: what must be kept although somebody may ask that it be erased."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from ledger.encoding import format_time
from ledger.errors import InputError, NotFoundError
from ledger.exchange import OwnEvent
from ledger.forgetting.coverage import TABLES
from ledger.forgetting.events import HOLD_LIFTED, HOLD_PLACED, Hold, ScopeKind, standing
from ledger.store.connection import Connection

if TYPE_CHECKING:
    from ledger.ledger import Ledger

_LONGEST: Final = 500


def place_hold(
    ledger: Ledger,
    kind: ScopeKind,
    target: str,
    *,
    authority: str,
    basis: str,
    by: str,
    expires: datetime | None = None,
) -> Hold:
    """Record a hold; it is in force from that entry on.

    Args:
        ledger: where.
        kind: what is held.
        target: a person's ref, an incident's id, or a resource's or container's id.
        authority: who orders it: an office, never a natural person's name.
        basis: the rule or order it rests on.
        by: ref of who records it.
        expires: instant (aware) from which it no longer holds; None until it is lifted.

    Raises:
        InputError: a text is empty or too long, or it would have expired already.
        NotFoundError: the vault has no such person.
    """
    checked = {name: _text(value, name) for name, value in (("authority", authority), ("basis", basis))}
    if expires is not None and expires <= ledger.clock():
        raise InputError("The hold would have expired already; give an instant yet to come.", field="expires")
    until = None if expires is None else format_time(expires)
    _text(target, kind)
    ledger.database.ensure(TABLES)

    def decide(connection: Connection, first: int) -> Sequence[OwnEvent]:
        if kind == "person" and not in_vault(connection, target):
            raise NotFoundError("The vault has no person of that ref; there is nothing to hold.")
        data = {"hold": f"hold-{first}", "scope": {kind: target}, "expires": until, "by": by, **checked}
        return [OwnEvent(HOLD_PLACED, data)]

    [index] = ledger.decide(decide)
    return Hold(f"hold-{index}", kind, target, checked["authority"], checked["basis"], until, index)


def lift_hold(ledger: Ledger, hold: str, *, reason: str, by: str) -> int:
    """Record that a hold is lifted; returns the leaf index.

    Raises:
        NotFoundError: there is no such hold, or it was lifted before.
        InputError: no reason was given.
    """
    reason = _text(reason, "reason")

    def decide(connection: Connection, _first: int) -> Sequence[OwnEvent]:
        known = standing(connection).holds.get(hold)
        if known is None or known.lifted is not None:
            raise NotFoundError("There is no hold of that id to lift; `tocsin hold list` names them.")
        return [OwnEvent(HOLD_LIFTED, {"hold": hold, "reason": reason, "by": by})]

    return ledger.decide(decide)[0]


def list_holds(ledger: Ledger) -> list[Hold]:
    """All holds there ever were, in the order they were placed."""
    with ledger.database.read() as connection:
        return list(standing(connection).holds.values())


def in_vault(connection: Connection, ref: str) -> bool:
    """Whether the vault knows who a ref is."""
    return connection.execute("SELECT 1 FROM vault WHERE ref = ?", (ref,)).fetchone() is not None


def refs_in(payload: Mapping[str, Any]) -> Iterator[str]:
    """Refs of the people a producer's payload names as subjects."""
    data = payload.get("data")
    subjects = data.get("subjects") if isinstance(data, dict) else None
    for subject in subjects or ():
        if isinstance(subject, dict) and isinstance(subject.get("ref"), str):
            yield subject["ref"]


def resources_in(payload: Mapping[str, Any]) -> Iterator[str]:
    """Ids of the resources a producer's payload names."""
    if isinstance(payload.get("subject"), str):
        yield payload["subject"]
    data = payload.get("data")
    resource = data.get("resource") if isinstance(data, dict) else None
    if isinstance(resource, dict):
        yield from (resource[name] for name in ("id", "container") if isinstance(resource.get(name), str))


def touches(hold: Hold, payload: Mapping[str, Any]) -> bool:
    """Whether a producer's payload is about what a person's or resource's hold keeps."""
    if hold.kind == "person":
        return hold.target in refs_in(payload)
    below = hold.target.rstrip("/") + "/"
    return hold.kind == "resource" and any(
        name == hold.target or name.startswith(below) for name in resources_in(payload)
    )


def _text(value: str, name: str) -> str:
    value = value.strip()
    if not value or len(value) > _LONGEST or not value.isprintable():
        raise InputError(f"Field {name} must be 1 to {_LONGEST} printable characters.", field=name)
    return value
