"""Changing the signing key, on schedule or because somebody else may have it.

Steps, each durable before the next, so that a kill between any two leaves a ledger that opens and can be
asked again:

1. the new key in a file of its own;
2. `[next_key]` in tocsin.toml, so that whoever opens the ledger finds it;
3. the entry and the checkpoint signed by both keys, in one transaction: from here the new key signs;
4. tocsin.toml with the new key as the current one and both in its list of keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ledger import Ledger, OwnEvent
from ledger.checkpoint import Checkpoint
from ledger.config import Config, NextKey, read_config, write_config
from ledger.encoding import format_time
from ledger.entries import Entry
from ledger.errors import ConfigError, InputError, KeyMismatchError
from ledger.keys import load_signer, write_key
from ledger.notes import Signer, split_note
from ledger.recovery.commit import commit_alone
from ledger.recovery.errors import UnconfirmedCopyError
from ledger.rotation import COMPROMISED, PURPOSE, ROTATED, Rotation, finish_rotation, next_signer
from ledger.store.connection import Connection
from ledger.store.log import read_checkpoint, read_head
from ledger.witness import records


@dataclass(frozen=True, slots=True)
class Rotated:
    """A rotation that was done.

    Attributes:
        old, new: verifier keys.
        old_place: URI of the old private key, which nothing needs any more.
        new_place: URI of the new one.
        size: the checkpoint both keys signed.
    """

    old: str
    new: str
    old_place: str
    new_place: str
    size: int


@dataclass(frozen=True, slots=True)
class Trust:
    """What the signatures of a compromised key are still worth.

    Attributes:
        since: entries in the log when the key was last known to be in good hands.
        time: the moment that was given, RFC 3339, or None when a size was.
        size: entries in the log now.
        witnessed: entries covered by the newest checkpoint that witnesses had cosigned before `since`; what
            lies below is vouched for by others than the stolen key.
        root: root over them, hex; "" when nothing was witnessed.
        witnessed_at: when, RFC 3339, or None.
    """

    since: int
    time: str | None
    size: int
    witnessed: int = 0
    root: str = ""
    witnessed_at: str | None = None

    def data(self) -> dict[str, Any]:
        """As recorded in the event and printed as JSON."""
        anchor = {"size": self.witnessed, "root": self.root, "time": self.witnessed_at} if self.witnessed else None
        return {"since": self.since, "time": self.time, "size": self.size, "witnessed_before": anchor}

    def lines(self) -> list[str]:
        """The same in sentences, for whoever must be told."""
        said = []
        if self.witnessed:
            said.append(
                f"Entries 0 to {self.witnessed - 1} stand: witnesses cosigned them on {self.witnessed_at}, before the "
                "key was in doubt."
            )
        if self.witnessed < self.since:
            said.append(
                f"Entries {self.witnessed} to {self.since - 1} were signed while the key was in good hands, but only "
                "receipts and checkpoints that others kept from then can show it."
            )
        if self.since < self.size:
            said.append(
                f"Entries {self.since} to {self.size - 1} were signed when somebody else may have had the key: hold "
                "them against producers' own records, receipts and what witnesses cosigned."
            )
        return said


def rotate(ledger: Ledger) -> Rotated:
    """Change the log's signing key.

    Raises:
        UnconfirmedCopyError: this is an unconfirmed restored copy.
        ConfigError: the new key or the configuration cannot be written.
        StoreError: the store refused; the old key still signs, and the call may be repeated.
    """
    return _rotate(ledger, None)


def retire(ledger: Ledger, since: int | datetime) -> tuple[Rotated, Trust]:
    """Declare the signing key compromised and change it, in one commit.

    Args:
        ledger: an open ledger.
        since: entries in the log, or the moment, up to which the key was surely in good hands.

    Raises:
        InputError: the log is not that long, or the moment lies ahead.
    """
    trust = assess_trust(ledger, since)
    return _rotate(ledger, trust), trust


def assess_trust(ledger: Ledger, since: int | datetime) -> Trust:
    """What remains trustworthy if the key was stolen at `since`; nothing is changed.

    Raises:
        InputError: the log is not that long, or the moment lies ahead.
    """
    moment = None if isinstance(since, int) else format_time(since)
    if moment is not None and moment > format_time(ledger.clock()):
        raise InputError("The key cannot have been compromised in the future; check the time and its zone.")
    with ledger.database.read() as connection:
        total = read_head(connection).size
        size = since if isinstance(since, int) else _recorded_before(connection, total, moment or "")
        if not 0 <= size <= total:
            raise InputError(f"The log holds {total} entries; give a size between 0 and that, or a time.")
        before = [
            item
            for item in records.published(connection)
            if item.size <= size and (moment is None or item.witnessed_at < moment)
        ]
    if not before:
        return Trust(size, moment, total)
    root = Checkpoint.parse(split_note(before[-1].note)[0]).root.hex()
    return Trust(size, moment, total, before[-1].size, root, before[-1].witnessed_at)


def _recorded_before(connection: Connection, total: int, moment: str) -> int:
    """How many entries had been recorded before a moment; the times never decrease along the log."""
    low, high = 0, total
    while low < high:
        middle = (low + high) // 2
        row = connection.execute("SELECT entry FROM event WHERE position = ?", (middle + 1,)).fetchone()
        if Entry.decode(row["entry"]).recorded < moment:
            low = middle + 1
        else:
            high = middle
    return low


def _rotate(ledger: Ledger, trust: Trust | None) -> Rotated:
    config = read_config(ledger.directory)
    if config.restored is not None:
        raise UnconfirmedCopyError("This restored copy is not confirmed, so its key cannot be changed yet.")
    old = ledger.signer
    new, config = _prepare(ledger, config)
    since = None if trust is None else trust.since

    def make(connection: Connection, first: int) -> Sequence[OwnEvent]:
        # Another program may have changed the key between our reading and our writing.
        if next_signer(read_checkpoint(connection)) != (ledger.origin, old.verifier.key_id):
            raise KeyMismatchError("Another program changed the signing key just now; look with `tocsin keys show`.")
        events = []
        if trust is not None:
            events.append(OwnEvent(COMPROMISED, {"purpose": PURPOSE, "vkey": old.vkey, "compromised": trust.data()}))
        index = first + len(events)
        rotation = Rotation.make(ledger.origin, index, old, new, compromised_since=since)
        return [*events, OwnEvent(ROTATED, rotation.data())]

    size = commit_alone(ledger, make, [new, old])
    finish_rotation(ledger.directory, size)
    ledger.reload()
    place = config.next_key.signing_key if config.next_key else ""
    return Rotated(old.vkey, new.vkey, config.signing_key, place, size)


def _prepare(ledger: Ledger, config: Config) -> tuple[Signer, Config]:
    """The key to change to, in a file and named in the configuration; one that waits already is taken."""
    if config.next_key is not None:
        # A key that cannot be read has signed nothing, or the ledger would not have opened: another is made.
        with suppress(ConfigError):
            waiting = load_signer(config.next_key.signing_key, ledger.directory, ledger.origin)
            if waiting.vkey == config.next_key.vkey:
                return waiting, config
    new = Signer.from_seed(ledger.origin, ledger.entropy(32))
    place = f"keys/ledger-{new.verifier.key_id.hex()}.key"
    write_key(ledger.directory / place, new.private_key)
    config = replace(config, next_key=NextKey(new.vkey, f"file:{place}"))
    write_config(ledger.directory, config)
    return new, config
