"""The whole ledger against a plain model: whatever is done to it in whatever order, what was promised stays true.

The model is a list of what the log must hold, in order, and who was erased. The tree is recomputed from the entries
by the definition of RFC 9162, section 2.1.1, and not by any code of the product. TOCSIN_MODEL=N tries N times as many
histories.
"""

from __future__ import annotations

import copy
import os
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import uvicorn
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import IntegrityError
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from api.cli.serve import listen
from api.witness import create_app
from ledger import Ledger, OwnEvent
from ledger.application import LedgerApplication
from ledger.checkpoint import Checkpoint
from ledger.config import read_config
from ledger.errors import ErasedError, EventConflictError, EventError, StoreError
from ledger.forgetting.erasing import ErasureRefusedError, erase
from ledger.forgetting.events import ERASURE_EXECUTED, ERASURE_REFUSED, HOLD_LIFTED, HOLD_PLACED
from ledger.forgetting.holding import lift_hold, place_hold
from ledger.merkle import consistency_path, verify_consistency
from ledger.notes import Verifier, open_note
from ledger.policy import parse_policy
from ledger.proofs import verify_receipt
from ledger.recovery.backup import Backup, take_backup
from ledger.recovery.errors import BackupError, UnconfirmedCopyError
from ledger.recovery.restoring import RESTORED, confirm_by_head, confirm_by_witnesses, confirm_with_loss, restore
from ledger.recovery.rotating import rotate
from ledger.rotation import ROTATED
from ledger.tiles import TileReader
from ledger.verify import verify_database
from ledger.witness.config import make_witness
from ledger.witness.errors import RolledBackError
from ledger.witness.publication import Publication
from ledger.witness.service import Witness

pytestmark = pytest.mark.sqlite

OWN = "urn:tocsin:ledger"
SOURCE = "https://clinic.example/records"
PEOPLE = ("ada", "ben", "cyd")
FULL = 255
"""Events before the first step: what follows completes a tile of 256."""


class Door(Aggregate):
    TOPIC = "org.tocsin.test_model.v1"

    class Created(Aggregate.Created):
        TOPIC = "org.tocsin.test_model.built.v1"

    class Opened(Aggregate.Event):
        TOPIC = "org.tocsin.test_model.opened.v1"
        by: str

    @event(Created)
    def __init__(self) -> None:
        self.openings: list[str] = []

    @event(Opened)
    def open(self, by: str) -> None:
        self.openings.append(by)


def view(name: object, people: tuple[str, ...] = (), text: str = "seen") -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": f"view-{name}",
        "source": SOURCE,
        "type": "com.clinic.data.view.v1",
        "data": {
            "actor": {"id": "dr-grey"},
            "outcome": "success",
            "resource": {"id": f"record/{name}"},
            "subjects": [{"id": person} for person in people],
            "text": f"{text} {name}",
        },
    }


def naive_root(entries: list[bytes]) -> bytes:
    """RFC 9162, 2.1.1, word for word."""
    if not entries:
        return sha256(b"").digest()
    if len(entries) == 1:
        return sha256(b"\x00" + entries[0]).digest()
    split = 1
    while split * 2 < len(entries):
        split *= 2
    return sha256(b"\x01" + naive_root(entries[:split]) + naive_root(entries[split:])).digest()


@dataclass
class Faults:
    """Makes the next commit of this process fail, at the database's own connection."""

    next: str | None = None
    skip: int = 0  # commits that do not count
    at_commit: Any = None

    @contextmanager
    def failing(self, kind: str | None, *, skip: int = 0, at_commit: Any = None) -> Iterator[None]:
        """Fail one commit in this block: `before` it happened, or `after` it became durable."""
        self.next, self.skip, self.at_commit = kind, skip, at_commit
        try:
            yield
        finally:
            self.next, self.skip, self.at_commit = None, 0, None

    def on_execute(self, real: Any, statement: str) -> Any:
        if statement != "COMMIT" or self.next is None:
            return real()
        if self.skip:
            self.skip -= 1
            return real()
        kind, self.next = self.next, None
        if kind == "after":
            real()
        if self.at_commit is not None:
            self.at_commit()
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR
        raise error


