"""Evidence convicts by itself or says that it does not; it cannot be made to say more than it shows."""

import json
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.encoding import canonical
from ledger.errors import VerificationError
from ledger.notes import sign_note, split_note
from ledger.rotation import Rotation
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


@pytest.fixture
def changed(log, tools):
    """The same leaves after two changes of the key, with the statements of both."""
    keys = [log, *(tools.Log(log.origin, seed=bytes([n]) * 32, fork_at=log.fork_at) for n in (0x33, 0x44))]
    rotations = [
        Rotation.make(log.origin, 6 + n, old.signer, new.signer, compromised_since=3 if n else None)
        for n, (old, new) in enumerate(pairwise(keys))
    ]
    return keys, rotations


def test_a_fork_that_a_replaced_key_signed_convicts_through_the_rotations(changed):
    """What a thief has is the old key; what the log signs with now is the new one."""
    (first, second, third), rotations = changed
    # The first key signs sizes 0 to 7, the second 7 and 8, the third from 8 on.
    for pinned in (first, second, third):
        for size, ours, theirs in ((7, second, first), (8, second, third), (8, third, second)):
            item = Evidence.make(
                pinned.signer.vkey, ours.note(size), theirs.note(size, branch=1), found=FOUND, rotations=rotations
            )
            assert (item.check(), item.proven) == ("fork", True)
            read = Evidence.parse(item.to_bytes())
            assert read == item
            assert evidence_facts(read)["title"].endswith(first.origin)
    # A smaller checkpoint of the thief against ours, by proof; and one that is longer than ours.
    for size in (5, 7):
        small = Evidence.make(
            third.signer.vkey, third.note(9), first.note(size, branch=1), found=FOUND,
            root=first.root(size), proof=tuple(first.proof(size, 9)), rotations=rotations,
        )  # fmt: skip
        assert small.check() == "fork"
    longer = Evidence.make(third.signer.vkey, third.note(8), third.note(20), found=FOUND, rotations=rotations)
    assert longer.check() == "longer"


def test_a_key_that_was_replaced_convicts_nobody_of_what_it_signs_beyond_its_period(changed):
    """Or whoever stole a key could accuse the log for ever, however long ago it was changed."""
    (first, second, third), rotations = changed
    pairs = [
        (third.note(8), first.note(8, branch=1), {}),
        (third.note(8), first.note(500, root=bytes(32)), {}),
        (third.note(12), second.note(9, branch=1), {"root": third.root(9), "proof": tuple(third.proof(9, 12))}),
        (first.note(8, branch=1), third.note(8), {}),  # whichever of the two it signed
    ]
    for ours, theirs, more in pairs:
        for pinned in (first, second, third):
            item = Evidence.make(pinned.signer.vkey, ours, theirs, found=FOUND, rotations=rotations, **more)
            assert (item.check(), item.proven) == ("retired_key", False)
            assert Evidence.parse(item.to_bytes()) == item
        facts = evidence_facts(item)
        assert "did not sign two histories" in facts["summary"]
        assert "breach_types" not in facts["facts"]
    # One key that counts is enough, beside one that does not.
    both = sign_note(split_note(third.note(8, branch=1))[0], [third.signer, first.signer])
    assert Evidence.make(third.signer.vkey, third.note(8), both, found=FOUND, rotations=rotations).check() == "fork"
    # What contradicts nothing is no misuse either.
    with pytest.raises(VerificationError, match="same tree"):
        Evidence.make(third.signer.vkey, third.note(8), first.note(8), found=FOUND, rotations=rotations).check()


def test_since_when_a_key_is_in_doubt_stays_in_the_file_and_older_files_have_nothing_of_it(changed):
    (first, _, third), rotations = changed
    item = Evidence.make(
        third.signer.vkey, third.note(9), first.note(5, branch=1), found=FOUND,
        root=first.root(5), proof=tuple(first.proof(5, 9)), rotations=rotations,
    )  # fmt: skip
    assert [rotation.compromised_since for rotation in Evidence.parse(item.to_bytes()).rotations] == [None, 3]
    value = json.loads(item.to_bytes())
    assert [change.get("compromised_since") for change in value["rotations"]] == [None, "3"]
    older = {**value, "rotations": [dict(change) for change in value["rotations"]]}
    del older["rotations"][1]["compromised_since"]
    read = Evidence.parse(canonical(older))
    assert (read.check(), read.to_bytes()) == ("fork", canonical(older))
    for wrong in (3, None, "03", "-1", "99", [], True):
        value["rotations"][1]["compromised_since"] = wrong
        with pytest.raises(VerificationError):
            Evidence.parse(canonical(value))


def test_keys_that_no_rotation_links_convict_nobody(changed, tools, log):
    (first, _, third), rotations = changed
    stranger = tools.Log(log.origin, seed=b"\x55" * 32, fork_at=log.fork_at)
    alone = Rotation.make(log.origin, 3, stranger.signer, stranger_key(tools, log).signer)
    note = third.note(7)
    for wrong in ((), rotations[:1], rotations[1:], [alone], rotations[::-1], [alone, *rotations]):
        with pytest.raises(VerificationError):
            Evidence.make(third.signer.vkey, note, first.note(7, branch=1), found=FOUND, rotations=wrong).check()
    with pytest.raises(VerificationError):
        Evidence.make(third.signer.vkey, note, stranger.note(7, branch=1), found=FOUND, rotations=rotations).check()
    # A statement that only one of the two keys signs, is of another log, or says another place.
    good = Evidence.make(third.signer.vkey, note, first.note(7, branch=1), found=FOUND, rotations=rotations)
    assert Evidence.parse(good.to_bytes()).check() == "fork"
    value = json.loads(good.to_bytes())
    for change in (
        {"statement": sign_note(split_note(rotations[0].statement)[0], [first.signer]).decode()},
        {"index": "7"},
        {"index": 6},
        {"index": "06"},
        {"old": stranger.signer.vkey},
        {"statement": None},
        {"more": 1},
    ):
        with pytest.raises(VerificationError):
            Evidence.parse(
                canonical({**value, "rotations": [{**value["rotations"][0], **change}, value["rotations"][1]]})
            )
    for rotated in ([], None, {}, [1], "x"):
        with pytest.raises(VerificationError):
            Evidence.parse(canonical({**value, "rotations": rotated}))


def stranger_key(tools, log):
    return tools.Log(log.origin, seed=b"\x66" * 32)
