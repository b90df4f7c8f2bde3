"""The drill of docs/operations.md for a stolen signing key, step by step, with a thief who is there first."""

from __future__ import annotations

import json
import shutil

import pytest

from ledger import Ledger
from ledger.checkpoint import Checkpoint
from ledger.config import DATABASE, read_config
from ledger.encoding import format_time
from ledger.merkle import consistency_path
from ledger.notes import Verifier, sign_note
from ledger.policy import parse_policy
from ledger.recovery.backup import Backup, take_backup, write_keys
from ledger.recovery.errors import BackupError
from ledger.recovery.restoring import confirm_by_witnesses, read_keys, restore
from ledger.recovery.rotating import retire, rotate
from ledger.rotation import read_history
from ledger.tiles import TileReader
from ledger.witness import records
from ledger.witness.core import format_submission
from ledger.witness.errors import EquivocationError, HaltedError, RefusedError, WitnessError
from ledger.witness.evidence import Evidence
from ledger.witness.publication import Budget, Publication
from ledger.witness.settling import settle


class Thief:
    """Has the key and a copy of the log from the day of the theft, and writes a history of its own."""

    def __init__(self, kit, ledger, directory):
        directory.mkdir()
        shutil.copy(ledger.directory / "tocsin.toml", directory)
        shutil.copytree(ledger.directory / "keys", directory / "keys")
        ledger.database.copy_to(directory / DATABASE)
        self.kit = kit
        self.ledger = Ledger.open(directory)
        self.key = self.ledger.signer

    def submission(self, old: int, size: int) -> bytes:
        while self.ledger.size() < size:
            self.kit.fill(self.ledger, 1, f"forged-{self.ledger.size()}-")
        node = TileReader(self.ledger.tile, size)
        with self.ledger.database.read() as connection:
            note = connection.execute("SELECT note FROM checkpoint WHERE size = ?", (size,)).fetchone()["note"]
        return format_submission(old, consistency_path(old, size, node), note)


