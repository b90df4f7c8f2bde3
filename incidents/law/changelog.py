"""The changelog of the law data (`changelog.yaml`): every version with what changed and the case that shows it.

Entries are drafted from the difference between two versions of the data (`draft`), then written in words
by the person who made the change. The newest entry carries the version of the data it stands beside;
`tocsin law lint` says so when it does not.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from incidents.law.changes import compare_laws
from incidents.law.errors import LawDataError, Problem
from incidents.law.library import Law
from incidents.law.shape import Shape
from incidents.law.vocabulary import DATA
from incidents.law.yamlfile import read_yaml_file

FILE = "changelog.yaml"
_VERSION = re.compile(r"^[0-9a-f]{64}$")


@dataclass(frozen=True, slots=True)
class Change:
    """One change of the data.

    Attributes:
        what: id of the duty, or the name of a file for what is no duty.
        words: what changed and why.
        cases: ids of worked cases that fail without the change.
    """

    what: str
    words: str
    cases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One version of the data.

    Attributes:
        version: hex SHA-256 as `Law.version`.
        date: when it was made.
        title: in one line.
        changes: against the version before; empty for the first.
    """

    version: str
    date: dt.date
    title: str
    changes: tuple[Change, ...]

    def as_json(self) -> dict[str, Any]:
        """The entry as JSON values."""
        return {
            "version": self.version,
            "date": self.date.isoformat(),
            "title": self.title,
            "changes": [{"what": c.what, "words": c.words, "cases": list(c.cases)} for c in self.changes],
        }


def read_changelog(directory: Path | None = None) -> tuple[Entry, ...]:
    """Read the changelog, the newest version first.

    Args:
        directory: holds `changelog.yaml`; the data that ships with Tocsin when left out.

    Returns:
        The entries; none when the directory has no changelog.

    Raises:
        LawDataError: an entry is malformed, or the dates are not in order.
        LawError: the file cannot be read.
    """
    path = (directory or DATA) / FILE
    if not path.exists():
        return ()
    document = read_yaml_file(path)
    if not isinstance(document, list):
        raise LawDataError([Problem(FILE, "expected a list of versions")])
    problems: list[Problem] = []
    entries = [_entry(item, f"{FILE} version {position + 1} ", problems) for position, item in enumerate(document)]
    for newer, older in pairwise(entries):
        if newer.date < older.date:
            problems.append(Problem(FILE, "versions are not in order, the newest first"))
    if problems:
        raise LawDataError(problems)
    return tuple(entries)


def draft(old: Law, new: Law) -> Iterator[str]:
    """Draft the entry of a new version from its difference to the old one.

    Args:
        old: the version of the newest entry so far.
        new: the version to write an entry for.

    Yields:
        Lines of YAML to put on top of `changelog.yaml`; the words and cases are for a person to fill in.
    """
    by_duty: dict[str, list[str]] = {}
    for line in compare_laws(old, new):
        what, _, change = line.partition(" ")
        by_duty.setdefault(what.rstrip(":"), []).append(change)
    yield f"- version: {new.version}"
    yield "  date: 'YYYY-MM-DD'"
    yield "  title: say in one line what this version is about"
    yield "  changes:"
    for what, changes in by_duty.items():
        yield f"  - what: {what}"
        yield "    words: say what changed in the law or was wrong in the data, and why you are sure"
        yield "    cases: []"
        yield from (f"    # {change}" for change in changes)


def _entry(item: object, path: str, problems: list[Problem]) -> Entry:
    shape = Shape(item, path, problems)
    version = shape.text("version")
    if version and not _VERSION.match(version):
        shape.problem("version", "expected the 64 hex digits that `tocsin law changelog` shows")
    date = shape.date("date")
    if date is None:
        shape.problem("date", "missing")
    changes = []
    for where, inner in shape.items("changes"):
        change = Shape(inner, where, problems)
        changes.append(Change(change.text("what"), change.text("words"), change.texts("cases")))
        change.done()
    entry = Entry(version, date or dt.date.min, shape.text("title"), tuple(changes))
    shape.done()
    return entry
