"""Mutation testing of the engine and calendar code: run by hand, `python tests/law/mutate.py [--every N]`.

Every mutant changes one operator, constant, or returned value of one module. A mutant that the tests do
not notice is a hole in the tests, or a change that makes no difference; survivors are listed with their
line. Each mutant runs in a fork of a process that has everything but the law modules imported, so nothing
is written to the checkout.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.abc
import importlib.util
import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULES = (
    "calendars",
    "timing",
    "engine",
    "logic",
    "quantities",
    "localtime",
    "readings",
    "contradictions",
    "predicates",
)
TESTS = (
    "test_timing.py", "test_engine.py", "test_predicates.py", "test_readings.py", "test_facts.py",
    "test_cases.py", "test_properties.py", "test_data.py",
)  # fmt: skip
LIMIT_SECONDS = 120
COMPARE = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
ARITHMETIC = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr}
CALLS = {"min": "max", "max": "min", "any": "all", "all": "any"}


def mutants(tree: ast.Module) -> Iterator[tuple[int, str, ast.Module]]:
    """Every mutant of a module as (line, what, tree)."""
    nodes = [node for node in ast.walk(tree) if not isinstance(node, ast.expr_context)]
    for position, node in enumerate(nodes):
        for what, change in changes(node):
            mutated = copy.deepcopy(tree)
            twins = [twin for twin in ast.walk(mutated) if not isinstance(twin, ast.expr_context)]
            change(twins[position])
            yield getattr(node, "lineno", 0), what, ast.fix_missing_locations(mutated)


def changes(node: ast.AST):
    """The ways to change one node, as (what, function)."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARE:
        other = COMPARE[type(node.ops[0])]
        yield f"{type(node.ops[0]).__name__} -> {other.__name__}", lambda twin: twin.ops.__setitem__(0, other())
    elif isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC and not _is_type(node):
        other = ARITHMETIC[type(node.op)]
        yield f"{type(node.op).__name__} -> {other.__name__}", lambda twin: setattr(twin, "op", other())
    elif isinstance(node, ast.BoolOp):
        other = ast.Or if isinstance(node.op, ast.And) else ast.And
        yield f"{type(node.op).__name__} -> {other.__name__}", lambda twin: setattr(twin, "op", other())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "not removed", _remove_not
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield f"{node.value} -> {not node.value}", lambda twin: setattr(twin, "value", not twin.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        yield f"{node.value} -> {node.value + 1}", lambda twin: setattr(twin, "value", twin.value + 1)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
        yield f"{node.func.id} -> {CALLS[node.func.id]}", lambda twin: setattr(twin.func, "id", CALLS[twin.func.id])
    elif isinstance(node, ast.If | ast.IfExp):
        yield "condition -> True", lambda twin: setattr(twin, "test", ast.Constant(True))
        yield "condition -> False", lambda twin: setattr(twin, "test", ast.Constant(False))


def _is_type(node: ast.BinOp) -> bool:
    """`X | None` in an annotation or an isinstance check."""
    return isinstance(node.op, ast.BitOr) and isinstance(node.right, ast.Constant | ast.Name | ast.Attribute)


def _remove_not(twin: ast.UnaryOp) -> None:
    """`not x` becomes `not not x`."""
    twin.operand = ast.UnaryOp(op=ast.Not(), operand=twin.operand)


def say(text: str) -> None:
    """Print at once: a run takes long."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Replace(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives the mutated module when it is imported."""

    def __init__(self, name: str, tree: ast.Module, path: Path) -> None:
        self.name, self.tree, self.path = name, tree, path

    def find_spec(self, name, path=None, target=None):
        del path, target
        return importlib.util.spec_from_loader(name, self, origin=str(self.path)) if name == self.name else None

    def exec_module(self, module):
        module.__file__ = str(self.path)
        exec(compile(self.tree, str(self.path), "exec"), module.__dict__)


def survives(name: str, tree: ast.Module, path: Path) -> bool:
    """Whether the tests pass with the mutant; a mutant that hangs is noticed."""
    child = os.fork()
    if child == 0:
        signal.alarm(LIMIT_SECONDS)
        sys.meta_path.insert(0, Replace(name, tree, path))
        code = 1
        try:
            import pytest

            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                tests = [str(ROOT / "tests" / "law" / test) for test in TESTS]
                code = int(pytest.main(["-x", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "--tb=no", *tests]))
        except BaseException:  # noqa: BLE001  # whatever a mutant raises, it was noticed
            code = 1
        os._exit(min(code, 1))
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0


def main() -> None:
    """Run every N-th mutant of every module and print the score."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="take every N-th mutant")
    parser.add_argument("--module", choices=MODULES, help="only this module")
    options = parser.parse_args()
    import pytest  # noqa: F401  # imported before the fork, like everything slow
    import yaml  # noqa: F401

    sound = ROOT / "incidents" / "law" / f"{MODULES[0]}.py"
    if not survives(f"incidents.law.{MODULES[0]}", ast.parse(sound.read_text()), sound):
        sys.exit("the tests fail without any mutant; nothing can be learnt")
    killed = total = 0
    for module in [options.module] if options.module else MODULES:
        path = ROOT / "incidents" / "law" / f"{module}.py"
        chosen = list(mutants(ast.parse(path.read_text())))[:: options.every]
        alive = [(line, what) for line, what, tree in chosen if survives(f"incidents.law.{module}", tree, path)]
        killed, total = killed + len(chosen) - len(alive), total + len(chosen)
        say(f"{module}: {len(chosen) - len(alive)} of {len(chosen)} noticed")
        for line, what in alive:
            say(f"  survived: {path.relative_to(ROOT)}:{line} {what}")
    say(f"{killed} of {total} mutants noticed ({100 * killed / max(total, 1):.0f} %)")


if __name__ == "__main__":
    main()
