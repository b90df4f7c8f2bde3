"""`POST /v1/events` and reading events back, over the real ledger."""

import asyncio
import json
import logging
import sqlite3
from collections.abc import Callable
from typing import Any
from urllib.parse import quote
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from api.http import cloudevents, create_app
from api.http.edge import request_id
from api.http.ingest import HotPath, Ingest, event_url, receipt_json, receipt_text
from api.http.metrics import Metrics
from api.http.problems import RequestError, of_error
from ledger import Ledger, Receipt, errors
from ledger.merkle import leaf_hash
from ledger.proofs import verify_receipt

STRUCTURED = {"content-type": cloudevents.STRUCTURED}
BATCH = {"content-type": cloudevents.BATCH}
Make = Callable[..., dict[str, Any]]


def test_a_new_event_is_201_and_its_receipt_leads_to_a_proof(
    client: TestClient, ledger: Ledger, make_event: Make
) -> None:
    answer = client.post("/v1/events", json=make_event(), headers=STRUCTURED)
    assert answer.status_code == 201
    receipt = answer.json()
    entry = ledger.entry(receipt["index"]).entry
    assert receipt["entry_hash"] == leaf_hash(entry).hex()
    proof = client.get(receipt["receipt_url"])
    policy = f"log {ledger.vkey}\nquorum none\n".encode()
    assert verify_receipt(proof.content, entry, policy).index == receipt["index"]
    assert client.get(answer.headers["location"]).json() == receipt


def test_the_same_bytes_again_are_200_with_the_original_receipt(
    client: TestClient, ledger: Ledger, make_event: Make
) -> None:
    first = client.post("/v1/events", json=make_event(), headers=STRUCTURED)
    size = ledger.size()
    again = client.post("/v1/events", json=make_event(), headers=STRUCTURED)
    assert (again.status_code, again.json()) == (200, first.json())
    assert "location" not in again.headers
    assert ledger.size() == size


def test_the_same_id_with_other_content_is_409_and_nothing_is_written(
    client: TestClient, ledger: Ledger, make_event: Make
) -> None:
    client.post("/v1/events", json=make_event(), headers=STRUCTURED)
    size = ledger.size()
    other = make_event(time="2026-03-10T09:00:01.000Z")
    answer = client.post("/v1/events", json=[make_event("event-2"), other], headers=BATCH)
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/event-conflict")
    assert answer.json()["errors"][0]["pointer"].startswith("/1/")
    assert ledger.size() == size
    assert client.get("/v1/events/x/event-2").status_code == 404


def test_a_batch_keeps_its_order_and_mixes_old_and_new(client: TestClient, make_event: Make) -> None:
    first = client.post("/v1/events", json=make_event("b"), headers=STRUCTURED).json()
    answer = client.post("/v1/events", json=[make_event(name) for name in "abc"], headers=BATCH)
    receipts = answer.json()["receipts"]
    assert answer.status_code == 201
    assert [receipt["id"] for receipt in receipts] == ["a", "b", "c"]
    assert receipts[1] == first
    again = client.post("/v1/events", json=[make_event("a")], headers=BATCH)
    assert (again.status_code, again.json()["receipts"]) == (200, receipts[:1])
    assert client.post("/v1/events", json=[], headers=BATCH).json() == {"receipts": []}


def test_all_modes_record_the_same_event(client: TestClient, make_event: Make) -> None:
    made = make_event("modes")
    first = client.post("/v1/events", json=made, headers=STRUCTURED)
    lines = json.dumps(made).encode() + b"\n"
    ndjson = client.post("/v1/events", content=lines, headers={"content-type": cloudevents.NDJSON})
    assert ndjson.json() == {"receipts": [first.json()]}
    headers = {f"ce-{name}": value for name, value in made.items() if name != "data"}
    binary = client.post("/v1/events", json=made["data"], headers=headers)
    # Binary mode also states the content type of data, so it is another event under the same id.
    assert binary.status_code == 409
    headers["ce-id"] = "binary"
    assert client.post("/v1/events", json=made["data"], headers=headers).status_code == 201


