"""What the console needs of the incidents: to list them and to look at one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from incidents.views import IncidentSummary, IncidentView


class Incidents(Protocol):
    """The reading half of `incidents.service.IncidentService`."""

    def list(self) -> Sequence[IncidentSummary]:
        """All incidents."""
        ...

    def view(self, incident: str, /) -> IncidentView:
        """One incident as it stands now.

        Raises:
            NotFoundError: no incident has this id.
        """
        ...
