"""From what a provider answered to what happens next. Pure; randomness comes in as bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from notifiers.adapters import UNREACHABLE, Outcome

REPEATED_FREELY: Final = frozenset({"email", "push"})
"""Channels where a second copy after an unknown outcome does less harm than none at all."""

BASE_S: Final = 30
CAP_S: Final = 3600
ATTEMPTS: Final = 20
"""With waits growing to an hour this is most of a day of trying before the next rung is taken."""


@dataclass(frozen=True)
class Next:
    """What becomes of the step.

    Attributes:
        state: its next state.
        reason: code for the book.
        wait_s: seconds until a due step may be tried again.
        halt: stop this channel: the fault is ours or the provider's, not the addressee's.
    """

    state: str
    reason: str = ""
    wait_s: int = 0
    halt: bool = False


def decide(
    outcome: Outcome, *, channel: str, attempts: int, deduplicates: bool, entropy: Callable[[int], bytes]
) -> Next:
    """The next state of a step.

    Args:
        outcome: what the adapter reported.
        channel: on which channel.
        attempts: attempts made before this one.
        deduplicates: whether the provider drops repeats by id.
        entropy: gives n random bytes, for jitter.
    """
    match outcome.kind:
        case "handed_over" | "delivered":
            return Next(outcome.kind, outcome.reason)
        case "address":
            return Next("failed", outcome.reason)
        case "ours":
            # Nobody becomes undeliverable through our fault: the step waits until we have mended it.
            return Next("due", outcome.reason, backoff(attempts, entropy), halt=True)
        case "unknown" if channel not in REPEATED_FREELY and not deduplicates:
            return Next("unknown", outcome.reason)
    if attempts + 1 >= ATTEMPTS and outcome.reason != UNREACHABLE:
        return Next("unknown" if outcome.kind == "unknown" else "failed", outcome.reason)
    wait = backoff(attempts, entropy) if outcome.retry_after is None else min(outcome.retry_after, CAP_S)
    return Next("due", outcome.reason, wait)


def backoff(attempts: int, entropy: Callable[[int], bytes]) -> int:
    """Seconds to wait: full jitter over an interval that doubles from `BASE_S` to `CAP_S`, at least one."""
    interval = min(CAP_S, BASE_S << min(attempts, 16))
    return 1 + int.from_bytes(entropy(4), "big") % interval
