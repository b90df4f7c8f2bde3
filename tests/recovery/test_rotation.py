"""Changing the signing key: what signs when, what stays valid, what a forger cannot do."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from ledger import Ledger, OwnEvent
from ledger.checkpoint import Checkpoint
from ledger.config import DATABASE, read_config
from ledger.errors import KeyMismatchError, NoteError, PolicyError
from ledger.notes import Signer, Verifier, open_note, sign_note, split_note
from ledger.policy import parse_policy
from ledger.proofs import verify_receipt
from ledger.recovery.errors import RotationError
from ledger.recovery.rotating import rotate
from ledger.rotation import ROTATED, Rotation, read_history
from ledger.witness.client import Sighting
from ledger.witness.publication import Publication


def checkpoints(directory):
    with closing(sqlite3.connect(directory / DATABASE)) as connection:
        return dict(connection.execute("SELECT size, note FROM checkpoint"))


def signers_of(note):
    return [signature.key_id.hex() for signature in split_note(note)[1]]


def key_id(vkey):
    return vkey.split("+")[1]


@pytest.mark.sqlite
def test_the_covering_checkpoint_has_both_signatures_and_the_next_only_the_new_one(ledger, data, kit):
    kit.fill(ledger, 3)
    old = ledger.vkey
    done = rotate(ledger)
    kit.fill(ledger, 2, "after-")
    notes = checkpoints(data)
    assert (done.old, done.new, done.size) == (old, ledger.vkey, 5)
    assert signers_of(notes[4]) == [key_id(old)]
    assert signers_of(notes[5]) == [key_id(done.new), key_id(old)]
    assert signers_of(notes[6]) == signers_of(notes[7]) == [key_id(done.new)]
    assert Verifier.from_vkey(old).name == Verifier.from_vkey(done.new).name == kit.origin
    stored = ledger.entry(4)
    assert stored.decode().type == ROTATED
    config = read_config(data)
    assert [(key.vkey, key.first, key.last) for key in config.keys] == [(old, 0, 5), (done.new, 5, None)]
    assert config.next_key is None


def test_verify_follows_several_rotations_from_any_of_the_keys(ledger, data, kit):
    vkeys = [ledger.vkey]
    for number in range(3):
        kit.fill(ledger, 2, f"{number}-")
        vkeys.append(rotate(ledger).new)
    kit.fill(ledger, 1, "last-")
    for vkey in vkeys:
        findings = kit.verify(data, vkey=vkey)
        assert (findings.damage, findings.checkpoints) == ([], ledger.size())
        assert len(findings.lineage) == 3
    other = Signer.from_seed(kit.origin, b"\x07" * 32)
    assert {damage.kind for damage in kit.verify(data, vkey=other.vkey).damage} == {"checkpoint_altered"}


def test_receipts_from_before_and_after_hold_under_a_policy_that_lists_both(ledger, kit):
    old = ledger.vkey
    kit.fill(ledger, 2)
    before, entry = ledger.prove(1), ledger.entry(1).entry
    new = rotate(ledger).new
    after = ledger.prove(1)
    kit.fill(ledger, 1, "after-")
    latest = ledger.prove(1)
    both = f"log {old}\nlog {new}\nquorum none\n".encode()
    for proof in (before, after, latest):
        assert verify_receipt(proof, entry, both).index == 1
    only_new = f"log {new}\nquorum none\n".encode()
    assert verify_receipt(latest, entry, only_new).index == 1
    with pytest.raises(NoteError):
        verify_receipt(before, entry, only_new)
    with pytest.raises((NoteError, PolicyError)):
        verify_receipt(latest, entry, f"log {old}\nquorum none\n".encode())


def test_a_program_that_has_the_ledger_open_takes_the_new_key_by_itself(data, clock, kit):
    with Ledger.create(data, kit.origin, clock=clock) as server, Ledger.open(data, clock=clock) as shell:
        kit.fill(server, 2)
        done = rotate(shell)
        # Reading under the new key, before the server has written anything.
        proof = server.prove(0)
        policy = f"log {done.new}\nquorum none\n".encode()
        assert verify_receipt(proof, server.entry(0).entry, policy).index == 0
        kit.fill(server, 2, "server-")
        assert server.vkey == done.new
        kit.fill(shell, 1, "shell-")
    assert kit.verify(data).damage == []


def test_a_program_that_writes_first_after_a_rotation_signs_with_the_new_key(data, clock, kit):
    with Ledger.create(data, kit.origin, clock=clock) as server, Ledger.open(data, clock=clock) as shell:
        kit.fill(server, 2)
        done = rotate(shell)
        server.record([OwnEvent("org.tocsin.log.viewed.v1", {"by": "x"})])
        assert signers_of(server.checkpoint()) == [key_id(done.new)]
    assert kit.verify(data).damage == []


def test_a_program_without_the_new_key_cannot_sign(data, clock, kit):
    with Ledger.create(data, kit.origin, clock=clock) as server, Ledger.open(data, clock=clock) as shell:
        kit.fill(server, 1)
        done = rotate(shell)
        (data / done.new_place.removeprefix("file:")).rename(data / "elsewhere")
        size = shell.size()
        with pytest.raises(KeyMismatchError, match=key_id(done.new)):
            kit.fill(server, 1, "server-")
        assert shell.size() == size


def test_after_the_rotation_nothing_needs_the_old_secret(data, clock, kit):
    with Ledger.create(data, kit.origin, clock=clock) as ledger:
        done = rotate(ledger)
    (data / done.old_place.removeprefix("file:")).unlink()
    with Ledger.open(data, clock=clock) as ledger:
        kit.fill(ledger, 1)
        rotate(ledger)
        assert ledger.config.keys[-1].first == ledger.size()
    assert kit.verify(data, vkey=done.old).damage == []


def resign(data, size, signers):
    """What somebody with these keys and the database can do to one checkpoint."""
    with closing(sqlite3.connect(data / DATABASE, isolation_level=None)) as connection:
        [note] = connection.execute("SELECT note FROM checkpoint WHERE size = ?", (size,)).fetchone()
        connection.execute(
            "UPDATE checkpoint SET note = ? WHERE size = ?", (sign_note(split_note(note)[0], signers), size)
        )


@pytest.mark.sqlite
def test_each_checkpoint_counts_only_under_the_key_of_its_size(ledger, data, kit):
    kit.fill(ledger, 2)
    old = ledger.signer
    done = rotate(ledger)
    new = ledger.signer
    kit.fill(ledger, 2, "after-")
    for size, signers, bad in (
        (done.size - 1, [new], True),  # a new key backdating
        (done.size + 1, [old], True),  # an old key going on
        (done.size, [new], True),  # a rotation the old key never agreed to
        (done.size, [old], True),
        (done.size, [new, old], False),
    ):
        right = {True: [old] if size < done.size else [new], False: [new, old]}[size != done.size]
        resign(data, size, signers)
        kinds = [damage.kind for damage in kit.verify(data).damage]
        assert bool(kinds) is bad, (size, kinds)
        assert kinds == [] or kinds[0] in ("checkpoint_altered", "rotation_invalid")
        resign(data, size, right)
    assert kit.verify(data).damage == []


@pytest.mark.sqlite
def test_a_rotation_that_was_changed_in_the_database_is_named(ledger, data, kit):
    kit.fill(ledger, 2)
    done = rotate(ledger)
    kit.fill(ledger, 1, "after-")
    stranger = Signer.from_seed(kit.origin, b"\x09" * 32)
    forged = Rotation.make(kit.origin, done.size - 1, stranger, ledger.signer)
    with closing(sqlite3.connect(data / DATABASE, isolation_level=None)) as connection:
        payload = json.dumps({"data": forged.data()}, sort_keys=True, separators=(",", ":")).encode()
        connection.execute("UPDATE event SET payload = ? WHERE position = ?", (payload, done.size))
    found = {(damage.kind, damage.index) for damage in kit.verify(data).damage}
    assert ("payload_altered", done.size - 1) in found
    assert kit.verify(data).exit_code == 2


def test_a_forged_log_does_not_pass_by_having_a_rotation_of_its_own(tmp_path, ledger, kit, clock):
    """Somebody else's log under the same origin, rotated, verifies under neither of our keys."""
    kit.fill(ledger, 1)
    with Ledger.create(tmp_path / "forged", kit.origin, clock=clock) as forged:
        kit.fill(forged, 1)
        rotate(forged)
    findings = kit.verify(tmp_path / "forged", vkey=ledger.vkey)
    assert {damage.kind for damage in findings.damage} == {"checkpoint_altered"}


