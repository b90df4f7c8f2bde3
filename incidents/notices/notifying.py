"""Drafting, approving and sending notices: what the service does around the pure parts."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from incidents.case.aggregate import Incident
from incidents.case.facts import Fact, current, local_time
from incidents.case.records import NoticeVersion
from incidents.errors import IncidentError
from incidents.law import Law
from incidents.notices.drafting import (
    NARRATIVE,
    ORGANISATION,
    SMS_NAME,
    Plan,
    content_hash,
    date_text,
    draft,
    relint,
    to_html,
)
from incidents.notices.lint import Finding
from incidents.notices.planning import STANDARD, Reach, Telling, plans, reach, tellings
from incidents.notices.templates import Texts, shipped
from incidents.people.affected import AffectedSet
from incidents.people.scoping import profiles_of
from ledger.encoding import parse_time
from notifiers import outbox
from notifiers.messages import Message, Recipient, Sender

if TYPE_CHECKING:
    from ledger import Ledger

Narrative = Mapping[str, Mapping[str, str]]
"""Language -> slot -> text; slots are `drafting.NARRATIVE`."""

_CODE_BYTES: Final = 5


@dataclass(frozen=True)
class Told:
    """Who is to be told, and what the law says for where they live."""

    tellings: tuple[Telling, ...]
    reached: Mapping[str, Reach]


def whom(ledger: Ledger, law: Law, incident: Incident, members: AffectedSet, *, everybody: bool) -> Told:
    """Who is to be told on the decisions of the last assessment.

    Raises:
        IncidentError: not scoped or not assessed yet.
    """
    if not incident.scopes:
        raise IncidentError(f"The affected people of {incident.incident} are not determined; scope the incident first.")
    if not incident.assessments:
        raise IncidentError(f"{incident.incident} is not assessed; assess it first, so that it is clear what is owed.")
    codes = [member.jurisdiction for member in members.members if member.jurisdiction]
    reached = reach(law, incident.law_facts, incident.assessments[-1].decisions, codes)
    refs = sorted({ref for member in members.members for ref in member.guardians})
    guardians = profiles_of(ledger, refs)
    return Told(tuple(tellings(members, reached, guardians, everybody=everybody)), reached)


def compose(
    incident: Incident, told: Told, narrative: Narrative, by: str, *, affected_count: int
) -> list[NoticeVersion]:
    """Draft every notice that is needed; nothing is recorded unless all of them can be drafted.

    Raises:
        IncidentError: nobody is to be told, the organisation is not described, or the narrative has
            unknown slots.
        TemplateError: a demanded element has no paragraph or a slot no value.
    """
    missing = [name for name in ORGANISATION if not incident.organisation.get(name)]
    if missing:
        raise IncidentError(f"The notices need to know of the organisation: {', '.join(missing)}. State it first.")
    for language, texts in narrative.items():
        unknown = sorted(set(texts) - NARRATIVE)
        if unknown:
            raise IncidentError(
                f"The narrative in {language} has {len(unknown)} unknown slot(s); "
                f"known are {', '.join(sorted(NARRATIVE))}."
            )
    public = {item.language for item in told.tellings} | {"en"}
    wanted = plans(told.tellings, told.reached, public)
    if not wanted:
        raise IncidentError(
            "Nobody is to be told: no owed duty reaches an affected person. "
            "Complete the facts and assess again, or draft for everybody."
        )
    return [_compose_one(incident, plan, narrative, by, affected_count) for plan in wanted]


def _compose_one(incident: Incident, plan: Plan, narrative: Narrative, by: str, affected_count: int) -> NoticeVersion:
    texts = shipped(plan.language)
    slots = {**incident_slots(incident, texts, affected_count), **narrative.get(plan.language, {})}
    made = draft(plan, texts, slots)
    return _version(plan, made.messages, made.elements, made.findings, by)


def _version(
    plan: Plan, messages: Sequence[Message], elements: Iterable[str], findings: Iterable[Finding], by: str
) -> NoticeVersion:
    return NoticeVersion(
        id=plan.id,
        number=0,  # the aggregate counts
        audience=plan.audience,
        language=plan.language,
        form=plan.form,
        jurisdictions=plan.jurisdictions,
        duties=plan.duties,
        elements=tuple(elements),
        messages=tuple(message.as_json() for message in sorted(messages, key=lambda item: item.channel)),
        findings=tuple(finding.as_json() for finding in findings),
        content_hash=content_hash(messages),
        author=by,
        at="",
        version=0,
    )


def incident_slots(incident: Incident, texts: Texts, affected_count: int) -> dict[str, Any]:
    """Slots that follow from the incident: organisation, dates in the incident's zone, numbers."""
    stood = {clock.name: local_time(parse_time(clock.at), incident.time_zone) for clock in incident.clocks}
    facts = current(incident.facts)
    organisation = incident.organisation

    def first(*names: str) -> datetime | None:
        return next((stood[name] for name in names if name in stood), None)

    return {
        **{name: organisation[name] for name in ORGANISATION if name != "name"},
        "organisation": organisation["name"],
        "sms_name": organisation.get("sms_name", organisation["name"])[:SMS_NAME],
        "incident": incident.incident,
        "occurred": date_text(texts, first("occurrence")),
        "discovered": date_text(texts, first("discovery", "detection", "awareness")),
        "contained": date_text(texts, first("end_of_impact", "incident_resolved")),
        "affected_count": affected_count,
        "malicious": _true(facts.get("conditions.malicious")),
        "law_enforcement_hold": _true(facts.get("conditions.law_enforcement_hold")),
    }


