"""`tocsin people|inventory|incident|notice` as somebody types them."""

import json

import pytest

from api.cli import common, main
from ledger import Ledger


@pytest.fixture
def run(tmp_path, world, capsys, monkeypatch):
    """Runs `tocsin` on one data directory and gives what it printed."""
    data = tmp_path / "data"
    with Ledger.create(data, "audit.example.org/log") as ledger:
        ledger.append([world.access_event(1)])
    monkeypatch.setenv("TOCSIN_DATA", str(data))
    # The consoles are made at import, by whichever test came first; an environment variable may be too late.
    monkeypatch.setattr(common.out, "_width", 200)
    monkeypatch.setattr(common.err, "_width", 200)

    def call(*arguments, fails=False):
        with pytest.raises(SystemExit) as ended:
            main([str(item) for item in arguments])
        printed = capsys.readouterr()
        assert bool(ended.value.code) == fails, printed.out + printed.err
        return printed.err if fails else printed.out

    return call


def test_from_people_to_an_approved_notice(run, world, tmp_path):
    people = world.write_lines(tmp_path / "people.ndjson", world.PEOPLE)
    row = {"resource": world.RESOURCE, "subjects": ["cust-1", "cust-4"], "data_categories": ["name", "ssn"]}
    inventory = world.write_lines(tmp_path / "inventory.ndjson", [row])
    organisation = tmp_path / "organisation.yaml"
    organisation.write_text(json.dumps(world.ORGANISATION))
    narrative = tmp_path / "narrative.yaml"
    narrative.write_text(json.dumps(world.NARRATIVE))
    facts = tmp_path / "facts.yaml"
    facts.write_text(json.dumps(world.FACTS))

    assert json.loads(run("people", "load", people, "--as", "ana", "--json"))["count"] == 7
    assert "1 resources loaded" in run("inventory", "load", inventory, "--as", "ana")
    declared = run("incident", "declare", "Object copied", "--as", "ana", "--aware", "2026-03-10T11:00",
                   "--time-zone", "Europe/Madrid", "--organisation", organisation, "--json")  # fmt: skip
    view = json.loads(declared)
    assert view["clocks"][0]["at"] == "2026-03-10T10:00:00.000Z"
    assert view["clocks"][0]["at_local"] == "2026-03-10T11:00:00+01:00"
    name = view["id"]
    run("incident", "fact", name, "--file", facts, "--as", "ana")
    run("incident", "fact", name, "sectors=[retail]", "--as", "ana", "--note", "articles of association")
    run("incident", "clock", name, "discovery", "2026-03-10T11:00", "--as", "ana")
    assert "2 people affected" in run("incident", "scope", name, "--actor", world.INTRUDER, "--as", "ana")
    assessed = json.loads(run("incident", "assess", name, "--as", "ana", "--json"))
    assert {"eu-gdpr-33-1-authority", "us-ca-individuals"} <= {item["duty"] for item in assessed["deadlines"]}
    shown = run("incident", "show", name)
    assert "Deadlines" in shown
    assert "CET" in shown
    assert "UTC" in shown
    run("notice", "draft", name, narrative, "--as", "ana")
    notices = json.loads(run("notice", "show", name, "--json"))
    held = next(item for item in notices if item["id"] == "person-es")
    assert "You wrote version 1" in run(
        "notice", "approve", name, "person-es", held["content_hash"], "--as", "ANA", fails=True
    )
    run("notice", "approve", name, "person-es", held["content_hash"], "--as", "lena")
    assert "approved" in run("notice", "show", name, "person-es")
    run("notice", "lint", name)
    timeline = json.loads(run("incident", "timeline", name, "--json"))
    assert timeline[-1]["type"] == "org.tocsin.incident.notice_approved.v1"
    assert json.loads(run("incident", "list", "--json"))[0]["affected"] == 2
    run("incident", "close", name, "--lessons", "Short-lived keys", "--as", "lena")
    assert "closed" in run("incident", "show", name)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("incident", "show", "INC-2026-0009"), "no incident of that id"),
        (("incident", "declare", "x", "--as", "ana", "--aware", "yesterday"), "aware: write the time as"),
        (("incident", "declare", "x", "--as", "ana", "--time-zone", "Mars"), "not an IANA time zone"),
        (
            ("incident", "declare", "x", "--as", "ana", "--time-zone", "Europe/Madrid", "--aware", "2025-10-26T02:30"),
            "skipped or repeated",
        ),
        (("incident", "declare", "x", "--as", " "), "Say who acts"),
        (("people", "load", "missing.ndjson", "--as", "ana"), "missing.ndjson does not exist"),
        (("notice", "show", "INC-2026-0009"), "no incident of that id"),
    ],
)
def test_a_refusal_is_one_line_that_says_what_to_do(run, arguments, said):
    error = run(*arguments, fails=True)
    assert said in error
    assert len(error.strip().splitlines()) == 1
