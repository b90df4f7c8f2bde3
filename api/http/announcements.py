"""The public announcements, served from the directory that `notifiers.publish` writes.

A directory and nothing else: only plain names with a known ending below it are served, so no name
that a client sends can reach another file.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.http.problems import RequestError
from api.http.schemas import problems
from ledger.encoding import parse
from ledger.errors import InputError
from notifiers.publish import INDEX

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".atom": "application/atom+xml; charset=utf-8",
    ".json": "application/json",
}
_PART: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}", re.ASCII)
_STYLE: Final = re.compile(rb"<style>(.*?)</style>", re.DOTALL)
_CACHE: Final = {"Cache-Control": "public, max-age=60"}


@dataclass(frozen=True)
class Announcement:
    """One line of the list: times as RFC 3339 text, `file` a name in the directory."""

    file: str
    title: str
    language: str
    published: str
    updated: str


def routes(directory: Path | None, listing: Callable[[Request, list[Announcement]], Response]) -> APIRouter:
    """The router; without a directory, or before anything is announced, everything is 404.

    Args:
        directory: what `notifiers.publish.publish` was given.
        listing: renders the list of announcements.
    """
    router = APIRouter(tags=["announcements"])
    documented: dict[int | str, dict[str, Any]] = {
        200: {
            "content": {
                "text/html": {"schema": {"type": "string"}},
                "application/atom+xml": {"schema": {"type": "string"}},
            }
        },
        **problems(p404="Nothing is announced under this name."),
    }

    @router.get("/notices", include_in_schema=False, response_class=Response)
    @router.get("/notices/", include_in_schema=False, response_class=Response)
    def list_announcements(request: Request) -> Response:
        """What was announced, newest first."""
        found = announced(directory)
        if not found:
            raise RequestError("not-found", "Nothing has been announced.")
        response = listing(request, found)
        response.headers.update(_CACHE)
        return response

    @router.get(
        "/notices/{path:path}",
        operation_id="getAnnouncement",
        summary="A public announcement or the feed of them",
        response_class=Response,
        responses=documented,
    )
    def get_announcement(path: str) -> Response:
        """Pages and Atom feed as they were published; open to everybody."""
        file = _find(directory, path)
        if file is None:
            raise RequestError("not-found", "Nothing is announced under this name.")
        content = file.read_bytes()
        headers = {"Content-Type": _TYPES[file.suffix], **_CACHE}
        if file.suffix == ".html":
            headers["Content-Security-Policy"] = _policy(content)
        return Response(content, headers=headers)

    return router


def announced(directory: Path | None) -> list[Announcement]:
    """What was announced, newest first; empty where nothing was, or the list cannot be read."""
    try:
        index = parse((directory / INDEX).read_bytes()) if directory is not None else {}
        found = [
            Announcement(
                str(item["url"]).rpartition("/")[2],
                str(item["title"]),
                str(item["language"]),
                str(item["published"]),
                str(item["updated"]),
            )
            for languages in index.values()
            for item in languages
        ]
    except (OSError, InputError, AttributeError, KeyError, TypeError):
        return []
    return sorted(found, key=lambda item: (item.updated, item.file), reverse=True)


def _policy(page: bytes) -> str:
    """The strictest policy under which a published page keeps the one style sheet in its head."""
    style = _STYLE.search(page)
    sources = "'none'"
    if style is not None:
        sources = f"'sha256-{base64.b64encode(hashlib.sha256(style[1]).digest()).decode()}'"
    return f"default-src 'none'; style-src {sources}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def _find(directory: Path | None, path: str) -> Path | None:
    """The file of a public path."""
    parts = path.split("/")
    if directory is None or any(_PART.fullmatch(part) is None for part in parts):
        return None
    file = directory.joinpath(*parts)
    # resolve() also refuses a symbolic link that leads out of the directory
    inside = file.is_file() and file.resolve().is_relative_to(directory.resolve())
    return file if inside and file.suffix in _TYPES else None
