"""`tocsin import cloudtrail`: the whole way from a file into the ledger."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime

import orjson
import pytest
from typer.testing import CliRunner

from api.cli.imports import app
from api.demo.traffic import Traffic
from ledger import Criteria, Ledger
from ledger.errors import EventConflictError, InputError
from ledger.importers.runner import ImportReport, import_cloudtrail
from ledger.verify import verify_database

REAL = "data/cloudtrail-s3-breach/cloudtrail.ndjson"


def make_log(path, count, seed=1):
    rows = Traffic(random.Random(seed), datetime(2026, 3, 20, tzinfo=UTC)).records(count)
    lines = [orjson.dumps(row) for row in rows]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return lines


def run(*arguments):
    return CliRunner().invoke(app, [str(item) for item in arguments], catch_exceptions=False)


def test_the_real_breach_is_imported_through_the_command_line(shared, tmp_path):
    result = run("cloudtrail", shared / REAL, "--data", tmp_path / "ledger", "--json")
    assert result.exit_code == 0
    # One entry more than records: the ledger's own first entry names its key.
    assert json.loads(result.stdout) == {"read": 103, "new": 103, "present": 0, "size": 104}
    with Ledger.open(tmp_path / "ledger") as ledger:
        reads = list(ledger.access.matches(Criteria(actions=("data.download",)), ledger.size()))
        assert [access.time for access in reads] == ["2020-09-14T01:02:34.000Z", "2020-09-14T01:13:20.000Z"]
        assert {access.resource.rpartition("/")[2] for access in reads} == {"ring.txt"}
        assert {access.outcome for access in reads} == {"success"}
        [actor], [credential] = {a.actor for a in reads}, {a.credential for a in reads}
        who = ledger.vault.profile(actor)["id"]
        assert who.endswith("BankingWAFRole-9S3E0UAE1MM0/i-0317f6c6b66ae9c40")
        assert ledger.vault.find("actor", ledger.vault.profile(credential)["id"]) == credential
        findings = verify_database(ledger.database, ledger.vkey, vault=ledger.vault)
        assert findings.exit_code == 0

    again = run("cloudtrail", shared / REAL, "--data", tmp_path / "ledger", "--json")
    assert json.loads(again.stdout) == {"read": 103, "new": 0, "present": 103, "size": 104}


def test_no_identity_of_the_real_breach_stands_in_the_open(shared, tmp_path):
    run("cloudtrail", shared / REAL, "--data", tmp_path / "ledger", "--json")
    stored = b"".join(path.read_bytes() for path in (tmp_path / "ledger").glob("ledger.db*"))
    for secret in (b"user/pedro", b"i-0317f6c6b66ae9c40", b"ASIA5FLZVX4OPVKKVBMX", b"1.2.3.4", b"Darwin/19.5.0"):
        assert secret not in stored


def test_the_original_record_can_be_read_again(shared, tmp_path):
    with Ledger.create(tmp_path / "ledger") as ledger:
        import_cloudtrail(ledger, shared / REAL)
        [access, _] = ledger.access.matches(Criteria(actions=("data.download",)), ledger.size())
        raw = ledger.details(ledger.entry(access.index))["raw"]
    lines = (shared / REAL).read_bytes().splitlines()
    original = next(row for row in map(json.loads, lines) if row["eventID"] == raw["eventID"])
    assert raw == original  # 89.0 == 89: the same number, only written without its fraction


@pytest.mark.parametrize("layout", ["ndjson", "records", "gzip"])
def test_all_layouts_are_imported_alike_and_deduped_across_each_other(tmp_path, layout):
    lines = make_log(tmp_path / "a.ndjson", 150)
    other = tmp_path / "b"
    if layout == "records":
        other.write_text(json.dumps({"Records": [json.loads(line) for line in lines]}, indent=1))
    else:
        other.write_bytes(gzip.compress(b"\n".join(lines)) if layout == "gzip" else b"\n".join(lines))
    with Ledger.create(tmp_path / "ledger") as ledger:
        seen = []
        first = import_cloudtrail(ledger, other, batch=40, progress=lambda *step: seen.append(step))
        assert first == ImportReport(read=161, new=161, present=0)
        assert seen[-1] == ("append", 161, 161)
        assert ("check", 161, None) in seen
        assert import_cloudtrail(ledger, tmp_path / "a.ndjson") == ImportReport(read=161, new=0, present=161)


def test_a_record_twice_in_one_file_is_one_entry(tmp_path):
    lines = make_log(tmp_path / "a.ndjson", 5)
    (tmp_path / "b.ndjson").write_bytes(b"\n".join([*lines, lines[0], lines[3]]))
    with Ledger.create(tmp_path / "ledger") as ledger:
        report = import_cloudtrail(ledger, tmp_path / "b.ndjson")
    assert report == ImportReport(read=len(lines) + 2, new=len(lines), present=2)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda _: b'{"eventName": "Secret', "line 60: not valid JSON"),
        (lambda row: row.replace(b'"eventTime"', b'"eventtime"'), "line 60: eventTime is missing (field /eventTime)"),
        (lambda row: row.replace(b'"eventID":"', b'"eventID":"Secret Secret '), "(field /eventID)"),
        (lambda _: b'["Secret"]', "line 60: the record is not a JSON object"),
        (lambda row: row.replace(b'"awsRegion":"', b'"awsRegion":"Secret /'), "(field /awsRegion)"),
    ],
)
def test_one_bad_line_and_nothing_is_written(tmp_path, spoil, says):
    lines = make_log(tmp_path / "a.ndjson", 80)
    lines[59] = spoil(lines[59])
    (tmp_path / "a.ndjson").write_bytes(b"\n".join(lines))
    with Ledger.create(tmp_path / "ledger") as ledger:
        size = ledger.size()
        with pytest.raises(InputError) as caught:
            import_cloudtrail(ledger, tmp_path / "a.ndjson", batch=10)
        assert says in str(caught.value)
        assert "a.ndjson, line 60" in str(caught.value)
        assert "Nothing was imported" in str(caught.value)
        assert "Secret" not in str(caught.value)
        assert ledger.size() == size


def test_a_changed_record_under_an_old_id_is_refused_by_place(tmp_path):
    lines = make_log(tmp_path / "a.ndjson", 20)
    with Ledger.create(tmp_path / "ledger") as ledger:
        import_cloudtrail(ledger, tmp_path / "a.ndjson")
        size = ledger.size()
        row = json.loads(lines[7])
        row["userAgent"] = "somebody else's"
        (tmp_path / "b.ndjson").write_bytes(b"\n".join([lines[0], orjson.dumps(row)]))
        with pytest.raises(EventConflictError, match=r"b\.ndjson, line 2"):
            import_cloudtrail(ledger, tmp_path / "b.ndjson")
        assert ledger.size() == size


def test_a_pipe_is_refused_before_anything_is_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with Ledger.create(tmp_path / "ledger") as ledger, pytest.raises(InputError, match="regular file"):
        import_cloudtrail(ledger, tmp_path / "pipe")


def test_kill_9_in_the_middle_and_again_gives_every_record_once(tmp_path):
    lines = make_log(tmp_path / "big.ndjson", 20_000)
    command = [
        sys.executable,
        "-c",
        "import sys; from api.cli import main; main(sys.argv[1:])",
        "import",
        "cloudtrail",
        str(tmp_path / "big.ndjson"),
        "--data",
        str(tmp_path / "ledger"),
        "--json",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: entries(tmp_path / "ledger/ledger.db") > 4000 or process.poll() is not None)
        assert process.poll() is None, "the import ended before it could be killed"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = entries(tmp_path / "ledger/ledger.db")
    assert 4000 < before < len(lines)

    second = subprocess.run(command, capture_output=True, check=True)
    report = json.loads(second.stdout)
    assert report["read"] == len(lines)
    assert report["present"] == before - 1  # all but the ledger's own first entry
    assert report["new"] == len(lines) - report["present"]
    assert report["size"] == len(lines) + 1
    with Ledger.open(tmp_path / "ledger") as ledger:
        ids = [stored.decode().id for stored in ledger.entries(1)]
        assert sorted(ids) == sorted(json.loads(line)["eventID"] for line in lines)
        assert verify_database(ledger.database, ledger.vkey, vault=ledger.vault).exit_code == 0


def entries(path):
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
            return connection.execute("SELECT count(*) FROM event").fetchone()[0]
    except sqlite3.OperationalError:
        return 0


def wait_until(condition):
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.02)
    pytest.fail("waited in vain")
