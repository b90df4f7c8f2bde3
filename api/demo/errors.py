"""What can go wrong in the demo itself."""

from __future__ import annotations

from ledger.errors import TocsinError


class DemoError(TocsinError):
    """The demo did not see what it should have seen; the product is at fault and the run says where."""
