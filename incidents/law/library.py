"""The law as one object: load the data files, check that they fit together, assess incidents."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from incidents.law.authorities import FILE as AUTHORITIES
from incidents.law.authorities import Directory
from incidents.law.calendars import FILE as CALENDARS
from incidents.law.calendars import Calendar, parse_calendars
from incidents.law.duties import Duty, DutyReader, inherit
from incidents.law.engine import evaluate
from incidents.law.errors import LawDataError, LawError, Problem, UnknownDutyError
from incidents.law.evaluation import Evaluation
from incidents.law.facts import Facts
from incidents.law.parsecache import recall, remember
from incidents.law.questions import Question, open_questions
from incidents.law.readings import Reading, readings
from incidents.law.vocabulary import DATA, Vocabulary
from incidents.law.vocabulary import FILE as DEFINITIONS
from incidents.law.yamlfile import read_yaml

DUTIES = "duties"
DISCLAIMER = "Not legal advice. Entries marked recalled were not checked against the text: counsel must confirm them."


@dataclass(frozen=True, slots=True, repr=False)
class Law:
    """All duties with what is needed to evaluate them.

    Attributes:
        version: hex SHA-256 over all data files; it changes with every edit.
        duties: by id, in the order of the files.
        vocabulary: the closed lists.
        calendars: working-day calendars by id.
        authorities: the authority directory.
    """

    version: str
    duties: Mapping[str, Duty]
    vocabulary: Vocabulary
    calendars: Mapping[str, Calendar]
    authorities: Directory

    def __repr__(self) -> str:
        return f"Law({self.version[:16]}, {len(self.duties)} duties)"

    @classmethod
    def load(cls, directory: Path | None = None, *, cache: Path | None = None) -> Law:
        """Read the law data.

        Args:
            directory: holds `duties/`, `definitions.yaml`, `calendars.yaml` and `authorities.yaml`; the
                data that ships with Tocsin when left out.
            cache: a directory for the parsed form, keyed by the digest of every file, so that it is
                never stale; without it the YAML is parsed each time (about a second).

        Returns:
            The law.

        Raises:
            LawDataError: a file, a duty or a field is wrong; every problem is named.
            LawError: a file cannot be read.
        """
        files = read_files(directory or DATA)
        version = data_version(files)
        documents = recall(cache, version) if cache else None
        if documents is None:
            documents = {name: read_yaml(raw, name) for name, raw in files.items()}
            if cache:
                remember(cache, version, documents)
        return cls.build(documents, version)

    @classmethod
    def parse(cls, files: Mapping[str, bytes]) -> Law:
        """Read the law data from memory.

        Args:
            files: relative path (`duties/us-ca.yaml`, `calendars.yaml`, ...) to content.

        Returns:
            The law.

        Raises:
            LawDataError: a file, a duty or a field is wrong; every problem is named.
        """
        return cls.build({name: read_yaml(raw, name) for name, raw in files.items()}, data_version(files))

    @classmethod
    def build(cls, documents: Mapping[str, Any], version: str) -> Law:
        """Build the law from parsed files.

        Args:
            documents: relative path to parsed content.
            version: digest over the files.

        Returns:
            The law.

        Raises:
            LawDataError: a file, a duty or a field is wrong; every problem is named.
        """
        for name in (DEFINITIONS, CALENDARS, AUTHORITIES):
            if name not in documents:
                raise LawDataError([Problem(name, "file missing")])
        vocabulary = Vocabulary.parse(documents[DEFINITIONS])
        calendars = parse_calendars(documents[CALENDARS])
        problems: list[Problem] = []
        authorities = Directory.parse(documents[AUTHORITIES], problems)
        reader = DutyReader(vocabulary, calendars, problems)
        found = [
            duty
            for name in sorted(documents)
            if name.startswith(f"{DUTIES}/")
            for duty in reader.read_file(documents[name], name)
        ]
        duties = _linked(found, problems)
        if problems:
            raise LawDataError(problems)
        return cls(version, duties, vocabulary, calendars, authorities)

    @property
    def elements(self) -> Mapping[str, str]:
        """Content element to its meaning in one line."""
        return self.vocabulary.content

    def duty(self, duty_id: str) -> Duty:
        """One duty.

        Raises:
            UnknownDutyError: no duty has this id.
        """
        found = self.duties.get(duty_id)
        if found is None:
            raise UnknownDutyError("no duty has this id; `tocsin law list` names them all")
        return found

    def facts(self, document: object) -> Facts:
        """Read facts with this law's vocabulary.

        Raises:
            LawFactsError: with every problem found.
        """
        return Facts.parse(document, self.vocabulary)

    def assess(self, facts: object, instant: dt.datetime | None = None) -> list[Evaluation]:
        """Evaluate every duty for one incident.

        Args:
            facts: a mapping as in SCHEMA.md, section 1, or `Facts`.
            instant: aware; only what had happened by then counts.

        Returns:
            Evaluations in the order of the duties.

        Raises:
            LawFactsError: the facts are malformed.
        """
        known = facts if isinstance(facts, Facts) else self.facts(facts)
        return evaluate(known, self.duties, self.calendars, instant)

    def readings(self, facts: object, instant: dt.datetime | None = None) -> list[Reading]:
        """Other readings of the limits that have a date: outer bounds and softer targets, as information.

        Args:
            facts: a mapping as in SCHEMA.md, section 1, or `Facts`.
            instant: aware; only what had happened by then counts.

        Returns:
            Readings that differ from the target; see `outer_bounds` for the latest of each limit.

        Raises:
            LawFactsError: the facts are malformed.
        """
        known = facts if isinstance(facts, Facts) else self.facts(facts)
        known = known.at(instant) if instant else known
        return readings(known, self.duties, self.calendars, evaluate(known, self.duties, self.calendars))

    def questions(self, facts: object) -> list[Question]:
        """What to find out next, the most useful question first.

        Args:
            facts: a mapping as in SCHEMA.md, section 1, or `Facts`.

        Returns:
            One question per missing fact; empty when nothing is undetermined.

        Raises:
            LawFactsError: the facts are malformed.
        """
        known = facts if isinstance(facts, Facts) else self.facts(facts)
        return open_questions(known, self.duties, self.calendars)


def read_files(directory: Path) -> dict[str, bytes]:
    """Read the files of the law data.

    Args:
        directory: root of the data.

    Returns:
        Relative path to content, for the files that decide (cases and pages are left out).

    Raises:
        LawError: a file is missing or cannot be read.
    """
    paths = [directory / name for name in (DEFINITIONS, CALENDARS, AUTHORITIES)]
    paths.extend(sorted((directory / DUTIES).glob("*.yaml")))
    try:
        return {path.relative_to(directory).as_posix(): path.read_bytes() for path in paths}
    except OSError as error:
        name = Path(error.filename).name if error.filename else "a file"
        raise LawError(
            f"{name}: cannot be read; the law data needs duties/, {DEFINITIONS}, {CALENDARS}, {AUTHORITIES}"
        ) from None


def data_version(files: Mapping[str, bytes]) -> str:
    """Digest over all data files.

    Args:
        files: relative path to content.

    Returns:
        Hex SHA-256 over the sorted lines `<sha256 of the file>  <path>`.
    """
    lines = (f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _linked(found: list[Duty], problems: list[Problem]) -> dict[str, Duty]:
    """Duties by id, with `extends` applied, after checking every relation between them."""
    duties: dict[str, Duty] = {}
    for duty in found:
        if duty.id in duties:
            problems.append(Problem(f"{duty.file} {duty.id} id", "used twice"))
        duties[duty.id] = duty
    asked = {duty.id: _asked(duty) for duty in found}
    for duty in found:
        problems.extend(Problem(f"{duty.file} {duty.id}", text) for text in _broken_relations(duty, duties, asked))
    extended = {duty.id: duty for duty in found if duty.extends in duties}
    return duties | {name: inherit(duty, duties[duty.extends or ""]) for name, duty in extended.items()}


def _broken_relations(duty: Duty, duties: Mapping[str, Duty], asked: Mapping[str, frozenset[str]]) -> Iterator[str]:
    for other in dict.fromkeys((*duty.related(), *asked[duty.id])):
        if other not in duties:
            yield f"names a duty that does not exist: {other}"
        elif other == duty.id:
            yield "names itself"
    if _circular(duty.id, asked):
        yield "duty_applies leads back to the duty itself"
    base = duties.get(duty.extends or "")
    if base is not None and base.extends:
        yield "extends a duty that itself extends one"


def _asked(duty: Duty) -> frozenset[str]:
    return frozenset(other for node in duty.nodes() for leaf in node.leaves() for other in leaf.duties)


def _circular(start: str, asked: Mapping[str, frozenset[str]]) -> bool:
    reached: set[str] = set()
    waiting = list(asked[start])
    while waiting:
        duty = waiting.pop()
        if duty == start:
            return True
        if duty not in reached:
            reached.add(duty)
            waiting.extend(asked.get(duty, ()))
    return False
