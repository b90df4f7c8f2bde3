"""Reading untyped mappings into typed values, collecting every problem with its path."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from incidents.law.errors import Problem

_DATE = re.compile(r"^\d{4}-\d{2}-\d{2}$")
EARLIEST_YEAR, LATEST_YEAR = 1970, 2199
"""Years in which a legal date or a clock is plausible; outside, a digit is wrong."""


def parse_date(text: object) -> dt.date | None:
    """Read `YYYY-MM-DD`.

    Args:
        text: anything.

    Returns:
        The date, or None when it is not one or its year is not plausible.
    """
    if not isinstance(text, str) or not _DATE.match(text):
        return None
    try:
        day = dt.date.fromisoformat(text)
    except ValueError:
        return None
    return day if EARLIEST_YEAR <= day.year <= LATEST_YEAR else None


def parse_instant(text: str) -> dt.datetime | None:
    """Read an RFC 3339 time.

    Args:
        text: for example `2026-03-10T09:00:00Z`.

    Returns:
        The instant in UTC, or None when it is not one or has no offset.
    """
    try:
        instant = dt.datetime.fromisoformat(text)
        return instant.astimezone(dt.UTC) if instant.tzinfo else None
    except (ValueError, OverflowError):
        return None


class Shape:
    """One mapping being read: fields are taken by name, and what is left over is a problem.

    Every reader returns a harmless default after recording a problem, so one pass finds them all.
    """

    __slots__ = ("_left", "path", "problems")

    def __init__(self, value: object, path: str, problems: list[Problem]) -> None:
        self.path = path
        self.problems = problems
        self._left: dict[str, Any] = {}
        if not isinstance(value, Mapping):
            self.problem("", "expected a mapping")
            return
        for key, entry in value.items():
            if isinstance(key, str):
                self._left[key] = entry
            else:
                self.problem("", "expected every key to be a text (quote it)")

    def at(self, key: str) -> str:
        """Path of a field of this mapping."""
        return f"{self.path}{'' if self.path.endswith((' ', '.')) or not self.path else '.'}{key}" if key else self.path

    def problem(self, key: str, text: str) -> None:
        """Record a problem with the field `key` ("" for the whole mapping)."""
        self.problems.append(Problem(self.at(key), text))

    def has(self, key: str) -> bool:
        """Whether the field is there and was not taken yet."""
        return key in self._left

    def keys(self) -> list[str]:
        """Names of the fields not taken yet, in the order of the file."""
        return list(self._left)

    def take(self, key: str, *, required: bool = False) -> Any:
        """Take a field as it is; None when absent or null. A required field may not be null."""
        value = self._left.pop(key, None)
        if value is None and required:
            self.problem(key, "missing")
        return value

    def stated(self, key: str) -> Any:
        """Take a field that may be left out but not be null; None when absent."""
        if key in self._left and self._left[key] is None:
            self.problem(key, "empty; leave the field out when there is nothing to say")
        return self._left.pop(key, None)

    def text(self, key: str, *, required: bool = True) -> str:
        """Take a non-empty text; "" when absent or wrong."""
        value = self.take(key, required=True) if required else self.stated(key)
        if value is None:
            return ""
        if not isinstance(value, str) or not value.strip():
            self.problem(key, "expected a text")
            return ""
        return value

    def optional_text(self, key: str) -> str | None:
        """Take a text or null."""
        value = self.take(key)
        if value is not None and not isinstance(value, str):
            self.problem(key, "expected a text or null")
            return None
        return value

    def word(self, key: str, allowed: Collection[str], *, default: str | None = None) -> str:
        """Take one word of a closed list; `default` (else the first allowed) after a problem."""
        if default is not None and key not in self._left:
            return default
        value = self.take(key, required=True)
        if isinstance(value, str) and value in allowed:
            return value
        if value is not None:
            self.problem(key, f"not one of: {_few(allowed)}")
        return default if default is not None else next(iter(allowed))

    def flag(self, key: str, *, default: bool | None = None) -> bool | None:
        """Take true or false; `default` when absent."""
        if key not in self._left:
            return default
        value = self._left.pop(key)
        if not isinstance(value, bool):
            self.problem(key, "expected true or false")
            return default
        return value

    def whole(self, key: str, low: int, high: int, *, required: bool = True) -> int | None:
        """Take an integer between two bounds, inclusive."""
        value = self.take(key, required=True) if required else self.stated(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.problem(key, f"expected a whole number from {low} to {high}")
            return None
        return value

    def items(self, key: str) -> Iterator[tuple[str, Any]]:
        """Take a list; yields (path, item). Absent means empty."""
        value = self.stated(key)
        if value is None:
            return
        if not isinstance(value, list):
            self.problem(key, "expected a list")
            return
        for position, item in enumerate(value):
            yield f"{self.at(key)}[{position}]", item

    def texts(self, key: str, check: Callable[[str], str | None] | None = None) -> tuple[str, ...]:
        """Take a list of texts; `check` returns a complaint or None for each."""
        found = []
        for path, item in self.items(key):
            if not isinstance(item, str) or not item:
                self.problems.append(Problem(path, "expected a text (quote it)"))
                continue
            complaint = check(item) if check else None
            if complaint:
                self.problems.append(Problem(path, complaint))
            else:
                found.append(item)
        return tuple(found)

    def date(self, key: str) -> dt.date | None:
        """Take a quoted date or null."""
        value = self.take(key)
        if value is None:
            return None
        day = parse_date(value)
        if day is None:
            self.problem(key, "expected a quoted date 'YYYY-MM-DD' or null")
        return day

    def inner(self, key: str) -> Shape | None:
        """Take a mapping as a `Shape`; None when absent."""
        value = self.stated(key)
        return None if value is None else Shape(value, self.at(key), self.problems)

    def done(self) -> None:
        """Complain about every field nobody took."""
        for key in self._left:
            self.problem(key, "unknown field")


def one_of(allowed: Collection[str], what: str) -> Callable[[str], str | None]:
    """A check for `Shape.texts`: the text must be in a closed list.

    Args:
        allowed: the closed list.
        what: what the list holds, for the message.

    Returns:
        A function giving a complaint or None.
    """
    return lambda text: None if text in allowed else f"not a known {what}; `definitions.yaml` lists them"


def _few(words: Collection[str]) -> str:
    listed = list(words)
    return ", ".join(listed[:12]) + (", ..." if len(listed) > 12 else "")  # noqa: PLR2004  # a readable line
