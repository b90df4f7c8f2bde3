"""A bundle of a real incident in a real ledger: nothing personal in it, and every part of it verified."""

from __future__ import annotations

import io
import json
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pypdf import PdfReader

from incidents.case.aggregate import Incident
from incidents.errors import IncidentNotFoundError
from incidents.regulator.bundle import BundleError, write_bundle
from incidents.service import IncidentService
from ledger import Ledger
from ledger.container import unpack
from ledger.encoding import format_time, parse
from ledger.verify_bundle import KNOWN_VERBS, verify_bytes, verify_file
from notifiers.adapters.letter import LetterAdapter
from notifiers.adapters.sink import SinkAdapter
from notifiers.messages import Sender
from notifiers.service import Dispatcher

BUCKET = "arn:aws:s3:::patients"
NARRATIVE = {
    "en": {
        "what_happened": "On 10 March 2026 somebody copied files that hold your data.",
        "measures_taken": "We closed the access on the same day.",
    },
    "es": {
        "what_happened": "El 10 de marzo de 2026 alguien copió archivos con sus datos.",
        "measures_taken": "Cerramos el acceso ese mismo día.",
    },
}
ORGANISATION = {
    "name": "Acme Health",
    "contact_name": "Data protection officer",
    "contact_email": "dpo@acme.example",
    "contact_phone": "+34 910 000 000",
    "contact_address": "Calle Mayor 1, 28013 Madrid",
    "website": "acme.example",
}


