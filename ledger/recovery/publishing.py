"""A static mirror: a directory with the log's checkpoint, tiles and entry bundles (C2SP tlog-tiles).

Any file server can publish it, any tlog-tiles client can read it, and a lost log can be rebuilt from it.
It holds entries, which are public commitments: no payloads, no identities, no keys. Two files are ours:

checkpoint.witnessed  the newest checkpoint that reached a quorum, where `checkpoint` itself has none
rotations             changes of the signing key, one JSON object a line: `index`, `payload`, `salt` (hex) and
                      `checkpoint` of the entry that records it. They name keys and nobody, and without them
                      no key after the first could be believed.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from ledger import Ledger
from ledger.checkpoint import Checkpoint
from ledger.encoding import canonical, parse_strict
from ledger.errors import InputError, NoteError
from ledger.keys import fsync_directory
from ledger.notes import open_note
from ledger.recovery.errors import BackupError, MirrorError
from ledger.rotation import read_history
from ledger.store.connection import Connection
from ledger.tiles import TILE_WIDTH, Tile, bundles_for, tiles_for
from ledger.witness import records
from ledger.witness.view import View

CHECKPOINT: Final = "checkpoint"
WITNESSED: Final = "checkpoint.witnessed"
ROTATIONS: Final = "rotations"
_LOCK: Final = ".tocsin-mirror.lock"
_OURS: Final = frozenset(
    (_LOCK, "tile", *(text for name in (CHECKPOINT, WITNESSED, ROTATIONS) for text in (name, f".{name}.new")))
)
"""What a first call that was cut short may have left."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What a mirror holds now.

    Attributes:
        size: entries its checkpoint covers.
        before: entries the one before covered.
        files: tiles and bundles that were written.
        witnessed: entries under its newest witnessed checkpoint.
    """

    size: int
    before: int
    files: int
    witnessed: int


@dataclass(frozen=True, slots=True)
class Opening:
    """A change of the signing key, with what shows that it was recorded.

    Attributes:
        index: leaf index of its entry.
        payload, salt: what the entry commits to.
        note: the checkpoint that covers it, signed by both keys.
    """

    index: int
    payload: bytes
    salt: bytes
    note: bytes

    def line(self) -> bytes:
        """One line of the file `rotations`."""
        return (
            canonical(
                {
                    "index": self.index,
                    "payload": self.payload.decode(),
                    "salt": self.salt.hex(),
                    "checkpoint": self.note.decode(),
                }
            )
            + b"\n"
        )

    @classmethod
    def read(cls, data: bytes) -> list[Self]:
        """Read the file `rotations`; nothing in it is verified.

        Raises:
            MirrorError: it is not in the form that `line` writes.
        """
        found = []
        for number, line in enumerate(data.split(b"\n")[:-1], 1):
            try:
                value = parse_strict(line)
                item = cls(
                    value["index"],
                    value["payload"].encode(),
                    bytes.fromhex(value["salt"]),
                    value["checkpoint"].encode(),
                )
                whole = type(item.index) is int and item.line() == line + b"\n"
            except (InputError, KeyError, TypeError, ValueError, AttributeError):
                whole = False
            if not whole:
                raise MirrorError(f"Line {number} of {ROTATIONS} in the mirror is malformed.")
            found.append(item)
        if b"".join(item.line() for item in found) != data:
            raise MirrorError(f"{ROTATIONS} of the mirror is cut short.")
        return found


def write_mirror(ledger: Ledger, directory: Path, *, progress: Progress = lambda _done, _total: None) -> Mirrored:
    """Bring a static mirror up to the newest checkpoint; also while the ledger is in use.

    Only what is new is written, each file under a name of its own first. The checkpoint comes last, in one
    rename: a mirror that a kill left half-way shows the tree it showed before, and the next call goes on.

    Args:
        ledger: an open ledger.
        directory: the mirror, or a new or empty directory.
        progress: called with files written.

    Raises:
        BackupError: the directory holds something else, another log, or more of this one; or cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _locked(directory):
            return _write(ledger, directory, progress)
    except OSError as error:
        raise BackupError(
            f"The mirror in {directory} cannot be written: {error.strerror}. It still shows what it showed before."
        ) from None


