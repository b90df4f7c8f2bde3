"""The whole way: declared, scoped, assessed, drafted, approved, dispatched, closed; on a real ledger and law."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from incidents.errors import (
    ApprovalError,
    FactError,
    FourEyesError,
    IncidentError,
    IncidentNotFoundError,
    TemplateError,
)
from incidents.law import LawFactsError
from incidents.service import IncidentService
from incidents.views import as_json
from ledger import Ledger
from ledger.errors import ErasedError, InputError, TocsinError
from ledger.verify import verify_database
from notifiers.adapters.sink import SinkAdapter
from notifiers.errors import BalanceOpenError
from notifiers.service import Dispatcher


@pytest.fixture
def dispatched(assessed, ledger, clock):
    """The assessed incident with a dispatcher whose providers take everything."""
    service, name = assessed
    service.dispatcher = Dispatcher(ledger, [SinkAdapter("email")], clock=clock)
    return service, name


def draft(service, name, world, by="ana"):
    return {item.id: item for item in service.draft_notices(name, by=by, narrative=world.NARRATIVE)}


def approve_all(service, name, by="lena"):
    for item in service.view(name).notices:
        if item.state != "approved":
            service.approve(name, item.id, item.content_hash, by=by)


def test_a_title_is_enough(service):
    name = service.declare("Something is wrong", by="ana")
    assert name == "INC-2026-0001"
    assert service.declare("Another thing", by="ana") == "INC-2026-0002"
    view = service.view(name)
    assert (view.phase, view.next_step.what[:28]) == ("detect_and_report", "Record since when you know o")
    assert [item.id for item in service.list()] == ["INC-2026-0002", "INC-2026-0001"]
    with pytest.raises(InputError):
        service.declare("  ", by="ana")
    with pytest.raises(FactError):
        service.declare("x", by="ana", time_zone="Mars/Olympus")


def test_two_processes_declare_at_once(service, ledger, law, monkeypatch):
    """Both read the same next number; the stream's first version decides, the loser takes the next."""
    from incidents.case import store

    other = IncidentService(ledger, law)
    service.declare("First", by="ana")
    honest, asked = store.next_number, []

    def stale(connection, year):
        asked.append(year)
        return 1 if len(asked) == 1 else honest(connection, year)

    monkeypatch.setattr(store, "next_number", stale)
    assert other.declare("Second", by="ana") == "INC-2026-0002"
    assert len(asked) == 2


def test_events_are_entries_without_personal_data(assessed, ledger):
    service, name = assessed
    view = service.view(name)
    assert view.declared_by_name == "ana"
    assert view.declared_by.startswith("a_")
    types = [item.type for item in view.timeline]
    assert types[0] == "org.tocsin.incident.declared.v1"
    assert "org.tocsin.incident.scoped.v1" in types
    for item in view.timeline:
        stored = ledger.entry(item.index)
        assert stored.decode().type == item.type
        for secret in (b"Muster", b"cust-", b'"ana"', b"@example.org"):
            assert secret not in stored.payload
    assert verify_database(ledger.database, ledger.vkey, vault=ledger.vault).exit_code == 0


def test_facts_are_checked_and_superseded_never_lost(service, clock):
    name = service.declare("x", by="ana")
    service.record_fact(name, "risk", "risk", by="ana", note="first look")
    clock.move(minutes=5)
    service.record_fact(name, "risk", "high", by="lena", state="assumed", entry=0)
    service.record_fact(name, "encrypted", None, by="ana", state="unknown")
    facts = [(f.path, f.value, f.state, f.superseded, f.by_name) for f in service.view(name).facts]
    assert facts == [
        ("encrypted", None, "unknown", False, "ana"),
        ("risk", "risk", "known", True, "ana"),
        ("risk", "high", "assumed", False, "lena"),
    ]
    size = service.ledger.size()
    for path, value, error in [
        ("riks", "high", FactError),
        ("risk", "terrible", FactError),
        ("encrypted", "no", FactError),
        ("clocks.awareness", "2026-03-10T09:00", FactError),
        ("sectors", ["bank of evil"], LawFactsError),
        ("conditions.no_such", True, LawFactsError),
        ("numbers.cost_eur", -1, LawFactsError),
        ("numbers.cost_eur", float("nan"), FactError),
        ("affected", [{"jurisdiction": "ZZ"}], LawFactsError),
    ]:
        with pytest.raises(error):
            service.record_facts(name, {"complete": True, path: value}, by="ana")
    with pytest.raises(InputError, match="no entry"):
        service.record_fact(name, "risk", "high", by="ana", entry=size + 5)
    assert service.ledger.size() == size


