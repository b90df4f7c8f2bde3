"""The dispatcher as the rest of Tocsin sees it: open a campaign, look at it, run it, stop it.

Example:
    >>> dispatcher = Dispatcher(ledger, adapters=[SmtpAdapter(...), LetterAdapter(...)])
    >>> preflight = dispatcher.open_campaign(
    ...     "2026-03-notice-1", incident=incident, messages=messages, recipients=recipients, sender=sender
    ... )
    >>> report = dispatcher.run("2026-03-notice-1", progress=show)
    >>> dispatcher.finish("2026-03-notice-1")  # refuses while anything is queued

A campaign is one notice version to one audience; a correction is a new campaign. Opening one sends
nothing. Every step of its life is an event of the log, written in the transaction that changes the outbox.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from ledger import Ledger, OwnEvent
from ledger.encoding import canonical, format_time, parse_time
from ledger.store.connection import Connection
from notifiers import claims, outbox
from notifiers.adapters import Adapter, Registry
from notifiers.adapters.sink import SinkAdapter
from notifiers.balance import Balance
from notifiers.contacts import Contacts, VaultContacts
from notifiers.dispatch import Settings, Worker
from notifiers.errors import (
    AdapterError,
    BalanceOpenError,
    CampaignStateError,
    PlanError,
)
from notifiers.identity import KEY_SIZE
from notifiers.lease import new_owner
from notifiers.messages import CHANNELS, MODES, Message, Mode, Recipient, Sender
from notifiers.opening import definition, write_plan
from notifiers.outbox import TABLES, Campaign, milliseconds
from notifiers.plan import Preflight, catalogue, plan, summarise
from notifiers.prepare import Composer
from notifiers.receipts import Receipt, receipts_of
from notifiers.views import Report, Status

PAUSED: Final = "org.tocsin.dispatch.paused.v1"
RESUMED: Final = "org.tocsin.dispatch.resumed.v1"
CANCELLED: Final = "org.tocsin.dispatch.cancelled.v1"
EXPIRED: Final = "org.tocsin.dispatch.expired.v1"
FINISHED: Final = "org.tocsin.dispatch.finished.v1"

COPY: Final = "restored_copy"
"""Why a campaign pauses itself: the database is not the one the campaign was opened in."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_REASON = re.compile(r"[a-z0-9_]{1,64}", re.ASCII)


