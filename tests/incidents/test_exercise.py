"""An exercise is one from its declaration on: real engine and clocks, marked everywhere, and it reaches nobody."""

import io
import json
from dataclasses import replace

import pytest
from pypdf import PdfReader

from api.cli import common, main
from incidents.case.aggregate import Incident
from incidents.errors import IncidentError
from incidents.regulator.bundle import write_bundle
from ledger.container import unpack
from ledger.verify_bundle import render, verify_bytes
from notifiers.adapters.sink import SinkAdapter
from notifiers.service import Dispatcher

BANNER = "This is a drill"


class Transport(SinkAdapter):
    """Declares that it reaches people."""

    @property
    def capabilities(self):
        return replace(super().capabilities, reaches_people=True)


@pytest.fixture
def drilled(peopled, world, ledger, clock):
    """An exercise up to approved notices, with a transport that must never be used; gives (service, id, sent)."""
    sent = []
    peopled.dispatcher = Dispatcher(ledger, [Transport("email", on_message=sent.append)], clock=clock)
    ledger.append([world.access_event(1)])
    name = peopled.declare(
        "Object copied",
        by="ana",
        aware=clock.now,
        time_zone="Europe/Madrid",
        organisation=world.ORGANISATION,
        facts=world.FACTS,
        exercise=True,
    )
    peopled.record_clock(name, "discovery", clock.now, by="ana")
    peopled.scope(name, peopled.criteria(actors=[world.INTRUDER]), by="ana")
    peopled.assess(name, by="ana")
    for notice in peopled.draft_notices(name, by="ana", narrative=world.NARRATIVE):
        peopled.approve(name, notice.id, notice.content_hash, by="lena")
    return peopled, name, sent


def test_an_exercise_runs_to_the_end_and_reaches_nobody(drilled, tmp_path):
    service, name, sent = drilled
    campaigns = service.open_campaign(name, by="ana")
    published = service.announce(name, by="ana", directory=tmp_path / "exercise", base_url="https://example.org/n")
    for campaign in campaigns:
        service.dispatcher.run(campaign)
        service.finish(name, campaign, by="ana")
    view = service.view(name)
    assert sent == []
    assert {item.mode for item in view.campaigns} == {"drill"}
    assert {item.opened_by_name for item in view.campaigns} == {"ana"}
    states = {item.duty: item.state for item in view.deadlines}
    assert states["eu-gdpr-34-individuals"] == "met"  # in the exercise, so that it can be played to its end
    assert view.status == "Exercise"
    assert view.timeline[0].text == "Exercise declared: Object copied"
    assert [item.status for item in service.list()] == ["Exercise"]
    assert "[EXERCISE]" in published.pages["en"].read_text()
    assert "[SIMULACRO]" in published.pages["es"].read_text()


def test_an_actual_incident_sends_live_and_its_status_is_in_the_log(assessed, ledger):
    service, name = assessed
    held = service._app.load(name)
    assert (held.status, held.mode, held.exercise) == ("Actual", "live", False)
    declared = next(item for item in service.view(name).timeline if item.version == 1)
    assert json.loads(ledger.entry(declared.index).payload)["status"] == "Actual"


def test_the_mode_of_a_campaign_cannot_be_chosen(clock):
    held = Incident.declare(
        origin="x", incident="INC-1", title="t", time_zone="UTC", organisation={}, status="Exercise", by="a", at=clock()
    )
    assert held.mode == "drill"
    with pytest.raises(IncidentError, match="Actual, Exercise"):
        Incident.declare(
            origin="x", incident="INC-1", title="t", time_zone="UTC", organisation={}, status="Test", by="a", at=clock()
        )


def test_its_stream_is_known_as_an_exercise_and_no_other_is(drilled, clock):
    service, name, _ = drilled
    actual = service.declare("Real", by="ana", aware=clock.now)
    assert service.exercises(service.view(name).uuid)
    assert not service.exercises(service.view(actual).uuid)
    assert not service.exercises("00000000-0000-5000-8000-000000000000")


def test_the_regulators_file_of_an_exercise_says_so_everywhere(drilled, ledger, tmp_path):
    service, name, _ = drilled
    for campaign in service.open_campaign(name, by="ana"):
        service.dispatcher.run(campaign)
        service.finish(name, campaign, by="ana")
    written = write_bundle(ledger, service, name, tmp_path / "x.zip")
    assert written.status == "Exercise"
    files = unpack((tmp_path / "x.zip").read_bytes())
    assert json.loads(files["report.json"])["incident"]["status"] == "Exercise"
    assert files["README.txt"].decode().startswith("EXERCISE.")
    pages = [page.extract_text() for page in PdfReader(io.BytesIO(files["report.pdf"])).pages]
    assert len(pages) > 1
    assert all(BANNER in page for page in pages)
    result = verify_bytes((tmp_path / "x.zip").read_bytes(), ledger.vkey)
    assert (result["exit_code"], result["bundle"]["status"]) == (0, "Exercise")
    assert "Status Exercise: this is a drill" in render(result)


@pytest.fixture
def run(tmp_path, capsys, monkeypatch, drilled):
    """`tocsin` on the exercise's ledger; gives stdout and stderr."""
    drilled[0].ledger.close()
    monkeypatch.setenv("TOCSIN_DATA", str(tmp_path / "ledger"))
    monkeypatch.setenv("TOCSIN_AS", "ana")
    # The consoles are made at import, by whichever test came first; an environment variable may be too late.
    monkeypatch.setattr(common.out, "_width", 200)
    monkeypatch.setattr(common.err, "_width", 200)

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(item) for item in arguments])
        assert not ended.value.code, capsys.readouterr().err
        printed = capsys.readouterr()
        return printed.out, printed.err

    return call


def test_every_command_about_an_exercise_says_what_it_is(run, drilled, tmp_path):
    name = drilled[1]
    organisation = tmp_path / "organisation.yaml"
    organisation.write_text("sms_name: Northwind\n")
    for arguments in (
        ("incident", "show", name),
        ("incident", "fact", name, "risk=high"),
        ("incident", "clock", name, "detection", "2026-03-10T12:30"),
        ("incident", "organisation", name, organisation),
        ("incident", "timeline", name),
        ("incident", "assess", name),
        ("incident", "told", name, "eu-gdpr-33-1-authority"),
        ("notice", "show", name),
        ("notice", "lint", name),
        ("dispatch", "open", name),
        ("dispatch", "preflight", f"{name}-n1"),
        ("dispatch", "run", f"{name}-n1"),
        ("dispatch", "status", f"{name}-n1"),
        ("dispatch", "announce", name, "--base-url", "https://example.org/n"),
        ("bundle", name, "-o", tmp_path / "b.zip"),
    ):
        assert BANNER in run(*arguments)[0], arguments
    out, err = run("incident", "show", name, "--json")
    assert BANNER not in out
    assert BANNER in err
    assert json.loads(out)["status"] == "Exercise"
    assert "EXERCISE" in run("incident", "list")[0]
    assert list((tmp_path / "ledger/exercise").glob("*.html"))
    assert not (tmp_path / "ledger/public").exists()


def test_declaring_one_and_an_actual_one(run):
    out, _ = run("incident", "declare", "Drill of the year", "--exercise")
    assert BANNER in out
    out, _ = run("incident", "declare", "Real")
    assert BANNER not in out
    assert BANNER not in run("incident", "show", "INC-2026-0003")[0]
