"""The predicate `number`: exact comparison of measured quantities, of which some may be unknown."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any as Json

from incidents.law.builder import Scope
from incidents.law.facts import Facts, exact_number
from incidents.law.logic import Finding, Leaf, found
from incidents.law.shape import Shape

_OPERATORS: Mapping[str, tuple[str, Callable[[Fraction, Fraction], bool]]] = {
    "gt": (">", operator.gt),
    "ge": (">=", operator.ge),
    "lt": ("<", operator.lt),
    "le": ("<=", operator.le),
    "eq": ("=", operator.eq),
}
_Range = tuple[Fraction, Fraction | None]
"""Lowest and highest possible value; None is without limit."""


class _Bound:
    """The right side of a `number` test: a constant, a multiple of a fact, or the least of several."""

    def __init__(self, value: Json, scope: Scope, *, nested: bool = False) -> None:
        self.constant = exact_number(value)
        self.fact = ""
        self.parts: tuple[_Bound, ...] = ()
        self.times = Fraction(1)
        self.text = str(value)
        if self.constant is not None:
            return
        shape = Shape(value, scope.path, scope.problems)
        if shape.has("min_of") and not nested:
            self.parts = tuple(
                _Bound(item, scope._replace(path=path), nested=True) for path, item in shape.items("min_of")
            )
            self.text = f"the least of {', '.join(part.text for part in self.parts)}"
        else:
            self.fact = shape.word("fact", sorted(scope.words.words["numbers"]))
            times = exact_number(shape.take("times", required=True))
            if times is None or times <= 0:
                shape.problem("times", "expected a number above zero")
            self.times = times or Fraction(1)
            self.text = f"{float(self.times):g} x {self.fact}"
        shape.done()

    def range(self, facts: Facts) -> tuple[_Range, tuple[str, ...]]:
        """Possible values, and the facts that would narrow them. No quantity is negative."""
        if self.constant is not None:
            return (self.constant, self.constant), ()
        if self.parts:
            ranges = [part.range(facts) for part in self.parts]
            highs = [high for (_, high), _ in ranges if high is not None]
            low = min(low for (low, _), _ in ranges)
            return (low, min(highs) if highs else None), tuple(path for _, paths in ranges for path in paths)
        return _stated(facts, self.fact, self.times)


def _stated(facts: Facts, fact: str, times: Fraction) -> tuple[_Range, tuple[str, ...]]:
    value = facts.number(fact)
    if value is None:
        return (Fraction(0), None), (f"numbers.{fact}",)
    return (value * times, value * times), ()


def _compare(sign: str, left: _Range, right: _Range) -> bool | None:
    """Compare two ranges: known when every pair of possible values agrees."""
    (low, high), (bottom, top) = left, right
    if sign in ("lt", "le"):
        return _compare({"lt": "gt", "le": "ge"}[sign], right, left)
    if sign == "eq":
        if low == high == bottom == top:
            return True
        apart = (high is not None and high < bottom) or (top is not None and top < low)
        return False if apart else None
    holds = _OPERATORS[sign][1]
    if top is not None and holds(low, top):
        return True
    return False if high is not None and not holds(high, bottom) else None


def number(argument: Json, scope: Scope) -> Leaf:
    """Build the leaf `number: {fact, op, value}`."""
    shape = Shape(argument, scope.path, scope.problems)
    fact = shape.word("fact", sorted(scope.words.words["numbers"]))
    sign = shape.word("op", tuple(_OPERATORS))
    bound = _Bound(shape.take("value", required=True), scope._replace(path=shape.at("value")))
    shape.done()

    def test(view: Json) -> Finding:
        left, unknown = _stated(view.facts, fact, Fraction(1))
        right, more = bound.range(view.facts)
        truth = _compare(sign, left, right)
        return Finding(None, unknown + more) if truth is None else found(truth)

    return Leaf("number", f"{fact} {_OPERATORS[sign][0]} {bound.text}", test)
