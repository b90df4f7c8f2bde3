"""Every error Tocsin raises on purpose.

One root, `TocsinError`; a caller that catches it never sees a bare `ValueError` or `sqlite3.Error`
from a parser or the store. Each message says what went wrong, where (file, line, field) and what to
do next. No message repeats submitted data: an error may end up in a log that outlives the data.
"""

from __future__ import annotations


class TocsinError(Exception):
    """Root of all errors raised on purpose."""


class VerificationError(TocsinError):
    """Something presented as evidence does not prove what it claims."""


class ProofError(VerificationError):
    """An inclusion or consistency proof is malformed or does not lead to the root."""


class NoteError(VerificationError):
    """A signed note or checkpoint is malformed, or no known key verifies it."""


class PolicyError(VerificationError):
    """A policy is malformed, or the evidence does not satisfy it."""


class InputError(TocsinError):
    """Submitted data was refused; nothing of it was written.

    Attributes:
        field: JSON Pointer (RFC 6901) of the offending part, "" for the whole.
    """

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class EventError(InputError):
    """An event is malformed.

    Attributes:
        index: position of the event in the submitted batch, from 0.
    """

    def __init__(self, message: str, *, field: str = "", index: int = 0) -> None:
        super().__init__(message, field=field)
        self.index = index


class EventConflictError(EventError):
    """The same (source, id) was recorded before with other content."""


class ConfigError(TocsinError):
    """The data directory or its configuration cannot be used as it is."""


class KeyMismatchError(ConfigError):
    """A key file does not belong to this ledger."""


class StoreError(TocsinError):
    """The database refused; nothing of the failed write was kept."""


class StoreBusyError(StoreError):
    """Another process holds the database; the same call may be repeated."""


class UnknownOutcomeError(StoreBusyError):
    """The store was lost while it committed: what was to be written is there whole, or not at all.

    Producers' events may be sent again: what was recorded gets its first receipt.
    """


class OverloadedError(StoreError):
    """More is waiting to be written than the ledger takes; nothing was queued, the same call may be repeated."""


class StoreFullError(StoreError):
    """The disk or the database is full."""


class StoreDamagedError(StoreError):
    """The database cannot be read as a Tocsin ledger."""


class NotFoundError(TocsinError):
    """What was asked for is not in this ledger."""


class ErasedError(TocsinError):
    """The content existed and was erased; its commitment and proofs remain."""


class ErasedIdentityError(ErasedError, NotFoundError):
    """The vault knew who this ref is until that person was erased."""
