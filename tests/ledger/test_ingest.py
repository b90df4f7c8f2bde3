"""Appending producers' events: once only, all or none, and without anybody's identity in the open."""

from __future__ import annotations

import json
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import Criteria
from ledger.errors import EventConflictError, EventError
from ledger.ledger import MAX_BATCH
from ledger.vault import REF


def test_a_receipt_names_the_entry_and_proves_it(ledger, kit):
    [receipt] = ledger.append([kit.event(1)])
    entry = ledger.entry(receipt.index).decode()
    assert (entry.source, entry.id, entry.type) == (kit.source, "view-1", "com.clinic.data.view.v1")
    assert (entry.time, entry.recorded) == ("2026-03-10T08:59:59.000Z", "2026-03-10T09:00:00.000Z")
    assert receipt.as_json() == {
        "source": kit.source,
        "id": "view-1",
        "ledger": kit.origin,
        "index": 1,
        "entry_hash": receipt.entry_hash,
        "accepted_at": "2026-03-10T09:00:00.000Z",
        "state": "committed",
        "schema_verdict": "known",
        "receipt_url": "/v1/entries/1/proof",
    }
    kit.prove_all(ledger)
    assert ledger.find(kit.source, "view-1").as_json() == receipt.as_json()
    assert ledger.find(kit.source, "view-2") is None
    assert ledger.find("urn:other", "view-1") is None


def test_an_unknown_type_is_accepted_sealed_and_quarantined(ledger, kit):
    event = kit.event(1, type="com.clinic.door.opened.v1", data={"visitor": "Canary-Zq7", "weight": 80})
    [receipt] = ledger.append([event])
    assert receipt.schema_verdict == "unknown"
    stored = ledger.entry(receipt.index)
    payload = json.loads(stored.payload)
    assert "data" not in payload
    assert b"Canary" not in stored.payload
    assert ledger.details(stored) == {"data": event["data"]}
    assert ledger.quarantined() == {"com.clinic.door.opened.v1": 1}
    assert list(ledger.access.matches(Criteria(), ledger.size())) == []
    assert kit.verify(ledger).exit_code == 0


def test_known_types_are_not_quarantined(ledger, kit):
    ledger.append([kit.event(1)])
    assert ledger.quarantined() == {}


def test_the_same_event_again_gives_the_first_receipt(ledger, kit, clock):
    [first] = ledger.append([kit.event(1)])
    clock.move(60)
    [again, other, twice] = ledger.append([dict(reversed(kit.event(1).items())), kit.event(2), kit.event(2)])
    assert (first.new, again.new, other.new, twice.new) == (True, False, True, False)
    assert again.as_json() == first.as_json()
    assert twice.as_json() == other.as_json()
    assert ledger.size() == 3


@pytest.mark.parametrize("change", [{"outcome": "denied"}, {"client": {"ip": "192.0.2.8"}}, {"details": {"note": "x"}}])
def test_the_same_id_with_other_content_is_a_conflict(ledger, kit, change):
    ledger.append([kit.event(1)])
    with pytest.raises(EventConflictError) as caught:
        ledger.append([kit.event(2), kit.event(1, data=change)])
    assert (caught.value.field, caught.value.index) == ("/id", 1)
    assert "view-1" not in str(caught.value)
    assert ledger.size() == 2
    assert ledger.find(kit.source, "view-2") is None
    # The refused batch left nothing behind that would stand in the way of a corrected one.
    assert [receipt.new for receipt in ledger.append([kit.event(2)])] == [True]
    assert kit.verify(ledger).exit_code == 0


def test_the_same_id_from_another_source_is_another_event(ledger, kit):
    receipts = ledger.append([kit.event(1), kit.event(1, source="urn:other")])
    assert [receipt.index for receipt in receipts] == [1, 2]


def test_a_batch_with_one_bad_event_writes_nothing(ledger, kit):
    with pytest.raises(EventError) as caught:
        ledger.append([kit.event(1), kit.event(2, data={"outcome": "perhaps"})])
    assert (caught.value.field, caught.value.index) == ("/data/outcome", 1)
    assert ledger.size() == 1
    assert ledger.vault.find("subject", "patient-1") is None


