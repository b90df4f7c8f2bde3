"""A new log that continues one that cannot go on, and the drill for a stolen key from end to end."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing

import pytest

from ledger import Ledger
from ledger.checkpoint import Checkpoint
from ledger.config import DATABASE, KeyPeriod, read_config
from ledger.encoding import format_time
from ledger.errors import InputError
from ledger.notes import Signer, Verifier, sign_note, split_note
from ledger.policy import parse_policy
from ledger.proofs import verify_receipt
from ledger.recovery.backup import take_backup
from ledger.recovery.errors import RotationError
from ledger.recovery.restoring import signed_in_time
from ledger.recovery.rotating import assess_trust
from ledger.recovery.succession import SUCCEEDED, Predecessor
from ledger.rotation import COMPROMISED, ROTATED
from ledger.witness.client import Sighting
from ledger.witness.publication import Publication

NEW = "example.org/audit-2"


def test_a_new_origin_commits_to_what_the_witnesses_saw_of_the_old_log(ledger, data, kit, tmp_path):
    kit.fill(ledger, 3)
    take_backup(ledger, tmp_path / "old.tocsin")
    kit.fill(ledger, 5, "lost-")
    with kit.witness(tmp_path / "witness", ledger.vkey) as (witness, url):
        policy = tmp_path / "policy"
        policy.write_bytes(kit.policy(ledger, witness, url))
        Publication(ledger, parse_policy(policy.read_bytes())).publish_now()
        arguments = ["restore", tmp_path / "old.tocsin", "--new-origin", NEW, "--data", tmp_path / "new", "--json"]
        assert kit.tocsin(*arguments).code == 1  # a reason is asked for
        ran = kit.tocsin(*arguments, "--policy", policy, "--reason", "the disk was lost")
    assert ran.code == 0, ran.err
    assert (ran.json["continues"], ran.json["lost"]) == ({"origin": ledger.origin, "size": 9}, 5)
    with Ledger.open(tmp_path / "new") as successor:
        first = successor.entry(0)
        said = json.loads(first.payload)["data"]
        kit.fill(successor, 2, "new-")
        assert first.decode().type == SUCCEEDED
        assert (said["origin"], said["vkey"]) == (NEW, successor.vkey)
        policy_new = f"log {successor.vkey}\nquorum none\n".encode()
        assert verify_receipt(successor.prove(0), first.entry, policy_new).index == 0
    found = Predecessor.read(said["predecessor"])
    assert (found.head.size, found.restorable, found.reason) == (9, 4, "the disk was lost")
    assert found.head.root.hex() == kit.verify(data).root
    # The witness's cosignature is in the new log for good.
    assert len(split_note(found.checkpoint)[1]) == 2
    findings = kit.verify(tmp_path / "new")
    assert findings.damage == []
    assert f"continues {ledger.origin}" in findings.lineage[0]


def test_without_witnesses_the_backup_is_the_last_that_is_known(ledger, kit, tmp_path):
    kit.fill(ledger, 3)
    take_backup(ledger, tmp_path / "old.tocsin")
    same = ["restore", tmp_path / "old.tocsin", "--data", tmp_path / "new", "--reason", "x", "--new-origin"]
    refused = kit.tocsin(*same, ledger.origin)
    assert refused.code == 1
    assert "another origin" in refused.err.replace("\n", " ")
    ran = kit.tocsin(*same, NEW, "--json")
    assert (ran.code, ran.json["lost"], ran.json["continues"]["size"]) == (0, 0, 4)
    assert kit.tocsin(*same, "example.org/third").code == 1


def test_a_predecessor_must_show_a_checkpoint_of_that_very_log(kit):
    signer = Signer.from_seed(kit.origin, b"\x01" * 32)
    other = Signer.from_seed("example.org/other", b"\x02" * 32)
    note = sign_note(Checkpoint(kit.origin, 5, b"\x05" * 32).format(), [signer])
    data = Predecessor(signer.vkey, note, 5, "why").data()
    assert Predecessor.read(data).head.size == 5
    for wrong in (
        {**data, "size": 6},
        {**data, "root": "00" * 32},
        {**data, "origin": "example.org/other"},
        {**data, "vkey": other.vkey},
        {**data, "checkpoint": data["checkpoint"].replace("\n5\n", "\n6\n")},
        {**data, "extra": 1},
        {},
    ):
        with pytest.raises(RotationError):
            Predecessor.read(wrong)


def test_verify_names_a_predecessor_that_does_not_hold(tmp_path, kit, clock):
    signer = Signer.from_seed(kit.origin, b"\x01" * 32)
    note = sign_note(Checkpoint(kit.origin, 5, b"\x05" * 32).format(), [signer])
    good = Predecessor(signer.vkey, note, 5, "why").data()
    with Ledger.create(tmp_path / "new", NEW, clock=clock, predecessor={**good, "size": 4}):
        pass
    assert [(d.kind, d.index) for d in kit.verify(tmp_path / "new").damage] == [("predecessor_invalid", 0)]


def test_what_remains_trustworthy_is_found_by_time_and_by_size(ledger, kit, clock):
    kit.fill(ledger, 3)
    clock.move(3600)
    moment = clock.now
    clock.move(3600)
    kit.fill(ledger, 2, "later-")
    by_time, by_size = assess_trust(ledger, moment), assess_trust(ledger, 4)
    assert by_time.since == by_size.since == 4
    assert (by_time.time, by_size.time) == (format_time(moment), None)
    assert (by_time.witnessed, by_time.size) == (0, 6)
    assert "Entries 4 to 5" in by_time.lines()[-1]
    with pytest.raises(InputError):
        assess_trust(ledger, 7)
    clock.move(-10_000)
    with pytest.raises(InputError, match="future"):
        assess_trust(ledger, moment)


@pytest.mark.sqlite
def test_the_drill_for_a_stolen_key(ledger, data, kit, tmp_path, clock):
    """Everything docs/operations.md asks for, with a thief who really uses the key."""
    stolen = ledger.signer
    shutil.copy(data / "keys" / "ledger.key", tmp_path / "stolen.key")
    kit.fill(ledger, 4)
    receipt, entry = ledger.prove(2), ledger.entry(2).entry
    with kit.witness(tmp_path / "witness", ledger.vkey, clock=clock) as (witness, url):
        policy = tmp_path / "policy"
        policy.write_bytes(kit.policy(ledger, witness, url))
        assert Publication(ledger, parse_policy(policy.read_bytes())).publish_now().state == "witnessed"
        clock.move(60)
        theft = clock.now
        clock.move(60)
        kit.fill(ledger, 2, "doubtful-")

        # 1. Retire: compromised and rotated in one commit.
        ran = kit.tocsin("keys", "retire", "--compromised-since", format_time(theft), "--data", data, "--json")
        assert ran.code == 0, ran.err
        done = ran.json
        assert done["trust"]["since"] == 5
        assert done["trust"]["witnessed_before"]["size"] == 5
        assert "Entries 0 to 4 stand" in done["statement"][0]
        assert "Entries 5 to 6" in done["statement"][1]
        types = [stored.decode().type for stored in ledger.entries(7)]
        assert types == [COMPROMISED, ROTATED]
        shown = kit.tocsin("keys", "show", "--data", data, "--json").json
        assert [(key["vkey"], key["from"], key["to"]) for key in shown["keys"]] == [
            (stolen.vkey, 0, 9),
            (done["new"], 9, None),
        ]

        # 2. The rotation is witnessed: its checkpoint carries the old signature too, so the witness takes it.
        policy.write_bytes(kit.policy(ledger, witness, url))
        published = Publication(ledger, parse_policy(policy.read_bytes())).publish_now()
        assert (published.size, published.state) == (9, "witnessed")

        # 3. The witness learns the new key; the log goes on and is witnessed under it alone.
        verifier = Verifier.from_vkey(done["new"])
        witness.store.add_log(verifier.name, verifier)
        kit.fill(ledger, 1, "after-")
        published = Publication(ledger, parse_policy(policy.read_bytes())).publish_now()
        assert (published.size, published.state) == (10, "witnessed")

        # 4. A new backup, with the new key apart; it restores and is confirmed by the witness.
        assert kit.tocsin("backup", "--data", data, "-o", tmp_path / "b", "--with-keys", tmp_path / "k").code == 0
        arguments = ["restore", tmp_path / "b", "--data", tmp_path / "copy", "--keys", tmp_path / "k"]
        assert kit.tocsin(*arguments, "--policy", policy).code == 0

    # The thief signs on with the stolen key: nobody who checks is fooled.
    findings = kit.verify(data)
    assert findings.damage == []
    assert any("declared compromised since 5 entries" in line for line in findings.lineage)
    with closing(sqlite3.connect(data / DATABASE, isolation_level=None)) as connection:
        [note] = connection.execute("SELECT note FROM checkpoint WHERE size = 10").fetchone()
        forged = sign_note(split_note(note)[0], [stolen])
        connection.execute("UPDATE checkpoint SET note = ? WHERE size = 10", (forged,))
    assert kit.verify(data).damage[0].kind == "checkpoint_altered"

    # A receipt from before the theft, under a policy with both keys, is as good as ever.
    both = "".join(f"log {key.vkey}\n" for key in read_config(data).keys)
    assert verify_receipt(receipt, entry, f"{both}quorum none\n".encode()).index == 2


def test_what_a_replaced_key_signed_beyond_its_time_is_no_predecessor():
    old, new = (Signer.from_seed("example.org/audit", bytes([number]) * 32) for number in (1, 2))
    keys = [KeyPeriod(old.vkey, 0, 8), KeyPeriod(new.vkey, 8)]

    def shown(signer: Signer, size: int) -> Sighting:
        checkpoint = Checkpoint("example.org/audit", size, bytes(32))
        return Sighting(sign_note(checkpoint.format(), [signer]), checkpoint, 1)

    assert signed_in_time(shown(old, 8), keys)
    assert not signed_in_time(shown(old, 9), keys)
    assert signed_in_time(shown(new, 9), keys)
