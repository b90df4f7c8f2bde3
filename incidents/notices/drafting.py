"""A notice composed from the content elements that the law demands.

Pure: texts, slots and a plan in; messages and findings out. One notice goes to one audience in one language
in one form. It has the full text as e-mail and letter, and a text message and a push message that announce
it without saying what data it is about.
"""

from __future__ import annotations

import hashlib
import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import unified_diff
from typing import Any, Final

from incidents.notices.lint import Finding, lint
from incidents.notices.templates import Section, Texts
from ledger.encoding import canonical
from notifiers.messages import Audience, Message

BASE: Final = frozenset(
    {
        "nature_of_breach",
        "data_categories",
        "likely_consequences",
        "measures_taken",
        "individual_measures",
        "contact_point",
    }
)
"""What every notice says, whether or not a law asks for it."""

BY_FORM: Final = frozenset({"required_form", "notice_to_individuals"})
"""Elements that are not paragraphs: the form itself fulfils them."""

ORGANISATION: Final = ("name", "contact_name", "contact_email", "contact_phone", "contact_address", "website")
"""What must be known about the organisation before a notice can be drafted."""

NARRATIVE: Final = frozenset(
    {
        "what_happened",
        "measures_taken",
        "measures_planned",
        "cause",
        "how_discovered",
        "location",
        "affected_systems",
        "authorities_told",
        "reasons_for_delay",
        "services",
        "outlook",
    }
)
"""Slots whose text a person writes, per language."""

SMS_NAME: Final = 20


@dataclass(frozen=True)
class Plan:
    """What is to be drafted.

    Attributes:
        audience: person, child, guardian or public.
        language: one of `templates.LANGUAGES`.
        form: `standard`, `us`, `us-ca` or the code of a jurisdiction that prohibits some elements.
        jurisdictions: where the addressed people live.
        duties: ids of the duties this notice fulfils.
        demanded: content elements those duties ask for.
        prohibited: content elements they forbid.
        categories: data categories of the people this notice is about.
        categories_differ: whether not everybody's record held all of them.
    """

    audience: Audience
    language: str
    form: str = "standard"
    jurisdictions: tuple[str, ...] = ()
    duties: tuple[str, ...] = ()
    demanded: frozenset[str] = frozenset()
    prohibited: frozenset[str] = frozenset()
    categories: tuple[str, ...] = ()
    categories_differ: bool = False

    @property
    def id(self) -> str:
        """Such as `person-en` or `guardian-es-us-ca`."""
        form = "" if self.form == "standard" else f"-{self.form}"
        return f"{self.audience}-{self.language}{form}"


@dataclass(frozen=True)
class Draft:
    """A composed notice."""

    plan: Plan
    elements: tuple[str, ...]
    messages: tuple[Message, ...]
    findings: tuple[Finding, ...]

    @property
    def content_hash(self) -> str:
        """Hex SHA-256 over the canonical JSON of all messages."""
        return content_hash(self.messages)


def content_hash(messages: Iterable[Message]) -> str:
    """What an approver approves: SHA-256 (hex) over the canonical JSON of the messages, sorted by channel."""
    ordered = sorted(messages, key=lambda item: item.channel)
    return hashlib.sha256(canonical([item.as_json() for item in ordered])).hexdigest()


def date_text(texts: Texts, moment: datetime | None) -> str:
    """A local date as it is written in this language."""
    dates = texts.parts["dates"]
    if moment is None:
        return str(dates["unknown"])
    month = dates["months"][moment.month - 1]
    return str(dates["order"]).format(day=moment.day, month=month, year=moment.year)


def draft(plan: Plan, texts: Texts, slots: Mapping[str, Any]) -> Draft:
    """Compose one notice.

    Args:
        plan: what for.
        texts: the language's texts.
        slots: the incident's slots: `organisation`, `incident`, `sms_name`, the contact slots, dates as text,
            `affected_count`, `malicious`, `law_enforcement_hold`, and the narrative.

    Raises:
        TemplateError: a demanded element has no paragraph, or a slot has no value.
    """
    slots = {**texts.parts["defaults"], **slots}
    for name, value in slots.items():
        if isinstance(value, str) and "[[" in value:
            raise texts.fail(f"the value of the slot {name} holds [[, which is kept for per-person slots.")
    slots["data"] = texts.listed(texts.label(item) for item in plan.categories)
    slots["data_differs"] = plan.categories_differ
    slots["consequences"] = texts.ranked("consequences", plan.categories, slots)
    slots["advice"] = texts.ranked("advice", plan.categories, slots)
    sections = texts.sections("child" if plan.audience == "child" else plan.form)
    wanted = (BASE | plan.demanded) - plan.prohibited - BY_FORM
    known = {element for section in sections for element in section.elements}
    if plan.audience == "child":
        wanted &= known  # the guardian receives the full text; a child gets one it can understand
    for element in sorted(wanted - known):
        raise texts.fail(f"the law asks for it, but no section of the form {plan.form} has a place for it.", element)
    body, covered = _body(plan, texts, slots, sections, wanted)
    messages = _messages(plan, texts, slots, body)
    for message in messages:
        message.check()
    demanded = frozenset() if plan.audience == "child" else plan.demanded - plan.prohibited - BY_FORM
    prescribed = texts.has_form(plan.form) and plan.form != "standard" and plan.audience != "child"
    findings = lint(
        messages,
        texts,
        demanded=demanded,
        covered=covered,
        headings=[section.heading for section in sections] if prescribed else (),
        categories=plan.categories,
    )
    findings += [
        Finding("warning", "conflict", "", f"One law asks for {element}, another forbids it here; it was left out.")
        for element in sorted(plan.demanded & plan.prohibited)
    ]
    by_form = plan.demanded & BY_FORM
    return Draft(plan, tuple(sorted({*covered, *by_form})), tuple(messages), tuple(findings))