@pytest.mark.parametrize("size", [49, 50, 51, 130, 200])
def test_a_batch_of_old_and_new_events_of_any_size(ledger, kit, size):
    first = ledger.append([kit.event(number) for number in range(0, size, 3)])
    mixed = ledger.append([kit.event(number) for number in [*range(size), 0, size - 1]])
    assert [receipt.new for receipt in mixed] == [number % 3 != 0 for number in range(size)] + [False, False]
    assert [receipt.id for receipt in mixed] == [f"view-{number}" for number in [*range(size), 0, size - 1]]
    assert [receipt.as_json() for receipt in mixed[:size:3]] == [receipt.as_json() for receipt in first]
    assert ledger.size() == size + 1
    for receipt in mixed:
        assert ledger.find(kit.source, receipt.id).as_json() == receipt.as_json()
    assert kit.verify(ledger).exit_code == 0


def test_an_empty_batch_writes_nothing(ledger):
    before = ledger.checkpoint()
    assert ledger.append([]) == []
    assert ledger.checkpoint() == before


def test_a_batch_has_a_limit(ledger, kit):
    with pytest.raises(EventError, match=str(MAX_BATCH)):
        ledger.append([kit.event(number) for number in range(MAX_BATCH + 1)])
    assert ledger.size() == 1


@settings(max_examples=25)
@given(st.lists(st.lists(st.integers(0, 11), max_size=8), min_size=1, max_size=8))
def test_any_repetition_and_batching_gives_one_entry_per_event(kit, batches):
    with tempfile.TemporaryDirectory() as directory, closing(kit.create(Path(directory))) as ledger:
        receipts: dict[int, dict] = {}
        for batch in batches:
            for number, receipt in zip(batch, ledger.append([kit.event(n) for n in batch]), strict=True):
                assert receipts.setdefault(number, receipt.as_json()) == receipt.as_json()
        entries = [stored.decode().id for stored in ledger.entries(1)]
        assert entries == [f"view-{number}" for number in receipts]
        for number, receipt in receipts.items():
            assert ledger.find(kit.source, f"view-{number}").as_json() == receipt
        assert kit.verify(ledger).exit_code == 0


CANARIES = {
    "subject": "patient-Canary-0001",
    "actor": "dr.canary.0002@clinic.example",
    "behalf": "canary-0003-boss",
    "session": "canary-session-0004",
    "credential": "AKIACANARY0005",
    "ip": "203.0.113.206",
    "agent": "CanaryBrowser/0007",
    "raw": "canary raw text 0008",
    "text": "canary free text 0009",
    "detail": "canary detail 0010",
    "reason": "canary reason 0011",
    "why": "canary justification 0012",
    "query": "select canary 0013",
    "change": "canary change 0014",
    "approver": "canary-approver-0015",
    "authid": "canary-authid-0016",
    "device": "canary-device-0017",
    "unknown": "canary unknown 0018",
    "profile": "Canary Profile 0019",
}


