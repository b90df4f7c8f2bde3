"""Campaigns over real servers on loopback, into a real house.ledger."""

import email
import email.policy
import hashlib
import json
import re
import shutil
import threading
from datetime import timedelta

import pytest

from ledger import Ledger
from ledger.errors import StoreBusyError
from notifiers.adapters.http import HttpAdapter
from notifiers.adapters.letter import LetterAdapter
from notifiers.adapters.sink import SinkAdapter
from notifiers.adapters.smtp import SmtpAdapter
from notifiers.errors import BalanceOpenError, CampaignConflictError, CampaignStateError, PlanError
from notifiers.messages import Message, Recipient
from notifiers.receipts import verify
from notifiers.service import Dispatcher


def test_everybody_is_told_over_the_first_channel_that_reaches_them(house):
    refs = house.people(
        ana={"email": ["ana@example.net"], "sms": ["+34600000001"]},
        bo={"sms": ["+4915100000002"]},
        cy={"push": ["tok-cy"]},
        di={"letter": [["Di", "Calle 2", "28002 Madrid", "ES"]]},
        ed={},
    )
    dispatcher = house.dispatcher(
        house.smtp,
        HttpAdapter("sms", house.provider.url),
        HttpAdapter("push", house.provider.url),
        LetterAdapter(house.path / "letters", house.sender),
    )
    preflight = house.open(dispatcher, house.owed(refs))
    assert preflight.owed == 5
    assert preflight.by_channel == {"email": 1, "sms": 1, "push": 1, "letter": 1}
    assert [(each.person, each.reason) for each in preflight.excluded] == [(refs["ed"], "no_contact_details")]

    books = []
    report = dispatcher.run("c1", progress=books.append)
    assert (report.balance.handed_over, report.balance.excluded, report.balance.queued) == (4, 1, 0)
    assert not report.halted
    assert all(book.owed == 5 for book in books)
    assert [address for address, _ in house.mailbox.messages] == ["ana@example.net"]
    assert {body["to"] for _, body in house.provider.requests} == {"+4915100000002", "tok-cy"}
    assert all("Cy" not in json.dumps(body) for _, body in house.provider.requests if body["to"] == "tok-cy")
    manifest = json.loads((house.path / "letters/c1/manifest.json").read_text())
    [line] = manifest["letters"]
    assert line["country"] == "ES"
    assert line["pages"] == 1
    assert (house.path / "letters/c1" / line["file"]).read_bytes().startswith(b"%PDF")

    book = dispatcher.finish("c1")
    assert book.by_channel()["email"] == {"handed_over": 1}
    with pytest.raises(CampaignStateError, match="finished"):
        dispatcher.run("c1")


