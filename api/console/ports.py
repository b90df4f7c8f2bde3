"""What the console needs of the incidents: to list them, to look at one, to know an exercise by its stream."""

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

    def exercises(self, stream: str, /) -> bool:
        """Whether this stream (UUID) of the log is that of an exercise."""
        ...
