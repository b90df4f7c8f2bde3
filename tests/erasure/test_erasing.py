"""Erasure of a person: nothing of them is found any more, and nothing that was proven is lost."""

from __future__ import annotations

import sqlite3
import tempfile
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import Ledger, OwnEvent
from ledger.entries import Entry, commit
from ledger.errors import (
    ErasedError,
    ErasedIdentityError,
    InputError,
    NotFoundError,
    StoreBusyError,
    StoreDamagedError,
    StoreError,
)
from ledger.forgetting.coverage import TABLES
from ledger.forgetting.destroying import prepare
from ledger.forgetting.erasing import ErasureRefusedError, erase
from ledger.forgetting.holding import place_hold
from ledger.forgetting.retention import Rule, run_rules
from ledger.forgetting.scrub import finish, unfinished
from ledger.forgetting.wiping import wiping_of
from ledger.merkle import leaf_hash

PROFILE = {
    "name": "Canary Nameworth",
    "language": "es",
    "jurisdiction": "ES",
    "contacts": {"email": ["canary@post.example"], "letter": [["Canary Nameworth", "Perch 7", "28001 Madrid", "ES"]]},
}
CANARIES = (
    b"Canary Nameworth",
    b"canary@post.example",
    b"Perch 7",
    b"seen-text-canary",
    b"record-canary",
    b"cust-canary",
)


@pytest.fixture
def person(ledger, kit):
    ref = kit.refer(ledger, "cust-canary", PROFILE)
    ledger.append([kit.view("canary", ["cust-canary"]), kit.view("other", ["cust-2"])])
    ledger.append([kit.view("both", ["cust-canary", "cust-2"])])
    ledger.access.follow()
    return ref


@pytest.mark.sqlite
def test_after_erasure_the_plain_text_is_found_nowhere(ledger, kit, person, actor):
    # Before, the clear parts are there; sealed ones are nowhere in the clear even then.
    assert kit.everywhere(ledger.directory, b"record-canary")
    row = ledger.database.read
    with row() as connection:
        wrapped, profile = connection.execute("SELECT data_key, profile FROM vault WHERE ref = ?", (person,)).fetchone()
    done = erase(ledger, person, basis="eu-gdpr:A17-1-b", by=actor)
    wiped = finish(ledger, by=actor, needles=done.needles)
    assert wiped.searched == len(done.needles) >= 4
    for needle in (*CANARIES, wrapped, profile, *done.needles):
        assert kit.everywhere(ledger.directory, needle) == []
    assert unfinished(ledger) == ()
    assert kit.damage(ledger) == []


def test_every_proof_and_receipt_from_before_verifies_after(ledger, kit, person, actor):
    receipt = ledger.find(kit.SOURCE, "view-canary")
    held = kit.proofs(ledger)
    erase(ledger, person, basis="request 17", by=actor)
    finish(ledger, by=actor)
    kit.check_proofs(held)
    kit.check_proofs(kit.proofs(ledger))
    again = ledger.find(kit.SOURCE, "view-canary")
    assert again.as_json() == receipt.as_json()


def test_a_repeated_event_of_an_erased_person_is_recognised_and_brings_nothing_back(ledger, kit, person, actor):
    receipt = ledger.find(kit.SOURCE, "view-canary")
    erase(ledger, person, basis="request 17", by=actor)
    size = ledger.size()
    [again] = ledger.append([kit.view("canary", ["cust-canary"])])
    assert (again.index, again.new, ledger.size()) == (receipt.index, False, size)
    assert ledger.vault.find("subject", "cust-canary") is None
    assert ledger.entry(receipt.index).payload is None


def test_the_event_says_what_was_done_and_what_cannot_be_reached(ledger, kit, person, actor):
    done = erase(ledger, person, basis="eu-gdpr:A17-1-b", by=actor)
    data = kit.data(ledger, done.index)
    assert data["ref"] == person
    assert data["basis"] == "eu-gdpr:A17-1-b"
    assert data["by"] == actor
    assert data["keys"] == [done.key]
    assert len(done.key) == 16
    assert data["payloads"]["count"] == done.payloads == 1
    assert (data["shared"], data["named"]) == (1, 0)
    assert data["scope"] == ["identity", "sealed_details", "payloads"]
    assert any("backups" in line for line in data["residual"])
    assert all(canary not in ledger.entry(done.index).payload for canary in CANARIES)


