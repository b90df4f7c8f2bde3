"""Letters as a print shop and a reader get them."""

import asyncio
import io
import json
from datetime import UTC, datetime

import pytest
from pypdf import PdfReader

from notifiers.adapters import Outgoing
from notifiers.adapters.letter import LetterAdapter
from notifiers.errors import LetterError
from notifiers.letters import Letter, Typesetter, paragraphs
from notifiers.messages import Sender

WHEN = datetime(2026, 3, 10, 9, 0, tzinfo=UTC)
SPANISH = """Estimada María Ñandú:

# Qué ha pasado

El 3 de marzo, alguien copió sus datos.
- nombre
- correo

¿Dudas? Llámenos."""
CHINESE = "尊敬的王小明:\n\n# 发生了什么\n\n您的个人信息被未经授权访问。\n- 姓名\n- 电子邮件"


def letter(language: str, text: str, subject: str, address=("Ana", "Calle 2", "28002 Madrid", "ES")) -> Letter:
    return Letter(address, subject, text, language, "R-1", WHEN)


@pytest.fixture(scope="module")
def typesetter():
    return Typesetter(Sender("Clínica Ejemplo", "a@example.org", phone="+34 900", postal=("Calle Mayor 1",)))


@pytest.mark.parametrize(
    ("language", "text", "subject", "words"),
    [
        ("es", SPANISH, "Aviso sobre sus datos", ["María Ñandú", "Qué ha pasado", "nombre", "28002 Madrid"]),
        ("zh-Hans", CHINESE, "关于个人信息安全事件的通知", ["王小明", "发生了什么", "电子邮件", "关于个人信息"]),
    ],
)
def test_the_text_can_be_read_out_and_the_file_says_what_it_is(typesetter, language, text, subject, words):
    pdf, pages = typesetter.render(letter(language, text, subject))
    reader = PdfReader(io.BytesIO(pdf))
    extracted = "".join(page.extract_text() for page in reader.pages)
    for word in words:
        assert word in extracted
    assert len(reader.pages) == pages == 1
    catalog = reader.trailer["/Root"]
    assert catalog["/Lang"].split("-")[0] == language.split("-")[0]
    assert catalog["/MarkInfo"]["/Marked"]
    assert reader.metadata.title == subject
    xmp = reader.xmp_metadata.stream.get_data().decode()
    assert "pdfaid:part>2<" in xmp
    assert "pdfaid:conformance>A<" in xmp
    assert "pdfuaid:part>1<" in xmp


def test_the_same_letter_has_the_same_bytes_from_any_compiler(typesetter, sender):
    first = Typesetter(sender).render(letter("es", SPANISH, "Aviso"))
    assert Typesetter(sender).render(letter("es", SPANISH, "Aviso")) == first
    assert typesetter.render(letter("es", SPANISH, "Aviso")) != first  # another letterhead


def test_what_people_are_called_is_never_evaluated(typesetter):
    hostile = '#read("/etc/passwd") *bold* $x$ #panic("no") <label> @ref \\ // #import "x"'
    pdf, _ = typesetter.render(letter("en", hostile, "Subject " + hostile, address=(hostile, "ES")))
    text = PdfReader(io.BytesIO(pdf)).pages[0].extract_text().replace("\n", " ")
    assert '#read("/etc/passwd") *bold* $x$' in text
    assert "root:" not in text


def test_a_long_letter_counts_its_pages(typesetter):
    pdf, pages = typesetter.render(letter("en", "\n\n".join(["Lorem ipsum dolor sit amet. " * 20] * 12), "Long"))
    assert pages == len(PdfReader(io.BytesIO(pdf)).pages) > 1


def test_a_character_that_no_font_has_is_one_error_without_the_text(typesetter):
    with pytest.raises(LetterError) as caught:
        typesetter.render(letter("en", "Dear \U0001f9ff\U000131a0", "Subject"))
    assert "Dear" not in str(caught.value)


def test_light_markup_is_read_line_by_line():
    assert paragraphs("# A\nb\nc\n\n- d\n- e\nf\n\n\n") == [
        {"kind": "heading", "text": "A"},
        {"kind": "par", "lines": ["b", "c"]},
        {"kind": "list", "items": ["d", "e"]},
        {"kind": "par", "lines": ["f"]},
    ]


def outgoing(name: str, address=("Ana", "Calle 2", "ES")) -> Outgoing:
    return Outgoing(name, address, b"Dear Ana", "Subject", "en", "R-1", "c1", WHEN)


async def _send(adapter, *messages):
    return await adapter.send(messages)


def test_a_letter_written_again_replaces_itself_in_folder_and_manifest(tmp_path, sender):
    adapter = LetterAdapter(tmp_path, sender)
    [first] = asyncio.run(_send(adapter, outgoing("aa")))
    asyncio.run(_send(adapter, outgoing("aa"), outgoing("bb")))
    lines = json.loads((tmp_path / "c1/manifest.json").read_text())["letters"]
    assert [line["file"] for line in lines] == ["aa.pdf", "bb.pdf"]
    assert lines[0]["sha256"] == first.sha256
    assert sorted(path.name for path in (tmp_path / "c1").iterdir()) == ["aa.pdf", "bb.pdf", "manifest.json"]


def test_a_folder_that_cannot_be_written_keeps_the_letters_queued(tmp_path, sender):
    (tmp_path / "file").write_text("")
    [outcome] = asyncio.run(_send(LetterAdapter(tmp_path / "file", sender), outgoing("aa")))
    assert (outcome.kind, outcome.reason) == ("transient", "unreachable")
    (tmp_path / "c1").mkdir()
    (tmp_path / "c1/manifest.json").write_text("{broken")
    [outcome] = asyncio.run(_send(LetterAdapter(tmp_path, sender), outgoing("aa")))
    assert (outcome.kind, outcome.reason) == ("ours", "manifest_damaged")
