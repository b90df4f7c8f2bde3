"""Worked cases: facts with the evaluations a lawyer expects (SCHEMA.md, section 5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any as Json

from incidents.law.duties import Duty
from incidents.law.errors import CaseFileError, LawFactsError, Problem
from incidents.law.evaluation import ADVISED, NOT_OWED, OWED, RESULTS, Evaluation, format_utc
from incidents.law.library import Law
from incidents.law.places import country
from incidents.law.shape import Shape, parse_date, parse_instant
from incidents.law.vocabulary import DATA
from incidents.law.yamlfile import read_yaml_file

SCOPES = ("complete", "listed")
PROVENANCES = ("P", "S", "M", "own")
"""Read in the source, confirmed by a summary of it, from memory of it (check), or written for the project."""
RULE_CONFIDENCES = ("verified", "recalled", "partly_recalled", "conflicting_sources", "effective_date_doubtful")


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a case says about one duty and stage; None is not compared."""

    duty: str
    stage: str | None
    result: str
    due_utc: str | None
    last_day: str | None
    anchor: str | None
    missing: frozenset[str]


@dataclass(frozen=True, slots=True)
class Case:
    """One worked case.

    Attributes:
        id: as printed.
        title: what it shows.
        facts: as written.
        expected: evaluations that must come out.
        not_expected: duties that must not be owed.
        complete: whether no other duty of the affected jurisdictions may be owed or advised.
        provenance: where the outcome comes from, one of `PROVENANCES`; None where the case does not say.
        assessment: the risk assessment behind the `risk` of the facts (see `incidents.risk`), for readers.
    """

    id: str
    title: str
    facts: Json
    expected: tuple[Expectation, ...]
    not_expected: tuple[str, ...]
    complete: bool
    provenance: str | None = None
    assessment: Json = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one expectation."""

    passed: bool
    case: str
    duty: str
    detail: str

    def __str__(self) -> str:
        return f"{'PASS' if self.passed else 'FAIL'} {self.case} {self.duty} {self.detail}".rstrip()


def shipped_cases() -> list[Path]:
    """The case files that ship with Tocsin."""
    return sorted((DATA / "cases").glob("*.yaml"))


def read_cases(path: Path) -> list[Case]:
    """Read one file of cases.

    Args:
        path: a YAML file holding a list of cases.

    Returns:
        The cases in the order of the file.

    Raises:
        CaseFileError: the file does not have the form of a case file; every problem is named.
        LawError: the file cannot be read.
    """
    document = read_yaml_file(path)
    if not isinstance(document, list) or not document:
        raise CaseFileError([Problem(path.name, "expected a list of cases")])
    problems: list[Problem] = []
    cases = [_case(entry, f"{path.name} case {position + 1} ", problems) for position, entry in enumerate(document)]
    if problems:
        raise CaseFileError(problems)
    return cases


def _case(entry: Json, path: str, problems: list[Problem]) -> Case:
    shape = Shape(entry, path, problems)
    shape.texts("edges")
    shape.optional_text("notes")
    if shape.has("rule_confidence"):
        shape.word("rule_confidence", RULE_CONFIDENCES)
    expected = [_expectation(Shape(item, where, problems)) for where, item in shape.items("expected")]
    case = Case(
        id=shape.text("id"),
        title=shape.text("title", required=False),
        facts=shape.take("facts", required=True),
        expected=tuple(expected),
        not_expected=shape.texts("not_expected"),
        complete=shape.word("expected_scope", SCOPES, default="listed") == "complete",
        provenance=shape.word("provenance", PROVENANCES) if shape.has("provenance") else None,
        assessment=shape.take("assessment"),
    )
    shape.done()
    return case


def _expectation(shape: Shape) -> Expectation:
    expectation = Expectation(
        duty=shape.text("duty"),
        stage=shape.optional_text("stage"),
        result=shape.word("result", RESULTS),
        due_utc=shape.optional_text("due_utc"),
        last_day=shape.optional_text("last_day"),
        anchor=shape.optional_text("anchor"),
        missing=frozenset(shape.texts("missing")),
    )
    for key in ("info", "why", "other_readings"):  # for readers
        shape.take(key)
    if expectation.due_utc is not None and parse_instant(expectation.due_utc) is None:
        shape.problem("due_utc", "expected '2026-03-13T08:00:00Z'")
    if expectation.last_day is not None and parse_date(expectation.last_day) is None:
        shape.problem("last_day", "expected a quoted date 'YYYY-MM-DD'")
    shape.done()
    return expectation


def check(law: Law, cases: Iterable[Case]) -> Iterator[Verdict]:
    """Run cases.

    Args:
        law: the law to test.
        cases: the cases.

    Yields:
        One verdict per expectation and per `not_expected` entry, and one per violation of
        `expected_scope: complete`. Facts that cannot be read fail every expectation of their case.
    """
    for case in cases:
        try:
            evaluations = law.assess(case.facts)
        except LawFactsError as error:
            reason = "; ".join(str(problem) for problem in error.problems)
            duties = (*(expectation.duty for expectation in case.expected), *case.not_expected)
            yield from (Verdict(False, case.id, duty, f"facts refused: {reason}") for duty in duties or ("-",))
            continue
        by_duty: dict[str, list[Evaluation]] = {}
        for evaluation in evaluations:
            by_duty.setdefault(evaluation.duty, []).append(evaluation)
        for expectation in case.expected:
            yield _compare(case, expectation, law, by_duty)
        for duty in case.not_expected:
            yield _absent(case, duty, by_duty)
        if case.complete:
            yield from _beyond(case, law, by_duty)


def _compare(case: Case, wanted: Expectation, law: Law, by_duty: dict[str, list[Evaluation]]) -> Verdict:
    label = f"{wanted.stage}: {wanted.result}" if wanted.stage else wanted.result
    duty = law.duties.get(wanted.duty)
    if duty is None:
        return Verdict(False, case.id, wanted.duty, f"{label}: no duty has this id")
    if wanted.stage and wanted.stage not in {stage.name for stage in duty.stages}:
        return Verdict(False, case.id, wanted.duty, f"{label}: the duty has no such stage")
    got = _find(by_duty[wanted.duty], wanted.stage)
    if got is None:
        passed = wanted.result == "not_required"  # a stage whose `if` is false does not exist
        return Verdict(passed, case.id, wanted.duty, f"{label}: the stage does not exist for these facts")
    differences = list(_differences(wanted, got))
    return Verdict(not differences, case.id, wanted.duty, "; ".join([label, *differences]))


def _find(evaluations: list[Evaluation], stage: str | None) -> Evaluation | None:
    """The evaluation of a stage; a single result stands for all, no stage means the primary one."""
    for evaluation in evaluations:
        if stage is None or evaluation.stage is None or evaluation.stage == stage:
            return evaluation
    return None


def _differences(wanted: Expectation, got: Evaluation) -> Iterator[str]:
    if got.result != wanted.result:
        missing = f" (missing: {', '.join(got.missing)})" if got.missing else ""
        yield f"got {got.result}{missing}"
    if wanted.due_utc is not None:
        due = format_utc(got.due_utc) if got.due_utc else None
        if got.due_utc is None or parse_instant(due or "") != parse_instant(wanted.due_utc):
            yield f"due_utc: wanted {wanted.due_utc}, got {due}"
    if wanted.last_day is not None and (got.last_day is None or got.last_day.isoformat() != wanted.last_day):
        yield f"last_day: wanted {wanted.last_day}, got {got.last_day}"
    if wanted.anchor is not None and got.anchor != wanted.anchor:
        yield f"anchor: wanted {wanted.anchor}, got {got.anchor}"
    lacking = sorted(wanted.missing.difference(got.missing))
    if lacking:
        yield f"missing: wanted {', '.join(lacking)}, got {', '.join(got.missing) or 'nothing'}"


def _absent(case: Case, duty: str, by_duty: dict[str, list[Evaluation]]) -> Verdict:
    found = by_duty.get(duty)
    if found is None:
        return Verdict(False, case.id, duty, "not expected: no duty has this id")
    result = found[0].result
    detail = "not expected" if result in NOT_OWED else f"not expected; got {result}"
    return Verdict(result in NOT_OWED, case.id, duty, detail)


def _beyond(case: Case, law: Law, by_duty: dict[str, list[Evaluation]]) -> Iterator[Verdict]:
    """Duties outside the list that are owed or advised, in the affected jurisdictions or their country."""
    codes = {entry["jurisdiction"] for entry in case.facts.get("affected", ())}
    places = codes | {country(code) for code in codes}
    listed = {expectation.duty for expectation in case.expected}
    for duty_id, evaluations in by_duty.items():
        if duty_id in listed or not _concerns(law.duties[duty_id], places):
            continue
        for evaluation in evaluations:
            if evaluation.result in OWED | ADVISED:
                detail = f"expected_scope complete: not listed, got {evaluation.result}"
                yield Verdict(False, case.id, duty_id, detail)
                break


def _concerns(duty: Duty, places: set[str]) -> bool:
    return any(code.removesuffix("!") in places for code in duty.jurisdictions)
