"""The events of an incident, as the log keeps them.

Fields are JSON values only (no floats, times as RFC 3339 text) and hold no personal data: people are
pseudonyms. A topic is for ever: a change beyond an optional field is a new version of the topic. A field that
a released version did not write has a default here, with which the older events are read.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from types import UnionType
from typing import TYPE_CHECKING, Any, cast, get_origin, get_type_hints

from eventsourcing.domain import Aggregate

from incidents.case.facts import Clock, Fact, Source, SourceKind, State
from incidents.case.records import (
    Assessment,
    Campaign,
    NoticeVersion,
    Scope,
    Told,
    whole_decision,
    whole_summary,
)
from ledger.encoding import format_time, parse_time

if TYPE_CHECKING:
    from incidents.case.aggregate import Incident


class IncidentEvent(Aggregate.Event):
    """Base of all events of an incident."""

    by: str

    def wrong_field(self) -> str | None:
        """The first field that is missing or not of its type, None for a sound event."""
        missing = object()
        for name, kind in _kinds(type(self)):
            value = getattr(self, name, missing)
            if value is missing or not isinstance(value, kind):
                return name
        return None


@cache
def _kinds(event: type[IncidentEvent]) -> tuple[tuple[str, Any], ...]:
    """The fields that an event adds to the library's, each with what `isinstance` takes."""
    library = get_type_hints(Aggregate.Event)
    hints = {name: kind for name, kind in get_type_hints(event).items() if name not in library}
    return tuple((name, _class_of(kind)) for name, kind in hints.items())


def _class_of(kind: Any) -> Any:
    if kind is Any:
        return object
    return kind if isinstance(kind, UnionType) else get_origin(kind) or kind


class Created(IncidentEvent, Aggregate.Created):
    """Somebody declared the incident."""

    TOPIC = "org.tocsin.incident.declared.v1"
    incident: str
    title: str
    time_zone: str
    organisation: dict[str, str]
    status: str = "Actual"


class OrganisationStated(IncidentEvent):
    """How the organisation names itself in notices; given entries replace earlier ones."""

    TOPIC = "org.tocsin.incident.organisation_stated.v1"
    organisation: dict[str, str]

    def apply(self, aggregate: Incident) -> None:
        """Take over the entries."""
        aggregate.organisation = {**aggregate.organisation, **self.organisation}


class FactRecorded(IncidentEvent):
    """A fact was stated; it supersedes an earlier one on the same path."""

    TOPIC = "org.tocsin.incident.fact_recorded.v1"
    path: str
    state: str
    value: Any
    source_kind: str
    source: str
    note: str

    def apply(self, aggregate: Incident) -> None:
        """Add the fact to the history."""
        aggregate.facts.append(
            Fact(
                self.path,
                cast("State", self.state),
                self.value,
                Source(cast("SourceKind", self.source_kind), self.source),
                self.note,
                self.by,
                format_time(self.timestamp),
                self.originator_version,
            )
        )


class ClockRecorded(IncidentEvent):
    """A clock stood at an instant; what started it is named."""

    TOPIC = "org.tocsin.incident.clock_recorded.v1"
    name: str
    at: str
    source_kind: str
    source: str
    note: str

    def apply(self, aggregate: Incident) -> None:
        """Add the clock to the history."""
        parse_time(self.at)
        aggregate.clocks.append(
            Clock(
                self.name,
                self.at,
                Source(cast("SourceKind", self.source_kind), self.source),
                self.note,
                self.by,
                format_time(self.timestamp),
                self.originator_version,
            )
        )


class Scoped(IncidentEvent):
    """The affected people were determined; the set is named by its root."""

    TOPIC = "org.tocsin.incident.scoped.v1"
    root: str
    count: int
    log_size: int
    criteria: dict[str, Any]
    summary: dict[str, Any]
    difference: dict[str, int]

    def apply(self, aggregate: Incident) -> None:
        """Keep the set as the current one."""
        aggregate.scopes.append(
            Scope(
                self.root,
                self.count,
                self.log_size,
                self.criteria,
                whole_summary(self.summary),
                self.difference,
                format_time(self.timestamp),
                self.originator_version,
            )
        )
        aggregate.reach("assess_and_decide")


class Assessed(IncidentEvent):
    """The law engine was run on the facts as they stood."""

    TOPIC = "org.tocsin.incident.assessed.v1"
    law_version: str
    digest: str
    log_size: int
    facts: dict[str, Any]
    decisions: list[dict[str, Any]]
    changed: list[dict[str, Any]]

    def apply(self, aggregate: Incident) -> None:
        """Keep the decisions as the current ones."""
        aggregate.assessments.append(
            Assessment(
                self.law_version,
                self.digest,
                self.log_size,
                tuple(whole_decision(item) for item in self.decisions),
                tuple(self.changed),
                format_time(self.timestamp),
                self.originator_version,
            )
        )
        aggregate.reach("assess_and_decide")