@pytest.mark.sqlite
def test_no_identity_reaches_the_disk_in_the_open(ledger, kit):
    """The bytes of the database, its write-ahead log and every payload are searched."""
    c = CANARIES
    known = kit.event(
        1,
        authid=c["authid"],
        data={
            "actor": {"id": c["actor"], "session": c["session"], "on_behalf_of": c["behalf"]},
            "subjects": [{"id": c["subject"]}, {"id": "patient-2"}],
            "credential": c["credential"],
            "client": {"ip": c["ip"], "user_agent": c["agent"], "device": c["device"]},
            "raw": {"record": c["raw"]},
            "text": c["text"],
            "details": {"more": [c["detail"]]},
            "outcome_reason": c["reason"],
            "justification": {"code": "treatment", "text": c["why"], "approved_by": [c["approver"]]},
            "query": {"text": c["query"], "digest": "ab12"},
            "change": {"fields": [c["change"]]},
        },
    )
    [receipt, unknown] = ledger.append([known, kit.event(2, type="x.y.z.v1", data={"name": c["unknown"]})])
    with ledger.database.write() as connection:
        ledger.vault.refer(connection, "subject", c["subject"], {"id": c["subject"], "name": c["profile"]})
    ledger.access.follow()
    files = sorted(ledger.directory.rglob("ledger.db*"))
    assert {file.name for file in files} >= {"ledger.db", "ledger.db-wal"}
    for data in [file.read_bytes() for file in files] + [(s.payload or b"") + s.entry for s in ledger.entries()]:
        for name, canary in c.items():
            for spelling in (canary, canary.lower(), canary.encode("utf-16-le").decode("latin-1")):
                assert spelling.encode("latin-1") not in data, name

    # All of it is still there for who holds the keys.
    stored = ledger.entry(receipt.index)
    payload = json.loads(stored.payload)
    names = ledger.vault.profiles(
        [
            payload["data"]["actor"]["id"],
            payload["data"]["actor"]["session"],
            payload["data"]["actor"]["on_behalf_of"],
            payload["data"]["credential"],
            payload["data"]["client"]["ip_ref"],
            payload["data"]["justification"]["approved_by"][0],
            payload["authid"],
        ]
    )
    assert [profile["id"] for profile in names.values()] == [
        c[name] for name in ("actor", "session", "behalf", "credential", "ip", "approver", "authid")
    ]
    assert ledger.details(stored) == {
        "raw": {"record": c["raw"]},
        "text": c["text"],
        "details": {"more": [c["detail"]]},
        "outcome_reason": c["reason"],
        "change": {"fields": [c["change"]]},
        "justification.text": c["why"],
        "query.text": c["query"],
        "client": {"user_agent": c["agent"], "device": c["device"]},
    }
    assert ledger.details(ledger.entry(unknown.index))["data"]["name"] == c["unknown"]
    assert payload["data"]["query"] == {"digest": "ab12"}
    assert payload["data"]["justification"]["code"] == "treatment"


def test_the_entry_does_not_change_with_who_is_in_it(kit, tmp_path):
    """Two events that differ in nothing but people have entries that differ in commitment alone."""
    entries = []
    for name in ("one", "two"):
        with kit.create(tmp_path / name, seed=name) as ledger:
            event = kit.event(1, data={"subjects": [{"id": f"patient-{name}"}], "actor": {"id": f"dr-{name}"}})
            [receipt] = ledger.append([event])
            entries.append(ledger.entry(receipt.index).decode())
    first, second = entries
    assert first.commitment != second.commitment
    assert [getattr(first, n) for n in ("id", "source", "type", "time", "recorded", "version", "stream")] == [
        getattr(second, n) for n in ("id", "source", "type", "time", "recorded", "version", "stream")
    ]


def test_accesses_are_found_by_ref_not_by_name(ledger, kit):
    ledger.append([kit.event(1), kit.event(2, data={"subjects": [{"id": "patient-1"}, {"id": "patient-2"}]})])
    ref = ledger.vault.find("subject", "patient-1")
    found = list(ledger.access.matches(Criteria(subjects=[ref]), ledger.size()))
    assert [(access.index, access.subject, access.resource) for access in found] == [
        (1, ref, "record/1"),
        (2, ref, "record/2"),
    ]
    assert list(ledger.access.matches(Criteria(subjects=["patient-1"]), ledger.size())) == []
    assert [a.index for a in ledger.access.matches(Criteria(), 2)] == [1]


def test_following_the_log_is_exactly_once_and_can_be_repeated(ledger, kit):
    ledger.append([kit.event(number) for number in range(5)])
    assert ledger.access.follow() == 6
    ledger.append([kit.event(9)])
    assert ledger.access.follow() == 1
    assert ledger.access.follow() == 0
    with ledger.database.write() as connection:
        rows = [tuple(row) for row in connection.execute("SELECT * FROM access_row")]
        connection.execute("DELETE FROM access_row")
        connection.execute("DELETE FROM tracking")
    ledger.access.follow()
    with ledger.database.read() as connection:
        assert [tuple(row) for row in connection.execute("SELECT * FROM access_row")] == rows
    assert len(rows) == 6


def test_gaps_in_a_producers_sequence_are_named(ledger, kit):
    numbers = ["1", "2", "5", "6", "9" * 5000, "not a number"]
    ledger.append([kit.event(n, sequence=number) for n, number in enumerate(numbers)])
    findings = kit.verify(ledger)
    assert findings.gaps == [(kit.source, "2", "5")]
    assert findings.exit_code == 0


