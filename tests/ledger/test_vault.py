"""Pseudonyms and sealed text: stable, recoverable with the key, useless without it."""

from __future__ import annotations

import base64
import shutil
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import Ledger
from ledger.errors import (
    ConfigError,
    ErasedError,
    InputError,
    KeyMismatchError,
    NotFoundError,
    StoreDamagedError,
    StoreError,
)
from ledger.keys import encode_kek
from ledger.vault import REF, _refs


def refer(ledger, kind, identity, profile=None):
    with ledger.database.write() as connection:
        return ledger.vault.refer(connection, kind, identity, profile)


def execute(ledger, sql, *values):
    with ledger.database.write() as connection:
        assert connection.execute(sql, values).rowcount > 0
    ledger.vault.forget()


def test_a_ref_is_stable_across_calls_and_processes(ledger):
    first = refer(ledger, "subject", "patient-1")
    assert REF.fullmatch(first)
    assert first.startswith("s_")
    assert refer(ledger, "subject", "patient-1") == first
    assert ledger.vault.find("subject", "patient-1") == first
    with closing(Ledger.open(ledger.directory)) as again:
        assert again.vault.find("subject", "patient-1") == first
        assert refer(again, "subject", "patient-1") == first


@given(st.lists(st.binary(min_size=16, max_size=16), max_size=5))
def test_a_ref_spells_its_sixteen_bytes(drawn):
    spelled = [base64.b32encode(each).decode().rstrip("=").lower() for each in drawn]
    assert _refs("actor", b"".join(drawn)) == [f"a_{text}" for text in spelled]


def test_kinds_do_not_mix(ledger):
    refs = [refer(ledger, kind, "x") for kind in ("subject", "actor", "network")]
    assert [ref[0] for ref in refs] == ["s", "a", "n"]
    assert len(set(refs)) == 3
    assert ledger.vault.find("actor", "y") is None


def test_two_ledgers_give_the_same_person_unrelated_refs(tmp_path, kit):
    found = []
    for name in ("one", "two"):
        with kit.create(tmp_path / name, seed=name) as ledger:
            ref = refer(ledger, "subject", "patient-1")
            found.append((ref, ledger.vault.lookup("subject", "patient-1")))
    assert found[0][0] != found[1][0]
    assert found[0][1] != found[1][1]


def test_a_profile_is_kept_and_updated(ledger):
    ref = refer(ledger, "subject", "patient-1")
    assert ledger.vault.profile(ref) == {"id": "patient-1"}
    refer(ledger, "subject", "patient-1", {"id": "patient-1", "name": "Zoë", "contacts": {"sms": ["+34600000000"]}})
    assert ledger.vault.profile(ref)["name"] == "Zoë"
    refer(ledger, "subject", "patient-1")
    assert ledger.vault.profile(ref)["name"] == "Zoë"
    refer(ledger, "subject", "patient-1", {"name": "Zoë B."})
    assert ledger.vault.profile(ref) == {"id": "patient-1", "name": "Zoë B."}


def test_a_profile_without_an_id_does_not_look_like_damage(ledger, kit):
    ref = refer(ledger, "actor", "alex", {"name": "Alex"})
    assert ledger.vault.profile(ref) == {"id": "alex", "name": "Alex"}
    assert kit.verify(ledger).damage == []


def test_a_profile_must_be_json(ledger):
    with pytest.raises(InputError):
        refer(ledger, "subject", "patient-1", {"weight": 1.5})
    assert ledger.vault.find("subject", "patient-1") is None


def test_profiles_come_in_the_order_asked_for(ledger):
    refs = [refer(ledger, "subject", f"patient-{number}") for number in (3, 1, 2)]
    assert list(ledger.vault.profiles(reversed(refs))) == refs[::-1]


def test_a_transaction_that_was_undone_leaves_no_ref_behind(ledger):
    """The ref was made, remembered and undone: it must not be handed out again without its row."""
    made = []

    def make_and_fail():
        with ledger.database.write() as connection:
            made.append(ledger.vault.refer(connection, "subject", "patient-1"))
            connection.execute("INSERT INTO nowhere VALUES (1)")

    with pytest.raises(StoreError):
        make_and_fail()
    ref = refer(ledger, "subject", "patient-1")
    assert ref not in made
    assert ledger.vault.profile(ref) == {"id": "patient-1"}


def test_details_open_for_their_event_and_people_only(ledger):
    one, two = (refer(ledger, "subject", name) for name in ("one", "two"))
    vault = ledger.vault
    with ledger.database.write() as connection:
        sealed = vault.seal_details(connection, [one, two], b"seen", b"event 1")
        shared = vault.seal_details(connection, [], b"no people", b"event 2")
        assert sealed != vault.seal_details(connection, [one, two], b"seen", b"event 1")
    with ledger.database.read() as connection:
        assert vault.open_details(connection, [two, one, one], sealed, b"event 1") == b"seen"
        assert vault.open_details(connection, [], shared, b"event 2") == b"no people"
        for refs, text, context in [
            ([one], sealed, b"event 1"),
            ([], sealed, b"event 1"),
            ([one, two], sealed, b"event 2"),
            ([one, two], shared, b"event 2"),
            ([one, two], sealed[:-4] + "AAA=", b"event 1"),
            ([one, two], "AAAA", b"event 1"),
            ([one, two], "", b"event 1"),
            ([one, two], "not base64 \N{SNOWMAN}", b"event 1"),
        ]:
            with pytest.raises(StoreDamagedError):
                vault.open_details(connection, refs, text, context)


