"""Backups and restored copies, by the command line as an operator uses it."""

from __future__ import annotations

import base64
import os
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import pytest

from ledger import Ledger
from ledger.config import DATABASE, read_config
from ledger.errors import ConfigError, StoreError
from ledger.notes import Verifier, open_note
from ledger.policy import parse_policy
from ledger.recovery.backup import Backup, Manifest, take_backup
from ledger.recovery.errors import BackupDamagedError, BackupError, UnconfirmedCopyError
from ledger.recovery.restoring import RESTORED, confirm_by_head, confirm_by_witnesses, confirm_with_loss, restore
from ledger.recovery.rotating import rotate
from ledger.witness.errors import RolledBackError
from ledger.witness.publication import Publication


@pytest.fixture
def made(ledger, data, kit, tmp_path):
    """A ledger with a backup of 4 entries and 3 more recorded since, and its keys in a file."""
    kit.fill(ledger, 3)
    file = tmp_path / "old.tocsin"
    ran = kit.tocsin("backup", "--data", data, "-o", file, "--with-keys", tmp_path / "keys.txt", "--json")
    assert ran.code == 0, ran.err
    kit.fill(ledger, 3, "later-")
    return file


def test_a_backup_taken_while_the_ledger_is_written_is_consistent(ledger, data, kit, tmp_path):
    stop = threading.Event()
    kit.fill(ledger, 20)

    def write():
        number = 0
        while not stop.is_set():
            kit.fill(ledger, 1, f"busy-{number}-")
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        runs = [kit.tocsin("backup", "--data", data, "-o", tmp_path / f"{n}.tocsin", "--json") for n in range(3)]
    finally:
        stop.set()
        writer.join()
    assert [run.code for run in runs] == [0, 0, 0], runs[0].err
    sizes = [run.json["size"] for run in runs]
    assert 21 <= sizes[0] < sizes[1] < sizes[2] <= ledger.size()
    for number, size in enumerate(sizes):
        checked = kit.tocsin("restore", tmp_path / f"{number}.tocsin", "--verify", "--vkey", ledger.vkey, "--json")
        assert (checked.code, checked.json["size"], checked.json["state"]) == (0, size, "verified")
    assert kit.verify(data).damage == []


def test_the_manifest_tells_log_size_and_hash_without_opening_the_database(made, ledger):
    found = Backup.open(made)
    assert (found.manifest.origin, found.manifest.size) == (ledger.origin, 4)
    text = made.read_bytes()[found.manifest.length :]
    note = text[: text.rindex(b"tocsin-backup/v1")]
    assert Manifest.parse(open_note(note, [Verifier.from_vkey(ledger.vkey)]).text) == found.manifest
    assert found.manifest.format() == open_note(note, [Verifier.from_vkey(ledger.vkey)]).text
    found.extract(None)


def test_keys_are_in_no_backup_and_in_a_file_of_their_own(made, data, tmp_path):
    keys = tmp_path / "keys.txt"
    assert keys.stat().st_mode & 0o777 == 0o600
    assert made.stat().st_mode & 0o077 == 0
    secrets = [(data / "keys" / name).read_text().strip() for name in ("ledger.key", "vault.key")]
    assert keys.read_text() == f"signing {secrets[0]}\nvault {secrets[1]}\n"
    content = made.read_bytes()
    for secret in secrets:
        raw = base64.b64decode(secret.split("+", 4)[-1] if secret.startswith("PRIVATE+") else secret)
        assert secret.encode() not in content
        assert raw[-32:] not in content


def test_a_directory_gets_a_name_with_origin_and_time_and_nothing_is_overwritten(ledger, data, kit, tmp_path):
    place = tmp_path / "backups"
    place.mkdir()
    path, _ = take_backup(ledger, place)
    assert re.fullmatch(r"example-org-audit-\d{8}T\d{9}Z\.tocsin", path.name)
    before = path.read_bytes()
    again = kit.tocsin("backup", "--data", data, "-o", path)
    assert again.code == 1
    assert "never overwritten" in again.err.replace("\n", " ")
    assert path.read_bytes() == before
    assert [item.name for item in place.iterdir()] == [path.name]


