"""What the log itself says of entries that were rebuilt from published tiles without their payloads.

`org.tocsin.ledger.rebuilt.v1` is recorded right after a rebuild, once the copy may sign again; the entry between
the range and it is `org.tocsin.backup.restored.v1`, which says why the copy may:

    start, stop   leaf indices [start, stop) that were taken from tiles
    root          root over the first `stop` entries, hex: the checkpoint they were taken under
    lost          payloads that are missing in that range
    own           how many of Tocsin's own events are among them, by type
    source        `directory` or `http`

The row `rebuilt` in the table `meta` only says where those events are (and, until one is recorded, what it
has to say). It needs no trust: a range counts only as far as a signed entry names it. And the entry excuses no
more than it says: `count` holds it against what is missing. Whoever has the log's key can still sign a number
that is too high, which is why every verification states it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from ledger.checkpoint import Checkpoint
from ledger.encoding import canonical, parse_strict
from ledger.entries import Entry
from ledger.errors import InputError, NoteError
from ledger.notes import split_note
from ledger.rotation import own_data
from ledger.store.connection import Connection

REBUILT: Final = "org.tocsin.ledger.rebuilt.v1"
META: Final = "rebuilt"
_CONFIRMED: Final = "org.tocsin.backup.restored.v1"  # `ledger.recovery.restoring` imports this module
_FIELDS: Final = frozenset(("start", "stop", "root", "lost", "own", "source"))


@dataclass(frozen=True, slots=True)
class Range:
    """Entries that were taken from tiles.

    Attributes:
        start, stop: leaf indices, half-open.
        root: root over the first `stop` entries, hex.
        own: how many of Tocsin's own events lost their payload, by type.
        lost: payloads that are missing.
        source: `directory` or `http`.
    """

    start: int
    stop: int
    root: str
    own: Mapping[str, int]
    lost: int
    source: str

    def data(self) -> dict[str, Any]:
        """The `data` of the event."""
        return {
            "start": self.start,
            "stop": self.stop,
            "root": self.root,
            "own": dict(sorted(self.own.items())),
            "lost": self.lost,
            "source": self.source,
        }

    @classmethod
    def read(cls, data: object) -> Self | None:
        """Read the `data` of an event; None where it is not what `data` writes."""
        if not isinstance(data, dict) or data.keys() != _FIELDS:
            return None
        start, stop, lost, own = (data[name] for name in ("start", "stop", "lost", "own"))
        if not isinstance(own, dict) or any(type(number) is not int for number in (start, stop, lost, *own.values())):
            return None
        # What cannot be lost is not: a number that is too high would excuse what is deleted later.
        if not 0 <= start < stop or any(number < 0 for number in own.values()):
            return None
        if not sum(own.values()) <= lost <= stop - start:
            return None
        if not isinstance(data["root"], str) or not isinstance(data["source"], str):
            return None
        return cls(start, stop, data["root"], own, lost, data["source"])


@dataclass(frozen=True, slots=True)
class Noted:
    """The row in `meta`.

    Attributes:
        events: leaf indices of the events.
        pending: a rebuild that no event tells of yet, or None.
    """

    events: tuple[int, ...] = ()
    pending: Range | None = None

    @classmethod
    def read(cls, connection: Connection) -> Self:
        """Read it; one that is not as Tocsin writes it says nothing."""
        row = connection.execute("SELECT value FROM meta WHERE name = ?", (META,)).fetchone()
        if row is None or not isinstance(row["value"], bytes):
            return cls()
        try:
            value: Any = parse_strict(row["value"])
            events = tuple(value["events"])
            pending = Range.read(value["pending"])
        except (InputError, KeyError, TypeError):
            return cls()
        return cls(tuple(index for index in events if type(index) is int), pending)

    def write(self, connection: Connection) -> None:
        """Write it in the caller's transaction."""
        pending = None if self.pending is None else self.pending.data()
        connection.execute(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (META, canonical({"events": list(self.events), "pending": pending})),
        )


@dataclass(frozen=True, slots=True)
class Lost:
    """Ranges of a log whose payloads are lost on record.

    Attributes:
        ranges: each with the leaf index of the event that names it.
        pending: a range that no event names yet.
        broken: leaf indices where an event about a rebuild should be, and is not.
    """

    ranges: tuple[tuple[int, Range], ...] = ()
    pending: Range | None = None
    broken: tuple[int, ...] = field(default=())

    def _all(self) -> Iterator[Range]:
        yield from (found for _, found in self.ranges)
        if self.pending is not None:
            yield self.pending

    def payload(self, index: int) -> bool:
        """Whether this entry was rebuilt without its payload."""
        return any(found.start <= index < found.stop for found in self._all())

    def unsigned(self, size: int) -> bool:
        """Whether the checkpoint of this size is lost: tiles come with the newest one only."""
        return any(found.start < size < found.stop for found in self._all())

    def damage(self) -> Iterator[tuple[str, int | None, str]]:
        """What is wrong, for `verify`: (kind, leaf index, message)."""
        for index in self.broken:
            yield "rebuild_invalid", index, "No valid event about a rebuild from tiles stands where one is noted."
        if self.pending is not None:
            said = (
                f"Entries {self.pending.start} to {self.pending.stop - 1} were rebuilt from tiles, and no entry says so"
            )
            how = "Confirm the copy (`tocsin restore --confirm`), which records it."
            yield "rebuild_unrecorded", self.pending.start, f"{said} yet. {how}"