def refs_of(payload):
    """Every ref in a payload, with the identity that the events below gave it."""
    data = payload["data"]
    yield data["actor"]["id"]
    yield data["client"]["ip_ref"]
    yield data["credential"]
    yield from (subject["ref"] for subject in data["subjects"])
    yield from data["justification"]["approved_by"]


@settings(max_examples=20)
@given(st.lists(st.lists(st.integers(0, 40), max_size=90), min_size=1, max_size=4))
def test_everybody_a_batch_names_gets_one_ref_and_no_place_stays_blank(kit, batches):
    """Known and unknown identities, repeated within a batch and over its chunks, in every role."""
    given_to: dict[tuple[str, str], str] = {}
    number = 0
    with tempfile.TemporaryDirectory() as directory, closing(kit.create(Path(directory))) as ledger:
        for batch in batches:
            events, expected = [], []
            for who in batch:
                number += 1
                several = [who, who // 2, 40 - who]
                data = {
                    "actor": {"id": f"id-{who}"},
                    "client": {"ip": f"id-{who}"},
                    "credential": f"id-{who + 1}",
                    "subjects": [{"id": f"id-{each}"} for each in several],
                    "justification": {"approved_by": [f"id-{who + 2}"]},
                }
                events.append(kit.event(number, data=data))
                roles = [("a", who), ("n", who), ("a", who + 1), *(("s", each) for each in several), ("a", who + 2)]
                expected.append([(kind, f"id-{each}") for kind, each in roles])
            for receipt, roles in zip(ledger.append(events), expected, strict=True):
                payload = json.loads(ledger.entry(receipt.index).payload)
                for ref, role in zip(refs_of(payload), roles, strict=True):
                    assert REF.fullmatch(ref)
                    assert ref[0] == role[0]
                    assert given_to.setdefault(role, ref) == ref
        assert len(set(given_to.values())) == len(given_to)
        for (_, identity), ref in given_to.items():
            assert ledger.vault.profile(ref) == {"id": identity}
        assert kit.verify(ledger).exit_code == 0


def test_a_batch_may_name_more_people_than_are_remembered(ledger, kit, monkeypatch):
    monkeypatch.setattr("ledger.vault._CACHE", 10)
    monkeypatch.setattr("ledger.vault._AT_ONCE", 7)
    for turn in range(3):
        batch = [
            kit.event(f"{turn}-{n}", data={"subjects": [{"id": f"p{n}"}, {"id": "p0"}], "text": f"note {n}"})
            for n in range(100)
        ]
        receipts = ledger.append(batch)
        for n in (0, 1, 50, 99):
            stored = ledger.entry(receipts[n].index)
            refs = [subject["ref"] for subject in json.loads(stored.payload)["data"]["subjects"]]
            assert [ledger.vault.find("subject", name) for name in (f"p{n}", "p0")] == refs
            assert ledger.details(stored)["text"] == f"note {n}"
    with ledger.database.write():
        pass  # what is too much is dropped when the next transaction begins
    assert len(ledger.vault.names.subject) == 10
    assert kit.verify(ledger).exit_code == 0


def test_people_of_a_refused_batch_are_not_made_by_the_next(ledger, kit):
    ledger.append([kit.event(1)])
    with pytest.raises(EventConflictError):
        ledger.append([kit.event("new", data={"subjects": [{"id": "stranger"}]}), kit.event(1, subject="other")])
    ledger.append([kit.event(2)])
    assert ledger.vault.find("subject", "stranger") is None


@pytest.mark.sqlite
def test_a_batch_looks_everybody_up_at_once(ledger, kit):
    """Statements must not grow with the people of a batch."""
    statements = []
    ledger.append([kit.event("first")])
    with ledger.database.write() as connection:
        connection.set_trace_callback(statements.append)
    ledger.append([kit.event(n, data={"subjects": [{"id": f"p{n}"}]}) for n in range(200)])
    assert sum("FROM vault" in statement for statement in statements) <= 3
    assert sum("INTO vault" in statement for statement in statements) <= 8
