"""Notes, proofs and tiles against Go's golang.org/x/mod/sumdb, in both directions.

Runs where a Go toolchain is on PATH and its one module can be fetched; elsewhere it is skipped visibly.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ledger.checkpoint import Checkpoint
from ledger.merkle import (
    CompactRange,
    consistency_path,
    inclusion_path,
    leaf_hash,
    root_hash,
    verify_consistency,
    verify_inclusion,
)
from ledger.notes import Signer, Verifier, open_note, sign_note
from ledger.tiles import TILE_HEIGHT, TileReader, tiles_for

SOURCE = Path(__file__).parent / "go"
SIGNER = Signer.from_seed("example.com/go-check", bytes(range(32)))
GO_TIMEOUT = 240  # seconds; a first build compiles Go's cryptography


def encoded(data):
    return base64.b64encode(data).decode()


def encoded_all(hashes):
    return [encoded(item) for item in hashes]


def decoded_all(items):
    return [base64.b64decode(item) for item in items or ()]


def run_go(*arguments, cwd, **keywords):
    # A toolchain older than go.mod asks for is a reason to skip, not to download another.
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly"}
    return subprocess.run(
        ["go", *arguments], cwd=cwd, env=environment, capture_output=True, timeout=GO_TIMEOUT, check=False, **keywords
    )


@pytest.fixture(scope="module")
def checker(tmp_path_factory):
    if shutil.which("go") is None:
        pytest.skip("no Go toolchain on PATH")
    directory = tmp_path_factory.mktemp("go")
    source = shutil.copytree(SOURCE, directory / "source")
    fetched = run_go("mod", "download", cwd=source)
    if fetched.returncode != 0:
        pytest.skip("the Go module golang.org/x/mod cannot be fetched, or the toolchain is too old for it")
    built = run_go("build", "-o", str(directory / "check"), ".", cwd=source)
    assert built.returncode == 0, built.stderr.decode()
    return directory / "check"


def case(size):
    """One log of this size, as the Go program reads it, with the tiles that a server would serve."""
    entries = [b"entry %d" % number for number in range(size)]
    leaves = [leaf_hash(entry) for entry in entries]
    rows = CompactRange().extend(leaves)
    levels = [b"".join(hashes) for level, (_, hashes) in enumerate(rows) if level % TILE_HEIGHT == 0]

    def read_tile(level, index, width):
        return levels[level][index * 8192 : index * 8192 + width * 32]

    node = TileReader(read_tile, size)
    indexes = sorted({*range(min(size, 20)), size // 3, size // 2, size * 7 // 8, size - 1})
    olds = sorted({*range(1, min(size, 20) + 1), size // 3 + 1, size // 2 + 1, size * 7 // 8 + 1, size})
    root = root_hash(leaves)
    return {
        "VerifierKey": SIGNER.vkey,
        "SignerKey": SIGNER.private_key,
        "Note": encoded(sign_note(Checkpoint(SIGNER.name, size, root).format(), [SIGNER])),
        "Origin": SIGNER.name,
        "Entries": encoded_all(entries),
        "Root": encoded(root),
        "Inclusion": [{"Index": index, "Path": encoded_all(inclusion_path(index, size, node))} for index in indexes],
        "Consistency": [
            {
                "Old": old,
                "OldRoot": encoded(root_hash(leaves[:old])),
                "Path": encoded_all(consistency_path(old, size, node)),
            }
            for old in olds
        ],
        "Tiles": {tile.path: encoded(read_tile(tile.level, tile.index, tile.width)) for tile in tiles_for(size)},
    }


def check(checker, data):
    return subprocess.run(
        [checker], input=json.dumps(data).encode(), capture_output=True, timeout=GO_TIMEOUT, check=False
    )


@pytest.mark.parametrize("size", [1, 2, 3, 8, 100, 255, 256, 257, 1000, 65_793])
def test_go_and_python_agree(checker, size):
    data = case(size)
    result = check(checker, data)
    assert result.returncode == 0, result.stderr.decode()
    made = json.loads(result.stdout)
    assert made["Checks"] == 1 + len(data["Inclusion"]) + len(data["Consistency"]) + len(data["Tiles"])

    assert made["Note"] == data["Note"]
    assert made["Tiles"] == data["Tiles"]
    opened = open_note(base64.b64decode(made["Note"]), [Verifier.from_vkey(SIGNER.vkey)])
    checkpoint = Checkpoint.parse(opened.text)
    assert checkpoint.size == size
    for ours, theirs in zip(data["Inclusion"], made["Inclusion"], strict=True):
        assert ours["Path"] == (theirs["Path"] or [])
        index = theirs["Index"]
        leaf = leaf_hash(base64.b64decode(data["Entries"][index]))
        verify_inclusion(index, size, leaf, decoded_all(theirs["Path"]), checkpoint.root)
    for ours, theirs in zip(data["Consistency"], made["Consistency"], strict=True):
        assert ours["Path"] == (theirs["Path"] or [])
        old_root = base64.b64decode(theirs["OldRoot"])
        verify_consistency(theirs["Old"], size, old_root, checkpoint.root, decoded_all(theirs["Path"]))


def flip(text):
    data = bytearray(base64.b64decode(text))
    data[-1] ^= 1
    return encoded(data)


def alter_note(data):
    data["Note"] = flip(data["Note"])


def alter_inclusion(data):
    data["Inclusion"][-1]["Path"][0] = flip(data["Inclusion"][-1]["Path"][0])


def alter_consistency(data):
    data["Consistency"][2]["Path"][0] = flip(data["Consistency"][2]["Path"][0])


def alter_tile(data):
    data["Tiles"]["tile/0/000"] = flip(data["Tiles"]["tile/0/000"])


@pytest.mark.parametrize("alter", [alter_note, alter_inclusion, alter_consistency, alter_tile])
def test_the_go_program_really_checks(checker, alter):
    data = case(300)
    assert check(checker, data).returncode == 0
    alter(data)
    assert check(checker, data).returncode == 1
