"""The auditor's recomputation: right roots match, the first wrong one is named, erasure is never silent."""

from __future__ import annotations

import io
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import Ledger, OwnEvent
from ledger.completeness import (
    index_key,
    log_of,
    open_export,
    recompute,
    seal_index,
    seals,
    subject_report,
    write_export,
)
from ledger.completeness.index import SEALED_TYPE
from ledger.completeness.recompute import Recomputation
from ledger.errors import InputError, KeyMismatchError, StoreDamagedError, TocsinError, VerificationError


def again(ledger: Ledger) -> Recomputation:
    return recompute(log_of(ledger), index_key(ledger), ledger.vkey)


def logged(ledger: Ledger, index: int) -> dict:
    payload = ledger.entry(index).payload
    assert payload is not None
    return json.loads(payload)["data"]


def grown(ledger: Ledger, kit) -> None:
    for turn in range(3):
        kit.fill(ledger, 30, first=turn * 30)
        seal_index(ledger)


def test_every_root_of_an_honest_log_matches(ledger, kit):
    grown(ledger, kit)
    result = again(ledger)
    assert [finding.state for finding in result.findings] == ["matches"] * 6
    assert [finding.index for finding in result.findings] == sorted(seal.index for seal in seals(ledger))
    assert result.first_mismatch is None
    assert result.size == ledger.size()


def test_a_log_that_was_never_sealed_has_nothing_to_compare(ledger, kit):
    kit.fill(ledger, 5)
    assert again(ledger).findings == ()


@pytest.mark.parametrize("field", ["root", "count", "unreadable", "kind", "size", "key", "construction"])
def test_the_first_wrong_seal_is_named(ledger, kit, field):
    grown(ledger, kit)
    good = logged(ledger, max(seal.index for seal in seals(ledger)))
    wrong = {"root": "00" * 32, "count": 8, "unreadable": 1, "kind": "actor", "size": 10**6, "key": "00" * 32}
    [bad] = ledger.record([OwnEvent(SEALED_TYPE, good | {field: wrong.get(field, "other/v1")})])
    ledger.record([OwnEvent(SEALED_TYPE, good | {"root": "11" * 32})])
    result = again(ledger)
    assert result.first_mismatch is not None
    assert result.first_mismatch.index == bad
    assert result.as_json()["verdict"] == "mismatch"


def test_an_index_that_forgot_an_access_is_found_out(ledger, kit):
    """The operator's tables are changed before sealing, so reports would verify; recomputation does not."""
    ledger.append([kit.event(number, ["cust-1"], None) for number in range(4)])
    seal_index(ledger)
    ledger.append([kit.event(number, ["cust-1", "cust-2"], None) for number in range(4, 8)])
    with ledger.database.write() as connection:
        connection.execute("UPDATE tracking SET position = position + 3 WHERE name = 'access_map'")
    seal_index(ledger)
    first = again(ledger).first_mismatch
    assert first is not None
    assert (first.kind, first.size) == ("subject", ledger.size() - 2)


def test_erased_entries_are_taken_from_the_index_and_confirmed_by_the_root(ledger, kit):
    ledger.append([kit.event(1, ["cust-1"]), kit.event(2, [], None), kit.event(3, ["cust-2"])])
    seal_index(ledger)
    for index in (1, 2):
        kit.erase(ledger, index)
    result = again(ledger)
    assert [finding.state for finding in result.findings] == ["matches", "matches"]
    assert [finding.erased for finding in result.findings] == [2, 2]
    assert "2 are taken from the index" in result.findings[0].message


def test_erased_entries_without_memory_are_reported_with_their_number(ledger, kit):
    ledger.append([kit.event(1, ["cust-1"], None), kit.event(2, ["cust-2"], None)])
    seal_index(ledger)
    kit.erase(ledger, 1)
    with ledger.database.write() as connection:
        for table in ("entry", "key", "node", "dirty", "seal"):
            connection.execute(f"DELETE FROM access_map_{table}")
        connection.execute("DELETE FROM tracking WHERE name = 'access_map'")
    result = again(ledger)
    states = {finding.kind: finding.state for finding in result.findings}
    assert states["subject"] == "cannot_recompute"
    assert states["resource"] == "matches"  # no access named a resource
    assert "Cannot recompute 1 erased entries" in result.findings[0].message
    assert result.as_json()["verdict"] == "cannot_recompute"
    assert result.first_mismatch is None


def test_a_false_memory_of_an_erased_entry_is_a_mismatch(ledger, kit):
    ledger.append([kit.event(1, ["cust-1"]), kit.event(2, ["cust-2"])])
    seal_index(ledger)
    kit.erase(ledger, 2)
    with ledger.database.write() as connection:
        connection.execute("DELETE FROM access_map_entry WHERE position = 3")
    assert again(ledger).first_mismatch is not None


