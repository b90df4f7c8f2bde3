r"""Which key signs a log when: rotations as the log itself records them.

A rotation is the entry `org.tocsin.key.rotated.v1` with `purpose` "log". It carries a statement, a note
that the old and the new key both sign:

    tocsin.org/key-rotation/v1
    origin <origin>
    index <leaf index of this entry>
    old <vkey>
    new <vkey>

The entry is the last of its commit, and the checkpoint that covers it (size = index + 1) is signed by both
keys, the new one first. So the first signature line of a checkpoint names the key that signs the next one.
From that size on only the new key signs. The statement can never be read as a checkpoint (its second line
is no decimal), and it names its place, so it holds nowhere else.

Each key is valid for one range of checkpoint sizes; a checkpoint counts only under the key of its size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

from ledger.config import Config, KeyPeriod, read_config, write_config
from ledger.encoding import parse_strict
from ledger.entries import Entry, commits_to
from ledger.errors import InputError, NoteError
from ledger.notes import Note, Signer, Verifier, open_note, sign_note, split_note
from ledger.recovery.errors import RotationError
from ledger.store.connection import Connection, Row
from ledger.vocabulary import OWN_SOURCE

ROTATED: Final = "org.tocsin.key.rotated.v1"
COMPROMISED: Final = "org.tocsin.key.compromised.v1"
PURPOSE: Final = "log"
"""The vault's key rotates under the same event type with another purpose."""
_HEADER: Final = "tocsin.org/key-rotation/v1"


@dataclass(frozen=True, slots=True)
class Rotation:
    """A change of the signing key, vouched for by both keys.

    Attributes:
        origin: the log.
        index: leaf index of the entry that records it.
        old, new: verifier keys.
        statement: the note both signed.
        compromised_since: entries that were in the log when the old key was last known to be in good
            hands; None for a rotation without suspicion.
    """

    origin: str
    index: int
    old: str
    new: str
    statement: bytes
    compromised_since: int | None = None

    @classmethod
    def make(cls, origin: str, index: int, old: Signer, new: Signer, *, compromised_since: int | None = None) -> Self:
        """State a rotation and sign it with both keys."""
        statement = sign_note(_text(origin, index, old.vkey, new.vkey), [new, old])
        return cls(origin, index, old.vkey, new.vkey, statement, compromised_since)

    def data(self) -> dict[str, Any]:
        """The `data` of the event."""
        return {
            "purpose": PURPOSE,
            "old": self.old,
            "new": self.new,
            "statement": self.statement.decode(),
            "compromised_since": self.compromised_since,
        }

    @classmethod
    def read(cls, data: Mapping[str, Any], origin: str, index: int) -> Self:
        """Read and check the `data` of the event that stands at `index` of the log `origin`.

        Raises:
            RotationError: malformed, of another place, or not signed by both keys.
        """
        try:
            old, new = Verifier.from_vkey(data["old"]), Verifier.from_vkey(data["new"])
            statement = data["statement"].encode()
            since = data.get("compromised_since")
            note = open_note(statement, [old, new])
        except (KeyError, TypeError, AttributeError, UnicodeEncodeError):
            raise RotationError(f"The key rotation at entry {index} is malformed.") from None
        except NoteError as error:
            raise RotationError(f"The key rotation at entry {index} is not signed as it says. {error}") from None
        signed = {signature.key for signature in note.signatures}
        if (
            note.text != _text(origin, index, old.vkey, new.vkey)
            or signed != {old.key, new.key}
            or old.key == new.key
            or not (since is None or (type(since) is int and 0 <= since <= index))
        ):
            raise RotationError(f"The key rotation at entry {index} is not vouched for by both keys.")
        return cls(origin, index, old.vkey, new.vkey, statement, since)


def _text(origin: str, index: int, old: str, new: str) -> str:
    return f"{_HEADER}\norigin {origin}\nindex {index}\nold {old}\nnew {new}\n"