def test_reads_of_what_was_erased_say_so(ledger, kit, person, actor):
    alone, shared = ledger.find(kit.SOURCE, "view-canary").index, ledger.find(kit.SOURCE, "view-both").index
    done = erase(ledger, person, basis="request 17", by=actor)
    with pytest.raises(ErasedError, match="commitment remains"):
        ledger.details(ledger.entry(alone))
    with pytest.raises(ErasedError, match="together with one of the people"):
        ledger.details(ledger.entry(shared))
    with pytest.raises(ErasedIdentityError, match=f"entry {done.index}"):
        ledger.vault.profile(person)
    with pytest.raises(NotFoundError):  # those who only know "not found" are served too
        ledger.vault.profiles([person])
    with pytest.raises(NotFoundError) as foreign:
        ledger.vault.profile("s_" + "a" * 26)
    assert not isinstance(foreign.value, ErasedError)
    with pytest.raises(ErasedIdentityError, match="erased already"):
        erase(ledger, person, basis="request 17", by=actor)


def test_payloads_can_be_kept_as_evidence_under_a_dead_pseudonym(ledger, kit, person, actor):
    index = ledger.find(kit.SOURCE, "view-canary").index
    done = erase(ledger, person, basis="request 17", by=actor, payloads=False)
    finish(ledger, by=actor, needles=done.needles)
    assert (done.payloads, done.named) == (0, 1)
    assert person.encode() in ledger.entry(index).payload
    assert kit.everywhere(ledger.directory, b"Canary Nameworth") == []
    assert kit.everywhere(ledger.directory, b"seen-text-canary") == []
    with pytest.raises(ErasedError):
        ledger.details(ledger.entry(index))
    assert kit.damage(ledger) == []


@pytest.mark.usefixtures("person")
def test_an_actor_can_be_erased_and_the_record_of_what_they_did_stays(ledger, kit, actor):
    doctor = ledger.vault.find("actor", "dr-grey")
    done = erase(ledger, doctor, basis="request 18", by=actor)
    assert (done.payloads, done.shared, done.named) == (0, 0, 3)
    assert ledger.vault.find("actor", "dr-grey") is None
    assert ledger.details(ledger.entry(ledger.find(kit.SOURCE, "view-other").index))["text"] == "seen-text-other"
    assert kit.damage(ledger) == []


def test_an_unknown_person_and_a_missing_basis_are_refused_without_a_trace(ledger, person, actor):
    size = ledger.size()
    with pytest.raises(NotFoundError):
        erase(ledger, "s_" + "b" * 26, basis="request 19", by=actor)
    with pytest.raises(InputError, match="basis"):
        erase(ledger, person, basis=" ", by=actor)
    assert ledger.size() == size


def test_a_process_that_was_open_all_along_neither_remembers_nor_revives(ledger, kit, person, actor):
    with closing(Ledger.open(ledger.directory)) as server:
        # It has the ref and the data key in its caches.
        server.append([kit.view("warm", ["cust-canary"])])
        shared = server.entry(server.find(kit.SOURCE, "view-both").index)
        erase(ledger, person, basis="request 20", by=actor)
        with pytest.raises(ErasedError):
            server.details(shared)
        [receipt] = server.append([kit.view("later", ["cust-canary"])])
        assert server.vault.find("subject", "cust-canary") != person
        assert server.details(server.entry(receipt.index))["text"] == "seen-text-later"
        assert kit.damage(server) == []


def test_erasure_among_concurrent_writers_leaves_no_payload_of_the_person(ledger, kit, person, actor):
    stop = threading.Event()

    def write(name):
        number = 0
        while not stop.is_set() and number < 200:
            ledger.append([kit.view(f"{name}-{number}", ["cust-canary"])])
            number += 1

    writers = [threading.Thread(target=write, args=(f"w{n}",)) for n in range(3)]
    for writer in writers:
        writer.start()
    try:
        done = erase(ledger, person, basis="request 21", by=actor)
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    for stored in ledger.entries(0, done.index):
        if stored.payload is not None and person.encode() in stored.payload:
            assert stored.index == ledger.find(kit.SOURCE, "view-both").index
    assert all(person.encode() not in (stored.payload or b"") for stored in ledger.entries(done.index + 1))
    assert kit.damage(ledger) == []


@pytest.mark.sqlite
def test_secure_delete_alone_leaves_copies_and_finishing_does_not(tmp_path, kit):
    """Why the file is written anew: pages that were split keep old copies of rows that live elsewhere."""
    with closing(Ledger.create(tmp_path / "data", kit.ORIGIN)) as ledger:
        for turn in range(40):
            with ledger.database.write() as connection:
                for n in range(100):
                    ledger.vault.refer(connection, "subject", f"p{turn}-{n}", {"name": "n" * n * 3})
        scrub_free = sqlite3.connect(ledger.database.path)
        scrub_free.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        content = ledger.database.path.read_bytes()
        rows = scrub_free.execute("SELECT ref, data_key FROM vault").fetchall()
        scrub_free.close()
        twice = [ref for ref, key in rows if content.count(key) > 1]
        assert twice  # otherwise this test shows nothing
        by = kit.refer(ledger, "officer", kind="actor")
        needles = [needle for ref in twice for needle in erase(ledger, ref, basis="b", by=by).needles]
        assert wiping_of(ledger.database).search(needles)
        finish(ledger, by=by, needles=needles)
        assert wiping_of(ledger.database).search(needles) == 0


