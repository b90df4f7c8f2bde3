"""The vault's key is changed under running processes, and every step in between can be the last one."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from dataclasses import replace

import pytest

from ledger import Ledger
from ledger.config import read_config, write_config
from ledger.errors import ConfigError, KeyMismatchError, StoreDamagedError
from ledger.forgetting.rotation import drop_key, rotate_vault
from ledger.keys import encode_kek, key_id, load_kek, read_key

NEW = "file:keys/vault-2.key"


@pytest.fixture
def people(ledger, kit):
    refs = [kit.refer(ledger, f"cust-{n}", {"name": f"Vera {n}"}) for n in range(20)]
    ledger.append([kit.view(n, [f"cust-{n}"]) for n in range(5)])
    return refs


def test_everything_opens_under_the_new_key_and_nothing_under_the_old(ledger, kit, people, actor):
    held = kit.proofs(ledger)
    old = load_kek("file:keys/vault.key", ledger.directory)
    done = rotate_vault(ledger, NEW, by=actor)
    assert (done.old, done.keys) == (key_id(old), 2 + 20 + 3)
    assert done.new == key_id(load_kek(NEW, ledger.directory)) == ledger.vault.key
    assert kit.data(ledger, done.index) == {
        "purpose": "vault", "algorithm": "AES-256-GCM", "old": done.old, "new": done.new, "keys": 25, "by": actor,
    }  # fmt: skip
    assert read_config(ledger.directory).vault_key == NEW
    with closing(Ledger.open(ledger.directory)) as again:
        assert again.vault.profile(people[3])["name"] == "Vera 3"
        assert again.details(again.entry(1))["text"] == "seen-text-0"
        assert again.vault.find("subject", "cust-7") == people[7]
        assert kit.damage(again) == []
    kit.check_proofs(held)
    assert (ledger.directory / "keys/vault.key").exists()
    assert drop_key(ledger, "file:keys/vault.key")
    with closing(Ledger.open(ledger.directory)) as again:
        assert again.vault.profile(people[3])["name"] == "Vera 3"


@pytest.mark.usefixtures("people")
def test_no_wrapped_key_under_the_old_key_stays_in_the_files(ledger, kit, actor):
    with ledger.database.read() as connection:
        wrapped = [bytes(row[0]) for row in connection.execute("SELECT data_key FROM vault")]
    rotate_vault(ledger, NEW, by=actor)
    assert [key for key in wrapped if kit.everywhere(ledger.directory, key)] == []


def test_processes_that_were_open_all_along_go_on(ledger, kit, people, actor):
    with closing(Ledger.open(ledger.directory)) as server, closing(Ledger.open(ledger.directory)) as reader:
        server.append([kit.view("before", ["cust-1"])])
        rotate_vault(ledger, NEW, by=actor)
        # One only reads, one writes: both meet rows they cannot open with the key they began with.
        assert reader.vault.profile(people[4])["name"] == "Vera 4"
        assert reader.details(reader.entry(1))["text"] == "seen-text-0"
        [receipt] = server.append([kit.view("after", ["cust-1", "cust-new"])])
        assert server.details(server.entry(receipt.index))["text"] == "seen-text-after"
    with closing(Ledger.open(ledger.directory)) as again:
        assert again.details(again.entry(receipt.index))["text"] == "seen-text-after"
        assert kit.damage(again) == []


def test_a_snapshot_from_before_the_change_still_opens(ledger, people):
    with ledger.database.read() as old:
        old.execute("SELECT count(*) FROM vault").fetchone()
        rows = old.execute("SELECT ref, data_key, profile FROM vault WHERE ref = ?", (people[0],)).fetchall()
        with ledger.database.write() as connection:
            ledger.vault.rewrap(connection, b"k" * 32, "env:NOWHERE")
        assert ledger.vault._open_row(old, *rows[0])["name"] == "Vera 0"
    assert ledger.vault.profile(people[0])["name"] == "Vera 0"


@pytest.mark.sqlite
def test_a_change_that_fails_changes_nothing(ledger, kit, people, actor):
    with ledger.database.write() as connection:
        (damaged,) = connection.execute("SELECT data_key FROM vault WHERE ref = ?", (people[9],)).fetchone()
        connection.execute("UPDATE vault SET data_key = zeroblob(60) WHERE ref = ?", (people[9],))
    size = ledger.size()
    with pytest.raises(StoreDamagedError, match=people[9]):
        rotate_vault(ledger, NEW, by=actor)
    assert (ledger.size(), read_config(ledger.directory).vault_key) == (size, "file:keys/vault.key")
    with ledger.database.write() as connection:
        connection.execute("UPDATE vault SET data_key = ? WHERE ref = ?", (damaged, people[9]))
    ref = kit.refer(ledger, "cust-later", {"name": "Later"})
    with closing(Ledger.open(ledger.directory)) as again:
        assert again.vault.profile(ref)["name"] == "Later"
        assert kit.damage(again) == []


def test_cut_short_before_the_configuration_caught_up(ledger, people, actor):
    before = read_config(ledger.directory)
    rotate_vault(ledger, NEW, by=actor)
    write_config(ledger.directory, before)
    with closing(Ledger.open(ledger.directory)) as again:
        assert again.vault.profile(people[2])["name"] == "Vera 2"
        done = rotate_vault(again, NEW, by=actor)
        assert done.index is None
    assert read_config(ledger.directory) == replace(before, vault_key=NEW)


def test_twice_and_back_to_the_first_key(ledger, kit, people, actor):
    rotate_vault(ledger, NEW, by=actor)
    rotate_vault(ledger, "file:keys/vault-3.key", by=actor)
    rotate_vault(ledger, "file:keys/vault.key", by=actor)
    with closing(Ledger.open(ledger.directory)) as again:
        assert again.vault.profile(people[2])["name"] == "Vera 2"
        assert kit.damage(again) == []


@pytest.mark.usefixtures("people")
def test_to_the_environment_and_a_key_that_is_not_there(ledger, actor, monkeypatch):
    with pytest.raises(ConfigError, match="TOCSIN_TEST_KEK"):
        rotate_vault(ledger, "env:TOCSIN_TEST_KEK", by=actor)
    monkeypatch.setenv("TOCSIN_TEST_KEK", encode_kek(b"q" * 32))
    rotate_vault(ledger, "env:TOCSIN_TEST_KEK", by=actor)
    Ledger.open(ledger.directory).close()
    monkeypatch.setenv("TOCSIN_TEST_KEK", encode_kek(b"r" * 32))
    with pytest.raises(KeyMismatchError, match="rotate-vault"):
        Ledger.open(ledger.directory)


@pytest.mark.usefixtures("people")
def test_the_key_in_use_is_not_dropped(ledger):
    with pytest.raises(ConfigError, match="still under"):
        drop_key(ledger, "file:keys/vault.key")
    shutil.copy(ledger.directory / "keys/vault.key", ledger.directory / "keys/copy.key")
    with pytest.raises(ConfigError, match="still under"):
        drop_key(ledger, "file:keys/copy.key")
    assert not drop_key(ledger, "file:keys/none.key")
    assert not drop_key(ledger, "env:NOTHING")


def test_a_key_id_tells_nothing_and_is_stable():
    assert key_id(b"a" * 32) == key_id(b"a" * 32) != key_id(b"b" * 32)
    assert len(key_id(b"a" * 32)) == 16
    assert b"a".hex() * 8 not in key_id(b"a" * 32)


def test_a_package_can_bring_a_scheme_of_its_own(tmp_path, monkeypatch):
    package = tmp_path / "site"
    information = package / "tocsin_kms-1.dist-info"
    information.mkdir(parents=True)
    (package / "tocsin_kms_sample.py").write_text(
        "def read(rest, directory, environment):\n    return f'{rest}|{directory.name}|{environment[\"TOKEN\"]}\\n'\n"
    )
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: tocsin-kms\nVersion: 1\n")
    (information / "entry_points.txt").write_text(
        "[tocsin.key_sources]\nsamplekms = tocsin_kms_sample:read\nbroken = tocsin_kms_sample:missing\n"
    )
    monkeypatch.syspath_prepend(str(package))
    assert read_key("samplekms:projects/a:b", tmp_path, {"TOKEN": "t"}) == f"projects/a:b|{tmp_path.name}|t"
    with pytest.raises(ConfigError, match="broken"):
        read_key("broken:x", tmp_path)
    with pytest.raises(ConfigError, match="not known"):
        read_key("vault:x", tmp_path)
    assert json.dumps(read_key("env:A", tmp_path, {"A": " k \n"})) == '"k"'
