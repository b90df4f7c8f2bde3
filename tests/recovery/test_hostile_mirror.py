"""Mirrors that keep a change of the signing key back, or put lines of their own into what they hand out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ledger import Ledger
from ledger.config import read_config
from ledger.encoding import canonical
from ledger.forgetting.rotation import rotate_vault
from ledger.notes import CosignatureSigner, Signer, Verifier, sign_note, split_note
from ledger.policy import Policy, parse_policy
from ledger.recovery.backup import Backup, take_backup, write_keys
from ledger.recovery.errors import MirrorError
from ledger.recovery.extending import Extended, Means
from ledger.recovery.fromtiles import rebuild, rebuild_without_backup, restore_from_tiles
from ledger.recovery.mirror import open_source
from ledger.recovery.publishing import write_mirror
from ledger.recovery.restoring import confirm_with_loss, read_keys, restore
from ledger.recovery.rotating import retire, rotate
from ledger.witness import records
from ledger.witness.publication import Publication

pytestmark = pytest.mark.sqlite


class Lost:
    """What is left of a ledger whose key was changed after five entries: a backup from before, keys, mirrors."""

    def __init__(self, kit: Any, place: Path) -> None:
        self.place = place
        self.copy = place / "copy"
        self.backup = place / "old.tocsin"
        with Ledger.create(place / "data", kit.origin) as ledger:
            kit.fill(ledger, 4)
            take_backup(ledger, self.backup)
            write_keys(ledger, place / "old-keys")
            self.old = ledger.signer
            retire(ledger, 3)
            self.new = ledger.signer
            write_keys(ledger, place / "new-keys")
            self.size = ledger.size()
            write_mirror(ledger, place / "mirror")
            kit.fill(ledger, 3, "later-")
            write_mirror(ledger, place / "longer")

    def mirror(self, name: str = "mirror") -> Path:
        """A copy of a mirror, to be falsified."""
        return shutil.copytree(self.place / name, self.place / f"false-{name}")

    def restore(self, mirror: Path, keys: str | None = "new-keys", **given: Any) -> Extended:
        secrets = None if keys is None else read_keys(self.place / keys)
        with open_source(str(mirror)) as source:
            return restore_from_tiles(Backup.open(self.backup), self.copy, Means(source, keys=secrets, **given))


@pytest.fixture
def lost(kit: Any, tmp_path: Path) -> Lost:
    return Lost(kit, tmp_path)


def drop_line(note: bytes, key: Verifier) -> bytes:
    text, signatures = split_note(note)
    kept = [item.line for item in signatures if item.key_id != key.key_id]
    return text.encode() + b"\n" + b"".join(kept)


def bogus(text: str) -> bytes:
    return Signer.from_seed("evil.example/x", b"\x09" * 32).signature(text).line


@pytest.mark.parametrize("keys", ["old-keys", "new-keys", None])
def test_a_change_of_the_key_that_is_kept_back_is_refused_where_both_keys_signed(lost, keys):
    """At the size of the change the replaced key opens the checkpoint too; it must not sign on."""
    mirror = lost.mirror()
    (mirror / "rotations").unlink()
    with pytest.raises(MirrorError, match=r"by a key that nothing leads to.*file `rotations`"):
        lost.restore(mirror, keys)
    assert not lost.copy.exists()
    done = lost.restore(lost.place / "mirror")
    assert done.keys[-1].vkey == read_config(lost.copy).vkey == lost.new.vkey


def test_a_copy_that_is_behind_is_not_given_its_old_key_back(lost):
    restore(Backup.open(lost.backup), lost.copy, keys=read_keys(lost.place / "old-keys"))
    mirror = lost.mirror()
    (mirror / "rotations").unlink()
    before = read_config(lost.copy)
    with open_source(str(mirror)) as source, pytest.raises(MirrorError, match="nothing leads to"):
        rebuild(lost.copy, Means(source))
    assert read_config(lost.copy) == before


def test_without_a_backup_the_old_keys_do_not_open_it_either(lost):
    mirror = lost.mirror()
    (mirror / "rotations").unlink()
    for keys in ("old-keys", "new-keys"):
        with open_source(str(mirror)) as source, pytest.raises(MirrorError, match="nothing leads to"):
            rebuild_without_backup(lost.copy, Means(source, keys=read_keys(lost.place / keys)))


def test_with_the_new_key_s_line_taken_away_the_newest_entry_still_tells(lost):
    mirror = lost.mirror()
    (mirror / "rotations").unlink()
    note = mirror / "checkpoint"
    note.write_bytes(drop_line(note.read_bytes(), lost.new.verifier))
    with pytest.raises(MirrorError, match=r"newest entry of the mirror, \d+, changes a key"):
        lost.restore(mirror, "old-keys")
    with pytest.raises(MirrorError, match="newest entry of the mirror"):
        lost.restore(mirror, None)
    with pytest.raises(MirrorError, match=r"not the newest that the mirror shows.*file `rotations`"):
        lost.restore(mirror, "new-keys")
    assert not lost.copy.exists()


def test_keys_that_are_older_than_the_mirror_are_refused(lost):
    with pytest.raises(MirrorError, match="if it is older, give the newest file of keys"):
        lost.restore(lost.place / "longer", "old-keys")
    keys = lost.place / "broken-keys"
    keys.write_text((lost.place / "new-keys").read_text("ascii").replace("PRIVATE+KEY", "PRIVATE+KEX"), "ascii")
    with pytest.raises(MirrorError, match="not the newest"):
        lost.restore(lost.place / "longer", "broken-keys")
    assert not lost.copy.exists()
    # Without any they are put in place by hand.
    assert lost.restore(lost.place / "longer", None).keys[-1].vkey == lost.new.vkey


def test_a_change_of_the_vault_s_key_at_the_end_needs_a_word_on_which_key_signs(kit, tmp_path):
    with Ledger.create(tmp_path / "data", kit.origin) as ledger:
        kit.fill(ledger, 4)
        take_backup(ledger, tmp_path / "old.tocsin")
        write_keys(ledger, tmp_path / "keys")
        rotate_vault(ledger, "file:keys/vault-2.key", by="ana")
        write_mirror(ledger, tmp_path / "mirror")
        vkey, size = ledger.vkey, ledger.size()
        kit.fill(ledger, 1, "later-")
        write_mirror(ledger, tmp_path / "longer")
    backup, keys = Backup.open(tmp_path / "old.tocsin"), read_keys(tmp_path / "keys")
    with open_source(str(tmp_path / "mirror")) as source:
        with pytest.raises(MirrorError, match="--vkey"):
            restore_from_tiles(backup, tmp_path / "copy", Means(source, keys=keys))
        assert restore_from_tiles(backup, tmp_path / "copy", Means(source, keys=keys, vkey=vkey)).size == size
    with open_source(str(tmp_path / "longer")) as source:
        assert restore_from_tiles(backup, tmp_path / "other", Means(source, keys=keys)).size == size + 1


@pytest.mark.parametrize("name", ["mirror", "longer"])
def test_a_line_that_nobody_vouches_for_is_not_stored_with_the_change_of_the_key(lost, kit, name):
    """Who signs next is read from the first line: a stranger's would spoil every checkpoint after the next change."""
    mirror = lost.mirror(name)
    line = json.loads((mirror / "rotations").read_bytes())
    note = line["checkpoint"].encode()
    text, signatures = split_note(note)
    line["checkpoint"] = b"".join([text.encode(), b"\n", bogus(text), *(item.line for item in signatures)]).decode()
    (mirror / "rotations").write_bytes(canonical(line) + b"\n")
    lost.restore(mirror)
    with Ledger.open(lost.copy) as ledger:
        with ledger.database.read() as connection:
            row = connection.execute("SELECT note FROM checkpoint WHERE size = ?", (lost.size,)).fetchone()
        assert row["note"] == sign_note(text, [lost.new, lost.old]) == note
        confirm_with_loss(ledger, "the disk was lost")
        kit.fill(ledger, 2, "on-")
        rotate(ledger)
    with Ledger.open(lost.copy) as ledger:
        kit.fill(ledger, 2, "further-")
        assert len(read_config(lost.copy).keys) == 3
    assert kit.verify(lost.copy).damage == []


