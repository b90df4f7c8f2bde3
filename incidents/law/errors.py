"""Errors of the law engine; all descend from `ledger.errors.TocsinError`.

A message names the file, the duty and the field (or the path inside the facts) and what is expected
there. It never repeats the value that was submitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ledger.errors import InputError, NotFoundError, TocsinError

SHOWN = 20
"""How many problems a message lists before it only counts the rest."""


class LawError(TocsinError):
    """Root of the errors of the law engine."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        path: where, for example `duties/us-ca.yaml us-ca-ag when.all[2]` or `affected[0].count`.
        text: what is expected there.
    """

    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text}" if self.path else self.text


def listing(problems: Sequence[Problem]) -> str:
    """Write problems one per line, the first `SHOWN` of them.

    Args:
        problems: what was found, in the order of the file.

    Returns:
        Lines joined by newlines.
    """
    lines = [str(problem) for problem in problems[:SHOWN]]
    if len(problems) > SHOWN:
        lines.append(f"... and {len(problems) - SHOWN} more")
    return "\n".join(lines)


class LawDataError(LawError):
    """The law data cannot be used: a file, a duty or a field is wrong.

    Attributes:
        problems: everything that was found, not only the first.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(f"the law data has {len(problems)} problem(s):\n{listing(problems)}")
        self.problems = tuple(problems)


class LawFactsError(LawError, InputError):
    """The facts of an incident are malformed or contradict each other; nothing was assessed.

    Attributes:
        problems: everything that was found, each with the path of the fact.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(
            f"the facts have {len(problems)} problem(s):\n{listing(problems)}",
            field=problems[0].path if problems else "",
        )
        self.problems = tuple(problems)


class CaseFileError(LawError):
    """A file of worked cases is malformed.

    Attributes:
        problems: everything that was found.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(f"the case file has {len(problems)} problem(s):\n{listing(problems)}")
        self.problems = tuple(problems)


class UnknownDutyError(LawError, NotFoundError):
    """No duty has this id in the law data."""
