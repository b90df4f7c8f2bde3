"""An audit ledger that a stranger can check."""

from ledger.access import Access, Criteria
from ledger.entries import Entry, StoredEntry
from ledger.exchange import OwnEvent, Receipt
from ledger.ledger import Ledger

__all__ = ["Access", "Criteria", "Entry", "Ledger", "OwnEvent", "Receipt", "StoredEntry"]
