"""What an incident remembers: notices and their versions, scopes, assessments, campaigns, tellings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Literal, get_args

from ledger.encoding import parse_time

Status = Literal["Actual", "Exercise"]
"""Whether an incident happened, in the words of OASIS CAP 1.2 (3.2.1, `status`)."""

STATUSES: Final[tuple[str, ...]] = get_args(Status)

_DECISION: Final[Mapping[str, Any]] = {
    "stage": "",
    "due_utc": None,
    "last_day": None,
    "anchor": None,
    "why": (),
    "missing": (),
    "title": "",
    "law": "",
    "citation": "",
    "jurisdictions": (),
    "recipient_kind": "",
    "recipient": "",
    "confidence": "recalled",
    "zone": "",
    "words": "",
}
_SUMMARY: Final[Mapping[str, Any]] = {
    "advice": "",
    "by_confidence": {},
    "by_jurisdiction": {},
    "by_language": {},
    "data_categories": (),
    "entries": (),
    "under_14": 0,
    "under_18": 0,
    "weaker_categories": {},
}


def whole_decision(stored: Mapping[str, Any]) -> Mapping[str, Any]:
    """A stored decision with every field that a reader may ask for; older versions stored fewer.

    Raises:
        KeyError, TypeError, ValueError, InputError: it is no decision.
    """
    found = {**_DECISION, "duty": stored["duty"], "result": stored["result"], **stored}
    if found["due_utc"] is not None:
        parse_time(found["due_utc"])
    if found["last_day"] is not None:
        date.fromisoformat(found["last_day"])
    return found


def whole_summary(stored: Mapping[str, Any]) -> Mapping[str, Any]:
    """A stored summary of the affected people with every field that a reader may ask for."""
    return {**_SUMMARY, **stored}


@dataclass(frozen=True)
class NoticeVersion:
    """One version of one notice as it was drafted, with its approval if it has one."""

    id: str
    number: int
    audience: str
    language: str
    form: str
    jurisdictions: tuple[str, ...]
    duties: tuple[str, ...]
    elements: tuple[str, ...]
    messages: tuple[Mapping[str, Any], ...]
    findings: tuple[Mapping[str, Any], ...]
    content_hash: str
    author: str
    at: str
    version: int
    approver: str | None = None
    approved_at: str | None = None
    approved_version: int | None = None


@dataclass(frozen=True)
class Scope:
    """A frozen set of affected people, by its root and in numbers."""

    root: str
    count: int
    log_size: int
    criteria: Mapping[str, Any]
    summary: Mapping[str, Any]
    difference: Mapping[str, int]
    at: str
    version: int


@dataclass(frozen=True)
class Assessment:
    """One run of the law engine, every decision with its reasons."""

    law_version: str
    digest: str
    log_size: int
    decisions: tuple[Mapping[str, Any], ...]
    changed: tuple[Mapping[str, Any], ...]
    at: str
    version: int


@dataclass(frozen=True)
class Campaign:
    """One dispatch run."""

    id: str
    notices: Mapping[str, str]
    owed: int
    audience: str
    mode: str
    by: str
    at: str
    version: int
    balance: Mapping[str, Any] | None = None
    finished_at: str | None = None


@dataclass(frozen=True)
class Told:
    """A recipient of a duty was told, or its limit was met in another way."""

    duty: str
    stage: str | None
    told_at: str
    evidence: str
    by: str
    version: int
