"""What can be wrong with a report, and with an index."""

from __future__ import annotations

from ledger.errors import StoreError, VerificationError


class ReportError(VerificationError):
    """A report does not prove what it claims."""


class MalformedReportError(ReportError):
    """The file is not a completeness report, or one of another version."""


class AlreadySealedError(StoreError):
    """The root of this size is in the log already."""