@pytest.mark.parametrize("source", ["https://crm.example.org/a?b=c#d", "urn:example:crm", "/", "a//b", "%C3%A9"])
def test_an_event_is_found_under_any_source(client: TestClient, make_event: Make, source: str) -> None:
    made = make_event("id/with/slash%2F", source=source)
    sent = client.post("/v1/events", json=made, headers=STRUCTURED)
    assert sent.status_code == 201
    url = f"/v1/events/{quote(source, safe='')}/{quote(made['id'], safe='')}"
    assert sent.headers["location"] == url
    assert client.get(url).json() == sent.json()


CANARY = "maria.canary@example.org"
CANARIES = {
    "value": {"time": CANARY},
    "key": {"data": {CANARY: "x"}},
    "deep key": {"data": {"actor": {"id": "a"}, "outcome": "success", "resource": {"id": "r", CANARY: 1.5}}},
    "attribute": {CANARY.replace("@", "").replace(".", "") + "-": "x"},
    "float": {"data": {"details": {CANARY: 1.5}}},
    "plain key": {"data": {"details": {"mariacanary": 1.5}}},
    "type": {"type": CANARY + " "},
    "id": {"id": f"{CANARY} {CANARY}"},
    "source": {"source": f"{CANARY} {CANARY}"},
    "not an object": {"data": CANARY},
}