def _write(ledger: Ledger, directory: Path, progress: Progress) -> Mirrored:
    view = View(ledger)
    size, before = view.checkpoint.size, _before(ledger, view, directory)
    tiles = [*tiles_for(size, since=before), *bundles_for(size, since=before)]
    written = 0
    places: set[Path] = set()
    for done, tile in enumerate(tiles):
        place = directory / tile.path
        if tile.level is None:
            data = ledger.entry_bundle(tile.index, tile.width)
        else:
            data = ledger.tile(tile.level, tile.index, tile.width)
        # What a call that was cut short left is kept if it is right; it may be another history's.
        if not _holds(place, data):
            _put(place, data)
            written += 1
        places.add(place.parent)
        progress(done + 1, len(tiles))
    for place in sorted(places):
        fsync_directory(place)
    if before == 0:
        (directory / WITNESSED).unlink(missing_ok=True)
    witnessed = _put_notes(ledger, view, directory)
    for tile in tiles:
        if tile.width == TILE_WIDTH:
            _drop_partial(directory, tile)
    return Mirrored(size, before, written, witnessed)


def _before(ledger: Ledger, view: View, directory: Path) -> int:
    """How far the mirror was before; refuses one that this log may not overwrite."""
    try:
        note = (directory / CHECKPOINT).read_bytes()
    except FileNotFoundError:
        if any(item.name not in _OURS for item in directory.iterdir()):
            raise BackupError(
                f"{directory} holds something that is no mirror; choose a directory of its own."
            ) from None
        return 0
    try:
        there = Checkpoint.parse(open_note(note, ledger.verifiers).text)
    except NoteError:
        raise BackupError(f"{directory} mirrors another log; choose a directory of its own.") from None
    if there.origin != ledger.origin or not view.holds(there):
        raise BackupError(
            f"The mirror in {directory} shows {there.size} entries that are not all in this log, which has "
            f"{view.checkpoint.size}. The log is behind it, or of another history; see docs/operations.md."
        )
    return there.size


def _put_notes(ledger: Ledger, view: View, directory: Path) -> int:
    """Write what is said about the tiles, once they are all on disk; returns the witnessed size."""
    with ledger.database.read() as connection:
        kept = [item for item in records.published(connection) if item.size <= view.checkpoint.size]
        openings = list(read_openings(connection, ledger, view.checkpoint.size))
    note, witnessed = view.note, 0
    if kept:
        witnessed = kept[-1].size
        if witnessed == view.checkpoint.size:
            note = kept[-1].note
        _put(directory / WITNESSED, kept[-1].note)
    if openings:
        _put(directory / ROTATIONS, b"".join(item.line() for item in openings))
    else:
        (directory / ROTATIONS).unlink(missing_ok=True)
    fsync_directory(directory)
    _put(directory / CHECKPOINT, note)
    fsync_directory(directory)
    return witnessed


def read_openings(connection: Connection, ledger: Ledger, size: int) -> Iterator[Opening]:
    """The changes of the signing key in the first `size` entries, oldest first."""
    for rotation in read_history(connection, ledger.signer.verifier).rotations:
        row = connection.execute("SELECT payload, salt FROM event WHERE position = ?", (rotation.index + 1,)).fetchone()
        signed = connection.execute("SELECT note FROM checkpoint WHERE size = ?", (rotation.index + 1,)).fetchone()
        if rotation.index < size:
            yield Opening(rotation.index, row["payload"], row["salt"], signed["note"])


def _holds(place: Path, data: bytes) -> bool:
    try:
        return place.read_bytes() == data
    except FileNotFoundError:
        return False


def _put(place: Path, data: bytes) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_name(f".{place.name}.new")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.chmod(0o644)
    temporary.replace(place)


def _drop_partial(directory: Path, tile: Tile) -> None:
    # SPEC: partial tiles "MAY be deleted" once the full tile exists; clients then take the full one.
    place = directory / f"{tile.path}.p"
    with suppress(FileNotFoundError):
        for item in place.iterdir():
            item.unlink()
        place.rmdir()


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    with (directory / _LOCK).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BackupError(f"The mirror in {directory} is being written by another program.") from None
        yield
