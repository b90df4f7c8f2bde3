"""The HIPAA breach test, 45 CFR 164.402: protection first, then exceptions, then four factors.

A use or disclosure that the Privacy Rule does not permit is presumed to be a breach unless a low probability
of compromise is shown by an assessment of at least four factors. The aid shows where the presumption stands;
the conclusion is a person's, with reasons, and it is refused while a factor is not assessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from incidents.law.errors import Problem
from incidents.law.shape import Shape
from incidents.risk.reading import refuse

CITATION = "45 CFR 164.402"
FACTORS: Mapping[str, str] = {
    "nature_and_extent": "nature and extent of the information, with identifiers and likelihood of re-identification",
    "unauthorised_person": "the unauthorised person who used it or to whom it was disclosed",
    "acquired_or_viewed": "whether it was actually acquired or viewed",
    "mitigation": "the extent to which the risk has been mitigated",
}
"""Paragraph (2) of the definition of breach."""

EXCEPTIONS: Mapping[str, str] = {
    "good_faith_workforce": "unintentional access by workforce in good faith, in scope, no further impermissible use",
    "inadvertent_between_authorised": "inadvertent disclosure between persons authorised at the same organisation",
    "recipient_could_not_retain": "good-faith belief that the recipient could not have retained it",
}
"""Paragraph (1)(i)-(iii)."""

WEIGHTS = ("low", "not_low")
RESULTS = ("no_phi", "secured", "exception", "low_probability", "breach", "undetermined")


@dataclass(frozen=True, slots=True)
class HipaaFinding:
    """Where the presumption stands.

    Attributes:
        result: `no_phi` (the rule does not apply), `secured` (no unsecured information), `exception`,
            `low_probability` (presumption rebutted by the written conclusion), `breach` (it stands), or
            `undetermined` while a first question is open.
        why: each step in words, with the paragraph.
        missing: the questions that are open, also those that could still rebut the presumption.
    """

    result: str
    why: tuple[str, ...]
    missing: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The finding as JSON values."""
        return {"result": self.result, "citation": CITATION, "why": list(self.why), "missing": list(self.missing)}


def four_factors(document: object) -> HipaaFinding:
    """Walk through the test.

    Args:
        document: a mapping: `phi` (is it protected health information of a covered entity or business
            associate), `secured` (encrypted or destroyed to the guidance of the health department),
            `exceptions` (`EXCEPTIONS` to true or false), `factors` (`FACTORS` to `{weighs: low|not_low,
            reason}`), `conclusion` (`{low_probability, reason, decided_by}`). What is left out is unknown.

    Returns:
        The finding. Unknown never helps: the presumption stands until it is rebutted.

    Raises:
        LawFactsError: with every problem and its path; also a conclusion of low probability while a
            factor is not assessed.
    """
    problems: list[Problem] = []
    found = read_four_factors(Shape(document, "", problems))
    refuse(problems)
    return found


def read_four_factors(shape: Shape) -> HipaaFinding:
    """The same from a mapping that is being read; problems go where the others go."""
    phi, secured = shape.flag("phi"), shape.flag("secured")
    exceptions = _exceptions(shape)
    factors = _factors(shape)
    low, reason = _conclusion(shape, factors)
    shape.done()
    if phi is False:
        return HipaaFinding("no_phi", ("no protected health information is concerned",), ())
    if secured:
        return HipaaFinding("secured", (f"the information was not unsecured [{CITATION}]",), ())
    for name, holds in exceptions.items():
        if holds:
            return HipaaFinding("exception", (f"{EXCEPTIONS[name]} [{CITATION}(1)]",), ())
    first = [name for name, known in (("phi", phi), ("secured", secured)) if known is None]
    open_exceptions = [f"exceptions.{name}" for name, holds in exceptions.items() if holds is None]
    open_factors = [f"factors.{name}" for name in FACTORS if name not in factors]
    why = [
        *(f"{FACTORS[name]}: {weighs.replace('_', ' ')} ({said})" for name, (weighs, said) in factors.items()),
    ]
    if low:
        why.append(f"low probability of compromise: {reason} [{CITATION}(2)]")
        return HipaaFinding("low_probability", tuple(why), (*first, *open_exceptions))
    why.append(f"presumed to be a breach: a low probability of compromise is not shown [{CITATION}(2)]")
    missing = (*first, *open_exceptions, *open_factors, *(["conclusion"] if low is None else []))
    return HipaaFinding("undetermined" if first else "breach", tuple(why), missing)


def _exceptions(shape: Shape) -> dict[str, bool | None]:
    inner = shape.inner("exceptions")
    found = {name: inner.flag(name) if inner else None for name in EXCEPTIONS}
    if inner:
        inner.done()
    return found


def _factors(shape: Shape) -> dict[str, tuple[str, str]]:
    outer = shape.inner("factors")
    found = {}
    for name in FACTORS:
        inner = outer.inner(name) if outer else None
        if inner is not None:
            found[name] = (inner.word("weighs", WEIGHTS), inner.text("reason"))
            inner.done()
    if outer:
        outer.done()
    return found


def _conclusion(shape: Shape, factors: Mapping[str, object]) -> tuple[bool | None, str]:
    inner = shape.inner("conclusion")
    if inner is None:
        return None, ""
    low = inner.flag("low_probability")
    if low is None:
        inner.problem("low_probability", "expected true or false")
    reason = inner.text("reason")
    inner.text("decided_by")
    inner.done()
    if low and len(factors) < len(FACTORS):
        inner.problem("low_probability", "the four factors must all be assessed first")
    return low, reason


def lines(found: HipaaFinding) -> Iterator[str]:
    """The finding for a reader."""
    yield f"HIPAA ({CITATION}): {found.result.replace('_', ' ')}"
    yield from (f"  {line}" for line in found.why)
    if found.missing:
        yield f"  open: {', '.join(found.missing)}"
