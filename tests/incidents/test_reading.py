"""Streams that older, newer and damaged hands wrote: they load, or which version does not is said."""

import json
from datetime import timedelta
from uuid import UUID

import pytest

from incidents.errors import IncidentUnreadableError
from incidents.service import IncidentService
from ledger.errors import ErasedError, TocsinError
from ledger.vault import Vault


def rewrite(ledger, uuid, topic, change):
    """Change the stored payload of the newest event of that type, as another version would have written it."""
    with ledger.database.write() as connection:
        row = connection.execute(
            "SELECT position, version, payload FROM event WHERE stream = ? AND topic = ? ORDER BY version DESC",
            (UUID(uuid).bytes, f"org.tocsin.incident.{topic}.v1"),
        ).fetchone()
        said = json.loads(row["payload"])
        said = change(said) or said
        payload = said if isinstance(said, bytes) else json.dumps(said, sort_keys=True).encode()
        connection.execute("UPDATE event SET payload = ? WHERE position = ?", (payload, row["position"]))
    return row["version"]


def without(*names):
    def change(said):
        for name in names:
            del said[name]

    return change


@pytest.fixture
def campaigned(assessed, ledger, world):
    from notifiers.adapters.sink import SinkAdapter
    from notifiers.service import Dispatcher

    service, name = assessed
    service.dispatcher = Dispatcher(ledger, [SinkAdapter("email")])
    for notice in service.draft_notices(name, by="ana", narrative=world.NARRATIVE):
        service.approve(name, notice.id, notice.content_hash, by="lena")
    service.open_campaign(name, by="ana")
    return service, name, service.view(name).uuid


def test_what_an_older_version_did_not_write_has_a_default(campaigned, ledger):
    service, name, uuid = campaigned
    rewrite(ledger, uuid, "declared", without("status"))
    rewrite(ledger, uuid, "campaign_opened", without("mode"))
    rewrite(ledger, uuid, "scoped", lambda said: said.update(summary={"by_confidence": {"confirmed": 5}}))

    def older(said):
        for item in said["decisions"]:
            for field in set(item) - {"duty", "stage", "result", "why", "due_utc"}:
                del item[field]

    rewrite(ledger, uuid, "assessed", older)
    view = service.view(name)
    assert view.status == "Actual"
    assert {item.mode for item in view.campaigns} == {"live"}
    assert view.affected.by_confidence == {"confirmed": 5}
    assert view.affected.weaker_categories == {}
    limit = next(item for item in view.deadlines if item.duty == "eu-gdpr-33-1-authority" and item.due)
    assert (limit.zone, limit.provision, limit.confidence) == ("Europe/Madrid", "", "recalled")
    assert service.list()[0].status == "Actual"


@pytest.mark.parametrize(
    ("topic", "change", "said"),
    [
        ("declared", without("title"), "field title is missing"),
        ("fact_recorded", without("value"), "field value is missing"),
        ("scoped", lambda said: said.update(summary=[]), "field summary"),
        ("scoped", lambda said: said.update(count="five"), "field count"),
        ("assessed", lambda said: said.update(decisions={}), "field decisions"),
        ("assessed", lambda said: said.update(decisions=[{"duty": "x"}]), "form of its type"),
        ("assessed", lambda said: said.update(decisions=["x"]), "form of its type"),
        ("assessed", lambda said: said["decisions"][0].update(due_utc="soon"), "assessed"),
        ("assessed", lambda said: said["decisions"][0].update(last_day="tomorrow"), "form of its type"),
        ("clock_recorded", lambda said: said.update(at="noon"), "clock_recorded"),
        ("clock_recorded", without("timestamp"), "form of its type"),
        ("clock_recorded", lambda _: b'["a list"]', "form of its type"),
        ("clock_recorded", lambda _: b"\xff not JSON", "clock_recorded"),
        ("notice_approved", lambda said: said.update(notice="nobody-en"), "form of its type"),
        ("notice_drafted", lambda said: said.update(findings=["x"]), "form of its type"),
    ],
)
def test_what_cannot_be_read_is_named_by_stream_and_version(campaigned, ledger, topic, change, said):
    service, name, uuid = campaigned
    version = rewrite(ledger, uuid, topic, change)
    for read in (service.view, service.affected, service.assess, lambda _, **__: service.list()):
        with pytest.raises(IncidentUnreadableError, match=f"version {version} of stream {uuid}") as refused:
            read(name, **({"by": "ana"} if read == service.assess else {}))
        assert said in str(refused.value)
        assert "tocsin verify" in str(refused.value)


@pytest.mark.parametrize("topic", ["org.tocsin.incident.foretold.v1", "os:system", "org.tocsin.incident.declared.v1"])
def test_a_type_that_this_version_does_not_know_or_want_there(campaigned, ledger, topic):
    service, name, uuid = campaigned
    with ledger.database.write() as connection:
        connection.execute("UPDATE event SET topic = ? WHERE stream = ? AND version = 5", (topic, UUID(uuid).bytes))
    with pytest.raises(IncidentUnreadableError, match=f"version 5 of stream {uuid}"):
        service.view(name)


def test_a_missing_version_is_noticed(campaigned, ledger):
    service, name, uuid = campaigned
    with ledger.database.write() as connection:
        connection.execute("DELETE FROM event WHERE stream = ? AND version = 5", (UUID(uuid).bytes,))
    with pytest.raises(TocsinError, match=f"version 6 of stream {uuid}"):
        service.view(name)


@pytest.mark.parametrize("how", ["forgotten", "refused"])
def test_staff_whose_identity_was_erased_are_shown_as_erased(campaigned, ledger, law, monkeypatch, how):
    service, name, _ = campaigned
    author = service.view(name).declared_by
    if how == "forgotten":
        with ledger.database.write() as connection:
            connection.execute("DELETE FROM vault WHERE ref = ?", (author,))
        ledger.vault.forget()
    else:
        honest = Vault.profile

        def refuse(vault, ref):
            if ref == author:
                raise ErasedError("Erased.")
            return honest(vault, ref)

        monkeypatch.setattr(Vault, "profile", refuse)
    view = IncidentService(ledger, law).view(name)
    assert (view.declared_by, view.declared_by_name) == (author, "erased")
    assert {item.author_name for item in view.notices} == {"erased"}
    assert {item.approver_name for item in view.notices} == {"lena"}
    assert {item.opened_by_name for item in view.campaigns} == {"erased"}
    assert {item.by_name for item in view.timeline} == {"erased", "lena"}


def test_questions_stay_with_what_was_known_then(assessed, clock):
    service, name = assessed
    assert service.view(name).questions == ()  # the facts are stated to be complete
    clock.move(minutes=1)
    service.record_fact(name, "complete", value=False, by="ana")
    service.assess(name, by="ana")
    view = service.view(name)
    assert len(view.questions) == 5
    assert view.questions[0].settles >= view.questions[1].settles > 0
    assert view.assessment.counts["undetermined"] > 0
    assert sum(view.assessment.counts.values()) == len(service._app.load(name).assessments[-1].decisions)
    assert service.view(name, as_of=clock.now - timedelta(seconds=30)).questions == ()
