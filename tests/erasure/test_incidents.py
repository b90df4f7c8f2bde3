"""Erasure beside incidents: who is affected is kept, evidence survives, letters that name somebody go."""

from __future__ import annotations

import json
from datetime import timedelta
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from api.cli import erasure, keys
from api.erasing import IncidentCases
from incidents.regulator.bundle import write_bundle
from incidents.service import IncidentService
from ledger import Ledger, verify_bundle
from ledger.errors import ErasedError
from ledger.forgetting.erasing import ErasureRefusedError, erase
from ledger.forgetting.holding import place_hold
from ledger.forgetting.retention import RetentionHeldError, Rule, run_rules
from ledger.forgetting.scrub import finish
from notifiers.messages import Message, Recipient, Sender
from notifiers.service import Dispatcher

RUN = CliRunner()
BUCKET = "arn:aws:s3:::clients"
RESOURCE = f"{BUCKET}/ring.txt"
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
}


def person(number, *, born="1980-05-17", guardians=()):
    return {
        "id": f"cust-{number}",
        "name": f"Vera Muster {number}",
        "language": "es",
        "jurisdiction": "ES",
        "born": born,
        "guardians": list(guardians),
        "contacts": {"letter": [[f"Vera Muster {number}", f"Calle Gorrión {number}", "28001 Madrid", "ES"]]},
    }


def access(number, *, subjects=(), resource=RESOURCE):
    return {
        "specversion": "1.0",
        "id": f"e-{number}",
        "source": "urn:example:storage",
        "type": "org.example.data.download.v1",
        "time": f"2026-03-10T0{number}:00:00.000Z",
        "data": {
            "actor": {"id": INTRUDER, "kind": "service"},
            "outcome": "success",
            "resource": {"type": "object", "id": resource},
            "subjects": [{"id": item} for item in subjects],
        },
    }


@pytest.fixture
def house(ledger, clock, tmp_path, actor):
    """An open, scoped and assessed incident: cust-1 to cust-3 affected, cust-3 a child of cust-4; cust-5 is not."""
    service = IncidentService(ledger)
    people = [person(1), person(2), person(3, born="2014-01-01", guardians=["cust-4"]), person(4), person(5)]
    held = [
        {"resource": RESOURCE, "subjects": ["cust-2", "cust-3"], "data_categories": ["name", "ssn"]},
        {"resource": f"{BUCKET}/other.txt", "subjects": ["cust-5"], "data_categories": ["name"]},
    ]
    for name, rows in (("people", people), ("inventory", held)):
        path = tmp_path / f"{name}.ndjson"
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        getattr(service, "load_directory" if name == "people" else "load_inventory")(path, by="ana")
    clock.move(hours=8)
    ledger.append([access(1), access(2, subjects=["cust-1"]), access(3, subjects=["cust-1", "cust-2"])])
    name = service.declare(
        "Object copied",
        by="ana",
        aware=clock.now - timedelta(hours=1),
        time_zone="Europe/Madrid",
        organisation=ORGANISATION,
        facts=FACTS,
    )
    house = SimpleNamespace(service=service, ledger=ledger, name=name, actor=actor, cases=IncidentCases(service))
    house.ref = {number: ledger.vault.find("subject", f"cust-{number}") for number in range(1, 6)}
    house.scope = lambda: service.scope(name, service.criteria(actors=[INTRUDER]), by="ana")
    return house


def forget(house, number, **more):
    return erase(house.ledger, house.ref[number], basis="request 1", by=house.actor, cases=house.cases, **more)


def test_an_open_incident_protects_the_affected_and_their_guardians_alone(house, kit):
    assert house.cases.unscoped() == [house.name]
    house.scope()
    for number in (1, 2, 3, 4):
        with pytest.raises(ErasureRefusedError, match=house.name):
            forget(house, number)
    assert forget(house, 5).ref == house.ref[5]
    assert forget(house, 2, override="was told in person").payloads == 0
    house.service.close(house.name, "Nothing more to learn.", by="ana")
    assert forget(house, 1).payloads == 1
    # Once it is closed, a hold on it still covers whom it names.
    place_hold(house.ledger, "incident", house.name, authority="AEPD", basis="file 3", by=house.actor)
    with pytest.raises(ErasureRefusedError, match="AEPD"):
        forget(house, 3)
    assert kit.damage(house.ledger) == []


def test_the_regulators_file_still_builds_and_verifies(house, tmp_path):
    house.scope()
    house.service.assess(house.name, by="ana")
    before = tmp_path / "before.zip"
    write_bundle(house.ledger, house.service, house.name, before)
    done = forget(house, 1, override="was told in person")
    finish(house.ledger, by=house.actor, needles=done.needles)
    after = write_bundle(house.ledger, house.service, house.name, tmp_path / "after.zip")
    assert after.verification["exit_code"] == 0
    # The frozen list names the dead pseudonym, and the erased access is there as a withheld entry.
    assert house.ref[1] in [member.ref for member in house.service.affected(house.name).members]
    assert verify_bundle.verify_file(str(before))["exit_code"] == 0
    house.service.view(house.name)
    house.scope()
    assert house.ref[1] in [member.ref for member in house.service.affected(house.name).members]
    assert write_bundle(house.ledger, house.service, house.name, tmp_path / "again.zip").verification["exit_code"] == 0


