"""Letters: one PDF per notice, archival (PDF/A-2a) and accessible (PDF/UA-1), same bytes every time.

Typst sets them from `letter.typ`. The compiler is kept and fed by path: a fresh one scans all fonts again
and is some twenty-five times slower. What people are called and where they live goes in as JSON text,
which the template never evaluates.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import typst
from pylopdf_fonts_zh_cn import sans_path

from notifiers.errors import LetterError
from notifiers.messages import Sender

TEMPLATE: Final = Path(__file__).with_name("letter.typ")
STANDARDS: Final[list[typst.PDFStandard]] = ["a-2a", "ua-1"]
_PAGE = re.compile(rb"/Type\s*/Page\b")
_REGIONS: Final = {"hans": "cn", "hant": "tw"}


@dataclass(frozen=True)
class Letter:
    """One letter.

    Attributes:
        address: lines of the address field; the last may be an ISO 3166-1 country code.
        subject: heading.
        text: body, see `paragraphs`.
        language: BCP 47 tag.
        reference: case number.
        date: date of the letter; also the time stamp inside the file.
    """

    address: Sequence[str]
    subject: str
    text: str
    language: str
    reference: str
    date: datetime


class Typesetter:
    """Sets letters of one sender; may be called from several threads."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._lock = threading.Lock()
        self._compiler = typst.Compiler(
            str(TEMPLATE),
            root=str(TEMPLATE.parent),
            font_paths=[str(sans_path().parent)],
            ignore_system_fonts=True,  # the same bytes on every machine
        )

    def render(self, letter: Letter) -> tuple[bytes, int]:
        """The PDF and its number of pages.

        Raises:
            LetterError: the typesetter refused, for instance because no font has a character.
        """
        data = json.dumps(self._data(letter), ensure_ascii=False)
        try:
            with self._lock:
                pdf = self._compiler.compile(
                    sys_inputs={"letter": data},
                    format="pdf",
                    pdf_standards=STANDARDS,
                    timestamp=int(letter.date.timestamp()),
                )
        except typst.TypstError as error:
            # Its words may quote the letter, so they are not repeated.
            raise LetterError(
                "The letter could not be set as PDF/A and PDF/UA; most often a character is in none of the "
                "shipped fonts. Add a font, or tell this addressee another way."
            ) from error
        if not isinstance(pdf, bytes):
            raise LetterError("The typesetter returned no PDF.")
        return pdf, len(_PAGE.findall(pdf))

    def _data(self, letter: Letter) -> dict[str, Any]:
        parts = letter.language.split("-")
        region = next((part.lower() for part in parts[1:] if len(part) == 2), None)  # noqa: PLR2004  # ISO 3166-1
        script = next((_REGIONS[part.lower()] for part in parts[1:] if part.lower() in _REGIONS), None)
        sender = self._sender
        return {
            "address": list(letter.address),
            "body": paragraphs(letter.text),
            "date": f"{letter.date:%Y-%m-%d}",
            "lang": parts[0].lower(),
            "reference": letter.reference,
            "region": region or script,
            "sender": {
                "contact": [line for line in (sender.phone, sender.website, sender.reply_to) if line],
                "name": sender.name,
                "postal": list(sender.postal),
            },
            "subject": letter.subject,
        }


def paragraphs(text: str) -> list[dict[str, Any]]:
    """Read the light markup of a message's text.

    Blank lines divide paragraphs; a line starting "# " is a heading; lines starting "- " are list items.
    """
    parts: list[dict[str, Any]] = []
    lines: list[str] = []
    items: list[str] = []

    def flush() -> None:
        if items:
            parts.append({"kind": "list", "items": items.copy()})
            items.clear()
        if lines:
            parts.append({"kind": "par", "lines": lines.copy()})
            lines.clear()

    for line in [*text.splitlines(), ""]:
        stripped = line.strip()
        if stripped.startswith("- "):
            if lines:
                flush()
            items.append(stripped[2:])
            continue
        if items or not stripped or stripped.startswith("#"):
            flush()
        if stripped.startswith("#"):
            parts.append({"kind": "heading", "text": stripped.lstrip("#").strip()})
        elif stripped:
            lines.append(stripped)
    return parts