def test_erasing_one_person_closes_what_was_said_about_all_in_the_event(ledger, kit):
    both = kit.event(1, data={"subjects": [{"id": "one"}, {"id": "two"}], "text": "both"})
    alone = kit.event(2, data={"subjects": [{"id": "two"}], "text": "two alone"})
    receipts = ledger.append([both, alone])
    one = ledger.vault.find("subject", "one")
    assert ledger.details(ledger.entry(receipts[0].index)) == {"text": "both"}
    execute(ledger, "DELETE FROM vault WHERE ref = ?", one)
    with pytest.raises(ErasedError):
        ledger.details(ledger.entry(receipts[0].index))
    assert ledger.details(ledger.entry(receipts[1].index)) == {"text": "two alone"}
    with pytest.raises(NotFoundError, match=one):
        ledger.vault.profile(one)
    kit.prove_all(ledger)
    assert refer(ledger, "subject", "one") != one


@pytest.mark.sqlite
@pytest.mark.parametrize("column", ["data_key", "profile"])
@pytest.mark.parametrize("value", ["flip", b"", b"short", "text", 7])
def test_an_altered_row_is_found(ledger, column, value):
    ref = refer(ledger, "subject", "patient-1")
    if value == "flip":
        with ledger.database.read() as connection:
            data = connection.execute(f"SELECT {column} FROM vault WHERE ref = ?", (ref,)).fetchone()[0]
        value = data[:20] + bytes([data[20] ^ 1]) + data[21:]
    execute(ledger, f"UPDATE vault SET {column} = ? WHERE ref = ?", value, ref)
    with pytest.raises(StoreDamagedError, match=ref):
        ledger.vault.profile(ref)
    with ledger.database.read() as connection, pytest.raises(StoreDamagedError, match=ref):
        ledger.vault.check_all(connection)
    if column == "data_key":
        with ledger.database.write() as connection, pytest.raises(StoreDamagedError):
            ledger.vault.seal_details(connection, [ref], b"x", b"y")


def test_swapped_rows_are_found(ledger):
    one, two = (refer(ledger, "subject", name) for name in ("one", "two"))
    with ledger.database.read() as connection:
        keys = dict(connection.execute("SELECT ref, data_key FROM vault").fetchall())
        profiles = dict(connection.execute("SELECT ref, profile FROM vault").fetchall())
    execute(ledger, "UPDATE vault SET data_key = ?, profile = ? WHERE ref = ?", keys[two], profiles[two], one)
    with pytest.raises(StoreDamagedError, match=one):
        ledger.vault.profile(one)


def test_a_row_moved_to_another_identity_is_found(ledger):
    ref = refer(ledger, "subject", "one")
    execute(ledger, "UPDATE vault SET lookup = ? WHERE ref = ?", ledger.vault.lookup("subject", "two"), ref)
    with ledger.database.read() as connection, pytest.raises(StoreDamagedError, match=ref):
        ledger.vault.check_all(connection)


def test_a_wrong_vault_key_is_named_before_anything_is_written(ledger, kit):
    ledger.append([kit.event(1)])
    before = ledger.checkpoint()
    path = ledger.directory / "keys" / "vault.key"
    path.write_text(encode_kek(bytes(32)) + "\n")
    with pytest.raises(KeyMismatchError, match=r"file:keys/vault\.key"):
        Ledger.open(ledger.directory)
    with pytest.raises(KeyMismatchError, match=r"file:keys/vault\.key"):
        Ledger.create(ledger.directory)
    assert ledger.checkpoint() == before


def test_a_wrong_signing_key_is_named(ledger, kit, tmp_path):
    with kit.create(tmp_path / "other", seed="other"):
        pass
    shutil.copy(tmp_path / "other" / "keys" / "ledger.key", ledger.directory / "keys" / "ledger.key")
    with pytest.raises(KeyMismatchError, match=r"file:keys/ledger\.key"):
        Ledger.open(ledger.directory)


@pytest.mark.parametrize("name", ["ledger.key", "vault.key"])
@pytest.mark.parametrize("text", ["", "nonsense", "AAAA", "é", "PRIVATE+KEY+x"])
def test_a_malformed_key_file_is_a_clear_error(ledger, name, text):
    (ledger.directory / "keys" / name).write_text(text)
    with pytest.raises(ConfigError, match=name.replace(".", r"\.")) as caught:
        Ledger.open(ledger.directory)
    assert not text or text not in str(caught.value).replace("file:keys/", "")


@pytest.mark.parametrize("name", ["ledger.key", "vault.key"])
def test_a_missing_key_file_is_a_clear_error(ledger, name):
    (ledger.directory / "keys" / name).unlink()
    with pytest.raises(ConfigError, match="backup"):
        Ledger.open(ledger.directory)


@pytest.mark.parametrize("name", ["ledger.key", "vault.key"])
def test_a_key_file_that_others_can_read_is_refused(ledger, name):
    (ledger.directory / "keys" / name).chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        Ledger.open(ledger.directory)


def test_key_files_are_their_owners_alone(ledger):
    for path in [*(ledger.directory / "keys").iterdir(), ledger.directory / "keys"]:
        assert path.stat().st_mode & 0o077 == 0


def test_a_closed_ledger_says_so(ledger):
    ledger.close()
    with pytest.raises(StoreError, match="closed"):
        ledger.size()