@dataclass(repr=False)
class Known:
    """What the model knows of one producer's event: what was sent, under which refs its people went, its receipt."""

    sent: dict[str, Any]
    people: tuple[str, ...]
    refs: frozenset[str]
    receipt: dict[str, Any]
    without_payload: bool = False


@dataclass(repr=False)
class Model:
    """What must be true; copied for each backup."""

    expected: list[tuple[str, str]] = field(
        default_factory=list
    )  # (source, id of a producer's or type of an own event)
    entries: list[bytes] = field(default_factory=list)  # as first read
    events: dict[str, Known] = field(default_factory=dict)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    refs: dict[str, str] = field(default_factory=dict)  # of people who are not erased
    erased: set[str] = field(default_factory=set)  # refs; who comes again gets another
    holds: dict[str, str] = field(default_factory=dict)  # ref: hold
    doors: dict[UUID, list[str]] = field(default_factory=dict)
    proofs: list[tuple[int, bytes, bytes]] = field(default_factory=list)  # index, entry, receipt
    published: bool = False


@pytest.fixture(scope="module")
def faults():
    """Every connection that is made from here on can be made to fail."""
    faults, connect = Faults(), sqlite3.connect

    def connect_fallibly(*arguments: Any, **settings: Any) -> sqlite3.Connection:
        class Fallible(settings.pop("factory", sqlite3.Connection)):
            def execute(self, statement: str, *values: Any) -> Any:
                return faults.on_execute(lambda: super(Fallible, self).execute(statement, *values), statement)

        return connect(*arguments, factory=Fallible, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", connect_fallibly)
        yield faults


class Machine(RuleBasedStateMachine):
    faults: Faults
    witness: Any
    witness_url: str
    examples = 0
    """Each example has a log of its own name, since all have one witness."""

    # --- the ledger under test -----------------------------------------------------------------------------------

    @initialize()
    def start(self) -> None:
        type(self).examples += 1
        self.root = Path(tempfile.mkdtemp())
        self.now = datetime(2026, 3, 10, 9, 0, 0, tzinfo=UTC)
        self.names = 0
        self.witnessed = 0
        self.backups: list[tuple[Path, Model]] = []
        self.model = Model(expected=[(OWN, "org.tocsin.logging.started.v1")])
        self.ledger = Ledger.create(self.place(), f"example.org/log-{self.examples}-{os.getpid()}", clock=self.clock)
        self.trust(self.ledger.vkey)
        with self.ledger.database.write() as connection:
            self.officer = self.ledger.vault.refer(connection, "actor", "officer")
        events = [view(self.name()) for _ in range(FULL - 1)]
        self.ledger.append(events)
        self.model.expected += [(SOURCE, item["id"]) for item in events]

    def clock(self) -> datetime:
        self.now += timedelta(milliseconds=7)
        return self.now

    def place(self) -> Path:
        return self.root / f"place-{self.name()}"

    def name(self) -> int:
        self.names += 1
        return self.names

    def trust(self, vkey: str) -> None:
        self.witness.store.add_log(Verifier.from_vkey(vkey).name, Verifier.from_vkey(vkey))

    def policy(self) -> bytes:
        logs = "".join(f"log {key.vkey}\n" for key in read_config(self.ledger.directory).keys)
        return f"{logs}quorum none\n".encode()

    def witness_policy(self) -> bytes:
        logs = self.policy().decode().removesuffix("quorum none\n")
        return f"{logs}witness w {self.witness.vkey} {self.witness_url}\nquorum w\n".encode()

    # --- appending -----------------------------------------------------------------------------------------------

    def expect(self, events: list[dict], people: list[tuple[str, ...]], receipts: list[Any]) -> None:
        """The receipts are what the model says: the first ones for what was sent before, new places for the rest."""
        for sent, who, receipt in zip(events, people, receipts, strict=True):
            known = self.model.events.get(sent["id"])
            if known is not None:
                assert receipt.as_json() == known.receipt
                continue
            assert receipt.index == len(self.model.expected)
            self.model.expected.append((SOURCE, sent["id"]))
            for person in who:
                self.model.refs.setdefault(person, self.ledger.vault.find("subject", person))
            refs = frozenset(self.model.refs[person] for person in who)
            self.model.events[sent["id"]] = Known(sent, who, refs, receipt.as_json())

    def batch(self, sizes: list[tuple[str, ...]], repeats: int) -> tuple[list[dict], list[tuple[str, ...]]]:
        events = [view(self.name(), who) for who in sizes]
        people = list(sizes)
        for known in list(self.model.events.values())[:repeats]:
            events.append(known.sent)
            people.append(known.people)
        return events, people

    who = st.lists(st.sampled_from(PEOPLE), unique=True, max_size=2).map(tuple)
    batches = st.lists(who, min_size=1, max_size=4)

    @rule(sizes=batches, repeats=st.integers(0, 2))
    def append(self, sizes: list[tuple[str, ...]], repeats: int) -> None:
        events, people = self.batch(sizes, repeats)
        self.expect(events, people, self.ledger.append(events))

    @rule(sizes=batches, kind=st.sampled_from(["before", "after"]), repeats=st.integers(0, 1))
    def append_while_the_commit_fails(self, sizes: list[tuple[str, ...]], kind: str, repeats: int) -> None:
        """Whatever the ledger answers is so; and the client sends again in any case."""
        events, people = self.batch(sizes, repeats)
        try:
            with self.faults.failing(kind):
                receipts = self.ledger.append(events)
        except StoreError:
            assert kind == "before"
            assert self.ledger.size() == len(self.model.expected)
            receipts = self.ledger.append(events)
        else:
            assert kind == "after"
        self.expect(events, people, receipts)

    @precondition(lambda self: self.model.events)
    @rule(sizes=batches, data=st.data(), bad=st.sampled_from(["conflict", "malformed"]))
    def append_what_is_refused(self, sizes: list[tuple[str, ...]], data: Any, bad: str) -> None:
        events, _ = self.batch(sizes, 0)
        used = data.draw(st.sampled_from(sorted(self.model.events)))
        wrong = view("x", text="other") | {"id": used}
        if bad == "malformed":
            del wrong["type"]
        events.insert(data.draw(st.integers(0, len(events))), wrong)
        with pytest.raises(EventConflictError if bad == "conflict" else EventError):
            self.ledger.append(events)
        assert all(self.ledger.find(SOURCE, item["id"]) is None for item in events if item is not wrong)

    @precondition(lambda self: self.model.events)
    @rule(sizes=batches)
    def append_several_of_which_one_is_refused(self, sizes: list[tuple[str, ...]]) -> None:
        units = [self.batch([who], 0) for who in sizes]
        wrong = view("y", text="other") | {"id": next(iter(self.model.events))}
        batches = [self.ledger.batch(events) for events, _ in units]
        first, *rest = self.ledger.append_each([self.ledger.batch([wrong]), *batches])
        assert isinstance(first, EventConflictError)
        for (events, people), receipts in zip(units, rest, strict=True):
            self.expect(events, people, receipts)

    @rule(count=st.integers(1, 3), kind=st.sampled_from([None, "before", "after"]))
    def record(self, count: int, kind: str | None) -> None:
        events = [OwnEvent("org.tocsin.logging.sampled.v1", {"number": number}) for number in range(count)]
        written: list[int] = []

        def also(_connection: Any, indices: Any) -> None:
            written[:] = indices

        try:
            with self.faults.failing(kind):
                indices = self.ledger.record(events, also)
        except StoreError:
            assert kind == "before"
            return
        assert kind != "before"
        assert indices == written == list(range(len(self.model.expected), len(self.model.expected) + count))
        self.model.expected += [(OWN, item.type) for item in events]

    # --- aggregates ----------------------------------------------------------------------------------------------

    @rule(openings=st.integers(0, 2))
    def build(self, openings: int) -> None:
        door = Door()
        for number in range(openings):
            door.open(by=f"a_{number}")
        LedgerApplication(self.ledger).save(door)
        self.model.doors[door.id] = door.openings
        self.model.expected += [(OWN, Door.Created.TOPIC), *[(OWN, Door.Opened.TOPIC)] * openings]

    @precondition(lambda self: self.model.doors)
    @rule(data=st.data(), kind=st.sampled_from([None, "before", "after"]))
    def open_at_once(self, data: Any, kind: str | None) -> None:
        """Two decide on the same state of an aggregate: the second is told, whatever became of the first's commit."""
        application = LedgerApplication(self.ledger)
        door = data.draw(st.sampled_from(sorted(self.model.doors)))
        one, two = application.repository.get(door), application.repository.get(door)
        assert one.openings == self.model.doors[door]
        one.open(by="a_one")
        two.open(by="a_two")
        saved = "a_one"
        try:
            with self.faults.failing(kind):
                application.save(one)
        except StoreError:
            assert kind == "before"
            application.save(two)
            saved = "a_two"
        else:
            with pytest.raises(IntegrityError):
                application.save(two)
        self.model.doors[door] = [*self.model.doors[door], saved]
        self.model.expected.append((OWN, Door.Opened.TOPIC))

    # --- crashes -------------------------------------------------------------------------------------------------

    def copy(self) -> Path:
        """The files as they lie there at this moment, without the shared memory that dies with a machine."""
        place = self.place()
        shutil.copytree(self.ledger.directory, place, ignore=shutil.ignore_patterns("*-shm"))
        return place

    def go_on_in(self, place: Path) -> None:
        self.ledger.close()
        self.ledger = Ledger.open(place, clock=self.clock)

    @rule()
    def crash(self) -> None:
        self.go_on_in(self.copy())

    @rule(sizes=batches, kind=st.sampled_from(["before", "after"]))
    def crash_in_a_commit(self, sizes: list[tuple[str, ...]], kind: str) -> None:
        """Nobody got an answer: all of it is there or nothing, and asking again gives one entry for each event."""
        events, people = self.batch(sizes, 0)
        places: list[Path] = []
        with suppress(StoreError), self.faults.failing(kind, at_commit=lambda: places.append(self.copy())):
            self.ledger.append(events)
        self.go_on_in(places[0])
        there = [self.ledger.find(SOURCE, item["id"]) is not None for item in events]
        assert there == [kind == "after"] * len(events)
        assert self.ledger.size() == len(self.model.expected) + (len(events) if kind == "after" else 0)
        self.expect(events, people, self.ledger.append(events))

    @rule()
    def close_and_open(self) -> None:
        self.go_on_in(self.ledger.directory)

    # --- people --------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.model.refs)
    @rule(data=st.data(), kind=st.sampled_from([None, None, "before", "after"]), skip=st.integers(0, 3))
    def erase(self, data: Any, kind: str | None, skip: int) -> None:
        """Some commits before it only make tables: which one fails is left to chance, and all or nothing is done."""
        model = self.model
        person = data.draw(st.sampled_from(sorted(model.refs)))
        ref = model.refs[person]
        about = [known for known in model.events.values() if ref in known.refs and not known.without_payload]
        held = ref in model.holds or any(known.refs & model.holds.keys() for known in about)
        try:
            with self.faults.failing(kind, skip=skip):
                done = erase(self.ledger, ref, basis="request", by=self.officer)
        except ErasureRefusedError:
            assert held
            model.expected.append((OWN, ERASURE_REFUSED))
            return
        except StoreError:
            assert kind is not None
            assert self.ledger.vault.find("subject", person) == ref
            return
        assert (held, done.index) == (False, len(model.expected))
        model.expected.append((OWN, ERASURE_EXECUTED))
        model.erased.add(model.refs.pop(person))
        for known in about:
            known.without_payload = known.refs == {ref}

    @precondition(lambda self: set(self.model.refs.values()) - set(self.model.holds))
    @rule(data=st.data())
    def hold(self, data: Any) -> None:
        free = [person for person, ref in self.model.refs.items() if ref not in self.model.holds]
        ref = self.model.refs[data.draw(st.sampled_from(sorted(free)))]
        held = place_hold(self.ledger, "person", ref, authority="court", basis="order", by=self.officer)
        self.model.holds[ref] = held.id
        self.model.expected.append((OWN, HOLD_PLACED))

    @precondition(lambda self: self.model.holds)
    @rule(data=st.data())
    def lift(self, data: Any) -> None:
        held = [person for person, ref in self.model.refs.items() if ref in self.model.holds]
        ref = self.model.refs[data.draw(st.sampled_from(sorted(held)))]
        lift_hold(self.ledger, self.model.holds.pop(ref), reason="over", by=self.officer)
        self.model.expected.append((OWN, HOLD_LIFTED))

    # --- keys and witnesses --------------------------------------------------------------------------------------

    @rule()
    def change_key(self) -> None:
        self.trust(rotate(self.ledger).new)
        self.model.expected.append((OWN, ROTATED))

    @rule()
    def publish(self) -> None:
        """The witness, who accepts no tree that contradicts what it saw, accepts this one."""
        result = Publication(self.ledger, parse_policy(self.witness_policy())).publish_now()
        assert (result.state, result.size) == ("witnessed", len(self.model.expected))
        self.witnessed = result.size
        self.model.published = True

    # --- backups -------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.backups) < 3)
    @rule()
    def back_up(self) -> None:
        path, _ = take_backup(self.ledger, self.root / f"backup-{self.name()}.tocsin")
        self.remember()
        self.backups.append((path, copy.deepcopy(self.model)))

    @precondition(lambda self: self.backups)
    @rule(data=st.data(), go_on=st.booleans())
    def put_back(self, data: Any, go_on: bool) -> None:
        """A copy signs nothing below what the witness has seen; above that it may go on, and what it lacks is lost."""
        path, then = data.draw(st.sampled_from(self.backups))
        place, size = self.place(), len(then.expected)
        restore(Backup.open(path), place)
        shutil.copytree(self.ledger.directory / "keys", place / "keys", dirs_exist_ok=True)
        copied = Ledger.open(place, clock=self.clock)
        try:
            with pytest.raises(UnconfirmedCopyError):
                copied.append([view("z")])
            assert copied.size() == size
            if not self.confirm(copied, then, size):
                copied.close()
                return
        except BaseException:
            copied.close()
            raise
        if not go_on:
            copied.close()
            return
        self.ledger.close()
        self.ledger, self.model = copied, copy.deepcopy(then)
        self.model.expected.append((OWN, RESTORED))
        self.backups = [item for item in self.backups if len(item[1].expected) <= size]

    def confirm(self, copied: Ledger, then: Model, size: int) -> bool:
        current = self.checkpoint()
        policy = parse_policy(self.witness_policy())
        if then.published:
            with pytest.raises(BackupError):
                confirm_with_loss(copied, "the disk was lost")
            with pytest.raises(BackupError):
                confirm_by_head(copied, size, bytes(32))
        elif current.size > size:
            with pytest.raises(RolledBackError):
                confirm_by_head(copied, current.size, current.root)
        if self.witnessed > size:
            # Where the key was changed since, the copy cannot even read what the witness shows.
            with pytest.raises((RolledBackError, BackupError)):
                confirm_by_witnesses(copied, policy)
            with pytest.raises(UnconfirmedCopyError):
                copied.append([view("z")])
            return False
        confirm_by_witnesses(copied, policy)
        return True

    # --- looking -------------------------------------------------------------------------------------------------

    def checkpoint(self) -> Checkpoint:
        verifier = Verifier.from_vkey(read_config(self.ledger.directory).vkey)
        return Checkpoint.parse(open_note(self.ledger.checkpoint(), [verifier]).text)

    def remember(self) -> Checkpoint:
        """Read what is new of the log, and hold the checkpoint against the tree that the entries give."""
        new = [stored.entry for stored in self.ledger.entries(len(self.model.entries))]
        self.model.entries += new
        now = self.checkpoint()
        assert now.size == self.ledger.size() == len(self.model.entries) == len(self.model.expected)
        assert now.root == naive_root(self.model.entries)
        if self.model.checkpoints[-1:] != [now]:
            self.model.checkpoints.append(now)
        return now

    @invariant()
    def the_tree_is_that_of_the_entries(self) -> None:
        if not hasattr(self, "model"):
            return
        first = len(self.model.entries)
        now = self.remember()
        for index, stored in enumerate(self.ledger.entries(first), first):
            entry, (source, what) = stored.decode(), self.model.expected[index]
            assert (entry.source, entry.id if source == SOURCE else entry.type) == (source, what)
        node = TileReader(self.ledger.tile, now.size)
        for old in self.model.checkpoints[-3:-1]:
            verify_consistency(old.size, now.size, old.root, now.root, consistency_path(old.size, now.size, node))
        # A receipt that somebody holds from now on.
        index = now.size - 1
        self.model.proofs.append((index, self.model.entries[index], self.ledger.prove(index)))

    @rule()
    def look_at_everything(self) -> None:
        ledger, model = self.ledger, self.model
        findings = verify_database(ledger.database, ledger.vkey, vault=ledger.vault, policy=self.policy())
        assert (findings.damage, findings.exit_code, findings.size) == ([], 0, len(model.expected))
        now, policy = self.checkpoint(), self.policy()
        assert list(model.entries) == [stored.entry for stored in ledger.entries()]
        node = TileReader(ledger.tile, now.size)
        for old in model.checkpoints:
            verify_consistency(old.size, now.size, old.root, now.root, consistency_path(old.size, now.size, node))
        for index, entry, proof in model.proofs:
            assert verify_receipt(proof, entry, policy).index == index
        indices = [known.receipt["index"] for known in model.events.values()]
        for index, proof in zip(indices, ledger.prove_many(indices), strict=True):
            assert verify_receipt(proof, model.entries[index], policy).size == now.size
        for event_id, known in model.events.items():
            self.check_event(event_id, known)
        for door, openings in model.doors.items():
            assert LedgerApplication(ledger).repository.get(door).openings == openings

    def check_event(self, event_id: str, known: Known) -> None:
        """An event has its receipt for ever, and its details are readable if and only if nobody in it was erased."""
        receipt = self.ledger.find(SOURCE, event_id)
        assert receipt is not None
        assert receipt.as_json() == known.receipt
        stored = self.ledger.entry(receipt.index)
        assert (stored.payload is None) == known.without_payload
        if known.refs & self.model.erased:
            with pytest.raises(ErasedError):
                self.ledger.details(stored)
        else:
            assert self.ledger.details(stored) == {"text": known.sent["data"]["text"]}

    def teardown(self) -> None:
        if not hasattr(self, "ledger"):
            return
        try:
            self.look_at_everything()
            for older, newer in pairwise(self.model.checkpoints):
                assert older.size < newer.size
        finally:
            self.ledger.close()
            shutil.rmtree(self.root)


@pytest.fixture(scope="module")
def witness(tmp_path_factory):
    """A real witness on a real socket; gives it and its URL."""
    directory = tmp_path_factory.mktemp("witness")
    make_witness(directory, "witness.example/w1")
    with Witness.open(directory) as witness, listen("127.0.0.1", 0) as listener:
        server = uvicorn.Server(uvicorn.Config(create_app(witness, ""), log_config=None, lifespan="off", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield witness, f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.mark.timeout(900)
def test_whatever_happens_what_was_promised_stays_true(faults, witness):
    if os.environ.get("TOCSIN_TEST_STORE") == "postgres":
        pytest.skip("a crash is a copy of the database's file; a PostgreSQL server has none")

    class Bound(Machine):
        pass

    Bound.faults, (Bound.witness, Bound.witness_url) = faults, witness

    class Case(Bound.TestCase):
        settings = settings(
            max_examples=20 * int(os.environ.get("TOCSIN_MODEL", "1")),
            stateful_step_count=30,
            deadline=None,
            phases=set(Phase) - {Phase.explain},
            suppress_health_check=list(HealthCheck),
        )

    Case("runTest").runTest()