@pytest.mark.parametrize("fault", CANARIES)
def test_a_refusal_is_422_and_never_repeats_what_was_sent(
    client: TestClient, ledger: Ledger, make_event: Make, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    size = ledger.size()
    answer = client.post("/v1/events", json=[make_event("fine"), make_event(**CANARIES[fault])], headers=BATCH)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == "/problems/invalid-event"
    assert problem["instance"].startswith("urn:uuid:")
    assert problem["errors"][0]["pointer"].split("/")[1] == "1"
    told = answer.text + str(answer.headers) + caplog.text
    assert "canary" not in told
    assert ledger.size() == size


def test_malformed_bodies_and_paths_do_not_come_back_either(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answers = [
        client.post("/v1/events", content=f'{{"{CANARY}": '.encode(), headers=STRUCTURED),
        client.post("/v1/events", content=b"x", headers={"content-type": f"text/{CANARY}"}),
        client.post("/v1/events", content=b"{}", headers={"ce-specversion": "1.0", f"ce-{CANARY}": CANARY}),
        client.get(f"/v1/events/{CANARY}/{CANARY}"),
        client.get(f"/v1/entries/{CANARY}"),
        client.get(f"/{CANARY}?{CANARY}"),
        client.get(f"/tile/0/{CANARY}"),
        client.get(f"/notices/{CANARY}"),
        client.get(f"/incidents/{CANARY}"),
        client.get(f"/incidents/{CANARY}", headers={"accept": "text/html"}),
        client.put("/v1/events", content=CANARY.encode()),
    ]
    assert [answer.status_code for answer in answers] == [400, 415, 400, 404, 422, 404, 404, 404, 404, 404, 405]
    for answer in answers:
        assert "canary" not in answer.text + str(answer.headers)
    assert "canary" not in "".join(record.getMessage() for record in caplog.records if record.name != "httpx2")


def test_limits_are_413_and_nothing_is_written(client: TestClient, ledger: Ledger, make_event: Make) -> None:
    size = ledger.size()
    many = [make_event(str(number)) for number in range(1001)]
    assert client.post("/v1/events", json=many, headers=BATCH).status_code == 413

    def chunks() -> Any:
        for _ in range(6):
            yield b" " * 1024 * 1024

    # No Content-Length here: the limit also holds while the body is arriving.
    assert client.post("/v1/events", content=chunks(), headers=STRUCTURED).status_code == 413
    assert ledger.size() == size
    assert client.post("/v1/events", json=many[:1000], headers=BATCH).status_code == 201


@pytest.mark.sqlite
def test_a_locked_store_is_503_with_a_time_to_come_back(
    client: TestClient, ledger: Ledger, make_event: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger.database, "_timeout", 0.05)
    ledger.database._idle.clear()
    with sqlite3.connect(ledger.database.path, isolation_level=None) as holder:
        holder.execute("BEGIN IMMEDIATE")
        answer = client.post("/v1/events", json=make_event(), headers=STRUCTURED)
        holder.execute("ROLLBACK")
    holder.close()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["type"] == "/problems/store-busy"
    assert str(ledger.directory) not in answer.text
    assert client.post("/v1/events", json=make_event(), headers=STRUCTURED).status_code == 201


@pytest.mark.sqlite
def test_a_full_store_is_507(client: TestClient, ledger: Ledger, make_event: Make) -> None:
    with ledger.database.read() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
    for connection in ledger.database._idle:
        connection.execute(f"PRAGMA max_page_count = {pages}")
    size = ledger.size()
    events = [make_event(str(number), subject="s" * 1000) for number in range(1000)]
    answer = client.post("/v1/events", json=events, headers=BATCH)
    assert answer.status_code == 507
    assert str(ledger.directory) not in answer.text
    assert ledger.size() == size


@pytest.fixture(
    params=[
        (errors.StoreDamagedError("at /secret/path"), 500),
        (errors.StoreError("at /secret/path"), 503),
        (errors.ConfigError("at /secret/path"), 500),
        (RuntimeError("maria.canary@example.org"), 500),
        (KeyError("maria.canary@example.org"), 500),
    ],
    ids=lambda case: type(case[0]).__name__,
)
def failing(
    request: pytest.FixtureRequest, client: TestClient, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> tuple[TestClient, int]:
    """A ledger that fails in some way, and the status that is due."""
    error, status = request.param

    def fail(_: object) -> list[object]:
        raise error

    monkeypatch.setattr(ledger, "append", fail)
    return client, status


def test_failures_of_ours_are_problems_that_name_no_path_and_repeat_nothing(
    failing: tuple[TestClient, int], make_event: Make, caplog: pytest.LogCaptureFixture
) -> None:
    client, status = failing
    answer = client.post("/v1/events", json=make_event(), headers=STRUCTURED)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text
    assert "canary" not in answer.text + caplog.text
    # Whoever runs the server finds the failure under the id that the client was given.
    assert answer.json()["instance"] in caplog.text


def test_an_erased_payload_is_said_to_be_erased(client: TestClient, ledger: Ledger, make_event: Make) -> None:
    index = client.post("/v1/events", json=make_event(), headers=STRUCTURED).json()["index"]
    shown = client.get(f"/v1/entries/{index}").json()
    assert (shown["state"], shown["payload"]["data"]["outcome"]) == ("present", "success")
    with ledger.database.write() as connection:
        connection.execute("UPDATE event SET payload = NULL, salt = NULL WHERE position = ?", (index + 1,))
    shown = client.get(f"/v1/entries/{index}").json()
    assert (shown["state"], shown["payload"], shown["salt"]) == ("erased", None, None)
    page = client.get(f"/entries/{index}", headers={"accept": "text/html"})
    assert page.status_code == 200
    assert "Erased" in page.text


_PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7F), max_size=20)


@given(st.one_of(_PRINTABLE, st.text(max_size=20)), _PRINTABLE, st.integers(0, 2**53 - 1), st.booleans())
def test_a_receipt_is_written_as_the_json_encoder_would(source: str, event_id: str, index: int, new: bool) -> None:
    receipt = Receipt(source, event_id, "example.org/a", index, "ab" * 32, "2026-03-10T09:00:00.000Z", "unknown", new)
    assert receipt_text(receipt).encode() == orjson.dumps(receipt_json(receipt))
    assert event_url(source, event_id) == f"/v1/events/{quote(source, safe='')}/{quote(event_id, safe='')}"


@given(st.binary(min_size=16, max_size=16))
def test_a_request_id_is_a_uuid_of_version_4(random: bytes) -> None:
    assert request_id(random) == str(UUID(bytes=random, version=4))


def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_failure_of_ours(
    ledger: Ledger, incidents: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    app = create_app(ledger, incidents)
    messages = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])
    sent: list[Any] = []

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"127.0.0.1"), (b"content-type", cloudevents.STRUCTURED.encode())]
    scope = {"type": "http", "method": "POST", "path": "/v1/events", "headers": headers, "scheme": "http"}
    asyncio.run(app(scope, receive, send))
    assert sent == []
    assert "POST /v1/events 499" in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


