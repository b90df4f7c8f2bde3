"""The pages over the real service: a breach declared, scoped and assessed, then looked at."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.http import create_app
from incidents.service import IncidentService
from ledger import Ledger
from notifiers.service import Dispatcher

RESOURCE = "arn:aws:s3:::bucket/customers.csv"
PLACES = {"ES": "es", "US-CA": "en", "CN": "zh-Hans"}


@pytest.fixture
def service(ledger: Ledger) -> IncidentService:
    return IncidentService(ledger, dispatcher=Dispatcher(ledger))


@pytest.fixture
def incident(ledger: Ledger, service: IncidentService, clock: Any, tmp_path: Path) -> str:
    """Twelve people, one of them a child; the file with their data was taken."""
    people = [
        {
            "id": f"cust-{number}",
            "name": f"Canary Person {number}",
            "language": language,
            "jurisdiction": place,
            "born": "2018-05-02" if number == 1 and place == "CN" else "1980-01-01",
            "guardians": [f"cust-2-{place}"] if number == 1 and place == "CN" else [],
            "contacts": {"email": [f"canary{number}@example.org"]},
        }
        | {"id": f"cust-{number}-{place}"}
        for place, language in PLACES.items()
        for number in range(4)
    ]
    held = {"resource": RESOURCE, "subjects": [person["id"] for person in people], "data_categories": ["name", "ssn"]}
    (tmp_path / "people.ndjson").write_text("\n".join(json.dumps(person) for person in people))
    (tmp_path / "inventory.ndjson").write_text(json.dumps(held))
    service.load_directory(tmp_path / "people.ndjson", by="ana")
    service.load_inventory(tmp_path / "inventory.ndjson", by="ana")
    ledger.append(
        [
            {
                "specversion": "1.0",
                "id": "taken",
                "source": "https://storage.example.org",
                "type": "org.example.data.download.v1",
                "time": "2026-03-09T01:00:00Z",
                "data": {"actor": {"id": "intruder"}, "outcome": "success", "resource": {"id": RESOURCE}},
            }
        ]
    )
    name = service.declare("Customer bucket copied", by="ana", aware=clock(), time_zone="Europe/Madrid")
    facts = {
        "complete": True,
        "role": ["controller"],
        "established_in": ["ES"],
        "risk": "high",
        "encrypted": False,
        "breach_types": ["access", "acquisition"],
    }
    service.record_facts(name, facts, by="ana")
    service.scope(name, service.criteria(actors=["intruder"]), by="ana")
    service.assess(name, by="ana")
    return name


@pytest.fixture
def client(ledger: Ledger, service: IncidentService) -> Iterator[TestClient]:
    headers = {"accept": "text/html"}
    with TestClient(create_app(ledger, service), base_url="http://127.0.0.1", headers=headers) as made:
        yield made


def test_the_page_shows_the_real_clock_its_start_and_the_people(
    client: TestClient, service: IncidentService, incident: str
) -> None:
    page = client.get(f"/incidents/{incident}").text
    view = service.view(incident)
    limits = [limit for limit in view.deadlines if limit.due is not None and "Art 33" in limit.citation]
    assert limits, "the case must owe the authority a notice with a limit"
    assert "72 hours left" in page
    awareness = next(clock for clock in view.clocks if clock.name == "awareness")
    assert f'Started by “awareness”, Thu 12 Mar 2026, 04:04 CET, <a href="/entries/{awareness.index}">' in page
    for limit in view.deadlines:
        assert limit.title.replace("'", "&#39;") in page
    assert '<strong class="big">12</strong> people, <strong>1</strong> of them under 18' in page
    assert "Canary" not in page
    assert "canary" not in page


def test_a_limit_that_passes_is_shown_as_missed_and_stays(
    client: TestClient, service: IncidentService, clock: Any, incident: str
) -> None:
    clock.now += timedelta(hours=73)
    for _ in range(2):
        page = client.get(f"/incidents/{incident}").text
        assert "</svg> Missed</span>" in page
        assert "1 hour over" in page
        service.tick()
    assert "</svg> 1 missed</span>" in client.get("/").text


def test_every_entry_of_the_story_has_a_page_and_none_names_a_person(
    client: TestClient, ledger: Ledger, incident: str
) -> None:
    assert incident in client.get("/").text
    for index in range(ledger.size()):
        page = client.get(f"/entries/{index}")
        assert page.status_code == 200
        assert "An event of type" not in page.text
        assert "anary" not in page.text
        assert "intruder" not in page.text