def test_a_part_that_is_a_second_name_of_a_finished_backup_is_not_cut(ledger, tmp_path):
    """As after a kill between the two names, when the finished backup was then moved away."""
    path, _ = take_backup(ledger, tmp_path / "x.tocsin")
    os.link(path, tmp_path / ".x.tocsin.part")
    path.rename(tmp_path / "archived.tocsin")
    content = (tmp_path / "archived.tocsin").read_bytes()
    take_backup(ledger, path)
    assert (tmp_path / "archived.tocsin").read_bytes() == content
    Backup.open(path).extract(None)


@pytest.mark.sqlite
def test_a_full_disk_leaves_nothing_behind(ledger, data, kit, tmp_path):
    kit.fill(ledger, 30)
    place = tmp_path / "small"
    place.mkdir()
    limit = 100_000
    assert (data / DATABASE).stat().st_size > 0

    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    ran = subprocess.run(
        [sys.executable, "-c", "from api.cli import main; main()", "backup", "--data", data, "-o", place / "x.tocsin"],
        capture_output=True,
        text=True,
        preexec_fn=small_files,
        check=False,
    )
    assert ran.returncode == 1
    assert "Traceback" not in ran.stderr
    assert list(place.iterdir()) == []
    assert kit.verify(data).damage == []


def flip(path, offset):
    content = bytearray(path.read_bytes())
    content[offset] ^= 0x10
    path.write_bytes(content)


