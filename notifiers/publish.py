"""The public announcement: plain pages and an Atom feed in a directory that any web server can serve.

Pages need nobody else: no script, no font, no image, no request to a third party; they read well in a
screen reader and on paper. The feed follows RFC 4287; ids never change, so a reader's program knows an
update from a new announcement. Each file appears whole or not at all.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from ledger.encoding import canonical, format_time, parse
from ledger.errors import InputError
from notifiers.errors import MessageError
from notifiers.files import write_atomically
from notifiers.letters import paragraphs
from notifiers.messages import Message, Sender, mark_exercise

INDEX: Final = "announcements.json"
FEED: Final = "announcements.atom"
_ATOM: Final = "http://www.w3.org/2005/Atom"
_XML_LANG: Final = "{http://www.w3.org/XML/1998/namespace}lang"
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,63}", re.ASCII)
_NOT_XML = re.compile("[\ud800-\udfff\ufffe\uffff]")
_RIGHT_TO_LEFT: Final = frozenset({"ar", "fa", "he", "ur"})

_CSS: Final = """
:root { color-scheme: light dark; }
body { font: 1.125rem/1.6 system-ui, sans-serif; max-width: 40rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; line-height: 1.25; } h2 { font-size: 1.25rem; }
nav ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: 1rem; }
footer { border-top: 1px solid; margin-top: 2rem; font-size: 0.9rem; overflow-wrap: anywhere; }
@media print { nav { display: none; } body { font-size: 11pt; max-width: none; } }
"""

_LABELS: Final[Mapping[str, tuple[str, str, str, str]]] = {
    "de": ("Veröffentlicht", "Aktualisiert", "Weitere Sprachen", "Prüfsumme des Textes (SHA-256)"),
    "en": ("Published", "Updated", "Other languages", "Fingerprint of the text (SHA-256)"),
    "es": ("Publicado", "Actualizado", "Otros idiomas", "Huella del texto (SHA-256)"),
    "fr": ("Publié", "Mis à jour", "Autres langues", "Empreinte du texte (SHA-256)"),
    "ja": ("公開", "更新", "他の言語", "本文のハッシュ値 (SHA-256)"),
    "pt": ("Publicado", "Atualizado", "Outros idiomas", "Impressão digital do texto (SHA-256)"),
    "zh": ("发布", "更新", "其他语言", "正文指纹 (SHA-256)"),
}
_NAMES: Final[Mapping[str, str]] = {
    "de": "Deutsch",
    "en": "English",
    "es": "Español",
    "fr": "Français",
    "ja": "日本語",
    "pt": "Português",
    "zh": "中文",
}


@dataclass(frozen=True)
class Published:
    """What was written.

    Attributes:
        pages: language tag -> page.
        feed: the Atom feed.
    """

    pages: Mapping[str, Path]
    feed: Path


def publish(
    messages: Sequence[Message],
    *,
    directory: Path,
    sender: Sender,
    slug: str,
    base_url: str,
    published: datetime,
    updated: datetime | None = None,
    mode: str = "live",
) -> Published:
    """Write one announcement in all its languages, and the feed of all announcements.

    Args:
        messages: the approved texts, channel "public", one per language.
        directory: made when it is missing; other announcements in it stay.
        sender: the organisation.
        slug: name of the announcement in addresses: a-z, 0-9 and "-".
        base_url: address under which the directory is served.
        published: when it was first published.
        updated: when it was last changed; defaults to `published`.
        mode: "live" or "drill"; a drill is marked on every page and in the feed.

    Raises:
        MessageError: a text is malformed, not public, or there are two for one language.
        OSError: the disk refused; pages already there are whole.
    """
    _check(messages, slug, base_url)
    sender.check()
    changed = updated or published
    shown = [mark_exercise(message) if mode == "drill" else message for message in messages]
    base = base_url.rstrip("/")
    files = {message.language: f"{slug}.{message.language.lower()}.html" for message in messages}
    pages: dict[str, Path] = {}
    times = {"published": published, "updated": changed}
    for approved, message in zip(messages, shown, strict=True):
        text = _page(message, approved.content_hash, sender, files, times)
        pages[message.language] = directory / files[message.language]
        write_atomically(pages[message.language], text.encode())
    index = _read_index(directory / INDEX)
    index[slug] = [
        {
            "hash": approved.content_hash,
            "html": _body(message),
            "language": message.language,
            "published": format_time(published),
            "title": message.subject,
            "updated": format_time(changed),
            "url": f"{base}/{files[message.language]}",
        }
        for approved, message in zip(messages, shown, strict=True)
    ]
    write_atomically(directory / FEED, atom(index, sender, f"{base}/{FEED}"))
    write_atomically(directory / INDEX, canonical(index))
    return Published(pages, directory / FEED)


def _check(messages: Sequence[Message], slug: str, base_url: str) -> None:
    if _SLUG.fullmatch(slug) is None:
        raise MessageError("The slug of an announcement is 1 to 64 of a-z, 0-9 and -.", field="/slug")
    if not base_url.startswith(("https://", "http://")):
        raise MessageError("base_url must be the https address the pages are served under.", field="/base_url")
    if not messages:
        raise MessageError("An announcement needs a text in at least one language.")
    languages = set()
    for message in messages:
        message.check()
        if message.channel != "public":
            raise MessageError("An announcement is made of messages of channel public.", field="/channel")
        if message.language.lower() in languages:
            raise MessageError(f"There are two public texts in {message.language}; keep the approved one.")
        if _NOT_XML.search(message.subject + message.text + (message.html or "")):
            raise MessageError(f"The public text in {message.language} holds a character that XML forbids.")
        languages.add(message.language.lower())


def _body(message: Message) -> str:
    """The text as HTML: the approved HTML where there is one, else made from the light markup."""
    if message.html is not None:
        return message.html
    parts = []
    for part in paragraphs(message.text):
        if part["kind"] == "heading":
            parts.append(f"<h2>{html.escape(part['text'])}</h2>")
        elif part["kind"] == "list":
            items = "".join(f"<li>{html.escape(item)}</li>" for item in part["items"])
            parts.append(f"<ul>{items}</ul>")
        else:
            parts.append("<p>" + "<br>".join(html.escape(line) for line in part["lines"]) + "</p>")
    return "\n".join(parts)


def _page(
    message: Message,
    content_hash: str,
    sender: Sender,
    files: Mapping[str, str],
    times: Mapping[str, datetime],
) -> str:
    primary = message.language.split("-", maxsplit=1)[0].lower()
    published, updated, others, fingerprint = _LABELS.get(primary, _LABELS["en"])
    direction = "rtl" if primary in _RIGHT_TO_LEFT else "ltr"
    style_hash = base64.b64encode(hashlib.sha256(_CSS.encode()).digest()).decode()
    alternates = "\n".join(
        f'<link rel="alternate" hreflang="{html.escape(tag)}" href="{html.escape(name)}">'
        for tag, name in files.items()
    )
    links = "".join(
        f'<li><a lang="{html.escape(tag)}" hreflang="{html.escape(tag)}" href="{html.escape(name)}">'
        f"{html.escape(_language_name(tag))}</a></li>"
        for tag, name in files.items()
        if tag != message.language
    )
    nav = f'<nav aria-label="{html.escape(others)}"><ul>{links}</ul></nav>' if links else ""
    contact = " · ".join(html.escape(line) for line in (sender.phone, sender.reply_to, sender.website) if line)
    return f"""<!DOCTYPE html>
