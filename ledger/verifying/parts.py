"""Walking ahead in other processes, and taking their word only where it is good.

A worker walks one aligned stretch of the log, from where the *store* says the stretch before it ends.
Its result counts only if its walk was clean and began exactly where the walk of this process has come
to; whatever is damaged, unclear, or lost with a killed worker is walked here, from this process's own
view of the store. So what is found, and in which words, never depends on how many processes there were.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any, Final

from ledger.entries import Entry
from ledger.merkle import CompactRange
from ledger.notes import Verifier
from ledger.store.connection import Connection
from ledger.store.log import read_tile
from ledger.store.opening import reopen
from ledger.tiles import TileReader
from ledger.verifying.growth import Grown, Growth
from ledger.verifying.known import read_known
from ledger.verifying.place import Laid, Place
from ledger.verifying.walk import Walk
from ledger.witness import records

SPAN: Final = 65_536
"""Entries in a part: a full subtree, whose left border is in the tiles."""

Take = Callable[[int], "Part | None"]
"""Gives the part that begins at a leaf index; None where nobody walked it or the walk was not clean."""


@dataclass(frozen=True, slots=True)
class Part:
    """A clean walk over one stretch.

    Attributes:
        size, frontier, chain, recorded, signed: where it began, as the store said.
        grown: what it added to the tree.
        place: where it ended; `starts` and `counted` are for whoever knows what lies before.
        gaps: numbers left out, as in `Walk`.
        newest: the newest checkpoint in it.
        matched: laid checkpoints that fit.
        payloads, checkpoints, accesses: counts.
    """

    size: int
    frontier: tuple[bytes, ...]
    chain: bytes
    recorded: str
    signed: int
    grown: Grown
    place: Place
    gaps: tuple[tuple[int, str, str, str], ...]
    newest: bytes | None
    matched: tuple[Laid, ...]
    payloads: int
    checkpoints: int
    accesses: int


def absorb(walk: Walk, part: Part) -> bool:
    """Take a part into a walk; False, with nothing changed, where it does not fit."""
    place, tree = walk.place, walk.growth.tree
    began = (part.size, part.frontier, part.chain, part.recorded, part.signed)
    if not walk.clean or began != (tree.size, tree.frontier, place.chain, place.recorded, place.signed):
        return False
    if any(version != place.versions.get(stream, 0) + 1 for stream, version in part.place.starts.items()):
        return False
    walk.growth.absorb(part.grown)
    place.chain, place.recorded, place.signed = part.place.chain, part.place.recorded, part.place.signed
    place.versions |= part.place.versions
    place.producers += part.place.producers
    for source, (index, sequence) in part.place.counted.items():
        walk.count(index, source, sequence)
    place.sequences |= part.place.sequences
    walk.gaps += part.gaps
    walk.newest = part.newest or walk.newest
    walk.matched += part.matched
    walk.findings.payloads += part.payloads
    walk.findings.checkpoints += part.checkpoints
    walk.findings.accesses += part.accesses
    walk.done = part.grown.size
    return True


def scan(address: Any, vkey: str, start: int, stop: int, indexed: int) -> Part | None:
    """Walk [start, stop) of the log in a database; None unless it is clean.

    Args:
        address: `Database.address`.
        vkey: the log's key.
        start: a multiple of 256 leaves.
        stop: where to end.
        indexed: how many entries the access index has read, as the caller saw it.
    """
    try:
        with closing(reopen(address)) as database, database.read() as connection:
            place, tree = _edge(connection, start)
            began = (start, tree.frontier, place.chain, place.recorded, place.signed)
            verifier = Verifier.from_vkey(vkey)
            walk = Walk(read_known(connection, verifier), growth=Growth(tree), place=place, indexed=indexed, part=True)
            walk.laid = laid(connection)
            walk.walk(connection, stop)
    except Exception:  # noqa: BLE001 - whatever it is, the caller meets it again and says what it is
        return None
    if not walk.clean or walk.done != stop:
        return None
    found = walk.findings
    return Part(
        *began,
        walk.growth.grown(),
        walk.place,
        tuple(walk.gaps),
        walk.newest,
        tuple(walk.matched),
        found.payloads,
        found.checkpoints,
        found.accesses,
    )


def laid(connection: Connection) -> list[Laid]:
    """The checkpoints that this log keeps as witnessed, smallest first."""
    return [Laid(item.size, item.note) for item in records.published(connection)]


def _edge(connection: Connection, start: int) -> tuple[Place, CompactRange]:
    """Where the log before `start` ends, as the store has it; nobody vouches for it yet."""
    if start == 0:
        return Place(), CompactRange()
    row = connection.execute("SELECT entry, chain FROM event WHERE position = ?", (start,)).fetchone()
    node = TileReader(lambda level, number, width: read_tile(connection, level, number, width), start)
    frontier, at = [], 0
    for level in reversed(range(start.bit_length())):
        if start >> level & 1:
            frontier.append(node(level, at >> level))
            at += 1 << level
    signed = connection.execute("SELECT max(size) FROM checkpoint WHERE size <= ?", (start,)).fetchone()[0]
    place = Place(chain=row["chain"], recorded=Entry.decode(row["entry"]).recorded, signed=signed or 0)
    return place, CompactRange(start, frontier)


@contextmanager
def workers(address: Any, vkey: str, starts: range, *, total: int, indexed: int, jobs: int) -> Iterator[Take]:
    """Have parts walked by `jobs` processes while the block lasts.

    Args:
        address: `Database.address`.
        vkey: the log's key.
        starts: where the parts begin.
        total: entries in all.
        indexed: see `scan`.
        jobs: processes; 1 walks nothing ahead.
    """
    if jobs < 2 or len(starts) < 2:  # noqa: PLR2004 - one of either is what this process does itself
        yield lambda _start: None
        return
    # Forking would copy the locks of this process's threads in whatever state they are.
    pool = ProcessPoolExecutor(min(jobs, len(starts)), multiprocessing.get_context("spawn"), initializer=_begin_worker)
    try:
        futures: dict[int, Future[Part | None]] = {}
        # A worker died already, or none can be had: this process walks what was not handed out.
        with suppress(BrokenProcessPool, OSError):
            for start in starts:
                futures[start] = pool.submit(scan, address, vkey, start, min(start + starts.step, total), indexed)

        def take(start: int) -> Part | None:
            future = futures.pop(start, None)
            try:
                return None if future is None else future.result()
            except Exception:  # noqa: BLE001 - a worker that was killed, or could not even begin
                return None

        yield take
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin_worker() -> None:
    """Leave Ctrl+C to the parent, and do not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
