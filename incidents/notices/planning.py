"""Whom to tell what: from affected people and decisions to tellings, and from those to notices.

Pure. Whether a duty reaches a person is asked of the law engine itself, once per jurisdiction, with the same
facts as if only the people living there were affected; a duty that does not look at residence (such as that
of a controller established in the EEA) thereby reaches everybody it reaches.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from incidents.law import OWED, Duty, Law
from incidents.law.places import Area
from incidents.notices.drafting import Plan
from incidents.notices.templates import pick
from incidents.people.affected import AffectedSet, Confidence, Member, Profile
from notifiers.messages import Audience

TOLD: Final[tuple[Confidence, ...]] = ("confirmed", "probable")
"""Who is told unless somebody decides otherwise: a listing alone shows no contents."""

STANDARD: Final = "standard"

CREDIT: Final = frozenset({"ssn", "drivers_license", "state_id"})
"""Data with which credit is opened in the US: Cal. Civ. Code 1798.82(d)(2)(F) then asks for the bureaus."""


@dataclass(frozen=True)
class Reach:
    """What the law says for the people of one jurisdiction.

    Attributes:
        duties: individuals' duties that are owed to them.
        held: whether one of these is delayed, so that nobody there may be told yet.
    """

    duties: tuple[Duty, ...]
    held: bool


@dataclass(frozen=True)
class Telling:
    """One telling that is owed: this person's data, told to this addressee, by this notice.

    Attributes:
        member: the person concerned.
        addressee: pseudonym of who is told.
        audience: person, child or guardian.
        language: BCP 47 tag the addressee reads.
        form: form of the notices where the person lives; one campaign per form.
        notice: id of the notice that tells it.
    """

    member: Member
    addressee: str
    audience: Audience
    language: str
    form: str
    notice: str

    @property
    def notice_form(self) -> str:
        """Form of the notice itself: a child's is always the standard one."""
        return STANDARD if self.audience == "child" else self.form


def individual_duties(decisions: Iterable[Mapping[str, Any]], law: Law) -> dict[str, str]:
    """Owed duties whose recipients are the people themselves: id to result."""
    return {
        item["duty"]: item["result"]
        for item in decisions
        if item["result"] in OWED and law.duty(item["duty"]).recipient.kind == "individuals"
    }


def reach(
    law: Law, facts: Mapping[str, Any], decisions: Iterable[Mapping[str, Any]], codes: Iterable[str]
) -> dict[str, Reach]:
    """Per jurisdiction, which of the owed individuals' duties reach the people who live there."""
    owed = individual_duties(decisions, law)
    groups = law.vocabulary.groups
    found: dict[str, Reach] = {}
    for code in sorted(set(codes)):
        there = [item for item in facts.get("affected", []) if item["jurisdiction"] == code]
        alone = {**facts, "affected": there or [{"jurisdiction": code}]}
        if "minors" in facts and not any(item.get("minors") for item in there):
            alone["minors"] = False
        said = {item.duty for item in law.assess(alone) if item.result in OWED}
        duties = [law.duty(name) for name in owed if name in said or code in Area(law.duty(name).jurisdictions, groups)]
        held = any(owed[duty.id] == "delayed" for duty in duties)
        found[code] = Reach(tuple(duties), held)
    return found


def form_of(code: str | None, duties: Iterable[Duty]) -> str:
    """The form of the notice for people of a jurisdiction."""
    named = [duty for duty in duties if code in duty.jurisdictions]
    if code is not None and any("required_form" in duty.content for duty in named) and code == "US-CA":
        return "us-ca"
    if code is not None and any(duty.content_prohibited for duty in named):
        return code.lower()
    return "us" if code is not None and code.startswith("US") else STANDARD


def tellings(
    affected: AffectedSet,
    reached: Mapping[str, Reach],
    guardians: Mapping[str, Profile],
    *,
    everybody: bool = False,
    confidence: Iterable[Confidence] = TOLD,
) -> list[Telling]:
    """Who is told, through whom, by which notice.

    Args:
        affected: the frozen set.
        reached: `reach` for all jurisdictions in it.
        guardians: profiles of guardians, by pseudonym.
        everybody: also those to whom no duty is owed.
        confidence: which members are told at all.
    """
    wanted = frozenset(confidence)
    found: list[Telling] = []
    for member in affected.members:
        law = reached.get(member.jurisdiction or "", Reach((), held=False))
        if member.confidence not in wanted or law.held or not (everybody or law.duties):
            continue
        found += _tellings_of(member, form_of(member.jurisdiction, law.duties), guardians)
    return found


def _tellings_of(member: Member, form: str, guardians: Mapping[str, Profile]) -> list[Telling]:
    def telling(addressee: str, audience: Audience, language: str | None) -> Telling:
        notice = Plan(audience, pick(language), STANDARD if audience == "child" else form).id
        return Telling(member, addressee, audience, language or "en", form, notice)

    if not member.under_18 or not member.guardians:
        # Without a guardian on file a minor gets the full text: nobody else would.
        return [telling(member.ref, "person", member.language)]
    told = [telling(member.ref, "child", member.language)]
    for guardian in member.guardians:
        profile = guardians.get(guardian, Profile())
        told.append(telling(guardian, "guardian", profile.language or member.language))
    return told


def plans(told: Iterable[Telling], reached: Mapping[str, Reach], public_languages: Iterable[str] = ()) -> list[Plan]:
    """The notices that these tellings need, and a public one per language."""
    members: dict[tuple[Audience, str, str], list[Member]] = {}
    everyone: list[Member] = []
    for item in told:
        members.setdefault((item.audience, pick(item.language), item.notice_form), []).append(item.member)
        everyone.append(item.member)
    found = [
        _plan(audience, language, form, group, reached) for (audience, language, form), group in sorted(members.items())
    ]
    if everyone:
        languages = sorted({pick(item) for item in public_languages})
        found += [_plan("public", language, STANDARD, everyone, reached) for language in languages]
    return found


def _plan(
    audience: Audience, language: str, form: str, members: Iterable[Member], reached: Mapping[str, Reach]
) -> Plan:
    group = list(members)
    codes = sorted({item.jurisdiction for item in group if item.jurisdiction})
    duties = {duty.id: duty for code in codes for duty in reached[code].duties}
    prohibited: set[str] = set()
    if form not in (STANDARD, "us", "us-ca"):
        prohibited = {item for duty in duties.values() for item in duty.content_prohibited}
    kinds = {item.data_categories for item in group}
    categories = {item for held in kinds for item in held}
    demanded = {item for duty in duties.values() for item in duty.content}
    if categories & CREDIT and any("cra_contacts_if_ssn_dl" in duty.content_detail for duty in duties.values()):
        demanded.add("cra_contacts")
    return Plan(
        audience=audience,
        language=language,
        form=form,
        jurisdictions=tuple(codes),
        duties=tuple(sorted(duties)),
        demanded=frozenset(demanded),
        prohibited=frozenset(prohibited),
        categories=tuple(sorted(categories)),
        categories_differ=len(kinds) > 1,
    )
