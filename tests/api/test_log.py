"""Reading the log over HTTP: what a stranger needs to check it, and nothing that is not there."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.http import cloudevents
from ledger import Ledger
from ledger.checkpoint import Checkpoint
from ledger.entries import Entry, commit
from ledger.merkle import leaf_hash, root_hash
from ledger.notes import Verifier, open_note
from ledger.tiles import bundles_for, tiles_for


@pytest.fixture
def filled(client: TestClient, ledger: Ledger, make_event: Callable[..., dict[str, Any]]) -> TestClient:
    """300 more events, so that there are full and partial tiles."""
    events = [make_event(f"event-{number}") for number in range(300)]
    client.post("/v1/events", json=events, headers={"content-type": cloudevents.BATCH})
    assert ledger.size() == 301
    return client


def test_a_stranger_rebuilds_the_signed_root_from_bundles_alone(filled: TestClient, ledger: Ledger) -> None:
    note = filled.get("/checkpoint")
    assert note.headers["content-type"] == "text/plain; charset=utf-8"
    assert note.headers["cache-control"] == "public, max-age=5"
    checkpoint = Checkpoint.parse(open_note(note.content, [Verifier.from_vkey(ledger.vkey)]).text)
    leaves: list[bytes] = []
    for bundle in bundles_for(checkpoint.size):
        answer = filled.get(f"/{bundle.path}")
        assert answer.headers["cache-control"].endswith("immutable")
        assert answer.headers["content-type"] == "application/octet-stream"
        rest = answer.content
        while rest:
            length = int.from_bytes(rest[:2], "big")
            leaves.append(leaf_hash(rest[2 : 2 + length]))
            rest = rest[2 + length :]
    assert root_hash(leaves) == checkpoint.root
    for tile in tiles_for(checkpoint.size):
        if tile.level == 0:
            expected = b"".join(leaves[tile.index * 256 : tile.index * 256 + tile.width])
            assert filled.get(f"/{tile.path}").content == expected
    assert filled.get("/tile/1/000.p/1").content == root_hash(leaves[:256])


@pytest.mark.parametrize(
    "path",
    [
        "0/001",  # not full yet
        "0/001.p/46",  # wider than the log
        "0/000.p/256",  # a full tile has no suffix
        "0/000.p/0",
        "0/000.p/05",
        "0/x000/000",
        "0/0",
        "0/1000",
        "00/000",
        "64/000",
        "-1/000",
        "entries/002",
        "entries/x999/x999/x999/x999/x999/x999/x999",
        "0/x999/x999/x999/x999/x999/x999/999",
        "data/000",
        "0/000/",
        "",
        "../checkpoint",
        "%2e%2e/checkpoint",
        "0/%00",
    ],
)
def test_other_spellings_and_tiles_that_are_not_there_are_404(filled: TestClient, path: str) -> None:
    answer = filled.get(f"/tile/{path}")
    assert answer.status_code == (200 if answer.url.path == "/checkpoint" else 404)


def test_an_entry_can_be_rehashed_from_what_is_served(filled: TestClient) -> None:
    answer = filled.get("/v1/entries/7")
    assert answer.headers["cache-control"] == "no-store"
    shown = answer.json()
    entry = Entry(**shown["entry"])
    assert leaf_hash(entry.encode()).hex() == shown["leaf_hash"]
    payload = json.dumps(shown["payload"], sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert commit(bytes.fromhex(shown["salt"]), payload) == entry.commitment


@pytest.mark.parametrize(
    ("index", "status"),
    [
        ("301", 404),
        ("-1", 422),
        ("1.0", 422),
        ("01", 422),
        ("+1", 422),
        ("1_0", 422),
        ("%201", 422),
        ("x", 422),
        (str(2**53), 422),
        (str(2**80), 422),
    ],
)
def test_entries_that_are_not_there(filled: TestClient, index: str, status: int) -> None:
    for suffix in ("", "/proof"):
        answer = filled.get(f"/v1/entries/{index}{suffix}")
        assert answer.status_code == status
        assert answer.json()["status"] == status
    if status == 422:
        assert filled.get(f"/v1/entries/{index}").json()["errors"][0]["pointer"] == "/index"


def test_an_unchanged_checkpoint_is_not_sent_again(
    client: TestClient, ledger: Ledger, make_event: Callable[..., dict[str, Any]]
) -> None:
    first = client.get("/checkpoint")
    tag = first.headers["etag"]
    for known in (tag, f'"other", W/{tag}', "*"):
        again = client.get("/checkpoint", headers={"if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert again.headers["cache-control"] == "public, max-age=5"
    ledger.append([make_event("more")])
    changed = client.get("/checkpoint", headers={"if-none-match": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag
