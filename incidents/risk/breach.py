"""The assessment of a breach as one flow: facts, score, a person's conclusion, and the duties that follow.

The score and the conclusion are different things. What the engine reads as `risk` is the conclusion, which
a person wrote; without one the risk stays unknown and the duties that depend on it undetermined. Where the
conclusion departs from what the score suggests, a written reason and a second person are required.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from incidents.law import Evaluation, Facts, Law, LawFactsError
from incidents.law.duties import Duty
from incidents.law.engine import Incident
from incidents.law.errors import Problem
from incidents.law.explain import sentence
from incidents.law.logic import Leaf
from incidents.law.shape import Shape
from incidents.risk.enisa import Severity, read_severity
from incidents.risk.enisa import lines as enisa_lines
from incidents.risk.hipaa import HipaaFinding, read_four_factors
from incidents.risk.hipaa import lines as hipaa_lines
from incidents.risk.reading import refuse

SUGGESTED: Mapping[str, frozenset[str]] = {
    "low": frozenset({"none", "low"}),
    "medium": frozenset({"possible", "risk"}),
    "high": frozenset({"significant", "high"}),
    "very_high": frozenset({"high"}),
}
"""Conclusions that need no bridge, by ENISA level. A choice of this project, not of ENISA or a law."""


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What a person concluded.

    Attributes:
        risk: step of the risk scale.
        decided_by: who.
        reason: why; required when the conclusion departs from the score.
        second: who agreed; required, and somebody else, when it departs.
    """

    risk: str
    decided_by: str
    reason: str
    second: str


