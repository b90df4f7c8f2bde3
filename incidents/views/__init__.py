"""What the console, the command line and the report read: plain frozen values, no behaviour.

Every instant is an aware UTC `datetime`; `*_local` is the same instant in the incident's own zone.
`by` is a person's pseudonym in the log (`a_...`); `by_name` is what the vault says it stands for, or
`wording.ERASED` once it no longer says. `status` is Actual or Exercise: an exercise is marked as one wherever
it is shown. `index` is the leaf index of the ledger entry that says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from incidents.case.records import Status
from ledger.encoding import format_time


@dataclass(frozen=True)
class IncidentSummary:
    """One row of the list of incidents."""

    id: str
    title: str
    phase: str
    closed: bool
    declared_at: datetime
    affected: int | None
    next_due: datetime | None
    missed: int
    status: Status = "Actual"


@dataclass(frozen=True)
class ClockView:
    """A clock: when it stood at what, and what started it."""

    name: str
    at: datetime
    at_local: datetime
    source_kind: str
    source: str
    note: str
    by: str
    by_name: str
    recorded_at: datetime
    index: int | None
    superseded: bool = False


@dataclass(frozen=True)
class FactView:
    """A fact as it stands, or as it stood before it was superseded."""

    path: str
    state: str
    value: Any
    source_kind: str
    source: str
    note: str
    by: str
    by_name: str
    recorded_at: datetime
    index: int | None
    superseded: bool = False


@dataclass(frozen=True)
class AffectedSummary:
    """The frozen set of affected people in numbers; members are read with `IncidentService.affected`.

    `weaker_categories` are data which only accesses of a lower confidence than the person's own reached, with
    the number of people of whom that is so; they are not among `data_categories` for that reason.
    """

    root: str
    count: int
    log_size: int
    criteria: Mapping[str, Any]
    by_confidence: Mapping[str, int]
    by_jurisdiction: Mapping[str, int]
    by_language: Mapping[str, int]
    under_18: int
    under_14: int
    data_categories: tuple[str, ...]
    entries: tuple[int, ...]
    added: int
    removed: int
    changed: int
    advice: str
    scoped_at: datetime
    index: int | None
    weaker_categories: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class DutyView:
    """One evaluation: does this duty apply, why, until when; `provision` is law and citation in short."""

    duty: str
    stage: str
    title: str
    law: str
    citation: str
    jurisdictions: tuple[str, ...]
    recipient_kind: str
    recipient: str
    result: str
    due: datetime | None
    last_day: str | None
    anchor: str | None
    why: tuple[str, ...]
    missing: tuple[str, ...]
    confidence: str
    provision: str = ""


@dataclass(frozen=True)
class DeadlineView:
    """One limit: state is one of `incidents.clocks.deadlines.STATES`.

    `words` are the law's own for the time it gives, and never empty where `due` is; `provision` is law and
    citation in short, such as `GDPR Art 33(1)`. `due` is the strictest reading; `outer` is the end of the latest
    other reading where readings differ, for information, with `outer_words` saying where it comes from.
    """

    duty: str
    stage: str
    title: str
    recipient_kind: str
    recipient: str
    citation: str
    result: str
    state: str
    due: datetime | None
    due_local: datetime | None
    last_day: str | None
    zone: str
    words: str
    started_by: str
    seconds_left: int | None
    told_at: datetime | None
    confidence: str
    law: str = ""
    provision: str = ""
    outer: datetime | None = None
    outer_local: datetime | None = None
    outer_words: str = ""


@dataclass(frozen=True)
class FindingView:
    """What the lint says about a notice: `severity` is error or warning."""

    severity: str
    code: str
    channel: str
    message: str


@dataclass(frozen=True)
class NoticeView:
    """The current version of one notice."""

    id: str
    version: int
    audience: str
    language: str
    form: str
    jurisdictions: tuple[str, ...]
    duties: tuple[str, ...]
    elements: tuple[str, ...]
    content_hash: str
    state: str
    author: str
    author_name: str
    drafted_at: datetime
    approver: str | None
    approver_name: str | None
    approved_at: datetime | None
    messages: tuple[Mapping[str, Any], ...]
    findings: tuple[FindingView, ...]
    draft_index: int | None
    approval_index: int | None


@dataclass(frozen=True)
class CampaignView:
    """One dispatch run; the live balance is read from the notifiers, the final one from the log."""

    id: str
    opened_at: datetime
    opened_by: str
    notices: Mapping[str, str]
    owed: int
    balance: Mapping[str, int]
    finished_at: datetime | None
    index: int | None
    mode: str = "live"
    opened_by_name: str = ""


@dataclass(frozen=True)
class TimelineItem:
    """One thing that happened, newest last."""

    index: int | None
    version: int | None
    time: datetime
    time_local: datetime
    type: str
    text: str
    by: str
    by_name: str


@dataclass(frozen=True)
class NextStep:
    """What must happen next, by whom, by when."""

    what: str
    who: str
    due: datetime | None
    due_local: datetime | None


@dataclass(frozen=True)
class AssessmentView:
    """The latest run of the law engine, what it changed, and how many decisions of each result it made."""

    version: str
    digest: str
    at: datetime
    size: int
    changed: tuple[Mapping[str, Any], ...]
    index: int | None
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class QuestionView:
    """One fact to find out.

    Attributes:
        path: the fact, or the clock as `clocks.NAME`.
        text: the question in words.
        settles: how many undetermined duties one answer would settle at best.
        hours: the shortest clock among those duties, None when no number is at stake.
    """

    path: str
    text: str
    settles: int
    hours: float | None


@dataclass(frozen=True)
class IncidentView:
    """Everything one page about an incident shows."""

    id: str
    uuid: str
    title: str
    phase: str
    phases_done: tuple[str, ...]
    closed: bool
    version: int
    time_zone: str
    organisation: Mapping[str, str]
    declared_at: datetime
    declared_by: str
    declared_by_name: str
    as_of: datetime
    next_step: NextStep
    clocks: tuple[ClockView, ...]
    facts: tuple[FactView, ...]
    affected: AffectedSummary | None
    assessment: AssessmentView | None
    duties: tuple[DutyView, ...]
    deadlines: tuple[DeadlineView, ...]
    notices: tuple[NoticeView, ...]
    campaigns: tuple[CampaignView, ...]
    announcements: tuple[Mapping[str, Any], ...]
    reports: tuple[Mapping[str, Any], ...]
    timeline: tuple[TimelineItem, ...] = ()
    status: Status = "Actual"
    questions: tuple[QuestionView, ...] = ()

    @property
    def exercise(self) -> bool:
        """Whether this is a drill."""
        return self.status == "Exercise"


def as_json(view: Any) -> Any:
    """A view as JSON values: instants in RFC 3339 (`*_local` keeps its offset), tuples as lists."""
    return _plain(asdict(view) if not isinstance(view, list | tuple) else [asdict(item) for item in view])


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return format_time(value) if value.utcoffset() is not None and not value.utcoffset() else value.isoformat()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