<html lang="{html.escape(message.language)}" dir="{direction}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'sha256-{style_hash}'">
<title>{html.escape(message.subject)} | {html.escape(sender.name)}</title>
{alternates}
<link rel="alternate" type="application/atom+xml" href="{FEED}">
<style>{_CSS}</style>
</head>
<body>
<header><p>{html.escape(sender.name)}</p>{nav}</header>
<main>
<h1>{html.escape(message.subject)}</h1>
<p>{html.escape(published)}: {_time(times["published"])} · {html.escape(updated)}: {_time(times["updated"])}</p>
{_body(message)}
</main>
<footer>
<p>{html.escape(sender.name)}{" · " + contact if contact else ""}</p>
<p>{html.escape(fingerprint)}: <code>{content_hash}</code></p>
</footer>
</body>
</html>
"""


def _time(moment: datetime) -> str:
    return f'<time datetime="{format_time(moment)}">{moment:%Y-%m-%d}</time>'


def _language_name(tag: str) -> str:
    return _NAMES.get(tag.split("-", maxsplit=1)[0].lower(), tag)


def atom(index: Mapping[str, Sequence[Mapping[str, Any]]], sender: Sender, url: str) -> bytes:
    """The feed (RFC 4287) of all announcements, the newest first.

    Args:
        index: slug -> its languages, as kept in `INDEX`.
        sender: the organisation; its domain is the root of all ids.
        url: address of the feed itself.
    """
    ET.register_namespace("", _ATOM)
    entries = [(slug, entry) for slug, languages in index.items() for entry in languages]
    entries.sort(key=lambda pair: (pair[1]["updated"], pair[0], pair[1]["language"]), reverse=True)
    feed = ET.Element(f"{{{_ATOM}}}feed")
    _add(feed, "id", _urn(sender, ""))
    _add(feed, "title", sender.name)
    _add(feed, "updated", max((entry["updated"] for _, entry in entries), default="1970-01-01T00:00:00.000Z"))
    _add(_add(feed, "author"), "name", sender.name)
    _add(feed, "link", rel="self", type="application/atom+xml", href=url)
    for slug, entry in entries:
        element = _add(feed, "entry")
        element.set(_XML_LANG, entry["language"])
        _add(element, "id", _urn(sender, f"{slug}/{entry['language'].lower()}"))
        _add(element, "title", entry["title"])
        _add(element, "published", entry["published"])
        _add(element, "updated", entry["updated"])
        _add(element, "link", rel="alternate", type="text/html", hreflang=entry["language"], href=entry["url"])
        for other in index[slug]:
            if other is not entry:
                _add(
                    element,
                    "link",
                    rel="alternate",
                    type="text/html",
                    hreflang=other["language"],
                    href=other["url"],
                )
        _add(element, "content", entry["html"], type="html")
    return bytes(ET.tostring(feed, encoding="utf-8", xml_declaration=True))


def _add(parent: ET.Element, name: str, text: str | None = None, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, f"{{{_ATOM}}}{name}", attributes)
    element.text = text
    return element


def _urn(sender: Sender, name: str) -> str:
    """An id that depends on nothing that changes: the organisation's domain and the announcement's name."""
    root = uuid.uuid5(uuid.NAMESPACE_DNS, sender.domain.lower())
    return uuid.uuid5(root, f"announcements/{name}").urn


def _read_index(path: Path) -> dict[str, list[dict[str, Any]]]:
    if not path.exists():
        return {}
    try:
        return dict(parse(path.read_bytes()))
    except (InputError, TypeError, ValueError):
        raise MessageError(
            f"{INDEX} in the announcements directory is damaged; move it away and publish again."
        ) from None