def test_a_reader_of_an_old_state_keeps_the_work_unfinished_until_it_ends(ledger, kit, person, actor):
    with ledger.database.read() as reader:
        reader.execute("SELECT count(*) FROM event").fetchone()
        done = erase(ledger, person, basis="request 22", by=actor)
        with pytest.raises(StoreBusyError, match="--finish"):
            finish(ledger, by=actor, needles=done.needles, timeout_s=0.05)
        assert unfinished(ledger) == (done.index,)
    assert finish(ledger, by=actor, needles=done.needles).events == (done.index,)
    assert finish(ledger, by=actor) is None
    assert kit.everywhere(ledger.directory, b"record-canary") == []


@pytest.mark.sqlite
def test_bytes_that_are_still_there_are_never_called_wiped(ledger, person, actor):
    done = erase(ledger, person, basis="request 23", by=actor)
    with pytest.raises(StoreError, match="still found"):
        finish(ledger, by=actor, needles=[b"com.clinic.data.view.v1"])
    assert unfinished(ledger) == (done.index,)


def test_refused_and_recorded_while_an_open_incident_affects_the_person(ledger, kit, person, actor):
    class Cases:
        def affecting(self, ref):
            return ["INC-2026-0001"] if ref == person else []

        def concerns(self, _case, _ref):
            return False

        def open(self):
            return ["INC-2026-0001"]

        def evidence(self, _case):
            return frozenset()

    with pytest.raises(ErasureRefusedError, match="INC-2026-0001") as refused:
        erase(ledger, person, basis="request 24", by=actor, cases=Cases())
    data = kit.data(ledger, refused.value.index)
    assert data == {"ref": person, "basis": "request 24", "by": actor, "holds": [], "incidents": ["INC-2026-0001"]}
    assert ledger.vault.profile(person)["name"] == "Canary Nameworth"
    done = erase(ledger, person, basis="request 24", by=actor, cases=Cases(), override="told in person")
    assert kit.data(ledger, done.index)["override"] == {"incidents": ["INC-2026-0001"], "reason": "told in person"}


class Racing:
    """Somebody acts between the reading of the log and the decision, once."""

    def __init__(self, act):
        self._act = act
        self.asked = 0

    def affecting(self, _ref):
        self.asked += 1
        if self.asked == 1:
            self._act()
        return []

    def concerns(self, _case, _ref):
        return False

    def open(self):
        return []

    def evidence(self, _case):
        return frozenset()


def test_a_hold_placed_while_the_erasure_is_decided_is_seen(ledger, person, actor):
    cases = Racing(lambda: place_hold(ledger, "person", person, authority="court", basis="b", by=actor))
    with pytest.raises(ErasureRefusedError, match="court"):
        erase(ledger, person, basis="request 25", by=actor, cases=cases)
    assert cases.asked == 2


def test_an_incident_that_moves_meanwhile_is_asked_again(ledger, person, actor):
    cases = Racing(lambda: ledger.record([OwnEvent("org.tocsin.incident.scoped.v1", {"n": 1})]))
    erase(ledger, person, basis="request 26", by=actor, cases=cases)
    assert cases.asked == 2


def test_events_that_arrive_meanwhile_are_erased_too_and_none_is_listed_twice(ledger, kit, person, actor):
    def act():
        ledger.append([kit.view("meanwhile", ["cust-canary"])])
        run_rules(ledger, [Rule("first", "com.clinic.*", 1)], by=actor)

    ledger.clock.move(days=3)
    done = erase(ledger, person, basis="request 27", by=actor, cases=Racing(act))
    assert done.payloads == 1
    assert kit.damage(ledger) == []
    finish(ledger, by=actor, needles=done.needles)
    assert kit.everywhere(ledger.directory, b"record-") == []


PEOPLE = ("anna", "ben", "cleo")


