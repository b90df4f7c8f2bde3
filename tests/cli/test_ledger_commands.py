"""`tocsin init`, `append`, `prove`, `checkpoint`: what they do, and how they refuse."""

from __future__ import annotations

import json
import shutil

import pytest

from ledger import Ledger
from ledger.config import read_config
from ledger.proofs import verify_receipt


def snapshot(directory):
    return {path: path.read_bytes() for path in sorted(directory.rglob("*")) if path.suffix in (".key", ".toml")}


def test_init_makes_a_ledger_and_repeating_it_changes_nothing(tmp_path, tocsin):
    data = tmp_path / "new" / "data"
    first = tocsin("init", "--data", data, "--origin", "example.org/audit", "--json")
    assert first.code == 0
    assert first.json["origin"] == "example.org/audit"
    assert first.json["size"] == 1
    files = snapshot(data)
    again = tocsin("init", "--data", data, "--json")
    assert (again.code, again.json) == (0, first.json)
    assert snapshot(data) == files
    assert tocsin("init", "--data", data).out.startswith("Ledger example.org/audit in ")


def test_init_without_an_origin_makes_one_up(tmp_path, tocsin):
    made = [tocsin("init", "--data", tmp_path / name, "--json").json["origin"] for name in "ab"]
    assert all(origin.startswith("tocsin.local/") for origin in made)
    assert made[0] != made[1]


@pytest.mark.parametrize("lost", ["tocsin.toml", "tocsin.toml ledger.db", "tocsin.toml keys/vault.key ledger.db"])
def test_init_completes_what_was_cut_short_and_keeps_the_keys(data, tocsin, lost):
    before = tocsin("init", "--data", data, "--json").json
    for name in lost.split():
        (data / name).unlink()
    ready = tocsin("append", "--data", data)
    assert ready.code == 1
    assert "tocsin init" in ready.err
    after = tocsin("init", "--data", data, "--json").json
    assert (after["vkey"], after["origin"]) == (before["vkey"], before["origin"])
    assert after["size"] == (1 if "ledger.db" in lost else before["size"])
    assert tocsin("verify", "--data", data).code == 0


@pytest.mark.parametrize("text", ["", "nonsense", "PRIVATE+KEY+x"])
def test_init_over_a_damaged_key_is_refused_and_overwrites_nothing(data, tocsin, text):
    (data / "tocsin.toml").unlink()
    key = data / "keys" / "ledger.key"
    key.write_text(text)
    ran = tocsin("init", "--data", data)
    assert (ran.code, key.read_text()) == (1, text)
    assert "keys/ledger.key" in ran.err
    assert not (data / "tocsin.toml").exists()


def test_init_refuses_another_origin_and_an_unusable_one(data, tmp_path, tocsin):
    ran = tocsin("init", "--data", data, "--origin", "example.org/other")
    assert ran.code == 1
    assert "already holds the ledger example.org/audit" in ran.err
    for origin in ("", "https ://x", "with space", "a+b", "-x", "x" * 300, "naïve.example"):
        ran = tocsin("init", "--data", tmp_path / "other", "--origin", origin)
        assert ran.code == 1
        assert "origin" in ran.err
    assert not (tmp_path / "other").exists()


def test_a_data_directory_that_is_a_file(tmp_path, tocsin):
    (tmp_path / "file").write_text("x")
    for data in (tmp_path / "file", tmp_path / "file" / "below"):
        for command in (["init"], ["append"], ["checkpoint"], ["prove", "0"]):
            ran = tocsin(*command, "--data", data)
            assert ran.code == 1
            assert str(data) in ran.err
        assert tocsin("verify", "--data", data).code == 4


def test_a_directory_name_that_looks_like_markup(tmp_path, tocsin):
    data = tmp_path / "[bold] [" / "x]"
    assert tocsin("init", "--data", data).code == 0
    assert "[bold] [" in tocsin("verify", "--data", data.parent).err
    assert tocsin("verify", "--data", data).code == 0


def test_the_data_directory_may_come_from_the_environment(data, process):
    ran = process("checkpoint", TOCSIN_DATA=str(data))
    assert ran.code == 0
    assert ran.out.startswith("example.org/audit\n4\n")


def test_append_reads_a_file_or_standard_input(data, tocsin, ndjson, make_event):
    path = ndjson(make_event(1), make_event(2))
    assert tocsin("append", path, "--data", data).out == "2 recorded, 0 were there already.\n"
    text = path.read_bytes() + b"\n  \n" + json.dumps(make_event(3)).encode()
    ran = tocsin("append", "--data", data, "--json", stdin=text)
    assert [receipt["index"] for receipt in ran.json] == [4, 5, 6]
    assert ran.json[0]["state"] == "committed"
    assert tocsin("append", path, "--data", data).out == "0 recorded, 2 were there already.\n"
    assert tocsin("append", "--data", data).out == "0 recorded, 0 were there already.\n"


