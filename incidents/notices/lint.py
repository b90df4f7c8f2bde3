"""What is wrong with a notice before anybody approves it.

Errors stop the approval; warnings are shown to the approver and stored with the draft. The rules follow
what studies of real notices found (hedging, buried advice, long sentences) and what swindlers imitate
(links, attachments, urgency).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from incidents.notices.sms import is_gsm, segments
from incidents.notices.templates import Texts
from notifiers.messages import Message

Severity = Literal["error", "warning"]

SAMPLE: Final = {"[[reference]]": "INC-2026-0001-ABCD2345", "[[name]]": "N" * 20, "[[child]]": "N" * 20}
"""Stand-ins of usual length for the per-person slots when a text message is measured."""

MAX_SEGMENTS: Final = 3

_LINK = re.compile(r"https?://|<a\b|\bwww\.\S+/\S", re.IGNORECASE)
_SENTENCE = re.compile(r"(?<=[.!?。！？])\s*")  # noqa: RUF001 - full-width marks end Chinese sentences
_SPEAKING: Final = frozenset({"name"})  # too common a word to search for


@dataclass(frozen=True)
class Finding:
    """One finding: `channel` is "" when it is about the notice as a whole."""

    severity: Severity
    code: str
    channel: str
    message: str

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {
            "channel": self.channel,
            "code": self.code,
            "message": self.message,
            "severity": self.severity,
        }


def lint(
    messages: Sequence[Message],
    texts: Texts,
    *,
    demanded: Iterable[str],
    covered: Iterable[str],
    headings: Sequence[str],
    categories: Iterable[str],
) -> list[Finding]:
    """Check the messages of one notice.

    Args:
        messages: the notice on each channel.
        texts: the language's texts, for its word lists and labels.
        demanded: content elements the law asks for.
        covered: content elements that the notice has.
        headings: headings that must stand in this order in the full text; empty for no such rule.
        categories: data categories that must not show in a push or text message.
    """
    findings = [
        Finding("error", "missing_element", "", f"The law asks for {element}, and the notice does not have it.")
        for element in sorted(set(demanded) - set(covered))
    ]
    for message in messages:
        findings += _links(message)
        if message.channel in ("sms", "push"):
            findings += _short(message, texts, categories)
        else:
            findings += _words(message, texts)
            findings += _headings(message, headings)
    return findings


def _links(message: Message) -> list[Finding]:
    if _LINK.search("\n".join((message.subject, message.text, message.html or ""))):
        what = "A link to click makes the notice look like a fraud; name the address as plain text to type."
        return [Finding("error", "link", message.channel, what)]
    return []


def _short(message: Message, texts: Texts, categories: Iterable[str]) -> list[Finding]:
    found: list[Finding] = []
    shown = f"{message.subject} {message.text}".lower()
    for category in sorted(set(categories) - _SPEAKING):
        label = texts.parts["labels"].get(category)
        if label is not None and str(label).lower() in shown:
            what = "A short message shows on a locked screen; do not name the kind of data in it."
            found.append(Finding("error", "data_in_short", message.channel, what))
            break
    if message.channel == "sms":
        text = message.text
        for slot, sample in SAMPLE.items():
            text = text.replace(slot, sample)
        count = segments(text)
        if count > MAX_SEGMENTS:
            what = f"The text message takes {count} segments; shorten it to at most {MAX_SEGMENTS}."
            found.append(Finding("error", "sms_long", "sms", what))
        elif count > 1:
            kind = "160 characters" if is_gsm(text) else "70 characters (it is outside the GSM alphabet)"
            found.append(
                Finding("warning", "sms_segments", "sms", f"The text message takes {count} segments of {kind}.")
            )
    return found


def _words(message: Message, texts: Texts) -> list[Finding]:
    rules = texts.parts["lint"]
    lower = message.text.lower()
    found = [
        Finding("warning", "hedging", message.channel, f"Hedging: “{words}”. Say what is known and what is not.")
        for words in rules["hedges"]
        if words in lower
    ]
    found += [
        Finding("warning", "phishing_look", message.channel, f"“{words}” is what swindlers write; say it otherwise.")
        for words in rules["phishing"]
        if re.search(rf"(?<!\w){re.escape(words)}", lower)
    ]
    long = _long_sentences(message.text, rules)
    if long:
        what = f"{long} sentence(s) are too long to read under stress; divide them."
        found.append(Finding("warning", "long_sentence", message.channel, what))
    return found


def _long_sentences(text: str, rules: dict[str, Any]) -> int:
    sentences = [part for line in text.splitlines() for part in _SENTENCE.split(line) if part.strip()]
    if "characters_per_sentence" in rules:
        return sum(_characters(item) > rules["characters_per_sentence"] for item in sentences)
    return sum(len(item.split()) > rules["words_per_sentence"] for item in sentences)


def _characters(sentence: str) -> int:
    """Characters as a reader of Chinese counts them: a number or a Latin word is one."""
    return len(re.findall(r"[A-Za-z0-9+.@-]+|[^\sA-Za-z0-9+.@-]", sentence))


def _headings(message: Message, headings: Sequence[str]) -> list[Finding]:
    place = 0
    for heading in headings:
        where = message.text.find(f"# {heading}", place)
        if where < 0:
            what = f"The law prescribes the heading “{heading}” in this order; it is missing or out of order."
            return [Finding("error", "missing_heading", message.channel, what)]
        place = where + 1
    return []
