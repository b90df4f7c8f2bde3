"""The severity of a breach after ENISA: SE = DPC x EI + CB.

Source: ENISA, "Recommendations for a methodology of the assessment of severity of personal data breaches",
working document v1.0 (December 2013), with the German and Greek authorities. The tables here were collected
from public course pages and calculators; the size of the moves per category is recalled and consistent with
the published examples. Check them against the document before relying on a score.

The score is an aid. It does not see scale, national identifiers or a trusted recipient, so it says less than
the authorities' own examples in some cases and more in others; it never sets the risk of the facts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from incidents.law.errors import Problem
from incidents.law.shape import Shape
from incidents.risk.reading import UNKNOWN, choice, refuse

BASE: Mapping[str, int] = {"simple": 1, "behavioural": 2, "financial": 3, "sensitive": 4}
"""Data processing context: where a category starts."""

MOVES: Mapping[str, Mapping[str, int]] = {
    "simple": {"none": 0, "shows_wealth_or_status": 1, "shows_sensitive_matters": 2, "endangers_safety": 3},
    "behavioural": {"none": 0, "little_insight": -1, "profile": 1, "shows_sensitive_matters": 2},
    "financial": {"none": 0, "no_insight": -2, "some_insight": -1, "full_picture": 1},
    "sensitive": {"none": 0, "reveals_less": -1, "reveals_little": -2, "reveals_hardly_anything": -3},
}
"""How the context moves a category; the sum stays between 1 and 4."""

EASE: Mapping[str, Fraction] = {
    "negligible": Fraction(1, 4),
    "limited": Fraction(1, 2),
    "significant": Fraction(3, 4),
    "maximum": Fraction(1),
}
"""Ease of identification."""

_NONE, _SOME, _FULL = Fraction(0), Fraction(1, 4), Fraction(1, 2)
CIRCUMSTANCES: Mapping[str, Mapping[str, Fraction]] = {
    "confidentiality": {"none": _NONE, "known_recipients": _SOME, "unknown_recipients": _FULL},
    "integrity": {"none": _NONE, "recoverable": _SOME, "not_recoverable": _FULL},
    "availability": {"none": _NONE, "temporary": _SOME, "permanent": _FULL},
    "malicious_intent": {"no": _NONE, "yes": _FULL},
}
"""Circumstances of the breach: they are added, at most 2."""

LEVELS = ("low", "medium", "high", "very_high")
_FROM = (Fraction(0), Fraction(2), Fraction(3), Fraction(4))
MEANING: Mapping[str, str] = {
    "low": "minor inconvenience",
    "medium": "significant inconvenience, overcome with difficulty: cost, denial of service, stress",
    "high": "significant consequences, serious difficulty: loss of property or job, blacklisting",
    "very_high": "significant or irreversible consequences: long-term harm, safety, inability to work",
}
MANY = 100
"""More individuals than this raise a flag that does not change the score."""


@dataclass(frozen=True, slots=True)
class Severity:
    """The score with all it is made of. With unknown parts there is a range, not a number.

    Attributes:
        context: data processing context, 1 to 4: the highest of the categories.
        ease: ease of identification, lowest and highest possible.
        circumstances: sum of the circumstances, lowest and highest possible.
        score: lowest and highest possible score.
        level: one of `LEVELS`; None while the range spans two.
        flags: `more_than_100_individuals`, `data_unintelligible`; they never change the score.
        why: each part in words.
        missing: the inputs that are unknown.
    """

    context: int
    ease: tuple[Fraction, Fraction]
    circumstances: tuple[Fraction, Fraction]
    score: tuple[Fraction, Fraction]
    level: str | None
    flags: tuple[str, ...]
    why: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def levels(self) -> tuple[str, ...]:
        """Every level that is still possible."""
        low, high = (level_of(score) for score in self.score)
        return LEVELS[LEVELS.index(low) : LEVELS.index(high) + 1]

    def as_json(self) -> dict[str, Any]:
        """The severity as JSON values; numbers as exact decimals in text."""
        return {
            "score": [_decimal(part) for part in self.score],
            "level": self.level,
            "possible_levels": list(self.levels),
            "meaning": MEANING[self.level] if self.level else None,
            "data_processing_context": self.context,
            "ease_of_identification": [_decimal(part) for part in self.ease],
            "circumstances": [_decimal(part) for part in self.circumstances],
            "flags": list(self.flags),
            "why": list(self.why),
            "missing": list(self.missing),
        }


@dataclass(frozen=True, slots=True)
class _Context:
    category: str
    move: str
    reason: str

    @property
    def value(self) -> int:
        return min(4, max(1, BASE[self.category] + MOVES[self.category][self.move]))


def severity(document: object) -> Severity:
    """Score a breach.

    Args:
        document: a mapping: `data`, a list of `{category, move?, reason?}` (a move needs its reason);
            `ease_of_identification` with `ease_reason?`; `confidentiality`, `integrity`, `availability`,
            `malicious_intent` (the words of `CIRCUMSTANCES`, or `unknown`; left out is unknown);
            `individuals?` (a number); `unintelligible?` (true or false).

    Returns:
        The severity.

    Raises:
        LawFactsError: with every problem and its path.
    """
    problems: list[Problem] = []
    found = read_severity(Shape(document, "", problems))
    refuse(problems)
    return found


def read_severity(shape: Shape) -> Severity:
    """The same from a mapping that is being read; problems go where the others go."""
    contexts = [_context(Shape(item, path, shape.problems)) for path, item in shape.items("data")]
    if not contexts:
        shape.problem("data", "expected at least one category of data")
        contexts = [_Context("simple", "none", "")]
    highest = max(contexts, key=lambda context: context.value)
    ease_word = choice(shape, "ease_of_identification", EASE)
    ease_reason = shape.text("ease_reason", required=False)
    words = {name: choice(shape, name, table) for name, table in CIRCUMSTANCES.items()}
    individuals = shape.whole("individuals", 0, 20_000_000_000, required=False)
    unintelligible = shape.flag("unintelligible")
    shape.done()
    ease = _range(EASE, ease_word)
    added = [_range(table, words[name]) for name, table in CIRCUMSTANCES.items()]
    circumstances = (sum((low for low, _ in added), Fraction(0)), sum((high for _, high in added), Fraction(0)))
    score = (highest.value * ease[0] + circumstances[0], highest.value * ease[1] + circumstances[1])
    low, high = level_of(score[0]), level_of(score[1])
    many = individuals is not None and individuals > MANY
    unknown = [name for name, word in {"ease_of_identification": ease_word, **words}.items() if word == UNKNOWN]
    return Severity(
        context=highest.value,
        ease=ease,
        circumstances=circumstances,
        score=score,
        level=low if low == high else None,
        flags=(
            *(("more_than_100_individuals",) if many else ()),
            *(("data_unintelligible",) if unintelligible else ()),
        ),
        why=(
            *(_said(context) for context in contexts),
            f"ease of identification {ease_word}{f': {ease_reason}' if ease_reason else ''}",
            *(f"{name.replace('_', ' ')}: {word.replace('_', ' ')}" for name, word in words.items()),
        ),
        missing=tuple(sorted(unknown)),
    )


def level_of(score: Fraction) -> str:
    """The band of a score: below 2 low, below 3 medium, below 4 high, else very high."""
    return [level for level, least in zip(LEVELS, _FROM, strict=True) if score >= least][-1]


def _context(shape: Shape) -> _Context:
    category = shape.word("category", tuple(BASE))
    move = shape.word("move", tuple(MOVES[category]), default="none")
    reason = shape.text("reason", required=False)
    if move != "none" and not reason:
        shape.problem("reason", "a move needs its reason in words")
    shape.done()
    return _Context(category, move, reason)


def _range(table: Mapping[str, Fraction], word: str) -> tuple[Fraction, Fraction]:
    if word == UNKNOWN:
        return min(table.values()), max(table.values())
    return table[word], table[word]


def _said(context: _Context) -> str:
    moved = "" if context.move == "none" else f", {context.move.replace('_', ' ')} ({context.reason})"
    return f"{context.category} data{moved}: {context.value}"


def _decimal(value: Fraction) -> str:
    """Every value here is a multiple of a quarter, so two digits are exact."""
    return f"{float(value):.2f}"


def lines(found: Severity) -> Iterator[str]:
    """The severity for a reader."""
    low, high = (_decimal(part) for part in found.score)
    named = " or ".join(level.replace("_", " ") for level in found.levels)
    yield f"ENISA severity {low if low == high else f'{low} to {high}'}: {named}"
    if found.level:
        yield f"  {MEANING[found.level]}"
    yield from (f"  {line}" for line in found.why)
    yield from (f"  flag: {flag.replace('_', ' ')} (does not change the score)" for flag in found.flags)
    if found.missing:
        yield f"  unknown: {', '.join(found.missing)}"
