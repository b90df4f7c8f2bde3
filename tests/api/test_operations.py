"""Health, readiness, metrics, headers, the OpenAPI document and the problem pages."""

import base64
import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.anchoring import Anchoring
from api.clock import Ticker
from api.http import announcements, cloudevents, create_app
from api.http import metrics as prometheus
from api.http.problems import KINDS, safe_pointer
from api.verification import Verification
from ledger import Ledger, OwnEvent
from ledger.completeness import seal_index
from ledger.config import Restored
from ledger.notes import CosignatureSigner
from ledger.policy import parse_policy
from ledger.witness.publication import Budget, Publication
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
    assert parsed(text)["tocsin_http_requests_total"].kind == "counter"


@dataclass
class Family:
    """One metric: what it is, and its samples by their labels."""

    kind: str
    samples: dict[tuple[tuple[str, str], ...], float] = field(default_factory=dict)

    @property
    def value(self) -> float:
        [(labels, value)] = self.samples.items()
        assert labels == ()
        return value


_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_TEXT = r"(?:[^\\\n]|\\\\|\\n)+"
_LABEL = rf'({_NAME})="((?:[^"\\\n]|\\\\|\\"|\\n)*)"'


def parsed(text: str) -> dict[str, Family]:
    """Read the text format 0.0.4 strictly: HELP, TYPE, then the samples of that metric, each set of labels once."""
    found: dict[str, Family] = {}
    name = ""
    lines = text.split("\n")
    assert lines.pop() == ""
    for line in lines:
        if head := re.fullmatch(rf"# HELP ({_NAME}) {_TEXT}", line):
            name = head[1]
            assert name not in found
        elif kind := re.fullmatch(rf"# TYPE ({_NAME}) (counter|gauge)", line):
            assert kind[1] == name
            found[name] = Family(kind[2])
            assert name.endswith("_total") == (kind[2] == "counter")
        else:
            sample = re.fullmatch(rf"({_NAME})(?:\{{({_LABEL}(?:,{_LABEL})*)\}})? (\S+)", line)
            assert sample is not None, line
            assert sample[1] == name
            labels = tuple((key, unescaped(value)) for key, value in re.findall(_LABEL, sample[2] or ""))
            assert labels not in found[name].samples
            found[name].samples[labels] = float(line.rsplit(" ", 1)[1])
    return found


def unescaped(value: str) -> str:
    return re.sub(r"\\(.)", lambda match: {"n": "\n"}.get(match[1], match[1]), value)


def test_labels_and_help_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    awkward = 'a"b\\c\nd{e},f="g'
    monkeypatch.setitem(prometheus.GAUGES, "tocsin_awkward", "One \\ and\ntwo.")
    metrics = prometheus.Metrics()
    metrics.request(awkward, "GET", 200)
    found = parsed(metrics.render({"tocsin_awkward": 1e15 - 1}))
    [labels] = found["tocsin_http_requests_total"].samples
    assert dict(labels) == {"route": awkward, "method": "GET", "status": "200"}
    assert found["tocsin_awkward"].value == 1e15 - 1


def test_the_gauges_follow_the_ledger(
    client: TestClient, ledger: Ledger, make_event: Callable[..., dict[str, Any]]
) -> None:
    ledger.append([make_event(f"e{number}") for number in range(5)])
    found = parsed(client.get("/metrics").text)
    assert found["tocsin_ledger_size"].value == 6
    assert found["tocsin_access_index_lag_entries"].value == 6
    assert found["tocsin_completeness_unsealed_entries"].value == 6
    assert found["tocsin_completeness_unread_entries"].value == 6
    assert found["tocsin_ledger_waiting"].value == found["tocsin_ledger_unconfirmed"].value == 0
    assert not any(name.startswith(("tocsin_witness", "tocsin_verification")) for name in found)
    ledger.access.follow()
    seal_index(ledger)
    found = parsed(client.get("/metrics").text)
    assert found["tocsin_access_index_lag_entries"].value == 2
    assert found["tocsin_completeness_sealed_size"].value == 6
    assert found["tocsin_completeness_unsealed_entries"].value == 2
    assert set(prometheus.GAUGES) >= {name for name, family in found.items() if family.kind == "gauge"}


