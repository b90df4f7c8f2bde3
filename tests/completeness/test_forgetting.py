"""What was erased was indexed before: reports about others stay complete, and every sealed root can be computed."""

from __future__ import annotations

import tempfile
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import Ledger
from ledger.completeness import (
    index_key,
    log_of,
    open_export,
    recompute,
    resource_report,
    seal_index,
    seals,
    subject_report,
    verify_report,
    write_export,
)
from ledger.completeness.index import Key
from ledger.forgetting import erasing
from ledger.forgetting.erasing import erase
from ledger.forgetting.retention import Rule, run_rules

VIEWS = Rule("views", "*.data.view.v1", 30)


def again(ledger: Ledger) -> dict:
    return recompute(log_of(ledger), index_key(ledger), ledger.vkey).as_json()


def officer(ledger: Ledger) -> str:
    with ledger.database.write() as connection:
        return ledger.vault.refer(connection, "actor", "officer")


@pytest.fixture
def shared(ledger, kit):
    """Entries 1 to 4: Ada alone, Ada with Bob, Bob alone, nobody; 1, 2 and 4 about one file."""
    ledger.append(
        [
            kit.event(1, ["ada"], "file/1"),
            kit.event(2, ["ada", "bob"], "file/1"),
            kit.event(3, ["bob"], "file/2"),
            kit.event(4, [], "file/1"),
        ]
    )
    return ledger


def test_the_report_of_another_person_stays_complete_when_one_is_erased(shared, kit):
    ada, bob = kit.ref(shared, "ada"), kit.ref(shared, "bob")
    before = seal_index(shared)
    old = subject_report(shared, bob)
    erase(shared, ada, basis="request 1", by=officer(shared))
    after = seal_index(shared)
    assert seals(shared)[:2] == before
    made = subject_report(shared, bob)
    verdict = verify_report(made.report.to_bytes(), shared.vkey)
    assert made.report.sections[0].positions == old.report.sections[0].positions == (2, 3)
    assert (verdict.size, verdict.erased, verdict.unreadable) == (after[0].root.size, 0, 0)
    assert verify_report(old.report.to_bytes(), shared.vkey).accesses == 2
    result = again(shared)
    assert result["verdict"] == "matches"
    assert {seal["index"] for seal in result["seals"]} == {seal.index for seal in (*before, *after)}


def test_the_report_of_the_erased_person_says_what_it_can_and_cannot_show(shared, kit):
    ada = kit.ref(shared, "ada")
    seal_index(shared)
    erase(shared, ada, basis="request 1", by=officer(shared))
    seal_index(shared)
    verdict = subject_report(shared, ada).verdict
    # One payload is gone; the entry that was shared with Bob, and the erasure that names the ref, remain.
    assert verdict.keys == ((Key("subject", ada), 2, seals(shared)[-2].index),)
    assert (verdict.accesses, verdict.erased, verdict.withheld) == (2, 1, 0)
    assert "the sealed index lists 2 for this subject" in verdict.proven[0]
    assert "2 entries are in the signed log; 1 show what was committed" in verdict.proven[1]
    assert any("what 1 of the entries say: their payloads were erased (1)" in line for line in verdict.not_proven)
    # A resource's report keeps the place of the access that was erased.
    assert resource_report(shared, "file/1").report.sections[0].positions == (1, 2, 4)


def test_what_was_never_indexed_is_indexed_before_it_is_erased(shared, kit):
    ada = kit.ref(shared, "ada")
    erase(shared, ada, basis="request 1", by=officer(shared))
    assert shared.entry(1).payload is None
    found = seal_index(shared)
    assert [seal.root.unreadable for seal in found] == [0, 0]
    assert again(shared)["verdict"] == "matches"
    assert subject_report(shared, ada).report.sections[0].positions == (1, 2)


def test_events_that_come_between_are_indexed_in_the_transaction_that_erases_them(shared, kit, monkeypatch):
    """Nothing is left to chance: without the reading beforehand, the deciding transaction does all of it."""
    monkeypatch.setattr(erasing, "prepare", lambda ledger: ledger.database.ensure(destroying_tables()))
    ada = kit.ref(shared, "ada")
    erase(shared, ada, basis="request 1", by=officer(shared))
    found = seal_index(shared)
    assert [seal.root.unreadable for seal in found] == [0, 0]
    assert again(shared)["verdict"] == "matches"


