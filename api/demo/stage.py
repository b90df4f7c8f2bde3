"""What the acts of the demo share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from api.demo.narrator import Narrator
from api.demo.place import Place
from api.demo.sinks import MailSink, PhoneSink
from api.demo.synthetic import World
from incidents.service import IncidentService
from incidents.views import IncidentView
from ledger import Access, Criteria, Ledger
from notifiers.service import Dispatcher

CONSOLE: Final = "http://127.0.0.1:8470/"
"""Where `tocsin serve` listens unless it is told otherwise."""


@dataclass
class Stage:
    """One run of the demo: its directory, its world, the services, and the incident once it is declared."""

    place: Place
    world: World
    narrator: Narrator
    ledger: Ledger
    service: IncidentService
    dispatcher: Dispatcher
    mail: MailSink
    phone: PhoneSink
    incident: str = ""

    def view(self) -> IncidentView:
        """The incident as it stands."""
        return self.service.view(self.incident)

    def stolen(self) -> Iterator[Access]:
        """The intruder's successful reads, in log order."""
        address = self.ledger.vault.find("network", self.world.intrusion.address) or ""
        criteria = Criteria(addresses=(address,), actions=("data.download",), outcomes=("success",))
        return self.ledger.access.matches(criteria, self.ledger.size())