def test_numbers_with_a_fraction_survive_canonical_json(service):
    name = service.declare("x", by="ana", facts={"complete": True})
    service.record_facts(name, {"numbers.downtime_hours": 2.5, "numbers.cost_eur": 100_000}, by="ana")
    values = {fact.path: fact.value for fact in service.view(name).facts}
    assert (values["numbers.downtime_hours"], values["numbers.cost_eur"]) == ("2.5", 100_000)
    service.assess(name, by="ana")


def test_clocks_say_what_started_them_and_cannot_contradict(service, clock, ledger):
    name = service.declare("x", by="ana", aware=clock.now, time_zone="Europe/Madrid")
    service.record_clock(name, "occurrence", clock.now - timedelta(hours=3), by="ana", entry=0)
    view = service.view(name)
    assert [(c.name, c.source_kind, c.source) for c in view.clocks] == [
        ("occurrence", "entry", "0"),
        ("awareness", "person", view.declared_by),
    ]
    assert view.clocks[1].at_local.isoformat() == "2026-03-10T13:00:00+01:00"
    size = ledger.size()
    with pytest.raises(IncidentError, match="not come yet"):
        service.record_clock(name, "detection", clock.now + timedelta(hours=1), by="ana")
    with pytest.raises(LawFactsError, match=r"before clocks\.occurrence"):
        service.record_clock(name, "detection", clock.now - timedelta(hours=9), by="ana")
    with pytest.raises(LawFactsError):
        service.record_clock(name, "tea_time", clock.now, by="ana")
    with pytest.raises(InputError, match="zone"):
        service.record_clock(name, "detection", datetime(2026, 3, 10), by="ana")  # noqa: DTZ001 - the point of it
    assert ledger.size() == size


def test_an_assessment_keeps_reasons_versions_and_shows_what_changed(assessed, clock):
    service, name = assessed
    view = service.view(name)
    duties = {(item.duty, item.stage): item for item in view.duties}
    notify = duties["eu-gdpr-33-1-authority", "initial"]
    assert notify.result == "due"
    assert notify.due == clock.now - timedelta(hours=1) + timedelta(hours=72)
    assert notify.why
    assert ("us-ca-individuals", "main") in duties
    assert service.preview(name, {"encrypted": True, "encryption_key_compromised": False})
    clock.move(minutes=1)
    service.record_fact(name, "risk", "low", by="ana")
    assert service.view(name).next_step.what.startswith("Assess again")
    again = service.assess(name, by="ana")
    changed = {(item["duty"], item["before"]["result"], item["after"]["result"]) for item in again.changed}
    assert ("eu-gdpr-33-1-authority", "due", "not_required") in changed
    assert again.version == service.law.version
    stored = json.loads(service.ledger.entry(again.index).payload)
    assert all("rule" in item for item in stored["decisions"])
    assert len({item["duty"] for item in stored["decisions"]}) == len(service.law.duties)


