"""From the expressions of the data files to nodes that can be evaluated."""

from __future__ import annotations

import json
from typing import Any as Json

from incidents.law.builder import Scope
from incidents.law.errors import Problem
from incidents.law.logic import All, Any, AtLeast, Leaf, Node, Not
from incidents.law.predicates import BUILDERS
from incidents.law.vocabulary import Vocabulary

MAX_DEPTH = 20
"""Deepest nesting accepted; the deepest expression of the law data has 6 levels."""

NEVER = Any(())
"""Stands for an expression that could not be read; loading fails anyway."""


class Compiler:
    """Builds nodes; equal leaves become one object, so that each is decided once per incident.

    Attributes:
        problems: what is wrong with the expressions read so far.
    """

    def __init__(self, vocabulary: Vocabulary, problems: list[Problem]) -> None:
        self.problems = problems
        self._vocabulary = vocabulary
        self._leaves: dict[tuple[str, str, bool], Leaf] = {}
        self._defined: dict[tuple[str, bool], Node | None] = {}

    def compile(self, value: Json, path: str, *, processor: bool = False, depth: int = 0) -> Node:
        """Read one expression.

        Args:
            value: a mapping with exactly one key.
            path: where it stands, for messages.
            processor: whether clocks are those of a processor (`obliged_role: processor`).
            depth: nesting so far.

        Returns:
            The node; after a problem one that is false.
        """
        if not isinstance(value, dict) or len(value) != 1:
            return self._problem(path, "an expression is a mapping with exactly one key")
        if depth > MAX_DEPTH:
            return self._problem(path, f"nested deeper than {MAX_DEPTH}")
        ((name, argument),) = value.items()
        inner = f"{path}.{name}"
        match name:
            case "all":
                node: Node = All(self._parts(argument, inner, processor=processor, depth=depth))
            case "any":
                node = Any(self._parts(argument, inner, processor=processor, depth=depth))
            case "not":
                node = Not((self.compile(argument, inner, processor=processor, depth=depth + 1),))
            case "at_least":
                node = self._at_least(argument, inner, processor=processor, depth=depth)
            case "defined":
                node = self._shared(argument, inner, processor=processor, depth=depth)
            case _:
                node = self._leaf(name, argument, inner, processor=processor)
        return node

    def _problem(self, path: str, text: str) -> Node:
        self.problems.append(Problem(path, text))
        return NEVER

    def _parts(self, argument: Json, path: str, *, processor: bool, depth: int) -> tuple[Node, ...]:
        if not isinstance(argument, list) or not argument:
            self._problem(path, "expected a list of expressions, at least one")
            return ()
        return tuple(
            self.compile(part, f"{path}[{position}]", processor=processor, depth=depth + 1)
            for position, part in enumerate(argument)
        )

    def _at_least(self, argument: Json, path: str, *, processor: bool, depth: int) -> Node:
        if not isinstance(argument, dict) or set(argument) != {"n", "of"}:
            return self._problem(path, "expected {n, of}")
        parts = self._parts(argument["of"], f"{path}.of", processor=processor, depth=depth)
        count = argument["n"]
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= max(1, len(parts)):
            return self._problem(f"{path}.n", "expected a whole number from 1 to the number of parts")
        return AtLeast(count, parts)

    def _shared(self, argument: Json, path: str, *, processor: bool, depth: int) -> Node:
        entry = self._vocabulary.definitions.get(argument) if isinstance(argument, str) else None
        if not isinstance(entry, dict):
            return self._problem(path, "not a shared expression of definitions.yaml")
        key = (argument, processor)
        if key not in self._defined:
            self._defined[key] = None  # being built: meeting it again is a circle
            where = f"definitions.yaml {argument} when"
            self._defined[key] = self.compile(entry.get("when"), where, processor=processor, depth=depth + 1)
        return self._defined[key] or self._problem(path, "the shared expression refers to itself")

    def _leaf(self, name: Json, argument: Json, path: str, *, processor: bool) -> Node:
        build = BUILDERS.get(name)
        if build is None:
            return self._problem(path, "unknown predicate")
        key = (name, json.dumps(argument, sort_keys=True), processor and name.startswith("clock_"))
        leaf = self._leaves.get(key)
        if leaf is None:
            before = len(self.problems)
            leaf = build(argument, Scope(self._vocabulary, path, self.problems, processor))
            if len(self.problems) == before:
                self._leaves[key] = leaf
        return leaf
