"""Incidents as the console, the command line, the report and the demo use them.

    service = IncidentService(ledger, dispatcher=dispatcher)
    service.load_directory(people, by="ana"); service.load_inventory(inventory, by="ana")
    name = service.declare("Bucket copied", by="ana", aware=moment, time_zone="Europe/Madrid", organisation={...})
    service.record_facts(name, {"role": ["controller"], "risk": "high"}, by="ana")
    service.scope(name, service.criteria(actors=["arn:aws:sts::..."]), by="ana")
    service.assess(name, by="ana")
    for notice in service.draft_notices(name, by="ana", narrative={"en": {"what_happened": "..."}}):
        service.approve(name, notice.id, notice.content_hash, by="lena")
    for campaign in service.open_campaign(name, by="ana"):
        dispatcher.run(campaign)
        service.finish(name, campaign, by="ana")

`by` is who acts, in any spelling: the vault gives each person one pseudonym, and only that enters the log.
Every command either records all of its events in one transaction or nothing.
"""

from __future__ import annotations

from incidents.service.casework import Assessed
from incidents.service.noticework import NoticeWork

__all__ = ["Assessed", "IncidentService"]


class IncidentService(NoticeWork):
    """Commands and read models of incidents in one ledger.

    Args:
        ledger: where everything is recorded; its clock and entropy are used.
        law: the law data; read from the package at first use when left out.
        dispatcher: sends notices; without one nothing can be dispatched.
    """

    def release_report(self, incident: str, name: str, digest: str, *, log_size: int, by: str) -> int:
        """Fix the digest (hex) of a report or bundle that is handed out; returns the leaf index."""
        held = self._app.load(incident)
        held.release_report(name, digest, log_size=log_size, by=self._app.who(by), at=self._now())
        return self._app.keep(held)[0]

    def close(self, incident: str, lessons: str, *, by: str) -> int:
        """Close the incident with its lessons; returns the leaf index."""
        held = self._app.load(incident)
        held.close(lessons, by=self._app.who(by), at=self._now())
        return self._app.keep(held)[0]
