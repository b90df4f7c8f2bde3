"""Recognising a page of the log in which nothing is wrong, with few calls for many entries.

What is proven is exactly what `ledger.verifying.walk` proves row by row; where a page is not recognised,
for whatever reason, it goes that long way, and only that way says what is wrong and where. So this module
words no damage. Tests hold the two together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Any, Final, NamedTuple

from orjson import loads

from ledger import access
from ledger.checkpoint import Checkpoint
from ledger.entries import SALT_SIZE, Columns, commit_each, decode_each
from ledger.store.connection import Connection
from ledger.verifying.growth import Grown, Growth
from ledger.verifying.known import Known
from ledger.verifying.place import Laid, Place
from ledger.vocabulary import OWN_SOURCE

_SOURCES: Final = 4096
"""Sources whose numbers are remembered."""


class _UnrecognisedError(Exception):
    """The page has to go the long way."""


@dataclass(frozen=True, slots=True)
class Clean:
    """What a page in which nothing is wrong adds to a walk.

    Attributes:
        grown: to the tree.
        chain, recorded: where it ends, as in `Place`.
        checkpoints: sizes and notes of the log's own checkpoints in it, all good.
        laid: laid checkpoints in it, all of which fit.
        versions: the last version of each stream in it.
        starts: the first version of each stream that only appears in this page; see `Place`.
        numbers: producers' sequence values as they stand, as (leaf index, source, value).
        producers, payloads, accesses: counts.
    """

    grown: Grown
    chain: bytes
    recorded: str
    checkpoints: Sequence[tuple[Any, ...]]
    laid: Sequence[Laid]
    versions: Mapping[str, int]
    starts: Mapping[str, int]
    numbers: Sequence[tuple[int, str, Any]]
    producers: int
    payloads: int
    accesses: int


class _Said(NamedTuple):
    """What the payloads of a page say that other tables must hold.

    Attributes:
        rows: rows of the access index.
        seen: for each source, event id -> (position, fingerprint) in the duplicate guard.
        numbers: see `Clean`.
        producers: producers' events, those with erased payloads included.
    """

    rows: list[tuple[Any, ...]]
    seen: dict[str, dict[str, tuple[int, Any]]]
    numbers: list[tuple[int, str, Any]]
    producers: int


class Glance:
    """Recognises pages of one log.

    Args:
        known: the log's keys and recorded erasures.
        indexed: how many entries the access index has read.
        part: the walk is over a part of the log.
    """

    def __init__(self, known: Known, *, indexed: int, part: bool) -> None:
        self._known = known
        self._indexed = indexed
        self._part = part
        self._sources: dict[str, int] = {}
        self._scattered: set[str] = set()

    def page(
        self,
        connection: Connection,
        rows: Sequence[tuple[Any, ...]],
        checkpoints: Sequence[tuple[Any, ...]],
        *,
        laid: Sequence[Laid],
        growth: Growth,
        place: Place,
    ) -> Clean | None:
        """What a page adds to a clean walk that has come to where it begins; None where that is not clear.

        Args:
            connection: a read snapshot.
            rows: one or more event rows.
            checkpoints: the log's checkpoints in the page, by size.
            laid: the laid checkpoints in it, by size.
            growth: the tree there; it is not changed.
            place: the rest of where the walk is; it is not changed.
        """
        try:
            return self._page(connection, rows, checkpoints, laid=laid, growth=growth, place=place)
        except Exception:  # noqa: BLE001 - whatever it is, the long way meets it again and says what it is
            return None

    def _page(
        self,
        connection: Connection,
        rows: Sequence[tuple[Any, ...]],
        checkpoints: Sequence[tuple[Any, ...]],
        *,
        laid: Sequence[Laid],
        growth: Growth,
        place: Place,
    ) -> Clean:
        first = growth.tree.size
        positions, streams, versions, topics, entries, chains, salts, payloads = zip(*rows, strict=True)
        _demand(positions == tuple(range(first + 1, first + 1 + len(rows))))
        columns = decode_each(entries)
        _demand(topics == columns.type and versions == columns.version)
        _demand(
            all(
                stream.hex() == name.replace("-", "") for stream, name in set(zip(streams, columns.stream, strict=True))
            )
        )
        payloads_there = self._check_payloads(first, columns.commitment, salts, payloads)
        # 0x00 before a leaf, RFC 9162 section 2.1.1: `leaf_hash` and `chain_hash` without a call for each.
        leaves = [sha256(b"\0" + entry).digest() for entry in entries]
        _check_chain(place.chain, leaves, chains)
        grown, signed = self._check_checkpoints(leaves, checkpoints, laid, growth, place.signed)
        self._check_recorded(columns.recorded, first, place, signed)
        last, starts = self._check_versions(columns.stream, columns.version, place)
        said = self._read_payloads(positions, columns, payloads)
        self._check_accesses(connection, first, len(rows), said.rows)
        for source, wanted in said.seen.items():
            self._check_seen(connection, source, wanted)
        return Clean(
            grown=grown,
            chain=chains[-1],
            recorded=columns.recorded[-1],
            checkpoints=checkpoints,
            laid=laid,
            versions=last,
            starts=starts,
            numbers=said.numbers,
            producers=said.producers,
            payloads=payloads_there,
            accesses=len(said.rows),
        )

    def _check_payloads(
        self,
        first: int,
        commitments: Sequence[str],
        salts: Sequence[bytes | None],
        payloads: Sequence[bytes | None],
    ) -> int:
        """Hash every payload that is there and account for every one that is not; returns how many are there."""
        there = list(zip(commitments, salts, payloads, strict=True))
        if None in payloads:
            gone = [at for at, (_, salt, payload) in enumerate(there, first) if salt is payload is None]
            _demand(all(self._known.erased(index) or self._known.lost.payload(index) for index in gone))
            there = [item for item in there if item[2] is not None]
            _demand(len(there) + len(gone) == len(payloads))
        if there:
            # What is no bytes here is none that can be hashed.
            said, known_salts, known_payloads = zip(*there, strict=True)
            _demand(
                commit_each(known_salts, known_payloads) == list(said) and set(map(len, known_salts)) == {SALT_SIZE}
            )
        return len(there)

    def _check_checkpoints(
        self,
        leaves: Sequence[bytes],
        checkpoints: Sequence[tuple[Any, ...]],
        laid: Sequence[Laid],
        growth: Growth,
        signed: int,
    ) -> tuple[Grown, set[int]]:
        """The tree with these leaves, and the sizes that the log signed from where the page begins."""
        sizes = {size for size, _ in checkpoints}
        grown, roots = growth.ahead(leaves, sorted(sizes.union(item.size for item in laid)))
        _demand(all(growth.tree.size < size <= grown.size for size in roots))
        for size, note in [*checkpoints, *((item.size, item.note) for item in laid)]:
            opened = Checkpoint.parse(self._known.keys.open(note, size).text)
            _demand(opened == Checkpoint(self._known.origin, size, roots[size]))
        return grown, sizes | {signed}

    def _check_recorded(self, recorded: Sequence[str], first: int, place: Place, signed: set[int]) -> None:
        """Times never decrease, and where they change a commit ended, which was signed."""
        times = (place.recorded, *recorded)
        ends = {size for size, (one, other) in enumerate(pairwise(times), first) if one != other}
        _demand(all(map(self._known.lost.unsigned, ends - {0} - signed)) and list(times) == sorted(times))

    def _check_versions(
        self, streams: Sequence[str], versions: Sequence[int], place: Place
    ) -> tuple[dict[str, int], dict[str, int]]:
        last: dict[str, int] = {}
        starts: dict[str, int] = {}
        for stream in set(streams):
            before = place.versions.get(stream)
            if before is None and self._part:
                starts[stream] = versions[streams.index(stream)]
                before = starts[stream] - 1
            last[stream] = before or 0
        if len(last) == 1:
            stream, before = last.popitem()
            _demand(versions == tuple(range(before + 1, before + 1 + len(versions))))
            return {stream: versions[-1]}, starts
        for stream, version in zip(streams, versions, strict=True):
            _demand(version == last[stream] + 1)
            last[stream] = version
        return last, starts

    def _read_payloads(self, positions: Sequence[int], columns: Columns, payloads: Sequence[bytes | None]) -> _Said:
        rows: list[tuple[Any, ...]] = []
        seen: dict[str, dict[str, tuple[int, Any]]] = {}
        numbers: list[tuple[int, str, Any]] = []
        producers = read = 0
        actions = {event_type: access.action_of(event_type) for event_type in set(columns.type)}
        for position, source, event_id, event_type, time, payload in zip(
            positions, columns.source, columns.id, columns.type, columns.time, payloads, strict=True
        ):
            own = source == OWN_SOURCE
            producers += not own
            action = actions[event_type] if position <= self._indexed else None
            if payload is None or (own and action is None):
                continue
            value = loads(payload)
            if not own:
                read += 1
                wanted = seen.get(source)
                if wanted is None:
                    wanted = seen[source] = {}
                wanted[event_id] = (position, value.get("submission"))
                if "sequence" in value:
                    numbers.append((position - 1, source, value["sequence"]))
            if action is not None:
                rows += access.index_rows(position, time, event_type, action, value)
        _demand(sum(map(len, seen.values())) == read)  # no id came twice
        return _Said(rows, seen, numbers, producers)

    def _check_accesses(self, connection: Connection, first: int, count: int, expected: list[tuple[Any, ...]]) -> None:
        if first >= self._indexed:
            return
        found = connection.tuples(
            "SELECT position, part, time, type, action, outcome, actor, credential, address, resource, container,"
            " subject FROM access_row WHERE position BETWEEN ? AND ? ORDER BY position, part",
            (first + 1, min(first + count, self._indexed)),
        )
        _demand(found == expected)

    def _check_seen(self, connection: Connection, source: str, wanted: Mapping[str, tuple[int, Any]]) -> None:
        number = self._number(connection, source)
        if source not in self._scattered:
            # Ids that rise with time, as UUIDv7 do, stand side by side: reading a run is cheaper than asking for each.
            rows = connection.tuples(
                "SELECT id, position, digest FROM seen WHERE source = ? AND id BETWEEN ? AND ? ORDER BY id LIMIT ?",
                (number, min(wanted), max(wanted), 2 * len(wanted)),
            )
            if _holds(rows, wanted):
                return
            self._scattered.add(source)
        asked = ", ".join("?" * len(wanted))
        rows = connection.tuples(
            f"SELECT id, position, digest FROM seen WHERE source = ? AND id IN ({asked})",  # noqa: S608 - a number of marks
            (number, *wanted),
        )
        _demand(_holds(rows, wanted))

    def _number(self, connection: Connection, source: str) -> int:
        number = self._sources.get(source)
        if number is None:
            if len(self._sources) == _SOURCES:
                self._sources.clear()
                self._scattered.clear()
            number = connection.execute("SELECT number FROM source WHERE uri = ?", (source,)).fetchone()["number"]
            self._sources[source] = number
        return number


def _demand(holds: bool) -> None:
    if not holds:
        raise _UnrecognisedError


def _holds(rows: Sequence[tuple[Any, ...]], wanted: Mapping[str, tuple[int, Any]]) -> bool:
    return {event_id: (position, digest.hex()) for event_id, position, digest in rows}.items() >= wanted.items()


def _check_chain(chain: bytes, leaves: Sequence[bytes], chains: Sequence[bytes]) -> None:
    running = []
    for leaf in leaves:
        chain = sha256(chain + leaf).digest()
        running.append(chain)
    _demand(running == list(chains))
