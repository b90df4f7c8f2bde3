"""The worked cases, and that the runner fails on everything that is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from incidents.law import Law
from incidents.law.cases import Case, Expectation, Verdict, check, read_cases, shipped_cases
from incidents.law.changelog import read_changelog
from incidents.law.errors import CaseFileError
from incidents.law.vocabulary import DATA

# Where the project's own law data deliberately differ from the reference material. What differs inside these files is
# listed duty by duty in changelog.yaml, and `test_the_changelog_lists_what_differs` holds the two together.
IMPROVED = {
    f"duties/{name}.yaml" for name in ("ca-qc", "cn", "eu", "jp", "ky", "pe", "sg", "tw", "us-ny", "us-va", "za")
}


def failures(law: Law, *cases: Case) -> list[Verdict]:
    return [verdict for verdict in check(law, cases) if not verdict.passed]


@pytest.fixture(scope="module")
def by_id() -> dict[str, Case]:
    return {case.id: case for path in shipped_cases() for case in read_cases(path)}


@pytest.mark.parametrize("path", shipped_cases(), ids=lambda path: path.stem)
def test_every_shipped_case_passes(law: Law, path: Path) -> None:
    cases = read_cases(path)
    verdicts = list(check(law, cases))
    assert [str(verdict) for verdict in verdicts if not verdict.passed] == []
    assert len(verdicts) == sum(len(case.expected) + len(case.not_expected) for case in cases)


def test_the_shared_cases_pass(law: Law, shared: Path) -> None:
    paths = sorted((shared / "law" / "cases").glob("*.yaml"))
    assert paths
    cases = [case for path in paths for case in read_cases(path)]
    assert [str(verdict) for verdict in failures(law, *cases)] == []


def test_the_projects_copy_is_the_shared_data_file_by_file(shared: Path) -> None:
    theirs = {path.relative_to(shared / "law").as_posix(): path for path in (shared / "law").rglob("*.yaml")}
    assert len([name for name in theirs if name.startswith("duties/")]) == 190
    differing = sorted(name for name, path in theirs.items() if (DATA / name).read_bytes() != path.read_bytes())
    assert differing == sorted(IMPROVED)


def test_the_changelog_lists_what_differs(law: Law, shared: Path) -> None:
    theirs = Law.load(shared / "law")
    entries = read_changelog()
    assert entries[-1].version == theirs.version
    assert entries[0].version == law.version
    listed = {change.what for entry in entries for change in entry.changes}
    differing = {name for name, duty in law.duties.items() if theirs.duties[name].digest != duty.digest}
    assert listed == differing
    assert {law.duties[name].file for name in differing} == IMPROVED
    assert set(theirs.duties) == set(law.duties)


def test_a_case_of_every_correction_fails_without_it(law: Law, shared: Path, by_id: dict[str, Case]) -> None:
    """The cases of the changelog that are about results fail with the data as they were before."""
    theirs = Law.load(shared / "law")
    for case_id in ("fix-001", "fix-003", "fix-004", "fix-005", "fix-007"):
        assert failures(theirs, by_id[case_id]), case_id
        assert not failures(law, by_id[case_id]), case_id
    for case_id in ("fix-002", "fix-006", "fix-008"):
        assert not failures(theirs, by_id[case_id]), case_id


def test_a_wrong_result_fails_for_every_expectation_of_every_case(law: Law, by_id: dict[str, Case]) -> None:
    for case in by_id.values():
        wrong = [replace(e, result="exempt" if e.result == "due" else "due") for e in case.expected]
        failed = {verdict.duty for verdict in failures(law, replace(case, expected=tuple(wrong)))}
        assert failed >= {expectation.duty for expectation in case.expected}, case.id


def test_a_due_time_off_by_one_second_fails_for_every_case(law: Law, by_id: dict[str, Case]) -> None:
    dated = [(case, e) for case in by_id.values() for e in case.expected if e.due_utc and e.due_utc.endswith("00Z")]
    assert len(dated) > 90
    for case, expectation in dated:
        wrong = replace(expectation, due_utc=expectation.due_utc.replace("00Z", "01Z"))
        assert failures(law, replace(case, expected=(wrong,), complete=False, not_expected=())), case.id


def test_a_last_day_off_by_one_fails_for_every_case(law: Law, by_id: dict[str, Case]) -> None:
    dated = [(case, e) for case in by_id.values() for e in case.expected if e.last_day]
    assert len(dated) > 100
    for case, expectation in dated:
        other = "2026-01-01" if expectation.last_day != "2026-01-01" else "2026-01-02"
        wrong = replace(expectation, last_day=other)
        assert failures(law, replace(case, expected=(wrong,), complete=False, not_expected=())), case.id


def test_leaving_an_owed_duty_out_of_a_complete_case_fails(law: Law, by_id: dict[str, Case]) -> None:
    case = by_id["eu-004"]
    for expectation in case.expected:
        rest = tuple(e for e in case.expected if e is not expectation)
        assert [v.duty for v in failures(law, replace(case, expected=rest))] == [expectation.duty]
        assert failures(law, replace(case, expected=rest, complete=False)) == []


def test_what_must_not_be_owed_fails_when_it_is_or_is_undetermined(law: Law, by_id: dict[str, Case]) -> None:
    owed = replace(by_id["eu-004"], not_expected=("eu-gdpr-33-1-authority",))
    assert [v.detail for v in failures(law, owed)] == ["not expected; got due"]
    undetermined = replace(by_id["un-003"], not_expected=("ch-fadp-24-authority",))
    assert [v.detail for v in failures(law, undetermined)] == ["not expected; got undetermined"]


@pytest.mark.parametrize(
    "change",
    [
        {"duty": "no-such-duty"},
        {"stage": "no-such-stage"},
        {"anchor": "discovery"},
        {"missing": frozenset({"risk"})},
        {"due_utc": None, "last_day": "2026-05-15"},
    ],
    ids=str,
)
def test_a_wrong_field_fails(law: Law, by_id: dict[str, Case], change: dict[str, object]) -> None:
    case = by_id["eu-004"]
    wrong: Expectation = replace(case.expected[0], **change)
    assert len(failures(law, replace(case, expected=(wrong,), complete=False))) == 1


def test_an_unknown_duty_in_not_expected_fails(law: Law, by_id: dict[str, Case]) -> None:
    assert failures(law, replace(by_id["eu-004"], not_expected=("no-such-duty",)))


def test_facts_that_cannot_be_read_fail_every_expectation(law: Law, by_id: dict[str, Case]) -> None:
    case = by_id["eu-004"]
    found = failures(law, replace(case, facts={**case.facts, "risk": "enormous"}))
    assert len(found) == len(case.expected) + len(case.not_expected)
    assert all("risk" in verdict.detail for verdict in found)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[]", "expected a list of cases"),
        ("- {id: a, facts: {}, expected: [{duty: d, result: maybe}]}", "expected[0].result"),
        ("- {id: a, facts: {}, expected: [{duty: d, result: due, due: x}]}", "expected[0].due"),
        ("- {id: a, facts: {}, expected: [{duty: d, result: due, last_day: soon}]}", "expected[0].last_day"),
        ("- {id: a, facts: {}, expected: [], surprise: 1}", "surprise"),
        ("- {facts: {}, expected: []}", "id"),
    ],
)
def test_a_malformed_case_file_is_refused_with_the_place(tmp_path: Path, text: str, where: str) -> None:
    path = tmp_path / "cases.yaml"
    path.write_text(text)
    with pytest.raises(CaseFileError, match=where.replace("[", r"\[").replace("]", r"\]")):
        read_cases(path)
