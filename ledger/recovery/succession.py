"""A new log that continues an old one which cannot go on.

When entries that others have seen are lost for good, signing the shorter log again would be a fork. The way
on is a new log under a new origin. Its first entry, `org.tocsin.ledger.succeeded.v1`, says which log it
continues and carries that log's last known checkpoint, so that the two histories are tied together and
nothing that was lost is hidden.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from ledger.checkpoint import Checkpoint
from ledger.errors import NoteError
from ledger.notes import Verifier, open_note
from ledger.recovery.errors import RotationError
from ledger.rotation import own_data
from ledger.store.connection import Connection

SUCCEEDED: Final = "org.tocsin.ledger.succeeded.v1"


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The log that another continues.

    Attributes:
        vkey: its key.
        checkpoint: its last known checkpoint: a note, with cosignatures where there are any.
        restorable: entries of it that a backup still holds.
        reason: why it cannot go on, in a few words without personal data.
    """

    vkey: str
    checkpoint: bytes
    restorable: int
    reason: str

    @property
    def head(self) -> Checkpoint:
        """The checkpoint, verified.

        Raises:
            NoteError: the key did not sign it.
        """
        verifier = Verifier.from_vkey(self.vkey)
        head = Checkpoint.parse(open_note(self.checkpoint, [verifier]).text)
        if head.origin != verifier.name:
            raise NoteError("The checkpoint of the log that is continued is of another log than its key.")
        return head

    def data(self) -> dict[str, Any]:
        """What the first entry of the new log says of it."""
        head = self.head
        return {
            "origin": head.origin,
            "vkey": self.vkey,
            "size": head.size,
            "root": head.root.hex(),
            "checkpoint": self.checkpoint.decode(),
            "restorable": self.restorable,
            "reason": self.reason,
        }

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Self:
        """Read and check what a first entry says.

        Raises:
            RotationError: malformed, or its checkpoint is not of the log, size and root it names.
        """
        try:
            found = cls(data["vkey"], data["checkpoint"].encode(), data["restorable"], data["reason"])
            same = found.data() == dict(data)
        except (KeyError, TypeError, AttributeError, UnicodeError, NoteError):
            same = False
        if not same:
            raise RotationError("The first entry names a log it continues, but not with a checkpoint of that log.")
        return found


def read_lineage(connection: Connection) -> tuple[list[str], str | None]:
    """What the first entry says of a log that this one continues, and what is wrong with it."""
    row = connection.execute("SELECT topic, entry, salt, payload FROM event WHERE position = 1").fetchone()
    if row is None or row["topic"] != SUCCEEDED:
        return [], None
    data = own_data(row)
    try:
        head = Predecessor.read((data or {}).get("predecessor") or {}).head
    except RotationError as error:
        return [], str(error)
    said = f"this log continues {head.origin}, whose last known checkpoint had {head.size} entries and root "
    return [f"{said}{head.root.hex()}; verify that log by its own data"], None
