"""The walk: every entry, payload and checkpoint in log order, and the rows that each entry left elsewhere.

Nothing stored is believed. The walk stops soon after the first damage, because what follows proves
nothing about its cause: at the first checkpoint after it, which tells an altered entry from an altered
chain, or where the log cannot be followed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from ledger import access
from ledger.checkpoint import Checkpoint
from ledger.encoding import parse
from ledger.entries import Entry, StoredEntry, commits_to
from ledger.errors import InputError, NoteError, TocsinError
from ledger.findings import Damage, Findings
from ledger.merkle import leaf_hash
from ledger.seal import chain_hash
from ledger.store.connection import Connection
from ledger.verifying.glance import Clean, Glance
from ledger.verifying.growth import Growth
from ledger.verifying.known import Known
from ledger.verifying.place import Laid, Place
from ledger.vocabulary import OWN_SOURCE

PAGE: Final = 256
"""Rows read at once, few enough to stay in a processor's cache.

Pages begin at multiples of it, so that a walk in parts sees the same pages.
"""
_SEQUENCE_DIGITS: Final = 18
_BEGINNING: Final = -(2**63)
Progress = Callable[[int, int], None]
"""Called with (entries checked, entries in all)."""


class Row(NamedTuple):
    """One row of the log; a damaged file can give any type."""

    position: Any
    stream: Any
    version: Any
    topic: Any
    entry: Any
    chain: Any
    salt: Any
    payload: Any


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
        self._glance = Glance(known, indexed=indexed, part=part)
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
        for rows in _pages(connection, first, stop):
            self._check_page(connection, rows)
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
        for (size,) in connection.stream("SELECT size FROM checkpoint WHERE size > ? ORDER BY size", (self.done,)):
            self.damaged("entry_missing", self.done, f"A checkpoint signs {size} entries; {self.done} are left.")
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

    def _check_page(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        last = self.done + len(rows)
        checkpoints = connection.tuples(
            "SELECT size, note FROM checkpoint WHERE size BETWEEN ? AND ? ORDER BY size",
            (self.done + 1 if self.done else _BEGINNING, last),
        )
        laid = [item for item in self.laid if self.done < item.size <= last]
        if self.clean:
            clean = self._glance.page(connection, rows, checkpoints, laid=laid, growth=self.growth, place=self.place)
            if clean is not None:
                self._take(clean)
                return
        self._check_rows(connection, [Row(*row) for row in rows], checkpoints, laid)

    def _take(self, clean: Clean) -> None:
        """Go on past a page that was recognised as clean."""
        place, findings = self.place, self.findings
        self.growth.absorb(clean.grown)
        self.done = clean.grown.size
        place.chain, place.recorded = clean.chain, clean.recorded
        place.versions |= clean.versions
        place.starts |= clean.starts
        place.producers += clean.producers
        for number in clean.numbers:
            self._number(*number)
        if clean.checkpoints:
            self._judged, self.newest = clean.checkpoints[-1]
            place.signed = self._judged
        self.matched += clean.laid
        findings.checkpoints += len(clean.checkpoints)
        findings.payloads += clean.payloads
        findings.accesses += clean.accesses

    def _check_rows(
        self,
        connection: Connection,
        rows: Sequence[Row],
        checkpoints: Sequence[tuple[Any, ...]],
        laid: Sequence[Laid],
    ) -> None:
        """Check a page row by row."""
        own, others = iter(checkpoints), iter(laid)
        checkpoint, item = next(own, None), next(others, None)
        decoded: list[tuple[StoredEntry, Entry]] = []
        for row in rows:
            before = self.place.recorded
            entry = self._check_row(row)
            if entry is None:
                self._lost = True
                break
            ended = self.done - 1
            # All entries of one commit share the time, so here a commit ended, and each was signed.
            if entry.recorded != before and ended and self.place.signed != ended:
                self._unsigned = self._unsigned or (None if self.known.lost.unsigned(ended) else ended)
            decoded.append((StoredEntry(row.position - 1, row.entry, row.payload, row.salt), entry))
            while checkpoint is not None and checkpoint[0] <= self.done:
                self._check_checkpoint(*checkpoint)
                checkpoint = next(own, None)
            while item is not None and item.size <= self.done:
                self._check_laid(item)
                item = next(others, None)
        for stored, entry in decoded:
            self._check_producer(connection, stored, entry)
        if decoded and decoded[0][0].index < self._indexed:
            self._check_accesses(connection, [pair for pair in decoded if pair[0].index < self._indexed])
        self._sort()

    def _check_row(self, row: Row) -> Entry | None:
        """Check one event row; None when the log cannot be followed past it."""
        index, place = self.done, self.place
        if row.position != index + 1:
            self.damaged("entry_missing", index, "The entry is missing from the log.")
            return None
        try:
            entry = Entry.decode(row.entry)
        except InputError as error:
            self.damaged("entry_altered", index, f"The entry is not what was recorded. {error}")
            return None
        leaf = leaf_hash(row.entry)
        place.chain = chain_hash(place.chain, leaf)
        if place.chain != row.chain and self._broken is None:
            # Which of the two was altered, the entry or the chain, the next signed root will tell.
            self._broken = index
        self.growth.add(leaf)
        if (_hex(row.stream), row.version, row.topic) != (
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
        if row.payload is None or row.salt is None:
            gone = row.payload is None and row.salt is None
            if gone and (self.known.erased(index) or self.known.lost.payload(index)):
                return
            self.damaged("payload_missing", index, "The payload is gone, and no recorded erasure covers it.")
        elif not (
            isinstance(row.salt, bytes)
            and isinstance(row.payload, bytes)
            and commits_to(entry.commitment, row.salt, row.payload)
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

    def _check_checkpoint(self, size: int, note: Any) -> None:
        since, self._judged = self.place.signed, self.done
        try:
            checkpoint = self._opened(note, size)
        except NoteError as error:
            problem = self.known.keys.problem
            if problem is not None and problem[0] < size:
                self.damaged("rotation_invalid", problem[0], problem[1])
                return
            self.damaged("checkpoint_altered", since, f"The checkpoint of size {size} does not verify. {error}")
            return
        if not self._fits(checkpoint, size):
            if self._broken is not None:
                self._entry_altered(self._broken)
                return
            self.damaged(
                "root_mismatch",
                since,
                f"Entries {since} to {size - 1} do not hash to the root that was signed for them.",
            )
            return
        if self._broken is not None:
            self.damaged("chain_altered", self._broken, "The chain hash beside the entry is not what was recorded.")
            self._broken = None
        if self._unsigned is not None:
            self.damaged("checkpoint_missing", since, f"No checkpoint signs {self._unsigned} entries.")
            self._unsigned = None
        self.place.signed = checkpoint.size
        self.newest = note
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
        self._number(stored.index, entry.source, payload.get("sequence"))

    def _number(self, index: int, source: str, sequence: Any) -> None:
        """Take note of what a producer's event says as its number, if it is one."""
        if (
            isinstance(sequence, str)
            and sequence.isascii()
            and sequence.isdigit()
            and len(sequence) <= _SEQUENCE_DIGITS
        ):
            if self._part and source not in self.place.sequences:
                self.place.counted[source] = (index, sequence)
            self.count(index, source, sequence)

    def count(self, index: int, source: str, sequence: str) -> None:
        """Take note of the number that a producer gave its event, and of numbers left out before it."""
        before = self.place.sequences.get(source)
        if before is not None and int(sequence) > int(before) + 1:
            self.gaps.append((index, source, before, sequence))
        self.place.sequences[source] = sequence

    def _check_accesses(self, connection: Connection, decoded: Sequence[tuple[StoredEntry, Entry]]) -> None:
        first, last = decoded[0][0].index + 1, decoded[-1][0].index + 1
        found = connection.tuples(
            "SELECT position, part, time, type, action, outcome, actor, credential, address, resource, container,"
            " subject FROM access_row WHERE position BETWEEN ? AND ? ORDER BY position, part",
            (first, last),
        )
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


def _hex(value: Any) -> str | None:
    """Hex of a column that should hold bytes; a damaged file can give any type."""
    return value.hex() if isinstance(value, bytes) else None


def _pages(connection: Connection, first: int, stop: int) -> Iterator[Sequence[tuple[Any, ...]]]:
    while True:
        last = min((max(first, 1) - 1) // PAGE * PAGE + PAGE, stop)
        rows = connection.tuples(
            "SELECT position, stream, version, topic, entry, chain, salt, payload FROM event"
            " WHERE position BETWEEN ? AND ? ORDER BY position",
            (first, last),
        )
        if rows:
            yield rows
        elif last < stop:
            # A hole of a page or more: the row after it shows that entries are missing.
            rows = connection.tuples(
                "SELECT position, stream, version, topic, entry, chain, salt, payload FROM event"
                " WHERE position > ? AND position <= ? ORDER BY position LIMIT 1",
                (last, stop),
            )
            if rows:
                yield rows
            return
        if last >= stop:
            return
        first = last + 1
