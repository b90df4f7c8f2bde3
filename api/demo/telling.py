"""Second act: notices drafted, approved by somebody else, sent, and accounted for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import orjson

from api.demo import story, tables
from api.demo.errors import DemoError
from api.demo.people import DEAD_MAIL
from api.demo.stage import CONSOLE, Stage
from incidents.errors import FourEyesError
from ledger.encoding import parse
from notifiers.balance import Balance
from notifiers.errors import CampaignNotFoundError

PATIENCE: Final = timedelta(seconds=60)
"""How long dispatch waits for retries that are due later."""


def draft(stage: Stage) -> None:
    """Draft every notice that is owed."""
    with stage.narrator.step("Draft the notices in English, Spanish and Chinese"):
        if not stage.view().notices:
            stage.service.draft_notices(stage.incident, by=story.RESPONDER, narrative=story.narrative())
        notices = stage.view().notices
        remarks = sorted({finding.message for notice in notices for finding in notice.findings})
        stage.narrator.say(
            f"{len(notices)} notices by {story.RESPONDER}, each with the elements its duties demand: "
            f"{', '.join(notice.id for notice in notices)}."
        )
        for remark in remarks:
            stage.narrator.say(f"For the approver to weigh: {remark}")


def approve(stage: Stage) -> None:
    """The author is refused; somebody else approves."""
    with stage.narrator.step("Approve them: never one's own"):
        waiting = [notice for notice in stage.view().notices if notice.approver is None]
        if waiting:
            first = waiting[0]
            try:
                stage.service.approve(stage.incident, first.id, first.content_hash, by=story.RESPONDER)
            except FourEyesError as error:
                stage.narrator.caught(f"{story.RESPONDER} tries to approve {first.id}: {error}")
            else:
                raise DemoError(f"The author of {first.id} could approve it; the four-eyes rule did not hold.")
        for notice in waiting:
            stage.service.approve(stage.incident, notice.id, notice.content_hash, by=story.COUNSEL)
        count = len(stage.view().notices)
        stage.narrator.good(f"{story.COUNSEL} approved {count} notices, each by the hash of its content.")


def announce(stage: Stage) -> None:
    """Publish the public notices."""
    with stage.narrator.step("Publish the announcement, for those whom no message reaches"):
        if not stage.view().announcements:
            stage.service.announce(
                stage.incident, by=story.COUNSEL, directory=stage.place.public, base_url=f"{CONSOLE}notices"
            )
        pages = sorted(path.name for path in stage.place.public.glob("*.html"))
        stage.narrator.say(f"{', '.join(pages)} and an Atom feed in {stage.place.public}")


def dispatch(stage: Stage) -> list[Mapping[str, Any]]:
    """Send everything that is owed; returns the books of all campaigns."""
    with stage.narrator.step("Tell the people"):
        running = _campaigns(stage)
        for name in running:
            _run(stage, name)
        for name in running:
            stage.service.finish(stage.incident, name, by=story.RESPONDER)
        books: list[Mapping[str, Any]] = [
            stage.dispatcher.balance(item.id).as_json() for item in stage.view().campaigns
        ]
        _say_taken(stage, books)
        if not all(book["closed"] for book in books):
            raise DemoError("The balance does not close: somebody is still owed a notice. Run the demo again.")
        book = tables.totals(books)
        stage.narrator.good(
            f"The balance closes: {book['owed']:,} owed = {book['handed_over']:,} handed over + "
            f"{book['delivered']:,} delivered + {book['failed']:,} failed + {book['excluded']:,} excluded; "
            "nothing is queued."
        )
    return books


def _campaigns(stage: Stage) -> list[str]:
    """Campaigns that are to be run; opened unless all of them were."""
    known = stage.view().campaigns
    opened = bool(known) and all(_is_open(stage, item.id) for item in known)
    if opened:
        return [item.id for item in known if item.finished_at is None]
    return list(stage.service.open_campaign(stage.incident, by=story.COUNSEL))


def _is_open(stage: Stage, campaign: str) -> bool:
    try:
        stage.dispatcher.status(campaign)
    except CampaignNotFoundError:
        return False
    return True


def _run(stage: Stage, campaign: str) -> None:
    if stage.dispatcher.status(campaign).state != "open":
        return
    owed = stage.dispatcher.balance(campaign).owed
    with stage.narrator.bar(campaign) as tell:

        def show(book: Balance) -> None:
            tell(owed - book.queued, owed)

        report = stage.dispatcher.run(campaign, progress=show, patience=PATIENCE)
    if report.halted:
        raise DemoError(f"Campaign {campaign} was stopped: {' '.join(report.problems)}")


def _say_taken(stage: Stage, books: Sequence[Mapping[str, Any]]) -> None:
    mail, phone = stage.mail, stage.phone
    if mail.taken or phone.taken:
        stage.narrator.say(
            f"The local servers took {mail.taken:,} emails over SMTP, {phone.taken['sms']:,} SMS and "
            f"{phone.taken['push']:,} push messages over HTTP. {mail.refused:,} mailboxes and "
            f"{phone.refused['push']:,} devices no longer exist: for these the next channel was tried."
        )
    by_channel = tables.told_by_channel(books)
    stage.narrator.say(f"Told by channel: {', '.join(f'{name} {count:,}' for name, count in by_channel.items())}.")
    reasons = ", ".join(f"{reason}: {count:,}" for reason, count in tables.not_told(books).items())
    stage.narrator.say(f"Not told one by one ({reasons}); for them the announcement is public.")
    stage.narrator.say(f"Letters lie as PDF in {stage.place.letters}")
    repeated = sum(int(book["possibly_repeated"]) for book in books)
    if repeated:
        stage.narrator.say(f"{repeated:,} may have been told twice, because a run was cut off; each is marked.")


def show_receipts(stage: Stage) -> None:
    """What the log keeps of telling one person."""
    with stage.narrator.step("Look at one person's receipts"):
        for ref in _candidates(stage):
            lines = [line for item in stage.view().campaigns for line in _receipts(stage, item.id, ref)]
            if lines:
                for line in lines:
                    stage.narrator.say(line)
                return
        raise DemoError("Nobody has a receipt, although people were told.")


def _receipts(stage: Stage, campaign: str, ref: str) -> list[str]:
    lines = []
    for receipt in stage.dispatcher.receipts(campaign, ref):
        leaf = parse(receipt.leaf)
        why = f" ({leaf['reason']})" if leaf.get("reason") else ""
        lines.append(
            f"{ref[:10]}… by {leaf['channel']}: {leaf['outcome'].replace('_', ' ')}{why}; "
            f"leaf {receipt.position} of {receipt.size} under the root in entry {receipt.entry_index:,} of the log"
        )
    return lines


def _candidates(stage: Stage) -> list[str]:
    """Affected people, those first whose mailbox is gone and who can be told another way."""
    gone = []
    for line in stage.world.people.read_bytes().splitlines():
        person = orjson.loads(line)
        mailboxes = person["contacts"].get("email", ())
        if len(person["contacts"]) > 1 and any(address.endswith(DEAD_MAIL) for address in mailboxes):
            gone.append(stage.ledger.vault.find("subject", person["id"]))
    affected = [member.ref for member in stage.service.affected(stage.incident).members]
    return [ref for ref in gone if ref in set(affected)] + affected
