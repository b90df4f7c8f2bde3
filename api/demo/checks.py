"""The demo's proofs: the bundle on a bare Python, and damage done on purpose to copies."""

from __future__ import annotations

import json
import mmap
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from api.demo.errors import DemoError
from ledger import Ledger, verify_bundle
from ledger.config import DATABASE
from ledger.encoding import parse
from ledger.store.sqlite import SqliteDatabase
from ledger.verify import EXIT_DAMAGED, EXIT_INTACT, Findings, verify_database

_SECONDS: Final = 120


def check_bundle(bundle: Path, vkey: str) -> dict[str, Any]:
    """Run the single-file verifier on a bundle, elsewhere and on a Python without any package.

    `-I` keeps the environment and the current directory out, `-S` the installed packages.

    Returns:
        The verifier's own JSON, with its `exit_code`.
    """
    with tempfile.TemporaryDirectory(prefix="tocsin-regulator-") as folder:
        elsewhere = Path(folder)
        shutil.copy(bundle, elsewhere / "file.zip")
        shutil.copy(verify_bundle.__file__, elsewhere / "verify_bundle.py")
        done = subprocess.run(  # noqa: S603 - this very interpreter, with arguments made here
            [sys.executable, "-I", "-S", "verify_bundle.py", "file.zip", "--vkey", vkey, "--json"],
            cwd=elsewhere,
            env={},
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    try:
        result: dict[str, Any] = json.loads(done.stdout)
    except json.JSONDecodeError:
        raise DemoError("The bundle verifier did not answer with JSON; run it by hand to see why.") from None
    return result | {"exit_code": done.returncode}


def damage_bundle(bundle: Path, copy: Path) -> int:
    """Copy a bundle and flip one bit in the middle of the copy; returns where."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    data = bytearray(bundle.read_bytes())
    place = len(data) // 2
    data[place] ^= 1
    copy.write_bytes(data)
    return place


def damage_database(ledger: Ledger, index: int) -> tuple[Findings, int]:
    """Copy the ledger's database, change one byte of one entry in the copy, and verify the copy.

    Args:
        ledger: it is only read.
        index: whose entry is changed.

    Returns:
        What the verification of the copy found, and the offset of the changed byte.
    """
    entry = ledger.entry(index).entry
    with tempfile.TemporaryDirectory(prefix="tocsin-damage-") as folder:
        copy = Path(folder) / DATABASE
        ledger.database.copy_to(copy)
        place = _flip(copy, entry)
        database = SqliteDatabase(copy)
        try:
            return verify_database(database, ledger.vkey), place
        finally:
            database.close()


def _flip(path: Path, entry: bytes) -> int:
    """Flip one bit of the entry's time of occurrence, or of its commitment if the row is spread over pages."""
    fields = parse(entry)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        for text, offset in ((entry, entry.rindex(fields["time"].encode())), (fields["commitment"].encode(), 32)):
            found = memory.find(text)
            if found >= 0:
                memory[found + offset] ^= 1
                return found + offset
    raise DemoError("The entry to damage does not stand in one piece in the copy of the database.")


def expect_intact(result: dict[str, Any], what: str) -> None:
    """Refuse to go on when something that should be intact is not."""
    if result["exit_code"] != EXIT_INTACT:
        raise DemoError(f"{what} should be intact and is not: {result.get('message') or result.get('kind')}.")


def expect_damaged(code: int, what: str) -> None:
    """Refuse to go on when damage was not noticed."""
    if code != EXIT_DAMAGED:
        raise DemoError(f"{what} was damaged on purpose and the verifier did not notice (exit {code}).")
