"""The words in which an incident is shown, the same on a terminal, a page and in a report. Pure.

One state, one phase, one kind of value has one wording; whoever shows incidents takes it from here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

EXERCISE_BANNER: Final = "EXERCISE. This is a drill: nothing here happened, and nobody outside is told."
"""Stands on everything that shows an incident with the status Exercise."""

ERASED: Final = "erased"
"""Stands for the name of somebody whose identity the vault no longer has."""

PHASES: Final[Mapping[str, str]] = {
    "detect_and_report": "Detect and report",
    "assess_and_decide": "Assess and decide",
    "respond": "Respond",
    "learn_lessons": "Learn lessons",
}
"""Phases of ISO/IEC 27035-1 in their order."""

STATES: Final[Mapping[str, str]] = {
    "running": "Running",
    "met": "Met",
    "missed": "Missed",
    "paused": "On hold",
    "no_fixed_time": "Without delay",
    "waiting": "Not started",
    "to_clarify": "Undetermined",
}
"""States of a limit, `incidents.clocks.deadlines.STATES`."""

_NO_TIME: Final[Mapping[str, str]] = {
    "due_without_fixed_time": "no number in the law",
    "due_relative": "relative to another notice",
    "delayed": "on hold",
    "undetermined": "undetermined",
}
_SAYS_NOTHING: Final = frozenset({"fixed", "fixed date", "none", "not stated"})
"""Words of the law data that only say whether there is a number, which the reader sees."""

_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86400
_HOURS_READABLE: Final = 96 * _HOUR

_ACT = re.compile(r"(?:Regulation|Directive) (?:\(EU\) )?[0-9/]+ \(([^()]+)\)")
"""An act of the European Union with its short name."""
_ASIDE = re.compile(r"\s+\([^()]*\)")
_PLACE = re.compile(r"[a-z]|Act |Annex|Art|Chapter|Part|Sec")
"""How a place within an act begins; anything else is the name of a code, such as `Cal. Civ. Code`."""


def count(number: int, one: str, many: str) -> str:
    """A number with the noun that fits it."""
    return f"{number:,} {one if number == 1 else many}"


def amount(seconds: int) -> str:
    """A span in words: hours up to four days, since that is how the law counts; then days and hours."""
    if seconds < _HOUR:
        return _counted(seconds // _MINUTE, "minute")
    if seconds < _HOURS_READABLE:
        return _counted(seconds // _HOUR, "hour")
    days, rest = divmod(seconds, _DAY)
    return _counted(days, "day") + (f" {_counted(rest // _HOUR, 'hour')}" if rest >= _HOUR else "")


def _counted(number: int, noun: str) -> str:
    return count(number, noun, f"{noun}s")


def left(seconds: int | None) -> str:
    """What remains until a limit, in words; "" where there is no limit."""
    if seconds is None:
        return ""
    return f"{amount(seconds)} left" if seconds >= 0 else f"{amount(-seconds)} over"


def value(held: Any) -> str:
    """A fact's value as a person reads it."""
    if held is None:
        return "not known"
    if isinstance(held, bool):
        return "yes" if held else "no"
    if isinstance(held, str):
        return held
    if isinstance(held, Mapping):
        return _pairs(held)
    if isinstance(held, Sequence):
        return "; ".join(value(item) for item in held) or "none"
    return f"{held:,}" if isinstance(held, int) else str(held)


def _pairs(held: Mapping[str, Any]) -> str:
    """A mapping in words; people by place, the one that every incident has, as `ES 812 (9 under 18)`."""
    if not {"jurisdiction", "count"} <= held.keys():
        return ", ".join(f"{key}: {value(item)}" for key, item in held.items())
    minors = held.get("minors")
    young = minors.get("under_18", 0) if isinstance(minors, Mapping) else 0
    return f"{held['jurisdiction']} {value(held['count'])}" + (f" ({value(young)} under 18)" if young else "")


def balance(book: Mapping[str, Any]) -> str:
    """The columns of a campaign's balance: `owed 3, queued 0, ...`."""
    names = ("owed", "queued", "handed_over", "delivered", "failed", "excluded")
    return ", ".join(f"{label(name)} {book[name]:,}" for name in names if name in book)


def label(name: str) -> str:
    """`data_categories` as `data categories`; a dotted path keeps only its spaces."""
    return name.replace("_", " ").replace(".", ": ")


def provision(law: str, citation: str) -> str:
    """Law and place in it, short enough for a table: `GDPR Art 33(1)`.

    The long form (all articles, recitals, amendments) stays in the duty itself. An act of the European
    Union is named by its short name; a citation that names a code is not given the act's title as well.

    Args:
        law: such as `Regulation (EU) 2016/679 (GDPR)`.
        citation: such as `Art 33(1), (3); recitals 85, 87, 88`.
    """
    act = _ACT.match(law)
    name = act[1] if act else law.split(";", maxsplit=1)[0].strip()
    place = _ASIDE.sub("", _until_separator(citation)).strip()
    if not any(character.isdigit() for character in place):
        return name
    return f"{name} {place}" if _PLACE.match(place) else place


def _until_separator(citation: str) -> str:
    """The first provision of a citation: up to a comma or semicolon outside parentheses."""
    depth = 0
    for position, character in enumerate(citation):
        depth += (character == "(") - (character == ")")
        if character == ";" or (character == "," and not depth):
            return citation[:position]
    return citation


def limit_words(result: str, said: str, missing: Iterable[str]) -> str:
    """What stands where a limit has no instant, or beside the instant: the law's own words for it.

    Args:
        result: result of the law engine.
        said: the words of the law data, such as `without undue delay`.
        missing: fact paths that would decide; for a limit that has not started, the clocks it waits for.
    """
    if result == "not_started":
        clocks = [path.removeprefix("clocks.").replace("_", " ") for path in missing if path.startswith("clocks.")]
        return f"not started: waits for {' or '.join(clocks) or 'the event that starts it'}"
    words = ", ".join(word for word in said.split(", ") if word and word not in _SAYS_NOTHING)
    return words or _NO_TIME.get(result, "")