def test_appends_that_wait_are_counted(client: TestClient, ledger: Ledger) -> None:
    with ledger.database.write():  # as another process's long transaction would
        writers = [
            threading.Thread(target=ledger.record, args=([OwnEvent("org.tocsin.config.changed.v1", {})],))
            for _ in range(3)
        ]
        for writer in writers:
            writer.start()
        while parsed(client.get("/metrics").text)["tocsin_ledger_waiting"].value < 2:
            writers[0].join(0.01)
    for writer in writers:
        writer.join()
    assert parsed(client.get("/metrics").text)["tocsin_ledger_waiting"].value == 0


def test_an_unconfirmed_copy_is_not_ready(client: TestClient, ledger: Ledger) -> None:
    object.__setattr__(ledger.config, "restored", Restored("id", 1, "00", "then", "00"))
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["type"] == "/problems/unconfirmed-copy"
    assert "tocsin restore --confirm" in answer.json()["detail"]
    assert parsed(client.get("/metrics").text)["tocsin_ledger_unconfirmed"].value == 1
    refused = client.post("/v1/events", json={}, headers=STRUCTURED)
    assert refused.status_code == 422  # what is malformed is still told first


def test_a_failed_verification_limits_and_ages(
    ledger: Ledger, incidents: Any, clock: Any, make_event: Callable[..., dict[str, Any]]
) -> None:
    ledger.append([make_event()])
    verification = Verification(ledger, timedelta(days=1))
    with TestClient(create_app(ledger, incidents, verification=verification), base_url="http://127.0.0.1") as client:
        assert client.get("/readyz").json()["status"] == "ready"
        assert "tocsin_verification_failed" not in parsed(client.get("/metrics").text)
        assert verification.run() is not None
        clock.now += timedelta(seconds=90)
        found = parsed(client.get("/metrics").text)
        assert found["tocsin_verification_failed"].value == 0
        assert found["tocsin_verification_age_seconds"].value == 90
        with ledger.database.write() as connection:
            connection.execute("UPDATE event SET payload = ? WHERE position = ?", (b"{}", 2))
        assert verification.run() is not None
        told = client.get("/readyz")
        assert told.status_code == 200
        assert told.json()["status"] == "limited"
        assert told.json()["limits"] == [{"name": "verification", "kind": "payload_altered", "entry": 1}]
        assert parsed(client.get("/metrics").text)["tocsin_verification_failed"].value == 1


def test_a_lag_beyond_the_budget_limits_and_is_measured(
    ledger: Ledger, incidents: Any, clock: Any, make_event: Callable[..., dict[str, Any]]
) -> None:
    vkey = CosignatureSigner.from_seed("witness.example/w", b"w" * 32).vkey
    policy = parse_policy(f"log {ledger.vkey}\nwitness w {vkey} http://127.0.0.1:9\nquorum w\n".encode())
    anchoring = Anchoring(ledger, Publication(ledger, policy, Budget(entries=3, seconds=1e9)), incidents)
    with TestClient(create_app(ledger, incidents, anchoring=anchoring), base_url="http://127.0.0.1") as client:
        assert client.get("/readyz").json()["status"] == "ready"
        ledger.append([make_event(f"e{number}") for number in range(3)])
        clock.now += timedelta(seconds=45)
        found = parsed(client.get("/metrics").text)
        assert found["tocsin_witnessed_size"].value == 0
        assert found["tocsin_witness_lag_entries"].value == 4
        assert found["tocsin_witness_lag_seconds"].value == 45
        assert found["tocsin_witness_refusing"].value == 1
        told = client.get("/readyz").json()
        assert told["status"] == "limited"
        assert told["limits"] == [{"name": "witnesses", "unwitnessed": 4, "alarms": 0}]


def test_readiness_says_who_looks_at_the_clocks(ledger: Ledger, incidents: Any) -> None:
    ticker = Ticker(ledger, lambda _now: None, timedelta(seconds=60))
    app = create_app(ledger, incidents, ticker=ticker)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        while not ticker.last_tick:
            ticker.tick()
        assert client.get("/readyz").json()["clock"] == "leading"
        with Ledger.open(ledger.directory, clock=ledger.clock) as other:
            standby = Ticker(other, lambda _now: None)
            assert not standby.tick()
            with TestClient(create_app(other, incidents), base_url="http://127.0.0.1") as second:
                assert "clock" not in second.get("/readyz").json()
            assert not standby.leading
        assert parsed(client.get("/metrics").text)["tocsin_clock_leading"].value == 1


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
