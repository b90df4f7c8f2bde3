"""The authority directory (`authorities.yaml`): where a notice goes and in which language, read strictly.

It covers the 30 EEA supervisory authorities and the authorities of the German Länder. Names, channels and
languages carry their own confidence: `recalled` ones are from memory and need a look at the official page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from incidents.law.errors import Problem
from incidents.law.places import COUNTRIES, is_place
from incidents.law.shape import Shape

FILE = "authorities.yaml"
_CONFIDENCES = ("verified", "recalled")
_GERMANY = "DE"


@dataclass(frozen=True, slots=True)
class Authority:
    """One supervisory authority.

    Attributes:
        code: ISO 3166-1 code of the country, or `DE-HE` for a German Land.
        name: as the authority calls itself.
        website: its address, None where the directory has none.
        portal: where a notice is filed, in words.
        channel: how a notice is filed, in words.
        languages: accepted languages (BCP 47); empty where the directory says nothing.
        confidence: `name`, `channel` and `language`, each `verified` or `recalled`.
        notes: what else is known.
    """

    code: str
    name: str
    website: str | None
    portal: str | None
    channel: str | None
    languages: tuple[str, ...]
    confidence: Mapping[str, str]
    notes: str

    def as_json(self) -> dict[str, Any]:
        """The authority as JSON values."""
        return {
            "code": self.code,
            "name": self.name,
            "website": self.website,
            "portal": self.portal,
            "channel": self.channel,
            "languages": list(self.languages),
            "confidence": dict(self.confidence),
            "notes": self.notes,
        }


@dataclass(frozen=True, slots=True)
class Directory:
    """All authorities.

    Attributes:
        as_of: month of the directory, `2026-09`; "" for an empty one.
        source: where it was collected.
        authorities: national ones first, then those of the Länder, in the order of the file.
        rules: per country, how to choose between its authorities.
    """

    as_of: str
    source: str
    authorities: tuple[Authority, ...]
    rules: Mapping[str, tuple[str, ...]]

    def of(self, code: str) -> tuple[Authority, ...]:
        """The authorities of a country and of the places inside it, or of one place.

        Args:
            code: `DE` gives the federal one and those of the Länder, `DE-HE` that of Hesse alone.
        """
        return tuple(item for item in self.authorities if item.code == code or item.code.startswith(f"{code}-"))

    @classmethod
    def parse(cls, document: object, problems: list[Problem]) -> Directory:
        """Read the content of `authorities.yaml`.

        Args:
            document: the parsed YAML; an empty mapping is an empty directory.
            problems: what is wrong goes here, each with its path.

        Returns:
            The directory; incomplete when there were problems.
        """
        shape = Shape(document, f"{FILE} ", problems)
        as_of = shape.text("as_of", required=False)
        source = shape.text("sources_note", required=False)
        found = [_national(Shape(item, path, problems)) for path, item in shape.items("eea")]
        rules: dict[str, tuple[str, ...]] = {}
        inner = shape.inner("germany")
        if inner is not None:
            confidence = inner.word("confidence", _CONFIDENCES)
            rules[_GERMANY] = (inner.text("rule"), *inner.texts("special"))
            found.extend(_land(Shape(item, path, problems), confidence) for path, item in inner.items("laender"))
            inner.done()
        shape.done()
        return cls(as_of, source, tuple(found), rules)


def _national(shape: Shape) -> Authority:
    code = shape.text("country")
    if code and code not in COUNTRIES:
        shape.problem("country", "not a country code (ISO 3166-1)")
    authority = Authority(
        code=code,
        name=shape.text("authority"),
        website=shape.optional_text("website"),
        portal=shape.optional_text("portal"),
        channel=shape.optional_text("channel"),
        languages=shape.texts("notice_languages"),
        confidence={kind: shape.word(f"{kind}_confidence", _CONFIDENCES) for kind in ("name", "channel", "language")},
        notes=shape.optional_text("notes") or "",
    )
    shape.done()
    return authority


def _land(shape: Shape, confidence: str) -> Authority:
    code = f"{_GERMANY}-{shape.text('land')}"
    if not is_place(code):
        shape.problem("land", "not the code of a German Land")
    authority = Authority(code, shape.text("authority"), None, None, None, (), {"name": confidence}, "")
    shape.done()
    return authority
