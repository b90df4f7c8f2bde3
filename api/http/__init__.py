"""The HTTP side: `create_app` makes the whole application over one ledger."""

from api.http.app import create_app
from api.http.guard import Access

__all__ = ["Access", "create_app"]