@dataclass(frozen=True, slots=True)
class LegalTest:
    """The risk test of one law, in its own words.

    Attributes:
        duty: id of the duty.
        wording: the threshold in the words of the law, where the data have them.
        threshold: the step of the risk scale that meets it.
        met: whether the conclusion meets it; None without a conclusion.
        reason: the written bridge from the facts to this test; "" while nobody wrote one.
    """

    duty: str
    wording: str
    threshold: str
    met: bool | None
    reason: str

    def as_json(self) -> dict[str, Any]:
        """The test as JSON values."""
        return {
            "duty": self.duty,
            "wording": self.wording,
            "threshold": self.threshold,
            "met": self.met,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class BreachAssessment:
    """Score, conclusion and duties, side by side.

    Attributes:
        severity: the ENISA score; None when it was not asked for.
        hipaa: the HIPAA test; None when it was not asked for.
        conclusion: what a person concluded; None while nobody has.
        departs: whether the conclusion is another than the score suggests; None without both.
        tests: the risk tests of the laws that otherwise apply.
        facts: what the engine read, `risk` from the conclusion alone.
        evaluations: the duties.
    """

    severity: Severity | None
    hipaa: HipaaFinding | None
    conclusion: Conclusion | None
    departs: bool | None
    tests: tuple[LegalTest, ...]
    facts: Facts
    evaluations: tuple[Evaluation, ...]

    def as_json(self) -> dict[str, Any]:
        """The assessment as JSON values; the facts are those that were sent and are left out."""
        concluded = self.conclusion
        return {
            "severity": self.severity.as_json() if self.severity else None,
            "hipaa": self.hipaa.as_json() if self.hipaa else None,
            "conclusion": asdict(concluded) if concluded else None,
            "departs": self.departs,
            "tests": [test.as_json() for test in self.tests],
            "evaluations": [evaluation.as_json() for evaluation in self.evaluations],
        }


def assess_breach(document: object, law: Law) -> BreachAssessment:
    """Assess a breach.

    Args:
        document: a mapping: `facts` (SCHEMA.md, section 1, without `risk`), `enisa?` (see
            `enisa.severity`), `hipaa?` (see `hipaa.four_factors`), `conclusion?` (`{risk, decided_by,
            reason?, second?}`), `tests?` (duty id to the written reason why its risk test is met or not).
        law: the law.

    Returns:
        The assessment.

    Raises:
        LawFactsError: with every problem and its path; also `risk` among the facts, and a conclusion
            that departs from the score without a reason and a second person.
    """
    problems: list[Problem] = []
    shape = Shape(document, "", problems)
    stated = shape.take("facts", required=True)
    score, health = shape.inner("enisa"), shape.inner("hipaa")
    severity = read_severity(score) if score else None
    finding = read_four_factors(health) if health else None
    conclusion = _conclusion(shape, law)
    departs = _departs(severity, conclusion)
    if conclusion is not None and departs:
        _bridge(conclusion, shape)
    reasons = _reasons(shape, law)
    shape.done()
    facts = _facts(stated, conclusion, law, problems)
    refuse(problems)
    assert facts is not None
    tests = tuple(_tests(facts, law, reasons))
    return BreachAssessment(severity, finding, conclusion, departs, tests, facts, tuple(law.assess(facts)))


def _conclusion(shape: Shape, law: Law) -> Conclusion | None:
    inner = shape.inner("conclusion")
    if inner is None:
        return None
    found = Conclusion(
        risk=inner.word("risk", law.vocabulary.risk_scale),
        decided_by=inner.text("decided_by"),
        reason=inner.text("reason", required=False),
        second=inner.text("second", required=False),
    )
    inner.done()
    return found


def _departs(severity: Severity | None, conclusion: Conclusion | None) -> bool | None:
    """A score that is still a range departs from nothing that one of its levels suggests."""
    if severity is None or conclusion is None:
        return None
    return not any(conclusion.risk in SUGGESTED[level] for level in severity.levels)


def _bridge(conclusion: Conclusion, shape: Shape) -> None:
    if not conclusion.reason:
        shape.problem("conclusion.reason", "the conclusion departs from the score: write why")
    if not conclusion.second or _same(conclusion.second, conclusion.decided_by):
        shape.problem("conclusion.second", "the conclusion departs from the score: a second person must agree")


def _same(one: str, other: str) -> bool:
    return one.strip().casefold() == other.strip().casefold()


def _reasons(shape: Shape, law: Law) -> dict[str, str]:
    inner = shape.inner("tests")
    found = {name: inner.text(name) for name in inner.keys() if name in law.duties} if inner else {}  # noqa: SIM118  # a Shape is not a mapping
    if inner:
        inner.done()
    return found


def _facts(stated: object, conclusion: Conclusion | None, law: Law, problems: list[Problem]) -> Facts | None:
    if isinstance(stated, Mapping) and "risk" in stated:
        problems.append(Problem("facts.risk", "the risk is the conclusion; write it there, with who decided"))
        return None
    if not isinstance(stated, Mapping):
        problems.append(Problem("facts", "expected a mapping"))
        return None
    try:
        return law.facts({**stated, "risk": conclusion.risk} if conclusion else stated)
    except LawFactsError as error:
        problems.extend(Problem(f"facts.{problem.path}", problem.text) for problem in error.problems)
        return None


def _tests(facts: Facts, law: Law, reasons: Mapping[str, str]) -> Iterator[LegalTest]:
    """The risk tests of the duties that would apply if the risk were at its highest."""
    worst = Incident(_at_risk(facts, len(law.vocabulary.risk_scale)), law.duties, law.calendars)
    least = Incident(_at_risk(facts, 0), law.duties, law.calendars)
    actual = Incident(facts, law.duties, law.calendars)
    for duty in law.duties.values():
        leaf = _threshold(duty)
        if leaf is None or not worst.applies(duty.id).truth or least.applies(duty.id).truth:
            continue
        wording = duty.shown.get("risk_wording")
        yield LegalTest(
            duty=duty.id,
            wording=wording.replace("_", " ") if isinstance(wording, str) else "",
            threshold=leaf.text.rpartition(" ")[2],
            met=leaf.truth(actual),
            reason=reasons.get(duty.id, ""),
        )


def _at_risk(facts: Facts, step: int) -> Facts:
    return replace(facts, risk=step, unknown=facts.unknown - {"risk"})


def _threshold(duty: Duty) -> Leaf | None:
    return next((leaf for leaf in duty.when.leaves() if leaf.predicate == "risk_at_least"), None)


def lines(found: BreachAssessment) -> Iterator[str]:
    """The assessment for a reader: score, conclusion, tests, and what is owed."""
    if found.severity:
        yield from enisa_lines(found.severity)
    if found.hipaa:
        yield from hipaa_lines(found.hipaa)
    concluded = found.conclusion
    if concluded is None:
        yield "No conclusion yet: the risk is unknown, and no score stands in for it."
    else:
        second = f" and {concluded.second}" if concluded.second else ""
        bridge = f": {concluded.reason}" if concluded.reason else ""
        yield f"Conclusion: {concluded.risk}, by {concluded.decided_by}{second}{bridge}"
        if found.departs:
            yield "  It departs from the score; the reason above is the bridge."
    for test in found.tests:
        met = {True: "met", False: "not met", None: "open"}[test.met]
        wording = f" ({test.wording})" if test.wording else ""
        reason = f": {test.reason}" if test.reason else ""
        yield f"Legal test {test.duty}, {test.threshold}{wording}: {met}{reason}"
    for evaluation in found.evaluations:
        if evaluation.owed:
            yield f"Owed: {evaluation.duty} {sentence(evaluation)}"
