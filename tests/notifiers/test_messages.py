"""Texts: what is refused, how slots are filled, and that no value ever becomes header syntax."""

import email
import email.policy
import html
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifiers.compile import Envelope, compile_email, compile_text, mailbox, sms_segments
from notifiers.errors import AddressError, MessageError, SlotError
from notifiers.messages import Message, Sender, choose, fill, mark_exercise

SENDER = Sender("Clínica Ñandú, S.A.", "avisos@example.org", reply_to="ayuda@example.org")
WHEN = datetime(2026, 3, 10, 9, 0, tzinfo=UTC)
NOTICE = Message(
    "email",
    "es",
    "guardian",
    "Aviso para [[name]]: ref [[reference]]",
    "Hola [[name]],\n\nsobre [[child]]: línea larga " + "ñ " * 80 + "\n.\n.punto\nfin [[reference]]",
    "<p>Hola [[name]], sobre [[child]]</p>",
)
PLAN = compile_email(NOTICE, SENDER, campaign="c1", mode="live")
HEADERS = ["To", "Subject", "Date", "Message-ID", "From", "Reply-To", "Auto-Submitted", "X-Auto-Response-Suppress",
           "Feedback-ID", "MIME-Version", "Content-Type", "Content-Language"]  # fmt: skip


def splice(**slots: str):
    raw = PLAN.splice(
        Envelope("ab" * 16, "ana@example.net", WHEN), {"name": "A", "child": "B", "reference": "R", **slots}
    )
    return raw, email.message_from_bytes(raw, policy=email.policy.default)


def body(mail, kind: str) -> str:
    return mail.get_body((kind,)).get_content().replace("\r\n", "\n")


values = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]),
        st.sampled_from(list(":;,<>\"\\=?_@()[]&'%. -")),
    ),
    max_size=120,
).map(str.strip)


@given(values, values, values)
def test_any_value_comes_out_as_itself_and_adds_no_header_and_no_markup(name, child, reference):
    raw, mail = splice(name=name, child=child, reference=reference)
    assert mail.keys() == HEADERS
    assert not mail.defects
    assert not any(part.defects for part in mail.walk())
    assert body(mail, "plain").startswith(f"Hola {name},\n\nsobre {child}: línea")
    assert f"<p>Hola {html.escape(name)}, sobre {html.escape(child)}</p>" in body(mail, "html")
    assert raw.isascii()
    assert all(len(line) <= 78 for line in raw.split(b"\r\n"))
    assert b"\n" not in raw.replace(b"\r\n", b"")


@given(
    st.text(max_size=20), st.sampled_from(["\r\n", "\n", "\r", "\0", "\u2028", "\x85", "\x0b"]), st.text(max_size=20)
)
def test_line_breaks_and_nul_are_refused_in_every_slot(before, control, after):
    for slot in ("name", "child", "reference"):
        with pytest.raises(SlotError) as caught:
            splice(**{slot: before + control + after})
        assert slot in str(caught.value)
        assert not before.strip() or len(before) < 5 or before not in str(caught.value)


def test_the_classic_injection_is_refused_and_not_repeated():
    with pytest.raises(SlotError) as caught:
        splice(name="Ana\r\nBcc: everybody@example.net")
    assert "everybody" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    ["ana@example.net\r\nBcc: x@y.z", "ana", "@example.net", "a b@example.net", "<ana@example.net>", "a..b@example.net",
     "ana@example.net,bo@example.net", '"a"@example.net', ""],
)  # fmt: skip
def test_what_is_no_mailbox_never_reaches_a_header(address):
    with pytest.raises(AddressError) as caught:
        mailbox(address)
    assert caught.value.reason == "bad_address"
    assert not address or address not in str(caught.value)


def test_a_domain_may_be_international_but_a_local_part_needs_another_mail_system():
    assert mailbox("ana@bücher.example") == "ana@xn--bcher-kva.example"
    with pytest.raises(AddressError) as caught:
        mailbox("josé@example.net")
    assert caught.value.reason == "address_needs_smtputf8"


