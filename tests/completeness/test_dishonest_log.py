"""A log that signs and seals what is not so: what its own reports give away."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ledger import Ledger, OwnEvent
from ledger.completeness import Report, ReportError, seal_index, store, subject_report, verify_report
from ledger.completeness.check import read_seal
from ledger.completeness.form import Proven
from ledger.completeness.index import SEALED_TYPE, Key
from ledger.completeness.trie import EMPTY, MapProof
from ledger.entries import Entry
from ledger.errors import StoreDamagedError
from ledger.vocabulary import OWN_SOURCE

NOBODY = Key("subject", "s_" + "a" * 26)


@pytest.mark.parametrize(("index", "message"), [(0, "not one of an access"), (1, "disagree on whether it names")])
def test_an_index_that_lists_what_does_not_name_the_person(ledger, kit, monkeypatch, index, message):
    ledger.append([kit.event(1, ["cust-1"])])
    honest = store.touched
    monkeypatch.setattr(
        store, "touched", lambda stored, entry: honest(stored, entry) | ({NOBODY} if stored.index == index else set())
    )
    seal_index(ledger)
    with pytest.raises(StoreDamagedError, match=message):
        subject_report(ledger, NOBODY.name)


def test_an_index_that_leaves_out_one_of_two_keys_shows_in_a_report_about_both(ledger, kit, monkeypatch):
    ledger.append([kit.event(1, ["cust-1"], "record/9")])
    honest = store.touched
    monkeypatch.setattr(
        store, "touched", lambda stored, entry: frozenset(key for key in honest(stored, entry) if key.kind != "subject")
    )
    seal_index(ledger)
    ref = kit.ref(ledger, "cust-1")
    assert subject_report(ledger, ref).verdict.accesses == 0  # a report alone rests on the seal
    with pytest.raises(StoreDamagedError, match="disagree on whether it names"):
        subject_report(ledger, ref, resources=["record/9"])


def forged(ledger: Ledger, data: dict, size: int) -> Report:
    """A report of absence under a seal that the log's operator wrote by hand."""
    seal_index(ledger)
    honest = subject_report(ledger, NOBODY.name).report
    payload = honest.sections[0].seal.stored.payload
    assert payload is not None
    [index] = ledger.record([OwnEvent(SEALED_TYPE, json.loads(payload)["data"] | data)])
    checkpoint, [path] = ledger.inclusion_paths([index])
    section = replace(honest.sections[0], seal=Proven(ledger.entry(index), tuple(path)), proof=MapProof(()))
    return replace(honest, size=size, checkpoint=checkpoint, sections=(section,))


def test_a_seal_cannot_cover_what_came_after_it(ledger, kit):
    kit.fill(ledger, 5)
    report = forged(ledger, {"root": EMPTY.hex(), "size": 9}, 9)
    assert ledger.size() == 9
    with pytest.raises(ReportError, match="came after it"):
        verify_report(report.to_bytes(), ledger.vkey)


def test_a_report_cannot_cover_more_than_its_checkpoint(ledger, kit):
    kit.fill(ledger, 5)
    report = forged(ledger, {"root": EMPTY.hex(), "size": 10}, 10)
    with pytest.raises(ReportError, match="more entries than its checkpoint"):
        verify_report(report.to_bytes(), ledger.vkey)


def test_an_honest_forgery_is_only_found_by_recomputation(ledger, kit):
    """The limit that every report states: a wrong root that the log did seal verifies offline."""
    kit.fill(ledger, 5)
    report = forged(ledger, {"root": EMPTY.hex()}, 6)
    assert any("recompute" in line for line in verify_report(report.to_bytes(), ledger.vkey).not_proven)


GOOD = {
    "construction": "tocsin/index/v1",
    "count": 1,
    "key": "00" * 32,
    "kind": "subject",
    "root": "00" * 32,
    "size": 5,
    "unreadable": 0,
}


def sealing(kind: str = SEALED_TYPE, source: str = OWN_SOURCE) -> Entry:
    return Entry("00" * 32, "i", "t", source, "s", "t", kind, 1)


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def test_a_seal_is_read_strictly():
    assert read_seal(sealing(), compact({"data": GOOD})).size == 5
    bad = [{"data": GOOD, "subject": "x"}, {"data": GOOD | {"more": 1}}, {"data": []}, [], {"data": {"size": 5}}]
    bad += [{"data": GOOD | {"size": size}} for size in (-1, "5", True, None, 5.0)]
    bad += [{"data": GOOD | {"root": root}} for root in ("", "00", "zz" * 32, "AA" * 32, 7, " " + "00" * 32)]
    bad += [{"data": GOOD | {"kind": 1}}, {"data": GOOD | {"construction": "tocsin/index/v2"}}]
    for value in bad:
        with pytest.raises(ReportError):
            read_seal(sealing(), compact(value))
    for junk in (b"", b"{", json.dumps({"data": GOOD}).encode()):
        with pytest.raises(ReportError):
            read_seal(sealing(), junk)
    for entry in (sealing("org.tocsin.data.view.v1"), sealing(source="https://producer.example")):
        with pytest.raises(ReportError):
            read_seal(entry, compact({"data": GOOD}))
