"""What came of a flush of messages: receipts, next states, the book and the log entry, in one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ledger import Ledger, OwnEvent
from ledger.encoding import format_time
from ledger.store.connection import Connection
from notifiers import claims, outbox
from notifiers.adapters import Outcome, scrub
from notifiers.claims import Result
from notifiers.contacts import Address
from notifiers.identity import address_fingerprint, person_fingerprint
from notifiers.outbox import Campaign, Claimed, milliseconds
from notifiers.outcomes import Next
from notifiers.prepare import Prepared, Refused
from notifiers.receipts import RECORDED, SALT_SIZE, block_root, make_leaf

HALTED: Final = "org.tocsin.dispatch.halted.v1"


@dataclass(frozen=True)
class Done:
    """A finished attempt on its way to the recorder."""

    step: Claimed
    prepared: Prepared | Refused
    outcome: Outcome
    kind: str
    next: Next
    started: datetime
    finished: datetime


@dataclass(frozen=True)
class Halt:
    """A channel that was stopped, and why."""

    channel: str
    provider: str
    reason: str


@dataclass(frozen=True)
class Recorder:
    """Writes results of one run.

    Attributes:
        ledger: where the outbox and the log are.
        campaign: its row.
        owner: lease owner of this run.
        providers: channel -> name of the provider.
        clock: gives the present, aware.
        entropy: gives n random bytes, for salts.
    """

    ledger: Ledger
    campaign: Campaign
    owner: str
    providers: Mapping[str, str]
    clock: Callable[[], datetime]
    entropy: Callable[[int], bytes]

    def write(self, finished: Sequence[Done], halts: Sequence[Halt]) -> bool:
        """Write attempts and halts, with one log entry for all attempts.

        Returns:
            Whether the campaign is still open.

        Raises:
            StoreError: the database refused; nothing of these results was kept.
        """
        campaign = self.campaign
        now = self.clock()
        results = [self._result(done, now) for done in finished]
        root = block_root([result.leaf for result in results]).hex()
        data = {
            "campaign": campaign.campaign,
            "count": len(results),
            "mode": campaign.mode,
            "outcomes": dict(Counter(result.outcome for result in results)),
            "root": root,
        }
        events = [OwnEvent(RECORDED, data, correlation=campaign.incident)] + [
            OwnEvent(
                HALTED,
                {
                    "campaign": campaign.campaign,
                    "channel": halt.channel,
                    "provider": halt.provider,
                    "reason": halt.reason,
                },
                correlation=campaign.incident,
            )
            for halt in halts
        ]

        states: list[str] = []

        def also(connection: Connection, indices: Sequence[int]) -> None:
            claims.record(
                connection,
                campaign.campaign,
                results,
                root=root,
                entry=indices[0],
                owner=self.owner,
                now=milliseconds(now),
            )
            states[:] = [outbox.load(connection, campaign.campaign).state]

        self.ledger.record(events, also)
        return states == ["open"]

    def _result(self, done: Done, now: datetime) -> Result:
        step, prepared = done.step, done.prepared
        key = self.campaign.key
        repeated = step.claims > 1
        address: Address | None
        if isinstance(prepared, Prepared):
            address, message_id = prepared.outgoing.address, prepared.outgoing.id
            provider = self.providers[step.channel]
        else:
            address, message_id, provider = prepared.address, "", ""
        leaf = make_leaf(
            {
                "address_fp": None if address is None else address_fingerprint(key, step.channel, address),
                "attempt": step.attempts + 1,
                "campaign": self.campaign.campaign,
                "channel": step.channel,
                "finished": format_time(done.finished),
                "language": prepared.message.language,
                "message_id": message_id,
                "mode": self.campaign.mode,
                "notice": prepared.message.content_hash,
                "outcome": done.kind,
                "person_fp": person_fingerprint(key, step.person),
                "possibly_repeated": repeated,
                "provider": provider,
                "reason": done.next.reason,
                "reply": scrub(done.outcome.reply, address or ""),
                "sha256": done.outcome.sha256,
                "started": format_time(done.started),
                "step": step.step,
            },
            self.entropy(SALT_SIZE),
        )
        not_before = milliseconds(now + timedelta(seconds=done.next.wait_s))
        return Result(step, done.kind, done.next.state, done.next.reason, not_before, leaf, repeated)
