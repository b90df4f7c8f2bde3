"""The worker: claim a few, send them, record them together; until nothing more can be done now.

One feeder claims small batches per channel; senders run at the adapter's concurrency; one recorder wakes
every few milliseconds and writes everything that finished since, with one log entry and one fsync. What
is sent but not yet recorded is bounded by a window, so a crash can repeat at most that many messages.

The database is only touched in threads; everything else happens on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from ledger import Ledger
from ledger.errors import StoreError
from notifiers import claims, outbox
from notifiers.adapters import UNREACHABLE, Adapter, Outcome, Registry
from notifiers.balance import Balance
from notifiers.contacts import Contacts
from notifiers.lease import is_dead
from notifiers.outbox import Claimed, milliseconds
from notifiers.outcomes import Next, decide
from notifiers.pace import Pacer
from notifiers.prepare import EXCLUDED, Composer, Prepared, Refused
from notifiers.record import Done, Halt, Recorder
from notifiers.views import Report

_PROGRESS_S: Final = 0.2
_GLANCE_S: Final = 0.2
"""How often a worker that waits looks whether it was told to stop."""


@dataclass(frozen=True)
class Settings:
    """How a worker works.

    Attributes:
        claim: most steps claimed at once.
        window: most calls sent but not recorded.
        flush_s: how long results are gathered before they are written.
        lease_s: how long a claim holds when its worker cannot be seen.
        breaker: failures to reach a provider, one after the other, after which the channel rests.
        domain_rate: messages per second to one destination domain; None is unlimited.
    """

    claim: int = 100
    window: int = 64
    flush_s: float = 0.015
    lease_s: int = 120
    breaker: int = 3
    domain_rate: float | None = None


@dataclass(eq=False)
class Lane:
    """One channel in a run. Touched only on the event loop."""

    adapter: Adapter
    slots: asyncio.Semaphore
    held: int = 0
    proven: bool = False
    unreachable: int = 0
    halted: str = ""


class Worker:
    """One run over one campaign.

    Args:
        ledger: where the outbox and the log are.
        campaign: its row.
        composer: its compiled texts.
        registry: channel -> adapter; in a drill, sinks.
        contacts: where addresses come from.
        owner: lease owner, see `lease.new_owner`.
        settings: how it works.
        monotonic: seconds on a clock that never goes back, for pacing.
        sleep: waits.
        progress: called with the book now and then.
    """

    def __init__(
        self,
        ledger: Ledger,
        campaign: outbox.Campaign,
        composer: Composer,
        registry: Registry,
        contacts: Contacts,
        *,
        owner: str,
        settings: Settings,
        clock: Callable[[], datetime],
        entropy: Callable[[int], bytes],
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        progress: Callable[[Balance], None] | None,
    ) -> None:
        self._ledger = ledger
        self._campaign = campaign
        self._composer = composer
        self._contacts = contacts
        self._recorder = Recorder(
            ledger,
            campaign,
            owner,
            {channel: adapter.provider for channel, adapter in registry.items()},
            clock,
            entropy,
        )
        self._owner = owner
        self._settings = settings
        self._clock = clock
        self._entropy = entropy
        self._monotonic = monotonic
        self._sleep = sleep
        self._progress = progress
        self._reported = float("-inf")
        self._lanes = {
            channel: Lane(adapter, asyncio.Semaphore(adapter.capabilities.concurrency))
            for channel, adapter in registry.items()
        }
        self._pacer = Pacer(
            {adapter.provider: adapter.capabilities.rate for adapter in registry.values()}, settings.domain_rate
        )
        self._window = asyncio.Semaphore(settings.window)
        self._stopping = False
        self._ending = False
        self._broken = False
        self._finished: list[list[Done]] = []
        self._unsent: list[Claimed] = []
        self._halts: list[Halt] = []
        self._written = asyncio.Event()  # set after every flush
        self._wake = asyncio.Event()  # set when there is something to flush

    async def run(self, patience: timedelta) -> Report:
        """Work until nothing is due, everything is halted, or the campaign is no longer open.

        Args:
            patience: how long to wait for steps that are due later.

        Raises:
            StoreError: the database refused; what it did not take is sent again by the next run and marked.
        """
        recorder = asyncio.create_task(self._record())
        senders: set[asyncio.Task[None]] = set()
        try:
            await self._feed(senders, recorder, patience)
        finally:
            self._stopping = True
            await asyncio.gather(*senders, return_exceptions=True)
            self._ending = True
            self._wake.set()
            try:
                await recorder
            finally:
                await asyncio.to_thread(self._let_go)
        for sender in senders:
            sender.result()  # a programming error in an adapter is not swallowed
        await self._tell(force=True)
        return await asyncio.to_thread(self._report)

    async def _feed(self, senders: set[asyncio.Task[None]], recorder: asyncio.Task[None], patience: timedelta) -> None:
        waited = 0.0
        while not self._stopping and not recorder.done():
            claimed = await self._claim_all(senders)
            for sender in [task for task in senders if task.done()]:
                sender.result()
                senders.discard(sender)
            if claimed:
                waited = 0.0
                continue
            if any(lane.held for lane in self._lanes.values()):
                await self._wait_for_write()
                continue
            delay = await asyncio.to_thread(self._until_due)
            if delay is None or waited + delay > patience.total_seconds():
                return
            pause = min(delay, _GLANCE_S)
            await self._sleep(pause)
            waited += pause
        if recorder.done():
            recorder.result()

    async def _wait_for_write(self) -> None:
        self._written.clear()
        if not any(lane.held for lane in self._lanes.values()):
            return
        try:
            await asyncio.wait_for(self._written.wait(), _GLANCE_S)
        except TimeoutError:
            await asyncio.to_thread(self._glance)

    async def _claim_all(self, senders: set[asyncio.Task[None]]) -> int:
        total = 0
        for channel, lane in self._lanes.items():
            limit = self._room(lane)
            if self._stopping or limit <= 0:
                continue
            steps, cards = await asyncio.to_thread(self._claim, channel, limit)
            lane.held += len(steps)
            total += len(steps)
            size = lane.adapter.capabilities.batch
            for start in range(0, len(steps), size):
                senders.add(asyncio.create_task(self._send(lane, steps[start : start + size], cards)))
        return total

    def _room(self, lane: Lane) -> int:
        """How many steps the lane may claim: few at first, and never more than it can soon send."""
        if lane.halted:
            return 0
        size = lane.adapter.capabilities.batch
        if not lane.proven:
            return 0 if lane.held else size  # a canary: one call, and its answer, before the rest
        rate = lane.adapter.capabilities.rate
        most = self._settings.claim if rate is None else max(size, min(self._settings.claim, int(rate)))
        return most if lane.held <= most // 2 else 0

    def _claim(self, channel: str, limit: int) -> tuple[list[Claimed], Mapping[str, Any]]:
        now = milliseconds(self._clock())
        with self._ledger.database.write() as connection:
            claims.reclaim(connection, self._campaign.campaign, now=now, is_dead=is_dead)
            steps = claims.claim(
                connection,
                self._campaign.campaign,
                channel,
                owner=self._owner,
                now=now,
                until=now + self._settings.lease_s * 1000,
                limit=limit,
            )
            self._stopping |= outbox.load(connection, self._campaign.campaign).state != "open"
        people = {ref for step in steps for ref in (step.addressee, step.person)}
        return steps, self._contacts.cards(people) if people else {}

    def _glance(self) -> None:
        with self._ledger.database.read() as connection:
            self._stopping |= outbox.load(connection, self._campaign.campaign).state != "open"

    def _until_due(self) -> float | None:
        """Seconds until the next step of an open lane is due; None when there is none."""
        channels = [channel for channel, lane in self._lanes.items() if not lane.halted]
        with self._ledger.database.read() as connection:
            due = claims.next_due(connection, self._campaign.campaign, channels)
        return None if due is None else max(0.001, (due - milliseconds(self._clock())) / 1000)

    async def _send(self, lane: Lane, steps: Sequence[Claimed], cards: Mapping[str, Any]) -> None:
        async with lane.slots:
            prepared = [(step, self._composer.prepare(step, cards)) for step in steps]
            ready = [(step, each) for step, each in prepared if isinstance(each, Prepared)]
            if not await self._may_go(lane, [each for _, each in ready]):
                self._unsent.extend(steps)
                lane.held -= len(steps)
                return
            await self._window.acquire()
            if self._broken:
                return
            started = self._clock()
            done = [
                Done(step, each, Outcome("address", each.reason), each.kind, _refusal(each), started, started)
                for step, each in prepared
                if isinstance(each, Refused)
            ]
            if ready:
                try:
                    outcomes = await lane.adapter.send([each.outgoing for _, each in ready])
                except BaseException:
                    self._window.release()  # the others must be able to end
                    raise
                finished = self._clock()
                for (step, each), outcome in zip(ready, outcomes, strict=True):
                    then = decide(
                        outcome,
                        channel=step.channel,
                        attempts=step.attempts,
                        deduplicates=lane.adapter.capabilities.deduplicates,
                        entropy=self._entropy,
                    )
                    done.append(Done(step, each, outcome, outcome.kind, then, started, finished))
                    self._watch(lane, outcome, then)
            self._finished.append(done)
            self._wake.set()

    async def _may_go(self, lane: Lane, ready: Sequence[Prepared]) -> bool:
        """Wait for the provider's and the destination's turn; False when the lane stopped meanwhile."""
        wait = 0.0
        now = self._monotonic()
        for each in ready:
            address = each.outgoing.address
            domain = address.rpartition("@")[2].lower() if isinstance(address, str) and "@" in address else ""
            wait = max(wait, self._pacer.reserve(lane.adapter.provider, domain, each.outgoing.units, now))
        while wait > 0 and not self._stopping and not lane.halted:
            pause = min(wait, _GLANCE_S)
            await self._sleep(pause)
            wait -= pause
        return not self._stopping and not lane.halted

    def _watch(self, lane: Lane, outcome: Outcome, then: Next) -> None:
        """Learn from an answer: prove the lane, slow down, or stop it."""
        if then.halt:
            self._halt(lane, outcome.reason)
        elif outcome.kind == "transient" and outcome.reason == UNREACHABLE:
            lane.unreachable += 1
            if lane.unreachable >= self._settings.breaker:
                self._halt(lane, UNREACHABLE)
        elif outcome.kind == "transient":
            lane.unreachable = 0
            self._pacer.feedback(lane.adapter.provider, pushed_back=True)
        elif outcome.kind != "unknown":
            lane.proven = True
            lane.unreachable = 0
            self._pacer.feedback(lane.adapter.provider, pushed_back=False)

    def _halt(self, lane: Lane, reason: str) -> None:
        if not lane.halted:
            lane.halted = reason
            self._halts.append(Halt(lane.adapter.channel, lane.adapter.provider, reason))

    async def _record(self) -> None:
        """Write what finished, again and again, until the run ends and nothing is left."""
        while True:
            if not self._ending:
                await self._wake.wait()
                self._wake.clear()  # before the sleep: a wake-up during it must lead to another round
                await asyncio.sleep(self._settings.flush_s)
            calls, self._finished = self._finished, []
            if not calls:
                if self._ending:
                    return
                continue
            try:
                await self._write(calls)
            except BaseException:
                # Whoever waits for a place in the window must not wait for ever.
                self._broken = self._stopping = True
                for _ in range(len(self._lanes) * self._settings.claim):
                    self._window.release()
                raise

    async def _write(self, calls: Sequence[Sequence[Done]]) -> None:
        halts, self._halts = self._halts, []
        finished = [done for call in calls for done in call]
        still_open = await asyncio.to_thread(self._recorder.write, finished, halts)
        self._stopping |= not still_open
        for _ in calls:
            self._window.release()
        for done in finished:
            self._lanes[done.step.channel].held -= 1
        self._written.set()
        await self._tell()

    def _let_go(self) -> None:
        """Give back what was claimed and not sent; what may have been sent stays counted."""
        try:
            with self._ledger.database.write() as connection:
                claims.release(connection, self._unsent, self._owner)
                claims.abandon(connection, self._campaign.campaign, self._owner, milliseconds(self._clock()))
        except StoreError:
            # The store has just refused a flush as well, and that error is on its way up. The leases end
            # with this process or by themselves.
            return

    async def _tell(self, *, force: bool = False) -> None:
        now = self._monotonic()
        if self._progress is not None and (force or now - self._reported >= _PROGRESS_S):
            self._reported = now
            self._progress(await asyncio.to_thread(self._balance))

    def _balance(self) -> Balance:
        with self._ledger.database.read() as connection:
            return outbox.balance(connection, self._campaign.campaign)

    def _report(self) -> Report:
        with self._ledger.database.read() as connection:
            campaign = outbox.load(connection, self._campaign.campaign)
            book = outbox.balance(connection, self._campaign.campaign)
            due = outbox.due_by_channel(connection, self._campaign.campaign)
        halted = {
            channel: lane.halted or UNREACHABLE
            for channel, lane in self._lanes.items()
            if lane.halted or lane.unreachable
        }
        problems = [
            _explain(channel, self._lanes[channel].adapter.provider, reason) for channel, reason in halted.items()
        ]
        problems += [
            f"{channel}: no adapter is configured for it, so {count} messages stay queued. Configure one and run "
            "the campaign again."
            for channel, count in sorted(due.items())
            if channel not in self._lanes
        ]
        return Report(campaign.campaign, campaign.state, book, halted, tuple(problems))


def _refusal(refused: Refused) -> Next:
    return Next(EXCLUDED if refused.kind == EXCLUDED else "failed", refused.reason)


def _explain(channel: str, provider: str, reason: str) -> str:
    if reason == UNREACHABLE:
        return (
            f"{channel}: {provider} cannot be reached, so the channel rests and its messages stay queued. "
            "Check that the provider is up, then run the campaign again."
        )
    return (
        f"{channel}: {provider} refused for a reason on our side ({reason}), so the channel was stopped and "
        "nobody was marked unreachable. Correct credentials, policy or content, then run the campaign again."
    )
