"""Establishing what happened: people and inventory, declaration, facts, clocks, scope, law, deadlines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from incidents.case import store
from incidents.case.aggregate import Incident
from incidents.case.facts import Fact, Source, State, check_fact, to_law_facts, zone
from incidents.clocks import assessment, deadlines
from incidents.clocks.ticking import tick
from incidents.errors import IncidentError
from incidents.law.revision import compare_decisions, stale
from incidents.people import scoping
from incidents.people.affected import AffectedSet
from incidents.people.directory import Loaded, Progress, load_directory
from incidents.people.inventory import load_inventory
from incidents.service.reading import Reading, to_utc
from incidents.views import readmodel
from ledger.access import Criteria
from ledger.errors import ErasedError, InputError
from ledger.store.connection import Connection

CLOCKWORK = "tocsin"
"""Who acts when nobody does: the clock that follows the law data."""

AUTHORITY_KINDS = frozenset({"authority", "csirt", "attorney_general", "consumer_agency"})
"""Recipients whose being told starts the clock `authority_notified`."""


@dataclass(frozen=True)
class Assessed:
    """One run of the law engine: how many decisions of each result, and what it changed."""

    version: str
    digest: str
    results: Mapping[str, int]
    changed: tuple[Mapping[str, Any], ...]
    index: int


class Casework(Reading):
    """Commands that establish an incident; see `incidents.service` for the whole."""

    # People and inventory

    def load_directory(self, path: Path, *, by: str, progress: Progress | None = None) -> Loaded:
        """Load the people directory (NDJSON). Raises LineError: a line is wrong; nothing was written."""
        return load_directory(self.ledger, path, by=self._app.who(by), progress=progress)

    def load_inventory(self, path: Path, *, by: str, progress: Progress | None = None) -> Loaded:
        """Load the data inventory (NDJSON). Raises LineError: a line is wrong; nothing was written."""
        words = self.law.vocabulary.words
        return load_inventory(self.ledger, path, by=self._app.who(by), vocabulary=words, progress=progress)

    # Declare and establish

    def declare(
        self,
        title: str,
        *,
        by: str,
        aware: datetime | None = None,
        time_zone: str = "UTC",
        organisation: Mapping[str, str] | None = None,
        facts: Mapping[str, Any] | None = None,
        exercise: bool = False,
    ) -> str:
        """Declare an incident; a title is enough.

        Args:
            title: what it is about, without personal data.
            by: who declares it.
            aware: since when the organisation knows (starts the clock `awareness`).
            time_zone: IANA zone of the organisation.
            organisation: `name`, `contact_name`, `contact_email`, `contact_phone`, `contact_address`,
                `website`, and optionally `sms_name`, `sms_sender`, `sender_email`.
            facts: facts known from the start, by path.
            exercise: a drill, for ever: marked wherever it is shown, and its notices reach nobody.

        Returns:
            The short id, such as `INC-2026-0001`.
        """
        if not title.strip():
            raise InputError("An incident needs a title; a few words are enough.", field="title")
        who, now = self._app.who(by), self._now()
        zone(time_zone)

        def make(name: str) -> Incident:
            incident = Incident.declare(
                origin=self.ledger.origin,
                incident=name,
                title=title.strip(),
                time_zone=time_zone,
                organisation=organisation or {},
                status="Exercise" if exercise else "Actual",
                by=who,
                at=now,
            )
            if aware is not None:
                source = Source("person", who)
                incident.record_clock(name="awareness", stood=to_utc(aware), source=source, note="", by=who, at=now)
            self._add_facts(incident, facts or {}, Source("person", who), who, now)
            return incident

        return self._app.declare(make, now)[0]

    def state_organisation(self, incident: str, organisation: Mapping[str, str], *, by: str) -> int:
        """State how the organisation names itself in notices; returns the leaf index."""
        held = self._app.load(incident)
        held.state_organisation(organisation, by=self._app.who(by), at=self._now())
        return self._app.keep(held)[0]

    def record_fact(
        self,
        incident: str,
        path: str,
        value: Any,
        *,
        by: str,
        state: State = "known",
        entry: int | None = None,
        note: str = "",
    ) -> int:
        """State a fact, from a ledger entry or on the word of `by`; returns the leaf index."""
        return self.record_facts(incident, {path: value}, by=by, state=state, entry=entry, note=note)[0]

    def record_facts(
        self,
        incident: str,
        values: Mapping[str, Any],
        *,
        by: str,
        state: State = "known",
        entry: int | None = None,
        note: str = "",
    ) -> list[int]:
        """State several facts at once, all or none.

        Raises:
            FactError, LawFactsError: a path or value is wrong, or contradicts another fact.
        """
        held, who = self._app.load(incident), self._app.who(by)
        self._add_facts(held, values, self._source(entry, who), who, self._now(), state=state, note=note)
        return self._app.keep(held)

    def _add_facts(
        self,
        incident: Incident,
        values: Mapping[str, Any],
        source: Source,
        who: str,
        now: datetime,
        *,
        state: State = "known",
        note: str = "",
    ) -> None:
        for path, value in values.items():
            checked = check_fact(path, state, value)
            incident.record_fact(Fact(path, state, checked, source, note, who, "", 0), at=now)
        if values:
            self.law.facts(incident.law_facts)  # the words and what contradicts what

    def record_clock(
        self, incident: str, name: str, at: datetime, *, by: str, entry: int | None = None, note: str = ""
    ) -> int:
        """State at which instant a clock stood, and what started it; returns the leaf index."""
        held, who = self._app.load(incident), self._app.who(by)
        held.record_clock(
            name=name, stood=to_utc(at), source=self._source(entry, who), note=note, by=who, at=self._now()
        )
        self.law.facts(held.law_facts)
        return self._app.keep(held)[0]

    def _source(self, entry: int | None, who: str) -> Source:
        if entry is None:
            return Source("person", who)
        if not 0 <= entry < self.ledger.size():
            raise InputError("The log has no entry with that index.", field="entry")
        return Source("entry", str(entry))

    # Scope and assess

    def criteria(self, **asked: Any) -> Criteria:
        """Criteria from account names, keys and addresses; see `scoping.criteria`."""
        return scoping.criteria(self.ledger, **asked)

    def scope(self, incident: str, criteria: Criteria, *, by: str) -> AffectedSet:
        """Determine the affected people on the log as it stands; facts that follow are recorded with it."""
        held, who, now = self._app.load(incident), self._app.who(by), self._now()
        found = scoping.determine(self.ledger, held, criteria)
        held.scope(
            root=found.members.root,
            count=found.members.count,
            log_size=found.log_size,
            criteria=found.criteria,
            summary=found.summary(),
            difference=found.members.difference(scoping.previous(self.ledger, held)).counts(),
            by=who,
            at=now,
        )
        for fact in scoping.derived_facts(held, found, who):
            held.record_fact(fact, at=now)
        self.law.facts(held.law_facts)
        self._app.keep(held, lambda connection: store.keep_affected(connection, found.members))
        return found.members

    def affected(self, incident: str) -> AffectedSet:
        """The frozen set of the last scope; empty when there was none."""
        return scoping.previous(self.ledger, self._app.load(incident))

    def assess(self, incident: str, *, by: str) -> Assessed:
        """Run the law engine on the facts as they stand, keep every decision, recompute the deadlines."""
        held, who = self._app.load(incident), self._app.who(by)
        self._assess(held, who, self._now())
        leaf = self._keep_assessed(held)[-1]
        last = held.assessments[-1]
        return Assessed(last.law_version, last.digest, assessment.counts(last.decisions), last.changed, leaf)

    def _assess(self, held: Incident, who: str, now: datetime) -> None:
        facts = held.law_facts
        said = self.law.assess(facts)
        decisions = assessment.decisions_of(said, self.law, held.time_zone)
        before = held.assessments[-1].decisions if held.assessments else ()
        numbers = {name: str(value) for name, value in facts.get("numbers", {}).items()}
        held.assess(
            law_version=self.law.version,
            digest=assessment.digest(said),
            log_size=self.ledger.size(),
            facts={**facts, "numbers": numbers} if numbers else facts,
            decisions=decisions,
            changed=assessment.changes(before, decisions) if before else [],
            by=who,
            at=now,
        )

    def _keep_assessed(self, held: Incident) -> Sequence[int]:
        return self._app.keep(held, lambda connection: self._write_deadlines(connection, held))

    def _write_deadlines(self, connection: Connection, held: Incident) -> None:
        rows = readmodel.deadlines_of(held, held.assessments[-1] if held.assessments else None)
        deadlines.write(connection, held.incident, rows)

    def preview(self, incident: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Which duties would change if these facts were stated; nothing is recorded."""
        held = self._app.load(incident)
        source = Source("person", "")
        stated = [
            Fact(path, "known", check_fact(path, "known", value), source, "", "", "", 0)
            for path, value in values.items()
        ]
        facts = to_law_facts([*held.facts, *stated], held.clocks, held.time_zone)
        now = assessment.decisions_of(self.law.assess(held.law_facts), self.law, held.time_zone)
        then = assessment.decisions_of(self.law.assess(facts), self.law, held.time_zone)
        return assessment.changes(now, then)

    def told(
        self,
        incident: str,
        duty: str,
        *,
        by: str,
        stage: str | None = None,
        at: datetime | None = None,
        evidence: str = "",
    ) -> int:
        """Record that the recipient of a duty was told: its deadline is met, and what hangs on it starts."""
        held, who, now = self._app.load(incident), self._app.who(by), self._now()
        rows = readmodel.deadlines_of(held, held.assessments[-1] if held.assessments else None)
        row = next((item for item in rows if item.duty == duty and stage in (None, item.stage)), None)
        if row is None:
            raise IncidentError("No such duty (or stage) is owed in the last assessment; see `tocsin incident show`.")
        moment = now if at is None else to_utc(at)
        held.tell(duty, stage=stage, told=moment, evidence=evidence, by=who, at=now)
        if row.recipient_kind in AUTHORITY_KINDS:
            self._start(held, "authority_notified", moment, who, now)
            self._start(held, "initial_report_sent", moment, who, now)
        self._assess(held, who, now)
        return self._keep_assessed(held)[0]

    def _start(self, held: Incident, name: str, stood: datetime, who: str, now: datetime) -> None:
        if not any(clock.name == name for clock in held.clocks):
            held.record_clock(name=name, stood=stood, source=Source("person", who), note="first", by=who, at=now)

    def tick(self, now: datetime | None = None) -> list[deadlines.Notice]:
        """Record reminders and missed limits that are due, each exactly once; safe to run anywhere, any time.

        Open incidents that were assessed with other law data are assessed again first.
        """
        self.reassess()
        return tick(self.ledger, self._now() if now is None else to_utc(now))

    def reassess(self) -> dict[str, list[str]]:
        """Assess every open incident again whose last assessment was made with other law data.

        Returns:
            Incident to what differs now, one line of words per duty and stage; empty where nothing is stale.
        """
        found: dict[str, list[str]] = {}
        with self.ledger.database.read() as connection:
            names = store.incidents(connection)
        for name in names:
            try:
                held = self._app.load(name)
            except ErasedError:
                continue  # what it said last is lost; the others' clocks must not stand still for it
            if held.closed_at is not None or not held.assessments or not stale(held.assessments[-1], self.law):
                continue
            before = held.assessments[-1].decisions
            self._assess(held, self._app.who(CLOCKWORK), self._now())
            self._keep_assessed(held)
            found[name] = list(compare_decisions(before, held.assessments[-1].decisions))
        return found
