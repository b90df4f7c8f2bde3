"""The vault: who the pseudonyms are, and what was sealed about them.

A row maps a keyed hash of (kind, identity) to a random pseudonym (*ref*), a data key of its own
(AES-256-GCM under the key-encryption key) and a sealed profile. Details of an event are sealed under
a key derived from the data keys of all its subjects, so destroying one row makes them unreadable.

Refs start with a letter for their kind: `s_` data subject, `a_` actor or credential, `n_` network
address. They are random: without the vault nothing leads back.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ledger.encoding import canonical, parse
from ledger.errors import ErasedError, KeyMismatchError, NotFoundError, StoreDamagedError
from ledger.store.database import Database

Kind = Literal["subject", "actor", "network"]

KEY_SIZE: Final = 32
_NONCE: Final = 12
_TAG: Final = 16
_PREFIX: Final[dict[Kind, str]] = {"subject": "s", "actor": "a", "network": "n"}
_CACHE: Final = 20_000
REF: Final = re.compile(r"[san]_[a-z2-7]{26}", re.ASCII)
"""The form of a ref: kind letter, underscore, 128 random bits in lower-case base32."""


class Vault:
    """Pseudonyms, sealed profiles and sealed details of one ledger.

    Args:
        database: where the rows are.
        kek: 32-byte key-encryption key.
        origin: bound into every ciphertext as associated data.
        entropy: gives n random bytes.
    """

    def __init__(
        self,
        database: Database,
        kek: bytes,
        origin: str,
        entropy: Callable[[int], bytes],
    ) -> None:
        self._database = database
        self._kek = AESGCM(kek)
        self._origin = origin.encode()
        self._entropy = entropy
        self._lookup_key = b""
        self._shared_key = b""
        # Only what is committed may be cached, see `forget`.
        self._refs: OrderedDict[bytes, str] = OrderedDict()
        self._keys: OrderedDict[str, bytes] = OrderedDict()

    def initialise(self, connection: sqlite3.Connection) -> None:
        """Make the vault's own keys if this is a new ledger; safe to repeat."""
        for name in ("vault.lookup", "vault.shared"):
            sealed = self._seal(self._kek, self._entropy(KEY_SIZE), name.encode())
            connection.execute("INSERT INTO meta VALUES (?, ?) ON CONFLICT DO NOTHING", (name, sealed))

    def unlock(self, key_uri: str) -> None:
        """Open the vault's own keys.

        Raises:
            KeyMismatchError: the key-encryption key is not the one this vault was made with.
        """
        with self._database.read() as connection:
            rows = dict(
                connection.execute("SELECT name, value FROM meta WHERE name LIKE 'vault.%'").fetchall(),
            )
        try:
            self._lookup_key = self._open(self._kek, rows["vault.lookup"], b"vault.lookup")
            self._shared_key = self._open(self._kek, rows["vault.shared"], b"vault.shared")
        except (KeyError, InvalidTag):
            raise KeyMismatchError(
                f"The vault key behind {key_uri} does not open this ledger's vault. "
                "Put back the key that was made with this ledger.",
            ) from None

    def refer(
        self,
        connection: sqlite3.Connection,
        kind: Kind,
        identity: str,
        profile: dict[str, Any] | None = None,
    ) -> str:
        """The pseudonym of an identity, made when there is none; call inside a write transaction.

        Args:
            connection: the write transaction.
            kind: what the identity names.
            identity: the producer's own id, account name or address.
            profile: what to keep about it, sealed, with `id` set to the identity; None keeps what is
                there (at first the `id` alone).
        """
        if profile is not None:
            profile = {**profile, "id": identity}
        lookup = self.lookup(kind, identity)
        ref = self._refs.get(lookup)
        if ref is None:
            row = connection.execute("SELECT ref FROM vault WHERE lookup = ?", (lookup,)).fetchone()
            if row is not None:
                ref = str(row["ref"])
                _remember(self._refs, lookup, ref)
        if ref is None:
            return self._create(connection, kind, lookup, profile or {"id": identity})
        if profile is not None:
            sealed = self._seal_profile(self._data_key(connection, ref), ref, profile)
            connection.execute("UPDATE vault SET profile = ? WHERE ref = ?", (sealed, ref))
        return ref

    def _create(self, connection: sqlite3.Connection, kind: Kind, lookup: bytes, profile: dict[str, Any]) -> str:
        ref = f"{_PREFIX[kind]}_{base64.b32encode(self._entropy(16)).decode().rstrip('=').lower()}"
        key = self._entropy(KEY_SIZE)
        connection.execute(
            "INSERT INTO vault (ref, kind, lookup, data_key, profile) VALUES (?, ?, ?, ?, ?)",
            (
                ref,
                kind,
                lookup,
                self._seal(self._kek, key, b"key/" + ref.encode()),
                self._seal_profile(key, ref, profile),
            ),
        )
        _remember(self._refs, lookup, ref)
        _remember(self._keys, ref, key)
        return ref

    def find(self, kind: Kind, identity: str) -> str | None:
        """The pseudonym of an identity, or None when the vault has never seen it."""
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT ref FROM vault WHERE lookup = ?",
                (self.lookup(kind, identity),),
            ).fetchone()
        return None if row is None else str(row["ref"])

    def profile(self, ref: str) -> dict[str, Any]:
        """What the vault knows about a ref.

        Raises:
            NotFoundError: not a ref of this vault, or erased from it.
        """
        return self.profiles([ref])[ref]

    def profiles(self, refs: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Profiles of several refs, in the order given.

        Raises:
            NotFoundError: one of them is not a ref of this vault, or was erased from it.
        """
        found: dict[str, dict[str, Any]] = {}
        with self._database.read() as connection:
            for ref in refs:
                row = connection.execute(
                    "SELECT data_key, profile FROM vault WHERE ref = ?",
                    (ref,),
                ).fetchone()
                if row is None:
                    raise NotFoundError(
                        f"The vault has no identity for {ref}: it was erased, or it belongs to another ledger.",
                    )
                found[ref] = self._open_row(ref, row["data_key"], row["profile"])
        return found

    def check_all(self, connection: sqlite3.Connection) -> int:
        """Decrypt every row and return how many there are.

        Raises:
            StoreDamagedError: a row does not decrypt, or does not stand where its keyed hash says.
        """
        count = 0
        for row in connection.execute("SELECT ref, kind, lookup, data_key, profile FROM vault"):
            if not isinstance(row["ref"], str):
                raise StoreDamagedError("A vault row has lost its ref.")
            profile = self._open_row(row["ref"], row["data_key"], row["profile"])
            if self.lookup(row["kind"], str(profile.get("id"))) != row["lookup"]:
                raise StoreDamagedError(f"The vault row {row['ref']} does not stand where its keyed hash says.")
            count += 1
        return count

    def seal_details(
        self, connection: sqlite3.Connection, subjects: Sequence[str], plain: bytes, context: bytes
    ) -> str:
        """Seal what is said about people: base64 of nonce || AES-256-GCM ciphertext.

        Args:
            connection: an open transaction.
            subjects: refs of all people concerned; without any, the ledger's own shared key is used.
            plain: what to seal.
            context: bound as associated data, so that the text opens only where it was put.
        """
        cipher = AESGCM(self._details_key(connection, subjects))
        return base64.b64encode(self._seal(cipher, plain, b"details/" + context)).decode()

    def open_details(
        self, connection: sqlite3.Connection, subjects: Sequence[str], sealed: str, context: bytes
    ) -> bytes:
        """Open what `seal_details` sealed.

        Raises:
            ErasedError: one of the subjects was erased.
            StoreDamagedError: the text does not open; it was altered or moved.
        """
        try:
            cipher = AESGCM(self._details_key(connection, subjects))
        except NotFoundError:
            raise ErasedError("These details were erased together with one of the people they are about.") from None
        try:
            return self._open(cipher, base64.b64decode(sealed), b"details/" + context)
        except (InvalidTag, ValueError):
            raise StoreDamagedError("Sealed details do not open: they were altered or moved.") from None

    def lookup(self, kind: Kind, identity: str) -> bytes:
        """Keyed hash under which an identity is found: HMAC-SHA-256 of kind and identity."""
        return self.fingerprint(f"{kind}\0{identity}".encode())

    def fingerprint(self, data: bytes) -> bytes:
        """Keyed hash (HMAC-SHA-256) of anything that must be recognised again but not read back."""
        return hmac.digest(self._lookup_key, data, "sha256")

    def forget(self) -> None:
        """Drop the caches; called whenever a transaction that may have filled them was undone."""
        self._refs.clear()
        self._keys.clear()

    def _details_key(self, connection: sqlite3.Connection, subjects: Sequence[str]) -> bytes:
        if not subjects:
            return self._shared_key
        keys = b"".join(self._data_key(connection, ref) for ref in sorted(set(subjects)))
        return hmac.digest(hashlib.sha256(keys).digest(), b"tocsin/details/v1", "sha256")

    def _data_key(self, connection: sqlite3.Connection, ref: str) -> bytes:
        key = self._keys.get(ref)
        if key is None:
            row = connection.execute("SELECT data_key FROM vault WHERE ref = ?", (ref,)).fetchone()
            if row is None:
                raise NotFoundError(f"The vault has no key for {ref}: it was erased.")
            try:
                key = self._open(self._kek, row["data_key"], b"key/" + ref.encode())
            except InvalidTag:
                raise StoreDamagedError(f"The data key of {ref} does not open: it was altered.") from None
            _remember(self._keys, ref, key)
        return key

    def _open_row(self, ref: str, data_key: bytes, profile: bytes) -> dict[str, Any]:
        try:
            key = self._open(self._kek, data_key, b"key/" + ref.encode())
            value = parse(self._open(AESGCM(key), profile, b"profile/" + ref.encode()))
        except InvalidTag:
            raise StoreDamagedError(f"The vault row {ref} does not open: it was altered.") from None
        return dict(value)

    def _seal_profile(self, key: bytes, ref: str, profile: dict[str, Any]) -> bytes:
        return self._seal(AESGCM(key), canonical(profile), b"profile/" + ref.encode())

    def _seal(self, cipher: AESGCM, plain: bytes, context: bytes) -> bytes:
        nonce = self._entropy(_NONCE)
        return nonce + cipher.encrypt(nonce, plain, self._origin + b"\0" + context)

    def _open(self, cipher: AESGCM, sealed: object, context: bytes) -> bytes:
        # A damaged file can give any type here.
        if not isinstance(sealed, bytes) or len(sealed) < _NONCE + _TAG:
            raise InvalidTag
        return cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], self._origin + b"\0" + context)


def _remember(cache: OrderedDict[Any, Any], key: object, value: object) -> None:
    cache[key] = value
    if len(cache) > _CACHE:
        cache.popitem(last=False)
