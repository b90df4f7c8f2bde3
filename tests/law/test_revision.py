"""The data change while incidents are open: stale assessments, differences in words, changelog and linter."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from incidents.clocks.assessment import decisions_of
from incidents.law import Law, LawDataError, LawError
from incidents.law.changelog import draft, read_changelog
from incidents.law.library import read_files
from incidents.law.lint import lint
from incidents.law.revision import changed_rules, compare_decisions, recall_evaluation, stale
from incidents.law.terms import EXPLAINED, parse_terms, read_terms
from incidents.law.vocabulary import DATA

FACTS = {
    "time_zone": "Europe/Madrid", "complete": True, "established_in": ["ES"], "role": ["controller"],
    "affected": [{"jurisdiction": "ES", "count": 1}], "risk": "risk", "clocks": {"awareness": "2026-03-10T09:00"},
}  # fmt: skip


@dataclass
class Kept:
    law_version: str
    decisions: list[dict[str, Any]]


def kept_by(law: Law) -> Kept:
    return Kept(law.version, decisions_of(law.assess(FACTS), law, "Europe/Madrid"))


@pytest.fixture(scope="module")
def edited() -> Law:
    files = read_files(DATA)
    files["duties/eu.yaml"] = files["duties/eu.yaml"].replace(b"amount: 72", b"amount: 96", 1)
    files["duties/ua.yaml"] = b"[]"
    return Law.parse(files)


def test_every_decision_keeps_the_version_of_the_data_and_the_digest_of_its_duty(law: Law) -> None:
    kept = kept_by(law)
    assert kept.law_version == law.version
    assert len(kept.decisions) == len(law.assess(FACTS))
    assert all(decision["rule"] == law.duty(decision["duty"]).digest for decision in kept.decisions)


def test_an_assessment_is_stale_after_any_edit_and_the_changed_rules_are_named(law: Law, edited: Law) -> None:
    kept = kept_by(law)
    assert not stale(kept, law)
    assert list(changed_rules(kept, law)) == []
    assert stale(kept, edited)
    lines = list(changed_rules(kept, edited))
    assert "eu-gdpr-33-1-authority: changed (GDPR: notify the supervisory authority)" in lines
    assert any(line.startswith("ua-") and line.endswith(": removed") for line in lines)
    back = list(changed_rules(kept_by(edited), law))
    assert any(line.startswith("ua-") and ": added (" in line for line in back)


def test_what_a_changed_rule_does_to_an_open_incident_is_said_in_words(law: Law, edited: Law) -> None:
    before, after = kept_by(law).decisions, kept_by(edited).decisions
    (line,) = [line for line in compare_decisions(before, after) if line.startswith("eu-gdpr-33-1-authority initial")]
    assert "due 2026-03-13T08:00:00Z" in line
    assert "-> " in line
    assert "due 2026-03-14T08:00:00Z" in line
    assert list(compare_decisions(before, before)) == []


def test_a_kept_decision_gives_its_evaluation_back(law: Law) -> None:
    evaluations = law.assess(FACTS)
    for evaluation, decision in zip(evaluations, kept_by(law).decisions, strict=True):
        recalled = recall_evaluation(decision)
        assert (recalled.duty, recalled.stage, recalled.result) == (
            evaluation.duty,
            evaluation.stage,
            evaluation.result,
        )
        if evaluation.result not in ("not_required", "not_in_force"):
            assert recalled == evaluation


def test_the_shipped_changelog_is_about_the_shipped_data(law: Law) -> None:
    entries = read_changelog()
    assert entries[0].version == law.version
    assert entries[-1].changes == ()
    assert all(change.what in law.duties for entry in entries for change in entry.changes)


def test_a_draft_lists_every_difference_and_becomes_an_entry(tmp_path: Path, law: Law, edited: Law) -> None:
    lines = list(draft(edited, law))
    assert lines[0] == f"- version: {law.version}"
    assert "  - what: eu-gdpr-33-1-authority" in lines
    assert any("amount: 96 -> 72" in line for line in lines)
    (tmp_path / "changelog.yaml").write_text("\n".join(lines).replace("YYYY-MM-DD", "2026-11-22"))
    (entry,) = read_changelog(tmp_path)
    assert entry.version == law.version
    assert entry.as_json()["date"] == "2026-11-22"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("{}", "expected a list"),
        ("- {version: abc, date: '2026-01-01', title: x}", "version 1 version"),
        (f"- {{version: {'a' * 64}, title: x}}", "version 1 date"),
        (f"- {{version: {'a' * 64}, date: '2026-01-01'}}", "version 1 title"),
        (f"- {{version: {'a' * 64}, date: '2026-01-01', title: x, changes: [{{what: d}}]}}", "changes[0].words"),
        (
            "\n".join(f"- {{version: {'a' * 64}, date: '2026-01-0{day}', title: x}}" for day in (1, 2)),
            "not in order",
        ),
    ],
)
def test_a_malformed_changelog_is_refused_with_its_place(tmp_path: Path, text: str, where: str) -> None:
    (tmp_path / "changelog.yaml").write_text(text)
    with pytest.raises(LawDataError) as caught:
        read_changelog(tmp_path)
    assert where in str(caught.value)
    assert read_changelog(tmp_path / "elsewhere") == ()


def test_the_shipped_data_pass_the_linter(law: Law) -> None:
    assert [str(problem) for problem in lint(law)] == []


@pytest.fixture
def linted(tmp_path: Path, make_law):
    """Lints a law of a few duties beside a changelog that fits it."""

    def run(*duties: dict[str, Any], cases: str = "") -> list[str]:
        law = make_law(*duties)
        (tmp_path / "cases").mkdir(exist_ok=True)
        if cases:
            (tmp_path / "cases" / "xx.yaml").write_text(cases)
        version = "a" * 64
        entry = f"- {{version: {version}, date: '2026-01-01', title: x}}\n"
        (tmp_path / "changelog.yaml").write_text(entry)
        object.__setattr__(law, "version", version)
        return [str(problem) for problem in lint(law, tmp_path)]

    return run


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, None),
        ({"citation": "-"}, "citation: says nothing"),
        ({"citation": "-", "status": "no_duty"}, None),
        ({"sources": []}, "sources: an entry without a source"),
        ({"sources": [], "evidence": "none"}, None),
        ({"confidence": "verified", "evidence": "none"}, "evidence: verified, but no evidence"),
        ({"obliged": []}, "obliged: nobody is obliged"),
        ({"sources": [{"title": "x", "address": "example.org"}]}, "sources[0].address: not a web address"),
        ({"effective_from": "2099-01-01"}, "effective_from: not between"),
        ({"status": "proposal", "effective_to": "2027-01-01"}, "effective_to: a proposal has no end"),
        ({"effective_to": "2027-01-01"}, "effective_from: an end without a start"),
        ({"notes": "TODO read the law"}, "notes: holds a placeholder"),
        ({"notes": "effective_from 9999-12-31"}, "notes: holds a placeholder"),
        ({"channels": ["email", "email"]}, "channels: something is listed twice"),
        ({"content_prohibited": ["nature_of_breach"]}, "content_prohibited: an element is demanded and prohibited"),
    ],
    ids=str,
)
def test_the_linter_sees_what_the_loader_accepts(linted, make_duty, fields, found) -> None:
    problems = linted(make_duty(**fields))
    if found is None:
        assert problems == []
    else:
        assert any(problem.startswith(f"duties/xx.yaml d {found}") for problem in problems), problems


def test_the_linter_sees_broken_relations(linted, make_duty) -> None:
    relative = [{"name": "main", "deadline": {"kind": "relative", "relation": "after", "to": "p"}}]
    problems = linted(
        make_duty("a", displaces=["b"]),
        make_duty("b", displaces=["a"], when={"duty_applies": ["a"]}),
        make_duty("c", merged_into="e"),
        make_duty("e", merged_into="a"),
        make_duty("f", stages=relative),
        make_duty("p", status="proposal"),
    )
    for expected in (
        "a displaces: displaces b, which displaces it",
        "b triggered_by: when asks for a, triggered_by does not name it",
        "c merged_into: merged into a duty that is itself merged",
        "f stages.main: relative to p, which is never owed",
    ):
        assert any(expected in problem for problem in problems), expected


def test_the_linter_sees_cases_without_a_duty_and_ids_used_twice(linted, make_duty) -> None:
    case = "- {id: one, facts: {}, expected: [{duty: gone, result: due}]}\n"
    problems = linted(make_duty(), cases=case + case)
    assert "case one: names a duty that does not exist: gone" in problems
    assert "case one: the id is used twice" in problems


def test_the_linter_asks_for_a_changelog_entry(tmp_path: Path, law: Law) -> None:
    assert [str(problem) for problem in lint(law, tmp_path)] == [
        "changelog.yaml: no entry; `tocsin law changelog --since OLD` drafts one"
    ]
    shutil.copy(DATA / "changelog.yaml", tmp_path)
    other = [problem for problem in lint(law, tmp_path) if "names no worked case" not in str(problem)]
    assert other == []
    text = (tmp_path / "changelog.yaml").read_text()
    (tmp_path / "changelog.yaml").write_text(text.replace(law.version, "f" * 64))
    assert any("is not about this version" in str(problem) for problem in lint(law, tmp_path))


def test_every_word_that_needs_one_has_a_meaning(law: Law) -> None:
    terms = read_terms(law.vocabulary)
    assert {term.vocabulary for term in terms} == {*law.vocabulary.words, "risk_scale", "content"}
    for term in terms:
        assert term.meaning or term.vocabulary not in EXPLAINED, term
        assert "\n" not in term.meaning
    meanings = {(term.vocabulary, term.word): term.meaning for term in terms}
    assert meanings["clocks", "awareness"] == "reasonable certainty that the incident happened"
    assert len([term for term in terms if term.vocabulary == "data_categories"]) == 78
    assert meanings["content", "cause"] == law.elements["cause"]


def test_meanings_of_unknown_words_and_missing_meanings_are_refused(law: Law, tmp_path: Path) -> None:
    problems: list[Any] = []
    parse_terms(law.vocabulary, {"roles": {"controller": "x", "captain": "y"}, "colours": {}}, problems)
    said = [str(problem) for problem in problems]
    assert "meanings.yaml roles.captain: unknown field" in said
    assert "meanings.yaml roles.processor: no meaning is given" in said
    assert "meanings.yaml colours: unknown field" in said
    assert any(term.word == "controller" for term in read_terms(law.vocabulary, tmp_path))
    (tmp_path / "meanings.yaml").write_text("roles: {captain: y}")
    with pytest.raises(LawDataError):
        read_terms(law.vocabulary, tmp_path)
    (tmp_path / "meanings.yaml").write_text("a: [")
    with pytest.raises(LawError):
        read_terms(law.vocabulary, tmp_path)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"eea": [{"country": "ZZ"}]}, "eea[0].country"),
        ({"eea": [{"country": "ES", "fax": "1"}]}, "eea[0].fax"),
        ({"germany": {"rule": "x", "confidence": "sure"}}, "germany.confidence"),
        ({"germany": {"rule": "x", "confidence": "recalled", "laender": [{"land": "XX"}]}}, "laender[0].land"),
        ({"france": {}}, "france"),
    ],
    ids=str,
)
def test_a_wrong_authority_is_named(change, field) -> None:
    from incidents.law.authorities import Directory
    from incidents.law.errors import Problem

    problems: list[Problem] = []
    Directory.parse(change, problems)
    assert any(str(problem).startswith("authorities.yaml ") and field in str(problem) for problem in problems)