def test_as_of_shows_what_was_known_then(assessed, clock):
    service, name = assessed
    before = clock.now
    clock.move(hours=1)
    service.record_fact(name, "risk", "low", by="ana")
    service.assess(name, by="ana")
    then = service.view(name, as_of=before)
    risks = [fact.value for fact in then.facts if fact.path == "risk"]
    assert risks == ["high"]
    assert any(item.duty == "eu-gdpr-33-1-authority" for item in then.deadlines)
    assert len(then.timeline) < len(service.view(name).timeline)
    assert service.view(name, version=1).version == 1
    with pytest.raises(IncidentNotFoundError):
        service.view(name, as_of=before - timedelta(days=1))
    with pytest.raises(IncidentNotFoundError):
        service.view("INC-2026-0099")


def test_notices_are_drafted_for_whom_the_law_owes(assessed, world):
    service, name = assessed
    made = draft(service, name, world)
    assert set(made) == {
        "person-es",
        "guardian-es",
        "child-es",
        "guardian-en",
        "child-en",
        "person-zh-Hans",
        "person-en-us-ca",
        "public-en",
        "public-es",
        "public-zh-Hans",
    }
    assert "us-ca-individuals" in made["person-en-us-ca"].duties
    assert "cra_contacts" in made["person-en-us-ca"].elements  # social security numbers are involved
    assert "eu-gdpr-34-individuals" in made["person-zh-Hans"].duties  # established in Spain
    assert {finding.severity for item in made.values() for finding in item.findings} <= {"warning"}
    again = draft(service, name, world)
    assert {item.version for item in again.values()} == {1}


def test_drafting_is_all_or_nothing(assessed, world, ledger):
    service, name = assessed
    size = ledger.size()
    narrative = {**world.NARRATIVE, "es": {"what_happened": "Algo."}}
    with pytest.raises(TemplateError, match=r"es\.yaml \(es\), element measures_taken"):
        service.draft_notices(name, by="ana", narrative=narrative)
    with pytest.raises(IncidentError, match="unknown slot"):
        service.draft_notices(name, by="ana", narrative={"en": {"what_hapened": "typo"}})
    assert ledger.size() == size
    assert service.view(name).notices == ()


def test_what_must_come_first_is_said(peopled, world):
    name = peopled.declare("x", by="ana", organisation={"name": "Northwind"})
    with pytest.raises(IncidentError, match="scope the incident first"):
        draft(peopled, name, world)
    with pytest.raises(IncidentError, match="no dispatcher"):
        peopled.open_campaign(name, by="ana")
    with pytest.raises(IncidentError, match="no notice"):
        peopled.approve(name, "person-en", "00", by="lena")


def test_the_author_is_refused_through_the_service_in_any_spelling(assessed, world):
    service, name = assessed
    made = draft(service, name, world, by="Ana Ruiz")
    for spelling in ("ana ruiz", " ANA RUIZ", "Ana\u200bRuiz"):
        with pytest.raises(FourEyesError):
            service.approve(name, "person-es", made["person-es"].content_hash, by=spelling)
    service.approve(name, "person-es", made["person-es"].content_hash, by="Lena")
    held = {item.id: item for item in service.view(name).notices}["person-es"]
    assert (held.state, held.author_name, held.approver_name) == ("approved", "Ana Ruiz", "Lena")
    assert held.approval_index > held.draft_index


def test_an_edit_is_a_new_version_with_a_difference_and_no_approval(assessed, world):
    service, name = assessed
    draft(service, name, world)
    approve_all(service, name)
    old = next(item for item in service.view(name).notices if item.id == "person-es")
    text = next(m["text"] for m in old.messages if m["channel"] == "email")
    edited = service.edit_notice(name, "person-es", {"email": {"text": text.replace("robada", "sustraída")}}, by="ana")
    assert (edited.version, edited.state) == (2, "draft")
    assert edited.content_hash != old.content_hash
    assert any("sustraída" in line for line in service.notice_difference(name, "person-es"))
    html = next(m["html"] for m in edited.messages if m["channel"] == "email")
    assert "sustraída" in html
    with pytest.raises(TocsinError):
        service.edit_notice(name, "person-es", {"email": {"text": "Hola [[password]]"}}, by="ana")
    with pytest.raises(IncidentError):
        service.edit_notice(name, "person-es", {"fax": {"text": "x"}}, by="ana")


