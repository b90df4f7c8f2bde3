"""Writers and readers on one ledger; run by tests/ledger/test_hammer.py, several at once.

    hammering.py DIRECTORY NAME WRITERS READERS ROUNDS SIZE

Each writer does ROUNDS rounds of fixed work. Each reader takes checkpoints, receipts, proofs and tiles and verifies
every one of them by pure functions, until it has seen the log at SIZE. One JSON line for each receipt and at the end
one that says how much was read.
"""

from __future__ import annotations

import json
import random
import sys
import threading
from collections import Counter
from pathlib import Path
from uuid import NAMESPACE_URL, UUID, uuid5

from dying import report, view
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import IntegrityError

from ledger import Ledger, OwnEvent
from ledger.application import LedgerApplication
from ledger.checkpoint import Checkpoint
from ledger.errors import OverloadedError, StoreBusyError
from ledger.merkle import consistency_path, leaf_hash, root_hash, verify_consistency
from ledger.notes import Verifier, open_note
from ledger.proofs import parse_proof, verify_receipt
from ledger.tiles import TILE_WIDTH, TileReader, decode_bundle

CONTESTED = uuid5(NAMESPACE_URL, "tocsin:test:contested-door")


class Door(Aggregate):
    TOPIC = "org.tocsin.test_hammer.v1"

    class Created(Aggregate.Created):
        TOPIC = "org.tocsin.test_hammer.built.v1"
        room: str

    class Opened(Aggregate.Event):
        TOPIC = "org.tocsin.test_hammer.opened.v1"
        by: str

    @event(Created)
    def __init__(self, room: str) -> None:
        self.room = room
        self.openings: list[str] = []

    @staticmethod
    def create_id(room: str) -> UUID:
        return CONTESTED if room == "contested" else uuid5(NAMESPACE_URL, f"tocsin:test:{room}")

    @event(Opened)
    def open(self, by: str) -> None:
        self.openings.append(by)


def insist(do):
    """Do it, again where the store says that it was busy."""
    while True:
        try:
            return do()
        except (StoreBusyError, OverloadedError):
            continue


def write(ledger: Ledger, name: str, rounds: int, held: list[dict]) -> None:
    """One writer: 12 entries a round, and one each round that all writers share."""
    application = LedgerApplication(ledger)
    insist(lambda: application.save(Door(room=name)))
    for number in range(rounds):
        single = [view(f"{name}-{number}")]
        batch = [view(f"{name}-{number}-{part}") for part in range(7)]
        # What was sent before comes again, among what is new, and what all the others send too.
        again = [batch[0], view(f"shared-{number}"), *single]
        for events in (single, batch, again):
            receipts = insist(lambda events=events: ledger.append(events))
            held += [receipt.as_json() for receipt in receipts]
        insist(lambda number=number: ledger.record([OwnEvent("org.tocsin.logging.sampled.v1", {"round": number})]))
        open_door(application, Door.create_id(name), name)
        open_door(application, Door.create_id(name), name)
        open_door(application, CONTESTED, name)
        if number % 3 == 0:
            insist(ledger.access.follow)


def open_door(application: LedgerApplication, door: UUID, name: str) -> None:
    while True:
        found = application.repository.get(door)
        found.open(by=name)
        try:
            insist(lambda found=found: application.save(found))
        except IntegrityError:
            continue
        return


class Reader:
    """Believes nothing that it cannot verify, and nothing that contradicts what it saw before."""

    def __init__(self, ledger: Ledger, held: list[dict], seed: str) -> None:
        self.ledger, self.held, self.luck = ledger, held, random.Random(seed)
        self.verifier = Verifier.from_vkey(ledger.vkey)
        self.policy = f"log {ledger.vkey}\nquorum none\n".encode()
        self.seen = [self.take()]
        self.leaves: dict[int, bytes] = {}
        self.done: Counter[str] = Counter()

    def take(self) -> Checkpoint:
        return Checkpoint.parse(open_note(self.ledger.checkpoint(), [self.verifier]).text)

    def look(self) -> int:
        now = self.take()
        last = self.seen[-1]
        assert now.size >= last.size, "the log became shorter"
        node = TileReader(self.ledger.tile, now.size)
        for old in (last, self.luck.choice(self.seen)):
            path = consistency_path(old.size, now.size, node)
            verify_consistency(old.size, now.size, old.root, now.root, path)
            self.done["consistency"] += 1
        if now.size > last.size:
            self.seen.append(now)
        self.prove([self.luck.randrange(now.size) for _ in range(4)] + [now.size - 1], now)
        self.tiles(now)
        self.receipts()
        return now.size

    def prove(self, indices: list[int], now: Checkpoint) -> None:
        for index, text in zip(indices, self.ledger.prove_many(indices), strict=True):
            entry = self.ledger.entry(index).entry
            found = verify_receipt(text, entry, self.policy)
            assert found.index == index
            assert found.size >= now.size
            assert self.leaves.setdefault(index, leaf_hash(entry)) == leaf_hash(entry), "an entry changed"
            assert parse_proof(text).index == index
            self.done["inclusion"] += 1

    def tiles(self, now: Checkpoint) -> None:
        full, rest = divmod(now.size, TILE_WIDTH)
        tiles = [(number, TILE_WIDTH) for number in self.luck.sample(range(full), min(1, full))]
        for number, width in [*tiles, *[(full, rest)] * bool(rest)]:
            hashes = self.ledger.tile(0, number, width)
            entries = decode_bundle(self.ledger.entry_bundle(number, width), width)
            leaves = [leaf_hash(entry) for entry in entries]
            assert b"".join(leaves) == hashes, "a tile is not of its entries"
            if width == TILE_WIDTH:
                assert self.ledger.tile(1, 0, number + 1)[-32:] == root_hash(leaves), "a tile is not of those below it"
            self.done["tile"] += 1

    def receipts(self) -> None:
        for receipt in self.luck.sample(self.held, min(3, len(self.held))):
            found = self.ledger.find(receipt["source"], receipt["id"])
            assert found is not None
            assert found.as_json() == receipt, "a receipt changed"
            entry = self.ledger.entry(receipt["index"]).entry
            assert leaf_hash(entry).hex() == receipt["entry_hash"]
            self.done["receipt"] += 1


def main() -> None:
    directory, name = Path(sys.argv[1]), sys.argv[2]
    writers, readers, rounds, size = map(int, sys.argv[3:])
    held: list[dict] = []
    failed: list[BaseException] = []
    done: Counter[str] = Counter()

    def guarded(work) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again where it ends the process
            failed.append(error)

    def read(ledger: Ledger, number: int) -> None:
        reader = Reader(ledger, held, f"{name}/{number}")
        while not failed and reader.look() < size:
            pass
        done.update(reader.done)

    with Ledger.open(directory) as ledger:
        work = [lambda n=n: write(ledger, f"{name}{n}", rounds, held) for n in range(writers)]
        work += [lambda n=n: read(ledger, n) for n in range(readers)]
        threads = [threading.Thread(target=guarded, args=(item,)) for item in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if failed:
        raise failed[0]
    for receipt in held:
        sys.stdout.write(json.dumps({"receipt": receipt}) + "\n")
    report(done=done)


if __name__ == "__main__":
    main()