def test_the_same_message_has_the_same_bytes_every_time():
    again = compile_email(NOTICE, SENDER, campaign="c1", mode="live")
    envelope = Envelope("ab" * 16, "ana@example.net", WHEN)
    slots = {"name": "Ana", "child": "Bo", "reference": "R"}
    assert again.splice(envelope, slots) == PLAN.splice(envelope, slots)


def test_a_message_without_html_is_one_plain_part():
    plan = compile_email(
        Message("email", "zh-Hans", "person", "通知", "尊敬的 [[name]]:您好"), SENDER, campaign="c", mode="live"
    )
    mail = email.message_from_bytes(plan.splice(Envelope("0" * 32, "a@example.net", WHEN), {"name": "王小明"}))
    assert not mail.is_multipart()
    assert mail.get_payload(decode=True).decode().strip() == "尊敬的 王小明:您好"


def test_the_content_hash_covers_every_field():
    fields = NOTICE.as_json()
    others = {"audience": "person", "channel": "letter", "html": None, "language": "en", "subject": "x", "text": "x"}
    hashes = {NOTICE.content_hash} | {Message(**{**fields, key: value}).content_hash for key, value in others.items()}
    assert len(hashes) == 7
    assert Message.from_json(fields) == NOTICE


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"text": "Hola [[nombre]]"}, "unknown slot"),
        ({"audience": "person", "text": "[[child]]"}, r"\[\[child\]\]"),
        ({"channel": "push", "text": "Hola [[name]]"}, r"\[\[name\]\].*allowed: \[\[reference\]\]"),
        ({"channel": "public", "audience": "public", "text": "[[reference]]"}, "allowed: none"),
        ({"subject": "a\r\nBcc: x"}, "line break"),
        ({"subject": " "}, "subject is empty"),
        ({"text": "\n"}, "text is empty"),
        ({"text": "a\0b"}, "control character"),
        ({"language": "español"}, "BCP 47"),
        ({"channel": "fax"}, "channel is none of"),
    ],
)
def test_a_text_that_could_not_be_sent_is_refused_by_name(change, says):
    with pytest.raises(MessageError, match=says) as caught:
        Message(**{**NOTICE.as_json(), "html": None, **change}).check()
    assert "nombre" not in str(caught.value)


def test_slots_inside_values_are_not_filled_again():
    assert fill("[[name]] [[reference]]", {"name": "[[reference]]", "reference": "R"}) == "[[reference]] R"


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("", 0),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("a" * 152 + "€" + "a" * 152, 3),  # the pair does not fit into the first segment and moves on
        ("通" * 70, 1),
        ("通" * 71, 2),
        ("😀" * 35, 1),
        ("😀" * 36, 2),
        ("通" * 66 + "😀" + "通" * 66, 3),
    ],
)
def test_segments_are_counted_as_the_network_does(text, segments):
    assert sms_segments(text) == segments


def test_the_reader_gets_the_nearest_language():
    texts = {tag: Message("sms", tag, "person", "", tag) for tag in ("en", "pt-BR", "zh-Hans")}
    assert choose(texts, "zh-Hans-CN").language == "zh-Hans"
    assert choose(texts, "pt").language == "pt-BR"
    assert choose(texts, "PT-br").language == "pt-BR"
    assert choose(texts, "fi").language == "en"


def test_a_drill_is_marked_in_the_readers_language():
    marked = mark_exercise(NOTICE)
    assert marked.subject.startswith("[SIMULACRO] ")
    assert marked.text.startswith("[SIMULACRO] ")
    assert "SIMULACRO" in marked.html
    assert compile_text(Message("sms", "zh-Hans", "person", "", "短信")).splice({}) == ("", "短信")


@pytest.mark.parametrize(
    "change", [{"name": "A\nB"}, {"email": "no"}, {"reply_to": "x y"}, {"postal": ["a\rb"]}, {"fax": "1"}]
)
def test_a_sender_that_could_not_stand_in_a_header_is_refused(change):
    with pytest.raises(MessageError):
        Sender.from_json({**SENDER.as_json(), **change})
