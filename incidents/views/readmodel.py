"""The read model of one incident: everything a page, the command line or a report shows.

Made from the aggregate at a version, so that "what did we know at T" is the same code as "what do we know".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from incidents import views
from incidents.case.aggregate import PHASES, Incident
from incidents.case.facts import Fact, local_time
from incidents.case.records import Assessment, NoticeVersion
from incidents.case.store import LoggedEntry
from incidents.clocks.assessment import counts, full
from incidents.clocks.deadlines import Deadline, deadline_of
from incidents.law.questions import Question
from incidents.law.readings import Reading
from incidents.views.narration import say
from incidents.views.nextstep import next_step
from incidents.views.wording import ERASED, limit_words, provision
from ledger.encoding import parse_time


@dataclass(frozen=True)
class Context:
    """What the view needs besides the aggregate.

    Attributes:
        now: the instant at which states are judged.
        events: the incident's own events up to the version shown.
        entries: log entries about the incident.
        names: pseudonym of staff -> name.
        balances: live balances of running campaigns.
        questions: what to find out next about the undetermined duties, most useful first.
        outer: the latest other reading of a limit, by duty and stage.
    """

    now: datetime
    events: Sequence[Any] = ()
    entries: Sequence[LoggedEntry] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    balances: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    questions: Sequence[Question] = ()
    outer: Mapping[tuple[str, str], Reading] = field(default_factory=dict)

    def leaf(self, version: int) -> int | None:
        """Leaf index of the entry with this version of the aggregate."""
        return next((item.leaf for item in self.entries if item.version == version), None)

    def name(self, ref: str) -> str:
        """Who a pseudonym of staff is."""
        return self.names.get(ref, ERASED)


def deadlines_of(incident: Incident, assessment: Assessment | None) -> list[Deadline]:
    """Deadlines on the last assessment, with what was told since."""
    if assessment is None:
        return []
    rows = []
    for decision in assessment.decisions:
        row = deadline_of(incident.incident, decision, decision["zone"] or incident.time_zone)
        if row is not None:
            rows.append(_with_told(row, incident))
    return rows


def _with_told(row: Deadline, incident: Incident) -> Deadline:
    times = [
        parse_time(item.told_at)
        for item in incident.told
        if item.duty == row.duty and (item.stage is None or item.stage == row.stage)
    ]
    return replace(row, told_at=min(times)) if times else row


def view(incident: Incident, context: Context) -> views.IncidentView:
    """The whole view."""
    assessment = incident.assessments[-1] if incident.assessments else None
    rows = deadlines_of(incident, assessment)
    notices = tuple(_notice(versions[-1], context) for _, versions in sorted(incident.notices.items()))
    local = incident.time_zone
    declared = incident.created_on.astimezone(UTC)
    decisions = assessment.decisions if assessment else ()
    by_stage = {(item["duty"], item["stage"]): item for item in decisions}
    shown = tuple(
        _deadline(row, by_stage[row.duty, row.stage], incident, context) for row in _sorted(rows, context.now)
    )
    campaigns = tuple(_campaign(incident, name, context) for name in incident.campaigns)
    return views.IncidentView(
        id=incident.incident,
        uuid=str(incident.id),
        title=incident.title,
        phase=incident.phase,
        phases_done=PHASES[: PHASES.index(incident.phase)],
        closed=incident.closed_at is not None,
        version=incident.version,
        time_zone=local,
        organisation=incident.organisation,
        declared_at=declared,
        declared_by=incident.declared_by,
        declared_by_name=context.name(incident.declared_by),
        as_of=context.now,
        next_step=next_step(incident, shown, notices, local),
        clocks=_clocks(incident, context),
        facts=_facts(incident.facts, context),
        affected=_affected(incident, context),
        assessment=_assessment(assessment, context),
        duties=tuple(duty_view(item) for item in full(decisions)),
        deadlines=shown,
        notices=notices,
        campaigns=campaigns,
        announcements=tuple(incident.announcements),
        reports=tuple(incident.reports),
        timeline=_timeline(incident, context),
        status=incident.status,
        questions=tuple(
            views.QuestionView(item.path, item.text, item.settles, item.hours) for item in context.questions
        ),
    )


def _sorted(rows: Iterable[Deadline], now: datetime) -> list[Deadline]:
    """Most urgent first: fixed limits by time, then owed at once, then the rest."""
    rank = {"missed": 0, "running": 0, "no_fixed_time": 1, "paused": 2, "waiting": 3, "to_clarify": 4, "met": 5}

    def order(row: Deadline) -> tuple[int, datetime, str, str]:
        return (rank[row.state(now)], row.due or datetime.max.replace(tzinfo=UTC), row.duty, row.stage)

    return sorted(rows, key=order)


def _clocks(incident: Incident, context: Context) -> tuple[views.ClockView, ...]:
    standing = {clock.name: clock.version for clock in incident.clocks}
    found = []
    for clock in incident.clocks:
        at = parse_time(clock.at)
        found.append(
            views.ClockView(
                name=clock.name,
                at=at,
                at_local=local_time(at, incident.time_zone),
                source_kind=clock.source.kind,
                source=clock.source.ref,
                note=clock.note,
                by=clock.by,
                by_name=context.name(clock.by),
                recorded_at=parse_time(clock.recorded),
                index=context.leaf(clock.version),
                superseded=standing[clock.name] != clock.version,
            )
        )
    return tuple(sorted(found, key=lambda item: item.at))


def _facts(facts: Sequence[Fact], context: Context) -> tuple[views.FactView, ...]:
    standing = {fact.path: fact.version for fact in facts}
    return tuple(
        views.FactView(
            path=fact.path,
            state=fact.state,
            value=fact.value,
            source_kind=fact.source.kind,
            source=fact.source.ref,
            note=fact.note,
            by=fact.by,
            by_name=context.name(fact.by),
            recorded_at=parse_time(fact.at),
            index=context.leaf(fact.version),
            superseded=standing[fact.path] != fact.version,
        )
        for fact in sorted(facts, key=lambda item: (item.path, item.version))
    )


def _affected(incident: Incident, context: Context) -> views.AffectedSummary | None:
    if not incident.scopes:
        return None
    scope = incident.scopes[-1]
    held = scope.summary
    return views.AffectedSummary(
        root=scope.root,
        count=scope.count,
        log_size=scope.log_size,
        criteria=scope.criteria,
        by_confidence=held["by_confidence"],
        by_jurisdiction=held["by_jurisdiction"],
        by_language=held["by_language"],
        under_18=held["under_18"],
        under_14=held["under_14"],
        data_categories=tuple(held["data_categories"]),
        entries=tuple(held["entries"]),
        added=scope.difference.get("added", 0),
        removed=scope.difference.get("removed", 0),
        changed=scope.difference.get("changed", 0),
        advice=held["advice"],
        weaker_categories=held["weaker_categories"],
        scoped_at=parse_time(scope.at),
        index=context.leaf(scope.version),
    )


def _assessment(held: Assessment | None, context: Context) -> views.AssessmentView | None:
    if held is None:
        return None
    return views.AssessmentView(
        version=held.law_version,
        digest=held.digest,
        at=parse_time(held.at),
        size=held.log_size,
        changed=held.changed,
        index=context.leaf(held.version),
        counts=counts(held.decisions),
    )


def duty_view(decision: Mapping[str, Any]) -> views.DutyView:
    """One decision that is kept in full."""
    return views.DutyView(
        duty=decision["duty"],
        stage=decision["stage"],
        title=decision["title"],
        law=decision["law"],
        citation=decision["citation"],
        jurisdictions=tuple(decision["jurisdictions"]),
        recipient_kind=decision["recipient_kind"],
        recipient=decision["recipient"],
        result=decision["result"],
        due=parse_time(decision["due_utc"]) if decision["due_utc"] else None,
        last_day=decision["last_day"],
        anchor=decision["anchor"],
        why=tuple(decision["why"]),
        missing=tuple(decision["missing"]),
        confidence=decision["confidence"],
        provision=provision(decision["law"], decision["citation"]),
    )


def _deadline(row: Deadline, decision: Mapping[str, Any], incident: Incident, context: Context) -> views.DeadlineView:
    other = context.outer.get((row.duty, row.stage)) if row.due is not None else None
    return views.DeadlineView(
        duty=row.duty,
        stage=row.stage,
        title=row.title,
        recipient_kind=row.recipient_kind,
        recipient=row.recipient,
        citation=row.citation,
        result=row.result,
        state=row.state(context.now),
        due=row.due,
        due_local=None if row.due is None else local_time(row.due, incident.time_zone),
        last_day=row.last_day,
        zone=row.zone,
        words=limit_words(row.result, row.words, decision["missing"]),
        started_by=row.anchor or "",
        seconds_left=None if row.due is None else int((row.due - context.now).total_seconds()),
        told_at=row.told_at,
        confidence=row.confidence,
        law=decision["law"],
        provision=provision(decision["law"], row.citation),
        outer=None if other is None else other.until_utc,
        outer_local=None if other is None else local_time(other.until_utc, incident.time_zone),
        outer_words="" if other is None else other.words,
    )


def _notice(held: NoticeVersion, context: Context) -> views.NoticeView:
    return views.NoticeView(
        id=held.id,
        version=held.number,
        audience=held.audience,
        language=held.language,
        form=held.form,
        jurisdictions=held.jurisdictions,
        duties=held.duties,
        elements=held.elements,
        content_hash=held.content_hash,
        state="approved" if held.approver else "draft",
        author=held.author,
        author_name=context.name(held.author),
        drafted_at=parse_time(held.at),
        approver=held.approver,
        approver_name=None if held.approver is None else context.name(held.approver),
        approved_at=None if held.approved_at is None else parse_time(held.approved_at),
        messages=held.messages,
        findings=tuple(
            views.FindingView(*(str(item.get(name, "")) for name in ("severity", "code", "channel", "message")))
            for item in held.findings
        ),
        draft_index=context.leaf(held.version),
        approval_index=None if held.approved_version is None else context.leaf(held.approved_version),
    )


def _campaign(incident: Incident, name: str, context: Context) -> views.CampaignView:
    held = incident.campaigns[name]
    final = {key: value for key, value in (held.balance or {}).items() if type(value) is int}  # `closed` is a bool
    return views.CampaignView(
        id=held.id,
        opened_at=parse_time(held.at),
        opened_by=held.by,
        notices=held.notices,
        owed=held.owed,
        balance=final or context.balances.get(name, {}),
        finished_at=None if held.finished_at is None else parse_time(held.finished_at),
        index=context.leaf(held.version),
        mode=held.mode,
        opened_by_name=context.name(held.by),
    )


def _timeline(incident: Incident, context: Context) -> tuple[views.TimelineItem, ...]:
    said = {event.originator_version: (say(event), str(getattr(event, "by", ""))) for event in context.events}
    found = []
    for entry in context.entries:
        moment = parse_time(entry.time)
        if entry.version is not None and entry.version not in said:
            continue  # after the version that is shown
        if entry.version is None and moment > context.now:
            continue
        text, by = said[entry.version] if entry.version is not None else (entry.note, "")
        found.append(
            views.TimelineItem(
                index=entry.leaf,
                version=entry.version,
                time=moment,
                time_local=local_time(moment, incident.time_zone),
                type=entry.type,
                text=text,
                by=by,
                by_name=context.name(by) if by else "",
            )
        )
    return tuple(found)