class Dispatcher:
    """Campaigns of one ledger.

    Args:
        ledger: where the outbox and the log are.
        adapters: one per channel; not needed for opening, reading, pausing.
        contacts: where addresses come from; by default the ledger's vault.
        clock: gives the present, aware; by default the ledger's.
        entropy: gives n random bytes; by default the ledger's.
        settings: how the worker works.
        monotonic: seconds, for pacing.
        sleep: waits that many seconds.

    Raises:
        AdapterError: two adapters for one channel.
    """

    def __init__(
        self,
        ledger: Ledger,
        adapters: Sequence[Adapter] = (),
        contacts: Contacts | None = None,
        *,
        clock: Callable[[], datetime] | None = None,
        entropy: Callable[[int], bytes] | None = None,
        settings: Settings | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._ledger = ledger
        self._adapters: dict[str, Adapter] = {}
        for adapter in adapters:
            if adapter.channel in self._adapters:
                raise AdapterError(f"There are two adapters for {adapter.channel}; keep one.")
            self._adapters[adapter.channel] = adapter
        self._contacts = contacts if contacts is not None else VaultContacts(ledger)
        self._clock = clock if clock is not None else ledger.clock
        self._entropy = entropy if entropy is not None else ledger.entropy
        self._settings = settings if settings is not None else Settings()
        self._monotonic = monotonic
        self._sleep = sleep
        ledger.database.ensure(TABLES)

    def open_campaign(
        self,
        campaign: str,
        *,
        incident: str,
        messages: Sequence[Message],
        recipients: Iterable[Recipient],
        sender: Sender,
        mode: Mode = "live",
        not_after: datetime | None = None,
    ) -> Preflight:
        """Plan a campaign and write it down; nothing is sent.

        Repeating the call is safe: with the same texts, sender and mode it adds only recipients that are
        new, so an interrupted caller simply calls again.

        Args:
            campaign: its name: letters, digits, ".", "_", "-", at most 64.
            incident: what it belongs to; becomes the correlation of its events.
            messages: the approved texts, one per channel, audience and language.
            recipients: what is owed.
            sender: the organisation.
            mode: "live", or "drill", which can reach nobody.
            not_after: when what is still queued expires; None for never.

        Raises:
            PlanError, MessageError: recipients and texts do not fit together; nothing was written.
            CampaignConflictError: a campaign of that name has other texts, sender, incident or mode.
            CampaignStateError: it was cancelled or finished.
        """
        if _NAME.fullmatch(campaign) is None or mode not in MODES:
            raise PlanError("A campaign's name is 1 to 64 of A-Z a-z 0-9 . _ - and its mode is live or drill.")
        sender.check()
        texts = [message for message in messages if message.channel != "public"]
        table = catalogue(texts)
        owed = list(recipients)
        cards = self._contacts.cards(dict.fromkeys(recipient.addressee for recipient in owed))
        reach = {ref: {name: len(found) for name, found in card.addresses.items()} for ref, card in cards.items()}
        tellings = plan(owed, reach, table)
        moment = self._clock()
        key = self._entropy(KEY_SIZE)
        row = Campaign(
            campaign=campaign,
            incident=incident,
            mode=mode,
            state="open",
            reason="",
            key=key,
            sender=sender.as_json(),
            definition=definition(incident, mode, sender, texts),
            instance=self._instance(),
            opened=format_time(moment),
            not_after=None if not_after is None else milliseconds(not_after),
            owed=len(tellings),
        )
        Composer(
            campaign, key=key, mode=mode, sender=sender, opened=moment, messages=texts
        )  # refuses what could not be sent, before it is owed
        write_plan(self._ledger, row, texts, tellings, milliseconds(moment))
        return self.preflight(campaign)

    def preflight(self, campaign: str) -> Preflight:
        """What the campaign will do, from the rows as they were planned.

        Raises:
            CampaignNotFoundError: no such campaign.
        """
        with self._ledger.database.read() as connection:
            row = outbox.load(connection, campaign)
            texts = outbox.messages_of(connection, campaign)
            tellings = outbox.tellings_of(connection, campaign)
        rates = {name: adapter.capabilities.rate for name, adapter in self._registry(row.mode).items()}
        return summarise(campaign, tellings, catalogue(texts), rates)

    def run(
        self,
        campaign: str,
        *,
        progress: Callable[[Balance], None] | None = None,
        patience: timedelta = timedelta(0),
    ) -> Report:
        """Send what is due and return; see `run_async`."""
        return asyncio.run(self.run_async(campaign, progress=progress, patience=patience))

    async def run_async(
        self,
        campaign: str,
        *,
        progress: Callable[[Balance], None] | None = None,
        patience: timedelta = timedelta(0),
    ) -> Report:
        """Send what is due, until nothing more can be done now.

        Args:
            campaign: its name.
            progress: called with the book, on the event loop, a few times a second.
            patience: how long to wait for retries that are due later.

        Raises:
            CampaignNotFoundError: no such campaign.
            CampaignStateError: it is paused, cancelled or finished.
            StoreError: the database refused.
        """
        row, texts = await asyncio.to_thread(self._start, campaign)
        registry = self._registry(row.mode)
        worker = Worker(
            self._ledger,
            row,
            Composer(
                campaign,
                key=row.key,
                mode=row.mode,
                sender=Sender.from_json(row.sender),
                opened=parse_time(row.opened),
                messages=texts,
            ),
            registry,
            self._contacts,
            owner=new_owner(self._entropy),
            settings=self._settings,
            clock=self._clock,
            entropy=self._entropy,
            monotonic=self._monotonic,
            sleep=self._sleep,
            progress=progress,
        )
        try:
            return await worker.run(patience)
        finally:
            for adapter in registry.values():
                await adapter.close()

    def _start(self, campaign: str) -> tuple[Campaign, list[Message]]:
        """Check that the campaign may run here and now."""
        row = self._load(campaign)
        if row.state == "open" and row.instance != self._instance():
            # A copy of the database may be older than what was already sent from the original.
            self._change(campaign, "paused", allowed=("open",), reason=COPY, event_type=PAUSED)
            row = self._load(campaign)
        if row.state != "open":
            raise CampaignStateError(_why_not(row))
        now = milliseconds(self._clock())
        if row.not_after is not None and now > row.not_after:
            self._expire(row, now)
        with self._ledger.database.read() as connection:
            texts = outbox.messages_of(connection, campaign)
        return row, texts

    def _expire(self, row: Campaign, now: int) -> None:
        with self._ledger.database.read() as connection:
            due = sum(outbox.due_by_channel(connection, row.campaign).values())
        if due:
            event = OwnEvent(EXPIRED, {"campaign": row.campaign, "messages": due}, correlation=row.incident)
            self._ledger.record(
                [event],
                lambda connection, _: _ignore(claims.close_due(connection, row.campaign, "expired", "expired", now)),
            )

    def _registry(self, mode: str) -> Registry:
        """The adapters of a run. A drill is given sinks and nothing else: there is no real one to slip in."""
        if mode == "drill":
            return {channel: SinkAdapter(channel) for channel in CHANNELS if channel != "public"}  # type: ignore[arg-type]  # CHANNELS are the literals
        return self._adapters

    def balance(self, campaign: str) -> Balance:
        """The book.

        Raises:
            CampaignNotFoundError: no such campaign.
            BalanceError: it does not add up.
        """
        with self._ledger.database.read() as connection:
            book = outbox.balance(connection, campaign)
        book.check()
        return book

    def status(self, campaign: str) -> Status:
        """Where the campaign stands.

        Raises:
            CampaignNotFoundError: no such campaign.
            BalanceError: the book does not add up.
        """
        row = self._load(campaign)
        return Status(row.campaign, row.incident, row.mode, row.state, row.reason, self.balance(campaign))

    def campaigns(self) -> tuple[Status, ...]:
        """All campaigns, oldest first."""
        with self._ledger.database.read() as connection:
            known = outbox.names(connection)
        return tuple(self.status(name) for name in known)

    def pause(self, campaign: str, reason: str = "operator") -> None:
        """Stop claiming; messages already in a provider's hands are recorded as they finish.

        Args:
            campaign: its name.
            reason: short code in lower case.

        Raises:
            CampaignStateError: it is not open.
        """
        self._change(campaign, "paused", allowed=("open",), reason=reason, event_type=PAUSED)

    def resume(self, campaign: str) -> None:
        """Let a paused campaign run again, here: this database becomes the one it runs in.

        Raises:
            CampaignStateError: it is not paused.
        """
        self._change(campaign, "open", allowed=("paused",), reason="", event_type=RESUMED)

    def cancel(self, campaign: str, reason: str = "operator") -> None:
        """Give up what is still queued; those tellings are excluded with reason "cancelled".

        Raises:
            CampaignStateError: it is finished or cancelled already.
        """
        self._change(campaign, "cancelled", allowed=("open", "paused"), reason=reason, event_type=CANCELLED)

    def finish(self, campaign: str) -> Balance:
        """Close the book for good.

        Raises:
            BalanceOpenError: tellings are still queued.
            BalanceError: the book does not add up.
            CampaignStateError: it is finished already.
        """
        book = self.balance(campaign)
        if not book.closed:
            raise BalanceOpenError(
                f"Campaign {campaign} still owes {book.queued} of {book.owed} tellings "
                f"({book.open_messages} messages are queued); run it again, or cancel it with a reason."
            )
        self._change(
            campaign,
            "finished",
            allowed=("open", "paused", "cancelled"),
            reason="",
            event_type=FINISHED,
            extra={"balance": book.as_json()},
        )
        return book

    def receipts(self, campaign: str, person: str) -> tuple[Receipt, ...]:
        """One person's receipts with their proofs, see `notifiers.receipts`.

        Raises:
            CampaignNotFoundError: no such campaign.
            ReceiptError: outbox and log do not agree.
        """
        return receipts_of(self._ledger, campaign, person)

    def _load(self, campaign: str) -> Campaign:
        with self._ledger.database.read() as connection:
            return outbox.load(connection, campaign)

    def _change(
        self,
        campaign: str,
        state: str,
        *,
        allowed: Sequence[str],
        reason: str,
        event_type: str,
        extra: dict[str, Any] | None = None,
    ) -> None:
        if reason and _REASON.fullmatch(reason) is None:
            raise PlanError("A reason is a short code of a-z, 0-9 and _, such as legal_hold.", field="/reason")
        row = self._load(campaign)
        data = {"campaign": campaign, "reason": reason, **(extra or {})}
        now = milliseconds(self._clock())
        instance = self._instance()

        def also(connection: Connection, _indices: Sequence[int]) -> None:
            current = outbox.load(connection, campaign)
            if current.state not in allowed:
                raise CampaignStateError(
                    f"Campaign {campaign} is {current.state}, so it cannot become {state}; nothing was changed."
                )
            if state == "finished" and not outbox.balance(connection, campaign).closed:
                raise BalanceOpenError(f"Campaign {campaign} has queued tellings again; run it once more.")
            outbox.set_state(connection, campaign, state, reason)
            if state == "open":
                outbox.adopt(connection, campaign, instance)
            if state == "cancelled":
                claims.close_due(connection, campaign, "cancelled", "cancelled", now)

        self._ledger.record([OwnEvent(event_type, data, correlation=row.incident)], also)

    def _instance(self) -> str:
        """Names this very store: a copy, or one put back from a backup, has another name."""
        # A restored file may get the number of the one it replaces, so the restoration counts too.
        text = canonical([self._ledger.database.identity, self._ledger.config.instance])
        return hashlib.sha256(text).hexdigest()[:16]


def _why_not(row: Campaign) -> str:
    if row.state != "paused":
        return f"Campaign {row.campaign} is {row.state}; nothing is left to run."
    if row.reason == COPY:
        return (
            f"Campaign {row.campaign} is paused: this database is a copy or was restored from a backup, and may "
            "not know what was already sent. Compare with the providers' logs, then resume it."
        )
    return f"Campaign {row.campaign} is paused ({row.reason}); resume it first."


def _ignore(_value: object) -> None:
    """Drop a result where a callback must return None."""