def _true(fact: Fact | None) -> bool:
    return fact is not None and fact.state != "unknown" and fact.value is True


def edited(
    notice: NoticeVersion, changes: Mapping[str, Mapping[str, str]], by: str, categories: Sequence[str]
) -> NoticeVersion:
    """A new version of a notice with changed texts.

    Args:
        notice: the current version.
        changes: channel -> {"subject"?, "text"?}; HTML is made again from the text.
        by: who edits.
        categories: data categories that short messages must not name.

    Raises:
        IncidentError: the notice has no message on that channel.
        MessageError: a changed message cannot be sent as written.
    """
    held = {item["channel"]: Message.from_json(item) for item in notice.messages}
    for channel, change in changes.items():
        if channel not in held or not set(change) <= {"subject", "text"}:
            raise IncidentError(
                f"Notice {notice.id} has messages on {', '.join(sorted(held))}, each with subject and text."
            )
        old = held[channel]
        text = change.get("text", old.text)
        held[channel] = Message(
            old.channel,
            old.language,
            old.audience,
            change.get("subject", old.subject),
            text,
            None if old.html is None else to_html(text),
        )
        held[channel].check()
    plan = Plan(
        audience=Message.from_json(notice.messages[0]).audience,
        language=notice.language,
        form=notice.form,
        jurisdictions=notice.jurisdictions,
        duties=notice.duties,
        categories=tuple(categories),
    )
    messages = list(held.values())
    findings = relint(plan, shipped(notice.language), messages, notice.elements)
    return _version(plan, messages, notice.elements, findings, by)


@dataclass(frozen=True)
class CampaignPlan:
    """One campaign that is to be opened: all tellings of one form."""

    form: str
    notices: Mapping[str, str]
    messages: tuple[Message, ...]
    recipients: tuple[Recipient, ...]


