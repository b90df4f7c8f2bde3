"""Reports outlive what happens to a ledger: its key changes, a backup is restored, its tables are made again."""

from __future__ import annotations

from contextlib import closing

import pytest
from typer.testing import CliRunner

from api.cli import app
from ledger import Ledger
from ledger.completeness import (
    index_key,
    log_of,
    open_export,
    recompute,
    seal_index,
    seals,
    subject_report,
    verify_report,
    write_export,
)
from ledger.completeness.rebuild import rebuild_index
from ledger.errors import NotFoundError, PolicyError, VerificationError
from ledger.forgetting.rotation import rotate_vault
from ledger.recovery.backup import Backup, take_backup, write_keys
from ledger.recovery.errors import UnconfirmedCopyError
from ledger.recovery.rebuilding import rebuild_tables
from ledger.recovery.restoring import confirm_by_head, read_keys, restore
from ledger.recovery.rotating import rotate


def policy(*vkeys: str) -> bytes:
    return "".join(f"log {vkey}\n" for vkey in vkeys).encode() + b"quorum none\n"


@pytest.fixture
def rotated(ledger, kit):
    """Sealed under an old key and again under the new one; gives the ledger and both keys."""
    kit.fill(ledger, 20)
    seal_index(ledger)
    old = ledger.vkey
    rotate(ledger)
    kit.fill(ledger, 20, first=20)
    seal_index(ledger)
    assert ledger.vkey != old
    return ledger, old, ledger.vkey


def test_a_root_sealed_under_the_old_key_is_proven_under_the_new_one(rotated, kit):
    ledger, old, new = rotated
    ref = kit.ref(ledger, "cust-1")
    sizes = sorted({seal.root.size for seal in seals(ledger)})
    for size in sizes:
        file = subject_report(ledger, ref, size).report.to_bytes()
        for trust in (new, policy(new), policy(old, new)):
            assert verify_report(file, trust).size == size
        with pytest.raises(VerificationError):  # who never heard of the rotation is not told a tale
            verify_report(file, old)


def test_a_report_from_before_the_rotation_still_verifies_for_who_knows_either_key(ledger, kit):
    kit.fill(ledger, 20)
    seal_index(ledger)
    ref, old = kit.ref(ledger, "cust-1"), ledger.vkey
    file = subject_report(ledger, ref).report.to_bytes()
    rotate(ledger)
    kit.fill(ledger, 5, first=20)
    seal_index(ledger)
    assert verify_report(file, old).size == verify_report(file, policy(old, ledger.vkey)).size == 21
    with pytest.raises((PolicyError, VerificationError)):
        verify_report(file, policy(ledger.vkey))


def test_an_auditor_computes_all_roots_across_the_rotation(rotated, tmp_path):
    ledger, old, new = rotated
    with (tmp_path / "log.ndjson").open("wb") as file:
        write_export(log_of(ledger), file)
    for trust in (new, policy(old, new)):
        result = recompute(open_export(tmp_path / "log.ndjson"), index_key(ledger), trust)
        assert [finding.state for finding in result.findings] == ["matches"] * 4


def test_another_process_that_was_open_before_the_rotation_still_makes_good_reports(ledger, kit):
    kit.fill(ledger, 20)
    with closing(Ledger.open(ledger.directory)) as other:
        rotate(other)
        kit.fill(other, 5, first=20)
        seal_index(other)
        new = other.vkey
    assert verify_report(subject_report(ledger, kit.ref(ledger, "cust-1")).report.to_bytes(), new).accesses > 0


def test_the_vaults_key_changes_nothing_about_the_index(ledger, kit):
    kit.fill(ledger, 20)
    seal_index(ledger)
    before = index_key(ledger)
    with ledger.database.write() as connection:
        by = ledger.vault.refer(connection, "actor", "ops")
    rotate_vault(ledger, "file:keys/new.key", by=by)
    assert index_key(ledger) == before
    seal_index(ledger)
    with closing(Ledger.open(ledger.directory)) as again:
        assert recompute(log_of(again), index_key(again), again.vkey).as_json()["verdict"] == "matches"


@pytest.fixture
def copy(ledger, kit, tmp_path):
    """A backup taken between two seals, put back beside the ledger that went on; unconfirmed."""
    kit.fill(ledger, 20)
    seal_index(ledger)
    kit.fill(ledger, 6, first=20)
    path, manifest = take_backup(ledger, tmp_path / "one.tocsin")
    write_keys(ledger, tmp_path / "keys.txt")
    kit.fill(ledger, 10, first=26)
    seal_index(ledger)
    restore(Backup.open(path), tmp_path / "copy", keys=read_keys(tmp_path / "keys.txt"))
    return tmp_path / "copy", manifest


def test_an_unconfirmed_copy_reports_what_was_sealed_and_seals_nothing(ledger, kit, copy):
    directory, manifest = copy
    with closing(Ledger.open(directory)) as restored:
        ref = kit.ref(restored, "cust-1")
        assert {seal.root.size for seal in seals(restored)} == {21}
        made = subject_report(restored, ref)
        verdict = verify_report(made.report.to_bytes(), ledger.vkey)
        assert (verdict.size, verdict.tree_size) == (21, manifest.size)
        with pytest.raises(UnconfirmedCopyError):
            seal_index(restored)
        with pytest.raises(NotFoundError, match="last sizes are 21"):  # what was sealed later is not known here
            subject_report(restored, ref, seals(ledger)[-1].root.size)
        rebuild_tables(restored)
        assert rebuild_index(restored).matches
        again = subject_report(restored, ref).report
        assert (again.sections, again.accesses) == (made.report.sections, made.report.accesses)
        assert restored.size() == manifest.size
    asked = ["report", "subject", "cust-1", "--data", str(directory)]
    done = CliRunner().invoke(app, asked)
    assert isinstance(done.exception, UnconfirmedCopyError)
    assert CliRunner().invoke(app, [*asked, "--size", "21"]).exit_code == 0


def test_a_confirmed_copy_goes_on_from_the_older_seal(kit, copy):
    directory, manifest = copy
    with closing(Ledger.open(directory)) as restored:
        confirm_by_head(restored, manifest.size, manifest.root)
        kit.fill(restored, 9, first=100)
        for seal in seal_index(restored):
            assert seal.root.root == kit.naive(restored, seal.root.kind, seal.root.size)
            assert seal.root.unreadable == 0
        made = subject_report(restored, kit.ref(restored, "cust-1"))
        assert verify_report(made.report.to_bytes(), restored.vkey).size == seals(restored)[-1].root.size
        assert recompute(log_of(restored), index_key(restored), restored.vkey).as_json()["verdict"] == "matches"
