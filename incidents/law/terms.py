"""What the words of the law data mean, one line each (`meanings.yaml`, and the content elements)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from incidents.law.errors import LawDataError, Problem
from incidents.law.shape import Shape
from incidents.law.vocabulary import DATA, Vocabulary
from incidents.law.yamlfile import read_yaml_file

FILE = "meanings.yaml"
CONTENT = "content"
RISK = "risk_scale"
EXPLAINED = (
    RISK, "roles", "breach_types", "media", "nexus_kinds", "data_categories", "legal_classes", "entity_kinds",
    "conditions", "numbers", "clocks", CONTENT,
)  # fmt: skip
"""Lists in which every word has a meaning; in the others a word may speak for itself."""


@dataclass(frozen=True, slots=True)
class Term:
    """One word of a closed list.

    Attributes:
        vocabulary: the list, for example `data_categories`.
        word: as facts and duties write it.
        meaning: in one line; "" where the word says it all.
    """

    vocabulary: str
    word: str
    meaning: str


def read_terms(vocabulary: Vocabulary, directory: Path | None = None) -> tuple[Term, ...]:
    """Every word of the closed lists with its meaning.

    Args:
        vocabulary: the closed lists.
        directory: holds `meanings.yaml`; the data that ships with Tocsin when left out. Other law data
            need not have the file.

    Returns:
        Terms, list by list.

    Raises:
        LawDataError: the file explains a word that does not exist, or leaves out one that needs it.
        LawError: the file cannot be read.
    """
    path = (directory or DATA) / FILE
    if not path.exists():
        return tuple(Term(name, word, said) for name, words in _lists(vocabulary) for word, said in words.items())
    problems: list[Problem] = []
    found = parse_terms(vocabulary, read_yaml_file(path), problems)
    if problems:
        raise LawDataError(problems)
    return found


def parse_terms(vocabulary: Vocabulary, document: object, problems: list[Problem]) -> tuple[Term, ...]:
    """Read the content of `meanings.yaml`.

    Args:
        vocabulary: the closed lists.
        document: the parsed YAML.
        problems: what is wrong goes here, each with its path.
    """
    shape = Shape(document, f"{FILE} ", problems)
    found: list[Term] = []
    for name, words in _lists(vocabulary):
        inner = shape.inner(name)
        for word, said in words.items():
            meaning = inner.text(word) if inner and inner.has(word) else said
            if not meaning and name in EXPLAINED:
                shape.problem(f"{name}.{word}", "no meaning is given")
            found.append(Term(name, word, meaning))
        if inner:
            inner.done()
    shape.done()
    return tuple(found)


def _lists(vocabulary: Vocabulary) -> list[tuple[str, Mapping[str, str]]]:
    """The closed lists, each word with the meaning that `definitions.yaml` itself gives."""
    plain = [(name, dict.fromkeys(sorted(words), "")) for name, words in vocabulary.words.items()]
    return [(RISK, dict.fromkeys(vocabulary.risk_scale, "")), *plain, (CONTENT, vocabulary.content)]
