"""What can go wrong between a log and its witnesses."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from ledger.errors import StoreError, TocsinError, VerificationError

if TYPE_CHECKING:
    from ledger.witness.evidence import Evidence


class Verdict(IntEnum):
    """Why a witness does not cosign; the value is the HTTP status of C2SP tlog-witness."""

    MALFORMED = 400
    UNTRUSTED = 403
    UNKNOWN_LOG = 404
    STALE = 409
    INCONSISTENT = 422


class RefusedError(TocsinError):
    """A witness does not cosign what was submitted; its state is as it was before.

    Attributes:
        verdict: the reason, one of the specification's.
        size: with `STALE`, the size the witness last cosigned (0 if it never did).
        forked: the log signed two different roots for one size, so its key has signed a fork.
    """

    def __init__(self, verdict: Verdict, message: str, *, size: int | None = None, forked: bool = False) -> None:
        super().__init__(message)
        self.verdict = verdict
        self.size = size
        self.forked = forked


class ClockError(TocsinError):
    """The clock stands before the newest cosignature; a witness must not date a new one earlier."""


class WitnessError(TocsinError):
    """A witness did not cosign: unreachable, refusing, or its answer does not verify."""


class StaleError(WitnessError):
    """The witness last cosigned another size than the proof starts from.

    Attributes:
        size: the size it says it last cosigned.
    """

    def __init__(self, message: str, *, size: int) -> None:
        super().__init__(message)
        self.size = size


class AnchorOverdueError(StoreError):
    """More of the log than the budget allows has no quorum of witnesses; nothing is accepted meanwhile."""


class HaltedError(StoreError):
    """Evidence that this log was forked or shortened is unsettled; nothing is accepted until somebody looked."""


class RolledBackError(StoreError):
    """Witnesses have cosigned a longer log than this server holds: an old backup, or lost entries."""


class EquivocationError(VerificationError):
    """Two signed views of one log contradict each other, or a witness says so.

    Attributes:
        evidence: both checkpoints and the proof; `evidence.proven` says whether it convicts by itself.
    """

    def __init__(self, message: str, evidence: Evidence) -> None:
        super().__init__(message)
        self.evidence = evidence