NOTHING: Final = Lost()


@dataclass(frozen=True, slots=True)
class Missing:
    """What is really missing in a range.

    Attributes:
        event: leaf index of the event that names the range.
        range: what it says.
        payloads: payloads that are missing and that no recorded erasure accounts for.
        unsigned: first size in the range whose checkpoint is missing although the payload before it is not.
    """

    event: int
    range: Range
    payloads: int
    unsigned: int | None = None

    def line(self) -> str:
        """What a reader of a verification must know."""
        found = self.range
        return (
            f"entries {found.start} to {found.stop - 1} were rebuilt from published tiles, as entry {self.event} "
            f"records: they are what the log signed, and {self.payloads} payloads among them are lost "
            f"(the entry says {found.lost})"
        )

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "entry": self.event,
            "range": [self.range.start, self.range.stop],
            "recorded": self.range.lost,
            "missing": self.payloads,
        }

    def damage(self) -> Iterator[tuple[str, int | None, str]]:
        """What the event does not account for, for `verify`: (kind, leaf index, message)."""
        found = self.range
        if self.payloads > found.lost:
            said = f"Of entries {found.start} to {found.stop - 1}, this entry says, {found.lost} payloads were lost in"
            how = f"a rebuild; {self.payloads} are missing. The others were deleted without a record."
            yield "rebuild_invalid", self.event, f"{said} {how}"
        if self.unsigned is not None:
            said = f"No checkpoint signs {self.unsigned} entries. No rebuild lost it: it would have lost the payload of"
            yield "checkpoint_missing", self.unsigned - 1, f"{said} this entry too."


def count(connection: Connection, lost: Lost, erased: Callable[[int], bool]) -> list[Missing]:
    """Count what is missing in each range; reads every row of the ranges, but hashes nothing.

    A rebuild loses the payloads of all its entries but those of changes of the key, whose checkpoints it keeps. So
    a checkpoint can be lost only where the payload of the last entry that it covers is.

    Args:
        connection: a read snapshot.
        lost: what is on record.
        erased: whether a recorded act accounts for the missing payload of a leaf index.
    """
    return [_count(connection, event, found, erased) for event, found in lost.ranges]


def _count(connection: Connection, event: int, found: Range, erased: Callable[[int], bool]) -> Missing:
    rows = connection.stream(
        "SELECT event.position, CASE WHEN event.payload IS NULL THEN 1 ELSE 0 END AS gone, checkpoint.size"
        " FROM event LEFT JOIN checkpoint ON checkpoint.size = event.position"
        " WHERE event.position > ? AND event.position <= ? ORDER BY event.position",
        (found.start, found.stop),
    )
    payloads, unsigned = 0, None
    for position, gone, size in rows:
        if gone and not erased(position - 1):
            payloads += 1
        elif size is None and unsigned is None and position < found.stop and _ends_commit(connection, position):
            unsigned = position
    return Missing(event, found, payloads, unsigned)


def _ends_commit(connection: Connection, position: int) -> bool:
    """Whether a commit ended with the entry at a position: all entries of one share the time."""
    rows = connection.execute(
        "SELECT entry FROM event WHERE position IN (?, ?) ORDER BY position", (position, position + 1)
    ).fetchall()
    try:
        return len({Entry.decode(row["entry"]).recorded for row in rows}) > 1
    except (InputError, TypeError):
        return False  # damaged, which the walk says


def read_lost(connection: Connection) -> Lost:
    """What this snapshot of the log accounts for; nothing where nothing was ever rebuilt.

    The events are believed here as they stand; `verify` hashes them like every other entry.
    """
    noted = Noted.read(connection)
    ranges: list[tuple[int, Range]] = []
    broken: list[int] = []
    for index in noted.events:
        found = _event(connection, index)
        if found is None:
            broken.append(index)
        else:
            ranges.append((index, found))
    return Lost(tuple(ranges), noted.pending, tuple(broken))


def _event(connection: Connection, index: int) -> Range | None:
    found = Range.read(_own(connection, index, REBUILT))
    # Between the range and the event stands nothing but the confirmation that let the copy sign again.
    if found is None or found.stop != index - 1 or _own(connection, index - 1, _CONFIRMED) is None:
        return None
    signed = connection.execute("SELECT note FROM checkpoint WHERE size = ?", (found.stop,)).fetchone()
    try:
        root = Checkpoint.parse(split_note(signed["note"])[0]).root.hex() if signed is not None else ""
    except (NoteError, TypeError, AttributeError):
        root = ""
    return found if root == found.root else None


def _own(connection: Connection, index: int, topic: str) -> dict[str, Any] | None:
    """`data` of Tocsin's own event of this type at a leaf index; None where it is not there whole."""
    row = connection.execute(
        "SELECT topic, entry, salt, payload FROM event WHERE position = ?", (index + 1,)
    ).fetchone()
    return None if row is None or row["topic"] != topic else own_data(row)
