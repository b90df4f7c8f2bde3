"""The sink: accepts everything and sends nothing; the only adapter a drill ever sees."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from notifiers.adapters import Capabilities, Outcome, Outgoing
from notifiers.messages import Channel


@dataclass(eq=False)
class SinkAdapter:
    """Takes messages of one channel and drops them.

    Attributes:
        channel: which channel it stands for.
        taken: how many it took.
        on_message: sees each message, for tests and for the drill's own display.
    """

    channel: Channel
    taken: int = 0
    on_message: Callable[[Outgoing], None] | None = None

    @property
    def provider(self) -> str:
        """Says plainly that nobody was told."""
        return f"simulated:{self.channel}"

    @property
    def capabilities(self) -> Capabilities:
        """No limits; reaches nobody."""
        return Capabilities(batch=100, concurrency=4, deduplicates=True, reaches_people=False)

    async def send(self, batch: Sequence[Outgoing]) -> Sequence[Outcome]:
        """Pretend."""
        for message in batch:
            self.taken += 1
            if self.on_message is not None:
                self.on_message(message)
        return [
            Outcome("handed_over", "simulated", "simulated", hashlib.sha256(message.content).hexdigest())
            for message in batch
        ]

    async def close(self) -> None:
        """Nothing to close."""
