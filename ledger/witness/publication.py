"""Having a ledger witnessed: publish its checkpoint, know the lag, stop when it grows too large.

A commit is *committed* once it is on this server's disk and *witnessed* once a checkpoint that covers it
has the cosignatures that the policy's quorum asks for. What lies between is the lag: entries that the
holder of the signing key could still take back unseen. A budget bounds it.

Example:
    >>> publication = Publication(ledger, parse_policy(text), Budget(entries=10_000, seconds=600))
    >>> publication.check_start_now()   # before anything is signed: has a witness seen more than we hold?
    >>> publication.publish_now()       # at every tick
    >>> publication.check_budget()      # before accepting events
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ledger import Ledger
from ledger.checkpoint import Checkpoint
from ledger.encoding import parse_time
from ledger.entries import Entry
from ledger.errors import NotFoundError, PolicyError, StoreDamagedError
from ledger.merkle import inclusion_path
from ledger.notes import Signature, add_signatures, open_note
from ledger.policy import Policy
from ledger.proofs import format_proof
from ledger.rotation import Rotation, read_history
from ledger.store.connection import Connection
from ledger.store.log import read_head
from ledger.tiles import TileReader
from ledger.witness import records
from ledger.witness.client import (
    TIMEOUT_S,
    DisputedError,
    Endpoint,
    Sighting,
    WitnessClient,
    endpoints,
    look,
    open_session,
)
from ledger.witness.errors import (
    AnchorOverdueError,
    EquivocationError,
    HaltedError,
    RolledBackError,
    StaleError,
    WitnessError,
)
from ledger.witness.evidence import Claim, Evidence
from ledger.witness.settling import settle_item
from ledger.witness.view import View

_SECONDS: Final = 3600.0
_ENTRIES: Final = 100_000


@dataclass(frozen=True, slots=True)
class Budget:
    """How far the log may run ahead of its witnesses before events are refused.

    Attributes:
        entries: most unwitnessed entries.
        seconds: most seconds since the oldest unwitnessed commit.
    """

    entries: int = _ENTRIES
    seconds: float = _SECONDS


@dataclass(frozen=True, slots=True)
class Lag:
    """How far the log is ahead of its witnesses.

    Attributes:
        size: entries in the log.
        witnessed: entries covered by a checkpoint that reached the quorum.
        seconds: age of the oldest unwitnessed commit, 0 when there is none.
        since: when that was, RFC 3339.
    """

    size: int
    witnessed: int
    seconds: float = 0.0
    since: str | None = None

    @property
    def entries(self) -> int:
        """Unwitnessed entries."""
        return self.size - self.witnessed


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of asking one witness.

    Attributes:
        name: what the policy calls it.
        state: `cosigned`; `superseded`, it has cosigned a newer checkpoint of ours already; `refused` or
            out of reach; `disputed`, it holds that the log contradicts what it cosigned.
        message: why, for people; empty when cosigned.
        signatures: verified cosignatures.
        evidence: with `disputed`.
    """

    name: str
    state: Literal["cosigned", "superseded", "refused", "disputed"]
    message: str = ""
    signatures: tuple[Signature, ...] = ()
    evidence: Evidence | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What came of publishing.

    Attributes:
        size: size of the checkpoint that was submitted.
        state: `witnessed` when the quorum is reached for that size, else `committed`.
        outcomes: one for each witness that was asked.
    """

    size: int
    state: Literal["committed", "witnessed"]
    outcomes: tuple[Outcome, ...]


class Publication:
    """A ledger and the witnesses of a policy.

    Args:
        ledger: an open ledger.
        policy: its witnesses with URLs are asked; its quorum decides.
        budget: when to refuse events.
        timeout_s: limit for one request to a witness.

    Raises:
        PolicyError: the policy is for other logs, asks for no witness, or names none that can be asked.
    """

    def __init__(
        self, ledger: Ledger, policy: Policy, budget: Budget | None = None, *, timeout_s: float = TIMEOUT_S
    ) -> None:
        if policy.logs and ledger.signer.verifier not in policy.log_keys(ledger.origin):
            raise PolicyError("The policy knows logs, but not this one; add a `log` line with this ledger's vkey.")
        if policy.quorum is None:
            raise PolicyError("The policy's quorum is `none`, so no witness could ever make a difference; name one.")
        self.ledger = ledger
        self.policy = policy
        self.budget = budget or Budget()
        self.endpoints: list[Endpoint] = endpoints(policy)
        if not policy.satisfied(endpoint.verifier.key for endpoint in self.endpoints):
            raise PolicyError("The witnesses that have a URL cannot reach the policy's quorum; add URLs.")
        self._timeout_s = timeout_s
        ledger.database.ensure(records.TABLES)

    def witnessed_note(self) -> bytes | None:
        """The newest checkpoint that reached the quorum, with its cosignatures; None before the first."""
        with self.ledger.database.read() as connection:
            found = records.newest(connection)
        return None if found is None else found.note

    def state(self, index: int) -> Literal["committed", "witnessed"]:
        """Whether entry `index` is covered by a witnessed checkpoint."""
        with self.ledger.database.read() as connection:
            found = records.newest(connection)
        return "witnessed" if found is not None and index < found.size else "committed"

    def prove(self, index: int) -> bytes:
        """Offline proof of entry `index` under the newest witnessed checkpoint, as tlog-proof text.

        Raises:
            NotFoundError: no witnessed checkpoint covers the entry yet.
        """
        return prove_witnessed(self.ledger, index)

    def lag(self) -> Lag:
        """How far the log is ahead of its witnesses."""
        with self.ledger.database.read() as connection:
            return self._lag(connection)

    def check_budget(self) -> None:
        """Refuse to go on when the lag is beyond the budget, or evidence against this log is unsettled.

        Cheap enough to be called before every batch: three indexed reads.

        Raises:
            AnchorOverdueError: the witnesses are too far behind.
            HaltedError: this log was shown to be forked or shortened.
        """
        with self.ledger.database.read() as connection:
            halting = records.halting(connection)
            if halting is not None:
                raise HaltedError(
                    f"Nothing is accepted: evidence {halting.digest} shows that this log was "
                    f"{'forked' if halting.kind == 'fork' else 'shortened'}. Look into it (docs/witness.md), then "
                    "settle it with `tocsin witness settle`."
                )
            lag = self._lag(connection)
        if lag.entries > self.budget.entries or lag.seconds > self.budget.seconds:
            raise AnchorOverdueError(
                f"Nothing is accepted: {lag.entries} entries since {lag.since} have no quorum of witnesses; "
                f"the budget is {self.budget.entries} entries and {self.budget.seconds:g} seconds. "
                "See why the witnesses do not cosign (`tocsin witness publish`), then send again."
            )

    async def publish(self) -> Result:
        """Ask all witnesses, in parallel, to cosign the newest checkpoint, and keep what they gave.

        Witnesses that are out of reach or refuse do not raise: the lag tells.

        Raises:
            EquivocationError: a witness showed a checkpoint, signed by this log, that contradicts it.
                The evidence is kept; nothing was published.
        """
        view = await asyncio.to_thread(View, self.ledger)
        hints = await asyncio.to_thread(self._hints)
        async with open_session() as session:
            clients = [WitnessClient(place, session, timeout_s=self._timeout_s) for place in self.endpoints]
            outcomes = await asyncio.gather(
                *(self._ask(client, view, hints.get(client.endpoint.verifier.vkey, 0)) for client in clients)
            )
        return await asyncio.to_thread(self._keep, view, outcomes)

    def publish_now(self) -> Result:
        """`publish` for callers without an event loop."""
        return asyncio.run(self.publish())

    async def check_start(self) -> Mapping[str, Sighting | WitnessError | None]:
        """Before anything is signed: refuse to start where witnesses have seen what this log does not hold.

        Returns:
            What each witness shows. A witness that is out of reach or shows nothing proves nothing; the
            budget covers that case. Neither does one that shows what a replaced key signed: an error.

        Raises:
            RolledBackError: a witness cosigned a longer log than this.
            EquivocationError: a witness cosigned another tree than this log had at that size.
        """
        seen = await look(self.endpoints, self.ledger.verifiers, self.ledger.origin, timeout_s=self._timeout_s)
        view = await asyncio.to_thread(View, self.ledger)
        sizes = {}
        told = dict(seen)
        for name, sighting in seen.items():
            if isinstance(sighting, Sighting):
                sizes[name] = sighting.checkpoint.size
                found = await asyncio.to_thread(self._contradiction, view, sighting, None)
                if found is not None:
                    await asyncio.to_thread(self._keep_evidence, [found])
                    if found.kind == "fork":
                        raise _equivocation(name, found)
                    if found.kind == "retired_key":
                        del sizes[name]
                        told[name] = WitnessError(_MISLED)
        refuse_below(view.checkpoint.size, sizes)
        return told

    def check_start_now(self) -> Mapping[str, Sighting | WitnessError | None]:
        """`check_start` for callers without an event loop."""
        return asyncio.run(self.check_start())

    async def _ask(self, client: WitnessClient, view: View, hint: int) -> Outcome:
        place = client.endpoint

        async def prove(size: int) -> Sequence[bytes]:
            return await asyncio.to_thread(view.proof, size)

        try:
            signatures = await client.witness(view.note, hint, prove)
        except StaleError as error:
            return await self._dispute(client, view, Claim(place.verifier.vkey, 409, error.size), str(error))
        except DisputedError as error:
            return await self._dispute(client, view, Claim(place.verifier.vkey, error.status, error.size), str(error))
        except WitnessError as error:
            return Outcome(place.name, "refused", str(error))
        return Outcome(place.name, "cosigned", signatures=signatures)

    async def _dispute(self, client: WitnessClient, view: View, claim: Claim, message: str) -> Outcome:
        """A witness contradicts us: see what it can show, and whether that is so."""
        name = client.endpoint.name
        newest = await asyncio.to_thread(View, self.ledger)
        try:
            sighting = await client.latest(self.ledger.verifiers, self.ledger.origin)
        except WitnessError:
            sighting = None
        if sighting is not None:
            found = await asyncio.to_thread(self._contradiction, newest, sighting, claim)
            if found is not None:
                misled = f" {_MISLED}" if found.kind == "retired_key" else ""
                return Outcome(name, "disputed", f"{message}{misled}", evidence=found)
        if claim.size is not None and view.checkpoint.size < claim.size <= newest.checkpoint.size:
            # Another process published while we asked.
            return Outcome(name, "superseded", message)
        return Outcome(name, "disputed", message, evidence=self._evidence(view.note, None, claim))

    def _contradiction(self, view: View, sighting: Sighting, claim: Claim | None) -> Evidence | None:
        """Evidence that what a witness shows is not of this log; None when it is."""
        theirs = sighting.checkpoint
        if view.holds(theirs):
            return None
        if theirs.size < view.checkpoint.size:
            proof, root = tuple(view.proof(theirs.size)), view.root(theirs.size)
            return self._evidence(view.note, sighting.note, claim, root=root, proof=proof)
        return self._evidence(view.note, sighting.note, claim)

    def _evidence(
        self,
        ours: bytes,
        theirs: bytes | None,
        claim: Claim | None,
        *,
        root: bytes = b"",
        proof: tuple[bytes, ...] = (),
    ) -> Evidence:
        rotations: Sequence[Rotation] = ()
        if theirs is not None:
            # The other checkpoint may be signed by a key that was changed since: that is what a thief has.
            with self.ledger.database.read() as connection:
                rotations = read_history(connection, self.ledger.signer.verifier).rotations
        return Evidence.make(
            self.ledger.vkey,
            ours,
            theirs,
            found=self.ledger.clock(),
            claim=claim,
            root=root,
            proof=proof,
            rotations=rotations,
        )

    def _keep(self, view: View, outcomes: Sequence[Outcome]) -> Result:
        self._keep_evidence([item.evidence for item in outcomes if item.evidence is not None])
        for outcome in outcomes:
            if outcome.evidence is not None and outcome.evidence.proven:
                raise _equivocation(outcome.name, outcome.evidence)
        size = view.checkpoint.size
        signatures = [item for outcome in outcomes for item in outcome.signatures]
        reached = self.policy.satisfied(item.key for item in signatures)
        with self.ledger.database.write() as connection:
            for place, outcome in zip(self.endpoints, outcomes, strict=True):
                for item in outcome.signatures:
                    records.keep_hint(connection, place.verifier.vkey, size, item.timestamp or 0)
            if reached:
                note = add_signatures(view.note, [item.line for item in signatures])
                records.keep_published(connection, size, note, self.ledger.clock())
        if reached:
            self._settle_restored(view)
        return Result(size, "witnessed" if reached else "committed", tuple(outcomes))

    def _settle_restored(self, view: View) -> None:
        """A log that was too short and now holds what the witness showed has been restored."""
        with self.ledger.database.read() as connection:
            unsettled = [item for item in records.evidence(connection, settled=False) if item.kind == "longer"]
        for item in unsettled:
            theirs = Checkpoint.parse(open_note(item.theirs or b"", self.ledger.verifiers).text)
            if view.holds(theirs):
                settle_item(self.ledger, item, "the missing entries were restored")

    def _keep_evidence(self, found: Sequence[Evidence]) -> None:
        if found:
            with self.ledger.database.write() as connection:
                for item in found:
                    records.keep_evidence(connection, item)

    def _hints(self) -> Mapping[str, int]:
        with self.ledger.database.read() as connection:
            return records.hints(connection)

    def _lag(self, connection: Connection) -> Lag:
        size = read_head(connection).size
        found = records.newest(connection)
        witnessed = 0 if found is None else found.size
        if witnessed > size:
            raise RolledBackError(
                f"A checkpoint of size {witnessed} was witnessed, but the log holds {size} entries. {_HOW_TO_GO_ON}"
            )
        if witnessed == size:
            return Lag(size, witnessed)
        row = connection.execute("SELECT entry FROM event WHERE position = ?", (witnessed + 1,)).fetchone()
        if row is None:
            raise StoreDamagedError(
                f"Entry {witnessed} is missing from the log. Run `tocsin verify` to see what holds."
            )
        since = Entry.decode(row["entry"]).recorded
        age = (self.ledger.clock() - parse_time(since)).total_seconds()
        return Lag(size, witnessed, max(age, 0.0), since)


def prove_witnessed(ledger: Ledger, index: int) -> bytes:
    """Offline proof of an entry under the newest witnessed checkpoint, as tlog-proof text.

    Raises:
        NotFoundError: no witnessed checkpoint covers the entry yet.
    """
    with ledger.database.read() as connection:
        kept = list(records.published(connection))
    if not kept or not 0 <= index < kept[-1].size:
        raise NotFoundError(f"No witnessed checkpoint covers entry {index} yet; publish, or prove without witnesses.")
    found = kept[-1]
    return format_proof(index, inclusion_path(index, found.size, TileReader(ledger.tile, found.size)), found.note)


_MISLED: Final = (
    "It shows what a key signed that this log replaced (`tocsin witness evidence`): it must trust that key no longer "
    "(`tocsin witness remove-log-key`), and what it cosigned it cannot take back, so replace it in the policy."
)
_HOW_TO_GO_ON: Final = (
    "Sign nothing: a shorter log signed again is a fork that the witnesses will show to everybody. Stop this server "
    "and restore the missing entries from a newer backup or a copy of the published tiles. If they are lost for "
    "good, begin a new log under a new origin whose first entries name the old origin and its last cosigned "
    "checkpoint, and report the loss (docs/witness.md)."
)


def refuse_below(size: int, seen: Mapping[str, int]) -> None:
    """Refuse to go on with a log shorter than what witnesses have cosigned of it.

    Args:
        size: entries this server holds.
        seen: the size each witness (by name) has cosigned, verified.

    Raises:
        RolledBackError: naming the witness, both sizes, and how to go on.
    """
    name, largest = max(seen.items(), key=lambda item: item[1], default=("", 0))
    if largest > size:
        raise RolledBackError(
            f"The witness {name} has cosigned {largest} entries of this log; this server holds {size}. "
            f"It was started from an old backup, or its newest entries were removed. {_HOW_TO_GO_ON}"
        )


def _equivocation(name: str, evidence: Evidence) -> EquivocationError:
    what = "contradicts this log" if evidence.kind == "fork" else "is larger than this log"
    return EquivocationError(
        f"The witness {name} shows a checkpoint, signed by this log's key, that {what}. Nothing was published. "
        f"The evidence is kept under its SHA-256 {evidence.digest}; open an incident with it.",
        evidence,
    )
