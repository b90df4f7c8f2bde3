"""Where addresses come from: read at the moment of sending, kept nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ledger import Ledger
from ledger.errors import ErasedError, NotFoundError

Address = str | tuple[str, ...]
"""One address: text for email, SMS and push; lines for a letter, the last an ISO 3166-1 country code."""


@dataclass(frozen=True)
class ContactCard:
    """What is needed to reach somebody.

    Attributes:
        name: as it is written on a letter.
        addresses: channel -> addresses, the preferred one first.
    """

    name: str
    addresses: Mapping[str, tuple[Address, ...]] = field(default_factory=dict)


class Contacts(Protocol):
    """A source of contact cards."""

    def cards(self, refs: Iterable[str]) -> Mapping[str, ContactCard]:
        """The cards of these people; whoever is unknown or erased is left out."""
        ...


class VaultContacts:
    """Contact cards out of the ledger's vault, where profiles are sealed per person."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def card(self, ref: str) -> ContactCard:
        """The card of one person.

        Raises:
            NotFoundError: unknown to the vault, or erased from it.
        """
        return card_of(self._ledger.vault.profile(ref))

    def cards(self, refs: Iterable[str]) -> Mapping[str, ContactCard]:
        """The cards of these people; whoever is unknown or erased is left out."""
        wanted = list(dict.fromkeys(refs))
        try:
            return {ref: card_of(found) for ref, found in self._ledger.vault.profiles(wanted).items()}
        except (NotFoundError, ErasedError):
            pass  # at least one is gone; find out which
        cards = {}
        for ref in wanted:
            try:
                cards[ref] = self.card(ref)
            except (NotFoundError, ErasedError):
                continue  # the caller records that this one has no card
        return cards


def card_of(profile: Mapping[str, Any]) -> ContactCard:
    """Read a directory profile leniently: what is not an address is skipped, never an error.

    Profiles come from the organisation's directory; one bad field must not keep a person from being
    told over another channel.
    """
    addresses: dict[str, tuple[Address, ...]] = {}
    contacts = profile.get("contacts")
    for channel, values in (contacts if isinstance(contacts, dict) else {}).items():
        usable: list[Address] = []
        for value in values if isinstance(values, list) else []:
            if isinstance(value, str) and value.strip():
                usable.append(value.strip())
            elif isinstance(value, list) and value and all(isinstance(line, str) for line in value):
                usable.append(tuple(line.strip() for line in value if line.strip()))
        if usable:
            addresses[channel] = tuple(dict.fromkeys(usable))
    name = profile.get("name")
    return ContactCard(name=name if isinstance(name, str) else "", addresses=addresses)
