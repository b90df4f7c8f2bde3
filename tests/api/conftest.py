"""A real ledger behind the real application."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.http import create_app
from incidents.errors import IncidentNotFoundError
from incidents.views import IncidentSummary, IncidentView
from ledger import Ledger


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 12, 3, 4, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


class NoIncidents:
    """A ledger in which nothing was declared."""

    def list(self) -> list[IncidentSummary]:
        return []

    def view(self, incident: str, /) -> IncidentView:
        del incident
        raise IncidentNotFoundError("There is no incident with this id in this ledger.")

    def exercises(self, stream: str, /) -> bool:
        del stream
        return False


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    with Ledger.create(tmp_path / "data", "example.org/api", clock=clock) as opened:
        yield opened


@pytest.fixture
def incidents() -> NoIncidents:
    return NoIncidents()


@pytest.fixture
def client(ledger: Ledger, incidents: NoIncidents) -> Iterator[TestClient]:
    with TestClient(create_app(ledger, incidents), base_url="http://127.0.0.1:8470") as made:
        yield made


@pytest.fixture
def make_event() -> Callable[..., dict[str, Any]]:
    """Gives a valid event; keyword arguments replace attributes."""

    def make(event_id: str = "event-1", **more: Any) -> dict[str, Any]:
        return {
            "specversion": "1.0",
            "id": event_id,
            "source": "https://crm.example.org/a",
            "type": "org.example.data.view.v1",
            "time": "2026-03-10T09:00:00.000Z",
            "data": {
                "actor": {"id": "employee-7", "kind": "human"},
                "outcome": "success",
                "resource": {"id": "customers/4711"},
                "subjects": [{"id": "cust-1"}],
            },
            **more,
        }

    return make
