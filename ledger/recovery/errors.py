"""What can go wrong with backups, restored copies and changes of the signing key."""

from __future__ import annotations

from ledger.errors import StoreError, TocsinError, VerificationError


class UnconfirmedCopyError(StoreError):
    """This directory was restored from a backup and nobody has confirmed that it may go on."""


class BackupError(TocsinError):
    """A backup could not be taken, or a restoration may not go on; nothing was left under the final name."""


class BackupDamagedError(VerificationError):
    """A backup file is not what its manifest signs."""


class RotationError(VerificationError):
    """A change of the signing key is not vouched for by both keys."""


class MirrorError(VerificationError):
    """Published tiles are not what the log signed, or not of this log, or not enough of them; nothing was changed."""


class MirrorUnreachableError(TocsinError):
    """Published tiles cannot be had from where they should be; nothing was changed."""