class Body:
    """A body in pieces, of which the last one comes when it is let go; `receive` never returns at once if asked so."""

    def __init__(self, *pieces: bytes, late: bool = False) -> None:
        self.pieces = list(pieces)
        self.late = late
        self.released = asyncio.Event()

    async def receive(self) -> Any:
        if self.late:
            await asyncio.sleep(0)
        if len(self.pieces) == 1:
            await self.released.wait()
        return {"type": "http.request", "body": self.pieces.pop(0), "more_body": bool(self.pieces)}


async def post(ingest: Ingest, body: Body) -> int:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", cloudevents.STRUCTURED.encode())]
    scope = {"type": "http", "method": "POST", "path": "/v1/events", "headers": headers}
    await HotPath(ingest)(scope, body.receive, send)
    return int(sent[0]["status"])


def test_bodies_that_still_arrive_are_counted(ledger: Ledger, make_event: Make) -> None:
    ingest = Ingest(ledger, Metrics(), max_waiting_bytes=3000)

    async def run() -> None:
        rest = orjson.dumps(make_event("slow"))
        slow = [Body(b" " * 1000, b" " * 200, rest, late=late) for late in (False, True)]
        tasks = [asyncio.create_task(post(ingest, body)) for body in slow]
        await asyncio.sleep(0.01)
        for body in (Body(b" " * 700, b""), Body(b" " * 600, b" " * 100, b"")):
            body.released.set()
            with pytest.raises(errors.OverloadedError):
                await post(ingest, body)
        tasks.pop().cancel()  # that client went away
        await asyncio.sleep(0.01)
        again = Body(b" " * 700, orjson.dumps(make_event("again")))
        again.released.set()
        assert await post(ingest, again) == 201
        slow[0].released.set()
        assert await tasks[0] == 201
        assert ingest._waiting_bytes == ingest._waiting == 0

    asyncio.run(run())


@pytest.mark.parametrize("pieces", [(b"never",), (b"{", b"never")])
@pytest.mark.parametrize("late", [False, True])
def test_a_body_has_to_arrive_in_time(ledger: Ledger, make_event: Make, pieces: tuple[bytes, ...], late: bool) -> None:
    ingest = Ingest(ledger, Metrics(), body_timeout_s=0.01)

    async def run() -> None:
        with pytest.raises(RequestError) as caught:
            await post(ingest, Body(*pieces, late=late))
        problem = of_error(caught.value)
        assert (problem.kind.name, problem.kind.status) == ("request-timeout", 408)
        assert problem.headers == {"Connection": "close"}
        assert ingest._waiting_bytes == 0
        with ledger._sequencer._lock:  # the time that the store takes is not the body's
            body = Body(orjson.dumps(make_event()))
            body.released.set()
            waiting = asyncio.create_task(post(ingest, body))
            await asyncio.sleep(0.05)
        assert await waiting == 201

    asyncio.run(run())


def test_the_route_answers_as_the_hot_path_does(client: TestClient, make_event: Make) -> None:
    """Behind another router, or under another prefix, the path beside FastAPI is not taken."""
    first = client.post("/v1/events", json=make_event("one"), headers=STRUCTURED)
    client.app.hot = None  # type: ignore[attr-defined]
    again = client.post("/v1/events", json=make_event("one"), headers=STRUCTURED)
    assert (again.status_code, again.content) == (200, first.content)
    other = client.post("/v1/events", json=make_event("two"), headers=STRUCTURED)
    assert (other.status_code, other.headers["location"][-4:]) == (201, "/two")
    volatile = {"x-request-id", "location", "content-length"}
    assert {name: value for name, value in other.headers.items() if name not in volatile} == {
        name: value for name, value in first.headers.items() if name not in volatile
    }
