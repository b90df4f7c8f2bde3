"""The public announcement as browsers, feed readers and search engines get it."""

import json
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest

from notifiers.errors import MessageError
from notifiers.messages import Message
from notifiers.publish import publish

WHEN = datetime(2026, 3, 10, 9, 0, tzinfo=UTC)
ATOM = "{http://www.w3.org/2005/Atom}"
TEXTS = [
    Message("public", "en", "public", "Data breach <notice>", "# What happened\n\nSomebody & somewhere.\n- names"),
    Message("public", "es", "public", "Aviso", "Texto"),
    Message("public", "zh-Hans", "public", "通知", "内容", "<p>内容</p>"),
]


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def announce(directory, sender, texts=TEXTS, slug="notice-1", **options):
    options = {"published": WHEN, "base_url": "https://example.org/notices/", **options}
    return publish(texts, directory=directory, sender=sender, slug=slug, **options)


def test_a_page_needs_nobody_else_and_names_its_other_languages(tmp_path, sender):
    made = announce(tmp_path, sender)
    raw = made.pages["en"].read_text()
    page = Page(raw)
    assert page.all("html") == [{"lang": "en", "dir": "ltr"}]
    assert len(page.all("h1")) == len(page.all("main")) == 1
    assert not page.all("script")
    assert not page.all("img")
    assert all("://" not in attributes.get("href", "") for _, attributes in page.tags)
    assert {link["hreflang"] for link in page.all("link") if "hreflang" in link} == {"en", "es", "zh-Hans"}
    assert [link["lang"] for link in page.all("a")] == ["es", "zh-Hans"]
    assert "Data breach <notice>" in page.text
    assert "Somebody & somewhere." in page.text
    assert TEXTS[0].content_hash in page.text
    assert "@media print" in raw
    assert "default-src 'none'" in raw


def test_the_feed_is_valid_atom_with_ids_that_never_change(tmp_path, sender):
    feed = ET.fromstring(announce(tmp_path, sender).feed.read_bytes())
    assert feed.tag == f"{ATOM}feed"
    for name in ("id", "title", "updated", "author"):
        assert len(feed.findall(f"{ATOM}{name}")) == 1
    assert feed.find(f"{ATOM}author/{ATOM}name").text == sender.name
    assert [link.get("rel") for link in feed.findall(f"{ATOM}link")] == ["self"]
    entries = feed.findall(f"{ATOM}entry")
    assert len(entries) == 3
    for entry in entries:
        assert len(entry.findall(f"{ATOM}id")) == len(entry.findall(f"{ATOM}title")) == 1
        assert entry.find(f"{ATOM}updated").text == "2026-03-10T09:00:00.000Z"
        assert entry.find(f"{ATOM}content").get("type") == "html"
        # RFC 4287 4.1.1: no two alternate links with the same type and hreflang.
        alternates = [(link.get("type"), link.get("hreflang")) for link in entry.findall(f"{ATOM}link")]
        assert len(alternates) == len(set(alternates)) == 3
    ids = {entry.find(f"{ATOM}id").text for entry in entries}
    assert len(ids) == 3
    assert all(each.startswith("urn:uuid:") for each in ids)

    later = announce(tmp_path, sender, updated=WHEN + timedelta(days=1), base_url="https://other.example/")
    again = ET.fromstring(later.feed.read_bytes())
    assert {entry.find(f"{ATOM}id").text for entry in again.findall(f"{ATOM}entry")} == ids
    assert again.find(f"{ATOM}updated").text == "2026-03-11T09:00:00.000Z"


def test_a_second_announcement_joins_the_feed_and_nothing_half_written_stays(tmp_path, sender):
    announce(tmp_path, sender)
    made = announce(tmp_path, sender, TEXTS[:1], "notice-2", published=WHEN + timedelta(days=2))
    titles = [
        entry.find(f"{ATOM}published").text for entry in ET.fromstring(made.feed.read_bytes()).iter(f"{ATOM}entry")
    ]
    assert titles[0] == "2026-03-12T09:00:00.000Z"
    assert len(titles) == 4
    assert set(json.loads((tmp_path / "announcements.json").read_text())) == {"notice-1", "notice-2"}
    assert not list(tmp_path.glob(".*"))


def test_a_drill_is_marked_everywhere(tmp_path, sender):
    made = announce(tmp_path, sender, mode="drill")
    assert "[EXERCISE]" in made.pages["en"].read_text()
    assert "[SIMULACRO]" in made.feed.read_text()
    assert "[演练]" in made.pages["zh-Hans"].read_text()


@pytest.mark.parametrize(
    ("texts", "options"),
    [
        ([], {}),
        ([TEXTS[0], TEXTS[0]], {}),
        ([Message("email", "en", "person", "S", "T")], {}),
        ([Message("public", "en", "public", "S", "bad \ufffe")], {}),
        (TEXTS, {"slug": "../up"}),
        (TEXTS, {"base_url": "javascript:alert(1)"}),
    ],
)
def test_what_cannot_be_published_is_refused_and_nothing_is_written(tmp_path, sender, texts, options):
    with pytest.raises(MessageError):
        announce(tmp_path, sender, texts, **options)
    assert not list(tmp_path.iterdir())
