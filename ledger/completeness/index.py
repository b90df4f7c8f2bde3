"""What the index says and under which label: a deterministic function of the log. Pure.

There are two maps, one from data subjects (refs) and one from resources (ids), each from

    label   SHA-256("tocsin/index/v1/label" 0x00 origin 0x00 kind 0x00 key)

to the ordered list of leaf indices of the entries whose event names the key, committed as a chain

    start   SHA-256("tocsin/index/v1/start" || blind(32) || label)
    next    SHA-256("tocsin/index/v1/next" || before(32) || uint64be index)
    value   SHA-256("tocsin/index/v1/value" || uint64be count || last(32))

so that an access costs one hash and a seal needs no list twice. `blind` is HMAC-SHA-256(index key,
label): without it the few hashes that a proof shows of its neighbours could be tried against guessed
names and positions. A report gives away the blind of its own key alone; the index key goes to the
auditor, who must compute every leaf. The label itself is not keyed: whoever holds a report must be
able to compute it, or the log could point to any leaf it likes. A ref is 128 random bits, so its
label tells nothing; `ledger.completeness.trie` says why a resource's label is hardly ever shown.
(A verifiable random function, RFC 9381, would hide labels altogether, at some hundred times the cost
of a hash for each new key; see docs/adr/0004-completeness-index.md.)

An entry counts for what `ledger.access` reads from it: `data.*` and `access.*` events.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Literal, Self

from ledger.access import accesses
from ledger.completeness.trie import Leaf
from ledger.encoding import parse
from ledger.entries import Entry, StoredEntry
from ledger.errors import InputError, StoreDamagedError, TocsinError
from ledger.vocabulary import family_verb

Kind = Literal["subject", "resource"]
KINDS: Final[tuple[Kind, ...]] = ("subject", "resource")

SEALED_TYPE: Final = "org.tocsin.index.sealed.v1"
CONSTRUCTION: Final = "tocsin/index/v1"
KEY_CONTEXT: Final = b"tocsin/index/v1/key"
"""What the vault's keyed hash is taken of to make the index key."""

_FAMILIES: Final = ("data.", "access.")


@dataclass(frozen=True, slots=True)
class Key:
    """A key of the index.

    Attributes:
        kind: which map.
        name: a ref of the vault, or a resource's id as its producer gave it.
    """

    kind: Kind
    name: str

    def label(self, origin: str) -> bytes:
        """Its place in the map of the log with this origin, 32 bytes.

        Raises:
            InputError: the name is not valid Unicode.
        """
        try:
            name = self.name.encode()
        except UnicodeEncodeError:
            raise InputError("The name of a key of the index is not valid Unicode.") from None
        return sha256(b"\0".join((b"tocsin/index/v1/label", origin.encode(), self.kind.encode(), name))).digest()


@dataclass(frozen=True, slots=True)
class Positions:
    """Commitment to an ordered list of leaf indices that can be made longer without the list.

    Attributes:
        count: how many.
        last: 32-byte end of the chain.
    """

    count: int
    last: bytes

    @classmethod
    def empty(cls, blind: bytes, label: bytes) -> Self:
        """The list before its first index."""
        return cls(0, sha256(b"tocsin/index/v1/start" + blind + label).digest())

    def extended(self, indices: Iterable[int]) -> Self:
        """The list with further leaf indices, in the order given."""
        count, last = self.count, self.last
        for index in indices:
            last = sha256(b"tocsin/index/v1/next" + last + index.to_bytes(8, "big")).digest()
            count += 1
        return type(self)(count, last)

    def leaf(self, label: bytes) -> Leaf:
        """The map's leaf for this list."""
        return Leaf(label, sha256(b"tocsin/index/v1/value" + self.count.to_bytes(8, "big") + self.last).digest())


def blind_of(index_key: bytes, label: bytes) -> bytes:
    """What makes the list behind a label unguessable, 32 bytes."""
    return hmac.digest(index_key, label, "sha256")


def key_id(index_key: bytes) -> str:
    """Public name of an index key, hex; logged with each root so that a wrong key is told from a wrong root."""
    return sha256(b"tocsin/index/v1/key-id" + index_key).hexdigest()


def concerns(event_type: str) -> bool:
    """Whether events of this type are accesses; what such an event names stands in its payload."""
    return (family_verb(event_type) or "").startswith(_FAMILIES)


def read_lightly(stored: StoredEntry) -> Entry:
    """The values of an entry that stands in the log, without the proof that its bytes are canonical.

    Raises:
        StoreDamagedError: it cannot be an entry.
    """
    try:
        return Entry(**parse(stored.entry))
    except (InputError, TypeError):
        raise StoreDamagedError(
            f"Entry {stored.index} is damaged in the database. Run `tocsin verify`, then restore a backup."
        ) from None


def touched(stored: StoredEntry, entry: Entry | None = None) -> frozenset[Key]:
    """The keys that an entry's event names; none for other events, erased or unreadable payloads.

    Args:
        stored: the entry with its payload.
        entry: its values, where the caller has read them already.
    """
    try:
        found = accesses(stored, entry)
    except (TocsinError, AttributeError, KeyError, TypeError):
        # Not written by `ledger.ingest`; whoever recomputes the index must come to the same answer.
        return frozenset()
    pairs: list[tuple[Kind, object]] = [("subject", access.subject) for access in found]
    pairs += [("resource", access.resource) for access in found]
    return frozenset(Key(kind, name) for kind, name in pairs if isinstance(name, str) and name)
