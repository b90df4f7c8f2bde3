"""A small ledger whose people and resources are known, and an index computed the slow way."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ledger import Ledger
from ledger.completeness import index_key
from ledger.completeness.index import Key, Positions, blind_of, touched
from ledger.completeness.trie import EMPTY, FLOOR, Leaf, node_hash

ORIGIN = "example.org/audit"
SOURCE = "https://clinic.example/records"


class Entropy:
    """Repeatable random bytes."""

    def __init__(self, seed: str = "completeness") -> None:
        self._seed = seed
        self._count = 0

    def __call__(self, size: int) -> bytes:
        self._count += 1
        return hashlib.shake_256(f"{self._seed}/{self._count}".encode()).digest(size)


def clock() -> datetime:
    return datetime(2026, 3, 10, 9, 0, 0, tzinfo=UTC)


def naive_root(leaves: dict[bytes, bytes], depth: int = 0, prefix: str = "") -> bytes:
    """The map's root from its definition: a binary tree over bit strings, one level at a time."""
    inside = {label: value for label, value in leaves.items() if bits(label).startswith(prefix)}
    if not inside:
        return EMPTY
    if len(inside) == 1 and depth >= FLOOR:
        [(label, value)] = inside.items()
        return Leaf(label, value).hash
    return node_hash(naive_root(inside, depth + 1, prefix + "0"), naive_root(inside, depth + 1, prefix + "1"))


def bits(label: bytes) -> str:
    return "".join(f"{byte:08b}" for byte in label)


@dataclass
class Kit:
    """Factories, session-scoped so that Hypothesis examples may use them."""

    origin: str = ORIGIN

    @staticmethod
    def naive_root(leaves: dict[bytes, bytes]) -> bytes:
        return naive_root(leaves)

    def create(self, directory: Path) -> Ledger:
        return Ledger.create(directory, ORIGIN, clock=clock, entropy=Entropy())

    def event(
        self, number: int, people: list[str], resource: str | None = "record/1", **changes: Any
    ) -> dict[str, Any]:
        data: dict[str, Any] = {
            "actor": {"id": "dr-grey", "kind": "human"},
            "outcome": "success",
            "subjects": [{"id": name} for name in people],
            "resource": {"id": resource, "type": "record"},
        }
        kind = "com.clinic.data.view.v1"
        if resource is None:
            del data["resource"]
            kind = "com.clinic.data.search.v1"
        return {
            "specversion": "1.0",
            "id": f"e{number}",
            "source": SOURCE,
            "type": kind,
            "time": "2026-03-10T08:59:59Z",
            "data": data,
        } | changes

    def fill(self, ledger: Ledger, count: int, *, first: int = 0, people: int = 7, resources: int = 5) -> None:
        """Append events that name none, one or several people, and sometimes a resource."""
        chance = random.Random(first)
        events = []
        for number in range(first, first + count):
            named = [f"cust-{item}" for item in chance.sample(range(people), chance.choice([0, 1, 1, 1, 2, 3]))]
            resource = None if chance.random() < 0.2 else f"record/{chance.randrange(resources)}"
            events.append(self.event(number, named, resource))
        for start in range(0, count, 1000):
            ledger.append(events[start : start + 1000])

    def ref(self, ledger: Ledger, identity: str) -> str:
        found = ledger.vault.find("subject", identity)
        assert found is not None
        return found

    def positions(self, ledger: Ledger, key: Key, size: int) -> list[int]:
        """Which entries name a key, by reading all of them."""
        return [stored.index for stored in ledger.entries(0, size) if key in touched(stored)]

    def naive(self, ledger: Ledger, kind: str, size: int) -> bytes:
        """The root of one map, from the log and the definitions alone."""
        lists: dict[Key, list[int]] = {}
        for stored in ledger.entries(0, size):
            for key in touched(stored):
                if key.kind == kind:
                    lists.setdefault(key, []).append(stored.index)
        leaves = {}
        for key, indices in lists.items():
            label = key.label(ledger.origin)
            leaf = Positions.empty(blind_of(index_key(ledger), label), label).extended(indices).leaf(label)
            leaves[label] = leaf.value
        return naive_root(leaves)

    def erase(self, ledger: Ledger, index: int) -> None:
        """Take a payload away, as an erasure does."""
        with ledger.database.write() as connection:
            connection.execute("UPDATE event SET payload = NULL, salt = NULL WHERE position = ?", (index + 1,))


@pytest.fixture(scope="session")
def kit() -> Kit:
    return Kit()


@pytest.fixture
def ledger(tmp_path: Path, kit: Kit) -> Iterator[Ledger]:
    with closing(kit.create(tmp_path / "data")) as ledger:
        yield ledger