@dataclass
class Clock:
    now: datetime = datetime(2026, 3, 10, 9, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def person(number: int, **fields: object) -> dict:
    return {
        "id": f"cust-canary-{number:03d}",
        "name": f"Canaryname{number:03d} Ficticia",
        "language": "es",
        "jurisdiction": "ES",
        "born": "1980-01-01",
        "guardians": [],
        "contacts": {"email": [f"canary.mail.{number:03d}@people.example"], "sms": [f"+3460000{number:04d}"]},
        **fields,
    }


PEOPLE = [
    *(person(number) for number in range(6)),
    person(6, born="2016-05-02", guardians=["cust-canary-000"], contacts={}),
    person(7, contacts={"letter": [["Canaryname007 Ficticia", "Calle Canary 7", "28001 Madrid", "ES"]]}),
    person(8, contacts={}),
    person(9, jurisdiction="BR", language="en"),
]


def access(number: int, key: str, actor: str, outcome: str = "success") -> dict:
    return {
        "specversion": "1.0",
        "id": f"req-{number:04d}",
        "source": "urn:acme:storage",
        "type": "com.acme.data.download.v1",
        "time": f"2026-03-10T08:{number // 60:02d}:{number % 60:02d}.000Z",
        "datacontenttype": "application/json",
        "data": {
            "actor": {"id": actor, "kind": "service"},
            "outcome": outcome,
            "resource": {"type": "object", "id": f"{BUCKET}/{key}", "container": BUCKET},
            "client": {"ip": "203.0.113.77", "user_agent": "canary-agent/1.0"},
        },
    }


@dataclass
class World:
    ledger: Ledger
    service: IncidentService
    incident: str
    folder: Path


def write_lines(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    with Ledger.create(folder / "data", "acme.example/audit", clock=Clock()) as ledger:
        sender = Sender(name="Acme Health", email="notices@acme.example", postal=("Calle Mayor 1", "28013 Madrid"))
        dispatcher = Dispatcher(ledger, [SinkAdapter("email"), LetterAdapter(folder / "letters", sender)])
        service = IncidentService(ledger, dispatcher=dispatcher)
        service.load_directory(write_lines(folder / "people.ndjson", PEOPLE), by="Canarystaff Ana")
        half = [row["id"] for row in PEOPLE]
        inventory = [
            {"resource": f"{BUCKET}/a.csv", "subjects": half[:7], "data_categories": ["email", "name"]},
            {"resource": f"{BUCKET}/b.csv", "subjects": half[5:], "data_categories": ["name", "national_id"]},
            {"resource": f"{BUCKET}/c.csv", "subjects": half[:1], "data_categories": ["health"]},
        ]
        service.load_inventory(write_lines(folder / "inventory.ndjson", inventory), by="Canarystaff Ana")
        ledger.append([access(number, "c.csv", "canary-worker") for number in range(300)])
        ledger.append([access(300, "a.csv", "canary-intruder"), access(301, "b.csv", "canary-intruder")])
        ledger.append([access(302, "c.csv", "canary-intruder", "denied")])
        name = service.declare(
            "Bucket copied",
            by="Canarystaff Ana",
            aware=datetime(2026, 3, 10, 8, 30, tzinfo=UTC),
            time_zone="Europe/Madrid",
            organisation=ORGANISATION,
        )
        facts = {
            "complete": True,
            "role": ["controller"],
            "risk": "high",
            "encrypted": False,
            "established_in": ["ES"],
            "sectors": ["health"],
            "breach_types": ["access", "acquisition"],
            "medium": "electronic",
        }
        service.record_facts(name, facts, by="Canarystaff Ana")
        service.scope(name, service.criteria(actors=["canary-intruder"]), by="Canarystaff Ana")
        service.assess(name, by="Canarystaff Ana")
        for notice in service.draft_notices(name, by="Canarystaff Ana", narrative=NARRATIVE, everybody=True):
            service.approve(name, notice.id, notice.content_hash, by="Canarycounsel Lena")
        for campaign in service.open_campaign(name, by="Canarystaff Ana", everybody=True):
            dispatcher.run(campaign)
            service.finish(name, campaign, by="Canarystaff Ana")
        yield World(ledger, service, name, folder)


@pytest.fixture(scope="module")
def written(world):
    return write_bundle(world.ledger, world.service, world.incident, world.folder / "out" / "bundle.zip")


@pytest.fixture(scope="module")
def data(written):
    return written.path.read_bytes()


def test_it_verifies_under_the_ledgers_key(world, written):
    result = verify_file(str(written.path), vkey=world.ledger.vkey)
    assert result["exit_code"] == 0
    assert all(check["state"] == "proven" for check in result["checks"])
    assert written.verification["verdict"] == "intact"


def test_flips_anywhere_fail(data):
    for place in range(0, len(data), 997):
        changed = bytearray(data)
        changed[place] ^= 0x20
        assert verify_bytes(bytes(changed))["exit_code"] in (2, 4), place


def test_the_report_says_what_happened(world, data):
    report = parse(unpack(data)["report.json"])
    assert report["incident"]["incident"] == world.incident
    assert report["affected"]["count"] == len(PEOPLE)
    assert report["affected"]["under_18"] == 1
    assert report["affected"]["by_jurisdiction"] == {"BR": 1, "ES": 9}
    assert report["head"]["types"]["com.acme.data.download.v1"] == 3
    due = {row["duty"]: row for row in report["duties"] if row["result"] == "due"}
    assert any(row.get("due_utc") for row in due.values())
    assert all(row.get("citation") for row in due.values())
    balances = [row["balance"] for row in report["campaigns"]]
    assert all(row["queued"] == 0 for row in balances)
    assert report["receipts"]["providers"] == {"letters:folder": 1, "simulated:email": 8}
    assert sum(row["owed"] for row in balances) >= len(PEOPLE)
    assert report["receipts"]["count"] >= sum(row["handed_over"] + row["delivered"] for row in balances) > 0


def test_what_the_verifier_derives_is_what_the_incident_itself_shows(world, data):
    """Two readings of the same events: the aggregate's and the verifier's."""
    report, view = parse(unpack(data)["report.json"]), world.service.view(world.incident)
    assert report["incident"]["phase"] == view.phase
    assert report["incident"]["organisation"] == dict(view.organisation)
    clocks = {row["name"]: row["at"] for row in report["clocks"] if not row.get("superseded")}
    assert clocks == {clock.name: format_time(clock.at) for clock in view.clocks if not clock.superseded}
    facts = {row["path"]: row["value"] for row in report["facts"] if not row.get("superseded")}
    assert facts == {fact.path: fact.value for fact in view.facts if not fact.superseded}
    approved = {row["notice"]: row.get("approver") for row in report["notices"]}
    assert approved == {notice.id: notice.approver for notice in view.notices}
    owed = {row["duty"] for row in report["duties"] if row["result"].startswith("due")}
    assert owed == {duty.duty for duty in view.duties if duty.result.startswith("due")}
    assert len(report["timeline"]) == view.version


def test_the_verifier_knows_every_event_of_the_incident():
    topics = {getattr(event, "TOPIC", "") for event in vars(Incident).values() if isinstance(event, type)}
    verbs = {topic.split(".")[-2] for topic in topics if topic.startswith("org.tocsin.incident.")}
    assert verbs == KNOWN_VERBS


def test_the_pdf_is_archivable_tagged_and_its_text_can_be_read(data):
    reader = PdfReader(io.BytesIO(unpack(data)["report.pdf"]))
    text = "\n".join(page.extract_text() for page in reader.pages)
    for expected in ("INC-2026-0001", "Not legal advice", "Bucket copied", "Europe/Madrid", "Clocks", "Timeline"):
        assert expected in text
    metadata = reader.trailer["/Root"]["/Metadata"].get_data().decode()
    assert "<pdfaid:part>2</pdfaid:part>" in metadata
    assert "<pdfaid:conformance>A</pdfaid:conformance>" in metadata
    assert "<pdfuaid:part>1</pdfuaid:part>" in metadata
    assert reader.trailer["/Root"]["/MarkInfo"]["/Marked"]
    assert reader.trailer["/Root"]["/Lang"] == "en"


def test_nothing_personal_and_no_secret_is_in_it(world, data):
    secrets = [path.read_bytes().strip() for path in (world.folder / "data" / "keys").iterdir()]
    assert secrets
    with sqlite3.connect(world.ledger.database.path) as connection:
        secrets += [row[0] for row in connection.execute("SELECT data_key FROM vault")]
        secrets += [row[0] for row in connection.execute("SELECT key FROM outbox_campaign")]
    canaries = [b"canary", b"Ficticia", b"203.0.113", b"+3460000", b"people.example", *secrets]
    files = unpack(data)
    opened = [files[name] for name in files if name != "verify_bundle.py"]
    import base64

    for line in files["entries.ndjson"].splitlines():
        row = parse(line)
        opened += [base64.b64decode(row[field]) for field in ("entry", "payload", "salt") if row[field]]
    pages = PdfReader(io.BytesIO(files["report.pdf"])).pages
    opened.append("\n".join(page.extract_text() for page in pages).encode())
    for content in opened:
        for canary in canaries:
            assert canary.lower() not in content.lower()


def test_the_same_ledger_and_instant_give_the_same_evidence(world, data):
    again = write_bundle(world.ledger, world.service, world.incident, world.folder / "again.zip").path.read_bytes()
    one, two = unpack(data), unpack(again)
    for name in ("entries.ndjson", "affected.ndjson", "receipts.ndjson", "checkpoint", "keys.txt", "policy"):
        assert one[name] == two[name]


def test_an_unknown_incident_leaves_no_file(world, tmp_path):
    with pytest.raises(IncidentNotFoundError):
        write_bundle(world.ledger, world.service, "INC-1999-0001", tmp_path / "x.zip")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_gives_one_error_and_no_half_file(world, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BundleError, match="choose another place"):
        write_bundle(world.ledger, world.service, world.incident, tmp_path / "file" / "x.zip")
    (tmp_path / "taken.zip").mkdir()
    with pytest.raises(BundleError):
        write_bundle(world.ledger, world.service, world.incident, tmp_path / "taken.zip")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "taken.zip"]


def test_a_bundle_of_a_just_declared_incident_verifies(tmp_path):
    with Ledger.create(tmp_path / "data", "acme.example/young", clock=Clock()) as ledger:
        service = IncidentService(ledger)
        name = service.declare("数据泄露: first minutes", by="ana", time_zone="Asia/Shanghai")
        done = write_bundle(ledger, service, name, tmp_path / "young.zip")
    assert done.verification["exit_code"] == 0
    files = unpack(done.path.read_bytes())
    assert files["affected.ndjson"] == files["receipts.ndjson"] == b""
    text = PdfReader(io.BytesIO(files["report.pdf"])).pages[0].extract_text()
    assert "数据泄露" in text