class NoticeDrafted(IncidentEvent):
    """A new version of a notice; an approval of an earlier version does not carry over."""

    TOPIC = "org.tocsin.incident.notice_drafted.v1"
    notice: str
    number: int
    audience: str
    language: str
    form: str
    jurisdictions: list[str]
    duties: list[str]
    elements: list[str]
    messages: list[dict[str, Any]]
    findings: list[dict[str, Any]]
    content_hash: str

    def apply(self, aggregate: Incident) -> None:
        """Make this the current version."""
        aggregate.notices.setdefault(self.notice, []).append(
            NoticeVersion(
                id=self.notice,
                number=self.number,
                audience=self.audience,
                language=self.language,
                form=self.form,
                jurisdictions=tuple(self.jurisdictions),
                duties=tuple(self.duties),
                elements=tuple(self.elements),
                messages=tuple(dict(item) for item in self.messages),
                findings=tuple(dict(item) for item in self.findings),
                content_hash=self.content_hash,
                author=self.by,
                at=format_time(self.timestamp),
                version=self.originator_version,
            )
        )


class NoticeApproved(IncidentEvent):
    """Somebody other than the author approved this very content."""

    TOPIC = "org.tocsin.incident.notice_approved.v1"
    notice: str
    number: int
    content_hash: str

    def apply(self, aggregate: Incident) -> None:
        """Mark the current version as approved."""
        versions = aggregate.notices[self.notice]
        versions[-1] = replace(
            versions[-1],
            approver=self.by,
            approved_at=format_time(self.timestamp),
            approved_version=self.originator_version,
        )
        aggregate.reach("respond")


class CampaignOpened(IncidentEvent):
    """Dispatch of approved notices began."""

    TOPIC = "org.tocsin.incident.campaign_opened.v1"
    campaign: str
    notices: dict[str, str]
    owed: int
    audience: str
    mode: str = "live"

    def apply(self, aggregate: Incident) -> None:
        """Remember the campaign."""
        aggregate.campaigns[self.campaign] = Campaign(
            self.campaign,
            self.notices,
            self.owed,
            self.audience,
            self.mode,
            self.by,
            format_time(self.timestamp),
            self.originator_version,
        )
        aggregate.reach("respond")


class CampaignFinished(IncidentEvent):
    """The balance of a campaign closed."""

    TOPIC = "org.tocsin.incident.campaign_finished.v1"
    campaign: str
    balance: dict[str, Any]

    def apply(self, aggregate: Incident) -> None:
        """Keep the final balance."""
        aggregate.campaigns[self.campaign] = replace(
            aggregate.campaigns[self.campaign],
            balance=self.balance,
            finished_at=format_time(self.timestamp),
        )


class Announced(IncidentEvent):
    """Approved public notices were published."""

    TOPIC = "org.tocsin.incident.announced.v1"
    notices: dict[str, str]
    places: list[str]

    def apply(self, aggregate: Incident) -> None:
        """Remember the announcement."""
        aggregate.announcements.append(
            {"notices": self.notices, "places": self.places, "at": format_time(self.timestamp)}
        )
        aggregate.reach("respond")


class RecipientTold(IncidentEvent):
    """The recipient of a duty was told."""

    TOPIC = "org.tocsin.incident.recipient_told.v1"
    duty: str
    stage: str | None
    told_at: str
    evidence: str

    def apply(self, aggregate: Incident) -> None:
        """Remember it."""
        parse_time(self.told_at)
        aggregate.told.append(
            Told(self.duty, self.stage, self.told_at, self.evidence, self.by, self.originator_version)
        )


class ReportReleased(IncidentEvent):
    """A report or bundle left the house; its digest is fixed here."""

    TOPIC = "org.tocsin.incident.report_released.v1"
    name: str
    digest: str
    log_size: int

    def apply(self, aggregate: Incident) -> None:
        """Remember the release."""
        aggregate.reports.append(
            {
                "name": self.name,
                "digest": self.digest,
                "log_size": self.log_size,
                "at": format_time(self.timestamp),
            }
        )


class Closed(IncidentEvent):
    """The incident was closed with its lessons."""

    TOPIC = "org.tocsin.incident.closed.v1"
    lessons: str

    def apply(self, aggregate: Incident) -> None:
        """Close it."""
        aggregate.lessons = self.lessons
        aggregate.closed_at = format_time(self.timestamp)
        aggregate.reach("learn_lessons")
