"""Evidence convicts by itself or says that it does not; it cannot be made to say more than it shows."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.encoding import canonical
from ledger.errors import VerificationError
from ledger.witness.evidence import Claim, Evidence, evidence_facts

FOUND = datetime(2026, 3, 10, 9, 0, tzinfo=UTC)
VKEY = "witness.example/w1+00000000+AAAA"


def make(log, ours, theirs, *, claim=None, root=b"", proof=()):
    return Evidence.make(log.signer.vkey, ours, theirs, found=FOUND, claim=claim, root=root, proof=tuple(proof))


@pytest.fixture
def samples(log):
    return {
        "same size": make(log, log.note(5), log.note(5, branch=1)),
        "theirs smaller": make(log, log.note(9), log.note(5, branch=1), root=log.root(5), proof=log.proof(5, 9)),
        "theirs smaller, a power of two": make(
            log, log.note(9), log.note(4, branch=1), root=log.root(4), proof=log.proof(4, 9)
        ),
        "longer": make(log, log.note(5), log.note(9), claim=Claim(VKEY, 409, 9)),
        "claim": make(log, log.note(5), None, claim=Claim(VKEY, 422)),
        "big claim": make(log, log.note(5), None, claim=Claim(VKEY, 409, 2**63 - 1)),
    }  # fmt: skip


def test_kinds(samples):
    kinds = {name: item.check() for name, item in samples.items()}
    assert kinds == {
        "same size": "fork",
        "theirs smaller": "fork",
        "theirs smaller, a power of two": "fork",
        "longer": "longer",
        "claim": "claim",
        "big claim": "claim",
    }
    assert [item.proven for item in samples.values()] == [True, True, True, True, False, False]


def test_files_read_back_as_they_were_written(samples):
    for item in samples.values():
        assert Evidence.parse(item.to_bytes()) == item
        assert Evidence.parse(item.to_bytes()).digest == item.digest


def test_what_contradicts_nothing_is_no_evidence(log, tools):
    nothing = [
        make(log, log.note(5), log.note(5)),
        make(log, log.note(5), None),
        make(log, log.note(9), log.note(5), root=log.root(5), proof=log.proof(5, 9)),
        make(log, log.note(9), log.note(5, branch=1)),
        # A root that the proof does not lead from.
        make(log, log.note(9), log.note(5), root=log.root(5, 1), proof=log.proof(5, 9)),
        # From size 0 every root goes.
        make(log, log.note(9), log.note(0), root=bytes(32)),
        # Signed by somebody else, or of another log.
        make(log, log.note(5), tools.Log(log.origin, seed=b"\x22" * 32).note(5)),
        make(log, log.note(5), tools.Log("log.example/other", seed=log.seed).note(5)),
    ]
    for item in nothing:
        with pytest.raises(VerificationError):
            item.check()
        with pytest.raises(VerificationError):
            Evidence.parse(item.to_bytes())


def test_files_in_another_form_are_refused(samples):
    value = json.loads(samples["theirs smaller"].to_bytes())
    changes = [
        {"format": "x"}, {"found": "yesterday"}, {"found": "2026-03-10T09:00:00Z"}, {"vkey": 5}, {"vkey": "x"},
        {"ours": None}, {"theirs": 5}, {"claim": []}, {"claim": {"witness": 1, "status": 409, "size": None}},
        {"claim": {"witness": VKEY, "status": 409, "size": "01"}},
        {"claim": {"witness": VKEY, "status": True, "size": None}},
        {"claim": {"witness": VKEY, "status": 409, "size": "1", "more": 1}},
        {"root": "AB" * 32}, {"root": 0}, {"root": None}, {"proof": None}, {"proof": [1]}, {"proof": ["AAAA"]},
        {"more": 1},
    ]  # fmt: skip
    for change in changes:
        with pytest.raises(VerificationError):
            Evidence.parse(canonical(value | change))
    for data in (b"", b"[]", b"null", b"{}", b"\xff", b" " + samples["claim"].to_bytes(), b"1" * 4_000_001):
        with pytest.raises(VerificationError):
            Evidence.parse(data)


@given(st.data())
def test_damaged_files_are_refused_or_say_the_same(tools, data):
    log = tools.Log(fork_at=3)
    item = make(
        log, log.note(9), log.note(5, branch=1), root=log.root(5), proof=log.proof(5, 9), claim=Claim(VKEY, 409, 5)
    )
    file = bytearray(item.to_bytes())
    file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = Evidence.parse(bytes(file))
    except VerificationError:
        return
    # What is left are the parts nobody signed: when it was found and what the witness said.
    assert read.check() == "fork"
    assert (read.ours, read.theirs) == (item.ours, item.theirs)


def test_facts_for_an_incident_name_the_evidence_and_no_more_than_it_shows(samples):
    from incidents.case.facts import check_fact

    for item in samples.values():
        facts = evidence_facts(item)
        assert facts["detected"] == "2026-03-10T09:00:00.000Z"
        assert facts["evidence"]["sha256"] == item.digest
        assert Evidence.parse(facts["evidence"]["file"].encode()) == item
        for path, fact in facts["facts"].items():
            check_fact(path, fact["state"], fact["value"])
            assert item.digest in fact["note"]
    assert evidence_facts(samples["claim"])["facts"]["incident_types"]["state"] == "assumed"
    assert "breach_types" not in evidence_facts(samples["claim"])["facts"]
    assert evidence_facts(samples["longer"])["facts"]["breach_types"]["value"] == ["loss"]