def _body(
    plan: Plan, texts: Texts, slots: Mapping[str, Any], sections: Sequence[Section], wanted: frozenset[str]
) -> tuple[str, list[str]]:
    region = ("us",) if plan.form.startswith("us") else ()
    blocks: list[str] = []
    covered: list[str] = []
    for section in sections:
        paragraphs: list[str] = []
        for element in section.elements:
            if element not in wanted:
                continue
            text = texts.variant("elements", plan.audience, *region, element=element)
            paragraph = texts.fill(text, slots, element)
            if paragraph not in paragraphs:  # two elements may be answered by the same sentence
                paragraphs.append(paragraph)
            covered.append(element)
        if paragraphs:
            blocks.append("\n\n".join([f"# {section.heading}", *paragraphs]))
    return "\n\n".join(blocks), covered


def _messages(plan: Plan, texts: Texts, slots: Mapping[str, Any], body: str) -> list[Message]:
    def part(name: str) -> str:
        return texts.fill(texts.variant(name, plan.audience), slots, name)

    title = texts.parts["titles"].get(plan.form) if plan.audience in ("person", "guardian") else None
    subject = part("subjects")
    head = [f"# {title}"] if title else []
    text = "\n\n".join([*head, part("greetings"), body, part("closings")])
    language, audience = plan.language, plan.audience
    if audience == "public":
        return [Message("public", language, audience, subject, text, to_html(text))]
    push = texts.parts["push"]
    return [
        Message("email", language, audience, subject, text, to_html(text)),
        Message("letter", language, audience, subject, text),
        Message(
            "push",
            language,
            audience,
            texts.fill(push["subject"], slots, "push"),
            texts.fill(push["text"], slots, "push"),
        ),
        Message("sms", language, audience, "", part("sms")),
    ]


def to_html(text: str) -> str:
    """The text as HTML body content: headings, lists and paragraphs, everything escaped, nothing to click."""
    blocks: list[str] = []
    for block in text.split("\n\n"):
        lines = [html.escape(line, quote=False) for line in block.split("\n")]
        if block.startswith("# "):
            blocks.append(f"<h2>{lines[0][2:]}</h2>")
        elif all(line.startswith("- ") for line in lines):
            items = "".join(f"<li>{line[2:]}</li>" for line in lines)
            blocks.append(f"<ul>{items}</ul>")
        else:
            blocks.append(f"<p>{'<br>'.join(lines)}</p>")
    return "\n".join(blocks)


def relint(plan: Plan, texts: Texts, messages: Sequence[Message], elements: Sequence[str]) -> tuple[Finding, ...]:
    """Lint messages that a person has edited; elements are those the composed text had."""
    sections = texts.sections(plan.form)
    prescribed = texts.has_form(plan.form) and plan.form != "standard" and plan.audience != "child"
    return tuple(
        lint(
            messages,
            texts,
            demanded=(),
            covered=elements,
            headings=[section.heading for section in sections] if prescribed else (),
            categories=plan.categories,
        )
    )


def differences(old: Sequence[Message], new: Sequence[Message]) -> list[str]:
    """Line-by-line difference of two versions over all channels, in unified form."""
    before = {item.channel: item for item in old}
    after = {item.channel: item for item in new}
    lines: list[str] = []
    for channel in sorted({*before, *after}):
        old_text, new_text = (_lines(held.get(channel)) for held in (before, after))
        lines += unified_diff(old_text, new_text, f"{channel} before", f"{channel} after", lineterm="")
    return lines


def _lines(message: Message | None) -> list[str]:
    return [] if message is None else [message.subject, "", *message.text.splitlines()]