@dataclass(frozen=True, slots=True)
class Period:
    """A key and the checkpoint sizes it signs, both ends included.

    Attributes:
        verifier: the key.
        first, last: sizes; `last` is None for the current key.
        compromised_since: see `Rotation`.
    """

    verifier: Verifier
    first: int
    last: int | None = None
    compromised_since: int | None = None


@dataclass(frozen=True, slots=True)
class KeyHistory:
    """Every key of a log in order.

    Attributes:
        periods: at least one.
        rotations: one less than the periods.
        problem: leaf index and message of a rotation that does not hold; checkpoints after it have no key.
    """

    periods: tuple[Period, ...]
    rotations: tuple[Rotation, ...] = ()
    problem: tuple[int, str] | None = None

    @property
    def verifiers(self) -> tuple[Verifier, ...]:
        """All keys, oldest first."""
        return tuple(period.verifier for period in self.periods)

    @property
    def current(self) -> Verifier:
        """The key that signs now."""
        return self.periods[-1].verifier

    def open(self, note: bytes, size: int) -> Note:
        """Verify a stored checkpoint under the key or keys of its size.

        Raises:
            NoteError: malformed, or not signed by every key that signs this size.
        """
        keys = [p.verifier for p in self.periods if p.first <= size and (p.last is None or size <= p.last)]
        if self.problem is not None and size > self.problem[0]:
            raise NoteError(self.problem[1])
        opened = open_note(note, keys)
        if len(opened.signatures) != len(keys):
            raise NoteError("The checkpoint that covers a key rotation must be signed by both keys.")
        return opened

    def lines(self) -> list[str]:
        """The history in words, one line per rotation; empty when there was none."""
        said = []
        for rotation, period in zip(self.rotations, self.periods, strict=False):
            old, new = Verifier.from_vkey(rotation.old), Verifier.from_vkey(rotation.new)
            said.append(
                f"signing key {old.key_id.hex()} was replaced by {new.key_id.hex()} at entry {rotation.index}, "
                "each signed for by the other"
            )
            if period.compromised_since is not None:
                said.append(
                    f"key {old.key_id.hex()} is declared compromised since {period.compromised_since} entries: what it "
                    f"signed for entries {period.compromised_since} to {rotation.index} counts only as far as "
                    "witnesses or kept receipts agree"
                )
        return said


def read_history(connection: Connection, trusted: Verifier) -> KeyHistory:
    """The keys of the log in a database, as far as both keys of each rotation vouch for it.

    Reads O(log n) checkpoints per rotation. Nothing here is proof that the entries are in the log: the
    walk over the log shows that.

    Args:
        connection: a read snapshot.
        trusted: any one of the log's keys, pinned by the caller.
    """
    alone = (Period(trusted, 0),)
    rotations: list[Rotation] = []
    for size in _changes(connection):
        try:
            rotation = _read_rotation(connection, trusted.name, size, rotations[-1].new if rotations else None)
        except RotationError as error:
            return KeyHistory(_periods(rotations) or alone, tuple(rotations), (size - 1, str(error)))
        if rotation is None:
            break  # a checkpoint that was tampered with, which the walk will say
        rotations.append(rotation)
    periods = _periods(rotations)
    # What does not contain the pinned key is somebody else's history, however well it is signed.
    if trusted not in [period.verifier for period in periods]:
        return KeyHistory(alone)
    return KeyHistory(periods, tuple(rotations))


def _periods(rotations: Sequence[Rotation]) -> tuple[Period, ...]:
    periods: list[Period] = []
    first = 0
    for rotation in rotations:
        size = rotation.index + 1
        periods.append(Period(Verifier.from_vkey(rotation.old), first, size, rotation.compromised_since))
        first = size
    if rotations:
        periods.append(Period(Verifier.from_vkey(rotations[-1].new), first))
    return tuple(periods)


