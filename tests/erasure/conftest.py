"""A ledger of a made-up clinic, a clock that can be moved by years, and how to look for what must be gone."""

from __future__ import annotations

import hashlib
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from ledger import Ledger
from ledger.errors import TocsinError
from ledger.proofs import verify_receipt
from ledger.verify import verify_database

ORIGIN = "example.org/audit"
SOURCE = "https://clinic.example/records"


class Clock:
    def __init__(self):
        self.now = datetime(2026, 3, 10, 9, 0, 0, tzinfo=UTC)

    def __call__(self):
        return self.now

    def move(self, **delta):
        self.now += timedelta(**delta)


def view(name, people, **data):
    """One access to the record of these people; everything in it can be told from everything else."""
    return {
        "specversion": "1.0",
        "id": f"view-{name}",
        "source": SOURCE,
        "type": data.pop("type", "com.clinic.data.view.v1"),
        "time": "2026-03-10T08:59:59Z",
        "data": {
            "actor": {"id": "dr-grey", "kind": "human"},
            "outcome": "success",
            "resource": {"id": f"ward/record-{name}", "type": "record"},
            "subjects": [{"id": person} for person in people],
            "client": {"ip": "192.0.2.7"},
            "text": f"seen-text-{name}",
        }
        | data,
    }


def refer(ledger, identity, profile=None, kind="subject"):
    with ledger.database.write() as connection:
        return ledger.vault.refer(connection, kind, identity, profile)


def verify(ledger):
    return verify_database(ledger.database, ledger.vkey, vault=ledger.vault)


def damage(ledger):
    return [item.kind for item in verify(ledger).damage]


def proofs(ledger):
    """What anybody may hold of every entry: (entry, proof, policy)."""
    stored = list(ledger.entries())
    policy = f"log {ledger.vkey}\nquorum none\n".encode()
    return [
        (item.entry, proof, policy) for item, proof in zip(stored, ledger.prove_many(range(len(stored))), strict=True)
    ]


def check_proofs(held):
    for index, (entry, proof, policy) in enumerate(held):
        assert verify_receipt(proof, entry, policy).index == index


def everywhere(directory: Path, needle: bytes) -> list[str]:
    """Files below a directory that hold these bytes, or have them in their names."""
    return sorted(
        str(path.relative_to(directory))
        for path in directory.rglob("*")
        if (path.is_file() and needle in path.read_bytes()) or needle in path.name.encode()
    )


def readable(ledger, ref):
    """Everything that can be read about a person: profile, and payload and details of each entry that names them."""
    found = {}
    try:
        found["profile"] = ledger.vault.profile(ref)
    except TocsinError as error:
        found["profile"] = type(error).__name__
    for stored in ledger.entries():
        if stored.payload is not None and ref.encode() in stored.payload:
            try:
                details = ledger.details(stored)
            except TocsinError as error:
                details = type(error).__name__
            found[stored.index] = (stored.payload, details)
    return found


def payload_of(ledger, index):
    import json

    return json.loads(ledger.entry(index).payload)["data"]


@pytest.fixture(scope="session")
def kit():
    return SimpleNamespace(
        ORIGIN=ORIGIN,
        SOURCE=SOURCE,
        Clock=Clock,
        view=view,
        refer=refer,
        verify=verify,
        damage=damage,
        proofs=proofs,
        check_proofs=check_proofs,
        everywhere=everywhere,
        readable=readable,
        data=payload_of,
        digest=lambda data: hashlib.sha256(data).hexdigest(),
    )


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def ledger(tmp_path, clock):
    with closing(Ledger.create(tmp_path / "data", ORIGIN, clock=clock)) as opened:
        yield opened


@pytest.fixture
def actor(ledger):
    return refer(ledger, "privacy-officer", kind="actor")
