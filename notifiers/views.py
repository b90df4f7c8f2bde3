"""What callers are shown of a campaign: where it stands, and how a run of it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from notifiers.balance import Balance


@dataclass(frozen=True)
class Status:
    """Where a campaign stands.

    Attributes:
        campaign, incident: names.
        mode: "live" or "drill".
        state: "open", "paused", "cancelled" or "finished".
        reason: why it is paused or cancelled; "" otherwise.
        balance: the book.
    """

    campaign: str
    incident: str
    mode: str
    state: str
    reason: str
    balance: Balance

    def as_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "balance": self.balance.as_json(),
            "campaign": self.campaign,
            "incident": self.incident,
            "mode": self.mode,
            "reason": self.reason,
            "state": self.state,
        }


@dataclass(frozen=True)
class Report:
    """How a run ended.

    Attributes:
        campaign: its name.
        state: "open", "paused", "cancelled" or "finished".
        balance: the book at the end.
        halted: channel -> reason code, for channels that were stopped.
        problems: the same and anything else that needs a person, in words.
    """

    campaign: str
    state: str
    balance: Balance
    halted: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
