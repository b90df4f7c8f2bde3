"""Settling evidence: somebody looked into it, and the log says so for good.

The mark beside the evidence, which lets the ledger accept events again, stands or falls with the entry
`org.tocsin.witness.settled.v1`: `evidence` (hex SHA-256 of the file), `kind`, `found` and `outcome`.
"""

from __future__ import annotations

from typing import Final

from ledger import Ledger, OwnEvent
from ledger.errors import NotFoundError
from ledger.witness import records
from ledger.witness.evidence import Evidence

SETTLED: Final = "org.tocsin.witness.settled.v1"


def settle(ledger: Ledger, digest: str, why: str) -> int | None:
    """Settle evidence and return the leaf index of the entry; None where it was settled before.

    Args:
        ledger: the ledger that keeps it.
        digest: `Evidence.digest`.
        why: the outcome in a few words, without personal data.

    Raises:
        NotFoundError: there is no such evidence.
        StoreError: the ledger may not sign, or the store refused.
    """
    with ledger.database.read() as connection:
        kept = {item.digest: item for item in records.evidence(connection)}
        waiting = {item.digest for item in records.evidence(connection, settled=False)}
    if digest not in kept:
        raise NotFoundError("No evidence with this digest is kept beside this ledger.")
    return settle_item(ledger, kept[digest], why) if digest in waiting else None


def settle_item(ledger: Ledger, item: Evidence, why: str) -> int:
    """Settle evidence that is not settled yet; returns the leaf index of the entry."""
    data = {"evidence": item.digest, "kind": item.kind, "found": item.found, "outcome": why}
    event = OwnEvent(SETTLED, data)
    return ledger.record([event], lambda connection, _indices: records.mark_settled(connection, item, why))[0]