def destroying_tables() -> str:
    from ledger.completeness import store

    return store.TABLES


def test_erasing_among_writers_and_a_sealer_leaves_nothing_unread(ledger, kit):
    ledger.append([kit.event(0, ["ada"])])
    ada, by = kit.ref(ledger, "ada"), officer(ledger)
    stop = threading.Event()

    def write() -> None:
        number = 1
        while not stop.is_set() and number < 150:
            ledger.append([kit.event(number, ["ada"]), kit.event(number + 1000, ["ada", "bob"])])
            number += 1

    def seal() -> None:
        while not stop.is_set():
            seal_index(ledger)

    threads = [threading.Thread(target=work) for work in (write, seal)]
    for thread in threads:
        thread.start()
    try:
        erase(ledger, ada, basis="request 1", by=by)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert all(seal.root.unreadable == 0 for seal in (*seals(ledger), *seal_index(ledger)))
    assert again(ledger)["verdict"] == "matches"


def test_retention_indexes_before_it_deletes(tmp_path, kit):
    now = datetime(2026, 1, 1, tzinfo=UTC)
    with closing(Ledger.create(tmp_path / "data", kit.origin, clock=lambda: now)) as ledger:
        kit.fill(ledger, 40)
        now += timedelta(days=60)
        kit.fill(ledger, 10, first=40)
        [ran] = run_rules(ledger, [VIEWS], by=officer(ledger), batch=7)
        assert ran.deleted > 20
        found = seal_index(ledger)
        assert [seal.root.unreadable for seal in found] == [0, 0]
        assert again(ledger)["verdict"] == "matches"
        for name in ("cust-1", "cust-2"):
            verdict = subject_report(ledger, kit.ref(ledger, name)).verdict
            assert verdict.unreadable == 0


def test_an_auditor_elsewhere_computes_the_roots_from_before_and_after(shared, kit, tmp_path):
    seal_index(shared)
    erase(shared, kit.ref(shared, "ada"), basis="request 1", by=officer(shared))
    seal_index(shared)
    with (tmp_path / "log.ndjson").open("wb") as file:
        write_export(log_of(shared), file)
    result = recompute(open_export(tmp_path / "log.ndjson"), index_key(shared), shared.vkey)
    assert [finding.state for finding in result.findings] == ["matches"] * 4


PEOPLE = ("ada", "bob", "cyd")
ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("view"), st.lists(st.sampled_from(PEOPLE), max_size=3, unique=True)),
        st.tuples(st.just("seal"), st.just(None)),
        st.tuples(st.just("erase"), st.sampled_from(PEOPLE)),
        st.tuples(st.just("retain"), st.integers(0, 3)),
    ),
    max_size=14,
)


@settings(max_examples=15)
@given(acts=ACTS)
def test_in_whatever_order_people_are_seen_sealed_and_forgotten_every_root_can_be_computed(kit, acts):
    now = datetime(2026, 1, 1, tzinfo=UTC)
    lists: dict[str, list[int]] = {}
    with (
        tempfile.TemporaryDirectory() as place,
        closing(Ledger.create(Path(place) / "data", kit.origin, clock=lambda: now)) as ledger,
    ):
        by = officer(ledger)
        for number, (act, what) in enumerate(acts):
            now += timedelta(days=10)
            if act == "view":
                [receipt] = ledger.append([kit.event(number, what)])
                for name in what:
                    lists.setdefault(kit.ref(ledger, name), []).append(receipt.index)
            elif act == "seal":
                seal_index(ledger)
            elif act == "retain":
                run_rules(ledger, [Rule("views", "*.data.view.v1", 10 + 20 * what)], by=by)
            elif (ref := ledger.vault.find("subject", what)) is not None:
                erase(ledger, ref, basis="request", by=by)
        newest = seal_index(ledger)
        assert all(seal.root.unreadable == 0 for seal in newest)
        assert again(ledger)["verdict"] == "matches"
        for ref, positions in lists.items():
            report = subject_report(ledger, ref).report
            assert list(report.sections[0].positions) == positions
