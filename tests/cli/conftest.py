"""Running `tocsin` as a user does, and making sure that no traceback ever reaches one."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

COMMAND = Path(sys.executable).with_name("tocsin")


class Ran(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def tocsin(capsys, monkeypatch) -> Callable[..., Ran]:
    """Run the command line inside the test's own process: quick, and an escaped error fails the test."""
    from api.cli import main

    monkeypatch.delenv("TOCSIN_DATA", raising=False)

    def run(*arguments: object, stdin: bytes = b"") -> Ran:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return Ran(int(ended.value.code or 0), captured.out, " ".join(captured.err.split()))

    return run


@pytest.fixture
def process() -> Callable[..., Ran]:
    """Run the installed command in a process of its own."""

    def run(
        *arguments: object, before: Callable[[], None] | None = None, stdout: Any = subprocess.PIPE, **environment: str
    ) -> Ran:
        done = subprocess.run(
            [str(COMMAND), *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=120,
            preexec_fn=before,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        )
        assert "Traceback" not in (done.stdout or "") + done.stderr
        return Ran(done.returncode, done.stdout or "", " ".join(done.stderr.split()))

    return run


def event(name: object, **data: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": f"view-{name}",
        "source": "https://clinic.example/records",
        "type": "com.clinic.data.view.v1",
        "data": {
            "actor": {"id": "dr-grey"},
            "outcome": "success",
            "resource": {"id": f"record/{name}"},
            "subjects": [{"id": f"patient-{name}"}],
            **data,
        },
    }


@pytest.fixture
def ndjson(tmp_path) -> Callable[..., Path]:
    """Write events as an NDJSON file."""

    def write(*events: Any, name: str = "events.ndjson") -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(item) + "\n" for item in events))
        return path

    return write


@pytest.fixture
def make_event() -> Callable[..., dict[str, Any]]:
    return event


@pytest.fixture
def data(tmp_path, tocsin, ndjson) -> Path:
    """A data directory with three events."""
    directory = tmp_path / "data"
    assert tocsin("init", "--data", directory, "--origin", "example.org/audit").code == 0
    assert tocsin("append", ndjson(*map(event, "abc"), name="first.ndjson"), "--data", directory).code == 0
    return directory