def test_nothing_unapproved_is_sent(dispatched, world, ledger):
    service, name = dispatched
    draft(service, name, world)
    size = ledger.size()
    with pytest.raises(ApprovalError):
        service.open_campaign(name, by="ana")
    assert ledger.size() == size
    assert service.dispatcher.campaigns() == ()
    approve_all(service, name)
    service.edit_notice(name, "child-es", {"sms": {"text": "Hola. Ref [[reference]]"}}, by="ana")
    with pytest.raises(ApprovalError, match="child-es"):
        service.open_campaign(name, by="ana")
    assert service.dispatcher.campaigns() == ()


def test_dispatch_tells_people_children_and_guardians_and_the_balance_closes(
    dispatched, world, ledger, clock, tmp_path
):
    service, name = dispatched
    draft(service, name, world)
    approve_all(service, name)
    campaigns = service.open_campaign(name, by="ana")
    assert campaigns == ("INC-2026-0001-n1", "INC-2026-0001-n1-us-ca")
    assert service.open_campaign(name, by="ana") == campaigns  # after a crash: the same ones again
    with pytest.raises(BalanceOpenError):
        service.finish(name, campaigns[0], by="ana")
    for campaign in campaigns:
        service.dispatcher.run(campaign)
    view = service.view(name)
    book = {item.id: item.balance for item in view.campaigns}
    # Two persons, two children and two guardians; one child has no address of its own.
    assert book[campaigns[0]]["owed"] == 6
    assert book[campaigns[0]]["excluded"] == 1
    assert book[campaigns[1]]["owed"] == 1
    published = service.announce(name, by="ana", directory=tmp_path / "public", base_url="https://northwind.example/n")
    assert set(published.pages) == {"en", "es", "zh-Hans"}
    clock.move(hours=1)
    for campaign in campaigns:
        service.finish(name, campaign, by="ana")
    view = service.view(name)
    states = {item.duty: item.state for item in view.deadlines}
    assert states["us-ca-individuals"] == "met"
    assert states["eu-gdpr-34-individuals"] == "met"
    [initial] = [d for d in view.deadlines if d.duty == "eu-gdpr-33-1-authority" and d.stage == "initial"]
    assert initial.state == "running"
    assert [clock.name for clock in view.clocks if not clock.superseded and clock.name == "individual_notice"]
    told = [item.text for item in view.timeline if item.type == "org.tocsin.incident.recipient_told.v1"]
    assert any("1 not reached one by one, public announcement" in text for text in told)
    service.told(name, "eu-gdpr-33-1-authority", stage="initial", by="ana", evidence="AEPD 1")
    assert service.close(name, "Short-lived keys only.", by="lena") < ledger.size()
    view = service.view(name)
    assert (view.closed, view.phase) == (True, "learn_lessons")
    assert view.next_step.what == "Nothing: the incident is closed."
    with pytest.raises(IncidentError, match="closed"):
        service.record_fact(name, "risk", "low", by="ana")
    assert service.release_report(name, "bundle.zip", "ab" * 32, log_size=ledger.size(), by="lena")
    json.dumps(as_json(view))
    assert verify_database(ledger.database, ledger.vkey, vault=ledger.vault).exit_code == 0


