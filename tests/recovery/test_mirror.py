"""Mirrors: written step by step, read by a client that shares no code with them, and over hostile HTTP."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.server
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from api.cli.serve import listen
from ledger import Ledger
from ledger.checkpoint import Checkpoint
from ledger.errors import TocsinError
from ledger.notes import Verifier, open_note, split_note
from ledger.policy import parse_policy
from ledger.recovery.backup import Backup, take_backup, write_keys
from ledger.recovery.errors import BackupError, MirrorError, MirrorUnreachableError
from ledger.recovery.extending import Means
from ledger.recovery.fromtiles import rebuild_without_backup, restore_from_tiles
from ledger.recovery.mirror import MirrorTree, open_source
from ledger.recovery.publishing import write_mirror
from ledger.recovery.restoring import confirm_with_loss, read_keys
from ledger.witness.publication import Publication

SIZE = 300


def events(kit: Any, ledger: Ledger, size: int) -> None:
    while (start := ledger.size()) < size:
        ledger.append([kit.event(start + number) for number in range(min(200, size - start))])


@pytest.fixture(scope="module")
def made(kit, tmp_path_factory):
    """A directory with a ledger, its mirror, an old backup and the keys."""
    place = tmp_path_factory.mktemp("made")
    with Ledger.create(place / "data", kit.origin) as ledger:
        events(kit, ledger, 20)
        take_backup(ledger, place / "old.tocsin")
        write_keys(ledger, place / "keys")
        events(kit, ledger, SIZE)
        write_mirror(ledger, place / "mirror")
    return place


def tree_head(leaves: list[bytes]) -> bytes:
    """RFC 9162 section 2.1.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + tree_head(leaves[:k]) + tree_head(leaves[k:])).digest()


def tile_path(level: str, index: int, width: int) -> str:
    digits = f"{index:03d}" if index < 1000 else f"x{index // 1000:03d}/{index % 1000:03d}"
    return f"tile/{level}/{digits}{'' if width == 256 else f'.p/{width}'}"


