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
from binascii import b2a_base64
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import repeat
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ledger.encoding import canonical, parse
from ledger.errors import (
    ErasedError,
    ErasedIdentityError,
    KeyMismatchError,
    NotFoundError,
    StoreDamagedError,
)
from ledger.forgetting.events import erased_in
from ledger.keyedhash import keyed_hash
from ledger.keys import key_id
from ledger.names import Kind as Kind  # noqa: PLC0414 - part of this module's interface
from ledger.names import Names
from ledger.store.connection import Connection
from ledger.store.database import Database
from ledger.wrapping import OWN_KEYS, Sealer, State, Wrapping, key_context

KEY_SIZE: Final = 32
_PREFIX: Final[dict[Kind, str]] = {"subject": "s", "actor": "a", "network": "n"}
_REF_SIZE: Final = 16
_CACHE: Final = 20_000
"""Identities of each kind, and keys, that are remembered from one transaction to the next."""
_AT_ONCE: Final = 500
"""Identities that one statement looks up."""
_CIPHERS: Final = 8_192
REF: Final = re.compile(r"[san]_[a-z2-7]{26}", re.ASCII)
"""The form of a ref: kind letter, underscore, 128 random bits in lower-case base32."""


class Vault:
    """Pseudonyms, sealed profiles and sealed details of one ledger.

    Args:
        database: where the rows are.
        kek: 32-byte key-encryption key.
        origin: bound into every ciphertext as associated data.
        entropy: gives n random bytes.
        keys: gives the key-encryption key behind a URI, for when it is changed while this is open.

    Attributes:
        names: refs known by heart; see `add_names`.
    """

    def __init__(
        self,
        database: Database,
        kek: bytes,
        origin: str,
        entropy: Callable[[int], bytes],
        keys: Callable[[str], bytes],
    ) -> None:
        self._database = database
        self._entropy = entropy
        self._sealer = Sealer(origin, entropy)
        self._wrapping = Wrapping(kek, self._sealer, keys)
        self._fingerprint = keyed_hash(b"")  # under the real key once unlocked
        self._shared_key = b""
        # Only what is committed may be cached, see `forget`.
        self._state: State | None = None  # what the caches were begun under
        self.names = Names()
        self._ciphers: OrderedDict[tuple[str, ...], AESGCM] = OrderedDict()
        self._keys: OrderedDict[str, bytes] = OrderedDict()

    def initialise(self, connection: Connection) -> None:
        """Make the vault's own keys if this is a new ledger; safe to repeat."""
        for name in OWN_KEYS:
            sealed = self._wrapping.wrap(self._entropy(KEY_SIZE), name.encode())
            connection.execute("INSERT INTO meta VALUES (?, ?) ON CONFLICT DO NOTHING", (name, sealed))

    def unlock(self, key_uri: str) -> None:
        """Open the vault's own keys.

        A change of the key may have been cut short after its transaction and before the configuration
        named the new key; then the key that the vault itself names is taken.

        Raises:
            KeyMismatchError: the key-encryption key is not the one this vault was made with.
        """
        try:
            with self._database.read() as connection:
                rows = dict(connection.execute("SELECT name, value FROM meta").fetchall())
                self._wrapping.follow(State.read(connection))
                lookup_key, self._shared_key = (
                    self._wrapping.unwrap(connection, rows[name], name.encode()) for name in OWN_KEYS
                )
                self._fingerprint = keyed_hash(lookup_key)
        except (KeyError, InvalidTag):
            raise KeyMismatchError(
                f"The vault key behind {key_uri} does not open this ledger's vault. "
                "Put back the key that was made with this ledger.",
            ) from None

    def refer(
        self,
        connection: Connection,
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
        refs = self.names.of(kind)
        if identity not in refs:
            self._add(connection, kind, [identity], [profile])
        elif profile is not None:
            self._update(connection, refs[identity], {**profile, "id": identity})
        return refs[identity]

    def add_names(self, connection: Connection) -> None:
        """Put all identities that `names` was asked for in vain into it, making the refs that there are not.

        Call inside a write transaction.
        """
        for kind, identities in self.names.wanted():
            self._add(connection, kind, identities, [None] * len(identities))

    def _add(
        self,
        connection: Connection,
        kind: Kind,
        identities: Sequence[str],
        profiles: Sequence[dict[str, Any] | None],
    ) -> None:
        """Look up identities, each of which stands here once, and make those that there are not."""
        lookups = [self.lookup(kind, identity) for identity in identities]
        there: dict[bytes, str] = {}
        for start in range(0, len(lookups), _AT_ONCE):
            part = lookups[start : start + _AT_ONCE]
            marks = ", ".join("?" * len(part))
            sql = f"SELECT lookup, ref FROM vault WHERE lookup IN ({marks})"  # noqa: S608 - marks are `?` alone
            there |= {bytes(row["lookup"]): str(row["ref"]) for row in connection.execute(sql, part)}
        refs = self.names.of(kind)
        new: list[tuple[bytes, str, dict[str, Any]]] = []
        for identity, lookup, profile in zip(identities, lookups, profiles, strict=True):
            value = {"id": identity} if profile is None else {**profile, "id": identity}
            ref = there.get(lookup)
            if ref is None:
                new.append((lookup, identity, value))
            else:
                refs[identity] = ref
                if profile is not None:
                    self._update(connection, ref, value)
        if new:
            made = self._create(connection, kind, [lookup for lookup, _, _ in new], [value for _, _, value in new])
            refs.update(zip([identity for _, identity, _ in new], made, strict=True))

    def _update(self, connection: Connection, ref: str, profile: dict[str, Any]) -> None:
        sealed = self._sealer.seal(AESGCM(self._data_key(connection, ref)), canonical(profile), _profile_context(ref))
        connection.execute("UPDATE vault SET profile = ? WHERE ref = ?", (sealed, ref))

    def _create(
        self, connection: Connection, kind: Kind, lookups: Sequence[bytes], profiles: Sequence[dict[str, Any]]
    ) -> list[str]:
        """Rows for identities that have none; returns their refs."""
        plains = [canonical(profile) for profile in profiles]
        refs = _refs(kind, self._entropy(_REF_SIZE * len(lookups)))
        drawn = self._entropy(KEY_SIZE * len(lookups))
        keys = [drawn[start : start + KEY_SIZE] for start in range(0, len(drawn), KEY_SIZE)]
        wrapped = self._wrapping.wrap_each(zip(keys, map(key_context, refs), strict=True))
        sealed = self._sealer.seal_each(
            (AESGCM(key), plain, _profile_context(ref)) for key, plain, ref in zip(keys, plains, refs, strict=True)
        )
        rows = list(zip(refs, repeat(kind), lookups, wrapped, sealed))
        # In the order of the primary key, so that neighbours share a page.
        connection.insert("vault", "ref, kind, lookup, data_key, profile", sorted(rows))
        for ref, key in zip(refs, keys, strict=True):
            _remember(self._keys, ref, key)
        return refs

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
            ErasedIdentityError: erased from it.
            NotFoundError: not a ref of this vault.
        """
        return self.profiles([ref])[ref]

    def profiles(self, refs: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Profiles of several refs, in the order given.

        Raises:
            ErasedIdentityError: one of them was erased from it.
            NotFoundError: one of them is not a ref of this vault.
        """
        found: dict[str, dict[str, Any]] = {}
        with self._database.read() as connection:
            for ref in refs:
                row = connection.execute(
                    "SELECT data_key, profile FROM vault WHERE ref = ?",
                    (ref,),
                ).fetchone()
                if row is None:
                    raise _unknown(connection, ref)
                found[ref] = self._open_row(connection, ref, row["data_key"], row["profile"])
        return found

    def check_all(self, connection: Connection) -> int:
        """Decrypt every row and return how many there are.

        Raises:
            StoreDamagedError: a row does not decrypt, or does not stand where its keyed hash says.
        """
        count = 0
        for row in connection.execute("SELECT ref, kind, lookup, data_key, profile FROM vault"):
            if not isinstance(row["ref"], str):
                raise StoreDamagedError("A vault row has lost its ref.")
            profile = self._open_row(connection, row["ref"], row["data_key"], row["profile"])
            if self.lookup(row["kind"], str(profile.get("id"))) != row["lookup"]:
                raise StoreDamagedError(f"The vault row {row['ref']} does not stand where its keyed hash says.")
            count += 1
        return count

    def seal_details(self, connection: Connection, subjects: Sequence[str], plain: bytes, context: bytes) -> str:
        """Seal what is said about people: base64 of nonce || AES-256-GCM ciphertext.

        Args:
            connection: an open transaction.
            subjects: refs of all people concerned; without any, the ledger's own shared key is used.
            plain: what to seal.
            context: bound as associated data, so that the text opens only where it was put.
        """
        return self.seal_each(connection, [(subjects, plain, context)])[0]

    def seal_each(self, connection: Connection, items: Iterable[tuple[Sequence[str], bytes, bytes]]) -> list[str]:
        """`seal_details` of several (subjects, plain, context); their nonces are drawn at once."""
        ciphers = self._ciphers
        texts = self._sealer.seal_each(
            (ciphers.get(people := tuple(subjects)) or self._cipher(connection, people), plain, b"details/" + context)
            for subjects, plain, context in items
        )
        return [b2a_base64(text, newline=False).decode() for text in texts]

    def _cipher(self, connection: Connection, subjects: tuple[str, ...]) -> AESGCM:
        cipher = AESGCM(self._details_key(subjects, lambda ref: self._data_key(connection, ref)))
        _remember(self._ciphers, subjects, cipher, _CIPHERS)
        return cipher

    def open_details(self, connection: Connection, subjects: Sequence[str], sealed: str, context: bytes) -> bytes:
        """Open what `seal_details` sealed.

        Raises:
            ErasedError: one of the subjects was erased.
            StoreDamagedError: the text does not open; it was altered or moved.
        """
        try:
            # Never from the cache: another process may have erased one of them since.
            cipher = AESGCM(self._details_key(subjects, lambda ref: self._read_key(connection, ref)))
        except NotFoundError:
            raise ErasedError("These details were erased together with one of the people they are about.") from None
        try:
            return self._sealer.open(cipher, base64.b64decode(sealed), b"details/" + context)
        except (InvalidTag, ValueError):
            raise StoreDamagedError("Sealed details do not open: they were altered or moved.") from None

    def lookup(self, kind: Kind, identity: str) -> bytes:
        """Keyed hash under which an identity is found: HMAC-SHA-256 of kind and identity."""
        return self.fingerprint(f"{kind}\0{identity}".encode())

    def fingerprint(self, data: bytes) -> bytes:
        """Keyed hash (HMAC-SHA-256) of anything that must be recognised again but not read back."""
        return self._fingerprint(data)

    def forget(self) -> None:
        """Drop the caches; called whenever a transaction that may have filled them was undone."""
        self.names.clear()
        self._keys.clear()
        self._ciphers.clear()
        self._state = None

    def refresh(self, connection: Connection) -> None:
        """Called at the start of every write transaction: drop what another process has made untrue."""
        state = State.read(connection)
        if state != self._state:
            self.forget()
            self._wrapping.follow(state)
            self._state = state
        self.names.trim(_CACHE)

    def erase(self, connection: Connection, ref: str) -> str:
        """Destroy who a ref is and the key of what was sealed about them; returns the key's id.

        Call inside a write transaction that also records it.

        Raises:
            NotFoundError: the vault has no such ref (any more).
        """
        try:
            destroyed = key_id(self._read_key(connection, ref))
        except StoreDamagedError:
            destroyed = "unreadable"
        connection.execute("DELETE FROM vault WHERE ref = ?", (ref,))
        state = State.read(connection)
        replace(state, erasures=state.erasures + 1).write(connection)
        self.forget()
        return destroyed

    def rewrap(self, connection: Connection, kek: bytes, uri: str) -> int:
        """Wrap all data keys and the vault's own keys anew; returns how many there were.

        Call inside a write transaction that also records it.

        Args:
            connection: the transaction.
            kek: the new key-encryption key, 32 bytes.
            uri: where it is found.

        Raises:
            StoreDamagedError: a key does not open under the present key; nothing may be kept then.
        """
        count = self._wrapping.change(connection, kek, uri)
        self.forget()
        return count

    @property
    def key(self) -> str:
        """Id of the key-encryption key in use: a truncated hash, see `ledger.keys.key_id`."""
        return self._wrapping.id

    def _read_key(self, connection: Connection, ref: str) -> bytes:
        row = connection.execute("SELECT data_key FROM vault WHERE ref = ?", (ref,)).fetchone()
        if row is None:
            raise _unknown(connection, ref)
        try:
            return self._wrapping.unwrap(connection, row["data_key"], key_context(ref))
        except InvalidTag:
            raise StoreDamagedError(f"The data key of {ref} does not open: it was altered.") from None

    def _details_key(self, subjects: Sequence[str], key_of: Callable[[str], bytes]) -> bytes:
        if not subjects:
            return self._shared_key
        keys = b"".join(key_of(ref) for ref in sorted(set(subjects)))
        return hmac.digest(hashlib.sha256(keys).digest(), b"tocsin/details/v1", "sha256")

    def _data_key(self, connection: Connection, ref: str) -> bytes:
        key = self._keys.get(ref)
        if key is None:
            key = self._read_key(connection, ref)
            _remember(self._keys, ref, key)
        return key

    def _open_row(self, connection: Connection, ref: str, data_key: bytes, profile: bytes) -> dict[str, Any]:
        try:
            key = self._wrapping.unwrap(connection, data_key, key_context(ref))
            value = parse(self._sealer.open(AESGCM(key), profile, _profile_context(ref)))
        except InvalidTag:
            raise StoreDamagedError(f"The vault row {ref} does not open: it was altered.") from None
        return dict(value)


def _refs(kind: Kind, random: bytes) -> list[str]:
    """One ref of each 16 bytes."""
    # Filled up to 20 bytes, which are 32 letters without padding; the first 26 are those of the 16 bytes.
    filled = b"".join(random[start : start + _REF_SIZE] + bytes(4) for start in range(0, len(random), _REF_SIZE))
    letters = base64.b32encode(filled).decode().lower()
    return [f"{_PREFIX[kind]}_{letters[start : start + 26]}" for start in range(0, len(letters), 32)]


def _profile_context(ref: str) -> bytes:
    return b"profile/" + ref.encode()


def _unknown(connection: Connection, ref: str) -> NotFoundError:
    index = erased_in(connection, ref)
    if index is None:
        return NotFoundError(f"The vault has no identity for {ref}: it belongs to another ledger.")
    return ErasedIdentityError(f"Who {ref} is was erased; entry {index} says why.")


def _remember(cache: OrderedDict[Any, Any], key: object, value: object, most: int = _CACHE) -> None:
    cache[key] = value
    if len(cache) > most:
        cache.popitem(last=False)
