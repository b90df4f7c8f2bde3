"""The demo's local servers: real SMTP and HTTP, everything kept."""

from __future__ import annotations

import asyncio
import json
import smtplib

import aiohttp
import pytest

from api.demo.sinks import MailSink, PhoneSink

MAIL = "From: a@example.org\r\nTo: b@example.org\r\nMessage-ID: <{0}@example.org>\r\n\r\nBody\r\n.dot\r\n"


def send(port, to, number):
    with smtplib.SMTP("127.0.0.1", port) as client:
        client.sendmail("a@example.org", [to], MAIL.format(number))


def test_mail_is_kept_byte_for_byte_and_numbering_goes_on(tmp_path):
    with MailSink(tmp_path) as sink:
        send(sink.port, "b@example.org", 1)
        send(sink.port, "b@example.org", 2)
        send(sink.port, "b@example.org", 2)
        assert (sink.taken, sink.refused, sink.repeated) == (3, 0, 1)
    with MailSink(tmp_path) as sink:
        send(sink.port, "b@example.org", 3)
        assert sink.taken == 1
    kept = sorted((tmp_path / "new").iterdir())
    assert [path.name for path in kept] == [f"{n:06d}.eml" for n in (1, 2, 3, 4)]
    assert kept[0].read_bytes() == MAIL.format(1).encode()
    assert not list((tmp_path / "tmp").iterdir())


def test_a_dead_mailbox_is_refused_for_good(tmp_path):
    with MailSink(tmp_path) as sink:
        with pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
            send(sink.port, "b@gone.example.org", 1)
        assert next(iter(caught.value.recipients.values()))[0] == 550
        assert (sink.taken, sink.refused) == (0, 1)
    assert not list((tmp_path / "new").iterdir())


def test_sms_and_push_are_kept_as_lines(tmp_path):
    async def post(url):
        async with aiohttp.ClientSession() as session:
            for path, to in (("/sms", "+12005550100"), ("/push", "invented-1"), ("/push", "expired-1")):
                headers = {"Idempotency-Key": to}
                async with session.post(url + path, json={"to": to, "text": "¿Ya?"}, headers=headers) as answer:
                    yield answer.status
            async with session.post(url + "/fax", json={}) as answer:
                yield answer.status

    async def collect(url):
        return [status async for status in post(url)]

    with PhoneSink(tmp_path) as sink:
        assert asyncio.run(collect(sink.url)) == [200, 200, 410, 404]
        assert sink.taken == {"sms": 1, "push": 1}
        assert sink.refused == {"push": 1}
    assert json.loads((tmp_path / "sms.ndjson").read_text()) == {
        "key": "+12005550100",
        "to": "+12005550100",
        "text": "¿Ya?",
    }
    assert len((tmp_path / "push.ndjson").read_text().splitlines()) == 1
