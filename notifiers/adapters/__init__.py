"""Adapters carry messages to providers; each declares what it can do.

An adapter never decides what happens next: it reports one of five outcomes and the dispatcher acts.
It never raises for a failed message; raising means a programming error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, Protocol

from notifiers.contacts import Address
from notifiers.messages import Channel

Kind = Literal["handed_over", "delivered", "transient", "address", "ours", "unknown"]
"""What a provider's answer means.

handed_over: it took responsibility. delivered: it also says the message arrived.
transient: not now; try again later. address: this address will never work; the next rung is due.
ours: our fault (policy, credentials, malformed); stop, nobody is undeliverable because of it.
unknown: the connection died after the message was out; it may or may not have been taken.
"""


@dataclass(frozen=True)
class Capabilities:
    """What an adapter can do and what its provider grants.

    Attributes:
        batch: most messages one call of `send` takes.
        concurrency: calls that may be in flight at once.
        rate: messages (SMS: segments, letters: pages) per second the provider grants; None is unlimited.
        deduplicates: a repeat with the same id does no harm at the provider.
        reaches_people: False for sinks; a drill uses nothing else.
    """

    batch: int = 1
    concurrency: int = 16
    rate: float | None = None
    deduplicates: bool = False
    reaches_people: bool = True


@dataclass(frozen=True)
class Outgoing:
    """One message ready to go.

    Attributes:
        id: deterministic, 32 hex digits; the same on every repeat.
        address: where to.
        content: email: the whole MIME message; other channels: the text in UTF-8.
        subject: heading for channels that show one apart from the content.
        language: BCP 47 tag of the text.
        reference: the addressee's case number.
        campaign: campaign name.
        date: when the campaign was opened; the date of letters and emails.
        units: SMS segments, else 1.
    """

    id: str
    address: Address
    content: bytes
    subject: str
    language: str
    reference: str
    campaign: str
    date: datetime
    units: int = 1


@dataclass(frozen=True)
class Outcome:
    """What came of one message.

    Attributes:
        kind: see `Kind`.
        reason: short code, such as "smtp_550" or "unreachable"; no free text.
        reply: the provider's words, not yet scrubbed of addresses.
        sha256: hex hash of the exact bytes handed over; "" when nothing left the house.
        retry_after: seconds the provider asked us to wait.
    """

    kind: Kind
    reason: str = ""
    reply: str = ""
    sha256: str = ""
    retry_after: int | None = None


UNREACHABLE: Final = "unreachable"
"""Reason of a transient outcome where the provider could not be reached at all."""


class Adapter(Protocol):
    """The whole of what a channel must implement."""

    @property
    def channel(self) -> Channel:
        """The channel it serves."""
        ...

    @property
    def provider(self) -> str:
        """Name of the provider in receipts and pacing, such as "smtp:mail.example.org"."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""
        ...

    async def send(self, batch: Sequence[Outgoing]) -> Sequence[Outcome]:
        """Hand over up to `capabilities.batch` messages; one outcome each, in the same order."""
        ...

    async def close(self) -> None:
        """Release connections; the adapter may be used again afterwards."""
        ...


_MAIL = re.compile(r"[^\s<>\"(),;:]+@[^\s<>\"(),;:]+")
_PHONE = re.compile(r"\+\d[\d ().-]{5,}\d")
REPLY_LIMIT: Final = 200


def scrub(reply: str, address: Address) -> str:
    """Take addresses out of a provider's reply, which often echoes them, and shorten it.

    The address itself in any case, everything that looks like a mailbox, and everything that looks like
    an international number are replaced; the result is printable ASCII of at most `REPLY_LIMIT` characters.
    """
    for part in sorted((address,) if isinstance(address, str) else address, key=len, reverse=True):
        for form in {part, part.lstrip("+")} - {""}:
            reply = re.sub(re.escape(form), "<address>", reply, flags=re.IGNORECASE)
    reply = _PHONE.sub("<number>", _MAIL.sub("<address>", reply))
    printable = "".join(char if " " <= char <= "~" else " " for char in reply)
    return " ".join(printable.split())[:REPLY_LIMIT]


Registry = Mapping[str, Adapter]
"""Channel -> the adapter that serves it."""
