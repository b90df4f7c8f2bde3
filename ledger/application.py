"""Event-sourced applications over the ledger: aggregates whose events are entries of the log.

Example:
    >>> class Incidents(LedgerApplication):
    ...     def declare(self, title: str) -> UUID:
    ...         incident = Incident(title=title)
    ...         self.save(incident)
    ...         return incident.id
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    InfrastructureFactory,
    Mapper,
    ProcessRecorder,
    StoredEvent,
    TrackingRecorder,
)
from eventsourcing.utils import Environment, EnvType, get_topic, resolve_topic

from ledger.encoding import canonical, format_time, parse
from ledger.errors import StoreDamagedError
from ledger.store.recorder import LedgerRecorder, TimedEvent
from ledger.vocabulary import OWN_PREFIX

if TYPE_CHECKING:
    from ledger.ledger import Ledger


class LedgerMapper(Mapper[UUID]):
    """Writes a domain event as canonical JSON of its fields and reads it back.

    Only topics below `org.tocsin.` are read: a topic is a name that the code has registered, never a
    module path taken from the database.
    """

    def to_stored_event(self, domain_event: DomainEventProtocol[UUID]) -> StoredEvent:
        """Encode a domain event; its fields must be JSON values, its `timestamp` a datetime."""
        state = dict(vars(domain_event))
        originator_id = state.pop("originator_id")
        version = state.pop("originator_version")
        timestamp: datetime = state.pop("timestamp")
        state["timestamp"] = timestamp.isoformat()
        return TimedEvent(
            originator_id, version, get_topic(type(domain_event)), canonical(state), format_time(timestamp)
        )

    def to_domain_event(self, stored_event: StoredEvent) -> DomainEventProtocol[UUID]:
        """Decode a domain event.

        Raises:
            StoreDamagedError: the topic is not one that this program registered.
        """
        if ":" in stored_event.topic or not stored_event.topic.startswith(f"{OWN_PREFIX}."):
            raise StoreDamagedError("An event of an aggregate has a type that is not Tocsin's; run `tocsin verify`.")
        cls = resolve_topic(stored_event.topic)
        state = parse(stored_event.state)
        state["timestamp"] = datetime.fromisoformat(state["timestamp"])
        state["originator_id"] = stored_event.originator_id
        state["originator_version"] = stored_event.originator_version
        domain_event = object.__new__(cls)
        domain_event.__dict__.update(state)
        return cast("DomainEventProtocol[UUID]", domain_event)


class LedgerFactory(InfrastructureFactory[TrackingRecorder]):
    """Gives the library the ledger's own recorder for everything; there are no snapshots to trust."""

    def __init__(self, env: Environment | EnvType | None, recorder: LedgerRecorder) -> None:
        super().__init__(env)
        self._recorder = recorder

    def aggregate_recorder(self, purpose: str = "events") -> AggregateRecorder:
        """The ledger's recorder; snapshots would stand outside the signed log, so there are none."""
        if purpose != "events":
            raise StoreDamagedError("Snapshots are not kept: the log is the only truth.")
        return self._recorder

    def application_recorder(self) -> ApplicationRecorder:
        """The ledger's recorder."""
        return self._recorder

    def tracking_recorder(self, tracking_recorder_class: type[Any] | None = None) -> Any:
        """The ledger's recorder."""
        del tracking_recorder_class
        return self._recorder

    def process_recorder(self) -> ProcessRecorder:
        """The ledger's recorder."""
        return self._recorder


class LedgerApplication(Application[UUID]):
    """An application whose aggregates are stored in a ledger.

    `save(aggregate, also=fn)` runs `fn(connection, indices)` in the transaction that appends the
    aggregate's events.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        super().__init__()

    def construct_factory(self, env: Environment) -> InfrastructureFactory:
        """Use the ledger instead of what the environment names."""
        return LedgerFactory(env, self.ledger.recorder)

    def construct_mapper(self) -> Mapper[UUID]:
        """Use canonical JSON."""
        return LedgerMapper(self.construct_transcoder())


__all__ = ["LedgerApplication", "LedgerFactory", "LedgerMapper"]
