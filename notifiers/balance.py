"""The book of what is owed: every telling is in exactly one of five columns, at all times.

    owed = queued + handed_over + delivered + failed + excluded

A *telling* (campaign, person, addressee) is owed once; the *steps* under it are attempts over channels
and addresses. One successful step settles the telling, so the columns count people told, not messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from notifiers.errors import BalanceError

StepState = Literal[
    "due", "leased", "handed_over", "delivered", "failed", "expired", "cancelled", "unknown", "excluded"
]
"""Where one step stands.

due: to be sent, once `not_before` has come. leased: a worker has it.
handed_over: the provider took responsibility. delivered: the provider says it arrived.
failed: a permanent refusal of this address. expired: `not_after` passed first.
cancelled: somebody stopped the campaign. unknown: it may have gone out and is not repeated by itself.
excluded: the addressee was erased after planning.
"""

TellingState = Literal["queued", "handed_over", "delivered", "failed", "excluded"]
STEP_STATES: Final[tuple[str, ...]] = get_args(StepState)
TELLING_STATES: Final[tuple[str, ...]] = get_args(TellingState)
OPEN_STEPS: Final = frozenset({"due", "leased"})
DEAD_STEPS: Final = frozenset({"failed", "expired", "unknown"})


@dataclass(frozen=True)
class Step:
    """One step as the book sees it."""

    channel: str
    step: int
    state: str
    reason: str = ""


@dataclass(frozen=True)
class Entry:
    """The column a telling stands in: state, the channel that settled it, and why."""

    state: TellingState
    channel: str = ""
    reason: str = ""


def settle(steps: Iterable[Step]) -> Entry:
    """Which column a telling with these steps stands in.

    The best thing that happened counts: delivered over handed over over still open. A telling none of
    whose steps is open or taken has failed, unless it was excluded or cancelled.
    """
    known = list(steps)
    for state in ("delivered", "handed_over"):
        for step in known:
            if step.state == state:
                return Entry("delivered" if state == "delivered" else "handed_over", step.channel)
    for step in known:
        if step.state in OPEN_STEPS:
            return Entry("queued", step.channel, step.reason)
    for step in known:
        if step.state in ("excluded", "cancelled"):
            return Entry("excluded", step.channel, step.reason or step.state)
    if not known:
        return Entry("excluded", "", "no_contact_details")
    last = known[-1]
    return Entry("failed", last.channel, last.reason or last.state)


@dataclass(frozen=True)
class Line:
    """How many tellings stand in one column for one channel and reason."""

    state: TellingState
    channel: str
    reason: str
    count: int


@dataclass(frozen=True)
class Balance:
    """The book of one campaign.

    Attributes:
        campaign: its name.
        owed: tellings planned; counted when they were planned, not when the book is read.
        lines: the columns, split by channel and reason.
        possibly_repeated: tellings whose addressee may have got more than one copy.
        messages: steps per (channel, state): messages, not people.
    """

    campaign: str
    owed: int
    lines: tuple[Line, ...] = ()
    possibly_repeated: int = 0
    messages: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def _total(self, state: str) -> int:
        return sum(line.count for line in self.lines if line.state == state)

    @property
    def queued(self) -> int:
        """Tellings with a step still due or in a worker's hands."""
        return self._total("queued")

    @property
    def handed_over(self) -> int:
        """Tellings a provider took responsibility for."""
        return self._total("handed_over")

    @property
    def delivered(self) -> int:
        """Tellings a provider says arrived."""
        return self._total("delivered")

    @property
    def failed(self) -> int:
        """Tellings for which every step was refused, expired or ended unknown."""
        return self._total("failed")

    @property
    def excluded(self) -> int:
        """Tellings that could not or must not be made, each with its reason."""
        return self._total("excluded")

    @property
    def open_messages(self) -> int:
        """Steps still due or in a worker's hands; a told person may have a second mailbox waiting."""
        return sum(count for (_, state), count in self.messages.items() if state in OPEN_STEPS)

    @property
    def closed(self) -> bool:
        """Whether nothing is left to do: only then may the campaign be called finished."""
        return self.queued == 0 and self.open_messages == 0

    def check(self) -> None:
        """Prove that the book adds up.

        Raises:
            BalanceError: the columns do not sum to what was planned.
        """
        total = sum(line.count for line in self.lines)
        if total != self.owed:
            raise BalanceError(
                f"Campaign {self.campaign}: {self.owed} tellings are owed but {total} are on the book; "
                "rows were added or removed outside the dispatcher. Restore the database or open a new campaign."
            )

    def by_channel(self) -> dict[str, dict[str, int]]:
        """Channel -> state -> tellings; channel "" holds those that never had one."""
        table: dict[str, dict[str, int]] = {}
        for line in self.lines:
            row = table.setdefault(line.channel, {})
            row[line.state] = row.get(line.state, 0) + line.count
        return table

    def by_reason(self, state: str) -> dict[str, int]:
        """Reason -> tellings, for one column."""
        table: dict[str, int] = {}
        for line in self.lines:
            if line.state == state:
                table[line.reason] = table.get(line.reason, 0) + line.count
        return table

    def as_json(self) -> dict[str, Any]:
        """The whole book as JSON values, ready for an event, a report or `--json`."""
        return {
            "by_channel": {channel or "none": row for channel, row in sorted(self.by_channel().items())},
            "campaign": self.campaign,
            "closed": self.closed,
            "delivered": self.delivered,
            "excluded": self.excluded,
            "excluded_by_reason": self.by_reason("excluded"),
            "failed": self.failed,
            "failed_by_reason": self.by_reason("failed"),
            "handed_over": self.handed_over,
            "messages": {f"{channel}/{state}": count for (channel, state), count in sorted(self.messages.items())},
            "owed": self.owed,
            "possibly_repeated": self.possibly_repeated,
            "queued": self.queued,
        }
