"""Loading and saving incidents: the shell between the aggregate and the ledger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from eventsourcing.domain import OriginatorIDError, OriginatorVersionError
from eventsourcing.persistence import IntegrityError, StoredEvent
from eventsourcing.utils import TopicError

from incidents.case import store
from incidents.case.aggregate import Incident, incident_uuid
from incidents.case.events import Created, IncidentEvent
from incidents.case.staff import normalise
from incidents.errors import IncidentError, IncidentNotFoundError, IncidentUnreadableError
from ledger.application import LedgerApplication
from ledger.encoding import format_time
from ledger.errors import TocsinError
from ledger.store.connection import Connection

if TYPE_CHECKING:
    from ledger import Ledger

_ATTEMPTS: Final = 20

_UNREADABLE: Final = (
    AttributeError,
    KeyError,
    OriginatorIDError,
    OriginatorVersionError,
    TocsinError,
    TopicError,
    TypeError,
    ValueError,
)
"""What reading an event that is not of its form can raise, whoever wrote it."""

Also = Callable[[Connection], None]


class IncidentApplication(LedgerApplication):
    """Incidents in a ledger, with the tables beside them."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger)
        ledger.database.ensure(store.SCHEMA)
        self._who: dict[str, str] = {}

    def who(self, by: str) -> str:
        """The pseudonym of who acts; somebody new is given one.

        Raises:
            InputError: nothing was given.
        """
        identity = normalise(by)
        if identity not in self._who:
            found = self.ledger.vault.find("actor", identity)
            if found is None:
                with self.ledger.database.write() as connection:
                    found = self.ledger.vault.refer(connection, "actor", identity, {"name": by.strip()})
            self._who[identity] = found
        return self._who[identity]

    def declare(self, make: Callable[[str], Incident], at: datetime) -> tuple[str, list[int]]:
        """Save a new incident under the next free id of the year.

        Two processes may choose the same number; the id decides the stream, so only one can write its first
        version, and the other takes the next number.

        Returns:
            The short id and the leaf indices of its first events.
        """
        for attempt in range(_ATTEMPTS):
            with self.ledger.database.read() as connection:
                number = store.next_number(connection, at.year)
                # A log that was rebuilt from tiles has incidents that no table here knows.
                while attempt and self._recorded(connection, f"INC-{at.year}-{number:04d}"):
                    number += 1
            name = f"INC-{at.year}-{number:04d}"
            incident = make(name)

            def listed(connection: Connection, name: str = name, number: int = number) -> None:
                store.add_incident(connection, name, str(incident_uuid(self.ledger.origin, name)), at.year, number)

            try:
                return name, self._store(incident, listed)
            except IntegrityError:
                continue
        raise IncidentError("Too many incidents are being declared at once; nothing was recorded, try again.")

    def _recorded(self, connection: Connection, name: str) -> bool:
        stream = incident_uuid(self.ledger.origin, name).bytes
        return connection.execute("SELECT 1 FROM event WHERE stream = ? LIMIT 1", (stream,)).fetchone() is not None

    def last_known(self, incident: str) -> Incident | None:
        """An incident as far as its events can be read; None where not even the first can.

        What events said can be lost, with the log intact, where it was rebuilt from tiles.
        """
        stream = self._uuid(incident)
        with self.ledger.database.read() as connection:
            lost: int | None = connection.execute(
                "SELECT min(version) FROM event WHERE stream = ? AND payload IS NULL", (stream.bytes,)
            ).fetchone()[0]
        if lost is not None and lost < 2:  # noqa: PLR2004 - the first event makes the incident
            return None
        return self.history(incident, version=None if lost is None else lost - 1)[0]

    def load(self, incident: str) -> Incident:
        """An incident as it stands now.

        Raises:
            IncidentNotFoundError: there is no such incident.
            IncidentUnreadableError: an event in its stream cannot be read.
        """
        return self.history(incident)[0]

    def history(
        self, incident: str, *, version: int | None = None, as_of: datetime | None = None
    ) -> tuple[Incident, list[IncidentEvent]]:
        """An incident now, at a version, or as it was known at an instant, with its events up to there.

        Raises:
            IncidentNotFoundError: there is no such incident, or there was none yet.
            IncidentUnreadableError: an event in its stream cannot be read.
        """
        events: list[IncidentEvent] = []
        held: Incident | None = None
        for stored in self.ledger.recorder.select_events(self._uuid(incident), lte=version):
            try:
                event = self._decode(stored)
                if as_of is not None and event.timestamp > as_of:
                    break
                held = event.mutate(held)
            except _UNREADABLE as error:
                what = str(error) if isinstance(error, TocsinError) else "it does not have the form of its type."
                raise IncidentUnreadableError(
                    f"Incident {incident} cannot be read: version {stored.originator_version} of stream "
                    f"{stored.originator_id}, {stored.topic}: {what} Run `tocsin verify`; if it finds the ledger "
                    "intact, use the version of Tocsin that wrote this event."
                ) from error
            events.append(event)
        if held is None:
            raise IncidentNotFoundError(f"Incident {incident} was not declared yet at that time.")
        if version is not None and held.version != version:
            raise IncidentNotFoundError(f"Incident {incident} has no version {version}.")
        return held, events

    def _decode(self, stored: StoredEvent) -> IncidentEvent:
        event = self.mapper.to_domain_event(stored)
        if not isinstance(event, IncidentEvent) or isinstance(event, Created) != (stored.originator_version == 1):
            raise IncidentError("it does not belong there.")
        wrong = event.wrong_field()
        if wrong is not None:
            raise IncidentError(f"its field {wrong} is missing or of another type.")
        return event

    def _uuid(self, incident: str) -> UUID:
        with self.ledger.database.read() as connection:
            if not store.exists(connection, incident):
                raise IncidentNotFoundError("There is no incident of that id here; `tocsin incident list` names them.")
        return incident_uuid(self.ledger.origin, incident)

    def keep(self, incident: Incident, also: Also | None = None) -> list[int]:
        """Save what was decided and return the leaf indices of the new events.

        Args:
            incident: with pending events.
            also: writes of the same transaction.

        Raises:
            IncidentError: somebody else changed the incident meanwhile.
        """
        try:
            return self._store(incident, also)
        except IntegrityError:
            raise IncidentError(
                f"Incident {incident.incident} was changed by somebody else meanwhile; nothing was recorded, try again."
            ) from None

    def _store(self, incident: Incident, also: Also | None) -> list[int]:
        pending = [
            (event.originator_version, str(getattr(type(event), "TOPIC", "")), format_time(event.timestamp))
            for event in incident.pending_events
        ]
        leaves: list[int] = []
        if not pending:
            return leaves

        def alongside(connection: Connection, indices: Sequence[int]) -> None:
            leaves[:] = indices
            rows = [
                store.LoggedEntry(leaf, version, topic, time, "")
                for leaf, (version, topic, time) in zip(indices, pending, strict=True)
            ]
            store.add_entries(connection, incident.incident, rows)
            if also is not None:
                also(connection)

        self.save(incident, also=alongside)
        return leaves
