"""Health, readiness, metrics, headers, the OpenAPI document and the problem pages."""

import base64
import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.http import announcements, cloudevents, create_app
from api.http.problems import KINDS, safe_pointer
from ledger import Ledger
from notifiers.messages import Message, Sender
from notifiers.publish import publish

STRUCTURED = {"content-type": cloudevents.STRUCTURED}


def test_health_and_readiness_differ_when_the_store_is_gone(client: TestClient, ledger: Ledger) -> None:
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready", "size": 1}
    ledger.database.close()
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 503


def test_metrics_count_by_route_template_and_hold_nothing_that_was_sent(
    client: TestClient, make_event: Callable[..., dict[str, Any]]
) -> None:
    client.post("/v1/events", json=make_event(), headers=STRUCTURED)
    client.post("/v1/events", json=make_event(), headers=STRUCTURED)
    client.get("/v1/events/canary/canary")
    client.request("CANARY", "/canary")
    text = client.get("/metrics").text
    assert "tocsin_events_received_total 2\n" in text
    assert "tocsin_events_recorded_total 1\n" in text
    assert "tocsin_ledger_size 2\n" in text
    assert 'tocsin_http_requests_total{route="/v1/events",method="POST",status="201"} 1\n' in text
    assert 'route="/v1/events/{source}/{id}",method="GET",status="404"' in text
    assert "canary" not in text.lower()
    samples = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z_]+(\{.*\})? \d+", line) for line in samples)


@pytest.mark.parametrize("path", ["/", "/v1/entries/0", "/nope", "/checkpoint", "/static/console.css", "/healthz"])
def test_every_answer_carries_the_security_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert re.fullmatch(r"[0-9a-f-]{36}", headers["x-request-id"])
    assert ("no-store" in headers["cache-control"]) == (path not in {"/checkpoint", "/static/console.css"})


def test_the_openapi_document_is_3_1_and_every_refusal_in_it_is_a_problem(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert "HTTPValidationError" not in str(document)
    seen = set()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            seen.add(operation["operationId"])
            for status, response in operation["responses"].items():
                if status == "default" or int(status) >= 400:
                    content = response["content"]
                    assert list(content) == ["application/problem+json"], (path, method, status)
    assert {"appendEvents", "findEvent", "getEntry", "getProof", "getCheckpoint", "getTile"} <= seen
    names = set(re.findall(r"#/components/schemas/(\w+)", str(document)))
    assert names <= set(document["components"]["schemas"])
    body = document["paths"]["/v1/events"]["post"]["requestBody"]["content"]
    assert {cloudevents.STRUCTURED, cloudevents.BATCH, cloudevents.NDJSON} <= set(body)


def test_every_kind_of_problem_has_a_page_behind_its_type(client: TestClient) -> None:
    for kind in KINDS.values():
        page = client.get(kind.type)
        assert page.status_code == 200
        assert str(kind.status) in page.text
    assert client.get("/problems/unheard-of").status_code == 404


@pytest.mark.parametrize(
    ("pointer", "safe"),
    [
        ("", ""),
        ("/data/actor/id", "/data/actor/id"),
        ("/data/maria@example.org/id", "/data"),
        ("/data/subjects/12/ref", "/data/subjects/12/ref"),
        ("/maria", ""),
        ("/data/1234567890123", "/data"),
    ],
)
def test_pointers_are_cut_where_they_leave_the_vocabulary(pointer: str, safe: str) -> None:
    assert safe_pointer(pointer) == safe


def test_the_router_says_which_methods_it_takes(client: TestClient) -> None:
    answer = client.delete("/v1/events")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json()["type"] == "/problems/method-not-allowed"


@pytest.fixture
def public(tmp_path: Path, clock: Any) -> Path:
    """What the notifiers really publish."""
    directory = tmp_path / "public"
    publish(
        [
            Message("public", "en", "public", "About <b>your</b> data", "What happened\n\nSomebody read a file.", None),
            Message("public", "es", "public", "Sobre sus datos", "Alguien leyó un archivo.", None),
        ],
        directory=directory,
        sender=Sender("Example", "privacy@example.org"),
        slug="inc-2026-0001",
        base_url="https://example.org/notices",
        published=clock(),
    )
    return directory


@pytest.fixture
def announcing(ledger: Ledger, incidents: Any, public: Path) -> Iterator[TestClient]:
    with TestClient(create_app(ledger, incidents, notices=public), base_url="http://127.0.0.1") as made:
        yield made


def test_announcements_are_listed_and_served_with_a_policy_that_fits_them(announcing: TestClient) -> None:
    listed = announcing.get("/notices/")
    assert listed.headers["cache-control"] == "public, max-age=60"
    assert "About &lt;b&gt;your&lt;/b&gt; data" in listed.text
    assert "Overview" not in listed.text
    for name in re.findall(r'href="/notices/([a-z0-9.-]+\.html)"', listed.text):
        answer = announcing.get(f"/notices/{name}")
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        style = re.search("<style>(.*?)</style>", answer.text, re.DOTALL)
        assert style is not None
        digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
        assert f"style-src 'sha256-{digest}';" in answer.headers["content-security-policy"]
    feed = announcing.get("/notices/announcements.atom")
    assert feed.headers["content-type"].startswith("application/atom+xml")
    assert announcing.get("/").text.count('href="/notices/"') == 1


def test_an_exercise_is_marked_on_the_public_list_too(ledger: Ledger, incidents: Any, public: Path) -> None:
    app = create_app(ledger, incidents, notices=public, exercise=True)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        assert "This is a drill" in client.get("/notices/").text


def test_nothing_beside_the_announcements_is_served(announcing: TestClient, public: Path) -> None:
    (public / ".hidden.html").write_text("secret")
    (public / "notes.key").write_text("secret")
    (public.parent / "outside.html").write_text("secret")
    (public / "link.html").symlink_to(public.parent / "outside.html")
    (public / "folder.html").mkdir()
    for path in (
        ".hidden.html",
        "notes.key",
        "link.html",
        "folder.html",
        "%2e%2e/outside.html",
        "..%2foutside.html",
        "x",
    ):
        assert announcing.get(f"/notices/{path}").status_code == 404, path
    assert announcements._find(public, "../outside.html") is None
    assert announcements._find(public, "/etc/hostname") is None
    assert announcements._find(None, "x.html") is None


def test_without_announcements_there_is_no_list_and_no_link(client: TestClient, public: Path) -> None:
    assert client.get("/notices/").status_code == 404
    assert "/notices/" not in client.get("/").text
    (public / "announcements.json").write_text('{"a": 3}')
    assert announcements.announced(public) == []