def test_who_comes_to_light_later_is_told_and_nobody_twice(dispatched, world, ledger):
    service, name = dispatched

    def everything():
        draft(service, name, world)
        approve_all(service, name)
        campaigns = service.open_campaign(name, by="ana")
        for campaign in campaigns:
            service.dispatcher.run(campaign)
            service.finish(name, campaign, by="ana")
        return {item.id: item.owed for item in service.view(name).campaigns if item.id in campaigns}

    assert everything() == {"INC-2026-0001-n1": 6, "INC-2026-0001-n1-us-ca": 1}
    with pytest.raises(IncidentError, match="already sent"):
        service.open_campaign(name, by="ana")
    ledger.append([world.access_event(5, resource=f"{world.BUCKET}/other.txt")])
    service.scope(name, service.criteria(actors=[world.INTRUDER]), by="ana")
    service.assess(name, by="ana")
    # One adult in Germany and one in Texas; the German notice to persons is new, the others have not changed.
    later = everything()
    assert sum(later.values()) == 2
    assert set(later) == {"INC-2026-0001-n2", "INC-2026-0001-n2-us"}


def test_people_whom_the_directory_does_not_know_are_not_forgotten(service, ledger, world):
    ledger.append([world.access_event(1, subjects=["cust-77"])])
    name = service.declare("x", by="ana")
    service.scope(name, service.criteria(actors=[world.INTRUDER]), by="ana")
    held = service.view(name).affected
    assert (held.count, held.by_jurisdiction) == (1, {"unknown": 1})
    assert "1 affected people have no known jurisdiction" in held.advice


def test_finish_after_a_crash_between_dispatcher_and_log(dispatched, world):
    service, name = dispatched
    draft(service, name, world)
    approve_all(service, name)
    campaign = service.open_campaign(name, by="ana")[0]
    service.dispatcher.run(campaign)
    service.dispatcher.finish(campaign)  # and then the process died
    assert service.finish(name, campaign, by="ana")["queued"] == 0


def test_a_hold_by_law_enforcement_stops_the_notices(assessed, world):
    service, name = assessed
    service.record_fact(name, "conditions.law_enforcement_hold", value=True, by="ana")
    service.assess(name, by="ana")
    delayed = {item.duty for item in service.view(name).deadlines if item.state == "paused"}
    made = draft(service, name, world)
    assert "us-ca-individuals" in delayed
    assert "person-en-us-ca" not in made


def test_references_are_stable_and_tell_nothing(assessed, world, ledger):
    from incidents.notices.notifying import campaign_plans, whom

    service, name = assessed
    draft(service, name, world)
    held = service._app.load(name)
    told = whom(ledger, service.law, held, service.affected(name), everybody=False)
    first, second = (campaign_plans(ledger, held, told) for _ in range(2))
    assert first == second
    references = [item.reference for plan in first for item in plan.recipients]
    assert len(set(references)) == len(references)
    assert all(item.startswith(f"{name}-") for item in references)


def test_everything_is_there_again_after_reopening(assessed, ledger, law, world, tmp_path):
    service, name = assessed
    draft(service, name, world)
    before = as_json(service.view(name))
    ledger.close()
    with Ledger.open(tmp_path / "ledger", clock=lambda: datetime(2026, 3, 10, 12, 0, tzinfo=UTC)) as reopened:
        assert as_json(IncidentService(reopened, law).view(name)) == before


@pytest.mark.sqlite
def test_a_tampered_affected_set_is_refused(assessed, ledger):
    service, name = assessed
    with ledger.database.write() as connection:
        connection.execute("UPDATE incident_affected SET members = (SELECT members FROM incident_affected) || x'00'")
        connection.execute("UPDATE incident_affected SET members = zeroblob(9)")
    with pytest.raises(IncidentError, match="root that the log names"):
        service.affected(name)
    with ledger.database.write() as connection:
        connection.execute("DELETE FROM incident_affected")
    with pytest.raises(ErasedError):
        service.affected(name)
    assert service.view(name).affected.count == 5  # the numbers are in the log


def test_a_change_meanwhile_is_refused_not_merged(assessed, ledger, law):
    service, name = assessed
    held = service._app.load(name)
    IncidentService(ledger, law).record_fact(name, "risk", "low", by="lena")
    held.close("x", by="ana", at=ledger.clock())
    with pytest.raises(IncidentError, match="changed by somebody else"):
        service._app.keep(held)
