"""`tocsin verify`: its exit codes and what it prints."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing

import pytest

from ledger.config import read_config
from ledger.notes import CosignatureSigner, Signer


def tamper(data, sql):
    with closing(sqlite3.connect(data / "ledger.db")) as connection:
        assert connection.execute(sql).rowcount == 1
        connection.commit()


@pytest.fixture
def policy(tmp_path):
    def write(text: str):
        path = tmp_path / "policy"
        path.write_text(text)
        return path

    return write


def test_intact(data, tocsin, process):
    ran = tocsin("verify", "--data", data, "--json")
    assert ran.code == ran.json["exit_code"] == 0
    assert ran.err == ""
    assert (ran.json["verdict"], ran.json["size"], ran.json["first_bad_index"]) == ("intact", 4, None)
    assert ran.json["unanchored_range"] == [0, 4]
    text = process("verify", "--data", data)
    assert text.code == 0
    for part in ("Intact: 4 entries", "Not anchored", "Completeness", "Not checked"):
        assert part in text.out


def test_damaged(data, tocsin, process):
    tamper(data, "UPDATE event SET payload = replace(payload, 'success', 'failure') WHERE position = 3")
    ran = tocsin("verify", "--data", data, "--json")
    assert ran.code == ran.json["exit_code"] == 2
    assert (ran.json["verdict"], ran.json["kind"], ran.json["first_bad_index"]) == ("damaged", "payload_altered", 2)
    text = process("verify", "--data", data)
    assert text.code == 2
    assert "Damaged at entry 2 (payload_altered)" in text.out


def test_without_the_keys_an_auditor_verifies_all_but_the_vault(data, tocsin):
    shutil.rmtree(data / "keys")
    ran = tocsin("verify", "--data", data, "--json")
    assert ran.code == 0
    assert ran.json["integrity"]["identities"] == 0
    assert any("vault" in line for line in ran.json["not_checked"])


def test_a_policy_that_is_satisfied(data, tocsin, policy):
    ran = tocsin("verify", "--data", data, "--json", "--policy", policy(f"log {read_config(data).vkey}\nquorum none\n"))
    assert (ran.code, ran.json["policy"], ran.json["anchored_range"]) == (0, "satisfied", None)


def test_a_witness_quorum_that_is_not_met(data, tocsin, policy):
    witness = CosignatureSigner.from_seed("witness.example/w", bytes(32)).vkey
    path = policy(f"log {read_config(data).vkey}\nwitness w {witness}\nquorum w\n")
    ran = tocsin("verify", "--data", data, "--json", "--policy", path)
    assert ran.code == ran.json["exit_code"] == 3
    assert ran.json["verdict"] == "not anchored"
    assert "quorum" in ran.json["policy"]
    assert tocsin("verify", "--data", data, "--policy", path).code == 3


def test_a_policy_for_another_log(data, tocsin, policy):
    for name in ("other.example/log", "example.org/audit"):
        vkey = Signer.from_seed(name, bytes(32)).vkey
        assert tocsin("verify", "--data", data, "--json", "--policy", policy(f"log {vkey}\nquorum none\n")).code == 3


def test_damage_goes_before_the_policy(data, tocsin, policy):
    tamper(data, "DELETE FROM event WHERE position = 4")
    path = policy(f"log {Signer.from_seed('x', bytes(32)).vkey}\nquorum none\n")
    assert tocsin("verify", "--data", data, "--policy", path).code == 2


@pytest.mark.parametrize("text", ["", "nonsense\n", "log x\nquorum none\n", "quorum nobody\n"])
def test_a_malformed_policy_is_unreadable(data, tocsin, policy, text):
    ran = tocsin("verify", "--data", data, "--json", "--policy", policy(text))
    assert ran.code == ran.json["exit_code"] == 4
    assert "policy" in ran.json["message"]


def test_a_policy_file_that_is_not_there(data, tmp_path, tocsin):
    ran = tocsin("verify", "--data", data, "--policy", tmp_path / "missing")
    assert (ran.code, str(tmp_path / "missing") in ran.err) == (4, True)


def empty(path):
    path.write_bytes(b"")


def garbage(path):
    path.write_bytes(b"not a database, " * 512)


def cut(path):
    path.write_bytes(path.read_bytes()[:5000])


def another(path):
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE event (position INTEGER PRIMARY KEY)")


def schema_not_text(path):
    """SQLite quotes the damaged schema in its message, which then is no text either."""
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE event (", b"CREATE TABL\xff event (", 1))


def missing(path):
    path.unlink()


def directory(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("spoil", [empty, garbage, cut, another, schema_not_text, missing, directory])
def test_what_is_no_ledger_is_unreadable(data, tocsin, spoil):
    spoil(data / "ledger.db")
    ran = tocsin("verify", "--data", data, "--json")
    assert ran.code == ran.json["exit_code"] == 4
    assert ran.json["verdict"] == "unreadable"
    assert str(data) in ran.json["message"]
    text = tocsin("verify", "--data", data)
    assert (text.code, str(data) in text.err) == (4, True)
    for command in (["append"], ["prove", "1"], ["checkpoint"]):
        ran = tocsin(*command, "--data", data)
        assert (ran.code, str(data) in ran.err) == (1, True)


def test_no_ledger_at_all(tmp_path, tocsin):
    ran = tocsin("verify", "--data", tmp_path / "nowhere", "--json")
    assert ran.code == 4
    assert "tocsin init" in ran.json["message"]
    assert not (tmp_path / "nowhere").exists()
