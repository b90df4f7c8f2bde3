"""What providers answer and what we make of it; pacing; configuration."""

import asyncio
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifiers.adapters import Outcome, Outgoing, http, scrub, smtp
from notifiers.adapters.http import HttpAdapter
from notifiers.adapters.smtp import SmtpAdapter
from notifiers.config import read_config
from notifiers.errors import AdapterError
from notifiers.outcomes import ATTEMPTS, backoff, decide
from notifiers.pace import Bucket, Pacer
from notifiers.service import Dispatcher

WHEN = datetime(2026, 3, 10, 9, 0, tzinfo=UTC)


def outgoing(address, content=b"Subject: x\r\n\r\nbody\r\n"):
    return Outgoing("ab" * 16, address, content, "", "en", "R", "c1", WHEN)


def send(adapter, *messages):
    async def go():
        try:
            return [(await adapter.send([message]))[0] for message in messages]
        finally:
            await adapter.close()

    return asyncio.run(go())


@pytest.mark.parametrize(
    ("code", "reply", "refused", "kind", "reason"),
    [
        (451, "4.7.1 greylisted", "recipient", "transient", "smtp_451_4_7_1"),
        (550, "5.1.1 no such user", "recipient", "address", "smtp_550_5_1_1"),
        (550, "go away", "recipient", "address", "smtp_550"),
        (550, "5.7.1 blocked", "recipient", "ours", "smtp_550_5_7_1"),
        (550, "5.7.26 unauthenticated", "data", "ours", "smtp_550_5_7_26"),
        (552, "too big", "data", "ours", "smtp_552"),
        (553, "5.1.8 bad sender", "sender", "ours", "smtp_553_5_1_8"),
    ],
)
def test_smtp_refusals(code, reply, refused, kind, reason):
    outcome = smtp.classify(code, reply, refused=refused)
    assert (outcome.kind, outcome.reason) == (kind, reason)


@pytest.mark.parametrize(
    ("status", "after", "kind", "wait"),
    [
        (202, "", "handed_over", None),
        (429, "7", "transient", 7),
        (503, "Wed, 21 Oct 2026 07:28:00 GMT", "transient", None),
        (404, "", "address", None),
        (410, "", "address", None),
        (401, "", "ours", None),
        (400, "", "ours", None),
        (302, "", "ours", None),
    ],
)
def test_http_answers(status, after, kind, wait):
    outcome = http.classify(status, after, b'{"id": "m-1"}', "00")
    assert (outcome.kind, outcome.retry_after) == (kind, wait)
    assert http.classify(200, "", b"\xff not json", "00").reply == "200"


def test_one_connection_serves_many_messages_and_survives_refusals(mailbox):
    mailbox.refuse = {"no@example.net": "550 5.1.1 no"}
    mailbox.at_data = lambda to: "451 later" if to == "later@example.net" else ""
    relay = SmtpAdapter("127.0.0.1", mailbox.port, "b@example.org", tls="none", connections=1)
    addresses = ["a@example.net", "no@example.net", "later@example.net", "b@example.net", "bad"]
    kinds = [outcome.kind for outcome in send(relay, *map(outgoing, addresses))]
    assert kinds == ["handed_over", "address", "transient", "handed_over", "address"]


def test_a_relay_without_tls_is_refused_where_tls_is_demanded(mailbox):
    [outcome] = send(SmtpAdapter("127.0.0.1", mailbox.port, "b@example.org"), outgoing("a@example.net"))
    assert (outcome.kind, outcome.reason) == ("ours", "smtp_no_tls_or_auth")
    assert not mailbox.messages


def test_a_relay_that_hangs_up_after_the_message_leaves_the_outcome_open(other_host):
    async def converse(reader, writer):
        writer.write(b"220 x\r\n")
        while line := await reader.readline():
            if line.strip() == b".":
                break
            word = line[:4].upper()
            if word in (b"EHLO", b"MAIL", b"RCPT"):
                writer.write(b"250 ok\r\n")
            elif word == b"DATA":
                writer.write(b"354 go\r\n")
        writer.close()

    async def start():
        return await asyncio.start_server(converse, "127.0.0.1", 0)

    server = other_host.call(start())
    relay = SmtpAdapter("127.0.0.1", server.sockets[0].getsockname()[1], "b@example.org", tls="none")
    [outcome] = send(relay, outgoing("a@example.net"))
    other_host.loop.call_soon_threadsafe(server.close)
    assert (outcome.kind, outcome.reason) == ("unknown", "connection_lost")
    assert outcome.sha256


def test_http_keeps_its_key_and_never_follows_a_redirect(provider):
    provider.answer = {"moved": (302, {"Location": provider.url}), "slow": (429, {"Retry-After": "3"})}
    provider.drop = {"cut"}
    adapter = HttpAdapter("sms", provider.url, token="t")
    outcomes = send(adapter, *(outgoing(to, b"text") for to in ("ok", "moved", "slow", "cut")))
    assert [outcome.kind for outcome in outcomes] == ["handed_over", "ours", "transient", "unknown"]
    assert outcomes[0].reply == "202 id=p-1"
    assert {key for key, _ in provider.requests} == {"ab" * 16}
    assert len(provider.requests) == 4
    [outcome] = send(HttpAdapter("sms", "http://127.0.0.1:1/"), outgoing("ok", b"text"))
    assert (outcome.kind, outcome.reason) == ("transient", "unreachable")