def test_a_backup_that_was_touched_anywhere_is_refused_and_named(made, kit, tmp_path):
    length, total = Backup.open(made).manifest.length, made.stat().st_size
    for number, offset in enumerate((5, length // 2, length - 1, length + 3, length + 60, total - 80, total - 10)):
        copy = tmp_path / f"copy-{number}.tocsin"
        shutil.copy(made, copy)
        flip(copy, offset)
        ran = kit.tocsin("restore", copy, "--data", tmp_path / f"data-{number}")
        assert ran.code == 1, offset
        assert "backup is not usable" in ran.err.replace("\n", " "), ran.err
        assert not (tmp_path / f"data-{number}").exists()
    for size in (0, 30, length, total - 1):
        cut = tmp_path / f"cut-{size}"
        cut.write_bytes(made.read_bytes()[:size])
        with pytest.raises(BackupDamagedError):
            Backup.open(cut)


@pytest.mark.sqlite
def test_a_backup_of_a_damaged_log_is_whole_but_names_the_damage(ledger, data, kit, tmp_path):
    kit.fill(ledger, 3)
    with closing(sqlite3.connect(data / DATABASE, isolation_level=None)) as connection:
        connection.execute("UPDATE event SET payload = X'7b7d' WHERE position = 3")
    take_backup(ledger, tmp_path / "bad.tocsin")
    ran = kit.tocsin("restore", tmp_path / "bad.tocsin", "--data", tmp_path / "copy")
    assert ran.code == 1
    assert "damaged at entry 2 (payload_altered)" in ran.err.replace("\n", " ")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["bad.tocsin", "data"]


def test_a_backup_of_another_log_is_refused_when_the_key_is_given(made, kit, tmp_path):
    with Ledger.create(tmp_path / "other", kit.origin) as other:
        ran = kit.tocsin("restore", made, "--data", tmp_path / "copy", "--vkey", other.vkey)
    assert ran.code == 1
    assert "another log" in ran.err.replace("\n", " ")
    assert not (tmp_path / "copy").exists()


@pytest.mark.sqlite
def test_restoring_never_overwrites(made, data, kit, tmp_path):
    before = (data / DATABASE).read_bytes()
    assert kit.tocsin("restore", made, "--data", data).code == 1
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "note.txt").write_text("mine")
    assert kit.tocsin("restore", made, "--data", tmp_path / "used").code == 1
    assert (data / DATABASE).read_bytes() == before
    assert [item.name for item in (tmp_path / "used").iterdir()] == ["note.txt"]


def test_a_restored_copy_reads_proves_and_verifies_but_signs_nothing(made, kit, tmp_path):
    copy = tmp_path / "copy"
    ran = kit.tocsin("restore", made, "--data", copy, "--verify", "--keys", tmp_path / "keys.txt", "--json")
    assert (ran.code, ran.json["state"]) == (0, "unconfirmed"), ran.err
    assert ran.json["size"] == 4
    with Ledger.open(copy) as ledger:
        assert ledger.prove(2)
        assert ledger.details(ledger.entry(1)) == {"text": "what was seen"}
        with pytest.raises(UnconfirmedCopyError, match="--confirm"):
            ledger.append([kit.event("new")])
        with pytest.raises(StoreError):
            rotate(ledger)
        assert ledger.size() == 4
    assert kit.verify(copy).damage == []
    line = b'{"specversion":"1.0","id":"1","source":"urn:x","type":"com.x.y.z.v1"}\n'
    appended = kit.tocsin("append", "--data", copy, data=line)
    assert appended.code == 1
    assert "tocsin restore --confirm" in appended.err.replace("\n", " ")


def restored(made, kit, tmp_path):
    ran = kit.tocsin("restore", made, "--data", tmp_path / "copy", "--keys", tmp_path / "keys.txt")
    assert ran.code == 0, ran.err
    return tmp_path / "copy"


def test_without_keys_a_copy_verifies_and_can_be_given_them_later(made, data, kit, tmp_path):
    assert kit.tocsin("restore", made, "--data", tmp_path / "copy").code == 0
    copy = tmp_path / "copy"
    assert kit.verify(copy).damage == []
    with pytest.raises(ConfigError):
        Ledger.open(copy)
    shutil.copytree(data / "keys", copy / "keys")
    assert kit.tocsin("restore", "--confirm", "--data", copy, "--accept-loss", "drill").code == 0


def test_the_newest_known_tree_decides_for_a_log_without_witnesses(made, ledger, kit, tmp_path):
    copy = restored(made, kit, tmp_path)
    manifest = Backup.open(made).manifest
    newest = kit.verify(ledger.directory)
    behind = kit.tocsin("restore", "--confirm", "--data", copy, "--newest-known", f"{newest.size}:{newest.root}")
    assert behind.code == 1
    message = behind.err.replace("\n", " ")
    assert "3 fewer than the newest" in message
    assert "--new-origin" in message
    with Ledger.open(copy) as opened, pytest.raises(BackupError, match="another history"):
        confirm_by_head(opened, 4, b"\x00" * 32)
    good = kit.tocsin("restore", "--confirm", "--data", copy, "--newest-known", f"4:{manifest.root.hex()}", "--json")
    assert (good.code, good.json["state"]) == (0, "confirmed"), good.err
    with Ledger.open(copy) as opened:
        kit.fill(opened, 1, "goes-on-")
        stored = opened.entry(4)
        assert stored.decode().type == RESTORED
    assert kit.verify(copy).damage == []
    again = kit.tocsin("restore", "--confirm", "--data", copy, "--newest-known", f"4:{manifest.root.hex()}")
    assert "nothing to confirm" in again.err.replace("\n", " ")


def test_an_accepted_loss_is_recorded_with_its_reason(made, kit, tmp_path):
    copy = restored(made, kit, tmp_path)
    assert kit.tocsin("restore", "--confirm", "--data", copy, "--accept-loss", " ").code == 1
    assert kit.tocsin("restore", "--confirm", "--data", copy, "--accept-loss", "disk lost").code == 0
    with Ledger.open(copy) as ledger:
        payload = ledger.entry(4).payload.decode()
    assert '"reason":"disk lost"' in payload
    assert '"size":4' in payload
    assert '"confirmed_by":"accepted_loss"' in payload


def test_witnesses_that_saw_more_stop_a_restored_copy(made, ledger, kit, tmp_path):
    copy = restored(made, kit, tmp_path)
    with kit.witness(tmp_path / "witness", ledger.vkey) as (witness, url):
        policy = tmp_path / "policy"
        policy.write_bytes(kit.policy(ledger, witness, url))
        Publication(ledger, parse_policy(policy.read_bytes())).publish_now()
        ran = kit.tocsin("restore", "--confirm", "--data", copy, "--policy", policy)
        assert ran.code == 1
        message = ran.err.replace("\n", " ")
        assert "has cosigned 7 entries" in message
        assert "this server holds 4" in message
        assert "new origin" in message
    with Ledger.open(copy) as opened, pytest.raises(UnconfirmedCopyError):
        kit.fill(opened, 1, "after-")


def test_witnesses_that_saw_no_more_confirm_and_silent_ones_do_not(ledger, data, kit, tmp_path):
    kit.fill(ledger, 3)
    with kit.witness(tmp_path / "witness", ledger.vkey) as (witness, url):
        policy = tmp_path / "policy"
        policy.write_bytes(kit.policy(ledger, witness, url))
        Publication(ledger, parse_policy(policy.read_bytes())).publish_now()
        take_backup(ledger, tmp_path / "new.tocsin")
        copy = tmp_path / "copy"
        restore(Backup.open(tmp_path / "new.tocsin"), copy)
        shutil.copytree(data / "keys", copy / "keys")
        with Ledger.open(copy) as opened:
            # A log that has witnesses cannot go on by the operator's word.
            with pytest.raises(BackupError, match="--policy"):
                confirm_with_loss(opened, "I am sure")
            with pytest.raises(BackupError, match="--policy"):
                confirm_by_head(opened, 4, b"\x00" * 32)
        shutil.copytree(copy, tmp_path / "second")
        assert kit.tocsin("restore", "--confirm", "--data", copy, "--policy", policy).code == 0
    silent = kit.tocsin("restore", "--confirm", "--data", tmp_path / "second", "--policy", policy)
    assert silent.code == 1
    assert "Too few witnesses answered" in silent.err.replace("\n", " ")
    assert read_config(tmp_path / "second").restored is not None
    assert read_config(copy).restored is None
    assert kit.verify(copy).damage == []


def test_a_backup_from_after_a_rotation_carries_the_list_of_keys(ledger, data, kit, tmp_path):
    kit.fill(ledger, 2)
    old = ledger.vkey
    rotate(ledger)
    kit.fill(ledger, 1, "after-")
    take_backup(ledger, tmp_path / "x.tocsin")
    ran = kit.tocsin("restore", tmp_path / "x.tocsin", "--data", tmp_path / "copy", "--vkey", old)
    assert ran.code == 0, ran.err
    assert read_config(tmp_path / "copy").keys == read_config(data).keys
    assert kit.verify(tmp_path / "copy", vkey=old).damage == []


def test_a_restored_old_backup_from_before_a_rotation_cannot_undo_it(ledger, data, kit, tmp_path):
    """The witness saw a checkpoint under the new key; the old copy learns that it is behind."""
    kit.fill(ledger, 2)
    take_backup(ledger, tmp_path / "x.tocsin")
    restore(Backup.open(tmp_path / "x.tocsin"), tmp_path / "copy")
    shutil.copytree(data / "keys", tmp_path / "copy" / "keys")
    old = ledger.vkey
    new = rotate(ledger).new
    kit.fill(ledger, 1, "after-")
    with kit.witness(tmp_path / "witness", old, new) as (witness, url):
        policy = parse_policy(kit.policy(ledger, witness, url))
        Publication(ledger, policy).publish_now()
        with Ledger.open(tmp_path / "copy") as copy:
            with pytest.raises((RolledBackError, BackupError)):
                confirm_by_witnesses(copy, policy)
            with pytest.raises(UnconfirmedCopyError):
                kit.fill(copy, 1, "no-")
