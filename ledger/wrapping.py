"""Wrapping: the data keys of the vault under the key-encryption key, and how that key is changed.

The key may be changed by one process while others run. So the vault's own state names the key (by id, and
by the URI it is found behind), and whoever meets a data key that does not open looks there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ledger.encoding import canonical, parse
from ledger.errors import InputError, KeyMismatchError, StoreDamagedError, StoreError
from ledger.keys import key_id
from ledger.store.connection import Connection

STATE: Final = "vault.state"
"""Row of `meta` that is there once somebody was erased or the key was changed, and is another after each
of these: by it every process notices that what it remembers is out of date."""

MOVED_TO: Final = "moved"
"""Row of `meta` that is there once the ledger was moved into another store: names that one. Nothing is written
here any more, or there would be two logs of one name; see `ledger.recovery.moving`."""

_NONCE: Final = 12
_TAG: Final = 16


@dataclass(frozen=True, slots=True)
class State:
    """How many were erased, and under which key (id, and URI to find it by) the data keys are wrapped.

    `key` and `uri` are "" while it is the key that the vault was made with.
    """

    erasures: int = 0
    key: str = ""
    uri: str = ""

    @classmethod
    def read(cls, connection: Connection) -> State:
        """The state in this snapshot.

        Raises:
            StoreDamagedError: the row is not what was written.
            StoreError: the ledger was moved, and this is what it left behind.
        """
        # One question for both, because every write transaction begins with it.
        found = dict(
            connection.execute("SELECT name, value FROM meta WHERE name IN (?, ?)", (STATE, MOVED_TO)).fetchall()
        )
        if MOVED_TO in found:
            where = bytes(found[MOVED_TO]).decode("utf-8", "replace")
            raise StoreError(
                f"This ledger was moved to {where}; nothing was written here. Put the tocsin.toml in place that "
                "`tocsin move` wrote, and start this program again."
            )
        if STATE not in found:
            return cls()
        try:
            value = parse(found[STATE])
            return cls(int(value["erasures"]), str(value["key"]), str(value["uri"]))
        except (InputError, KeyError, TypeError, ValueError):
            raise StoreDamagedError("The row that holds the state of the vault is damaged.") from None

    def write(self, connection: Connection) -> None:
        """Make this the state."""
        value = canonical({"erasures": self.erasures, "key": self.key, "uri": self.uri})
        connection.execute(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (STATE, value)
        )


class Sealer:
    """AES-256-GCM as the vault uses it: nonce (12 bytes) || ciphertext and tag.

    Args:
        origin: the log's name, bound into every ciphertext as associated data.
        entropy: gives n random bytes.
    """

    def __init__(self, origin: str, entropy: Callable[[int], bytes]) -> None:
        self._origin = origin.encode()
        self._entropy = entropy

    def seal(self, cipher: AESGCM, plain: bytes, context: bytes) -> bytes:
        """Encrypt; `context` is bound as associated data too."""
        nonce = self._entropy(_NONCE)
        return nonce + cipher.encrypt(nonce, plain, self._origin + b"\0" + context)

    def seal_each(self, items: Iterable[tuple[AESGCM, bytes, bytes]]) -> list[bytes]:
        """`seal` of several (cipher, plain, context); their nonces are drawn at once."""
        work = list(items)
        drawn = self._entropy(_NONCE * len(work))
        nonces = [drawn[start : start + _NONCE] for start in range(0, len(drawn), _NONCE)]
        prefix = self._origin + b"\0"
        return [
            nonce + cipher.encrypt(nonce, plain, prefix + context)
            for nonce, (cipher, plain, context) in zip(nonces, work, strict=True)
        ]

    def open(self, cipher: AESGCM, sealed: object, context: bytes) -> bytes:
        """Decrypt.

        Raises:
            InvalidTag: another key, another context, or altered; a damaged file can give any type.
        """
        if not isinstance(sealed, bytes) or len(sealed) < _NONCE + _TAG:
            raise InvalidTag
        return cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], self._origin + b"\0" + context)


class Wrapping:
    """The key-encryption key in use.

    Args:
        kek: 32 bytes.
        sealer: does the encryption.
        load: gives the key behind a URI.

    Attributes:
        id: name of the key in use, see `ledger.keys.key_id`.
    """

    def __init__(self, kek: bytes, sealer: Sealer, load: Callable[[str], bytes]) -> None:
        self._sealer = sealer
        self._load = load
        self._first = self.id = key_id(kek)
        self._kek = AESGCM(kek)
        self._keks = {self.id: self._kek}

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """Encrypt a key under the key in use."""
        return self._sealer.seal(self._kek, key, context)

    def wrap_each(self, items: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
        """`wrap` of several (key, context)."""
        return self._sealer.seal_each((self._kek, key, context) for key, context in items)

    def unwrap(self, connection: Connection, sealed: object, context: bytes) -> bytes:
        """Decrypt a key.

        Raises:
            InvalidTag: it was altered or moved.
            KeyMismatchError: it is wrapped under a key that cannot be had.
        """
        kek = self._kek
        try:
            return self._sealer.open(kek, sealed, context)
        except InvalidTag:
            # This snapshot may be from before or after a change of the key that was not noticed yet.
            other = self._kek_of(State.read(connection))
            if other is kek:
                raise
            return self._sealer.open(other, sealed, context)

    def follow(self, state: State) -> None:
        """Use the key that the state names.

        Raises:
            KeyMismatchError: it cannot be had.
        """
        self._kek = self._kek_of(state)
        self.id = state.key or self._first

    def change(self, connection: Connection, kek: bytes, uri: str) -> int:
        """Wrap all data keys and the vault's own keys under another key, and use it from now on.

        Call inside a write transaction; when that is undone, `follow` turns back.

        Returns:
            How many keys there were.

        Raises:
            StoreDamagedError: a key does not open under the present one.
        """
        new, count, last = AESGCM(kek), 0, ""
        for name in OWN_KEYS:
            row = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
            sealed = self._again(connection, new, row["value"], name.encode(), name)
            connection.execute("UPDATE meta SET value = ? WHERE name = ?", (sealed, name))
            count += 1
        while rows := connection.execute(
            "SELECT ref, data_key FROM vault WHERE ref > ? ORDER BY ref LIMIT 1000", (last,)
        ).fetchall():
            changed = [
                (self._again(connection, new, row["data_key"], key_context(row["ref"]), row["ref"]), row["ref"])
                for row in rows
            ]
            connection.executemany("UPDATE vault SET data_key = ? WHERE ref = ?", changed)
            count, last = count + len(rows), rows[-1]["ref"]
        replace(State.read(connection), key=key_id(kek), uri=uri).write(connection)
        self.id = key_id(kek)
        self._keks[self.id] = self._kek = new
        return count

    def _again(self, connection: Connection, new: AESGCM, sealed: object, context: bytes, what: str) -> bytes:
        try:
            return self._sealer.seal(new, self.unwrap(connection, sealed, context), context)
        except InvalidTag:
            raise StoreDamagedError(f"The key {what} of the vault does not open: it was altered.") from None

    def _kek_of(self, state: State) -> AESGCM:
        """The key that the data keys are wrapped under in this state."""
        wanted = state.key or self._first
        if wanted not in self._keks:
            kek = self._load(state.uri)
            if key_id(kek) != wanted:
                raise KeyMismatchError(
                    f"The vault key behind {state.uri} is not the one this vault was last wrapped under. "
                    "Put back the key that `tocsin keys rotate-vault` made."
                )
            self._keks[wanted] = AESGCM(kek)
        return self._keks[wanted]


OWN_KEYS: Final = ("vault.lookup", "vault.shared")
"""Rows of `meta` that hold the vault's own keys, wrapped."""


def key_context(ref: str) -> bytes:
    """What binds a wrapped data key to its row."""
    return b"key/" + ref.encode()
