"""Names that say nothing by themselves: ids and fingerprints under a key of the campaign.

Whoever holds the campaign key can prove that an id or fingerprint belongs to a person or an address that
is put on the table; nobody can list people from them; destroying the key destroys the link.
"""

from __future__ import annotations

import hmac
from typing import Final

from ledger.encoding import canonical
from notifiers.contacts import Address

KEY_SIZE: Final = 32


def step_id(key: bytes, *, person: str, addressee: str, channel: str, step: int, notice: str) -> str:
    """Deterministic id of one step, 32 hex digits: the same on every repeat and every machine.

    Message-ID local part, `Idempotency-Key` and file name of a letter, so that a provider, a mailbox or a
    reader can recognise a second copy.
    """
    text = canonical(["tocsin/step/v1", person, addressee, channel, step, notice])
    return hmac.digest(key, text, "sha256").hex()[:32]


def person_fingerprint(key: bytes, person: str) -> str:
    """Hex HMAC-SHA-256 of a person's ref."""
    return hmac.digest(key, canonical(["tocsin/person/v1", person]), "sha256").hex()


def address_fingerprint(key: bytes, channel: str, address: Address) -> str:
    """Hex HMAC-SHA-256 of a normalised address: white space trimmed, mailboxes and tokens as they are.

    Only the domain of a mailbox is lower-cased: the local part belongs to its host (RFC 5321 2.4).
    """
    value: str | list[str]
    if not isinstance(address, str):
        value = [" ".join(line.split()) for line in address]
    elif channel == "email":
        local, _, domain = address.strip().rpartition("@")
        value = f"{local}@{domain.lower()}"
    elif channel in ("sms", "voice"):
        value = "".join(char for char in address if char.isdigit() or char == "+")
    else:
        value = address.strip()
    return hmac.digest(key, canonical(["tocsin/address/v1", channel, value]), "sha256").hex()
