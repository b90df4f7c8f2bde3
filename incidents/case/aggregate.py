"""The incident: an event-sourced aggregate whose events are entries of the one log.

Phases carry the names of ISO/IEC 27035-1:2023 (5.3 to 5.6; "plan and prepare" lies before an incident).
Nothing is deleted or edited: a fact, clock, scope or notice is superseded by a later one and both stay.
The four-eyes rule and the bond between an approval and its content live here, not in role settings.

Commands take the instant from their caller; the model reads no clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, cast
from uuid import UUID, uuid5

from eventsourcing.domain import Aggregate

from incidents.case import events
from incidents.case.facts import Clock, Fact, Source, to_law_facts
from incidents.case.records import STATUSES, Assessment, Campaign, NoticeVersion, Scope, Status, Told
from incidents.case.staff import same_person
from incidents.errors import ApprovalError, FourEyesError, IncidentError
from ledger.encoding import format_time
from notifiers.messages import Mode

PHASES: Final = ("detect_and_report", "assess_and_decide", "respond", "learn_lessons")

# Fixed for ever: changing it would give every incident of every ledger another id.
_NAMESPACE: Final = UUID("6a3f8f0e-6f5c-5d53-9f3c-6d1a0c3b7e21")


def incident_uuid(origin: str, incident: str) -> UUID:
    """The stream id of an incident: UUIDv5 of the ledger's origin and the incident's short id."""
    return uuid5(_NAMESPACE, f"{origin}\n{incident}")


class Incident(Aggregate):
    """A personal-data incident from declaration to lessons, or the exercise of one.

    Its status is decided when it is declared and never changes: what was said in an exercise must not become
    evidence, and an incident must not be explained away as one.
    """

    TOPIC = "org.tocsin.incident.v1"

    Event = events.IncidentEvent
    Created = events.Created
    OrganisationStated = events.OrganisationStated
    FactRecorded = events.FactRecorded
    ClockRecorded = events.ClockRecorded
    Scoped = events.Scoped
    Assessed = events.Assessed
    NoticeDrafted = events.NoticeDrafted
    NoticeApproved = events.NoticeApproved
    CampaignOpened = events.CampaignOpened
    CampaignFinished = events.CampaignFinished
    Announced = events.Announced
    RecipientTold = events.RecipientTold
    ReportReleased = events.ReportReleased
    Closed = events.Closed

    def __init__(
        self,
        *,
        incident: str,
        title: str,
        time_zone: str,
        organisation: dict[str, str],
        by: str,
        status: str = "Actual",
    ) -> None:
        """State right after the declaration."""
        if status not in STATUSES:
            raise IncidentError(f"The status of an incident is one of {', '.join(STATUSES)}.")
        self.status = cast("Status", status)
        self.incident = incident
        self.title = title
        self.time_zone = time_zone
        self.organisation = organisation
        self.declared_by = by
        self.phase: str = PHASES[0]
        self.facts: list[Fact] = []
        self.clocks: list[Clock] = []
        self.scopes: list[Scope] = []
        self.assessments: list[Assessment] = []
        self.notices: dict[str, list[NoticeVersion]] = {}
        self.campaigns: dict[str, Campaign] = {}
        self.announcements: list[Mapping[str, Any]] = []
        self.told: list[Told] = []
        self.reports: list[Mapping[str, Any]] = []
        self.lessons: str | None = None
        self.closed_at: str | None = None

    @classmethod
    def declare(
        cls,
        *,
        origin: str,
        incident: str,
        title: str,
        time_zone: str,
        organisation: Mapping[str, str],
        status: Status = "Actual",
        by: str,
        at: datetime,
    ) -> Incident:
        """A new incident; its stream id follows from the ledger's origin and the short id."""
        return cls._create(
            cls.Created,
            id=incident_uuid(origin, incident),
            timestamp=at,
            incident=incident,
            title=title,
            time_zone=time_zone,
            organisation=dict(organisation),
            status=status,
            by=by,
        )

    @property
    def exercise(self) -> bool:
        """Whether this is a drill."""
        return self.status == "Exercise"

    @property
    def mode(self) -> Mode:
        """How its notices are dispatched: those of an exercise can reach nobody."""
        return "drill" if self.exercise else "live"

    @property
    def law_facts(self) -> dict[str, Any]:
        """The facts and clocks as they stand, in the form that the law engine reads."""
        return to_law_facts(self.facts, self.clocks, self.time_zone)

    def reach(self, phase: str) -> None:
        """Move on to `phase`; an incident never falls back."""
        if PHASES.index(phase) > PHASES.index(self.phase):
            self.phase = phase

    def state_organisation(self, organisation: Mapping[str, str], *, by: str, at: datetime) -> None:
        """State how the organisation names itself in notices."""
        self._require_open("change the organisation")
        self.trigger_event(self.OrganisationStated, timestamp=at, organisation=dict(organisation), by=by)

    def record_fact(self, fact: Fact, *, at: datetime) -> None:
        """State a fact; version and time of `fact` are set by the event."""
        self._require_open("record a fact")
        self.trigger_event(
            self.FactRecorded,
            timestamp=at,
            path=fact.path,
            state=fact.state,
            value=fact.value,
            source_kind=fact.source.kind,
            source=fact.source.ref,
            note=fact.note,
            by=fact.by,
        )

    def record_clock(self, *, name: str, stood: datetime, source: Source, note: str, by: str, at: datetime) -> None:
        """State that clock `name` stood at the instant `stood`."""
        self._require_open("record a clock")
        if stood > at:
            raise IncidentError(
                f"The clock {name} cannot have stood at an instant that has not come yet; check date and zone."
            )
        self.trigger_event(
            self.ClockRecorded,
            timestamp=at,
            name=name,
            at=format_time(stood),
            source_kind=source.kind,
            source=source.ref,
            note=note,
            by=by,
        )

    def scope(
        self,
        *,
        root: str,
        count: int,
        log_size: int,
        criteria: Mapping[str, Any],
        summary: Mapping[str, Any],
        difference: Mapping[str, int],
        by: str,
        at: datetime,
    ) -> None:
        """Make the set with this root the current set of affected people."""
        self._require_open("scope")
        self.trigger_event(
            self.Scoped,
            timestamp=at,
            root=root,
            count=count,
            log_size=log_size,
            criteria=dict(criteria),
            summary=dict(summary),
            difference=dict(difference),
            by=by,
        )

    def assess(
        self,
        *,
        law_version: str,
        digest: str,
        log_size: int,
        facts: Mapping[str, Any],
        decisions: Sequence[Mapping[str, Any]],
        changed: Sequence[Mapping[str, Any]],
        by: str,
        at: datetime,
    ) -> None:
        """Keep what the law engine decided, with the version of the law data it read."""
        self._require_open("assess")
        self.trigger_event(
            self.Assessed,
            timestamp=at,
            law_version=law_version,
            digest=digest,
            log_size=log_size,
            facts=dict(facts),
            decisions=[dict(item) for item in decisions],
            changed=[dict(item) for item in changed],
            by=by,
        )

    def draft_notice(self, draft: NoticeVersion, *, at: datetime) -> bool:
        """Add a version of a notice; False when it is word for word the current one."""
        self._require_open("draft a notice")
        held = self.notices.get(draft.id, [])
        if held and held[-1].content_hash == draft.content_hash and held[-1].jurisdictions == draft.jurisdictions:
            return False
        self.trigger_event(
            self.NoticeDrafted,
            timestamp=at,
            notice=draft.id,
            number=len(held) + 1,
            audience=draft.audience,
            language=draft.language,
            form=draft.form,
            jurisdictions=list(draft.jurisdictions),
            duties=list(draft.duties),
            elements=list(draft.elements),
            messages=[dict(item) for item in draft.messages],
            findings=[dict(item) for item in draft.findings],
            content_hash=draft.content_hash,
            by=draft.author,
        )
        return True

    def approve_notice(self, notice: str, content_hash: str, *, by: str, at: datetime) -> None:
        """Approve the current version of a notice.

        Raises:
            IncidentError: no such notice.
            FourEyesError: `by` wrote any version of this notice up to the current one's last approval.
            ApprovalError: `content_hash` is not that of the current version, or the notice has errors.
        """
        self._require_open("approve a notice")
        current = self.notice(notice)
        for version in self._unapproved_versions(notice):
            if same_person(version.author, by):
                raise FourEyesError(
                    f"You wrote version {version.number} of notice {notice}; somebody else must approve it."
                )
        if current.content_hash != content_hash:
            raise ApprovalError(
                f"Notice {notice} has changed: its version {current.number} has another content hash than the "
                "one you approve. Read it again and approve the hash you see."
            )
        errors = [item for item in current.findings if item.get("severity") == "error"]
        if errors:
            raise ApprovalError(
                f"Notice {notice} has {len(errors)} error(s): {errors[0].get('message')} "
                "Correct the draft, then approve the new version."
            )
        if current.approver is not None:
            raise ApprovalError(f"Version {current.number} of notice {notice} is already approved.")
        self.trigger_event(
            self.NoticeApproved,
            timestamp=at,
            notice=notice,
            number=current.number,
            content_hash=content_hash,
            by=by,
        )

    def _unapproved_versions(self, notice: str) -> list[NoticeVersion]:
        """The versions since the last approval: their authors all had a hand in the current text."""
        versions = self.notices[notice]
        start = max((i + 1 for i, item in enumerate(versions) if item.approver is not None), default=0)
        return versions[start:] or versions[-1:]

    def notice(self, notice: str) -> NoticeVersion:
        """The current version of a notice.

        Raises:
            IncidentError: no such notice.
        """
        versions = self.notices.get(notice)
        if not versions:
            raise IncidentError(f"There is no notice {notice!r}; draft the notices first.")
        return versions[-1]

    def open_campaign(
        self, campaign: str, notices: Mapping[str, str], *, owed: int, audience: str, by: str, at: datetime
    ) -> None:
        """Begin to dispatch in the incident's `mode`; every notice must be approved with exactly the given hash.

        Raises:
            ApprovalError: a notice is not approved, or was edited after its approval.
        """
        self._require_open("dispatch")
        self._require_approved(notices)
        if campaign in self.campaigns:
            raise IncidentError(f"Campaign {campaign} is already open; resume it instead of opening it again.")
        self.trigger_event(
            self.CampaignOpened,
            timestamp=at,
            campaign=campaign,
            notices=dict(notices),
            owed=owed,
            audience=audience,
            mode=self.mode,
            by=by,
        )

    def finish_campaign(self, campaign: str, balance: Mapping[str, Any], *, by: str, at: datetime) -> None:
        """Keep the closed balance of a campaign."""
        held = self.campaigns.get(campaign)
        if held is None:
            raise IncidentError(f"There is no campaign {campaign!r} in this incident.")
        if held.finished_at is not None:
            raise IncidentError(f"Campaign {campaign} is already finished.")
        self.trigger_event(self.CampaignFinished, timestamp=at, campaign=campaign, balance=dict(balance), by=by)

    def announce(self, notices: Mapping[str, str], places: Sequence[str], *, by: str, at: datetime) -> None:
        """Publish approved public notices."""
        self._require_open("announce")
        self._require_approved(notices)
        self.trigger_event(self.Announced, timestamp=at, notices=dict(notices), places=list(places), by=by)

    def _require_approved(self, notices: Mapping[str, str]) -> None:
        if not notices:
            raise ApprovalError("There is no approved notice to send; draft the notices and have them approved.")
        for notice, content_hash in notices.items():
            current = self.notice(notice)
            if current.approver is None:
                raise ApprovalError(
                    f"Notice {notice} is not approved in its version {current.number}; "
                    "somebody other than its author must approve it before it is sent."
                )
            if current.content_hash != content_hash:
                raise ApprovalError(f"Notice {notice} was edited after its approval; approve the new version.")

    def tell(self, duty: str, *, stage: str | None, told: datetime, evidence: str, by: str, at: datetime) -> None:
        """Record that the recipient of a duty was told at the instant `told`."""
        if told > at:
            raise IncidentError(f"The recipient of {duty} cannot have been told at an instant yet to come.")
        self.trigger_event(
            self.RecipientTold,
            timestamp=at,
            duty=duty,
            stage=stage,
            told_at=format_time(told),
            evidence=evidence,
            by=by,
        )

    def release_report(self, name: str, digest: str, *, log_size: int, by: str, at: datetime) -> None:
        """Fix the digest of a report or bundle that is handed out."""
        self.trigger_event(self.ReportReleased, timestamp=at, name=name, digest=digest, log_size=log_size, by=by)

    def close(self, lessons: str, *, by: str, at: datetime) -> None:
        """Close the incident; every campaign must be finished.

        Raises:
            IncidentError: already closed, or a campaign is still running.
        """
        self._require_open("close")
        running = [item.id for item in self.campaigns.values() if item.finished_at is None]
        if running:
            raise IncidentError(f"Campaign {running[0]} is not finished; finish it before closing the incident.")
        self.trigger_event(self.Closed, timestamp=at, lessons=lessons, by=by)

    def _require_open(self, what: str) -> None:
        if self.closed_at is not None:
            raise IncidentError(f"Incident {self.incident} is closed; to {what}, declare a new one that refers to it.")
