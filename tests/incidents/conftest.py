"""A real ledger, the real law, and a few invented people."""

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from incidents.service import IncidentService
from incidents.service.reading import shipped_law
from ledger import Ledger

RESOURCE = "arn:aws:s3:::clients/ring.txt"
BUCKET = "arn:aws:s3:::clients"
INTRUDER = "arn:aws:sts::1:assumed-role/waf/i-1"

ORGANISATION = {
    "name": "Northwind Bank",
    "contact_name": "Data protection officer",
    "contact_email": "dpo@northwind.example",
    "contact_phone": "+34 900 000 000",
    "contact_address": "Calle Mayor 1, 28001 Madrid",
    "website": "northwind.example",
    "sms_name": "Northwind",
}

FACTS = {
    "complete": True,
    "role": ["controller"],
    "risk": "high",
    "established_in": ["ES"],
    "encrypted": False,
    "medium": "electronic",
    "breach_types": ["access", "acquisition", "disclosure"],
    "incident_types": ["data_breach"],
    "conditions.malicious": True,
}

NARRATIVE = {
    "en": {
        "what_happened": "Somebody used a stolen key and copied a file with data about you.",
        "measures_taken": "We have withdrawn the key and closed the way in.",
        "services": "We pay twelve months of credit monitoring for you.",
    },
    "es": {
        "what_happened": "Alguien usó una clave robada y copió un archivo con datos sobre usted.",
        "measures_taken": "Hemos retirado la clave y cerrado la entrada.",
        "services": "Pagamos por usted doce meses de vigilancia de crédito.",
    },
    "zh-Hans": {
        "what_happened": "他人使用被盗的密钥拷贝了一个包含您的信息的文件。",
        "measures_taken": "我们已停用该密钥并堵住漏洞。",
        "services": "我们为您支付十二个月的信用监测费用。",
    },
}


def person(number, jurisdiction, language, *, born="1980-05-17", guardians=(), contacts=None):
    return {
        "id": f"cust-{number}",
        "name": f"Vera Muster {number}",
        "language": language,
        "jurisdiction": jurisdiction,
        "born": born,
        "guardians": list(guardians),
        "contacts": {"email": [f"p{number}@example.org"]} if contacts is None else contacts,
    }


PEOPLE = [
    person(1, "ES", "es"),
    person(2, "ES", "es", born="2013-02-28", guardians=["cust-1"], contacts={}),
    person(3, "CN", "zh-CN"),
    person(4, "US-CA", "en"),
    person(5, "DE", "de", born="2009-03-11", guardians=["cust-6"]),
    person(6, "DE", "de"),
    person(7, "US-TX", "es"),
]


def access_event(number, *, verb="download", resource=RESOURCE, outcome="success", actor=INTRUDER, subjects=None):
    data = {
        "actor": {"id": actor, "kind": "service"},
        "outcome": outcome,
        "resource": {"type": "object", "id": resource},
    }
    if subjects:
        data["subjects"] = [{"id": item, "category": "Customer"} for item in subjects]
    return {
        "specversion": "1.0",
        "id": f"e-{number}",
        "source": "urn:example:storage",
        "type": f"org.example.data.{verb}.v1",
        "time": f"2026-03-10T0{number % 9}:00:00.000Z",
        "dataclassification": "restricted",
        "data": data,
    }


class Clock:
    """Stands still until it is moved."""

    def __init__(self):
        self.now = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)

    def __call__(self):
        return self.now

    def move(self, **delta):
        self.now += timedelta(**delta)


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def law():
    return shipped_law()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def ledger(tmp_path, clock):
    with Ledger.create(tmp_path / "ledger", "audit.example.org/log", clock=clock) as opened:
        yield opened


@pytest.fixture
def service(ledger, law):
    return IncidentService(ledger, law)


@pytest.fixture
def peopled(service, tmp_path):
    """A service with people and an inventory of one object that holds five of the seven."""
    service.load_directory(write_lines(tmp_path / "people.ndjson", PEOPLE), by="ana")
    held = ["cust-1", "cust-2", "cust-3", "cust-4", "cust-5"]
    row = {"resource": RESOURCE, "subjects": held, "data_categories": ["name", "email", "ssn"]}
    other = {"resource": f"{BUCKET}/other.txt", "subjects": ["cust-6", "cust-7"], "data_categories": ["name"]}
    service.load_inventory(write_lines(tmp_path / "inventory.ndjson", [row, other]), by="ana")
    return service


@pytest.fixture
def assessed(peopled, ledger, clock):
    """An incident up to its first assessment; gives (service, id)."""
    ledger.append([access_event(1)])
    name = peopled.declare(
        "Object copied",
        by="ana",
        aware=clock.now - timedelta(hours=1),
        time_zone="Europe/Madrid",
        organisation=ORGANISATION,
        facts=FACTS,
    )
    for which in ("discovery", "determination", "detection"):
        peopled.record_clock(name, which, clock.now - timedelta(hours=1), by="ana")
    peopled.scope(name, peopled.criteria(actors=[INTRUDER]), by="ana")
    peopled.assess(name, by="ana")
    return peopled, name


@pytest.fixture(scope="session")
def world():
    """The constants and helpers of this file, for tests (which cannot import a conftest)."""
    return SimpleNamespace(
        RESOURCE=RESOURCE,
        BUCKET=BUCKET,
        INTRUDER=INTRUDER,
        ORGANISATION=ORGANISATION,
        FACTS=FACTS,
        NARRATIVE=NARRATIVE,
        PEOPLE=PEOPLE,
        person=person,
        access_event=access_event,
        write_lines=write_lines,
    )
