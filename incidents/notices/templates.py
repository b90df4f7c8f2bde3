"""The texts of one language: read once, checked for shape, never executed.

A text is a Jinja2 template in a sandbox with strict slots: an unknown slot is an error that names file,
language and element, never an empty place in a letter. Per-person slots ([[name]]) are not Jinja's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

import yaml
from jinja2 import StrictUndefined, TemplateSyntaxError, UndefinedError
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from incidents.errors import TemplateError

LANGUAGES: Final = ("en", "es", "zh-Hans")

PARTS: Final = frozenset(
    {
        "language",
        "subjects",
        "greetings",
        "closings",
        "sections",
        "titles",
        "dates",
        "join",
        "elements",
        "defaults",
        "consequences",
        "advice",
        "sms",
        "push",
        "lint",
        "labels",
    }
)

_ENVIRONMENT: Final = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
# Plain text goes in and plain text comes out; the HTML of a notice is built from that text and escaped there.


@dataclass(frozen=True)
class Section:
    """A heading and the content elements that stand under it, in order."""

    heading: str
    elements: tuple[str, ...]


@dataclass(frozen=True)
class Texts:
    """Everything one language says."""

    language: str
    file: str
    parts: Mapping[str, Any]

    def fail(self, what: str, element: str = "") -> TemplateError:
        """The error for a place in this file."""
        where = f"{self.file} ({self.language})" + (f", element {element}" if element else "")
        return TemplateError(f"{where}: {what}", template=self.file, language=self.language, element=element)

    def sections(self, form: str) -> tuple[Section, ...]:
        """Headings and elements of a form; an unknown form is written as the standard one."""
        forms = self.parts["sections"]
        return tuple(Section(item["heading"], tuple(item["elements"])) for item in forms.get(form, forms["standard"]))

    def has_form(self, form: str) -> bool:
        """Whether this language has headings of its own for the form."""
        return form in self.parts["sections"]

    def variant(self, part: str, *names: str, element: str = "") -> str:
        """The text of a part for the first of `names` that has one, else for `all`.

        Raises:
            TemplateError: there is none.
        """
        held = self.parts[part] if not element else self.parts[part].get(element, {})
        for name in (*names, "all"):
            if name in held:
                return str(held[name])
        what = f"{part} has no text for {', '.join(names)}" if not element else "no paragraph for this element"
        raise self.fail(f"{what}; add one to the file.", element)

    def fill(self, text: str, slots: Mapping[str, Any], element: str = "") -> str:
        """Fill the incident's slots of a text.

        Raises:
            TemplateError: a slot has no value, or the text is not a valid template.
        """
        try:
            filled: str = _ENVIRONMENT.from_string(text).render(slots)
        except UndefinedError as error:
            raise self.fail(f"{error.message}; give a value for this slot or change the text.", element) from None
        except (TemplateSyntaxError, SecurityError) as error:
            raise self.fail(f"not a valid template: {error.message}.", element) from None
        return filled.strip()

    def label(self, category: str) -> str:
        """What a data category is called in this language.

        Raises:
            TemplateError: there is no label.
        """
        label = self.parts["labels"].get(category)
        if label is None:
            raise self.fail(f"no label for the data category {category}; add one.", "data_categories")
        return str(label)

    def listed(self, items: Iterable[str]) -> str:
        """A list in running text: "a, b and c"."""
        names = list(items)
        join = self.parts["join"]
        if len(names) < 2:  # noqa: PLR2004 - one name needs no joining
            return "".join(names)
        return str(join["separator"]).join(names[:-1]) + str(join["last"]) + names[-1]

    def ranked(self, part: str, categories: Iterable[str], slots: Mapping[str, Any]) -> str:
        """The rules of `consequences` or `advice` that hold, the most urgent first, as a list."""
        held = {*categories, "always"}
        element = {"consequences": "likely_consequences", "advice": "individual_measures"}[part]
        lines = [
            f"- {self.fill(rule['text'], slots, element)}" for rule in self.parts[part] if held & set(rule["when"])
        ]
        if part == "consequences" and len(lines) > 1:
            lines.pop()  # the last one is what is said when nothing more exact holds
        return "\n".join(lines)


def parse(text: str, file: str, language: str) -> Texts:
    """Read the content of a template file.

    Raises:
        TemplateError: not YAML, or a part is missing, unknown or of the wrong shape.
    """
    texts = Texts(language, file, {})
    try:
        parts = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        raise texts.fail(f"not valid YAML{line}.") from None
    _check_parts(texts, parts)
    return Texts(language, file, parts)


def _check_parts(texts: Texts, parts: Any) -> None:
    if not isinstance(parts, dict) or set(parts) != PARTS:
        missing = sorted(PARTS - set(parts)) if isinstance(parts, dict) else sorted(PARTS)
        raise texts.fail(f"the parts of the file are wrong; missing: {', '.join(missing) or 'none'}.")
    if parts["language"] != texts.language:
        raise texts.fail("the field `language` is not the language of the file name.")
    for name in ("sections", "elements", "labels", "subjects", "greetings", "closings", "defaults", "sms"):
        if not isinstance(parts[name], dict) or not parts[name]:
            raise texts.fail(f"the part {name} must be a mapping with at least one entry.")
    for element, variants in parts["elements"].items():
        if not isinstance(variants, dict) or not all(isinstance(item, str) and item for item in variants.values()):
            raise texts.fail("must be a mapping of audience to text.", element)
    if not {"standard", "child"} <= set(parts["sections"]):
        raise texts.fail("the part sections needs the forms standard and child.")
    _check_rules(texts, parts)


def _check_rules(texts: Texts, parts: dict[str, Any]) -> None:
    for name in ("consequences", "advice"):
        for rule in parts[name]:
            # An unquoted comma in a flow mapping cuts the text and leaves the rest as a stray key.
            if not isinstance(rule, dict) or set(rule) != {"when", "text"} or not isinstance(rule["text"], str):
                raise texts.fail(f"every rule of {name} needs exactly when and text; quote the text.")


@cache
def shipped(language: str) -> Texts:
    """The texts that come with Tocsin.

    Raises:
        TemplateError: there are none in that language.
    """
    file = f"{language}.yaml"
    if language not in LANGUAGES:
        raise TemplateError(
            f"There are no notice texts in this language; there are {', '.join(LANGUAGES)}.",
            template=file,
            language=language,
        )
    text = resources.files("incidents.notices").joinpath(file).read_text(encoding="utf-8")
    return parse(text, file, language)


def pick(wanted: str | None, available: Iterable[str] = LANGUAGES) -> str:
    """The language in which somebody is written to: RFC 4647 lookup, then the same primary language, then en."""
    by_tag = {tag.lower(): tag for tag in available}
    tag = (wanted or "").lower()
    while tag:
        if tag in by_tag:
            return by_tag[tag]
        tag = tag.rpartition("-")[0]
    primary = (wanted or "").lower().split("-")[0]
    for held in sorted(by_tag):
        if primary and held.split("-")[0] == primary:
            return by_tag[held]
    return by_tag.get("en") or by_tag[min(by_tag)]
