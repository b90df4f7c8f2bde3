"""`tocsin report` as a user runs it."""

from __future__ import annotations

import json
import stat

import pytest
import typer
from click.testing import CliRunner

from api.cli.report import app
from ledger import Ledger
from ledger.errors import NotFoundError


@pytest.fixture
def run(monkeypatch):
    monkeypatch.delenv("TOCSIN_DATA", raising=False)
    runner = CliRunner()
    command = typer.main.get_command(app)

    def call(*arguments: object, code: int = 0):
        result = runner.invoke(command, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result.stdout

    return call


@pytest.fixture
def data(ledger, kit):
    kit.fill(ledger, 40)
    return ledger.directory


def test_a_report_is_made_sealed_and_checked(run, data, ledger, tmp_path):
    file, text = tmp_path / "r.json", tmp_path / "r.md"
    run("subject", "cust-1", "--data", data, "-o", file, "--markdown", text)
    assert "Proven" in run("check", file, "--vkey", ledger.vkey)
    assert json.loads(run("check", file, "--vkey", ledger.vkey, "--json"))["verdict"] == "proven"
    policy = tmp_path / "policy"
    policy.write_text(f"log {ledger.vkey}\nquorum none\n")
    run("check", file, "--policy", policy)
    assert text.read_text().startswith("# All recorded accesses to this person")


def test_by_ref_as_json_and_for_a_resource(run, data, ledger):
    ref = ledger.vault.find("subject", "cust-2")
    value = json.loads(run("subject", ref, "--data", data, "--json", "--resource", "record/1"))
    assert [section["key"] for section in value["sections"]] == [ref, "record/1"]
    assert run("resource", "record/1", "--data", data).startswith("# All recorded accesses to this resource")
    size = value["size"]
    again = json.loads(run("resource", "record/1", "--data", data, "--size", size, "--no-payloads", "--json"))
    assert again["size"] == size
    assert {access["state"] for access in again["accesses"]} == {"withheld"}


def test_exit_codes_of_check(run, data, ledger, tmp_path):
    file = tmp_path / "r.json"
    run("subject", "cust-1", "--data", data, "-o", file)
    value = json.loads(file.read_bytes())
    value["accesses"].pop()
    file.write_text(json.dumps(value))
    run("check", file, "--vkey", ledger.vkey, code=2)
    other = "log example.org/other+12345678+AA==\nquorum none\n"
    policy = tmp_path / "policy"
    policy.write_text(other)
    run("check", file, "--policy", policy, code=3)
    file.write_text("{}")
    assert json.loads(run("check", file, "--vkey", ledger.vkey, "--json", code=4))["exit_code"] == 4
    run("check", file, code=2)


def test_seal_twice_then_recompute_here_and_elsewhere(run, data, ledger, tmp_path):
    first = json.loads(run("seal", "--data", data, "--json"))
    assert json.loads(run("seal", "--data", data, "--json")) == first
    assert "seals 7 subjects" in run("seal", "--data", data)
    assert json.loads(run("recompute", "--data", data, "--json"))["verdict"] == "matches"
    log, key = tmp_path / "log.ndjson", tmp_path / "key"
    run("export", "--data", data, "-o", log, "--key", key)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    run("recompute", "--log", log, "--key", key, "--vkey", ledger.vkey)
    log.write_bytes(b"\n".join(log.read_bytes().splitlines()[:-1]) + b"\n")
    run("recompute", "--log", log, "--key", key, "--vkey", ledger.vkey, code=2)
    run("recompute", "--log", log, "--vkey", ledger.vkey, code=2)


def test_recompute_names_the_mismatch_and_what_it_cannot_do(run, data, ledger, kit):
    run("seal", "--data", data)
    kit.erase(ledger, 3)
    assert "taken from the index" in run("recompute", "--data", data)
    with ledger.database.write() as connection:
        connection.execute("DELETE FROM access_map_entry WHERE position = 4")
    assert json.loads(run("recompute", "--data", data, "--json", code=2))["first_mismatch"] is not None


def test_who_asked_is_recorded_without_a_name(run, data):
    run("subject", "cust-1", "--data", data, "--as", "auditor@example.org", "--json")
    with Ledger.open(data) as fresh:
        last = list(fresh.entries())[-1]
        assert last.decode().type == "org.tocsin.report.generated.v1"
        assert last.payload is not None
        assert b"auditor" not in last.payload
        assert json.loads(last.payload)["data"]["subjects"] == [{"ref": fresh.vault.find("subject", "cust-1")}]


def test_an_unknown_person_is_said_to_be_unknown(run, data):
    with pytest.raises(NotFoundError):
        run("subject", "nobody", "--data", data)
