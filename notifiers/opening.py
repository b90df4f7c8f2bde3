"""Writing a plan down: the campaign, its texts, its tellings and first steps, and the event that says so."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from ledger import Ledger, OwnEvent
from ledger.encoding import canonical
from ledger.merkle import leaf_hash, root_hash
from ledger.store.connection import Connection
from notifiers import outbox
from notifiers.errors import CampaignConflictError, CampaignStateError
from notifiers.identity import person_fingerprint
from notifiers.messages import Message, Sender
from notifiers.outbox import Campaign
from notifiers.plan import Telling

PLANNED: Final = "org.tocsin.dispatch.planned.v1"


def write_plan(ledger: Ledger, row: Campaign, texts: Sequence[Message], tellings: Sequence[Telling], now: int) -> None:
    """Write a campaign, or what is new of it, in one transaction with the event that reports it.

    Args:
        ledger: where the outbox and the log are.
        row: the campaign as it would be if it is new.
        texts: its messages.
        tellings: all of its tellings; those already there stay as they are.
        now: milliseconds since 1970.

    Raises:
        CampaignConflictError: a campaign of that name has other texts, sender, incident or mode.
        CampaignStateError: it was cancelled or finished.
    """
    name = row.campaign
    with ledger.database.read() as connection:
        known = outbox.find(connection, name)
        there = set() if known is None else outbox.keys(connection, name)
    if known is not None:
        _check_same(known, row)
    new = [each for each in tellings if (each.recipient.person, each.recipient.addressee) not in there]
    if known is not None and not new:
        return
    key = row.key if known is None else known.key
    event = OwnEvent(PLANNED, _plan_data(row, key, texts, new), correlation=row.incident)

    def also(connection: Connection, _indices: Sequence[int]) -> None:
        current = outbox.find(connection, name)
        if (current is None) != (known is None):
            raise CampaignConflictError(f"Campaign {name} is being opened by another process; try again.")
        if current is None:
            outbox.insert_campaign(connection, row, texts)
            outbox.insert_tellings(connection, name, new, now)
        else:
            outbox.add_owed(connection, name, outbox.insert_tellings(connection, name, new, now))

    ledger.record([event], also)


def definition(incident: str, mode: str, sender: Sender, messages: Sequence[Message]) -> str:
    """Hash of what a campaign says and in whose name."""
    text = canonical([incident, mode, sender.as_json(), sorted(message.content_hash for message in messages)])
    return hashlib.sha256(text).hexdigest()


def _plan_data(row: Campaign, key: bytes, texts: Sequence[Message], new: Sequence[Telling]) -> dict[str, Any]:
    """What the log says about a plan: counts, the texts' hashes, and one root over who is owed a telling."""
    fingerprints = sorted(
        person_fingerprint(key, each.recipient.person) + person_fingerprint(key, each.recipient.addressee)
        for each in new
    )
    return {
        "campaign": row.campaign,
        "excluded": dict(Counter(each.reason for each in new if not each.rungs)),
        "mode": row.mode,
        "not_after": None if row.not_after is None else row.not_after,
        "notices": sorted({message.content_hash for message in texts}),
        "owed": len(new),
        "owed_root": root_hash([leaf_hash(each.encode()) for each in fingerprints]).hex(),
    }


def _check_same(known: Campaign, row: Campaign) -> None:
    if known.definition != row.definition:
        raise CampaignConflictError(
            f"Campaign {row.campaign} exists with other texts, sender, incident or mode. Texts that were "
            "changed after they were approved need a campaign of their own."
        )
    if known.state in ("cancelled", "finished"):
        raise CampaignStateError(f"Campaign {row.campaign} is {known.state}; open a new one.")
