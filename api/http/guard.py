"""Who may talk to this server at all: the host-name rule on loopback, the token everywhere else.

Without a token the server trusts whoever can reach the loopback interface, so it must not be
reachable through a browser on the same machine: a rebound DNS name is stopped by the Host rule,
another origin's form by the origin rule. With a token everything is closed except `PUBLIC`.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from http.cookies import CookieError, SimpleCookie
from threading import Lock
from typing import Final
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from api.http.problems import KINDS, Problem, RequestError
from ledger.errors import ConfigError

MIN_TOKEN: Final = 20
COOKIE: Final = "tocsin-session"
SESSION_LIFE: Final = timedelta(hours=8)
MAX_SESSIONS: Final = 1000

PUBLIC: Final = re.compile(r"/(healthz|checkpoint|login|tile/.*|notices(/.*)?|problems/[a-z-]+|static/.*)", re.ASCII)
"""What answers without a token: liveness, public verification data, announcements, the way in."""

_LOOPBACK_HOST: Final = re.compile(rb"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?", re.IGNORECASE)
_SECRET: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
"""What `Sessions.open` gives."""
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def is_loopback(host: str) -> bool:
    """Whether a bind address is this machine's loopback interface."""
    return host in {"localhost", "::1"} or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None


@dataclass(frozen=True)
class Access:
    """What the bind address and the configured token make necessary.

    Attributes:
        loopback: requests must name a loopback host.
        token_digest: SHA-256 of the token, or None when none is needed.
    """

    loopback: bool
    token_digest: bytes | None

    @classmethod
    def decide(cls, host: str, token: str | None) -> Access:
        """Decide from where the server will listen.

        Raises:
            ConfigError: another address than loopback without a token, or a token that is too short.
        """
        loopback = is_loopback(host)
        if not token and not loopback:
            raise ConfigError(
                f"Listening on {host} needs a token: set TOCSIN_TOKEN to at least {MIN_TOKEN} random "
                "characters, or listen on 127.0.0.1."
            )
        if token and len(token) < MIN_TOKEN:
            raise ConfigError(
                f"TOCSIN_TOKEN is shorter than {MIN_TOKEN} characters; make one with `openssl rand -hex 24`."
            )
        return cls(loopback, hashlib.sha256(token.encode()).digest() if token else None)

    def accepts(self, token: str) -> bool:
        """Compare in constant time; the digests hide the token's length as well."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        return self.token_digest is not None and hmac.compare_digest(digest, self.token_digest)


class Sessions:
    """Console sessions, kept on the server so that signing out really ends them; thread-safe."""

    def __init__(self, clock: Callable[[], datetime], entropy: Callable[[int], bytes]) -> None:
        self._clock = clock
        self._entropy = entropy
        self._lock = Lock()
        self._expiry: dict[bytes, datetime] = {}

    def open(self) -> str:
        """Start a session; the secret is for the cookie alone, only its hash is kept here."""
        secret = self._entropy(32).hex()
        now = self._clock()
        with self._lock:
            self._expiry = {key: end for key, end in self._expiry.items() if end > now}
            while len(self._expiry) >= MAX_SESSIONS:
                self._expiry.pop(min(self._expiry, key=self._expiry.__getitem__))
            self._expiry[session_key(secret)] = now + SESSION_LIFE
        return secret

    def holds(self, secret: str) -> bool:
        """Whether the secret belongs to a session that has not ended."""
        with self._lock:
            end = self._expiry.get(session_key(secret))
        return end is not None and end > self._clock()

    async def check(self, secret: str) -> bool:
        """The same, without holding up an event loop."""
        return self.holds(secret)

    def close(self, secret: str) -> None:
        """End a session; an unknown one is no error."""
        with self._lock:
            self._expiry.pop(session_key(secret), None)


def session_key(secret: str) -> bytes:
    """What is kept of a session's secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


class Guard:
    """ASGI middleware that refuses before any route sees the request."""

    def __init__(self, app: ASGIApp, *, access: Access, sessions: Sessions, refused: Callable[[], None]) -> None:
        self._app = app
        self._access = access
        self._sessions = sessions
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, send a browser to the form, or refuse."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given: list[tuple[bytes, bytes]] = scope["headers"]
        headers = dict(reversed(given))  # of a repeated header the first one counts, as for `Headers`
        self._check_host(headers)
        if scope["method"] not in _SAFE:
            _check_origin(headers)
        if (
            self._access.token_digest is None
            or PUBLIC.fullmatch(scope["path"])
            or await self._signed_in(scope, headers)
        ):
            await self._app(scope, receive, send)
            return
        self._refused()
        if scope["method"] == "GET" and b"text/html" in headers.get(b"accept", b""):
            await RedirectResponse(f"/login?next={quote(scope['path'])}", 303)(scope, receive, send)
            return
        raise RequestError("unauthenticated", "This address needs a token.", WWW_Authenticate='Bearer realm="tocsin"')

    def _check_host(self, headers: Mapping[bytes, bytes]) -> None:
        if self._access.loopback and not _is_loopback_name(headers.get(b"host", b"")):
            raise RequestError("misdirected", "The Host header does not name the loopback interface.")

    async def _signed_in(self, scope: Scope, headers: Mapping[bytes, bytes]) -> bool:
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer":
            return self._access.accepts(token.strip().decode("latin-1"))
        secret = session_secret(Headers(scope=scope)) if b"cookie" in headers else ""
        # What nobody was given is not looked up: that may be a read of the database, for whoever asks.
        return _SECRET.fullmatch(secret) is not None and await self._sessions.check(secret)


@lru_cache(maxsize=64)
def _is_loopback_name(host: bytes) -> bool:
    return _LOOPBACK_HOST.fullmatch(host) is not None


def _check_origin(headers: Mapping[bytes, bytes]) -> None:
    """Stop a browser that was sent here by another site (Fetch metadata, else Origin)."""
    site, origin = headers.get(b"sec-fetch-site"), headers.get(b"origin")
    if site is None and origin is None:
        return
    if not (site in {b"same-origin", b"none"} if site is not None else _is_host(origin, headers.get(b"host", b""))):
        raise RequestError("cross-origin", "A page of another origin made this request.")


def _is_host(origin: bytes | None, host: bytes) -> bool:
    """Whether an origin is the host that was asked; what is no URL is nobody's."""
    try:
        return urlsplit((origin or b"").decode("latin-1")).netloc == host.decode("latin-1")
    except ValueError:
        return False


def session_secret(headers: Headers) -> str:
    """The session cookie's value, "" where there is none."""
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return cookie.value if cookie else ""


def not_signed_in() -> Problem:
    """What the login form shows for a wrong token."""
    return Problem(KINDS["unauthenticated"], "This is not the token of this server.")