def read_independently(mirror: Path) -> tuple[int, list[bytes]]:
    """As a reader who has only the specification: size and entries, every tile and the root checked."""
    origin, size_line, root, *_ = (mirror / "checkpoint").read_text().split("\n")
    assert origin
    size = int(size_line)
    entries: list[bytes] = []
    for index in range(-(-size // 256)):
        data = (mirror / tile_path("entries", index, min(256, size - 256 * index))).read_bytes()
        while data:
            length = int.from_bytes(data[:2], "big")
            entries.append(data[2 : 2 + length])
            data = data[2 + length :]
    hashes = [hashlib.sha256(b"\x00" + entry).digest() for entry in entries]
    assert (len(entries), base64.b64encode(tree_head(hashes)).decode()) == (size, root)
    for level in range(3):
        row = [hashes[at : at + 256**level] for at in range(0, len(hashes) - len(hashes) % 256**level, 256**level)]
        tops = [tree_head(part) for part in row]
        for index in range(-(-len(tops) // 256)):
            part = tops[256 * index : 256 * index + 256]
            assert (mirror / tile_path(str(level), index, len(part))).read_bytes() == b"".join(part)
    return size, entries


@pytest.mark.parametrize("sizes", [[1, 2, 255, 256, 257, 700], [513], [65_800]], ids=str)
def test_a_mirror_is_what_the_specification_says_at_every_size(kit, tmp_path, sizes):
    with Ledger.create(tmp_path / "data", kit.origin) as ledger:
        before = 0
        for size in sizes:
            while (start := ledger.size()) < size:
                ledger.append(
                    [{**kit.event(start + n), "data": None, "type": "x.y.z.v1"} for n in range(min(1000, size - start))]
                )
            done = write_mirror(ledger, tmp_path / "mirror")
            assert (done.size, done.before) == (size, before)
            found, entries = read_independently(tmp_path / "mirror")
            assert found == size
            assert entries == [stored.entry for stored in ledger.entries()]
            note = (tmp_path / "mirror" / "checkpoint").read_bytes()
            assert note == ledger.checkpoint()
            again = write_mirror(ledger, tmp_path / "mirror")
            assert (again.before, again.files) == (size, 0)
            before = size
        names = sorted(item.name for item in (tmp_path / "mirror").rglob("*") if item.is_file())
    # Nothing half-written, and no partial tile that a full one replaced.
    assert [name for name in names if name.endswith(".new")] == []
    assert not (tmp_path / "mirror" / "tile/0/000.p").exists() or sizes[-1] < 256
    mode = (tmp_path / "mirror" / "checkpoint").stat().st_mode & 0o777
    assert mode == 0o644


def test_go_reads_the_mirror(made, tmp_path):
    """golang.org/x/mod/sumdb checks note, tiles and every hash; skipped where there is no Go."""
    if shutil.which("go") is None:
        pytest.skip("no Go toolchain on PATH")
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly"}
    source = shutil.copytree(Path(__file__).parents[1] / "formats" / "go", tmp_path / "source")
    if subprocess.run(
        ["go", "mod", "download"], cwd=source, env=environment, capture_output=True, check=False
    ).returncode:
        pytest.skip("the Go module golang.org/x/mod cannot be fetched, or the toolchain is too old for it")
    mirror = made / "mirror"
    note = (mirror / "checkpoint").read_bytes()
    size, entries = read_independently(mirror)
    with Ledger.open(made / "data") as ledger:
        vkey, key = ledger.vkey, ledger.signer.private_key
        root = Checkpoint.parse(split_note(note)[0]).root
    tiles = {
        str(item.relative_to(mirror)): base64.b64encode(item.read_bytes()).decode()
        for item in (mirror / "tile").rglob("*")
        if item.is_file() and "entries" not in item.parts
    }
    case = {
        "VerifierKey": vkey,
        "SignerKey": key,
        "Note": base64.b64encode(note).decode(),
        "Origin": vkey.split("+")[0],
        "Entries": [base64.b64encode(entry).decode() for entry in entries],
        "Root": base64.b64encode(root).decode(),
        "Inclusion": [],
        "Consistency": [],
        "Tiles": tiles,
    }
    ran = subprocess.run(
        ["go", "run", "."],
        cwd=source,
        env=environment,
        input=json.dumps(case).encode(),
        capture_output=True,
        timeout=240,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr.decode()
    made_by_go = json.loads(ran.stdout)
    assert made_by_go["Tiles"] == tiles
    assert made_by_go["Checks"] == 1 + len(tiles)
    assert size == SIZE


def test_a_mirror_is_never_set_back_nor_shared(made, kit, tmp_path):
    mirror = tmp_path / "mirror"
    shutil.copytree(made / "mirror", mirror)
    before = {item: item.read_bytes() for item in mirror.rglob("*") if item.is_file()}
    with (
        Ledger.create(tmp_path / "other", "example.org/other") as other,
        pytest.raises(BackupError, match="another log"),
    ):
        write_mirror(other, mirror)
    with open_source(str(mirror)) as source:
        restore_from_tiles(
            Backup.open(made / "old.tocsin"), tmp_path / "copy", Means(source, keys=read_keys(made / "keys"))
        )
    shutil.rmtree(tmp_path / "copy")
    ran = kit.tocsin("restore", made / "old.tocsin", "--data", tmp_path / "copy", "--keys", made / "keys")
    assert ran.code == 0, ran.err
    with Ledger.open(tmp_path / "copy") as behind:
        with pytest.raises(BackupError, match="behind it"):
            write_mirror(behind, mirror)
        confirm_with_loss(behind, "why")
        events(kit, behind, SIZE + 50)
        with pytest.raises(BackupError, match="another history"):  # longer, but not the same
            write_mirror(behind, mirror)
    assert {item: item.read_bytes() for item in mirror.rglob("*") if item.is_file()} == before
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    with Ledger.open(made / "data") as ledger, pytest.raises(BackupError, match="no mirror"):
        write_mirror(ledger, tmp_path / "home")


def test_what_a_first_call_left_is_taken_over_only_where_it_is_right(made, tmp_path):
    """Killed before its checkpoint; and the tiles of another history are not kept for ours."""
    mirror = tmp_path / "mirror"
    shutil.copytree(made / "mirror", mirror)
    (mirror / "checkpoint").unlink()
    (mirror / ".checkpoint.new").write_bytes(b"half")
    (mirror / "rotations").write_bytes(b"")
    for path in ("tile/0/000", "tile/entries/000"):
        (mirror / path).write_bytes(b"\x00" * 8192)
    with Ledger.open(made / "data") as ledger:
        done = write_mirror(ledger, mirror)
    assert (done.before, done.files) == (0, 2)
    assert read_independently(mirror)[0] == SIZE


def test_a_mirror_carries_the_cosignatures(kit, tmp_path, clock):
    with (
        Ledger.create(tmp_path / "data", kit.origin, clock=clock) as ledger,
        kit.witness(tmp_path / "w", ledger.vkey, clock=clock) as (witness, url),
    ):
        events(kit, ledger, 10)
        policy = parse_policy(kit.policy(ledger, witness, url))
        assert write_mirror(ledger, tmp_path / "mirror").witnessed == 0
        assert not (tmp_path / "mirror" / "checkpoint.witnessed").exists()
        Publication(ledger, policy).publish_now()
        # The same size, and more to say about it.
        done = write_mirror(ledger, tmp_path / "mirror")
        assert (done.size, done.before, done.files, done.witnessed) == (10, 10, 0, 10)
        note = (tmp_path / "mirror" / "checkpoint").read_bytes()
        assert len(open_note(note, [Verifier.from_vkey(witness.vkey), ledger.signer.verifier]).signatures) == 2
        with open_source(str(tmp_path / "mirror")) as source:
            write_keys(ledger, tmp_path / "keys")
            means = Means(source, policy, read_keys(tmp_path / "keys"))
            assert rebuild_without_backup(tmp_path / "copy", means).witnessed == 10


@contextmanager
def serving(answer: Callable[[http.server.BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """A server that does what `answer` does; gives its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with suppress(ConnectionError):
                answer(self)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/log"
        finally:
            server.shutdown()
            thread.join()


def reply(handler: Any, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def from_mirror(mirror: Path, change: Callable[[Any, str, bytes], bool] = lambda *_: False) -> Callable[[Any], None]:
    """Serves a directory, but where `change` has answered already."""

    def answer(handler: Any) -> None:
        path = handler.path.removeprefix("/log/")
        place = mirror / path
        if not place.is_file():
            reply(handler, 404, b"no")
        elif not change(handler, path, place.read_bytes()):
            reply(handler, 200, place.read_bytes())

    return answer


def rebuilt(made: Path, url: str, copy: Path, timeout_s: float = 20) -> int:
    with open_source(url, timeout_s=timeout_s) as source:
        means = Means(source, keys=read_keys(made / "keys"))
        return restore_from_tiles(Backup.open(made / "old.tocsin"), copy, means).size


def test_a_log_is_rebuilt_from_a_running_server(made, kit, tmp_path):
    from api.http.app import create_app
    from incidents.service import IncidentService

    with Ledger.open(made / "data") as ledger, listen("127.0.0.1", 0) as listener:
        app = create_app(ledger, IncidentService(ledger))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            ran = kit.tocsin(
                "restore", made / "old.tocsin", "--from-tiles", url, "--data", tmp_path / "copy",
                "--keys", made / "keys", "--accept-loss", "the disk was lost", "--json",
            )  # fmt: skip
        finally:
            server.should_exit = True
            thread.join()
        size = ledger.size()
    assert ran.code == 0, ran.err
    assert (ran.json["state"], ran.json["added"], ran.json["size"]) == ("confirmed", size - 20, size + 2)
    assert kit.verify(tmp_path / "copy").damage == []


def test_gzip_that_nobody_asked_for_and_a_passing_failure_are_lived_with(made, tmp_path):
    failed: set[str] = set()

    def change(handler: Any, path: str, data: bytes) -> bool:
        if path not in failed:
            failed.add(path)
            reply(handler, 503, b"later")
            return True
        if "entries" in path:
            reply(handler, 200, gzip.compress(data), content_encoding="gzip")
            return True
        return False

    with serving(from_mirror(made / "mirror", change)) as url:
        assert rebuilt(made, url, tmp_path / "copy") == SIZE
    assert "tile/entries/000" in failed


def hang(_handler: Any) -> None:
    time.sleep(0.7)


def drip(handler: Any) -> None:
    """Never silent for long, and never done."""
    handler.send_response(200)
    handler.send_header("content-length", "100000")
    handler.end_headers()
    for _ in range(14):
        handler.wfile.write(b"x")
        handler.wfile.flush()
        time.sleep(0.05)


def flood(handler: Any) -> None:
    handler.send_response(200)
    handler.send_header("transfer-encoding", "chunked")
    handler.end_headers()
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    for _ in range(2000):
        handler.wfile.write(chunk)


def bomb(handler: Any) -> None:
    reply(handler, 200, gzip.compress(b"\x00" * 50_000_000, 1)[:100_000], content_encoding="gzip")


HOSTILE = {
    "hangs": (hang, "did not arrive in time"),
    "drips": (drip, "did not arrive in time"),
    "redirects": (lambda handler: reply(handler, 302, b"", location="http://127.0.0.1:1/"), "redirects to"),
    "is a web page": (lambda handler: reply(handler, 200, b"<html>sign in", content_type="text/html"), "web page"),
    "never ends": (flood, "longer than"),
    "is a gzip bomb": (bomb, "longer than"),
    "is no gzip": (
        lambda handler: reply(handler, 200, b"not compressed", content_encoding="gzip"),
        "not the gzip data",
    ),
    "is cut gzip": (
        lambda handler: reply(handler, 200, gzip.compress(b"x" * 9)[:-4], content_encoding="gzip"),
        "cut short",
    ),
    "says no": (lambda handler: reply(handler, 403, b"no"), "status 403"),
    "is overloaded": (lambda handler: reply(handler, 503, b"later"), "status 503"),
    "is not there": (lambda handler: reply(handler, 404, b"no"), "no checkpoint"),
    "hangs up": (lambda handler: handler.connection.shutdown(socket.SHUT_RDWR), "cannot be had"),
    "speaks no HTTP": (lambda handler: handler.wfile.write(b"SSH-2.0\r\n\r\n"), "cannot be had"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_server_that_is_no_mirror_is_told_and_left_in_bounded_time(made, tmp_path, name):
    answer, match = HOSTILE[name]
    with serving(answer) as url, pytest.raises(TocsinError, match=match) as refused:
        rebuilt(made, url, tmp_path / "copy", timeout_s=0.4 if name in ("hangs", "drips") else 20)
    assert isinstance(refused.value, MirrorError | MirrorUnreachableError)
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("path", ["tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/001.p/44"])
@pytest.mark.parametrize("name", ["redirects", "is a web page", "never ends", "says no"])
def test_a_mirror_that_fails_half_way_changes_nothing(made, tmp_path, name, path):
    answer, match = HOSTILE[name]

    def change(handler: Any, asked: str, _data: bytes) -> bool:
        if asked == path:
            answer(handler)
        return asked == path

    with serving(from_mirror(made / "mirror", change)) as url, pytest.raises(TocsinError, match=match):
        rebuilt(made, url, tmp_path / "copy")
    assert [item.name for item in tmp_path.iterdir()] == []


def test_a_pipe_in_the_place_of_a_tile_is_not_waited_for(made, tmp_path):
    shutil.copytree(made / "mirror", tmp_path / "mirror")
    path = tmp_path / "mirror" / "tile/0/001.p/44"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(MirrorError, match="not a file"):
        rebuilt(made, str(tmp_path / "mirror"), tmp_path / "copy")


def test_every_hash_that_a_tree_gives_leads_to_the_root(made):
    """Reading single nodes, as the check of the prefix does, verifies the tiles they come from."""
    note = (made / "mirror" / "checkpoint").read_bytes()
    checkpoint = Checkpoint.parse(split_note(note)[0])
    with open_source(str(made / "mirror")) as source, Ledger.open(made / "data") as ledger:
        tree = MirrorTree(source, checkpoint)
        leaves = [hashlib.sha256(b"\x00" + stored.entry).digest() for stored in ledger.entries()]
        for size in (0, 1, 7, 255, 256, 257, 299, 300):
            assert tree.root(size) == tree_head(leaves[:size])
