"""Writing the entries of a mirror behind a log, as the log itself would have written them, without payloads.

The same rows, chain, tiles and head come out as if the entries had been appended one commit after the other;
what is not there are payloads, salts, and the checkpoints in between, which tiles do not have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from ledger.checkpoint import Checkpoint
from ledger.encoding import parse_strict
from ledger.entries import Entry, commits_to
from ledger.errors import InputError, NoteError, VerificationError
from ledger.merkle import leaf_hash
from ledger.notes import Note, Verifier, open_note
from ledger.recovery.backup import Progress
from ledger.recovery.errors import MirrorError
from ledger.recovery.lostpayloads import Noted, Range
from ledger.recovery.mirror import MirrorTree
from ledger.recovery.publishing import ROTATIONS, Opening
from ledger.rotation import PURPOSE, ROTATED, Rotation
from ledger.seal import Head, Row, Sealed, chain_hash
from ledger.store.connection import Connection
from ledger.store.log import read_tail, write_sealed
from ledger.store.seen import UNKNOWN
from ledger.tiles import TILE_HEIGHT, TILE_WIDTH
from ledger.vocabulary import OWN_SOURCE

_SIZE_BYTES: Final = 8
_NO_NOTE: Final = b"-"
"""Stands for the checkpoints inside a rebuild, which tiles do not have; gone before the transaction ends."""


@dataclass(frozen=True, slots=True)
class There:
    """The log as a mirror's checkpoint shows it, verified.

    Attributes:
        raw: the note as it was read.
        note: the same with the log's own signature only, as the log keeps it.
        checkpoint: its text, parsed.
        keys: the log's keys up to there, oldest first.
        openings: changes of the key that are not here yet, by leaf index.
        pinned: whether the caller named the newest of the keys.
    """

    raw: bytes
    note: bytes
    checkpoint: Checkpoint
    keys: tuple[Verifier, ...]
    openings: Mapping[int, Opening]
    pinned: bool


def rotation_of(origin: str, opening: Opening) -> Rotation:
    """The change of the log's key that an opening tells of.

    Raises:
        MirrorError: it is none, or both keys do not vouch for it.
    """
    try:
        value: Any = parse_strict(opening.payload)
        if value["data"]["purpose"] == PURPOSE:
            return Rotation.read(value["data"], origin, opening.index)
        why = "It is of another key than the log's."
    except (InputError, KeyError, TypeError, AttributeError):
        why = "It is malformed."
    except VerificationError as error:
        why = str(error)
    raise MirrorError(f"`{ROTATIONS}` of the mirror does not hold at entry {opening.index}. {why}")


def vouched(opened: Note) -> bytes:
    """A note with the verified signatures alone: what unknown keys added was not checked, so it is not kept."""
    return opened.text.encode() + b"\n" + b"".join(item.line for item in opened.signatures)


class Writer:
    """Writes entries behind a head.

    Args:
        connection: the caller's write transaction; what is raised must undo it.
        origin: the log.
        there: what is to be written.
        progress: called with (entries, entries in all).
    """

    def __init__(self, connection: Connection, origin: str, there: There, progress: Progress) -> None:
        self._connection = connection
        self._origin = origin
        self._there = there
        self._progress = progress
        self._own: Counter[str] = Counter()
        self._lost = 0
        self._sources: dict[str, int] = {}

    def write(self, head: Head, tree: MirrorTree, kind: str) -> None:
        """Write all that the tree has more, and note down what was lost.

        Raises:
            MirrorError: an entry is not what the log signed, or is no entry of a Tocsin log.
        """
        start, size = head.size, tree.checkpoint.size
        tail: Sequence[bytes] = read_tail(self._connection, start)
        for first, entries in tree.bundles(start):
            for run in self._runs(first, entries):
                head, tail = self._append(head, tail, run)
            self._progress(head.size, size)
        if (head.size, head.root) != (size, tree.checkpoint.root):
            raise MirrorError("The mirror's entries do not hash to the root that was signed for them.")
        noted = Noted.read(self._connection)
        if noted.pending is not None:
            start = noted.pending.start
            self._own.update(noted.pending.own)
            self._lost += noted.pending.lost
        pending = Range(start, size, head.root.hex(), dict(self._own), self._lost, kind)
        Noted(noted.events, pending).write(self._connection)

    def _runs(self, first: int, entries: Sequence[bytes]) -> list[Sequence[bytes]]:
        """The entries, cut after each change of the key: its checkpoint is known, and is kept."""
        ends = [index + 1 - first for index in sorted(self._there.openings) if first <= index < first + len(entries)]
        starts = [0, *ends]
        return [entries[a:b] for a, b in zip(starts, [*ends, len(entries)], strict=True) if a < b]

    def _append(self, head: Head, tail: Sequence[bytes], entries: Sequence[bytes]) -> tuple[Head, Sequence[bytes]]:
        leaves = [leaf_hash(entry) for entry in entries]
        tree, chain = head.range(), head.chain
        grown = tree.extend(leaves)
        rows: list[Row] = []
        seen: list[tuple[int, str, int, bytes]] = []
        recorded = head.recorded
        for position, (data, leaf) in enumerate(zip(entries, leaves, strict=True), head.size + 1):
            chain = chain_hash(chain, leaf)
            entry, stream = _decode(data, position - 1)
            recorded = entry.recorded
            salt, payload = self._opened(entry, position - 1)
            rows.append((position, stream.bytes, entry.version, entry.type, data, chain, salt, payload))
            if entry.source != OWN_SOURCE:
                seen.append((self._source(entry.source), entry.id, position, UNKNOWN))
        open_leaves = [*tail, *leaves]
        full = len(open_leaves) == TILE_WIDTH
        after = Head(tree.size, recorded, chain, tree.to_bytes()[_SIZE_BYTES:])
        sealed = Sealed(
            rows=tuple(rows),
            head=after,
            tiles=((head.size // TILE_WIDTH, b"".join(open_leaves)),) if full else (),
            nodes=tuple(
                (level // TILE_HEIGHT, first, tuple(hashes))
                for level, (first, hashes) in enumerate(grown)
                if level and level % TILE_HEIGHT == 0
            ),
            tail=() if full else tuple(open_leaves),
            leaves=tuple(leaves),
        )
        self._store(head, sealed)
        if seen:
            self._connection.insert("seen", "source, id, position, digest", seen)
        return after, sealed.tail

    def _store(self, before: Head, sealed: Sealed) -> None:
        head = sealed.head
        note = self._note(head)
        if not write_sealed(self._connection, before, sealed, note):
            raise MirrorError("The log grew while it was being rebuilt; stop whatever writes to it, and repeat.")
        if note == _NO_NOTE:
            self._connection.execute("DELETE FROM checkpoint WHERE size = ?", (head.size,))

    def _note(self, head: Head) -> bytes:
        """The checkpoint of this size, where the mirror has one."""
        opening = self._there.openings.get(head.size - 1)
        if opening is not None:
            return self._note_of_change(opening, Checkpoint(self._origin, head.size, head.root))
        return self._there.note if head.size == self._there.checkpoint.size else _NO_NOTE

    def _note_of_change(self, opening: Opening, checkpoint: Checkpoint) -> bytes:
        rotation = rotation_of(self._origin, opening)
        both = [Verifier.from_vkey(rotation.new), Verifier.from_vkey(rotation.old)]
        try:
            opened = open_note(opening.note, both)
            held = Checkpoint.parse(opened.text) == checkpoint
        except NoteError:
            held = False
        # The new key stands first: it signs what follows.
        if not held or [item.key for item in opened.signatures] != [key.key for key in both]:
            raise MirrorError(
                f"The mirror's checkpoint of the change of the key at entry {opening.index} does not hold."
            )
        # Who signs next is read from the first line, so nobody else's may stand there.
        return vouched(opened)

    def _opened(self, entry: Entry, index: int) -> tuple[bytes | None, bytes | None]:
        opening = self._there.openings.get(index)
        if opening is None:
            self._refuse_unshown_change(entry, index)
            self._lost += 1
            if entry.source == OWN_SOURCE:
                self._own[entry.type] += 1
            return None, None
        if entry.source != OWN_SOURCE or not commits_to(entry.commitment, opening.salt, opening.payload):
            raise MirrorError(f"`{ROTATIONS}` of the mirror has not what entry {index} commits to.")
        return opening.salt, opening.payload

    def _refuse_unshown_change(self, entry: Entry, index: int) -> None:
        # Behind a change of the log's key only the new one signs. The checkpoint of the change itself is signed by
        # both, so with the new key's line taken away it looks like any other of the old key.
        last = index == self._there.checkpoint.size - 1
        if last and (entry.source, entry.type) == (OWN_SOURCE, ROTATED) and not self._there.pinned:
            raise MirrorError(
                f"The newest entry of the mirror, {index}, changes a key, and nothing in the mirror shows which one. "
                f"Get the mirror's file `{ROTATIONS}`, or a mirror that holds more. If it was the vault's key that was "
                "changed last, give the key that signs with --vkey."
            )

    def _source(self, uri: str) -> int:
        number = self._sources.get(uri)
        if number is None:
            self._connection.execute("INSERT INTO source (uri) VALUES (?) ON CONFLICT DO NOTHING", (uri,))
            row = self._connection.execute("SELECT number FROM source WHERE uri = ?", (uri,)).fetchone()
            number = self._sources[uri] = int(row["number"])
        return number


def _decode(data: bytes, index: int) -> tuple[Entry, UUID]:
    try:
        entry = Entry.decode(data)
        return entry, UUID(entry.stream)
    except (InputError, ValueError):
        raise MirrorError(f"Entry {index} of the mirror was signed, but is no entry of a Tocsin log.") from None