def test_retention_keeps_what_an_open_incident_rests_on(house, kit, clock):
    rules = [Rule("all", "*", 30)]
    house.ledger.append([access(4, subjects=["cust-5"], resource="elsewhere") | {"id": "mine"}])
    other = access(5, subjects=["cust-5"], resource="elsewhere") | {"id": "other"}
    other["data"]["actor"]["id"] = "dr-grey"
    house.ledger.append([other])
    clock.move(days=60)
    with pytest.raises(RetentionHeldError, match=house.name):
        run_rules(house.ledger, rules, by=house.actor, cases=house.cases)
    house.scope()
    [ran] = run_rules(house.ledger, rules, by=house.actor, cases=house.cases)
    assert (ran.deleted, ran.kept) == (1, {"incidents": 4})
    house.service.close(house.name, "Nothing more to learn.", by="ana")
    [ran] = run_rules(house.ledger, rules, by=house.actor, cases=house.cases)
    assert ran.deleted == 4
    assert kit.damage(house.ledger) == []


def dispatch(ledger, refs, directory):
    """Letters to these people, written by the command's own configuration."""
    (directory / "notifiers.toml").write_text(
        '[organisation]\nname = "Northwind"\nemail = "dpo@northwind.example"\nreply_to = "dpo@northwind.example"\n'
        'phone = "+34 900 000 000"\nwebsite = "northwind.example"\npostal = ["Calle Mayor 1", "28001 Madrid"]\n'
        'sms = "Northwind"\n[letter]\nfolder = "letters"\n'
    )
    from notifiers.config import read_config

    configured = read_config(directory)
    dispatcher = Dispatcher(ledger, configured.adapters)
    texts = [Message("letter", "es", role, "Aviso", "Hola [[name]],\n\n[[child]].", None) for role in ("guardian",)]
    texts += [Message("letter", "es", "person", "Aviso", "Hola [[name]],\n\nsus datos.", None)]
    owed = [Recipient(refs[n], refs[n], "person", "es", ("letter",), f"R-{n}") for n in (1, 2)]
    owed += [Recipient(refs[3], refs[4], "guardian", "es", ("letter",), "R-3")]
    assert isinstance(configured.sender, Sender)
    dispatcher.open_campaign("c1", incident="inc", messages=texts, recipients=owed, sender=configured.sender)
    dispatcher.run("c1")


def test_letters_to_and_about_the_person_are_deleted_with_their_lines(house, kit):
    directory = house.ledger.directory
    dispatch(house.ledger, house.ref, directory)
    folder = directory / "letters/c1"
    assert len(list(folder.glob("*.pdf"))) == 3
    house.ledger.close()

    result = RUN.invoke(
        erasure.app,
        ["erase", "cust-3", "cust-1", "--data", str(directory), "--as", "dpo", "--basis", "eu-gdpr:A17-1-b", "--json"],
    )
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["wiped"]["copies"] == {"letters": 2}
    assert answer["unfinished"] == []
    [left] = folder.glob("*.pdf")
    assert [line["file"] for line in json.loads((folder / "manifest.json").read_text())["letters"]] == [left.name]
    assert kit.everywhere(directory, b"Vera Muster 1") == kit.everywhere(directory, "Gorrión 3".encode()) == []
    with Ledger.open(directory) as again:
        assert kit.damage(again) == []
        assert again.vault.profile(house.ref[2])["name"] == "Vera Muster 2"
        with pytest.raises(ErasedError):
            again.vault.profile(house.ref[1])


def tocsin(directory, *arguments, stdin=None, app=erasure.app):
    return RUN.invoke(app, [*arguments, "--data", str(directory)], input=stdin)


def test_the_commands_from_hold_to_erasure(house, kit):
    house.scope()
    house.ledger.close()
    directory = house.ledger.directory
    officer = ("--as", "dpo")

    placed = tocsin(
        directory, "hold", "place", "--person", "cust-5", "--authority", "court", "--basis", "12/26", *officer, "--json"
    )
    assert placed.exit_code == 0, placed.output
    hold = json.loads(placed.stdout)["hold"]
    assert "court" in tocsin(directory, "hold", "list").stdout

    refused = tocsin(directory, "erase", "-", "--basis", "b", *officer, stdin="cust-5\ncust-2\n")
    assert refused.exit_code == 1
    assert hold in refused.output
    assert house.name in refused.output
    assert tocsin(directory, "hold", "lift", hold, "--reason", "withdrawn", *officer).exit_code == 0
    assert "No holds" in tocsin(directory, "hold", "list").stdout
    assert "lifted" in tocsin(directory, "hold", "list", "--all").stdout

    deferred = tocsin(directory, "erase", "cust-5", "--basis", "b", *officer, "--defer")
    assert "--finish" in deferred.stdout
    assert "Files wiped" in tocsin(directory, "erase", "--finish", *officer).stdout
    assert "Nothing is left" in tocsin(directory, "erase", "--finish", *officer).stdout
    assert isinstance(tocsin(directory, "erase", "cust-5", "--basis", "b", *officer).exception, Exception)
    assert tocsin(directory, "erase", *officer).exit_code == 2
    assert tocsin(directory, "hold", "place", "--authority", "a", "--basis", "b", *officer).exit_code == 2

    (directory / "retention.toml").write_text(
        '[[rule]]\nname = "all"\ntype = "org.example.*"\ndays = 1\naction = "delete-payload"\n'
    )
    ran = tocsin(directory, "retention", "run", *officer, "--json")
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout)["rules"][0]["rule"] == "all"

    rotated = tocsin(directory, "rotate-vault", "--new", "file:keys/v2.key", *officer, "--drop-old", app=keys.app)
    assert rotated.exit_code == 0, rotated.output
    assert not (directory / "keys/vault.key").exists()
    with Ledger.open(directory) as again:
        assert kit.damage(again) == []