@pytest.mark.sqlite
def test_the_drill(ledger, data, kit, tmp_path, clock):  # noqa: PLR0915 - the steps of a page, in its order
    kit.fill(ledger, 4)
    with (
        kit.witness(tmp_path / "north", ledger.vkey, clock=clock) as (north, north_url),
        kit.witness(tmp_path / "south", ledger.vkey, clock=clock) as (south, south_url),
    ):

        def policy() -> bytes:
            logs = "".join(f"log {key.vkey}\n" for key in read_config(data).keys)
            return (
                f"{logs}witness north {north.vkey} {north_url}\nwitness south {south.vkey} {south_url}\n"
                "group one any north south\nquorum one\n"
            ).encode()

        file = tmp_path / "policy"
        file.write_bytes(policy())
        assert Publication(ledger, parse_policy(file.read_bytes())).publish_now().state == "witnessed"
        # The theft: key and database, at 5 entries.
        thief = Thief(kit, ledger, tmp_path / "thief")
        clock.move(60)
        stolen_at = clock.now
        clock.move(60)
        kit.fill(ledger, 1, "doubtful-")

        # The thief is at one witness before anybody noticed anything.
        south.add_checkpoint(thief.submission(5, 7))

        # 1 and 2. Noticed: the old key is declared compromised and replaced, and that is witnessed at once.
        ran = kit.tocsin(
            "keys", "retire", "--compromised-since", format_time(stolen_at), "--data", data, "--policy", file, "--json"
        )
        # The other witness has seen more, and shows it: the thief cannot hide what it had cosigned.
        assert ran.code != 0
        ledger.reload()
        config = read_config(data)
        assert (len(config.keys), ledger.vkey) == (2, config.vkey)
        new = Verifier.from_vkey(config.vkey)
        stolen = Verifier.from_vkey(config.keys[0].vkey)
        assert new != stolen

        # 4. Witnesses know the new key and forget the old one, while they are served.
        for directory in ("north", "south"):
            told = ("--data", tmp_path / directory)
            assert kit.tocsin("witness", "add-log", new.vkey, *told).code == 0
            removed = kit.tocsin("witness", "remove-log-key", stolen.vkey, *told, "--json")
            assert (removed.code, removed.json["vkeys"]) == (0, [new.vkey])

        # From now on the thief is refused, whatever it signs: longer, of the same size, or the true log.
        for witness, old, size in ((north, 5, 12), (north, 8, 10), (south, 7, 12), (south, 7, 7)):
            with pytest.raises(RefusedError) as refused:
                witness.add_checkpoint(thief.submission(min(old, size), size))
            assert refused.value.verdict == 403

        # The log goes on under the new key, with the witness that the thief did not reach.
        file.write_bytes(policy())
        publication = Publication(ledger, parse_policy(file.read_bytes()), Budget(10, 3600))
        kit.fill(ledger, 3, "after-")
        assert ledger.size() == 11

        # 5. Evidence: a checkpoint that the old key signed, against one that the new key signed.
        with pytest.raises(EquivocationError) as caught:
            publication.publish_now()
        evidence = caught.value.evidence
        assert evidence.check() == "fork"
        assert Evidence.parse(evidence.to_bytes()).vkey == new.vkey
        listed = json.loads(kit.tocsin("witness", "evidence", "--data", data).out)
        digests = {item["sha256"] for item in listed if item["kind"] == "fork"}
        assert evidence.digest in digests
        printed = kit.tocsin("witness", "evidence", evidence.digest, "--data", data)
        assert Evidence.parse(printed.out.encode()).proven
        with pytest.raises(HaltedError):
            publication.check_budget()

        # 6. verify names it: which key is in doubt since when, and the history that somebody else showed.
        verified = kit.tocsin("verify", "--data", data, "--policy", file, "--json")
        lineage = "\n".join(verified.json["lineage"])
        assert verified.json["damage"] == []
        assert "declared compromised since 5 entries" in lineage
        assert f"evidence {evidence.digest}, not settled" in lineage
        assert "another history was shown that a key of this log signed" in lineage

        # Settled once somebody has looked, in the log for good; then it goes on.
        for item in listed:
            done = kit.tocsin("witness", "settle", item["sha256"], "--why", "INC-1: stolen key", "--data", data)
            assert done.code == 0, done.err
        publication.check_budget()
        kit.fill(ledger, 1, "onwards-")
        verified = kit.tocsin("verify", "--data", data, "--json")
        assert verified.json["damage"] == []
        assert "not settled" not in "\n".join(verified.json["lineage"])
        settled = [stored for stored in ledger.entries() if stored.decode().type == "org.tocsin.witness.settled.v1"]
        assert len(settled) == len(listed)
    thief.ledger.close()


def test_a_fork_under_a_replaced_key_is_evidence_and_no_error(ledger, kit, tmp_path, clock):
    """The smallest case: the other checkpoint is signed by a key that the log has given up."""
    old = ledger.signer
    kit.fill(ledger, 3)
    with kit.witness(tmp_path / "w", ledger.vkey, clock=clock) as (witness, url):
        # Five entries are what the rotation below makes of the log: the last size that the old key signs.
        forged = sign_note(Checkpoint(ledger.origin, 5, b"\x07" * 32).format(), [old])
        witness.add_checkpoint(format_submission(0, [], forged))
        rotate(ledger)
        witness.store.add_log(ledger.origin, ledger.signer.verifier)
        kit.fill(ledger, 2, "after-")
        publication = Publication(ledger, parse_policy(kit.policy(ledger, witness, url)))
        with pytest.raises(EquivocationError) as caught:
            publication.publish_now()
        assert caught.value.evidence.check() == "fork"
        with pytest.raises(HaltedError, match="forked"):
            publication.check_budget()


