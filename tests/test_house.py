"""The house itself: what a newcomer relies on before reading any code."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("ledger", "incidents", "notifiers", "api")
PAGES = sorted([ROOT / "README.md", ROOT / "SECURITY.md", *(ROOT / "docs").rglob("*.md"), ROOT / "bench" / "README.md"])


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_lock_files_carry_hashes_and_no_addresses(name):
    text = (ROOT / name).read_text()
    pins = re.findall(r"^[a-z0-9._-]+(?:\[[a-z,]+\])?==", text, re.MULTILINE)
    assert len(pins) > 20
    assert text.count("--hash=sha256:") >= len(pins)
    assert "://" not in text
    assert "index-url" not in text


def test_every_dependency_is_locked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [re.split(r"[><=\[;]", item)[0].lower() for item in project["dependencies"]]
    locked = (ROOT / "requirements.lock").read_text()
    assert [name for name in names if f"\n{name}==" not in "\n" + locked] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_in_the_documentation_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_modules_stay_readable():
    # The regulator's verifier must travel as one file; everything else is split before it grows past this.
    allowed = {"ledger/verify_bundle.py"}
    sizes = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
    }
    assert {name: size for name, size in sizes.items() if size > 520 and name not in allowed} == {}


def test_every_package_and_module_says_what_it_is():
    silent = [
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if len(path.read_text().split('"""', 2)[1:2] or [""]) == 0 or len(path.read_text().split('"""')[1].strip()) < 20
    ]
    assert silent == []


def test_every_command_is_in_the_reference():
    from api.cli import _COMMANDS

    page = (ROOT / "docs" / "cli.md").read_text()
    assert [name for name in _COMMANDS if f"`tocsin {name}" not in page] == []
