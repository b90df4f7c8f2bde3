"""Who is let in: host names on loopback, the token elsewhere, browsers sent by other sites nowhere."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.http import Access, create_app
from api.http.guard import COOKIE, MAX_SESSIONS, SESSION_LIFE, Sessions
from api.http.sessions import StoredSessions
from ledger import Ledger
from ledger.errors import ConfigError

TOKEN = "correct-horse-battery-staple"
PAGE = {"accept": "text/html,*/*"}
PROTECTED = ["/", "/v1/entries/0", "/v1/entries/0/proof", "/entries/0", "/metrics", "/readyz", "/openapi.json"]
PUBLIC = ["/healthz", "/checkpoint", "/tile/0/000.p/1", "/tile/entries/000.p/1", "/login", "/problems/erased"]


@pytest.fixture
def guarded(ledger: Ledger, incidents: Any) -> Iterator[TestClient]:
    app = create_app(ledger, incidents, access=Access.decide("0.0.0.0", TOKEN))
    with TestClient(app, base_url="https://tocsin.example.org", follow_redirects=False) as client:
        yield client


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8470", 200),
        ("127.8.9.1", 200),
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("[::1]:8470", 200),
        ("rebound.example.org", 421),
        ("127.0.0.1.example.org", 421),
        ("localhost.example.org:8470", 421),
        ("example.org@127.0.0.1", 421),
        ("", 421),
    ],
)
def test_on_loopback_only_loopback_names_are_answered(client: TestClient, host: str, status: int) -> None:
    for path in ("/healthz", "/", "/checkpoint"):
        assert client.get(path, headers={"host": host}).status_code == status


@pytest.mark.parametrize("token", [None, "", "short", "x" * 19])
def test_another_address_needs_a_token_of_some_length(token: str | None) -> None:
    with pytest.raises(ConfigError, match="TOCSIN_TOKEN"):
        Access.decide("0.0.0.0", token)


def test_where_a_token_is_needed() -> None:
    assert Access.decide("127.0.0.1", None).token_digest is None
    assert Access.decide("::1", None).loopback
    assert not Access.decide("192.0.2.1", TOKEN).loopback
    assert Access.decide("127.0.0.1", TOKEN).accepts(TOKEN)
    assert not Access.decide("127.0.0.1", None).accepts("")


@pytest.mark.parametrize("path", PROTECTED)
def test_with_a_token_everything_else_is_closed(guarded: TestClient, path: str) -> None:
    answer = guarded.get(path)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="tocsin"')
    assert answer.json()["type"] == "/problems/unauthenticated"
    for header in ("Bearer wrong", f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer", "Bearer \xff"):
        assert guarded.get(path, headers={"authorization": header.encode("latin-1")}).status_code == 401
    assert guarded.get(path, headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert guarded.get(path, headers={"authorization": f"bearer  {TOKEN} "}).status_code == 200


@pytest.mark.parametrize("path", PUBLIC)
def test_public_things_stay_open(guarded: TestClient, path: str) -> None:
    assert guarded.get(path).status_code == 200


def test_appending_needs_the_token_too(guarded: TestClient) -> None:
    assert guarded.post("/v1/events", content=b"").status_code == 401


@pytest.mark.parametrize("path", ["/healthz/x", "/checkpoints", "/notices-x", "/staticx", "//healthz", "/LOGIN"])
def test_names_like_public_ones_are_not_public(guarded: TestClient, path: str) -> None:
    assert guarded.get(path).status_code == 401


def test_signing_in_and_out_with_a_browser(guarded: TestClient) -> None:
    sent = guarded.get("/entries/0", headers=PAGE)
    assert (sent.status_code, sent.headers["location"]) == (303, "/login?next=/entries/0")
    wrong = guarded.post("/login", data={"token": "guess", "next": "/entries/0"})
    assert wrong.status_code == 401
    assert "not the token" in wrong.text
    assert "guess" not in wrong.text
    assert "set-cookie" not in wrong.headers
    done = guarded.post("/login", data={"token": TOKEN, "next": "/entries/0"})
    assert (done.status_code, done.headers["location"]) == (303, "/entries/0")
    cookie = done.headers["set-cookie"]
    assert TOKEN not in cookie
    for part in ("HttpOnly", "SameSite=strict", "Secure", "Path=/"):
        assert part in cookie
    assert guarded.get("/entries/0", headers=PAGE).status_code == 200
    kept = dict(guarded.cookies)
    assert guarded.post("/logout").status_code == 303
    guarded.cookies.update(kept)
    assert guarded.get("/", headers=PAGE).status_code == 303  # the session is gone on the server as well


@pytest.mark.parametrize(
    "after", ["//example.org", "https://example.org", "/\\example.org", "/a\r\nSet-Cookie: x=y", ""]
)
def test_signing_in_leads_nowhere_else(guarded: TestClient, after: str) -> None:
    assert guarded.post("/login", data={"token": TOKEN, "next": after}).headers["location"] == "/"


@pytest.mark.parametrize("body", [b"", b"token", b"&" * 50, b"token=%ff%fe", b"x" * 5000, b"\xff"])
def test_a_broken_form_is_refused_and_never_an_error_of_ours(guarded: TestClient, body: bytes) -> None:
    assert guarded.post("/login", content=body).status_code in {400, 401, 413}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "same-origin"}, 415),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://[evil"}, 403),
        ({"origin": "http://127.0.0.1:8470"}, 415),
        ({}, 415),
    ],
)
def test_other_sites_cannot_post_through_a_browser(client: TestClient, headers: dict[str, str], status: int) -> None:
    assert client.post("/v1/events", content=b"x", headers=headers).status_code == status


def test_sessions_end_and_are_bounded(ledger: Ledger, clock: Any) -> None:
    sessions = Sessions(clock, ledger.entropy)
    first = sessions.open()
    assert sessions.holds(first)
    clock.now += SESSION_LIFE - timedelta(seconds=1)
    assert sessions.holds(first)
    clock.now += timedelta(seconds=1)
    assert not sessions.holds(first)
    assert not sessions.holds("")
    for _ in range(MAX_SESSIONS + 5):
        sessions.open()
    assert len(sessions._expiry) == MAX_SESSIONS


def test_sessions_in_the_store_are_looked_up_beside_the_loop_and_only_for_what_could_be_one(
    ledger: Ledger, incidents: Any
) -> None:
    found: list[tuple[str, bool]] = []

    class Watched(StoredSessions):
        def holds(self, secret: str) -> bool:
            found.append((secret, threading.current_thread() is loop[0]))
            return super().holds(secret)

        async def check(self, secret: str) -> bool:
            loop.append(threading.current_thread())
            return await super().check(secret)

    loop: list[threading.Thread] = []
    sessions = Watched(ledger)
    app = create_app(ledger, incidents, access=Access.decide("0.0.0.0", TOKEN), sessions=sessions)
    with TestClient(app, base_url="https://tocsin.example.org") as client:
        for cookie in (
            None,
            "",
            "other=1",
            f"{COOKIE}=",
            f"{COOKIE}=guess",
            f"{COOKIE}={'A' * 64}",
            f"{COOKIE}={'a' * 65}",
        ):
            headers = {} if cookie is None else {"cookie": cookie}
            assert client.get("/v1/entries/0", headers=headers).status_code == 401
        assert (found, loop) == ([], [])
        secret = sessions.open()
        assert client.get("/v1/entries/0", headers={"cookie": f"{COOKIE}={secret}"}).status_code == 200
        assert client.get("/v1/entries/0", headers={"cookie": f"{COOKIE}={'0' * 64}"}).status_code == 401
    assert found == [(secret, False), ("0" * 64, False)]
