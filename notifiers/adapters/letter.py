"""Letters into a folder, for a print shop: one PDF each and a manifest.

File names are the steps' ids and the bytes are the same on every repeat, so a letter that is written again
after a crash replaces itself: the print shop sees it once.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ledger.encoding import canonical, parse
from ledger.errors import InputError
from notifiers.adapters import UNREACHABLE, Capabilities, Outcome, Outgoing
from notifiers.errors import LetterError
from notifiers.files import write_atomically
from notifiers.letters import Letter, Typesetter
from notifiers.messages import Channel, Sender

MANIFEST: Final = "manifest.json"
_BATCH: Final = 25
_COUNTRY: Final = 2


@dataclass(eq=False)
class LetterAdapter:
    """Writes letters into `folder`/<campaign>/.

    Attributes:
        folder: made when it is missing.
        sender: letterhead.
        rate: letters per second the print shop takes; None is unlimited.
    """

    folder: Path
    sender: Sender
    rate: float | None = None
    channel: Channel = "letter"
    _typesetter: Typesetter | None = field(default=None, repr=False)

    @property
    def provider(self) -> str:
        """Name in receipts and pacing."""
        return "letters:folder"

    @property
    def capabilities(self) -> Capabilities:
        """Batches, one at a time: typesetting uses one core."""
        return Capabilities(batch=_BATCH, concurrency=1, rate=self.rate, deduplicates=True)

    async def send(self, batch: Sequence[Outgoing]) -> Sequence[Outcome]:
        """Set and write the letters, then the manifest; a letter counts once the manifest names it."""
        return await asyncio.to_thread(self._write, batch)

    async def close(self) -> None:
        """Forget the typesetter and its fonts."""
        self._typesetter = None

    def _write(self, batch: Sequence[Outgoing]) -> list[Outcome]:
        if self._typesetter is None:
            self._typesetter = Typesetter(self.sender)
        outcomes: list[Outcome] = []
        listed: dict[str, dict[str, dict[str, Any]]] = {}
        try:
            for message in batch:
                outcome, line = self._write_one(self._typesetter, message)
                outcomes.append(outcome)
                if line is not None:
                    listed.setdefault(message.campaign, {})[message.id] = line
            for campaign, lines in listed.items():
                add_to_manifest(self.folder / campaign, lines)
        except OSError as error:
            # Nothing on this disk is certain now; every letter of the batch is written again later.
            return [Outcome("transient", UNREACHABLE, type(error).__name__) for _ in batch]
        except LetterError:
            return [Outcome("ours", "manifest_damaged") for _ in batch]
        return outcomes

    def _write_one(self, typesetter: Typesetter, message: Outgoing) -> tuple[Outcome, dict[str, Any] | None]:
        if isinstance(message.address, str) or not message.address:
            return Outcome("address", "bad_address"), None
        letter = Letter(
            address=message.address,
            subject=message.subject,
            text=message.content.decode(),
            language=message.language,
            reference=message.reference,
            date=message.date,
        )
        try:
            pdf, pages = typesetter.render(letter)
        except LetterError:
            return Outcome("address", "not_printable"), None
        digest = hashlib.sha256(pdf).hexdigest()
        write_atomically(self.folder / message.campaign / f"{message.id}.pdf", pdf)
        last = message.address[-1]
        country = last if len(last) == _COUNTRY and last.isascii() and last.isupper() else ""
        line = {
            "country": country,
            "file": f"{message.id}.pdf",
            "pages": pages,
            "reference": message.reference,
            "sha256": digest,
        }
        return Outcome("handed_over", "", f"{message.id}.pdf, {pages} pages", digest), line


def add_to_manifest(folder: Path, lines: Mapping[str, Mapping[str, Any]]) -> None:
    """Add letters to the folder's manifest, replacing the lines of letters written again.

    Raises:
        LetterError: the manifest that is there was damaged or made by something else.
        OSError: the disk refused.
    """
    path = folder / MANIFEST
    known: dict[str, Any] = {}
    if path.exists():
        try:
            known = {line["file"].removesuffix(".pdf"): line for line in parse(path.read_bytes())["letters"]}
        except (InputError, KeyError, TypeError, AttributeError):
            raise LetterError(f"{MANIFEST} in the letters folder is damaged; move it away and run again.") from None
    known.update(lines)
    ordered = [known[name] for name in sorted(known)]
    write_atomically(path, canonical({"letters": ordered, "version": 1}))
