"""The bundle of the real breach: two objects read, and exactly the people they hold."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

from incidents.regulator.bundle import write_bundle
from incidents.service import IncidentService
from ledger import Ledger
from ledger.container import unpack
from ledger.encoding import parse
from ledger.importers.runner import import_cloudtrail
from ledger.verify_bundle import verify_file

BUCKET = "arn:aws:s3:::mordors3stack-s3bucket-llp2yingx64a"
ROLE = "arn:aws:sts::123456789123:assumed-role/MordorNginxStack-BankingWAFRole-9S3E0UAE1MM0/i-0317f6c6b66ae9c40"


def test_the_two_reads_of_the_real_breach_are_in_it_and_prove(shared, tmp_path):
    people = [{"id": f"c{number}", "name": "x", "language": "en", "jurisdiction": "US-CA"} for number in range(3)]
    (tmp_path / "people.ndjson").write_text("".join(json.dumps(row) + "\n" for row in people))
    inventory = [
        {"resource": f"{BUCKET}/ring.txt", "subjects": ["c0", "c1"], "data_categories": ["name", "ssn"]},
        {"resource": f"{BUCKET}/other.txt", "subjects": ["c2"], "data_categories": ["name"]},
    ]
    (tmp_path / "inventory.ndjson").write_text("".join(json.dumps(row) + "\n" for row in inventory))
    with Ledger.create(tmp_path / "data", "bank.example/audit") as ledger:
        import_cloudtrail(ledger, shared / "data" / "cloudtrail-s3-breach" / "cloudtrail.ndjson")
        service = IncidentService(ledger)
        service.load_directory(tmp_path / "people.ndjson", by="ana")
        service.load_inventory(tmp_path / "inventory.ndjson", by="ana")
        name = service.declare("Objects copied", by="ana", aware=datetime(2020, 9, 15, tzinfo=UTC))
        service.scope(name, service.criteria(actors=[ROLE], actions=["data.download", "data.view"]), by="ana")
        written = write_bundle(ledger, service, name, tmp_path / "breach.zip")
        vkey = ledger.vkey
    assert verify_file(str(written.path), vkey=vkey)["verdict"] == "intact"
    files = unpack(written.path.read_bytes())
    members = [parse(line) for line in files["affected.ndjson"].splitlines()]
    assert [member["confidence"] for member in members] == ["confirmed", "confirmed"]
    reads = {}
    for line in files["entries.ndjson"].splitlines():
        row = parse(line)
        entry = parse(base64.b64decode(row["entry"]))
        if ".data." in entry["type"]:
            reads[row["index"]] = entry["time"][:19]
    assert sorted(reads.values()) == ["2020-09-14T01:02:34", "2020-09-14T01:13:20"]
    assert all(member["entries"] == sorted(reads) for member in members)
    report = parse(files["report.json"])
    assert (report["head"]["matched"], report["affected"]["summary"]["accesses"]) == (2, 2)
    content = b"".join(base64.b64decode(parse(line)["payload"]) for line in files["entries.ndjson"].splitlines())
    for personal in (b"1.2.3.4", b"aws-cli", b"ASIA5FLZVX4OPVKKVBMX", b"i-0317f6c6b66ae9c40"):
        assert personal not in content