def test_an_email_says_what_a_notice_must_and_its_hash_is_in_the_receipt(house):
    refs = house.people(ana={"email": ["ana@example.net"]})
    dispatcher = house.dispatcher()
    house.open(dispatcher, house.owed(refs, language="es"))
    dispatcher.run("c1")
    [(_, raw)] = house.mailbox.messages
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    assert not mail.defects
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Content-Language"] == "es"
    assert mail["Date"].datetime.isoformat() == "2026-03-10T09:00:00+00:00"
    assert mail["List-Unsubscribe"] is None
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    assert mail.get_body(("plain",)).get_content().startswith("Estimada Ana,")

    [receipt] = dispatcher.receipts("c1", refs["ana"])
    facts = verify(receipt)

    assert facts["sha256"] == hashlib.sha256(raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")).hexdigest()
    assert mail["Message-ID"] == f"<{facts['message_id']}@example.org>"
    assert facts["outcome"] == "handed_over"
    assert facts["possibly_repeated"] is False
    assert "ana@" not in receipt.leaf.decode()
    assert "queued as 000001" in facts["reply"]
    assert receipt.entry_index < house.ledger.size()


@pytest.mark.sqlite
def test_no_row_and_no_event_holds_a_name_or_an_address(house):
    refs = house.people(ana_belen={"email": ["ana@example.net"], "letter": [["Ana", "Calle 2", "ES"]]})
    dispatcher = house.dispatcher()
    house.open(dispatcher, house.owed(refs))
    dispatcher.run("c1")
    dump = []
    with house.ledger.database.read() as connection:
        for [table] in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            dump.extend(str(tuple(row)) for row in connection.execute(f"SELECT * FROM {table}"))
    text = "\n".join(dump)
    assert "c1" in text
    assert not re.search(r"ana@|Belen|Calle 2", text)


def test_a_dead_address_leads_to_the_next_rung(house):
    refs = house.people(ana={"email": ["ana@old.example", "ana2@old.example"], "sms": ["+34600000001"]})
    house.mailbox.refuse = {
        "ana@old.example": "550 5.1.1 <ana@old.example> no such user",
        "ana2@old.example": "550 5.1.1 no such user",
    }
    dispatcher = house.dispatcher(house.smtp, HttpAdapter("sms", house.provider.url))
    house.open(dispatcher, house.owed(refs))
    report = dispatcher.run("c1")
    assert report.balance.by_channel() == {"sms": {"handed_over": 1}}
    assert report.balance.messages == {("email", "failed"): 2, ("sms", "handed_over"): 1}
    receipts = [receipt.facts for receipt in dispatcher.receipts("c1", refs["ana"])]
    assert [facts["channel"] for facts in receipts] == ["email", "email", "sms"]
    assert all("old.example" not in facts["reply"] for facts in receipts)


def test_one_good_mailbox_is_enough_and_the_person_counts_once(house):
    refs = house.people(ana={"email": ["ana@old.example", "ana@example.net"], "sms": ["+34600000001"]})
    house.mailbox.refuse = {"ana@old.example": "550 5.1.1 no such user"}
    dispatcher = house.dispatcher()
    house.open(dispatcher, house.owed(refs))
    report = dispatcher.run("c1")
    assert report.balance.handed_over == 1
    assert ("sms", "due") not in report.balance.messages


def test_nobody_is_lost_when_every_rung_fails(house):
    refs = house.people(ana={"email": ["ana@old.example"]})
    house.mailbox.refuse = {"ana@old.example": "550 5.1.1 no such user"}
    dispatcher = house.dispatcher()
    house.open(dispatcher, house.owed(refs))
    dispatcher.run("c1")
    book = dispatcher.finish("c1")
    assert book.by_reason("failed") == {"smtp_550_5_1_1": 1}


def test_a_deferred_message_waits_and_is_not_marked_as_repeated(house):
    refs = house.people(ana={"email": ["ana@example.net"]})
    house.mailbox.refuse = {"ana@example.net": "451 4.7.1 greylisted"}
    dispatcher = house.dispatcher()
    house.open(dispatcher, house.owed(refs))
    report = dispatcher.run("c1")
    assert report.balance.queued == 1
    with pytest.raises(BalanceOpenError, match="still owes 1 of 1"):
        dispatcher.finish("c1")
    house.mailbox.refuse = {}

    report = dispatcher.run("c1", patience=timedelta(hours=1))
    assert report.balance.handed_over == 1
    assert report.balance.possibly_repeated == 0
    assert [receipt.facts["attempt"] for receipt in dispatcher.receipts("c1", refs["ana"])] == [1, 2]


def test_a_relay_that_is_down_leaves_all_queued_and_says_so(house):
    refs = house.people(**{f"p{number}": {"email": [f"p{number}@example.net"]} for number in range(30)})
    dispatcher = house.dispatcher(SmtpAdapter("127.0.0.1", 1, "b@example.org", tls="none"))
    house.open(dispatcher, house.owed(refs))
    report = dispatcher.run("c1")
    assert report.halted == {"email": "unreachable"}
    assert "cannot be reached" in report.problems[0]
    assert report.balance.queued == 30
    # Three tries are enough to know; the others were never claimed in vain.
    assert sum(len(dispatcher.receipts("c1", ref)) for ref in refs.values()) == 3


def test_our_own_fault_stops_the_channel_and_condemns_nobody(house):
    refs = house.people(**{f"p{number}": {"email": [f"p{number}@example.net"]} for number in range(30)})
    house.mailbox.at_data = lambda _: "550 5.7.26 unauthenticated mail is not accepted"
    dispatcher = house.dispatcher()
    house.open(dispatcher, house.owed(refs))
    report = dispatcher.run("c1")
    assert report.halted == {"email": "smtp_550_5_7_26"}
    assert report.balance.queued == 30
    assert not house.mailbox.messages
    house.mailbox.at_data = None

    assert dispatcher.run("c1", patience=timedelta(hours=2)).balance.handed_over == 30


def test_guardian_and_child_each_get_their_own_text(house):
    refs = house.people(kim={"email": ["kim@example.net"]}, pat={"email": ["pat@example.net"]})
    recipients = [
        Recipient(refs["kim"], refs["kim"], "child", "en", reference="R-1"),
        Recipient(refs["kim"], refs["pat"], "guardian", "en", reference="R-1"),
    ]
    dispatcher = house.dispatcher()
    house.open(dispatcher, recipients)
    assert dispatcher.run("c1").balance.handed_over == 2
    sent = {
        address: email.message_from_bytes(raw, policy=email.policy.default).get_body(("plain",)).get_content()
        for address, raw in house.mailbox.messages
    }
    assert sent["kim@example.net"].startswith("Dear Kim,")
    assert "about Kim guardian" in sent["pat@example.net"]


def test_an_unknown_sms_outcome_is_not_repeated_but_the_next_rung_is_taken(house):
    refs = house.people(bo={"sms": ["+4915100000002"], "letter": [["Bo", "Weg 1", "10115 Berlin", "DE"]]})
    house.provider.drop = {"+4915100000002"}
    dispatcher = house.dispatcher(
        house.smtp, HttpAdapter("sms", house.provider.url), LetterAdapter(house.path / "letters", house.sender)
    )
    house.open(dispatcher, house.owed(refs))
    report = dispatcher.run("c1")
    assert len(house.provider.requests) == 1
    assert report.balance.by_channel() == {"letter": {"handed_over": 1}}
    assert report.balance.messages[("sms", "unknown")] == 1


def test_an_unknown_push_outcome_is_repeated_with_the_same_key_and_marked(house):

    refs = house.people(cy={"push": ["tok"]})
    house.provider.drop = {"tok"}
    dispatcher = house.dispatcher(HttpAdapter("push", house.provider.url))
    house.open(dispatcher, house.owed(refs))
    assert dispatcher.run("c1").balance.queued == 1
    house.provider.drop = set()
    report = dispatcher.run("c1", patience=timedelta(hours=1))
    assert report.balance.handed_over == 1
    assert report.balance.possibly_repeated == 1
    assert len({key for key, _ in house.provider.requests}) == 1
    marks = [receipt.facts["possibly_repeated"] for receipt in dispatcher.receipts("c1", refs["cy"])]
    assert marks == [False, True]


def test_pause_bites_and_resume_goes_on(house):
    refs = house.people(**{f"p{number}": {"email": [f"p{number}@example.net"]} for number in range(600)})
    dispatcher = house.dispatcher()
    house.open(dispatcher, house.owed(refs))
    paused = []

    def accept(_address):
        if len(house.mailbox.messages) >= 50 and not paused:
            paused.append(True)
            dispatcher.pause("c1", "legal_hold")
        return ""

    house.mailbox.at_data = accept
    report = dispatcher.run("c1")
    assert report.state == "paused"
    assert report.balance.queued > 300
    assert report.balance.queued + report.balance.handed_over == 600
    assert report.balance.handed_over == len(house.mailbox.messages)
    assert ("email", "leased") not in report.balance.messages
    with pytest.raises(CampaignStateError, match="legal_hold"):
        dispatcher.run("c1")
    dispatcher.resume("c1")
    report = dispatcher.run("c1")
    assert report.balance.handed_over == 600
    assert report.balance.possibly_repeated == 0
    assert set(house.mailbox.counts().values()) == {1}


def test_cancel_excludes_what_was_queued_and_the_book_closes(house):
    refs = house.people(ana={"email": ["ana@example.net"]})
    dispatcher = house.dispatcher()
    house.open(dispatcher, house.owed(refs))
    dispatcher.cancel("c1", "wrong_audience")
    assert dispatcher.finish("c1").by_reason("excluded") == {"cancelled": 1}


def test_what_is_queued_past_its_time_expires(house):

    refs = house.people(ana={"email": ["ana@example.net"], "sms": ["+34600000001"]})
    dispatcher = house.dispatcher()
    house.open(dispatcher, house.owed(refs), not_after=house.clock.now + timedelta(hours=1))
    house.clock.now += timedelta(hours=2)
    report = dispatcher.run("c1")
    assert report.balance.by_reason("failed") == {"expired": 1}


def test_somebody_erased_after_planning_is_excluded(house):
    refs = house.people(ana={"email": ["ana@example.net"]}, bo={"email": ["bo@example.net"]})
    dispatcher = house.dispatcher()
    house.open(dispatcher, house.owed(refs))
    with house.ledger.database.write() as connection:
        connection.execute("DELETE FROM vault WHERE ref = ?", (refs["ana"],))
    house.ledger.vault.forget()
    report = dispatcher.run("c1")
    assert (report.balance.handed_over, report.balance.by_reason("excluded")) == (1, {"erased": 1})


def test_a_drill_reaches_nobody_even_with_real_adapters(house):
    refs = house.people(ana={"email": ["ana@example.net"]})
    dispatcher = house.dispatcher()
    house.open(dispatcher, house.owed(refs), mode="drill")
    report = dispatcher.run("c1")
    assert report.balance.handed_over == 1
    assert not house.mailbox.messages
    [receipt] = dispatcher.receipts("c1", refs["ana"])
    assert receipt.facts["provider"] == "simulated:email"
    assert receipt.facts["mode"] == "drill"


def test_opening_again_adds_only_who_is_new(house):
    refs = house.people(ana={"email": ["ana@example.net"]}, bo={"email": ["bo@example.net"]})
    dispatcher = house.dispatcher()
    house.open(dispatcher, house.owed(refs)[:1])
    size = house.ledger.size()
    house.open(dispatcher, house.owed(refs)[:1])
    assert house.ledger.size() == size
    dispatcher.run("c1")
    assert house.open(dispatcher, house.owed(refs)).owed == 2
    dispatcher.run("c1")
    assert house.mailbox.counts() == {"ana@example.net": 1, "bo@example.net": 1}
    assert dispatcher.finish("c1").owed == 2


def test_changed_texts_need_a_campaign_of_their_own(house):
    refs = house.people(ana={"email": ["ana@example.net"]})
    dispatcher = house.dispatcher()
    house.open(dispatcher, house.owed(refs))
    with pytest.raises(CampaignConflictError):
        house.open(
            dispatcher, house.owed(refs), messages=[*house.texts, Message("email", "fr", "person", "Avis", "Bonjour")]
        )


def test_a_ladder_without_a_text_is_refused_and_nothing_is_written(house):
    refs = house.people(ana={"email": ["ana@example.net"], "sms": ["+34600000001"]})
    dispatcher = house.dispatcher()
    size = house.ledger.size()
    with pytest.raises(PlanError, match="no sms message for audience person"):
        house.open(dispatcher, house.owed(refs), messages=[text for text in house.texts if text.channel != "sms"])
    assert house.ledger.size() == size
    assert dispatcher.campaigns() == ()


@pytest.mark.sqlite
def test_a_copied_database_pauses_itself(house):

    refs = house.people(ana={"email": ["ana@example.net"]})
    dispatcher = house.dispatcher()
    house.open(dispatcher, house.owed(refs))
    house.ledger.close()

    shutil.copytree(house.path / "data", house.path / "copy")
    with Ledger.open(house.path / "copy", clock=house.clock) as copy:
        other = Dispatcher(copy, [SmtpAdapter("127.0.0.1", house.mailbox.port, "b@example.org", tls="none")])
        with pytest.raises(CampaignStateError, match="copy"):
            other.run("c1")
        assert other.status("c1").state == "paused"
        assert not house.mailbox.messages
        other.resume("c1")
        assert other.run("c1").balance.handed_over == 1


def test_a_locked_database_is_one_clear_error_and_nothing_is_lost(house, monkeypatch):
    refs = house.people(**{f"p{number}": {"email": [f"p{number}@example.net"]} for number in range(20)})
    dispatcher = house.dispatcher()
    house.open(dispatcher, house.owed(refs))
    record = house.ledger.record

    def locked(*_args, **_kwargs):
        raise StoreBusyError("The database is held by another process.")

    monkeypatch.setattr(house.ledger, "record", locked)
    with pytest.raises(StoreBusyError):
        dispatcher.run("c1")
    monkeypatch.setattr(house.ledger, "record", record)
    report = dispatcher.run("c1")
    assert report.balance.handed_over == 20
    twice = {address for address, count in house.mailbox.counts().items() if count > 1}
    assert twice
    marked = {
        name
        for name, ref in refs.items()
        if any(receipt.facts["possibly_repeated"] for receipt in dispatcher.receipts("c1", ref))
    }
    assert {address.split("@")[0] for address in twice} <= marked


def test_a_channel_without_an_adapter_keeps_its_messages_and_says_so(house):
    refs = house.people(bo={"sms": ["+4915100000002"]})
    dispatcher = house.dispatcher()
    house.open(dispatcher, house.owed(refs))
    report = dispatcher.run("c1")
    assert report.balance.queued == 1
    assert "sms: no adapter is configured" in report.problems[0]


def test_a_name_that_would_break_a_header_fails_visibly_and_is_not_repeated(house):
    refs = house.people(ana={"email": ["ana@example.net"]})
    with house.ledger.database.write() as connection:
        profile = {"name": "Ana\r\nBcc: all@example.net", "contacts": {"email": ["ana@example.net"]}}
        house.ledger.vault.refer(connection, "subject", "ana", profile)
    dispatcher = house.dispatcher()
    house.open(dispatcher, house.owed(refs))
    report = dispatcher.run("c1")
    assert report.balance.by_reason("failed") == {"slot_value_refused": 1}
    assert not house.mailbox.messages


def test_slow_providers_are_paced_and_a_pause_still_bites(house):
    refs = house.people(**{f"p{number}": {"email": [f"p{number}@example.net"]} for number in range(40)})
    relay = house.smtp
    relay.rate = 2.0
    dispatcher = house.dispatcher(relay)
    house.open(dispatcher, house.owed(refs))
    start = house.clock.now
    dispatcher.run("c1")
    elapsed = (house.clock.now - start).total_seconds()
    assert len(house.mailbox.messages) == 40
    assert elapsed >= 19  # forty messages at two a second, from an empty bucket


def test_every_life_sign_of_a_campaign_is_in_the_log(house):
    refs = house.people(ana={"email": ["ana@example.net"]}, bo={})
    dispatcher = house.dispatcher()
    house.open(dispatcher, house.owed(refs))
    dispatcher.pause("c1", "legal_hold")
    dispatcher.resume("c1")
    dispatcher.run("c1")
    dispatcher.finish("c1")
    events = [(json.loads(stored.entry)["type"], json.loads(stored.payload)) for stored in house.ledger.entries()]
    own = [(kind.removeprefix("org.tocsin.dispatch."), payload) for kind, payload in events if ".dispatch." in kind]
    assert [kind for kind, _ in own] == ["planned.v1", "paused.v1", "resumed.v1", "recorded.v1", "finished.v1"]
    assert all(payload["correlationid"] == "inc-1" for _, payload in own)
    planned, recorded, finished = own[0][1]["data"], own[3][1]["data"], own[4][1]["data"]
    assert planned["owed"] == 2
    assert planned["excluded"] == {"no_contact_details": 1}
    assert recorded["outcomes"] == {"handed_over": 1}
    assert finished["balance"]["closed"] is True


def test_two_dispatchers_share_the_work_and_nobody_is_told_twice(house):
    refs = house.people(**{f"p{number}": {"email": [f"p{number}@example.net"]} for number in range(400)})
    house.open(house.dispatcher(), house.owed(refs))
    workers = [threading.Thread(target=house.dispatcher().run, args=("c1",)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    book = house.dispatcher().balance("c1")
    assert (book.handed_over, book.possibly_repeated) == (400, 0)
    assert set(house.mailbox.counts().values()) == {1}


def test_a_broken_adapter_ends_the_run_with_its_own_error_and_loses_nobody(house):
    class Broken(SinkAdapter):
        async def send(self, batch):
            if self.taken > 10:
                raise RuntimeError("bug in an adapter")
            return await super().send(batch)

    refs = house.people(**{f"p{number}": {"email": [f"p{number}@example.net"]} for number in range(300)})
    house.open(house.dispatcher(), house.owed(refs))
    with pytest.raises(RuntimeError, match="bug in an adapter"):
        house.dispatcher(Broken("email")).run("c1")
    book = house.dispatcher().balance("c1")
    assert book.queued + book.handed_over == 300
    assert house.dispatcher().run("c1").balance.handed_over == 300
