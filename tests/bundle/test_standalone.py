"""The verifier alone on a bare Python: no project, no site-packages, no network, no environment, no stdin."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ledger import verify_bundle
from ledger.container import unpack

SOURCE = Path(verify_bundle.__file__).read_bytes()

NO_NETWORK = """
import runpy, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"socket", "_socket", "ssl", "urllib", "http", "ledger", "nacl", "orjson"}:
            raise ImportError("blocked: " + name)
sys.meta_path.insert(0, Blocked())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def interpreters() -> list[str]:
    """This interpreter, and every other Python 3 of the promised range that works on this machine."""
    found = [sys.executable]
    for minor in range(8, 15):
        path = shutil.which(f"python3.{minor}")
        if path is not None:
            probe = subprocess.run([path, "-c", ""], capture_output=True, check=False)
            found += [path] if probe.returncode == 0 else []
    return found


def run(python: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run with nothing inherited but the current directory; standard input is closed."""
    return subprocess.run(
        [python, "-I", "-S", *map(str, arguments)],
        cwd=cwd,
        env={},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: os.close(0),
    )


@pytest.fixture
def elsewhere(tmp_path, bundle):
    """The bundle under another name in another folder, with the verifier that came inside it."""
    folder = tmp_path / "a folder elsewhere"
    folder.mkdir()
    (folder / "renamed file.bin").write_bytes(bundle)
    (folder / "check.py").write_bytes(unpack(bundle)["verify_bundle.py"])
    return folder


def test_the_bundle_carries_the_verifier_of_this_repository(bundle):
    assert unpack(bundle)["verify_bundle.py"] == SOURCE


@pytest.mark.parametrize("python", interpreters())
def test_it_verifies_moved_and_renamed_on_a_bare_python(python, elsewhere, story):
    done = run(python, "check.py", "renamed file.bin", "--vkey", story.log.signer.vkey, cwd=elsewhere)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.rstrip().endswith("INTACT")
    assert "INC-2026-0001" in done.stdout
    assert "Not checked:" in done.stdout


@pytest.mark.parametrize("python", interpreters())
def test_it_needs_neither_network_nor_project(python, elsewhere):
    (elsewhere / "run.py").write_text(NO_NETWORK)
    done = run(python, "run.py", "check.py", "renamed file.bin", "--json", cwd=elsewhere)
    result = json.loads(done.stdout)
    assert (done.returncode, result["verdict"], done.stderr) == (0, "intact", "")


def test_damage_is_named_with_exit_status_2(elsewhere, bundle):
    changed = bytearray(bundle)
    changed[bundle.index(b"Bucket copied")] ^= 1
    (elsewhere / "damaged.zip").write_bytes(changed)
    done = run(sys.executable, "check.py", "damaged.zip", cwd=elsewhere)
    assert done.returncode == 2
    assert "DAMAGED" in done.stdout
    assert "kind content, at report.json" in done.stdout


def test_another_key_gives_exit_status_3(elsewhere):
    other = "example.org/audit+1b459cf6+AepKbGPinFIKvvVQexMuxfmVR3auvr57kkIe6mkURtIs"
    from ledger.notes import Signer

    other = Signer.from_seed("example.org/audit", b"\x55" * 32).vkey
    done = run(sys.executable, "check.py", "renamed file.bin", "--vkey", other, "--json", cwd=elsewhere)
    assert done.returncode == 3
    assert json.loads(done.stdout)["verdict"] == "not_anchored"


@pytest.mark.parametrize(
    "arguments",
    [
        ["no such file"],
        ["."],
        ["check.py"],
        [],
        ["renamed file.bin", "--vkey", "nonsense"],
        ["renamed file.bin", "--policy", "no such policy"],
        ["renamed file.bin", "--policy", "check.py"],
        ["renamed file.bin", "--what"],
    ],
)
def test_what_cannot_be_read_gives_exit_status_4(elsewhere, arguments):
    done = run(sys.executable, "check.py", *arguments, cwd=elsewhere)
    assert done.returncode == 4
    assert "Traceback" not in done.stdout + done.stderr


def test_the_policy_inside_the_bundle_can_be_pinned_as_a_file(elsewhere, bundle):
    (elsewhere / "policy").write_bytes(unpack(bundle)["policy"])
    done = run(sys.executable, "check.py", "renamed file.bin", "--policy", "policy", cwd=elsewhere)
    assert done.returncode == 0


def test_it_is_written_for_python_3_8_and_the_standard_library():
    tree = ast.parse(SOURCE, feature_version=(3, 8))
    modules = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert modules <= sys.stdlib_module_names
    assert not modules & {"socket", "ssl", "urllib", "http", "subprocess", "os", "ctypes", "pickle", "importlib"}


def test_output_is_plain_ascii_whatever_the_bundle_says(kit):
    told = kit.tell()
    material = told.log.material()
    evil = kit.reseal(kit.make(told, b"pass\n"), {}, told.log.signer, incident="\u202eINC\u009b31m", origin=kit.ORIGIN)
    text = verify_bundle.render(verify_bundle.verify_bytes(evil))
    assert material.checkpoint
    assert text.isascii()
    assert all(character.isprintable() or character == "\n" for character in text)
