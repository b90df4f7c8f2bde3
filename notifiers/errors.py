"""What can go wrong in telling people; each message says what, where and what to do next.

No message carries a name, an address or a provider's raw reply: errors end up in logs.
"""

from __future__ import annotations

from ledger.errors import ConfigError, InputError, NotFoundError, TocsinError, VerificationError


class MessageError(InputError):
    """A message of a campaign cannot be compiled: unknown slot, empty part, control character."""


class SlotError(MessageError):
    """A value for a slot was refused; the message names the slot, never the value."""


class AddressError(InputError):
    """An address cannot be used on its channel; `reason` is the code recorded with the step."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class PlanError(InputError):
    """The recipients and messages of a campaign do not fit together; nothing was planned."""


class LetterError(TocsinError):
    """The typesetter refused a letter, or a letter could not be written."""


class CampaignNotFoundError(NotFoundError):
    """No campaign of that name is in this ledger's outbox."""


class CampaignConflictError(TocsinError):
    """A campaign of that name exists with other messages, sender or mode."""


class CampaignStateError(TocsinError):
    """The campaign is paused, cancelled or finished, and the call does not fit that state."""


class BalanceOpenError(TocsinError):
    """The campaign still owes tellings, so it cannot be finished."""


class BalanceError(TocsinError):
    """The book does not add up: tellings were added or lost outside the dispatcher."""


class AdapterError(ConfigError):
    """An adapter is misconfigured, missing, or not allowed in this mode."""


class ReceiptError(VerificationError):
    """A dispatch receipt does not prove what it claims."""
