"""What every builder of a predicate needs: the words, the path, and where problems go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any as Json
from typing import NamedTuple

from incidents.law.errors import Problem
from incidents.law.logic import FALSE, Leaf
from incidents.law.places import Area
from incidents.law.shape import Shape, one_of
from incidents.law.vocabulary import Vocabulary

_NEVER = Leaf("always", "always false", lambda _: FALSE)


class Scope(NamedTuple):
    """What a builder needs beside the argument: the words, the path, where problems go, whose clocks."""

    words: Vocabulary
    path: str
    problems: list[Problem]
    processor: bool

    def problem(self, text: str) -> Leaf:
        """Record a problem with this leaf."""
        self.problems.append(Problem(self.path, text))
        return _NEVER

    def names(self, argument: Json, allowed: frozenset[str] | tuple[str, ...], what: str) -> tuple[str, ...]:
        """A non-empty list of words from a closed list."""
        shape = Shape({"": argument}, self.path, self.problems)
        names = shape.texts("", one_of(allowed, what))
        if isinstance(argument, list) and not argument:
            self.problem("expected at least one name")
        return names

    def codes(self, argument: Json) -> Area:
        """A non-empty list of jurisdiction codes."""
        shape = Shape({"": argument}, self.path, self.problems)
        codes = shape.texts("", self.words.code_problem)
        if isinstance(argument, list) and not argument:
            self.problem("expected at least one code")
        return self.words.area(codes)


Builder = Callable[[Json, Scope], Leaf]