CANARY = "Canary-Zq7"


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        (['{"id": "' + CANARY], "Line 3: Not valid JSON at line 1, column"),
        ([CANARY], "Line 3: Not valid JSON"),
        (["{} {}"], "Line 3: Not valid JSON"),
        (["\ufeff{}"], "Line 3: Not valid JSON"),
        (["7"], "Event 2: An event is a JSON object"),
        (["{}"], "Event 2: specversion"),
        (["", '{"specversion": "1.0", "id": "' + CANARY + '"}'], "Event 2: source"),
        ([json.dumps({"specversion": "1.0", "id": "x", "source": "urn:tocsin:x", "type": CANARY})], "Event 2: source"),
    ],
)
def test_a_malformed_line_is_named_and_nothing_is_recorded(data, tocsin, make_event, lines, place):
    good = [json.dumps(make_event(number)) for number in (1, 2)]
    text = "\n".join([*good, *lines, json.dumps(make_event(3))]).encode()
    ran = tocsin("append", "--data", data, stdin=text)
    assert ran.code == 1
    assert place in ran.err
    assert CANARY not in ran.err + ran.out
    assert tocsin("init", "--data", data, "--json").json["size"] == 4


def test_a_malformed_value_is_refused_without_being_repeated(data, tocsin, make_event):
    for bad in ({"outcome": [CANARY]}, {"outcome": CANARY}, {"actor": {"id": "x", "kind": {CANARY: 1}}}, {"x": CANARY}):
        ran = tocsin("append", "--data", data, stdin=json.dumps(make_event(1, **bad)).encode())
        assert (ran.code, CANARY in ran.err) == (1, False)
        assert "/data" in ran.err


def test_bytes_that_are_no_text(data, tocsin):
    for text in (b"\xff\xfe\x00", b"\x00" * 100, b'{"id": "\xff"}'):
        ran = tocsin("append", "--data", data, stdin=text)
        assert (ran.code, "Line 1" in ran.err) == (1, True)


def test_an_id_used_for_something_else(data, tocsin, make_event):
    ran = tocsin("append", "--data", data, stdin=json.dumps(make_event("a", outcome="denied")).encode())
    assert ran.code == 1
    assert "used before for an event with other content" in ran.err


def test_many_events_are_recorded_in_batches_and_a_bad_one_says_how_far_it_came(data, tocsin, ndjson, make_event):
    path = ndjson(*[make_event(number) for number in range(1500)], {"specversion": "1.0"})
    ran = tocsin("append", path, "--data", data)
    assert ran.code == 1
    assert "1000 events before this batch were recorded" in ran.err
    assert tocsin("init", "--data", data, "--json").json["size"] == 1004
    assert tocsin("verify", "--data", data).code == 0


def test_a_file_that_cannot_be_read(data, tmp_path, tocsin):
    for path in (tmp_path / "missing.ndjson", tmp_path):
        ran = tocsin("append", path, "--data", data)
        assert (ran.code, str(path) in ran.err) == (1, True)


def test_prove_writes_a_receipt_that_verifies_offline(data, tmp_path, tocsin):
    policy = f"log {read_config(data).vkey}\nquorum none\n".encode()
    with Ledger.open(data) as ledger:
        entry = ledger.entry(2).entry
    text = tocsin("prove", "2", "--data", data).out.encode()
    assert verify_receipt(text, entry, policy).index == 2
    output = tmp_path / "receipt.tlog-proof"
    assert tocsin("prove", "2", "--data", data, "-o", output).code == 0
    assert output.read_bytes() == text


@pytest.mark.parametrize("index", ["4", "-1", "99999999999999999999"])
def test_prove_beyond_the_log(data, tocsin, index):
    ran = tocsin("prove", "--data", data, "--", index)
    assert ran.code == 1
    assert "no entry" in ran.err


def test_prove_into_a_place_that_cannot_be_written(data, tmp_path, tocsin):
    ran = tocsin("prove", "1", "--data", data, "-o", tmp_path / "missing" / "x")
    assert (ran.code, "cannot be written" in ran.err) == (1, True)


def test_wrong_use_is_a_usage_error(data, tocsin):
    for arguments in (["verify"], ["prove", "x", "--data", data], ["init"], ["appendix"], ["append", "--nonsense"]):
        assert tocsin(*arguments).code == 2


@pytest.fixture
def other(tmp_path, tocsin):
    directory = tmp_path / "other"
    assert tocsin("init", "--data", directory, "--origin", "example.org/audit").code == 0
    return directory


def test_the_wrong_signing_key_is_named(data, other, tocsin):
    shutil.copy(other / "keys" / "ledger.key", data / "keys" / "ledger.key")
    for command in (["append"], ["checkpoint"], ["init"]):
        ran = tocsin(*command, "--data", data)
        assert ran.code == 1
        assert "keys/ledger.key is not the one this ledger was made with" in ran.err
    # Verifying needs the published key alone.
    assert tocsin("verify", "--data", data).code == 0


def test_the_wrong_vault_key_is_named(data, other, tocsin):
    shutil.copy(other / "keys" / "vault.key", data / "keys" / "vault.key")
    for command in (["append"], ["checkpoint"], ["init"]):
        ran = tocsin(*command, "--data", data)
        assert ran.code == 1
        assert "keys/vault.key does not open this ledger's vault" in ran.err
    ran = tocsin("verify", "--data", data)
    assert (ran.code, "keys/vault.key" in ran.err) == (4, True)


@pytest.mark.parametrize("text", ["", "[ledger]\n", "nonsense", "[ledger]\norigin = 7\n", "\xff", "ledger = 1"])
def test_a_damaged_configuration(data, tocsin, text):
    (data / "tocsin.toml").write_bytes(text.encode("latin-1"))
    ran = tocsin("append", "--data", data)
    assert (ran.code, "tocsin.toml" in ran.err) == (1, True)
    assert tocsin("verify", "--data", data).code == 4
