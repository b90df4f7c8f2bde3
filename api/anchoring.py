"""A served ledger and its witnesses: published at every tick, and the alarm when one of them contradicts it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from incidents.service import IncidentService
from ledger import Ledger, OwnEvent
from ledger.encoding import parse_time
from ledger.errors import StoreError, TocsinError
from ledger.witness import records
from ledger.witness.errors import AnchorOverdueError, EquivocationError, HaltedError
from ledger.witness.evidence import Evidence, evidence_facts
from ledger.witness.publication import Lag, Publication

_log = logging.getLogger("tocsin.witness")

CONTRADICTED: Final = "org.tocsin.witness.contradicted.v1"
BY: Final = "tocsin"
"""Who opens the incident: the server itself."""
TABLES: Final = """
CREATE TABLE IF NOT EXISTS api_alarm (
  digest   TEXT PRIMARY KEY,
  entry    INTEGER NOT NULL,
  incident TEXT
) STRICT
"""


@dataclass(frozen=True)
class Alarm:
    """Unsettled evidence against this ledger.

    Attributes:
        kind: `fork`, `longer`, `retired_key` or `claim`.
        digest: hex SHA-256 of the evidence file.
        summary: what it means.
        entry: leaf index of the event about it.
        incident: id of the incident opened with it; None for what does not convict the ledger.
    """

    kind: str
    digest: str
    summary: str
    entry: int | None
    incident: str | None


@dataclass(frozen=True)
class Standing:
    """How the ledger stands with its witnesses.

    Attributes:
        lag: how far it is ahead; None when its own store forbids to say.
        refusing: why events are refused, or None.
        alarms: unsettled evidence.
    """

    lag: Lag | None
    refusing: str | None
    alarms: tuple[Alarm, ...]


class Anchoring:
    """Publishes one ledger and raises the alarm once for each contradiction.

    Args:
        ledger: the ledger being served; its `before_append` becomes the budget.
        publication: the ledger's witnesses.
        incidents: opens the incident.
    """

    def __init__(self, ledger: Ledger, publication: Publication, incidents: IncidentService) -> None:
        self._ledger = ledger
        self.publication = publication
        self._incidents = incidents
        ledger.database.ensure(TABLES)
        ledger.before_append = publication.check_budget

    def tick(self, _now: datetime) -> None:
        """Publish; whatever contradicts this ledger becomes an event, and an incident if it is proven."""
        try:
            self.publication.publish_now()
        except EquivocationError as error:
            _log.error("%s", error)
        self._raise_alarms()

    def checkpoint(self) -> bytes:
        """What strangers are shown: the newest witnessed checkpoint; before the first, the newest one."""
        return self.publication.witnessed_note() or self._ledger.checkpoint()

    def standing(self) -> Standing:
        """For the home page."""
        with self._ledger.database.read() as connection:
            unsettled = list(records.evidence(connection, settled=False))
            raised = {row["digest"]: row for row in connection.execute("SELECT * FROM api_alarm")}
        alarms = []
        for item in unsettled:
            row = raised.get(item.digest)
            entry, incident = (None, None) if row is None else (row["entry"], row["incident"])
            alarms.append(Alarm(item.kind, item.digest, evidence_facts(item)["summary"], entry, incident))
        refusing = None
        try:
            self.publication.check_budget()
        except (AnchorOverdueError, HaltedError) as error:
            refusing = str(error)
        except StoreError as error:
            return Standing(None, str(error), tuple(alarms))
        return Standing(self.publication.lag(), refusing, tuple(alarms))

    def _raise_alarms(self) -> None:
        with self._ledger.database.read() as connection:
            unsettled = list(records.evidence(connection, settled=False))
            raised = {row["digest"]: row for row in connection.execute("SELECT * FROM api_alarm")}
        for item in unsettled:
            row = raised.get(item.digest)
            entry = self._record(item) if row is None else int(row["entry"])
            if item.proven and (row is None or row["incident"] is None):
                self._open_incident(item, entry)

    def _record(self, item: Evidence) -> int:
        data = {"kind": item.kind, "evidence": item.digest, "found": item.found}

        def also(connection: Any, indices: Any) -> None:
            connection.execute("INSERT INTO api_alarm (digest, entry) VALUES (?, ?)", (item.digest, indices[0]))

        return self._ledger.record([OwnEvent(CONTRADICTED, data)], also)[0]

    def _open_incident(self, item: Evidence, entry: int) -> None:
        told = evidence_facts(item)
        incident = self._incidents.declare(told["title"], by=BY)
        # From here on it is known: a failure below must not open another one at the next tick.
        with self._ledger.database.write() as connection:
            connection.execute("UPDATE api_alarm SET incident = ? WHERE digest = ?", (incident, item.digest))
        try:
            self._incidents.record_clock(incident, "detection", parse_time(told["detected"]), by=BY, entry=entry)
            for path, fact in told["facts"].items():
                self._incidents.record_facts(
                    incident, {path: fact["value"]}, by=BY, state=fact["state"], entry=entry, note=fact["note"]
                )
        except TocsinError as error:
            _log.error("The incident %s was opened, but not all of its facts could be stated: %s", incident, error)
