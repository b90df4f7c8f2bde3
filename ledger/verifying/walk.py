"""The walk: every entry, payload and checkpoint in log order, and the rows that each entry left elsewhere.

Nothing stored is believed. The walk stops soon after the first damage, because what follows proves
nothing about its cause: at the first checkpoint after it, which tells an altered entry from an altered
chain, or where the log cannot be followed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from ledger import access
from ledger.checkpoint import Checkpoint
from ledger.encoding import parse
from ledger.entries import Entry, StoredEntry, commits_to
from ledger.errors import InputError, NoteError, TocsinError
from ledger.findings import Damage, Findings
from ledger.merkle import leaf_hash
from ledger.seal import GENESIS_CHAIN, chain_hash
from ledger.store.connection import Connection, Row
from ledger.verifying.growth import Growth
from ledger.verifying.known import Known
from ledger.vocabulary import OWN_SOURCE

PAGE: Final = 1024
"""Rows read at once; pages begin at multiples of it, so that a walk in parts sees the same pages."""
_SEQUENCE_DIGITS: Final = 18
_BEGINNING: Final = -(2**63)
Item = TypeVar("Item")
Progress = Callable[[int, int], None]
"""Called with (entries checked, entries in all)."""


@dataclass(frozen=True, slots=True)
class Laid:
    """A checkpoint from elsewhere, laid beside the walk.

    Attributes:
        size: the tree size it is filed under.
        note: the signed checkpoint.
        what: `witnessed`, or `verified` by an earlier run.
    """

    size: int
    note: bytes
    what: str = "witnessed"


@dataclass(slots=True)
class Place:
    """How far a walk has come, but for the tree.

    Attributes:
        chain: the chain hash there.
        recorded: when the entry before was recorded.
        signed: size of the newest good checkpoint.
        versions: the last version of each stream.
        starts: in a part, the first version of each stream that the part cannot judge.
        sequences: the last number of each source that counts its events.
        counted: in a part, the first number of each source, as (leaf index, number).
        producers: producers' events so far.
    """

    chain: bytes = GENESIS_CHAIN
    recorded: str = ""
    signed: int = 0
    versions: dict[str, int] = field(default_factory=dict)
    starts: dict[str, int] = field(default_factory=dict)
    sequences: dict[str, str] = field(default_factory=dict)
    counted: dict[str, tuple[int, str]] = field(default_factory=dict)
    producers: int = 0


class Walk:
    """One walk along the log.

    Args:
        known: the log's keys and recorded erasures.
        growth: the tree where the walk begins; empty for the whole log.
        place: the rest of where it begins.
        indexed: how many entries the access index has read.
        part: this is a part of the log; what the entries before it decide is left open.
        progress: called after each page.
        total: entries in the log, for `progress`.
    """

    def __init__(
        self,
        known: Known,
        *,
        growth: Growth | None = None,
        place: Place | None = None,
        indexed: int = 0,
        part: bool = False,
        progress: Progress = lambda _done, _total: None,
        total: int = 0,
    ) -> None:
        self.findings = Findings()
        self.growth = growth or Growth()
        self.place = place or Place()
        self.done = self.growth.tree.size
        self.gaps: list[tuple[int, str, str, str]] = []
        self.newest: bytes | None = None
        self.matched: list[Laid] = []
        self.laid: Sequence[Laid] = ()
        self.known = known
        self._indexed = indexed
        self._part = part
        self._progress = progress
        self._total = total
        self._lost = False  # the log cannot be followed any further
        self._judged = 0  # size of the last checkpoint that was compared, good or bad
        self._broken: int | None = None  # first entry since then whose chain hash is wrong
        self._unsigned: int | None = None  # size since then at which a checkpoint is missing

    @property
    def clean(self) -> bool:
        """Nothing is damaged, and nothing waits for a later checkpoint to be judged."""
        return not self.findings.damage and self._broken is None and self._unsigned is None

    @property
    def over(self) -> bool:
        """Whether going on would add nothing to what was found."""
        if self._lost:
            return True
        bad = [damage.index or 0 for damage in self.findings.damage]
        return bool(bad) and self._broken is None and min(bad) < self._judged

    def damaged(self, kind: str, index: int | None, message: str) -> None:
        """Note damage."""
        self.findings.damage.append(Damage(kind, index, message))

    def walk(self, connection: Connection, stop: int) -> None:
        """Go on to `stop` entries, or to where it is over."""
        first = self.done + 1 if self.done else _BEGINNING
        checkpoints = _Ahead(
            iter(connection.execute("SELECT size, note FROM checkpoint WHERE size >= ? ORDER BY size", (first,)))
        )
        laid = _Ahead(iter([item for item in self.laid if item.size > self.done]))
        for rows in _pages(connection, first, stop):
            self._check_page(connection, rows, checkpoints, laid)
            self._progress(self.done, self._total)
            if self.over:
                return

    def finish(self, connection: Connection) -> None:
        """Judge what is still open once the walk has come to the end, or is over."""
        if self._broken is not None:
            self._entry_altered(self._broken)
            self._sort()
        if self.findings.damage:
            return
        for row in connection.execute("SELECT size FROM checkpoint WHERE size > ? ORDER BY size", (self.done,)):
            self.damaged("entry_missing", self.done, f"A checkpoint signs {row['size']} entries; {self.done} are left.")
        for item in self.laid:
            if item.size > self.done:
                self.damaged(
                    "rolled_back",
                    self.done,
                    f"A {item.what} checkpoint covers {item.size} entries; {self.done} are left. An old backup was "
                    "started, or the newest entries were removed.",
                )
        self._sort()

    def _sort(self) -> None:
        # Damage found by different checks of one page is put in log order.
        self.findings.damage.sort(key=lambda damage: damage.place)

    def _check_page(
        self,
        connection: Connection,
        rows: Sequence[Row],
        checkpoints: _Ahead[Row],
        laid: _Ahead[Laid],
    ) -> None:
        decoded: list[tuple[StoredEntry, Entry]] = []
        for row in rows:
            before = self.place.recorded
            entry = self._check_row(row)
            if entry is None:
                self._lost = True
                break
            if entry.recorded != before and self.done > 1 and self.place.signed != self.done - 1:
                # All entries of one commit share the time, so here a commit ended, and each was signed.
                self._unsigned = self._unsigned or self.done - 1
            decoded.append((StoredEntry(row["position"] - 1, row["entry"], row["payload"], row["salt"]), entry))
            for checkpoint in checkpoints.upto(self.done, lambda item: item["size"]):
                self._check_checkpoint(checkpoint)
            for item in laid.upto(self.done, lambda item: item.size):
                self._check_laid(item)
        for stored, entry in decoded:
            self._check_producer(connection, stored, entry)
        if decoded and decoded[0][0].index < self._indexed:
            self._check_accesses(connection, [pair for pair in decoded if pair[0].index < self._indexed])
        self._sort()

    def _check_row(self, row: Row) -> Entry | None:
        """Check one event row; None when the log cannot be followed past it."""
        index, place = self.done, self.place
        if row["position"] != index + 1:
            self.damaged("entry_missing", index, "The entry is missing from the log.")
            return None
        try:
            entry = Entry.decode(row["entry"])
        except InputError as error:
            self.damaged("entry_altered", index, f"The entry is not what was recorded. {error}")
            return None
        leaf = leaf_hash(row["entry"])
        place.chain = chain_hash(place.chain, leaf)
        if place.chain != row["chain"] and self._broken is None:
            # Which of the two was altered, the entry or the chain, the next signed root will tell.
            self._broken = index
        self.growth.add(leaf)
        if (_hex(row["stream"]), row["version"], row["topic"]) != (
            entry.stream.replace("-", ""),
            entry.version,
            entry.type,
        ):
            self.damaged("row_altered", index, "The columns beside the entry contradict it.")
        self._check_version(entry, index)
        if entry.recorded < place.recorded:
            self.damaged("time_reversed", index, "The entry was recorded before the one it follows.")
        place.recorded = entry.recorded
        self._check_payload(row, entry, index)
        self.done += 1
        return entry

    def _check_version(self, entry: Entry, index: int) -> None:
        known = self.place.versions.get(entry.stream)
        self.place.versions[entry.stream] = entry.version
        if known is None and self._part:
            self.place.starts[entry.stream] = entry.version
            return
        expected = (known or 0) + 1
        if entry.version != expected:
            self.damaged("stream_gap", index, f"The stream goes on with version {entry.version} instead of {expected}.")

    def _check_payload(self, row: Row, entry: Entry, index: int) -> None:
        if row["payload"] is None or row["salt"] is None:
            if row["payload"] is None and row["salt"] is None and self.known.erased(index):
                return
            self.damaged("payload_missing", index, "The payload is gone, and no recorded erasure covers it.")
        elif not (
            isinstance(row["salt"], bytes)
            and isinstance(row["payload"], bytes)
            and commits_to(entry.commitment, row["salt"], row["payload"])
        ):
            self.damaged("payload_altered", index, "The payload or its salt is not what the entry commits to.")
        else:
            self.findings.payloads += 1

    def _entry_altered(self, index: int) -> None:
        self._broken = None
        kinds = {damage.kind for damage in self.findings.damage if damage.index == index}
        if "stream_gap" in kinds and "row_altered" not in kinds:
            return  # a whole row is missing or in another's place, and that was said
        self.damaged("entry_altered", index, "The entry is not what was recorded: its chain hash does not fit.")

    def _opened(self, note: Any, size: int) -> Checkpoint:
        return Checkpoint.parse(self.known.keys.open(note if isinstance(note, bytes) else b"", size).text)

    def _fits(self, checkpoint: Checkpoint, size: int) -> bool:
        return checkpoint == Checkpoint(self.known.origin, size, self.growth.tree.root())

    def _check_checkpoint(self, row: Row) -> None:
        since, self._judged = self.place.signed, self.done
        try:
            checkpoint = self._opened(row["note"], row["size"])
        except NoteError as error:
            problem = self.known.keys.problem
            if problem is not None and problem[0] < row["size"]:
                self.damaged("rotation_invalid", problem[0], problem[1])
                return
            self.damaged("checkpoint_altered", since, f"The checkpoint of size {row['size']} does not verify. {error}")
            return
        if not self._fits(checkpoint, row["size"]):
            if self._broken is not None:
                self._entry_altered(self._broken)
                return
            self.damaged(
                "root_mismatch",
                since,
                f"Entries {since} to {row['size'] - 1} do not hash to the root that was signed for them.",
            )
            return
        if self._broken is not None:
            self.damaged("chain_altered", self._broken, "The chain hash beside the entry is not what was recorded.")
            self._broken = None
        if self._unsigned is not None:
            self.damaged("checkpoint_missing", since, f"No checkpoint signs {self._unsigned} entries.")
            self._unsigned = None
        self.place.signed = checkpoint.size
        self.newest = row["note"]
        self.findings.checkpoints += 1

    def _check_laid(self, item: Laid) -> None:
        since = self.matched[-1].size if self.matched else 0
        try:
            checkpoint = self._opened(item.note, item.size)
        except NoteError as error:
            self.damaged(
                "witnessed_note_altered", since, f"The kept checkpoint of size {item.size} does not verify. {error}"
            )
            return
        if checkpoint.size != item.size:
            self.damaged("witnessed_note_altered", since, f"What is kept for size {item.size} is of another size.")
        elif self._fits(checkpoint, item.size):
            self.matched.append(item)
        elif self._broken is None:
            # An entry that does not even fit its chain hash is named by the log's own checkpoint.
            self.damaged(
                f"{item.what}_root_mismatch",
                since,
                f"Entries {since} to {item.size - 1} do not hash to the root of the {item.what} checkpoint of this "
                "log: its key signed two histories.",
            )

    def _check_producer(self, connection: Connection, stored: StoredEntry, entry: Entry) -> None:
        if entry.source == OWN_SOURCE:
            return
        self.place.producers += 1
        if stored.payload is None:
            return
        try:
            payload = parse(stored.payload)
        except InputError:
            payload = None
        if not isinstance(payload, dict):
            return  # reported as an altered payload already
        seen = connection.execute(
            "SELECT position, digest FROM seen WHERE id = ? AND source = (SELECT number FROM source WHERE uri = ?)",
            (entry.id, entry.source),
        ).fetchone()
        if seen is None or (seen["position"], _hex(seen["digest"])) != (
            stored.index + 1,
            payload.get("submission"),
        ):
            self.damaged("duplicate_guard_altered", stored.index, "The row that recognises repeated events is wrong.")
        sequence = payload.get("sequence")
        if (
            isinstance(sequence, str)
            and sequence.isascii()
            and sequence.isdigit()
            and len(sequence) <= _SEQUENCE_DIGITS
        ):
            if self._part and entry.source not in self.place.sequences:
                self.place.counted[entry.source] = (stored.index, sequence)
            self.count(stored.index, entry.source, sequence)

    def count(self, index: int, source: str, sequence: str) -> None:
        """Take note of the number that a producer gave its event, and of numbers left out before it."""
        before = self.place.sequences.get(source)
        if before is not None and int(sequence) > int(before) + 1:
            self.gaps.append((index, source, before, sequence))
        self.place.sequences[source] = sequence

    def _check_accesses(self, connection: Connection, decoded: Sequence[tuple[StoredEntry, Entry]]) -> None:
        first, last = decoded[0][0].index + 1, decoded[-1][0].index + 1
        rows = connection.execute(
            "SELECT position, part, time, type, action, outcome, actor, credential, address, resource, container,"
            " subject FROM access_row WHERE position BETWEEN ? AND ? ORDER BY position, part",
            (first, last),
        ).fetchall()
        found = [tuple(row) for row in rows]
        expected = []
        for stored, entry in decoded:
            try:
                touched = access.accesses(stored, entry)
            except (TocsinError, AttributeError, KeyError, TypeError):
                continue  # an altered payload, reported already
            expected += [
                (a.index + 1, part, a.time, a.type, a.action, a.outcome, a.actor, a.credential, a.address,
                 a.resource, a.container, a.subject)
                for part, a in enumerate(touched)
            ]  # fmt: skip
        if found != expected:
            both = zip(found, expected, strict=False)
            place = next(
                (min(a[0], b[0]) for a, b in both if a != b), max(rows[-1][0] for rows in (found, expected) if rows)
            )
            self.damaged("read_model_altered", int(place) - 1, "The access index says something else than the log.")
        self.findings.accesses += len(found)


class _Ahead(Generic[Item]):
    """Reads an ordered source of checkpoints as far as the walk has come."""

    def __init__(self, source: Iterator[Item]) -> None:
        self._source = source
        self._next: Item | None = next(source, None)

    def upto(self, size: int, of: Callable[[Item], int]) -> Iterator[Item]:
        while self._next is not None and of(self._next) <= size:
            yield self._next
            self._next = next(self._source, None)


def _hex(value: Any) -> str | None:
    """Hex of a column that should hold bytes; a damaged file can give any type."""
    return value.hex() if isinstance(value, bytes) else None


def _pages(connection: Connection, first: int, stop: int) -> Iterator[Sequence[Row]]:
    while True:
        last = min((max(first, 1) - 1) // PAGE * PAGE + PAGE, stop)
        rows = connection.execute(
            "SELECT position, stream, version, topic, entry, chain, salt, payload FROM event"
            " WHERE position BETWEEN ? AND ? ORDER BY position",
            (first, last),
        ).fetchall()
        if rows:
            yield rows
        elif last < stop:
            # A hole of a page or more: the row after it shows that entries are missing.
            rows = connection.execute(
                "SELECT position, stream, version, topic, entry, chain, salt, payload FROM event"
                " WHERE position > ? AND position <= ? ORDER BY position LIMIT 1",
                (last, stop),
            ).fetchall()
            if rows:
                yield rows
            return
        if last >= stop:
            return
        first = last + 1