def test_a_statement_holds_only_where_it_was_made():
    old, new = (Signer.from_seed("example.org/a", bytes([number]) * 32) for number in (1, 2))
    data = Rotation.make("example.org/a", 7, old, new).data()
    assert Rotation.read(data, "example.org/a", 7).new == new.vkey
    with pytest.raises(NoteError):
        Checkpoint.parse(open_note(data["statement"].encode(), [old.verifier]).text)
    text = split_note(data["statement"].encode())[0]
    half = sign_note(text, [new]).decode()
    for wrong in (
        {**data, "statement": half},
        {**data, "old": new.vkey, "new": old.vkey},
        {**data, "old": new.vkey},
        {**data, "statement": data["statement"].replace("index 7", "index 8")},
        {**data, "statement": None},
        {**data, "compromised_since": 9},
        {**data, "compromised_since": True},
        {"purpose": "log"},
    ):
        with pytest.raises(RotationError):
            Rotation.read(wrong, "example.org/a", 7)
    with pytest.raises(RotationError):
        Rotation.read(data, "example.org/a", 8)
    with pytest.raises(RotationError):
        Rotation.read(data, "example.org/b", 7)


@pytest.mark.sqlite
def test_history_is_found_without_reading_the_whole_log(ledger, data, kit):
    for number in range(4):
        kit.fill(ledger, 20, f"{number}-")
        rotate(ledger)
    asked = []
    with ledger.database.read() as connection:
        connection.set_trace_callback(asked.append)
        history = read_history(connection, ledger.signer.verifier)
        connection.set_trace_callback(None)
    assert [(p.verifier.vkey, p.first, p.last) for p in history.periods] == [
        (key.vkey, key.first, key.last) for key in read_config(data).keys
    ]
    assert len(asked) < 120


def test_a_witness_that_last_saw_the_old_key_is_still_understood(ledger, data, kit, tmp_path):
    """Before the new key is published the witness shows a checkpoint that only the old key signed."""
    kit.fill(ledger, 2)
    with kit.witness(tmp_path / "witness", ledger.vkey) as (witness, url):
        Publication(ledger, parse_policy(kit.policy(ledger, witness, url))).publish_now()
        rotate(ledger)
        kit.fill(ledger, 1, "after-")
        publication = Publication(ledger, parse_policy(kit.policy(ledger, witness, url)))
        [sighting] = publication.check_start_now().values()
        assert isinstance(sighting, Sighting)
        assert sighting.checkpoint.size == 3
        # Unknown to the witness so far, so nothing is cosigned; afterwards it goes on.
        assert publication.publish_now().state == "committed"
        witness.store.add_log(ledger.origin, ledger.signer.verifier)
        assert publication.publish_now().state == "witnessed"
        assert publication.witnessed_note() is not None
    assert kit.verify(data).damage == []
