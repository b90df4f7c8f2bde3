"""The tutorial is true: its files are written, its commands run, and what it says they print is what they print."""

import os
import re
import shutil
import socket
import subprocess
import sys
from email import message_from_bytes
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tutorial.md"

FILE = re.compile(r"`([\w./-]+)`:\n\n```(?:json|yaml|toml)\n(.*?)```", re.DOTALL)
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
MARK = "@@ command"


def commands(text):
    """(command, lines the page says it prints) of every console block, in order."""
    found = []
    for block in BLOCK.findall(text):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            elif line.startswith("> "):
                found[-1] = (f"{found[-1][0]}\n{line[2:]}", [])
            else:
                found[-1][1].append(line)
    return found


def files(text):
    return dict(FILE.findall(text))


class Postbox:
    """Keeps what arrives."""

    def __init__(self):
        self.mails = []

    async def handle_DATA(self, _server, _session, envelope):  # noqa: N802 - aiosmtpd's name
        self.mails.append((tuple(envelope.rcpt_tos), message_from_bytes(envelope.content)))
        return "250 kept"


@pytest.fixture
def postbox():
    """A mail server on a free port of loopback; gives (what arrived, the port)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    box = Postbox()
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    yield box, port
    controller.stop()


@pytest.mark.timeout(900)
@pytest.mark.skipif(shutil.which("bash") is None, reason="the tutorial's commands are written for bash")
def test_the_tutorial_does_what_it_says(tmp_path, postbox):
    box, port = postbox
    text = PAGE.read_text(encoding="utf-8")
    steps = commands(text)
    script = ["set -e"]
    (tmp_path / "ledger").mkdir()
    for name, content in files(text).items():
        there = content.replace("port = 2525", f"port = {port}")
        (tmp_path / name).write_text(there, encoding="utf-8")
    for number, (command, _) in enumerate(steps):
        script += [f"echo '{MARK} {number}'", command]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TOCSIN_")}
    environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "120"}
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=840,
        check=False,
    )
    printed = done.stdout.decode()
    assert done.returncode == 0, printed[-2000:]
    outputs = re.split(rf"^{MARK} \d+\n", printed, flags=re.MULTILINE)[1:]
    assert len(outputs) == len(steps)
    for (command, wanted), output in zip(steps, outputs, strict=True):
        lines = [line.rstrip() for line in output.splitlines()]
        for line in wanted:
            pattern = re.sub(r"([\[\]*?])", r"[\1]", line).replace("…", "*")
            assert any(fnmatchcase(held, pattern) for held in lines), f"{command}\n{line}\n---\n{output}"
    arrived = sorted((to, str(mail["Subject"])) for to, mail in box.mails)
    assert [to for to, _ in arrived] == [("alba@example.org",), ("alba@example.org",), ("casey@example.org",)]


def test_every_file_and_command_of_the_page_is_found():
    text = PAGE.read_text(encoding="utf-8")
    assert len(files(text)) == 7
    found = [command for command, _ in commands(text)]
    for wanted in ("init", "import cloudtrail", "people load", "inventory load", "incident declare", "incident scope",
                   "incident clock", "incident fact", "incident assess", "incident organisation", "notice draft",
                   "notice show", "notice approve", "dispatch open", "dispatch preflight", "dispatch run",
                   "dispatch finish", "dispatch announce", "bundle", "verify --bundle"):  # fmt: skip
        assert any(f"tocsin {wanted} " in f"{command} " for command in found), wanted
