"""What the tests of the stores share: an empty store of either kind, and ledgers in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from ledger import Ledger
from ledger.config import Store
from ledger.store.database import Database
from ledger.store.opening import reopen
from ledger.store.sqlite import SqliteDatabase

SOURCE = "https://clinic.example/records"


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty store."""
    if request.param == "sqlite":
        made: Database = SqliteDatabase(tmp_path / "x.db", create=True)
    else:
        from ledger.store.postgres import Address, PostgresDatabase

        place = request.getfixturevalue("postgres")()
        made = PostgresDatabase(Address(place.url, place.schema), create=True)
    with closing(made):
        yield made


@pytest.fixture
def again(database: Database) -> Iterator[Callable[[], Database]]:
    """Opens the same store once more, as another process would."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(reopen(database.address)))


@pytest.fixture
def in_postgres(tmp_path: Path, postgres: Callable[[], Store]) -> Iterator[Callable[..., Ledger]]:
    """Makes or opens the ledger of one directory, kept in a server."""
    place = postgres()
    with ExitStack() as stack:
        yield lambda: stack.enter_context(
            closing(
                Ledger.open(tmp_path / "data")
                if (tmp_path / "data").exists()
                else Ledger.create(tmp_path / "data", "example.org/audit", store=place)
            )
        )


@pytest.fixture(scope="session")
def event() -> Callable[..., dict[str, Any]]:
    """One view of one patient's record."""

    def make(name: object, source: str = SOURCE) -> dict[str, Any]:
        return {
            "specversion": "1.0",
            "id": f"view-{name}",
            "source": source,
            "type": "com.clinic.data.view.v1",
            "time": "2026-03-10T08:59:59Z",
            "data": {
                "actor": {"id": "dr-grey", "kind": "human"},
                "outcome": "success",
                "resource": {"id": f"record/{name}", "type": "record"},
                "subjects": [{"id": f"patient-{name}"}],
            },
        }

    return make
