"""Reading the documents of the risk aids: strict, every problem with its path, no value repeated."""

from __future__ import annotations

from collections.abc import Mapping

from incidents.law import LawFactsError
from incidents.law.errors import Problem
from incidents.law.shape import Shape

UNKNOWN = "unknown"


def refuse(problems: list[Problem]) -> None:
    """Raise when something was found.

    Raises:
        LawFactsError: with every problem.
    """
    if problems:
        raise LawFactsError(problems)


def choice(shape: Shape, key: str, allowed: Mapping[str, object]) -> str:
    """One of the words, or `unknown`; a field that is left out is unknown."""
    return shape.word(key, (*allowed, UNKNOWN), default=UNKNOWN)