@settings(max_examples=25)
@given(
    events=st.lists(st.sets(st.sampled_from(PEOPLE), min_size=1), min_size=1, max_size=8),
    victim=st.sampled_from(PEOPLE),
    payloads=st.booleans(),
)
def test_erasing_one_changes_nothing_readable_about_another_but_what_both_share(kit, events, victim, payloads):
    with tempfile.TemporaryDirectory() as directory, closing(Ledger.create(Path(directory), kit.ORIGIN)) as ledger:
        refs = {name: kit.refer(ledger, name, {"name": name.title()}) for name in PEOPLE}
        by = kit.refer(ledger, "officer", kind="actor")
        ledger.append([kit.view(number, sorted(people)) for number, people in enumerate(events)])
        ledger.access.follow()
        before = {name: kit.readable(ledger, ref) for name, ref in refs.items()}
        erase(ledger, refs[victim], basis="b", by=by, payloads=payloads)
        for name, ref in refs.items():
            after = kit.readable(ledger, ref)
            if name == victim:
                assert after.pop("profile") == "ErasedIdentityError"
                assert all(details in ("ErasedError", {}) for _, details in after.values())
                continue
            shared = {
                ledger.find(kit.SOURCE, f"view-{number}").index
                for number, people in enumerate(events)
                if {name, victim} <= people
            }
            expected = {
                key: (value[0], "ErasedError") if key in shared else value for key, value in before[name].items()
            }
            assert {key: value for key, value in after.items() if key in expected} == expected
        assert kit.damage(ledger) == []


@pytest.fixture
def two(ledger, kit):
    """Entries 1 to 3 are about the victim, 4 and 5 about another person; their refs."""
    ledger.append([kit.view(n, ["victim"]) for n in range(3)])
    ledger.append([kit.view(n, ["other"]) for n in (3, 4)])
    return kit.refer(ledger, "victim"), kit.refer(ledger, "other")


def everything(ledger):
    """All rows that an erasure may change."""
    tables = ("event", "vault", "forgotten", "access_row", "access_map_entry", "access_map_key", "tracking", "head")
    with ledger.database.read() as connection:
        return [sorted(connection.tuples(f"SELECT * FROM {table}")) for table in tables]


def rewrite(ledger, index, old, new, *, entry=False, salt=b"\x05" * 32):
    """Somebody with access to the database, and no key, writes another payload, and if wanted the entry to fit it."""
    with ledger.database.write() as connection:
        row = connection.execute("SELECT entry, payload FROM event WHERE position = ?", (index + 1,)).fetchone()
        payload = row["payload"].replace(old.encode(), new.encode())
        assert payload != row["payload"]
        connection.execute("UPDATE event SET payload = ? WHERE position = ?", (payload, index + 1))
        if entry:
            fitting = replace(Entry.decode(row["entry"]), commitment=commit(salt, payload)).encode()
            connection.execute("UPDATE event SET salt = ?, entry = ? WHERE position = ?", (salt, fitting, index + 1))


@pytest.mark.parametrize("indexed", [False, True])
def test_a_lawful_erasure_destroys_no_evidence_of_tampering(ledger, kit, two, actor, indexed):
    """An access to the victim's record is made to name the other, whose erasure would then hide it for good."""
    victim, other = two
    ledger.database.ensure(TABLES)
    if indexed:
        prepare(ledger)
    rewrite(ledger, 2, victim, other)
    before = None
    for _ in range(2):
        with pytest.raises(StoreDamagedError, match=r"entry 2 .*tocsin verify"):
            erase(ledger, other, basis="request 1", by=actor)
        before = before or everything(ledger)  # after the first try, which made the index's tables
        assert everything(ledger) == before
    assert kit.damage(ledger) == ["payload_altered"]
    rewrite(ledger, 2, other, victim)
    assert erase(ledger, other, basis="request 1", by=actor).payloads == 2
    assert kit.damage(ledger) == []


def test_an_entry_made_to_fit_and_put_back_later_is_not_destroyed_either(ledger, two, actor):
    victim, other = two
    ledger.database.ensure(TABLES)
    prepare(ledger)
    rewrite(ledger, 2, victim, other, entry=True)
    before = everything(ledger)
    with pytest.raises(StoreDamagedError, match=r"Entry 2, .*not what the log signed"):
        erase(ledger, other, basis="request 1", by=actor)
    assert everything(ledger) == before


def test_an_erasure_over_full_tiles_is_held_against_the_signed_tree(ledger, kit, actor):
    """People on both sides of a full tile, and a tile that was changed to fit an altered entry."""
    for part in range(3):
        ledger.append([kit.view(f"{part}-{n}", [f"p-{n % 3}"]) for n in range(150)])
    first, second, third = (kit.refer(ledger, f"p-{n}") for n in range(3))
    assert erase(ledger, first, basis="request 1", by=actor).payloads == 150
    assert kit.damage(ledger) == []
    rewrite(ledger, 2, second, third, entry=True)
    with ledger.database.write() as connection:
        row = connection.execute("SELECT hashes FROM tile WHERE level = 0 AND number = 0").fetchone()
        leaf = leaf_hash(connection.execute("SELECT entry FROM event WHERE position = 3").fetchone()["entry"])
        hashes = row["hashes"][:64] + leaf + row["hashes"][96:]
        connection.execute("UPDATE tile SET hashes = ? WHERE level = 0 AND number = 0", (hashes,))
    with pytest.raises(StoreDamagedError, match="not what the log signed"):
        erase(ledger, third, basis="request 2", by=actor)