@pytest.mark.parametrize("whole", [True, False])
def test_a_witnessed_checkpoint_is_kept_with_the_signatures_that_count_alone(ledger, kit, tmp_path, clock, whole):
    """Of the mirror's checkpoint itself, and of its `checkpoint.witnessed` where it has grown since."""
    kit.fill(ledger, 4)
    write_keys(ledger, tmp_path / "keys")
    with kit.witness(tmp_path / "w", ledger.vkey, clock=clock) as (witness, url):
        policy: Policy = parse_policy(kit.policy(ledger, witness, url))
        Publication(ledger, policy).publish_now()
    if not whole:
        kit.fill(ledger, 2, "later-")
    write_mirror(ledger, tmp_path / "mirror")
    with ledger.database.read() as connection:
        published = records.newest(connection).note
    text, signatures = split_note(published)
    stranger = CosignatureSigner.from_seed("witness.example/other", b"\x08" * 32).cosign(published, 1_800_000_000)
    false = b"".join([text.encode(), b"\n", bogus(text), *(item.line for item in signatures), stranger])
    for name in ("checkpoint", "checkpoint.witnessed") if whole else ("checkpoint.witnessed",):
        (tmp_path / "mirror" / name).write_bytes(false)
    with open_source(str(tmp_path / "mirror")) as source:
        given = Means(source, policy, read_keys(tmp_path / "keys"))
        assert rebuild_without_backup(tmp_path / "copy", given).witnessed == 5
    with Ledger.open(tmp_path / "copy") as copy, copy.database.read() as connection:
        assert records.newest(connection).note == published