def already_told(ledger: Ledger, incident: Incident) -> frozenset[tuple[str, str, str]]:
    """(notice, person, addressee) of finished campaigns whose notice still is the current version."""
    found: set[tuple[str, str, str]] = set()
    with ledger.database.read() as connection:
        for campaign in incident.campaigns.values():
            if campaign.mode != incident.mode or campaign.finished_at is None:
                continue
            same = {name for name, held in campaign.notices.items() if incident.notice(name).content_hash == held}
            for telling in outbox.tellings_of(connection, campaign.id):
                person, addressee = telling.recipient.person, telling.recipient.addressee
                found.update((name, person, addressee) for name in same)
    return frozenset(found)


def campaign_plans(
    ledger: Ledger, incident: Incident, told: Told, done: frozenset[tuple[str, str, str]] = frozenset()
) -> list[CampaignPlan]:
    """What is to be dispatched, one campaign per form of notice.

    Args:
        ledger: for the references.
        incident: with its notices.
        told: who is to be told.
        done: tellings that were made before with the same text, see `already_told`.

    Raises:
        IncidentError: a notice that somebody needs was not drafted.
    """
    by_form: dict[str, list[Telling]] = {}
    for item in told.tellings:
        if (item.notice, item.member.ref, item.addressee) not in done:
            by_form.setdefault(item.form, []).append(item)
    made = []
    for form, group in sorted(by_form.items(), key=lambda pair: (pair[0] != STANDARD, pair[0])):
        notices = {name: incident.notice(name) for name in sorted({item.notice for item in group})}
        messages = [Message.from_json(item) for notice in notices.values() for item in notice.messages]
        made.append(
            CampaignPlan(
                form=form,
                notices={name: notice.content_hash for name, notice in notices.items()},
                messages=tuple(messages),
                recipients=tuple(_recipient(ledger, incident, item) for item in group),
            )
        )
    return made


def _recipient(ledger: Ledger, incident: Incident, item: Telling) -> Recipient:
    return Recipient(
        person=item.member.ref,
        addressee=item.addressee,
        audience=item.audience,
        language=item.language,
        reference=reference(ledger, incident.incident, item.member.ref, item.addressee),
    )


def reference(ledger: Ledger, incident: str, person: str, addressee: str) -> str:
    """The case number an addressee can quote: a keyed hash, the same on every run, telling nobody anything."""
    tag = ledger.vault.fingerprint(f"notice reference\n{incident}\n{person}\n{addressee}".encode())
    return f"{incident}-{base64.b32encode(tag[:_CODE_BYTES]).decode()}"


def sender_of(incident: Incident) -> Sender:
    """The organisation as its people know it."""
    known = incident.organisation
    sender = Sender(
        name=known["name"],
        email=known.get("sender_email", known["contact_email"]),
        reply_to=known["contact_email"],
        phone=known["contact_phone"],
        website=known["website"],
        postal=tuple(part.strip() for part in known["contact_address"].split(",")),
        sms=known.get("sms_sender", ""),
    )
    sender.check()
    return sender


def duties_met(incident: Incident) -> dict[str, str]:
    """Individuals' duties that the finished campaigns fulfil, each with its evidence in words.

    A duty counts as met when every campaign that carries it is finished, and everybody was reached or, for
    those who were not, a public announcement was made. In an exercise this plays out the same way: its drill
    campaigns fulfil its duties, and nobody's.
    """
    carried: dict[str, list[str]] = {}
    for campaign in incident.campaigns.values():
        if campaign.mode != incident.mode:
            continue
        for notice in campaign.notices:
            for duty in incident.notice(notice).duties:
                if campaign.id not in carried.setdefault(duty, []):
                    carried[duty].append(campaign.id)
    met: dict[str, str] = {}
    for duty, names in carried.items():
        books = [incident.campaigns[name].balance for name in names]
        if any(book is None for book in books):
            continue
        missed = sum(int(book.get("failed", 0)) + int(book.get("excluded", 0)) for book in books if book is not None)
        if missed and not incident.announcements:
            continue
        evidence = f"campaign {', '.join(names)}"
        met[duty] = f"{evidence}; {missed} not reached one by one, public announcement" if missed else evidence
    return met
