"""Reading incidents: the list, and everything about one, now or as it was known before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Final

from incidents import views
from incidents.case import store
from incidents.case.aggregate import Incident
from incidents.case.application import IncidentApplication
from incidents.case.records import Status
from incidents.law import Law, LawFactsError
from incidents.law.questions import Question
from incidents.law.readings import Reading as LimitReading
from incidents.law.readings import outer_bounds
from incidents.views import readmodel
from incidents.views.wording import ERASED
from ledger import Ledger
from ledger.errors import ErasedError, InputError, NotFoundError
from notifiers.errors import CampaignNotFoundError
from notifiers.service import Dispatcher

QUESTIONS_SHOWN: Final = 5
"""How many open questions a view of an incident has."""


@cache
def shipped_law() -> Law:
    """The law data of the package, read once per process; it never changes while one runs."""
    return Law.load()


class Reading:
    """Read models of incidents in one ledger; see `incidents.service` for the whole.

    Args:
        ledger: where everything is recorded; its clock and entropy are used.
        law: the law data; read from the package at first use when left out.
        dispatcher: sends notices; without one nothing can be dispatched.
    """

    def __init__(self, ledger: Ledger, law: Law | None = None, dispatcher: Dispatcher | None = None) -> None:
        self.ledger = ledger
        self.dispatcher = dispatcher
        self._law = law
        self._app = IncidentApplication(ledger)

    @property
    def law(self) -> Law:
        """The law data."""
        if self._law is None:
            self._law = shipped_law()
        return self._law

    def _now(self) -> datetime:
        return self.ledger.clock().astimezone(UTC)

    def list(self) -> list[views.IncidentSummary]:
        """All incidents, newest first; one whose later events are lost is shown as it was last known."""
        with self.ledger.database.read() as connection:
            names = store.incidents(connection)
        now = self._now()
        known = [self._app.last_known(name) for name in reversed(names)]
        return [_summary(held, now) for held in known if held is not None]

    def view(self, incident: str, *, as_of: datetime | None = None, version: int | None = None) -> views.IncidentView:
        """Everything about an incident: now, as it was known at an instant, or at a version."""
        moment = None if as_of is None else to_utc(as_of)
        held, events = self._app.history(incident, version=version, as_of=moment)
        with self.ledger.database.read() as connection:
            entries = store.entries(connection, incident)
        context = readmodel.Context(
            now=moment or self._now(),
            events=events,
            entries=entries,
            names=self._names({event.by for event in events}),
            balances=self._balances(held),
            questions=self._questions(held)[:QUESTIONS_SHOWN],
            outer=self._outer(held),
        )
        return readmodel.view(held, context)

    def status(self, incident: str) -> Status:
        """Whether an incident happened or is an exercise; decided when it was declared."""
        return self._app.history(incident, version=1)[0].status

    def exercises(self, stream: str) -> bool:
        """Whether this stream (UUID) is that of an exercise; False for an actual incident and other streams."""
        with self.ledger.database.read() as connection:
            incident = store.incident_of(connection, stream)
        return incident is not None and self.status(incident) == "Exercise"

    def _questions(self, held: Incident) -> Sequence[Question]:
        rows = readmodel.deadlines_of(held, held.assessments[-1] if held.assessments else None)
        if not any(row.result == "undetermined" for row in rows):
            return ()
        try:
            return self.law.questions(held.law_facts)
        except LawFactsError:
            # The facts were checked against the law data of their day; the page must not fail for newer data.
            # Assessing again says what is wrong with them.
            return ()

    def _outer(self, held: Incident) -> Mapping[tuple[str, str], LimitReading]:
        """Where other readings of a limit end later, by duty and stage; for information, never the target."""
        if not held.assessments:
            return {}
        try:
            return outer_bounds(self.law.readings(held.law_facts))
        except LawFactsError:
            return {}  # as in `_questions`

    def _names(self, refs: Iterable[str]) -> dict[str, str]:
        names = {}
        for ref in refs:
            try:
                names[ref] = str(self.ledger.vault.profile(ref).get("name", ref))
            except (NotFoundError, ErasedError):
                names[ref] = ERASED
        return names

    def _balances(self, held: Incident) -> dict[str, dict[str, int]]:
        found = {}
        for campaign in held.campaigns.values():
            if campaign.balance is None:
                try:
                    book = (self.dispatcher or Dispatcher(self.ledger)).balance(campaign.id).as_json()
                except CampaignNotFoundError:
                    continue  # opened here, and the dispatcher was not reached: opening it again repairs that
                found[campaign.id] = {name: value for name, value in book.items() if type(value) is int}
        return found


def to_utc(moment: datetime) -> datetime:
    """The instant in UTC.

    Raises:
        InputError: it has no zone.
    """
    if moment.tzinfo is None:
        raise InputError("A time without a zone names no instant; give an aware datetime.")
    return moment.astimezone(UTC)


def _summary(held: Incident, now: datetime) -> views.IncidentSummary:
    rows = readmodel.deadlines_of(held, held.assessments[-1] if held.assessments else None)
    running = [row.due for row in rows if row.due is not None and row.state(now) == "running"]
    return views.IncidentSummary(
        id=held.incident,
        title=held.title,
        phase=held.phase,
        closed=held.closed_at is not None,
        declared_at=held.created_on.astimezone(UTC),
        affected=held.scopes[-1].count if held.scopes else None,
        next_due=min(running, default=None),
        missed=sum(row.state(now) == "missed" for row in rows),
        status=held.status,
    )
