"""What is said, and to whom: the seam between the incident, which drafts, and the notifiers, which send.

A `Message` is one approved text in one language for one audience on one channel. It holds no personal
data: what differs from person to person stands in slots, written `[[name]]`, `[[reference]]` and
`[[child]]`, and is filled in at the moment of sending. The content hash is therefore the same for
everybody, and it is what an approver signs and what every dispatch receipt names.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal, get_args

from ledger.encoding import canonical
from notifiers.errors import MessageError, SlotError

Channel = Literal["email", "sms", "push", "letter", "voice", "public"]
Audience = Literal["person", "child", "guardian", "public"]
Mode = Literal["live", "drill"]

CHANNELS: Final[tuple[str, ...]] = get_args(Channel)
AUDIENCES: Final[tuple[str, ...]] = get_args(Audience)
MODES: Final[tuple[str, ...]] = get_args(Mode)

DEFAULT_LADDER: Final[tuple[Channel, ...]] = ("email", "sms", "push", "letter")
"""Cheapest confirmed channel first; the next one is taken when an address proves dead."""

SLOTS: Final = frozenset({"name", "reference", "child"})
SLOTS_OF_CHANNEL: Final[Mapping[str, frozenset[str]]] = {
    "email": SLOTS,
    "letter": SLOTS,
    "voice": SLOTS,
    "sms": SLOTS,
    "push": frozenset({"reference"}),  # shown on a locked screen: no personal data at all
    "public": frozenset(),
}

_SLOT = re.compile(r"\[\[([^\[\]]*)\]\]")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*", re.ASCII)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTROL_BUT_LINES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")

_EXERCISE: Final[Mapping[str, str]] = {
    "de": "ÜBUNG",
    "en": "EXERCISE",
    "es": "SIMULACRO",
    "fr": "EXERCICE",
    "ja": "訓練",
    "pt": "EXERCÍCIO",
    "zh": "演练",
}


@dataclass(frozen=True)
class Message:
    """One approved text.

    Attributes:
        channel: how it travels.
        language: BCP 47 tag, such as "en", "es" or "zh-Hans".
        audience: whom it addresses; "guardian" texts may name the child by `[[child]]`.
        subject: subject line, letter heading or page title; one line.
        text: plain text; paragraphs are divided by blank lines, list items start with "- ",
            headings with "# ". Line ends are LF.
        html: the same facts as HTML body content, for email and public pages; None where there is none.
    """

    channel: Channel
    language: str
    audience: Audience
    subject: str
    text: str
    html: str | None = None

    @cached_property
    def content_hash(self) -> str:
        """Hex SHA-256 of the canonical JSON of all six fields."""
        return hashlib.sha256(canonical(self.as_json())).hexdigest()

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON values, the form that is hashed and stored."""
        return {
            "audience": self.audience,
            "channel": self.channel,
            "html": self.html,
            "language": self.language,
            "subject": self.subject,
            "text": self.text,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Message:
        """The inverse of `as_json`.

        Raises:
            MessageError: a field is missing, unknown or of the wrong type.
        """
        try:
            message = cls(**value)
        except TypeError:
            raise MessageError(
                "A message needs exactly the fields audience, channel, html, language, subject, text."
            ) from None
        message.check()
        return message

    def check(self) -> None:
        """Refuse a message that could not be sent as written.

        Raises:
            MessageError: names the field, and the slot where a slot is the trouble.
        """
        self._check_labels()
        where = f"message {self.channel}/{self.audience}/{self.language}"
        if not self.text.strip():
            raise MessageError(f"{where}: text is empty; write it before it is approved.", field="/text")
        if self.channel in ("email", "letter", "push", "public") and not self.subject.strip():
            raise MessageError(f"{where}: subject is empty; this channel shows one.", field="/subject")
        if _CONTROL.search(self.subject):
            raise MessageError(f"{where}: subject holds a line break or control character.", field="/subject")
        for field, part in (("text", self.text), ("html", self.html or "")):
            if _CONTROL_BUT_LINES.search(part):
                raise MessageError(f"{where}: {field} holds a control character.", field=f"/{field}")
        self._check_slots(where)

    def _check_labels(self) -> None:
        for field in ("channel", "audience", "language", "subject", "text"):
            if not isinstance(getattr(self, field), str):
                raise MessageError(f"A message's {field} is not text.", field=f"/{field}")
        if self.channel not in CHANNELS:
            raise MessageError(f"A message's channel is none of {', '.join(CHANNELS)}.", field="/channel")
        if self.audience not in AUDIENCES:
            raise MessageError(f"A message's audience is none of {', '.join(AUDIENCES)}.", field="/audience")
        if _LANGUAGE.fullmatch(self.language) is None:
            raise MessageError("A message's language is not a BCP 47 tag such as en or zh-Hans.", field="/language")

    def _check_slots(self, where: str) -> None:
        allowed = SLOTS_OF_CHANNEL[self.channel]
        if self.audience != "guardian":
            allowed -= {"child"}
        for field, part in (("subject", self.subject), ("text", self.text), ("html", self.html or "")):
            for slot in slots_of(part):
                if slot not in allowed:
                    known = ", ".join(f"[[{name}]]" for name in sorted(allowed)) or "none"
                    shown = f"[[{slot}]]" if slot in SLOTS else "an unknown slot"
                    raise MessageError(
                        f"{where}: {field} uses {shown}, which cannot be filled here; allowed: {known}.",
                        field=f"/{field}",
                    )


@dataclass(frozen=True)
class Recipient:
    """One telling that is owed: this person's breach, told to this addressee.

    Attributes:
        person: vault reference of the person concerned.
        addressee: vault reference of who is told; the person, or a guardian.
        audience: which texts are meant, "person", "child" or "guardian".
        language: BCP 47 tag the addressee reads.
        ladder: channels in the order they are tried.
        reference: the case number the addressee can quote; not derived from personal data.
    """

    person: str
    addressee: str
    audience: Audience
    language: str
    ladder: tuple[Channel, ...] = DEFAULT_LADDER
    reference: str = ""


@dataclass(frozen=True)
class Sender:
    """The organisation as its customers know it; the same on every channel.

    Attributes:
        name: display name, used in From, letterhead and public pages.
        email: From address; its domain also names the Message-IDs.
        reply_to: staffed mailbox.
        phone: number that readers can also find independently.
        website: address readers are asked to type themselves; shown as text, never as a link.
        postal: letterhead lines.
        sms: alphanumeric or numeric originator of text messages.
    """

    name: str
    email: str
    reply_to: str = ""
    phone: str = ""
    website: str = ""
    postal: tuple[str, ...] = ()
    sms: str = ""

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {
            "email": self.email,
            "name": self.name,
            "phone": self.phone,
            "postal": list(self.postal),
            "reply_to": self.reply_to,
            "sms": self.sms,
            "website": self.website,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Sender:
        """The inverse of `as_json`.

        Raises:
            MessageError: a field is missing, unknown or of the wrong type.
        """
        try:
            sender = cls(**{**value, "postal": tuple(value.get("postal", ()))})
        except (TypeError, AttributeError):
            raise MessageError(
                "A sender needs name and email, and may have reply_to, phone, website, postal, sms."
            ) from None
        sender.check()
        return sender

    def check(self) -> None:
        """Refuse a sender that could not stand in a header.

        Raises:
            MessageError: names the field.
        """
        for field, value in self.as_json().items():
            for line in value if isinstance(value, list) else [value]:
                if not _is_line(line):
                    raise MessageError(f"sender {field} is not one line of text.", field=f"/sender/{field}")
        if not self.name.strip():
            raise MessageError("sender name is empty.", field="/sender/name")
        for field in ("email", "reply_to"):
            address = str(getattr(self, field))
            if (address or field == "email") and not is_email(address):
                raise MessageError(f"sender {field} is not an email address.", field=f"/sender/{field}")

    @property
    def domain(self) -> str:
        """Domain of the From address."""
        return self.email.rpartition("@")[2]


_EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?=.{1,253}\Z)[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*")


def is_email(address: str) -> bool:
    """Whether this is an ASCII addr-spec without quoting (RFC 5321 Mailbox, dot-string form)."""
    if _EMAIL.fullmatch(address) is None:
        return False
    local = address.rpartition("@")[0]
    return not (local.startswith(".") or local.endswith(".") or ".." in local)


def _is_line(value: object) -> bool:
    """Whether a value, which may come from a file, is text without line breaks and controls."""
    return isinstance(value, str) and _CONTROL.search(value) is None


def slots_of(template: str) -> list[str]:
    """Names of the slots in a template, in order, repeats included; unknown names too."""
    return _SLOT.findall(template)


def split_slots(template: str) -> tuple[list[str], list[str]]:
    """Cut a template at its slots: n + 1 literal pieces and n slot names, alternating."""
    parts = _SLOT.split(template)
    return parts[::2], parts[1::2]


def clean_slots(values: Mapping[str, str]) -> dict[str, str]:
    """Check the values that go into slots.

    Raises:
        SlotError: a value is not one line of valid Unicode text; it names the slot only. Line breaks and
            NUL are refused rather than stripped: in a header they would add headers of somebody else's
            choosing, and a silently altered name is no longer the person's name.
    """
    clean = {}
    for slot, value in values.items():
        if not _is_line(value):
            raise SlotError(f"The value for [[{slot}]] holds a line break or control character; correct the record.")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise SlotError(f"The value for [[{slot}]] is not valid Unicode; correct the record.") from None
        clean[slot] = value.strip()
    return clean


def fill(template: str, values: Mapping[str, str]) -> str:
    """Fill the slots of a checked template in one pass: slots inside values are not filled again."""
    return _SLOT.sub(lambda match: values[match[1]], template)


def exercise_mark(language: str) -> str:
    """The word that marks a drill in this language, such as "[EXERCISE]"."""
    return f"[{_EXERCISE.get(language.split('-', 1)[0].lower(), _EXERCISE['en'])}]"


def mark_exercise(message: Message) -> Message:
    """The same message, marked as an exercise in subject, text and HTML."""
    mark = exercise_mark(message.language)
    return Message(
        channel=message.channel,
        language=message.language,
        audience=message.audience,
        subject=f"{mark} {message.subject}".strip(),
        text=f"{mark} {message.text}",
        html=None if message.html is None else f"<p><strong>{mark}</strong></p>{message.html}",
    )


def choose(available: Mapping[str, Message], language: str) -> Message:
    """The message a reader of this language gets.

    The exact tag, else the tag shortened from the right (RFC 4647 section 3.4, lookup), else another
    variety of the same language, else English, else the first in order of the tags.
    """
    by_tag = {tag.lower(): message for tag, message in available.items()}
    wanted = language.lower()
    while wanted:
        if wanted in by_tag:
            return by_tag[wanted]
        wanted = wanted.rpartition("-")[0]
    primary = language.lower().split("-")[0]
    for tag in sorted(by_tag):
        if tag.split("-")[0] == primary:
            return by_tag[tag]
    return by_tag.get("en") or by_tag[min(by_tag)]
