"""`tocsin bundle` and `tocsin verify --bundle` as a user runs them."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from api.cli import app
from incidents.service import IncidentService
from ledger import Ledger
from ledger.errors import TocsinError


@pytest.fixture
def place(tmp_path):
    with Ledger.create(tmp_path / "data", "acme.example/cli") as ledger:
        name = IncidentService(ledger).declare("Laptop stolen", by="ana", time_zone="Europe/Madrid")
    return tmp_path, name


def tocsin(*arguments: object, folder) -> tuple[int, str]:
    done = CliRunner().invoke(app, [*map(str, arguments), *(["--data", str(folder / "data")] if folder else [])])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout


def test_a_bundle_is_written_verified_and_its_release_recorded(place):
    folder, name = place
    file = folder / "INC.zip"
    code, text = tocsin("bundle", name, "-o", file, "--as", "lena", "--json", folder=folder)
    result = json.loads(text)
    assert code == 0
    assert result["verification"]["verdict"] == "intact"
    with Ledger.open(folder / "data") as ledger:
        view = IncidentService(ledger).view(name)
        assert result["vkey"] == ledger.vkey
        assert view.reports[0]["digest"] == result["sha256"]
        assert result["released_index"] == ledger.size() - 1
    code, text = tocsin("bundle", name, "-o", folder / "second.zip", folder=folder)
    assert code == 0
    assert result["vkey"] in text


def test_verify_reads_it_and_refuses_a_damaged_one(place):
    folder, name = place
    file = folder / "INC.zip"
    tocsin("bundle", name, "-o", file, folder=folder)
    code, text = tocsin("verify", "--bundle", file, "--json", folder=None)
    assert (code, json.loads(text)["verdict"]) == (0, "intact")
    code, text = tocsin("verify", "--bundle", file, folder=None)
    assert (code, "INTACT" in text) == (0, True)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert tocsin("verify", "--bundle", file, folder=None)[0] == 2


def test_an_unknown_incident_is_one_clear_error(place):
    folder, _ = place
    with pytest.raises(TocsinError, match="no incident of that id"):
        tocsin("bundle", "INC-1999-0001", "-o", folder / "x.zip", folder=folder)
    assert not (folder / "x.zip").exists()
