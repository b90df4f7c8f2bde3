"""What an incident remembers: notices and their versions, scopes, assessments, campaigns, tellings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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
