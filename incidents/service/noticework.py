"""Telling people: drafts, approvals, campaigns, announcements."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from incidents.case.aggregate import Incident
from incidents.case.records import Campaign
from incidents.errors import IncidentError
from incidents.notices import notifying
from incidents.notices.drafting import differences
from incidents.notices.notifying import CampaignPlan, Narrative
from incidents.notices.planning import STANDARD
from incidents.people import scoping
from incidents.service.casework import Casework
from incidents.views import NoticeView
from ledger.encoding import parse_time
from notifiers.messages import Message
from notifiers.publish import Published, publish

if TYPE_CHECKING:
    from notifiers.service import Dispatcher


class NoticeWork(Casework):
    """Commands about notices; see `incidents.service` for the whole."""

    def draft_notices(
        self, incident: str, *, by: str, narrative: Narrative, everybody: bool = False
    ) -> tuple[NoticeView, ...]:
        """Draft every notice that is owed; unchanged ones keep their version and approval.

        Args:
            incident: short id.
            by: the author, who cannot approve.
            narrative: language (`en`, `es`, `zh-Hans`) -> slot -> text. Always needed: `what_happened`,
                `measures_taken`; for California also `services` (what is offered, or that nothing is).
                Further slots: `incidents.notices.drafting.NARRATIVE`.
            everybody: also for affected people to whom no duty is owed.
        """
        held, who, now = self._app.load(incident), self._app.who(by), self._now()
        members = scoping.previous(self.ledger, held)
        told = notifying.whom(self.ledger, self.law, held, members, everybody=everybody)
        drafts = notifying.compose(held, told, narrative, who, affected_count=members.count)
        for made in drafts:
            held.draft_notice(made, at=now)
        self._app.keep(held)
        wanted = {made.id for made in drafts}
        return tuple(item for item in self.view(incident).notices if item.id in wanted)

    def edit_notice(
        self, incident: str, notice: str, changes: Mapping[str, Mapping[str, str]], *, by: str
    ) -> NoticeView:
        """Change texts of a notice (channel -> subject, text): a new version, which needs a new approval."""
        held, who = self._app.load(incident), self._app.who(by)
        summary = held.scopes[-1].summary if held.scopes else {}
        made = notifying.edited(held.notice(notice), changes, who, summary.get("data_categories", ()))
        held.draft_notice(made, at=self._now())
        self._app.keep(held)
        return next(item for item in self.view(incident).notices if item.id == notice)

    def notice_difference(self, incident: str, notice: str) -> list[str]:
        """The current version of a notice against its last approved one, line by line; empty without one."""
        versions = self._app.load(incident).notices.get(notice, [])
        approved = [item for item in versions[:-1] if item.approver is not None]
        if not approved:
            return []
        old, new = ([Message.from_json(item) for item in held.messages] for held in (approved[-1], versions[-1]))
        return differences(old, new)

    def approve(self, incident: str, notice: str, content_hash: str, *, by: str) -> int:
        """Approve the current version of a notice; returns the leaf index.

        Raises:
            FourEyesError: `by` is its author, in whatever spelling.
            ApprovalError: the hash is not that of the current version, or the notice has errors.
        """
        held = self._app.load(incident)
        held.approve_notice(notice, content_hash, by=self._app.who(by), at=self._now())
        return self._app.keep(held)[0]

    def open_campaign(self, incident: str, *, by: str, everybody: bool = False) -> tuple[str, ...]:
        """Hand approved notices to the dispatcher, one campaign per form of notice.

        The campaigns of an exercise are drills: the dispatcher gives them sinks instead of transports, and marks
        every message.

        Repeating it after a crash resumes the same campaigns: their names follow from the incident, and the
        dispatcher takes the same campaign only once. After a campaign is finished, another one goes only to
        those who came to light since, unless the text of their notice changed.

        Raises:
            ApprovalError: a notice is not approved; nothing was opened.
        """
        dispatcher = self._dispatcher()
        held, who, now = self._app.load(incident), self._app.who(by), self._now()
        members = scoping.previous(self.ledger, held)
        told = notifying.whom(self.ledger, self.law, held, members, everybody=everybody)
        done = notifying.already_told(self.ledger, held)
        made = notifying.campaign_plans(self.ledger, held, told, done)
        if not made:
            why = "everybody who is owed a notice was already sent it" if done else "nobody is to be told"
            raise IncidentError(f"There is nothing to send: {why}. Scope and assess again if more came to light.")
        number = 1 + len({item.at for item in held.campaigns.values()})
        names = []
        for item in made:
            name = next((c.id for c in held.campaigns.values() if _resumes(c, held, item)), None)
            if name is None:
                name = f"{incident}-n{number}" + ("" if item.form == STANDARD else f"-{item.form}")
                audience = "everybody" if everybody else "owed"
                held.open_campaign(name, item.notices, owed=len(item.recipients), audience=audience, by=who, at=now)
            names.append(name)
        self._app.keep(held)
        for name, item in zip(names, made, strict=True):
            dispatcher.open_campaign(
                name,
                incident=incident,
                messages=item.messages,
                recipients=item.recipients,
                sender=notifying.sender_of(held),
                mode=held.mode,
            )
        return tuple(names)

    def finish(self, incident: str, campaign: str, *, by: str) -> Mapping[str, Any]:
        """Close a campaign once its balance closes; duties to people that are thereby met are marked.

        Raises:
            BalanceOpenError: tellings are still queued.
        """
        held, who, now = self._app.load(incident), self._app.who(by), self._now()
        status = self._dispatcher().status(campaign)
        # The dispatcher may have finished it already, before a crash kept it from being recorded here.
        book = status.balance if status.state == "finished" else self._dispatcher().finish(campaign)
        held.finish_campaign(campaign, book.as_json(), by=who, at=now)
        told_before = {item.duty for item in held.told}
        for duty, evidence in sorted(notifying.duties_met(held).items()):
            if duty not in told_before:
                held.tell(duty, stage=None, told=now, evidence=evidence, by=who, at=now)
        if status.mode == held.mode:
            self._start(held, "individual_notice", now, who, now)
        self._assess(held, who, now)
        self._app.keep(held, lambda connection: self._write_deadlines(connection, held))
        return book.as_json()

    def _dispatcher(self) -> Dispatcher:
        if self.dispatcher is None:
            raise IncidentError("Nothing can be sent: no dispatcher is set up. See `tocsin dispatch --help`.")
        return self.dispatcher

    def announce(self, incident: str, *, by: str, directory: Path, base_url: str) -> Published:
        """Publish the approved public notices as page and feed below `directory`."""
        held, who, now = self._app.load(incident), self._app.who(by), self._now()
        public = {name: versions[-1] for name, versions in held.notices.items() if versions[-1].audience == "public"}
        held.announce({name: item.content_hash for name, item in public.items()}, [base_url], by=who, at=now)
        # Published before it is recorded: a page that the log does not know yet is repaired by repeating this,
        # a record of a page that was never made would be a false statement.
        published = publish(
            [Message.from_json(text) for item in public.values() for text in item.messages],
            directory=directory,
            sender=notifying.sender_of(held),
            slug=incident.lower(),
            base_url=base_url,
            published=parse_time(held.announcements[0]["at"]),
            updated=now,
            mode=held.mode,
        )
        self._app.keep(held)
        return published


def _resumes(campaign: Campaign, incident: Incident, planned: CampaignPlan) -> bool:
    """Whether a campaign that was opened before is the one that is planned now."""
    unfinished = campaign.finished_at is None and campaign.mode == incident.mode
    return unfinished and campaign.notices == planned.notices
