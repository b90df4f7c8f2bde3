"""The demo's tables: duties with their deadlines, and the balance of what was told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from incidents.views import DeadlineView, IncidentView
from ledger.encoding import format_time

DUTY_COLUMNS: Final = ("Until", "State", "In", "Tell", "Duty", "Where it is written")
BALANCE_COLUMNS: Final = ("Campaign", "Owed", "Handed over", "Delivered", "Failed", "Excluded", "Queued")

_SHORT: Final = {
    "no_fixed_time": "no date",
    "to_clarify": "to clarify",
    "individuals": "people",
    "attorney_general": "attorney gen.",
}
_UNTIL_WIDTH: Final = 18
_BOOK: Final = ("owed", "handed_over", "delivered", "failed", "excluded", "queued")


def duty_rows(view: IncidentView, lines: Iterable[DeadlineView]) -> list[tuple[str, ...]]:
    """One row per limit, in short words.

    Args:
        view: the incident, for where each duty belongs.
        lines: its limits, or some of them.
    """
    places = _places(view)
    return [
        (
            shorten(_until(line), _UNTIL_WIDTH),
            _SHORT.get(line.state, line.state),
            places.get(line.duty, ""),
            _SHORT.get(line.recipient_kind, line.recipient_kind.replace("_", " ")),
            line.title,
            line.provision,
        )
        for line in lines
    ]


def duties_json(view: IncidentView) -> list[dict[str, Any]]:
    """Every limit in full."""
    places = _places(view)
    return [
        {
            "duty": line.duty,
            "stage": line.stage,
            "title": line.title,
            "jurisdiction": places.get(line.duty, ""),
            "recipient_kind": line.recipient_kind,
            "recipient": line.recipient,
            "citation": line.citation,
            "provision": line.provision,
            "state": line.state,
            "due_utc": None if line.due is None else format_time(line.due),
            "last_day": line.last_day,
            "words": line.words,
            "confidence": line.confidence,
        }
        for line in view.deadlines
    ]


def _places(view: IncidentView) -> dict[str, str]:
    return {duty.duty: duty.jurisdictions[0] for duty in view.duties if duty.jurisdictions}


def shorten(text: str, width: int) -> str:
    """The text, cut with an ellipsis where it is longer than `width` characters."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _until(line: DeadlineView) -> str:
    if line.due_local is not None and line.last_day is None:
        return f"{line.due_local:%Y-%m-%d %H:%M}"
    return line.last_day or line.words


def totals(books: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """The columns of all books added up."""
    books = list(books)
    return {name: sum(int(book[name]) for book in books) for name in _BOOK}


def balance_rows(books: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """One row per campaign (without the incident's id before its name), and a last one with the sums."""
    named = [(str(book["campaign"]).split("-", 3)[-1], book) for book in books]
    return [(name, *(f"{book[column]:,}" for column in _BOOK)) for name, book in [*named, ("all", totals(books))]]


def told_by_channel(books: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Tellings that were handed over or delivered, by channel."""
    told: dict[str, int] = {}
    for book in books:
        for channel, row in book["by_channel"].items():
            count = row.get("handed_over", 0) + row.get("delivered", 0)
            if count:
                told[channel] = told.get(channel, 0) + count
    return dict(sorted(told.items()))


def not_told(books: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Tellings that failed or were excluded, by reason in words."""
    reasons: dict[str, int] = {}
    for book in books:
        for column in ("excluded_by_reason", "failed_by_reason"):
            for reason, count in book[column].items():
                words = reason.replace("_", " ")
                reasons[words] = reasons.get(words, 0) + count
    return dict(sorted(reasons.items()))
