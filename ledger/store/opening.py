"""Opening a store by where it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ledger.config import DATABASE, Config
from ledger.errors import ConfigError
from ledger.keys import read_key
from ledger.store.database import Database
from ledger.store.sqlite import SqliteDatabase


def open_store(config: Config, directory: Path, *, create: bool = False) -> Database:
    """The store that a ledger's configuration names: a PostgreSQL server, or else the file beside it.

    Raises:
        ConfigError: the store's url is malformed or cannot be had, or its driver is not installed.
        StoreError: it cannot be opened.
    """
    if config.store is None:
        return SqliteDatabase(directory / DATABASE, create=create)
    url = config.store.url
    if not url.startswith(("postgresql://", "postgres://")):
        url = read_key(url, directory)
    return _postgres(url, config.store.schema, create=create)


def reopen(address: Any) -> Database:
    """Open the store with this `Database.address` once more, such as in another process."""
    if isinstance(address, Path):
        return SqliteDatabase(address)
    return _postgres(address.url, address.schema, create=False)


def _postgres(url: str, schema: str, *, create: bool) -> Database:
    try:
        from ledger.store.postgres import Address, PostgresDatabase
    except ImportError:
        raise ConfigError(
            "The configuration names a PostgreSQL store, but its driver is not installed: "
            "pip install 'tocsin[postgres]'."
        ) from None
    return PostgresDatabase(Address(url, schema), create=create)