def next_signer(note: bytes) -> tuple[str, bytes]:
    """Name and key id of the key that signs after this stored checkpoint.

    Raises:
        NoteError: malformed.
    """
    _, signatures = split_note(note)
    return signatures[0].name, signatures[0].key_id


def finish_rotation(directory: Path, size: int) -> Config:
    """Make the key that the log signs with from `size` on the current one of `tocsin.toml`; safe to repeat.

    Raises:
        ConfigError: it cannot be read or written.
    """
    config = read_config(directory)
    following = config.next_key
    if following is None:
        return config
    *before, last = config.keys
    done = replace(
        config,
        vkey=following.vkey,
        signing_key=following.signing_key,
        keys=(*before, replace(last, last=size), KeyPeriod(following.vkey, size)),
        next_key=None,
    )
    write_config(directory, done)
    return done


def _changes(connection: Connection) -> list[int]:
    """Sizes of the checkpoints from which another key signs; a key that was replaced never comes back."""
    ends = connection.execute("SELECT min(size), max(size) FROM checkpoint").fetchone()
    found: list[int] = []
    if ends is None or type(ends[0]) is not int or type(ends[1]) is not int:
        return found
    low, last = ends[0], ends[1]
    # A log that was rebuilt from tiles alone has no checkpoint before its first change of the key.
    if _is_change(connection, low):
        found.append(low)
    while _key_at(connection, low) != _key_at(connection, last):
        key, high = _key_at(connection, low), last
        while high - low > 1:
            middle = (low + high) // 2
            row = connection.execute(
                "SELECT size FROM checkpoint WHERE size > ? AND size <= ? ORDER BY size DESC LIMIT 1", (low, middle)
            ).fetchone()
            if row is None or _key_at(connection, row["size"]) == key:
                low = middle
            else:
                high = row["size"]
        found.append(high)
        low = high
    return found


def _is_change(connection: Connection, size: int) -> bool:
    """Whether the checkpoint of this size is one that two keys signed for a change of the log's key."""
    row = connection.execute(
        "SELECT note, topic FROM checkpoint JOIN event ON event.position = checkpoint.size WHERE size = ?", (size,)
    ).fetchone()
    try:
        return row is not None and row["topic"] == ROTATED and len(split_note(row["note"])[1]) > 1
    except (NoteError, TypeError, AttributeError):
        return False


def _key_at(connection: Connection, size: int) -> tuple[str, bytes] | None:
    row = connection.execute("SELECT note FROM checkpoint WHERE size = ?", (size,)).fetchone()
    try:
        return next_signer(row["note"]) if row is not None and isinstance(row["note"], bytes) else None
    except NoteError:
        return None


def _read_rotation(connection: Connection, origin: str, size: int, before: str | None) -> Rotation | None:
    """The rotation that the checkpoint of this size covers; None when its newest entry records none."""
    row = connection.execute("SELECT topic, entry, salt, payload FROM event WHERE position = ?", (size,)).fetchone()
    if row is None or row["topic"] != ROTATED:
        return None
    data = own_data(row)
    if data is None or data.get("purpose") != PURPOSE:
        raise RotationError(f"The key rotation recorded at entry {size - 1} cannot be read.")
    rotation = Rotation.read(data, origin, size - 1)
    if before not in (None, rotation.old):
        raise RotationError(f"The key rotation at entry {size - 1} does not start from the key before.")
    return rotation


def own_data(row: Row) -> dict[str, Any] | None:
    """`data` of one of Tocsin's own events as its entry commits to it; None when it cannot be had."""
    entry, salt, payload = row["entry"], row["salt"], row["payload"]
    if not all(isinstance(item, bytes) for item in (entry, salt, payload)):
        return None
    try:
        decoded = Entry.decode(entry)
        value = parse_strict(payload)
    except InputError:
        return None
    if decoded.source != OWN_SOURCE or not commits_to(decoded.commitment, salt, payload):
        return None
    data = value.get("data") if isinstance(value, dict) else None
    return data if isinstance(data, dict) else None
