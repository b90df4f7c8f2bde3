"""The linter of the law data: what the loader accepts and a careful reader would still send back.

The loader already refuses unknown words, broken relations and dates that are none. The linter looks for
what is formally right and still wrong: a citation that names no provision, a verified entry without a
source, a date that is a placeholder, a relation that contradicts itself, a version without a changelog
entry, a case about a duty that does not exist.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from incidents.law.cases import Case, read_cases
from incidents.law.changelog import Entry, read_changelog
from incidents.law.duties import Duty
from incidents.law.errors import Problem
from incidents.law.library import Law
from incidents.law.terms import read_terms
from incidents.law.vocabulary import DATA

EARLIEST, LATEST = dt.date(1970, 1, 1), dt.date(2035, 12, 31)
"""No breach duty is older; none is enacted for later. Outside lies a placeholder or a slip."""

_ADDRESS = re.compile(r"https?://[^\s]+$")
_PLACEHOLDER = re.compile(r"\b(?:todo|tbd|fixme|xxx|lorem)\b|9999-12-31", re.IGNORECASE)
_OWING = ("in_force", "enacted", "superseded")


def lint(law: Law, directory: Path | None = None) -> list[Problem]:
    """Check the law data beyond what the loader refuses.

    Args:
        law: the law, as loaded from the directory.
        directory: where its files are; the data that ships with Tocsin when left out.

    Returns:
        What should be corrected, each with file, duty and field; empty when there is nothing.

    Raises:
        LawDataError: `meanings.yaml` or `changelog.yaml` is malformed.
        CaseFileError: a case file is malformed.
    """
    root = directory or DATA
    cases = [case for path in sorted((root / "cases").glob("*.yaml")) for case in read_cases(path)]
    read_terms(law.vocabulary, root)
    return [
        *(Problem(f"{duty.file} {duty.id} {field}", text) for duty in law.duties.values() for field, text in _of(duty)),
        *_relations(law),
        *_cases(law, cases),
        *_changelog(law, read_changelog(root), {case.id for case in cases}),
    ]


def _of(duty: Duty) -> Iterator[tuple[str, str]]:
    """Problems of one duty by itself, as (field, text)."""
    for field in ("title", "law", *(() if duty.status == "no_duty" else ("citation",))):
        if not any(letter.isalnum() for letter in getattr(duty, field)):
            yield field, "says nothing"
    if not duty.sources and (duty.confidence, duty.evidence) != ("recalled", "none"):
        yield "sources", "an entry without a source must be recalled, with evidence none"
    if duty.confidence == "verified" and duty.evidence == "none":
        yield "evidence", "verified, but no evidence"
    if not duty.obliged and duty.status != "no_duty":
        yield "obliged", "nobody is obliged"
    for position, source in enumerate(duty.sources):
        if source.address is not None and not _ADDRESS.match(source.address):
            yield f"sources[{position}].address", "not a web address"
    yield from _dates(duty)
    yield from _words(duty)


def _dates(duty: Duty) -> Iterator[tuple[str, str]]:
    for field in ("effective_from", "effective_to"):
        day = getattr(duty, field)
        if day is not None and not EARLIEST <= day <= LATEST:
            yield field, f"not between {EARLIEST} and {LATEST}"
    if duty.status == "proposal" and duty.effective_to is not None:
        yield "effective_to", "a proposal has no end"
    if duty.status == "in_force" and duty.effective_to is not None and duty.effective_from is None:
        yield "effective_from", "an end without a start"


def _words(duty: Duty) -> Iterator[tuple[str, str]]:
    texts = {
        "trigger": duty.trigger, "notes": duty.notes, "citation": duty.citation, "title": duty.title,
        "recipient.name": duty.recipient.name, "content_detail": "; ".join(duty.content_detail),
    }  # fmt: skip
    for field, text in texts.items():
        if text and _PLACEHOLDER.search(text):
            yield field, "holds a placeholder"
    for field in ("content", "channels", "obliged", "jurisdictions", "content_prohibited"):
        listed: Sequence[str] = getattr(duty, field)
        if len(set(listed)) != len(listed):
            yield field, "something is listed twice"
    if set(duty.content) & set(duty.content_prohibited):
        yield "content_prohibited", "an element is demanded and prohibited"


def _relations(law: Law) -> Iterator[Problem]:
    for duty in law.duties.values():
        path = f"{duty.file} {duty.id}"
        for other in duty.displaces:
            if duty.id in law.duties[other].displaces:
                yield Problem(f"{path} displaces", f"displaces {other}, which displaces it")
        merged = law.duties.get(duty.merged_into or "")
        if merged is not None and merged.merged_into:
            yield Problem(f"{path} merged_into", "merged into a duty that is itself merged")
        asked = {other for leaf in duty.when.leaves() for other in leaf.duties}
        for other in sorted(asked.difference(duty.triggered_by)):
            yield Problem(f"{path} triggered_by", f"when asks for {other}, triggered_by does not name it")
        for stage in duty.stages:
            anchor = law.duties.get(stage.deadline.to)
            if anchor is not None and anchor.status not in _OWING:
                yield Problem(f"{path} stages.{stage.name}", f"relative to {anchor.id}, which is never owed")


def _cases(law: Law, cases: Collection[Case]) -> Iterator[Problem]:
    seen: set[str] = set()
    for case in cases:
        if case.id in seen:
            yield Problem(f"case {case.id}", "the id is used twice")
        seen.add(case.id)
        named = (*(expectation.duty for expectation in case.expected), *case.not_expected)
        for duty in sorted(set(named).difference(law.duties)):
            yield Problem(f"case {case.id}", f"names a duty that does not exist: {duty}")


def _changelog(law: Law, entries: Sequence[Entry], cases: Collection[str]) -> Iterator[Problem]:
    if not entries:
        yield Problem("changelog.yaml", "no entry; `tocsin law changelog --since OLD` drafts one")
    elif entries[0].version != law.version:
        yield Problem("changelog.yaml", f"the newest entry is not about this version of the data, {law.version}")
    for entry in entries:
        for change in entry.changes:
            for case in sorted(set(change.cases).difference(cases)):
                yield Problem(f"changelog.yaml {entry.version[:16]} {change.what}", f"names no worked case: {case}")
