"""Is the ledger whole? What a page can honestly say about it without reading all of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ledger import Ledger
from ledger.entries import Entry, commits_to
from ledger.errors import NotFoundError, StoreError, TocsinError
from ledger.proofs import verify_receipt

_RANDOM: Final = 3
"""Entries drawn at random beside the newest one."""


@dataclass(frozen=True)
class SpotCheck:
    """A small check made for this page.

    Attributes:
        size: entries in the log.
        checked: leaf indices that were re-hashed, proven and found under the signed root.
        bad: the first index that failed, or None.
        note: the signed checkpoint as text, "" for an empty log.
    """

    size: int
    checked: tuple[int, ...]
    bad: int | None
    note: str


def spot_check(ledger: Ledger) -> SpotCheck:
    """Check the newest entry and a few random ones: entry hash, payload commitment, proof, signature.

    It finds wide damage, not a single flipped byte in a large log; that is what `tocsin verify` is for.

    Raises:
        StoreError: the store cannot be read at all.
    """
    size = ledger.size()
    if not size:
        return SpotCheck(0, (), None, "")
    policy = f"log {ledger.vkey}\nquorum none\n".encode()
    drawn = {int.from_bytes(ledger.entropy(8), "big") % size for _ in range(_RANDOM)}
    indices = sorted(drawn | {size - 1})
    note = _note(ledger)
    for number, index in enumerate(indices):
        if not _holds(ledger, index, policy):
            return SpotCheck(size, tuple(indices[:number]), index, note)
    return SpotCheck(size, tuple(indices), None, note)


def _note(ledger: Ledger) -> str:
    try:
        return ledger.checkpoint().decode("utf-8", "replace")
    except NotFoundError:
        return ""


def _holds(ledger: Ledger, index: int, policy: bytes) -> bool:
    try:
        stored = ledger.entry(index)
        verify_receipt(ledger.prove(index), stored.entry, policy)
        if stored.payload is None or stored.salt is None:
            return True
        return commits_to(Entry.decode(stored.entry).commitment, stored.salt, stored.payload)
    except StoreError:
        raise
    except TocsinError:
        return False