def test_a_thief_whose_key_was_replaced_stops_nobody(ledger, data, kit, tmp_path, clock):
    """What the replaced key signs beyond its period is kept and shown, and neither halts nor accuses the log."""
    old = ledger.signer
    kit.fill(ledger, 5)
    with (
        kit.witness(tmp_path / "north", ledger.vkey, clock=clock) as (north, north_url),
        kit.witness(tmp_path / "south", ledger.vkey, clock=clock) as (south, south_url),
    ):
        retire(ledger, 3)
        for witness in (north, south):
            witness.store.add_log(ledger.origin, ledger.signer.verifier)
        # South was not told to trust the old key no longer.
        invented = Checkpoint(ledger.origin, 15, b"\x07" * 32)
        south.add_checkpoint(format_submission(0, [], sign_note(invented.format(), [old])))

        def policy(quorum: int) -> Publication:
            text = (
                f"log {ledger.vkey}\nwitness north {north.vkey} {north_url}\nwitness south {south.vkey} {south_url}\n"
                f"group some {quorum} north south\nquorum some\n"
            )
            return Publication(ledger, parse_policy(text.encode()), Budget(10, 3600))

        publication = policy(1)
        seen = publication.check_start_now()  # no shorter than what the log's own keys signed
        assert isinstance(seen["south"], WitnessError)
        result = publication.publish_now()
        assert (result.state, [item.state for item in result.outcomes]) == ("witnessed", ["cosigned", "disputed"])
        assert "remove-log-key" in result.outcomes[1].message
        evidence = result.outcomes[1].evidence
        assert evidence.check() == "retired_key"
        publication.check_budget()
        ledger.append([kit.event("accepted")])
        kit.fill(ledger, 12, "grown-")  # behind the invented checkpoint now
        assert publication.publish_now().outcomes[1].evidence.check() == "retired_key"
        publication.check_budget()
        [listed] = json.loads(kit.tocsin("witness", "evidence", "--data", data).out)
        assert (listed["kind"], listed["settled"]) == ("retired_key", False)
        lineage = "\n".join(kit.tocsin("verify", "--data", data, "--json").json["lineage"])
        assert "a key that this log replaced signed a checkpoint that is not of this log" in lineage
        # It is settled like any other, and the copy of a lost server is not held up by it; but who shows it is silent.
        assert settle(ledger, listed["sha256"], "INC-1: stolen key") is not None
        [listed] = json.loads(kit.tocsin("witness", "evidence", "--data", data).out)
        assert listed["settled"]
        take_backup(ledger, tmp_path / "b.tocsin")
        write_keys(ledger, tmp_path / "keys")
        restore(Backup.open(tmp_path / "b.tocsin"), tmp_path / "copy", keys=read_keys(tmp_path / "keys"))
        with Ledger.open(tmp_path / "copy", clock=clock) as copy:
            text = policy(1).policy
            with pytest.raises(BackupError, match="Too few witnesses answered"):
                confirm_by_witnesses(copy, text)


def test_the_misuse_of_a_replaced_key_is_kept_a_hundred_times_and_an_older_record_of_it_halts_nobody(ledger, kit):
    old = ledger.signer
    kit.fill(ledger, 3)
    retire(ledger, 2)
    ledger.database.ensure(records.TABLES)
    rotations = tuple(read_rotations(ledger))

    def misuse(size: int) -> Evidence:
        forged = sign_note(Checkpoint(ledger.origin, size, b"\x07" * 32).format(), [old])
        found = ledger.clock()
        return Evidence.make(ledger.vkey, ledger.checkpoint(), forged, found=found, rotations=rotations)

    first = misuse(1000)
    with ledger.database.write() as connection:
        # As a version kept it that did not look at the periods of keys.
        connection.execute(
            "INSERT INTO witness_evidence (about, kind, file) VALUES (?, ?, ?)",
            ("longer x", "longer", first.to_bytes()),
        )
    with ledger.database.read() as connection:
        assert records.halting(connection) is None
    assert settle(ledger, first.digest, "a stolen key") is not None
    assert settle(ledger, first.digest, "a stolen key") is None
    with ledger.database.write() as connection:
        for size in range(20, 20 + records.MAX_RETIRED + 5):
            records.keep_evidence(connection, misuse(size))
        assert len(list(records.evidence(connection, settled=False))) == records.MAX_RETIRED
        # What convicts is kept all the same.
        longer = sign_note(Checkpoint(ledger.origin, 50, b"\x07" * 32).format(), [ledger.signer])
        convicting = Evidence.make(ledger.vkey, ledger.checkpoint(), longer, found=ledger.clock())
        records.keep_evidence(connection, convicting)
        assert records.halting(connection) == convicting


def read_rotations(ledger):
    with ledger.database.read() as connection:
        return read_history(connection, ledger.signer.verifier).rotations