@given(st.text(max_size=60), st.text(max_size=60))
def test_a_reply_never_carries_the_address(before, after):
    for address in ("Ana.B@example.net", "+34600123456", ("Ana B", "Calle 2"), "tok_8SvR"):
        forms = (address,) if isinstance(address, str) else address
        for form in (*forms, forms[0].upper()):
            clean = scrub(f"{before} <{form}> {after}", address)
            assert all(each.lower() not in clean.lower() for each in forms)
            assert len(clean) <= 200
            assert clean.isascii()
    assert scrub("250 ok bob@example.com +1 (555) 123-4567", "x@y.z") == "250 ok <address> <number>"


def fixed(count: int) -> bytes:
    return b"\xff" * count


@pytest.mark.parametrize(
    ("kind", "channel", "deduplicates", "state", "halt"),
    [
        ("handed_over", "sms", False, "handed_over", False),
        ("address", "sms", False, "failed", False),
        ("ours", "sms", False, "due", True),
        ("transient", "sms", False, "due", False),
        ("unknown", "sms", False, "unknown", False),
        ("unknown", "sms", True, "due", False),
        ("unknown", "email", False, "due", False),
        ("unknown", "letter", True, "due", False),
    ],
)
def test_what_happens_next(kind, channel, deduplicates, state, halt):
    then = decide(Outcome(kind, "r"), channel=channel, attempts=0, deduplicates=deduplicates, entropy=fixed)
    assert (then.state, then.halt) == (state, halt)


def test_trying_ends_some_day_except_when_the_provider_is_away():
    last = {"channel": "email", "attempts": ATTEMPTS - 1, "deduplicates": False, "entropy": fixed}
    assert decide(Outcome("transient", "smtp_451"), **last).state == "failed"
    assert decide(Outcome("transient", "unreachable"), **last).state == "due"
    assert decide(Outcome("transient", "http_429", retry_after=9), **{**last, "attempts": 0}).wait_s == 9


@given(st.integers(0, 200), st.binary(min_size=4, max_size=4))
def test_waits_grow_and_stay_within_an_hour(attempts, noise):
    assert 1 <= backoff(attempts, lambda _: noise) <= min(3600, 30 * 2 ** min(attempts, 20))


@given(st.floats(0.1, 5000), st.lists(st.floats(0, 3), min_size=1, max_size=200), st.integers(1, 3))
def test_a_bucket_starts_empty_and_never_lets_more_through_than_rate_and_burst(rate, gaps, cost):
    bucket = Bucket.start(rate, 0.0)
    now, sent = 0.0, []
    for gap in gaps:
        now += gap
        sent.append(now + bucket.take(cost, now))
        now = max(now, sent[-1])
    assert sent[0] >= cost / rate * 0.999 or gaps[0] > 0
    for start in range(len(sent)):
        span = sent[-1] - sent[start]
        count = (len(sent) - start - 1) * cost
        assert count <= rate * span * 1.001 + bucket.burst + cost


def test_buckets_nest_and_adapt():
    pacer = Pacer({"p": 10.0, "free": None}, domain_rate=1.0)
    assert pacer.reserve("free", "", 1, 0.0) == 0
    assert pacer.reserve("p", "a.example", 1, 0.0) == 1.0
    assert pacer.reserve("p", "b.example", 1, 0.0) == 1.0
    assert pacer.reserve("p", "a.example", 1, 0.0) == 2.0
    alone = Pacer({"p": 10.0})
    assert alone.reserve("p", "", 1, 0.0) == pytest.approx(0.1)
    alone.feedback("p", pushed_back=True)
    assert alone.reserve("p", "", 1, 0.0) == pytest.approx(0.3)
    for _ in range(50):
        alone.feedback("p", pushed_back=False)
    assert alone.reserve("p", "", 1, 0.0) == pytest.approx(0.4)


GOOD = """
[organisation]
name = "Example"
email = "a@example.org"
[email]
host = "relay.example.org"
sender = "b@example.org"
password_file = "secret"
rate = 5
[sms]
url = "https://sms.example.org/send"
[letter]
folder = "letters"
"""


def test_the_file_configures_adapters_and_keeps_secrets_elsewhere(tmp_path):
    assert read_config(tmp_path).adapters == ()
    (tmp_path / "secret").write_text("hunter2\n")
    (tmp_path / "notifiers.toml").write_text(GOOD)
    found = read_config(tmp_path)
    assert [adapter.channel for adapter in found.adapters] == ["email", "sms", "letter"]
    assert found.adapters[0].password == "hunter2"
    assert "hunter2" not in repr(found)
    assert found.sender.name == "Example"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[email]\nhost = 'x'\n", "email.sender is missing"),
        ("[email]\nhost = 5\nsender = 'b@c.d'\n", "email.host is not of its type"),
        ("[email]\nhost = 'x'\nsender = 'b@c.d'\ntls = 'maybe'\n", "email.tls"),
        ("[email]\nhost = 'x'\nsender = 'b@c.d'\nrate = 0\n", "email.rate"),
        ("[email]\nhost = 'x'\nsender = 'b@c.d'\npassword_file = 'none'\n", "password_file"),
        ("[sms]\nurl = 'ftp://x'\n", "https://"),
        ("[letter]\nfolder = 'x'\n", "organisation"),
        ("[fax]\n", "unknown table"),
        ("[sms]\nurl = 'https://x'\ncolour = 1\n", "unknown field"),
        ("nonsense", "not valid TOML"),
    ],
)
def test_a_wrong_file_is_one_error_that_names_the_field(tmp_path, text, says):
    (tmp_path / "notifiers.toml").write_text(text)
    with pytest.raises(AdapterError, match=says):
        read_config(tmp_path)


def test_two_adapters_for_one_channel_are_refused(ledger):
    relay = SmtpAdapter("127.0.0.1", 1, "b@example.org")
    with pytest.raises(AdapterError, match="two adapters"):
        Dispatcher(ledger, [relay, relay])
