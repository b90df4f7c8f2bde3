"""What can go wrong between a worker and the sequencer."""

from __future__ import annotations

from ledger.errors import ConfigError, StoreBusyError, StoreError


class FrameError(StoreError):
    """What came over the socket is no frame of this protocol; the connection is closed."""


class SequencerAwayError(StoreBusyError):
    """The sequencer does not answer; it is not known whether the events were recorded. Sending them again is safe."""


class SequencerMismatchError(ConfigError):
    """The socket leads to the sequencer of another ledger, of another user or of another version."""


class LeadLostError(StoreBusyError):
    """This process leads no more: the lock was taken from it while it was running."""
