"""Beginning where an earlier verification ended.

What an intact run found about the end of the log is kept in `verified.json` in the data directory.
Nobody signs that file: whoever can write there can forge it. So a run that builds on it says what it
took from it unseen. The checkpoint in it *is* signed by the log, and must be the one that the store
has; a file that does not fit the log any more is not built upon, and its checkpoint is held against
the log that is there.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

from ledger.checkpoint import Checkpoint
from ledger.encoding import MAX_INT, format_time, parse_time
from ledger.errors import ConfigError, InputError, NoteError, ProofError
from ledger.keys import fsync_directory
from ledger.merkle import CompactRange, leaf_hash
from ledger.store.connection import Connection
from ledger.tiles import TILE_WIDTH
from ledger.verifying.growth import Growth
from ledger.verifying.known import Known
from ledger.verifying.place import Laid, Place
from ledger.verifying.walk import Walk

FILE: Final = "verified.json"
FORMAT: Final = "org.tocsin.verified.v1"


@dataclass(frozen=True, slots=True)
class Verified:
    """The end of the log as an intact verification left it.

    Attributes:
        note: the newest checkpoint, verbatim.
        size: entries it covers.
        frontier, chain, recorded, versions, sequences, producers: see `Place` and `CompactRange`.
        witnessed: the newest witnessed checkpoint that fitted, as (size, note).
        at: when, RFC 3339.
        full: when everything was last hashed, RFC 3339.
    """

    note: bytes
    size: int
    frontier: tuple[bytes, ...]
    chain: bytes
    recorded: str
    versions: dict[str, int]
    sequences: dict[str, str]
    producers: int
    witnessed: tuple[int, bytes] | None
    at: str
    full: str

    @classmethod
    def of(cls, walk: Walk, now: datetime, before: Verified | None) -> Self | None:
        """What to keep of an intact walk; None for an empty log."""
        if walk.newest is None and before is None:
            return None
        place, tree, at = walk.place, walk.growth.tree, format_time(now)
        cosigned = [item for item in walk.matched if item.what == "witnessed"]
        return cls(
            walk.newest or (before.note if before else b""),
            tree.size,
            tree.frontier,
            place.chain,
            place.recorded,
            place.versions,
            place.sequences,
            place.producers,
            (cosigned[-1].size, cosigned[-1].note) if cosigned else None,
            at,
            at if before is None else before.full,
        )

    def to_bytes(self) -> bytes:
        """The file."""
        return json.dumps(
            {
                "format": FORMAT,
                "verified_at": self.at,
                "everything_hashed_at": self.full,
                "checkpoint": self.note.decode(),
                "size": self.size,
                "frontier": [item.hex() for item in self.frontier],
                "chain": self.chain.hex(),
                "recorded": self.recorded,
                "versions": self.versions,
                "sequences": self.sequences,
                "producers": self.producers,
                "witnessed": None
                if self.witnessed is None
                else {"size": self.witnessed[0], "checkpoint": self.witnessed[1].decode()},
            },
            indent=1,
            sort_keys=True,
        ).encode()

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read the file.

        Raises:
            InputError: it is not what `to_bytes` writes.
        """
        try:
            found = cls._read(json.loads(data))
            same = found.to_bytes() == data
        except (InputError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            same = False
        if not same:
            raise InputError("it is not in the form that Tocsin writes")
        return found

    @classmethod
    def _read(cls, value: dict[str, Any]) -> Self:
        witnessed = value["witnessed"]
        found = cls(
            value["checkpoint"].encode(),
            value["size"],
            tuple(bytes.fromhex(item) for item in value["frontier"]),
            bytes.fromhex(value["chain"]),
            str(value["recorded"]),
            value["versions"],
            value["sequences"],
            value["producers"],
            None if witnessed is None else (witnessed["size"], witnessed["checkpoint"].encode()),
            format_time(parse_time(value["verified_at"])),
            format_time(parse_time(value["everything_hashed_at"])),
        )
        whole = [found.size, found.producers, *found.versions.values()]
        if found.witnessed is not None:
            whole.append(found.witnessed[0])
        if (
            value["format"] != FORMAT
            or any(type(item) is not int or not 0 <= item <= MAX_INT for item in whole)
            or not all(item.isdigit() and item.isascii() for item in found.sequences.values())
        ):
            raise InputError(f"{FILE} is malformed.")
        return found

    def place(self) -> Place:
        """Where the walk goes on."""
        return Place(
            self.chain,
            self.recorded,
            self.size,
            versions=dict(self.versions),
            sequences=dict(self.sequences),
            producers=self.producers,
        )

    def laid(self, known: Known) -> list[Laid]:
        """Its checkpoint, to be held against the log; none where the log did not sign it."""
        try:
            signed = Checkpoint.parse(known.keys.open(self.note, self.size).text)
        except NoteError:
            return []
        return [Laid(signed.size, self.note, "verified")]

    def growth(self, connection: Connection, known: Known) -> Growth:
        """The tree to go on with, after checking that the file and the store agree about its end.

        Raises:
            InputError: they do not, and why.
        """
        try:
            tree = CompactRange(self.size, self.frontier)
            signed = Checkpoint.parse(known.keys.open(self.note, self.size).text)
        except (NoteError, ProofError) as error:
            raise InputError(f"its checkpoint does not verify ({error})") from None
        if signed != Checkpoint(known.origin, self.size, tree.root()):
            raise InputError("its tree is not the one that its checkpoint signs")
        row = connection.execute("SELECT note FROM checkpoint WHERE size = ?", (self.size,)).fetchone()
        if row is None or row["note"] != self.note:
            raise InputError("its checkpoint is not the one the ledger has at that size")
        last = connection.execute("SELECT chain FROM event WHERE position = ?", (self.size,)).fetchone()
        if last is None or last["chain"] != self.chain:
            raise InputError("the chain of the log at that size is another")
        rows = connection.execute(
            "SELECT entry FROM event WHERE position > ? AND position <= ? ORDER BY position",
            (self.size - self.size % TILE_WIDTH, self.size),
        ).fetchall()
        tail = [leaf_hash(row["entry"]) if isinstance(row["entry"], bytes) else b"" for row in rows]
        low = (self.size % TILE_WIDTH).bit_count()
        try:
            short = CompactRange()
            short.extend(tail)
        except ProofError:
            raise InputError("the newest entries it covers are damaged") from None
        if len(tail) != self.size % TILE_WIDTH or short.frontier != self.frontier[len(self.frontier) - low :]:
            raise InputError("the newest entries it covers are not those it was made from")
        return Growth(tree, tail)

    def trusted(self) -> list[str]:
        """What a run that builds on this takes unseen."""
        return [
            f"{FILE}, which nobody signs: entries 0 to {self.size - 1} intact at {self.at}, all hashed at {self.full}",
            "those entries with their payloads, tiles and rows in the access index and the duplicate guard: not hashed",
            "the versions of streams, producers' last numbers and how many events producers had sent by then",
            "that the newest witnessed checkpoint kept by then fitted",
        ]


def read_verified(path: Path) -> Verified | None:
    """What an earlier run left; None when none did.

    Raises:
        InputError: the file is there and cannot be used.
    """
    try:
        return Verified.parse(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None


def write_verified(path: Path, verified: Verified) -> None:
    """Keep what this run found, durably and in one step.

    Raises:
        ConfigError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with temporary.open("wb") as file:
            file.write(verified.to_bytes())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        fsync_directory(path.parent)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from None
