"""Change of the vault's key-encryption key.

There is one point at which the new key takes over: the commit of the transaction that wraps every data
key anew, names the new key in the vault's own state, and appends the event. Before it, the old key opens
the vault; after it, the new one, whatever `tocsin.toml` still says: the vault knows where its key is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ledger.config import read_config, write_config
from ledger.errors import ConfigError
from ledger.exchange import OwnEvent
from ledger.forgetting.events import KEY_ROTATED
from ledger.forgetting.wiping import wiping_of
from ledger.keys import KEK_SIZE, encode_kek, fsync_directory, key_id, load_kek, write_key
from ledger.store.connection import Connection
from ledger.store.database import BUSY_TIMEOUT_S

if TYPE_CHECKING:
    from ledger.ledger import Ledger

_FILE = "file:"


@dataclass(frozen=True, slots=True)
class Rotated:
    """A changed vault key.

    Attributes:
        index: leaf index of the event; None when the vault was under that key already.
        old, new: ids of the keys.
        uri: where the new key is.
        old_uri: where the old one still is.
        keys: how many keys were wrapped anew.
    """

    index: int | None
    old: str
    new: str
    uri: str
    old_uri: str
    keys: int

    def as_json(self) -> dict[str, Any]:
        """The result as JSON values."""
        names = ("index", "old", "new", "uri", "old_uri", "keys")
        return {name: getattr(self, name) for name in names}


def rotate_vault(ledger: Ledger, uri: str, *, by: str) -> Rotated:
    """Wrap every data key under the key behind `uri`; the old key file stays.

    A `file:` that does not exist yet is made with a fresh key. Repeating an interrupted call completes it.

    Raises:
        ConfigError: the new key cannot be read or made.
        StoreFullError: the disk has no room to write the store anew; nothing was changed.
        StoreDamagedError: a data key does not open under the old key; nothing was changed.
    """
    old_uri = read_config(ledger.directory).vault_key
    kek = _new_key(ledger, uri)
    rotated: list[Rotated] = []
    wiping = wiping_of(ledger.database)
    wiping.check_room()

    def decide(connection: Connection, first: int) -> Sequence[OwnEvent]:
        rotated.clear()
        old, new = ledger.vault.key, key_id(kek)
        if old == new:
            rotated.append(Rotated(None, old, new, uri, old_uri, 0))
            return []
        count = ledger.vault.rewrap(connection, kek, uri)
        rotated.append(Rotated(first, old, new, uri, old_uri, count))
        data = {"purpose": "vault", "algorithm": "AES-256-GCM", "old": old, "new": new, "keys": count, "by": by}
        return [OwnEvent(KEY_ROTATED, data)]

    ledger.decide(decide)
    # From here on the old key is not needed any more; the configuration only catches up.
    config = read_config(ledger.directory)
    if config.vault_key != uri:
        write_config(ledger.directory, replace(config, vault_key=uri))
    # Old pages of the file still hold the data keys under the old key, which may be why it is changed.
    wiping.rewrite(timeout_s=BUSY_TIMEOUT_S)
    return rotated[0]


def drop_key(ledger: Ledger, uri: str) -> bool:
    """Delete a key file that the vault no longer needs; False where it is no file, or is gone already.

    Raises:
        ConfigError: the vault is still under that key, or the file cannot be deleted.
    """
    config = read_config(ledger.directory)
    if not uri.startswith(_FILE):
        return False
    path = _path(ledger, uri)
    if not path.exists():
        return False
    if uri == config.vault_key or key_id(load_kek(uri, ledger.directory)) == ledger.vault.key:
        raise ConfigError(f"The vault is still under the key in {path}; change it before you drop that key.")
    try:
        path.unlink()
        fsync_directory(path.parent)
    except OSError as error:
        raise ConfigError(f"The key file {path} cannot be deleted: {error.strerror}.") from None
    return True


def _new_key(ledger: Ledger, uri: str) -> bytes:
    if uri.startswith(_FILE) and not _path(ledger, uri).exists():
        write_key(_path(ledger, uri), encode_kek(ledger.entropy(KEK_SIZE)))
    return load_kek(uri, ledger.directory)


def _path(ledger: Ledger, uri: str) -> Path:
    return ledger.directory / uri.removeprefix(_FILE)
