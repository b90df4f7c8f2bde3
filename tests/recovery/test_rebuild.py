"""A log rebuilt from published tiles: after an old backup, and from nothing but keys and tiles."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ledger import Ledger, OwnEvent
from ledger.checkpoint import Checkpoint
from ledger.config import DATABASE, read_config
from ledger.encoding import canonical
from ledger.errors import ErasedError, EventConflictError, InputError
from ledger.notes import Signer, sign_note, split_note
from ledger.policy import parse_policy
from ledger.proofs import verify_receipt
from ledger.recovery.backup import Backup, take_backup, write_keys
from ledger.recovery.errors import BackupDamagedError, BackupError, MirrorError, UnconfirmedCopyError
from ledger.recovery.extending import Extended, Means
from ledger.recovery.fromtiles import rebuild, rebuild_without_backup, restore_from_tiles
from ledger.recovery.lostpayloads import META, REBUILT, Noted
from ledger.recovery.mirror import open_source
from ledger.recovery.publishing import write_mirror
from ledger.recovery.restoring import RESTORED, confirm_by_head, confirm_by_witnesses, confirm_with_loss, read_keys
from ledger.recovery.restoring import restore as put_back
from ledger.recovery.rotating import retire, rotate
from ledger.rotation import Rotation
from ledger.store.sqlite import SqliteDatabase
from ledger.tiles import decode_bundle, encode_bundle
from ledger.verify import verify_database
from ledger.witness.core import format_submission
from ledger.witness.errors import EquivocationError, RolledBackError
from ledger.witness.evidence import Evidence
from ledger.witness.publication import Publication

BEFORE, AFTER = 280, 600  # entries in the backup, and in the mirror: full tiles on both sides of the border


def fill(kit: Any, ledger: Ledger, size: int) -> None:
    """Grow to a size, some commits long and some short."""
    while ledger.size() < size:
        start = ledger.size()
        count = min(size - start, 1 if start % 3 else 37)
        ledger.append([kit.event(start + number) for number in range(count)])


@contextmanager
def means(source: Path | str, **given: Any) -> Iterator[Means]:
    with open_source(str(source), timeout_s=given.pop("timeout_s", 20)) as opened:
        yield Means(opened, **given)


@dataclass
class Lost:
    """What is left of a ledger: an old backup, its keys, a newer mirror; and the ledger, to compare with."""

    kit: Any
    data: Path
    backup: Path
    keys: Path
    mirror: Path
    vkey: str

    def restore(self, directory: Path, source: Path | str | None = None, **given: Any) -> Extended:
        given.setdefault("keys", read_keys(self.keys))
        with means(source or self.mirror, **given) as found:
            return restore_from_tiles(Backup.open(self.backup), directory, found)

    def entries(self, directory: Path, stop: int = AFTER) -> list[bytes]:
        with Ledger.open(directory) as ledger:
            return [stored.entry for stored in ledger.entries(0, stop)]


@pytest.fixture(scope="module")
def lost_once(kit, tmp_path_factory):
    place = tmp_path_factory.mktemp("lost")
    with Ledger.create(place / "data", kit.origin) as ledger:
        fill(kit, ledger, BEFORE)
        take_backup(ledger, place / "old.tocsin")
        write_keys(ledger, place / "keys.txt")
        fill(kit, ledger, AFTER - 1)
        ledger.record([OwnEvent("org.tocsin.logging.checked.v1", {"what": "nothing"})])
        write_mirror(ledger, place / "mirror")
        return Lost(kit, place / "data", place / "old.tocsin", place / "keys.txt", place / "mirror", ledger.vkey)


@pytest.fixture
def lost(lost_once, tmp_path):
    """With a mirror of its own to damage."""
    shutil.copytree(lost_once.mirror, tmp_path / "mirror")
    return Lost(lost_once.kit, lost_once.data, lost_once.backup, lost_once.keys, tmp_path / "mirror", lost_once.vkey)


def test_an_old_backup_and_a_mirror_give_the_same_log_that_goes_on(lost, kit, tmp_path):
    copy = tmp_path / "copy"
    done = lost.restore(copy)
    assert (done.start, done.size, done.lost) == (BEFORE, AFTER, AFTER - BEFORE)
    assert done.own == {"org.tocsin.logging.checked.v1": 1}
    assert lost.entries(copy) == lost.entries(lost.data)
    # Nothing signed accounts for it yet, and nothing is signed.
    assert [(item.kind, item.index) for item in kit.verify(copy).damage] == [("rebuild_unrecorded", BEFORE)]
    with Ledger.open(lost.data) as old:
        root = kit.verify(lost.data).root
        receipt, entry = old.prove(AFTER - 20), old.entry(AFTER - 20).entry
    with Ledger.open(copy) as ledger:
        with pytest.raises(UnconfirmedCopyError):
            ledger.append([kit.event("new")])
        confirm_by_head(ledger, AFTER, bytes.fromhex(root))
        ledger.append([kit.event("new")])
        types = [stored.decode().type for stored in ledger.entries(AFTER, AFTER + 2)]
        assert types == [RESTORED, REBUILT]
        said = json.loads(ledger.entry(AFTER + 1).payload)["data"]
        assert (said["start"], said["stop"], said["lost"], said["root"]) == (BEFORE, AFTER, AFTER - BEFORE, root)
        policy = f"log {ledger.vkey}\nquorum none\n".encode()
        assert verify_receipt(receipt, entry, policy).index == AFTER - 20
        assert verify_receipt(ledger.prove(AFTER - 20), entry, policy).size == AFTER + 3
    findings = kit.verify(copy)
    assert findings.damage == []
    assert findings.payloads == BEFORE + 3
    assert any(f"entries {BEFORE} to {AFTER - 1} were rebuilt" in line for line in findings.lineage)
    assert any("payloads are lost" in line for line in findings.not_checked)
    # It can be backed up, and mirrored onto the same mirror, like any other.
    with Ledger.open(copy) as ledger:
        path, _ = take_backup(ledger, tmp_path / "new.tocsin")
        assert write_mirror(ledger, lost.mirror).size == AFTER + 3
    put_back(Backup.open(path), tmp_path / "again")
    assert kit.verify(tmp_path / "again").damage == []


def test_events_that_are_sent_again_get_their_first_receipts_and_are_never_recorded_twice(lost, kit, tmp_path):
    copy = tmp_path / "copy"
    lost.restore(copy)
    with Ledger.open(lost.data) as old:
        receipts = {number: old.find("https://clinic.example/records", f"view-{number}") for number in (5, 400, 590)}
    with Ledger.open(copy) as ledger:
        confirm_with_loss(ledger, "the disk was lost")
        size = ledger.size()
        for number, receipt in receipts.items():
            assert ledger.append([kit.event(number)]) == [receipt]
        # Among others of one batch too, and any number of times.
        known, new = ledger.append([kit.event(400), kit.event("later")])
        assert (known, new.new, new.index) == (receipts[400], True, size)
        assert ledger.size() == size + 1
        # What can still be compared is compared: type and time are in the entry.
        for change in ({"type": "com.clinic.data.modify.v1"}, {"time": "2026-01-01T00:00:00Z"}):
            with pytest.raises(EventConflictError):
                ledger.append([{**kit.event(400), **change}])
        with pytest.raises(EventConflictError):
            ledger.append([{**kit.event(5), "data": {**kit.event(5)["data"], "outcome": "denied"}}])
        with pytest.raises(ErasedError, match="erased or lost"):
            ledger.details(ledger.entry(receipts[400].index))
    assert kit.verify(copy).damage == []


def test_from_keys_and_tiles_alone_every_entry_stands_and_the_log_goes_on(lost, kit, tmp_path):
    copy = tmp_path / "copy"
    with means(lost.mirror) as found, pytest.raises(BackupError, match="--keys"):
        rebuild_without_backup(copy, found)
    assert not copy.exists()
    with means(lost.mirror, keys=read_keys(lost.keys)) as found:
        done = rebuild_without_backup(copy, found)
    assert (done.start, done.size, done.lost) == (0, AFTER, AFTER)
    assert lost.entries(copy) == lost.entries(lost.data)
    assert (copy / "keys" / "ledger.key").stat().st_mode & 0o777 == 0o600
    with Ledger.open(copy) as ledger:
        with pytest.raises(UnconfirmedCopyError):
            ledger.append([kit.event("new")])
        confirm_with_loss(ledger, "nothing was left but the keys")
        assert ledger.append([kit.event(9)])[0].index == ledger.find("https://clinic.example/records", "view-9").index
        receipt = ledger.append([kit.event("new")])[0]
        assert receipt.index == AFTER + 2
        assert ledger.vault.find("subject", "patient-new") is not None
    findings = kit.verify(copy)
    assert (findings.damage, findings.payloads, findings.size) == ([], 3, AFTER + 3)


def test_an_old_copy_of_the_files_is_marked_and_rebuilt_in_place(lost, kit, tmp_path):
    """No backup was restored: the machine was set back to an older state."""
    copy = tmp_path / "copy"
    put_back(Backup.open(lost.backup), copy)
    config = (copy / "tocsin.toml").read_text()
    (copy / "tocsin.toml").write_text(config[: config.index("[restored]")])
    shutil.copytree(lost.data / "keys", copy / "keys")
    with Ledger.open(copy) as ledger:
        assert ledger.config.restored is None
    with means(lost.mirror) as found:
        assert rebuild(copy, found).size == AFTER
    assert read_config(copy).restored.size == BEFORE
    assert read_config(copy).instance != ""
    with Ledger.open(copy) as ledger:
        with pytest.raises(UnconfirmedCopyError):
            ledger.append([kit.event("new")])
        confirm_with_loss(ledger, "the machine was set back")
    assert kit.verify(copy).damage == []


def test_a_rebuilt_copy_that_is_still_behind_is_rebuilt_again_and_records_it_once(lost, kit, tmp_path):
    copy = tmp_path / "copy"
    lost.restore(copy)
    with Ledger.open(lost.data) as old:
        data, mirror = tmp_path / "data", tmp_path / "mirror"
        del old
    shutil.copytree(lost.data, data)
    with Ledger.open(data) as ledger:
        fill(kit, ledger, AFTER + 50)
        write_mirror(ledger, mirror)
        root = bytes.fromhex(kit.verify(data).root)
    with Ledger.open(copy) as ledger, pytest.raises(RolledBackError, match="--from-tiles"):
        confirm_by_head(ledger, AFTER + 50, root)
    for _ in range(2):  # once more changes nothing
        with means(mirror) as found:
            done = rebuild(copy, found)
        assert (done.size, done.lost) == (AFTER + 50, AFTER + 50 - BEFORE)
    with Ledger.open(copy) as ledger:
        confirm_by_head(ledger, AFTER + 50, root)
        said = [json.loads(item.payload)["data"] for item in ledger.entries(AFTER + 50)][1]
        assert (said["start"], said["stop"], said["lost"]) == (BEFORE, AFTER + 50, AFTER + 50 - BEFORE)
    assert kit.verify(copy).damage == []
    # Lost a second time, from the same old backup: two rebuilds, each in the log that has it.
    with Ledger.open(copy) as ledger:
        fill(kit, ledger, AFTER + 60)
        write_mirror(ledger, mirror)
    second = tmp_path / "second"
    lost.restore(second, mirror)
    with Ledger.open(second) as ledger:
        confirm_with_loss(ledger, "again")
        fill(kit, ledger, AFTER + 70)
    assert kit.verify(second).damage == []


def test_a_second_rebuild_after_a_newer_backup_leaves_both_on_record(lost, kit, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    lost.restore(first)
    with Ledger.open(first) as ledger:
        confirm_with_loss(ledger, "the first time")
        fill(kit, ledger, AFTER + 10)
        take_backup(ledger, tmp_path / "newer.tocsin")
        fill(kit, ledger, AFTER + 300)
        write_mirror(ledger, lost.mirror)
    with means(lost.mirror, keys=read_keys(lost.keys)) as found:
        restore_from_tiles(Backup.open(tmp_path / "newer.tocsin"), second, found)
    with Ledger.open(second) as ledger:
        confirm_with_loss(ledger, "the second time")
        fill(kit, ledger, AFTER + 310)
    findings = kit.verify(second)
    assert findings.damage == []
    assert sum("were rebuilt from published tiles" in line for line in findings.lineage) == 2


def test_witnesses_confirm_a_copy_that_was_rebuilt_to_their_size(kit, tmp_path, clock):
    data, copy = tmp_path / "data", tmp_path / "copy"
    with (
        Ledger.create(data, kit.origin, clock=clock) as ledger,
        kit.witness(tmp_path / "w", ledger.vkey, clock=clock) as (witness, url),
    ):
        fill(kit, ledger, 30)
        take_backup(ledger, tmp_path / "old.tocsin")
        write_keys(ledger, tmp_path / "keys")
        fill(kit, ledger, 300)
        text = kit.policy(ledger, witness, url)
        (tmp_path / "policy").write_bytes(text)
        write_mirror(ledger, tmp_path / "early")
        assert Publication(ledger, parse_policy(text)).publish_now().state == "witnessed"
        fill(kit, ledger, 310)
        mirrored = write_mirror(ledger, tmp_path / "mirror")
        assert (mirrored.size, mirrored.witnessed) == (310, 300)

        put_back(Backup.open(tmp_path / "old.tocsin"), copy, keys=read_keys(tmp_path / "keys"))
        with Ledger.open(copy, clock=clock) as behind, pytest.raises(RolledBackError, match="published tiles"):
            confirm_by_witnesses(behind, parse_policy(text))
        # A mirror that the quorum never saw is not taken under a policy; one that the quorum saw a part of is.
        arguments = ["restore", "--data", copy, "--policy", tmp_path / "policy", "--json", "--from-tiles"]
        refused = kit.tocsin(*arguments, tmp_path / "early")
        assert (refused.code, "No checkpoint of the mirror satisfies" in refused.err) == (1, True), refused.err
        ran = kit.tocsin(*arguments, tmp_path / "mirror")
        assert ran.code == 0, ran.err
        assert (ran.json["state"], ran.json["size"], ran.json["witnessed"]) == ("confirmed", 312, 300)
        with Ledger.open(copy, clock=clock) as again:
            said = json.loads(again.entry(310).payload)["data"]
            assert (said["confirmed_by"], said["witnesses"]) == ("witnesses", {"w": 300})
            publication = Publication(again, parse_policy(text))
            assert publication.witnessed_note() is not None
            assert publication.publish_now().state == "witnessed"
    findings = kit.verify(copy)
    assert (findings.damage, findings.witnessed) == ([], 312)


@pytest.fixture
def rotated(kit, tmp_path, clock):
    """Lost after two changes of the key; the keys are those of the end."""
    with Ledger.create(tmp_path / "data", kit.origin, clock=clock) as ledger:
        first = ledger.vkey
        fill(kit, ledger, 20)
        take_backup(ledger, tmp_path / "old.tocsin")
        write_keys(ledger, tmp_path / "old-keys")
        fill(kit, ledger, 270)
        rotate(ledger)
        fill(kit, ledger, 300)
        retire(ledger, 290)
        fill(kit, ledger, 310)
        write_keys(ledger, tmp_path / "keys")
        write_mirror(ledger, tmp_path / "mirror")
        return Lost(kit, tmp_path / "data", tmp_path / "old.tocsin", tmp_path / "keys", tmp_path / "mirror", first)


@pytest.mark.parametrize("with_backup", [True, False])
def test_changes_of_the_key_are_rebuilt_too_and_the_newest_key_signs_on(rotated, kit, tmp_path, with_backup):
    copy = tmp_path / "copy"
    if with_backup:
        done = rotated.restore(copy)
    else:
        with means(rotated.mirror, keys=read_keys(rotated.keys), vkey=rotated.vkey) as found:
            done = rebuild_without_backup(copy, found)
    assert done.lost == 310 - (20 if with_backup else 0) - 2  # what the rotations said is in the mirror
    config, was = read_config(copy), read_config(rotated.data)
    assert (config.keys, config.vkey) == (was.keys, was.vkey)
    assert len(config.keys) == 3
    with Ledger.open(copy) as ledger:
        confirm_with_loss(ledger, "the disk was lost")
        ledger.append([kit.event("new")])
        both = "".join(f"log {key.vkey}\n" for key in config.keys)
        assert verify_receipt(ledger.prove(5), ledger.entry(5).entry, f"{both}quorum none\n".encode()).index == 5
    for vkey in (rotated.vkey, config.vkey):  # pinned at the start of the log or at its end
        findings = kit.verify(copy, vkey=vkey)
        assert findings.damage == []
        assert any("declared compromised since 290" in line for line in findings.lineage)


def test_a_key_that_nobody_vouches_for_is_refused(rotated, kit, tmp_path):
    def refused(match: str, **given: Any) -> None:
        with pytest.raises(MirrorError, match=match):
            rotated.restore(tmp_path / "copy", **given)
        assert not (tmp_path / "copy").exists()

    path = rotated.mirror / "rotations"
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == 2
    path.unlink()
    refused("must have a file `rotations`")
    path.write_bytes(lines[1])
    refused("does not follow the one before")
    path.write_bytes(lines[0])
    refused("not signed by")
    path.write_bytes(b"".join(lines)[:-5])
    refused("cut short|malformed")
    first = json.loads(lines[0])
    for change in (
        {"salt": "00" * 32},
        {"index": first["index"] + 1},
        {"checkpoint": json.loads(lines[1])["checkpoint"]},
        {"payload": first["payload"].replace('"purpose":"log"', '"purpose":"vault"')},
        {"payload": "{}"},
        {"payload": 5},
        {"more": 1},
    ):
        path.write_bytes(canonical({**first, **change}) + b"\n" + lines[1])
        refused("rotations|change of the")
    # The thief's own rotation, which only the stolen key signs.
    stolen = Signer.from_private_key(read_keys(tmp_path / "old-keys")["signing"])
    thief = Signer.from_seed(kit.origin, b"\x07" * 32)
    data = Rotation.make(kit.origin, first["index"], stolen, thief).data()
    statement = sign_note(split_note(data["statement"].encode())[0], [stolen]).decode()
    payload = canonical({"data": {**data, "statement": statement}}).decode()
    path.write_bytes(canonical({**first, "payload": payload}) + b"\n")
    refused("not vouched for by both keys")


def test_an_old_key_counts_for_nothing_where_the_keys_alone_are_left(rotated, tmp_path):
    """Somebody with the keys of before a rotation is not made the owner of the log."""
    given = read_keys(tmp_path / "old-keys")
    with means(rotated.mirror, keys=given) as found, pytest.raises(MirrorError, match="not signed by"):
        rebuild_without_backup(tmp_path / "copy", found)
    assert not (tmp_path / "copy").exists()


def test_a_mirror_that_ends_at_the_change_of_the_key(kit, tmp_path, clock):
    with Ledger.create(tmp_path / "data", kit.origin, clock=clock) as ledger:
        fill(kit, ledger, 5)
        take_backup(ledger, tmp_path / "old.tocsin")
        rotate(ledger)
        write_keys(ledger, tmp_path / "keys")
        write_mirror(ledger, tmp_path / "mirror")
    lost = Lost(kit, tmp_path / "data", tmp_path / "old.tocsin", tmp_path / "keys", tmp_path / "mirror", "")
    lost.restore(tmp_path / "copy")
    with Ledger.open(tmp_path / "copy") as copy:
        confirm_with_loss(copy, "why")
        fill(kit, copy, 12)
    assert kit.verify(tmp_path / "copy").damage == []


DAMAGE = {
    "wrong hash in a full tile": (
        "tile/0/001",
        lambda data: data[:40] + b"\x00" + data[41:],
        "tile/0/001 of the mirror",
    ),
    "wrong hash at the edge": ("tile/0/002.p/88", lambda data: data[:-1] + b"\x00", "edge.*tile/0/002.p/88"),
    "wrong hash above": ("tile/1/000.p/2", lambda data: b"\x00" + data[1:], "edge.*tile/1/000.p/2"),
    "tile cut short": ("tile/0/001", lambda data: data[:-1], "tile/0/001 of the mirror is 8191 bytes"),
    "tile too long": ("tile/0/001", lambda data: data + b"x", "tile/0/001 of the mirror is longer"),
    "bundle cut short": ("tile/entries/001", lambda data: data[:-1], "tile/entries/001 of the mirror is malformed"),
    "bundle one short": ("tile/entries/001", lambda data: encode_bundle(decode_bundle(data)[:-1]), "255 entries"),
    "bundle too long": ("tile/entries/001", lambda _data: b"\x00\x00" * 8_500_000, "tile/entries/001.*longer"),
    "entry changed": (
        "tile/entries/001",
        lambda data: encode_bundle([*(e := decode_bundle(data))[:100], e[100].replace(b"view", b"look"), *e[101:]]),
        "Entry 356 in tile/entries/001",
    ),
    "entries swapped": (
        "tile/entries/002.p/88",
        lambda data: encode_bundle(decode_bundle(data)[::-1]),
        "Entry 512 in tile/entries/002.p/88",
    ),
    "no checkpoint": ("checkpoint", None, "no checkpoint"),
    "checkpoint not signed": ("checkpoint", lambda data: data.replace(b"\n600\n", b"\n599\n"), "not signed"),
    "checkpoint of another log": ("checkpoint", lambda data: data.replace(b"example.org", b"elsewhere"), "another log"),
    "checkpoint no text": ("checkpoint", lambda _data: b"<html>", "malformed"),
    "checkpoint far too long": ("checkpoint", lambda data: data + b"x" * 200_000, "longer"),
    "edge missing": ("tile/0/002.p/88", None, "no tile/0/002"),
    "tile missing": ("tile/0/001", None, "no tile/0/001"),
    "bundle missing": ("tile/entries/002.p/88", None, "no tile/entries/002"),
    "full bundle missing": ("tile/entries/001", None, "no tile/entries/001"),
}


@pytest.mark.parametrize("name", DAMAGE)
@pytest.mark.parametrize("place", ["new", "here", "nothing"])
def test_a_bad_mirror_is_named_and_changes_nothing(lost, tmp_path, name, place):
    path, change, match = DAMAGE[name]
    damaged = lost.mirror / path
    if change is None:
        damaged.unlink()
    else:
        damaged.write_bytes(change(damaged.read_bytes()))
    copy = tmp_path / "copy"
    if place == "here":
        put_back(Backup.open(lost.backup), copy, keys=read_keys(lost.keys))
    before = {item: item.read_bytes() for item in copy.rglob("*") if item.is_file()}
    jobs = {
        "here": lambda found: rebuild(copy, found),
        "new": lambda found: restore_from_tiles(Backup.open(lost.backup), copy, found),
        "nothing": lambda found: rebuild_without_backup(copy, found),
    }
    with means(lost.mirror, keys=read_keys(lost.keys)) as found, pytest.raises(MirrorError, match=match) as refused:
        jobs[place](found)
    assert len(str(refused.value)) < 600
    after = {
        item: item.read_bytes()
        for item in copy.rglob("*")
        if item.is_file() and not item.name.endswith(("-wal", "-shm"))
    }
    assert after == {item: data for item, data in before.items() if not item.name.endswith(("-wal", "-shm"))}
    assert [item.name for item in tmp_path.iterdir() if item.name.startswith(".")] == []


def test_a_full_tile_serves_for_a_partial_one_that_was_dropped(lost, kit, tmp_path):
    """The mirror grew while it was read: its checkpoint is older than its tiles."""
    note = (lost.mirror / "checkpoint").read_bytes()
    shutil.copytree(lost.data, tmp_path / "data")
    with Ledger.open(tmp_path / "data") as ledger:
        fill(kit, ledger, 1100)
        write_mirror(ledger, lost.mirror)
    assert not (lost.mirror / "tile/0/002.p").exists()
    assert (lost.mirror / "tile/entries/002").exists()
    (lost.mirror / "checkpoint").write_bytes(note)
    assert lost.restore(tmp_path / "copy").size == AFTER


def forked(lost: Lost, directory: Path, size: int) -> Path:
    """A mirror of another history under the same key, the same as far as the backup."""
    put_back(Backup.open(lost.backup), directory / "fork", keys=read_keys(lost.keys))
    with Ledger.open(directory / "fork") as ledger:
        confirm_with_loss(ledger, "another history")
        fill(lost.kit, ledger, size)
        write_mirror(ledger, directory / "fork-mirror")
    return directory / "fork-mirror"


@pytest.mark.parametrize("size", [500, AFTER, 700])
def test_a_mirror_of_another_history_is_evidence(lost, kit, tmp_path, size):
    mirror = forked(lost, tmp_path, size)
    copy = tmp_path / "copy"
    lost.restore(copy)
    with means(mirror) as found, pytest.raises(EquivocationError) as caught:
        rebuild(copy, found)
    assert caught.value.evidence.check() == "fork"
    assert Evidence.parse(caught.value.evidence.to_bytes()).proven
    ran = kit.tocsin("restore", "--from-tiles", mirror, "--data", copy, "--json")
    assert ran.code == 1
    assert ran.json["evidence"]["kind"] == "fork"
    assert "another history" in ran.err
    with Ledger.open(copy) as ledger:
        assert ledger.size() == AFTER


def test_a_mirror_that_holds_less_adds_nothing(lost, tmp_path, kit):
    with Ledger.create(tmp_path / "data", "example.org/other") as other:
        write_mirror(other, tmp_path / "other")
    with pytest.raises(MirrorError, match="another log"):
        lost.restore(tmp_path / "copy", tmp_path / "other")
    put_back(Backup.open(lost.backup), tmp_path / "short", keys=read_keys(lost.keys))
    with Ledger.open(tmp_path / "short") as short:
        write_mirror(short, tmp_path / "short-mirror")
    lost.restore(tmp_path / "copy")
    with means(tmp_path / "short-mirror") as found, pytest.raises(MirrorError, match="fewer than the 600"):
        rebuild(tmp_path / "copy", found)
    # One that holds as much: nothing to do, and nothing is wrong.
    with means(lost.mirror) as found:
        assert rebuild(tmp_path / "copy", found).lost == AFTER - BEFORE
    with means(tmp_path / "short-mirror") as found:
        assert rebuild(tmp_path / "short", found).size == BEFORE
    assert kit.verify(tmp_path / "short").damage == []


def test_a_damaged_copy_is_not_added_to(lost, tmp_path):
    put_back(Backup.open(lost.backup), tmp_path / "copy")
    with closing(sqlite3.connect(tmp_path / "copy" / DATABASE)) as connection:
        connection.execute("UPDATE event SET payload = NULL, salt = NULL WHERE position = 7")
        connection.commit()
    with means(lost.mirror) as found, pytest.raises(BackupDamagedError, match="payload_missing"):
        rebuild(tmp_path / "copy", found)
    with pytest.raises(InputError), means(tmp_path / "nowhere"):
        pass
    with pytest.raises(InputError), means("ftp://example.org/x"):
        pass


@pytest.fixture
def confirmed(lost, tmp_path):
    """A rebuilt, confirmed copy with a few entries after."""
    copy = tmp_path / "copy"
    lost.restore(copy)
    with Ledger.open(copy) as ledger:
        confirm_with_loss(ledger, "the disk was lost")
        fill(lost.kit, ledger, AFTER + 20)
    return copy


TAMPER = {
    # What a rebuild lost excuses nothing else.
    "a payload before the range": (
        f"UPDATE event SET payload = NULL, salt = NULL WHERE position = {BEFORE}",
        ("payload_missing", BEFORE - 1),
    ),
    "a payload after the range": (
        f"UPDATE event SET payload = NULL, salt = NULL WHERE position = {AFTER + 5}",
        ("payload_missing", AFTER + 4),
    ),
    "the note of where the event is": ("DELETE FROM meta WHERE name = 'rebuilt'", ("payload_missing", BEFORE)),
    "the event itself": (
        f"UPDATE event SET payload = NULL, salt = NULL WHERE position = {AFTER + 2}",
        ("rebuild_invalid", AFTER + 1),
    ),
    "an entry that was rebuilt": (
        "UPDATE event SET entry = CAST(replace(CAST(entry AS TEXT), 'view', 'look') AS BLOB) WHERE position = 400",
        ("entry_altered", 399),
    ),
    "the checkpoint it was rebuilt under": (
        f"DELETE FROM checkpoint WHERE size = {AFTER}",
        ("payload_missing", BEFORE),
    ),
    "a checkpoint after the range": (
        f"DELETE FROM checkpoint WHERE size = {AFTER + 2}",
        ("checkpoint_missing", AFTER),
    ),
    "a guard against repeated events": (
        "DELETE FROM seen WHERE position = 400",
        ("duplicate_guard_altered", None),
    ),
}


@pytest.mark.parametrize("name", TAMPER)
def test_verify_takes_the_event_for_its_range_and_for_nothing_else(confirmed, kit, name):
    sql, expected = TAMPER[name]
    assert kit.verify(confirmed).damage == []
    with closing(sqlite3.connect(confirmed / DATABASE)) as connection:
        assert connection.execute(sql).rowcount == 1
        connection.commit()
    damage = [(item.kind, item.index) for item in kit.verify(confirmed).damage]
    assert expected in damage
    # The checkpoints that tiles do not have are asked for again too.
    assert damage[0] in (expected, ("checkpoint_missing", BEFORE))


@pytest.mark.sqlite
def test_verify_believes_no_note_about_a_rebuild(ledger, data, kit):
    """Somebody deletes payloads and writes that they were lost in a rebuild."""
    kit.fill(ledger, 20)
    root = kit.verify(data).root
    said = {"start": 3, "stop": 9, "root": root, "own": {}, "lost": 6, "source": "http"}
    for value, kind in (
        ({"events": [9, 10], "pending": None}, "payload_missing"),
        ({"events": [], "pending": said}, "rebuild_unrecorded"),
        ({"events": "x", "pending": {**said, "stop": 2}}, "payload_missing"),
        ({"events": [10**30 % 2**60], "pending": []}, "payload_missing"),
        (None, "payload_missing"),
    ):
        with closing(sqlite3.connect(data / DATABASE)) as connection:
            connection.execute("UPDATE event SET payload = NULL, salt = NULL WHERE position BETWEEN 4 AND 9")
            connection.execute(
                "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (META, b"\xff" if value is None else json.dumps(value, sort_keys=True, separators=(",", ":")).encode()),
            )
            connection.commit()
        assert kind in [item.kind for item in kit.verify(data).damage]


def claim(ledger: Ledger, lost: int, before: str = RESTORED, **change: Any) -> int:
    """An operator records a rebuild that never was, of the whole log; returns the leaf index of that entry."""
    size = ledger.size()
    root = Checkpoint.parse(split_note(ledger.checkpoint())[0]).root.hex()
    data = {"start": 0, "stop": size, "root": root, "own": {}, "lost": lost, "source": "http"} | change

    def note(connection: Any, indices: Any) -> None:
        Noted((indices[-1],), None).write(connection)

    ledger.record([OwnEvent(before, {"restoration": "x"}), OwnEvent(REBUILT, data)], note)
    return size + 1


def tamper(data: Path, *statements: str) -> None:
    with closing(sqlite3.connect(data / DATABASE)) as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount > 0
        connection.commit()


GONE = "UPDATE event SET payload = NULL, salt = NULL WHERE position IN ({})"


@pytest.mark.sqlite
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_rebuild_on_record_excuses_no_more_than_it_says(ledger, data, kit, jobs):
    """Recorded once for later use: then payloads and checkpoints are deleted without any key."""
    fill(kit, ledger, 530)
    event = claim(ledger, 2)
    fill(kit, ledger, 550)
    remember = (data / "verified.json", ledger.clock)

    def damage(**given: Any) -> list[tuple[str, int | None]]:
        with closing(SqliteDatabase(data / DATABASE)) as database:
            found = verify_database(database, ledger.vkey, jobs=jobs, span=256, **given)
        return [(item.kind, item.index) for item in found.damage]

    assert damage(remember=remember, incremental=True) == []
    tamper(data, GONE.format("5, 300"))
    found = kit.verify(data)
    assert found.damage == []
    assert found.lost == [{"entry": event, "range": [0, 530], "recorded": 2, "missing": 2}]
    assert any("2 payloads among them are lost (the entry says 2)" in line for line in found.lineage)
    tamper(data, GONE.format("400"))
    assert damage() == damage(remember=remember, incremental=True) == [("rebuild_invalid", event)]


@pytest.mark.sqlite
def test_a_checkpoint_is_lost_in_a_rebuild_only_with_the_payload_before_it(ledger, data, kit):
    kit.fill(ledger, 20)
    claim(ledger, 20)
    with closing(sqlite3.connect(data / DATABASE)) as connection:
        sizes = [size for (size,) in connection.execute("SELECT size FROM checkpoint WHERE size < 20 ORDER BY size")]
    assert len(sizes) > 2
    tamper(data, GONE.format(sizes[0]), f"DELETE FROM checkpoint WHERE size = {sizes[0]}")
    assert kit.verify(data).damage == []
    tamper(data, f"DELETE FROM checkpoint WHERE size = {sizes[1]}")
    assert [(item.kind, item.index) for item in kit.verify(data).damage] == [("checkpoint_missing", sizes[1] - 1)]


def test_what_is_erased_by_record_is_not_counted_as_lost(ledger, data, kit):
    from ledger.forgetting.retention import Rule, run_rules

    kit.fill(ledger, 20)
    claim(ledger, 0)
    later = ledger.clock() + timedelta(days=3)
    with Ledger.open(data, clock=lambda: later) as again:
        [ran] = run_rules(again, [Rule("views", "*.data.view.v1", 1)], by="a_x")
    assert ran.deleted > 0
    found = kit.verify(data)
    assert (found.damage, [item["missing"] for item in found.lost]) == ([], [0])


@pytest.mark.parametrize(
    "change",
    [{"lost": -1}, {"lost": 21}, {"lost": 2**50}, {"own": {"x": 3}}, {"own": {"x": -1}}, {"start": -1}, {"stop": 19}],
)
def test_a_rebuild_that_cannot_have_been_is_invalid(ledger, data, kit, change):
    fill(kit, ledger, 20)
    event = claim(ledger, **{"lost": 2, **change})
    assert ("rebuild_invalid", event) in [(item.kind, item.index) for item in kit.verify(data).damage]


def test_a_rebuild_without_its_confirmation_is_invalid(ledger, data, kit):
    kit.fill(ledger, 20)
    event = claim(ledger, 20, before="org.tocsin.logging.checked.v1")
    assert [(item.kind, item.index) for item in kit.verify(data).damage] == [("rebuild_invalid", event)]


def test_the_command_states_every_payload_that_is_lost_on_record(confirmed, kit):
    missing = AFTER - BEFORE
    ran = kit.tocsin("verify", "--data", confirmed)
    assert (ran.code, f"Lost: {missing} payloads of entries {BEFORE} to {AFTER - 1}" in ran.out) == (0, True)
    ran = kit.tocsin("verify", "--data", confirmed, "--json")
    assert ran.json["lost_payloads"] == [
        {"entry": AFTER + 1, "range": [BEFORE, AFTER], "recorded": missing, "missing": missing}
    ]
    assert any(f"what {missing} entries rebuilt from tiles" in line for line in ran.json["not_checked"])


def test_verification_in_parts_says_the_same(confirmed):
    config = read_config(confirmed)
    with closing(SqliteDatabase(confirmed / DATABASE)) as database:
        alone, parts = (verify_database(database, config.vkey, jobs=jobs, span=256) for jobs in (1, 2))
    assert alone.damage == []
    assert alone.as_json() == parts.as_json()


def test_incidents_are_shown_as_they_were_last_known_and_new_ones_can_be_declared(kit, tmp_path):
    from incidents.service import IncidentService

    with Ledger.create(tmp_path / "data", kit.origin) as ledger:
        service = IncidentService(ledger)
        old = service.declare("known to the backup", by="ana")
        take_backup(ledger, tmp_path / "old.tocsin")
        write_keys(ledger, tmp_path / "keys")
        service.record_facts(old, {"incident_types": ["security_incident"]}, by="ana")
        lost_one = service.declare("declared after it", by="ana")
        write_mirror(ledger, tmp_path / "mirror")
    with means(tmp_path / "mirror", keys=read_keys(tmp_path / "keys")) as found:
        done = restore_from_tiles(Backup.open(tmp_path / "old.tocsin"), tmp_path / "copy", found)
    assert done.own["org.tocsin.incident.declared.v1"] == 1
    with Ledger.open(tmp_path / "copy") as ledger:
        confirm_with_loss(ledger, "the disk was lost")
        service = IncidentService(ledger)
        assert [row.title for row in service.list()] == ["known to the backup"]
        with pytest.raises(ErasedError, match="lost before the log was rebuilt from tiles"):
            service.record_facts(old, {"incident_types": ["security_incident"]}, by="ana")
        service.tick()
        # The number of one that is lost is never given again.
        new = service.declare("after the loss", by="ana")
        assert new not in (old, lost_one)
        assert [row.id for row in service.list()] == [new, old]
    ran = kit.tocsin("verify", "--data", tmp_path / "copy", "--json")
    assert (ran.code, ran.json["damage"]) == (0, [])


def test_a_checkpoint_that_only_a_replaced_key_signs_is_refused(rotated, tmp_path):
    """The tree is the true one; who has the old key may still not speak for the log."""
    path = rotated.mirror / "checkpoint"
    stolen = Signer.from_private_key(read_keys(tmp_path / "old-keys")["signing"])
    path.write_bytes(sign_note(split_note(path.read_bytes())[0], [stolen]))
    with pytest.raises(MirrorError, match="replaced before"):
        rotated.restore(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_witnessed_checkpoint_of_another_tree_is_refused(ledger, kit, tmp_path, clock):
    kit.fill(ledger, 20)
    write_keys(ledger, tmp_path / "keys")
    write_mirror(ledger, tmp_path / "mirror")
    with kit.witness(tmp_path / "w", ledger.vkey, clock=clock) as (witness, url):
        forged = sign_note(Checkpoint(ledger.origin, 9, b"\x07" * 32).format(), [ledger.signer])
        cosigned = forged + witness.add_checkpoint(format_submission(0, [], forged))
        policy = parse_policy(kit.policy(ledger, witness, url))
    (tmp_path / "mirror" / "checkpoint.witnessed").write_bytes(cosigned)
    given = {"policy": policy, "keys": read_keys(tmp_path / "keys")}
    with means(tmp_path / "mirror", **given) as found, pytest.raises(MirrorError, match="is not of the tree"):
        rebuild_without_backup(tmp_path / "copy", found)


def test_the_command_line_says_what_goes_together(lost, kit, tmp_path):
    for arguments in (
        ["backup", "--data", lost.data],
        ["restore", "--from-tiles", lost.mirror],
        ["restore", lost.backup, "--from-tiles", lost.mirror, "--data", tmp_path / "x", "--new-origin", "a/b"],
        ["restore"],
    ):
        assert kit.tocsin(*arguments).code == 2
    wrong = ["restore", lost.backup, "--from-tiles", lost.mirror, "--data", tmp_path / "x", "--vkey"]
    assert kit.tocsin(*wrong, "example.org/audit+00000000+AAAA").code == 1
    ran = kit.tocsin("restore", lost.backup, "--from-tiles", lost.mirror, "--data", tmp_path / "x")
    assert ran.code == 0, ran.err
    text = " ".join(ran.out.split())
    assert "320 payloads are lost" in text
    assert "Put the signing key where tocsin.toml says it is" in text
    assert "signs nothing yet" in text
    made = kit.tocsin("backup", "--data", lost.data, "--tiles", tmp_path / "new-mirror", "--json")
    assert made.json["mirror"] == {
        "directory": str(tmp_path / "new-mirror"), "size": AFTER, "added": AFTER, "files": 7, "witnessed": 0,
    }  # fmt: skip