def test_accesses_unreadable_when_they_were_indexed_stay_so(ledger, kit):
    ledger.append([kit.event(1, ["cust-1"]), kit.event(2, ["cust-2"])])
    kit.erase(ledger, 1)
    seal_index(ledger)
    assert {finding.state for finding in again(ledger).findings} == {"matches"}


def test_the_wrong_index_key_is_told_from_a_wrong_root(ledger, kit):
    grown(ledger, kit)
    with pytest.raises(KeyMismatchError):
        recompute(log_of(ledger), bytes(32), ledger.vkey)


@pytest.mark.sqlite
@pytest.mark.parametrize("column", ["payload", "entry"])
def test_entries_that_were_not_signed_are_refused(ledger, kit, column):
    grown(ledger, kit)
    with ledger.database.write() as connection:
        connection.execute(
            f"UPDATE event SET {column} = CAST(replace({column}, '0', '1') AS BLOB) WHERE position = 3",
        )
    with pytest.raises(VerificationError):
        again(ledger)


@pytest.mark.sqlite
@pytest.mark.parametrize("junk", ["'text'", "7", "x'ff00'"])
@pytest.mark.parametrize("column", ["payload", "entry", "salt"])
def test_a_damaged_row_is_a_damaged_store_and_no_other_error(ledger, kit, column, junk):
    kit.fill(ledger, 5)
    seal_index(ledger)
    ledger.append([kit.event(100, ["cust-1"])])
    ref = kit.ref(ledger, "cust-1")
    with ledger.database.write() as connection:
        connection.execute(f"UPDATE event SET {column} = {junk} WHERE position IN (1, 4, 9)")
    for use in (
        lambda: again(ledger),
        lambda: write_export(log_of(ledger), io.BytesIO()),
        lambda: [seal_index(ledger), subject_report(ledger, ref)],
    ):
        with suppress(StoreDamagedError, VerificationError):
            use()
    with pytest.raises((StoreDamagedError, VerificationError)):
        again(ledger)


def exported(ledger: Ledger) -> bytes:
    file = io.BytesIO()
    write_export(log_of(ledger), file)
    return file.getvalue()


def test_an_exported_log_gives_the_same_result(ledger, kit, tmp_path):
    grown(ledger, kit)
    for index in (4, 9, 17):
        kit.erase(ledger, index)
    path = tmp_path / "log.ndjson"
    path.write_bytes(exported(ledger))
    assert recompute(open_export(path), index_key(ledger), ledger.vkey) == again(ledger)
    assert index_key(ledger).hex() not in path.read_text()


def test_an_export_with_an_entry_left_out_is_refused(ledger, kit, tmp_path):
    grown(ledger, kit)
    lines = exported(ledger).splitlines(keepends=True)
    path = tmp_path / "log.ndjson"
    for kept in (lines[:5] + lines[6:], lines[:-1], [lines[0], *lines[2:]]):
        path.write_bytes(b"".join(kept))
        with pytest.raises(VerificationError):
            recompute(open_export(path), index_key(ledger), ledger.vkey)


@given(line=st.integers(0, 6), junk=st.one_of(st.binary(max_size=20), st.just(b"{}"), st.just(b'{"labels":[1]}')))
def test_junk_in_an_export_never_leaks_another_error(export_of_five, line, junk):
    path, vkey = export_of_five
    lines = path.read_bytes().splitlines()
    lines[line] = junk.replace(b"\n", b"")
    damaged = path.with_name("damaged.ndjson")
    damaged.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(TocsinError):
        recompute(open_export(damaged), bytes(32), vkey)


@pytest.fixture(scope="module")
def export_of_five(tmp_path_factory, kit):
    directory = tmp_path_factory.mktemp("five")
    with kit.create(directory / "data") as ledger:
        kit.fill(ledger, 5)
        kit.erase(ledger, 3)
        (directory / "log.ndjson").write_bytes(exported(ledger))
        return directory / "log.ndjson", ledger.vkey


def test_claims_must_be_labels(ledger, kit, tmp_path):
    kit.fill(ledger, 5)
    seal_index(ledger)
    kit.erase(ledger, 2)
    path = tmp_path / "log.ndjson"
    lines = [json.loads(line) for line in exported(ledger).splitlines()]
    for labels in ({"subject": ["zz"]}, {"actor": []}, [], {"subject": "00" * 32}, {"subject": [3]}):
        lines[3]["labels"] = labels
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        with pytest.raises(InputError):
            open_export(path)
    lines[3]["labels"] = {"subject": ["00" * 32, "00" * 32]}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert recompute(open_export(path), index_key(ledger), ledger.vkey).first_mismatch is not None
