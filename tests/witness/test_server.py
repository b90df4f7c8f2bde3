"""The witness as others meet it: a process behind a socket, asked with raw HTTP."""

import hashlib
import random
import signal
import sqlite3
import subprocess
import sys
import threading

import pytest

from ledger.checkpoint import Checkpoint
from ledger.errors import ConfigError, StoreDamagedError, StoreError
from ledger.notes import Verifier, open_note, split_note
from ledger.witness.config import DATABASE, make_witness
from ledger.witness.service import Witness

SERVE = """
import sys
from api.cli.witness import app
app(["serve", "--data", sys.argv[1], "--port", "0", *sys.argv[2:]])
"""


@pytest.fixture
def directory(tmp_path, log):
    """A witness's directory, made and taught by the command line."""
    data = str(tmp_path / "w")
    for arguments in (
        ["init", "--data", data, "--name", "witness.example/w1"],
        ["add-log", log.signer.vkey, "--data", data],
    ):
        subprocess.run(
            [sys.executable, "-c", "import sys; from api.cli.witness import app; app(sys.argv[1:])", *arguments],
            check=True,
            capture_output=True,
        )
    return tmp_path / "w"


def cosigned(directory, note, reply):
    """The cosignature's time, after the strictest reading of the answer."""
    assert (reply.status, reply.content_type) == (200, "text/plain; charset=utf-8")
    with Witness.open(directory) as witness:
        verifier = Verifier.from_vkey(witness.vkey)
    # SPEC: "The response body MUST be a sequence of one or more note signature lines, each starting with the
    # `—` character (U+2014) and ending with a newline character (U+000A). The signatures MUST be cosignatures
    # from the witness key(s) on the checkpoint."
    lines = reply.body.decode().split("\n")
    assert lines.pop() == ""
    assert all(line.startswith("\u2014 witness.example/w1 ") for line in lines)
    opened = open_note(note + reply.body, [verifier])
    assert opened.text == split_note(note)[0]
    return opened.signatures[0].timestamp


def test_a_log_and_its_witness_talk(directory, log, tools):
    """The conversation that the specification describes, on one process, which is restarted in between."""
    digest = hashlib.sha256(log.origin.encode()).hexdigest()
    assert oct((directory / "keys/witness.key").stat().st_mode)[-3:] == "600"
    with tools.process(SERVE, str(directory)) as (url, _):
        assert url.startswith("http://127.0.0.1:")
        # SPEC: GET <monitoring prefix>/<lowercase hex SHA-256(origin)>/checkpoint; 404 if never cosigned.
        assert tools.ask(url, "GET", f"/{digest}/checkpoint").status == 404

        # SPEC: "If a client doesn't have information on the latest cosigned checkpoint, it MAY initially make
        # a request with a old size of zero to obtain it."
        first = tools.post(url, log.body(0, 5))
        time = cosigned(directory, log.note(5), first)
        assert time > 0
        again = tools.post(url, log.body(0, 5))
        # SPEC: "409 Conflict" [...] "The response body MUST consist of the tree size of the latest cosigned
        # checkpoint in decimal, followed by a newline (U+000A). The response MUST have a `Content-Type` of
        # `text/x.tlog.size`." (exactly: real clients compare the whole header)
        assert (again.status, again.content_type, again.body) == (409, "text/x.tlog.size", b"5\n")
        assert cosigned(directory, log.note(5), tools.post(url, log.body(5, 5))) >= time
        assert tools.post(url, log.body(5, 8)).status == 200
        assert tools.post(url, log.body(8, 5)).status == 400
        assert tools.post(url, log.body(5, 12)).body == b"8\n"
        assert tools.post(url, log.body(8, 12, branch=1)).status == 422
        assert tools.post(url, log.body(8, 8, branch=1)).status == 422

        stranger = tools.Log("log.example/other")
        assert tools.post(url, stranger.body(0, 5)).status == 404
        thief = tools.Log(log.origin, seed=b"\x22" * 32)
        assert tools.post(url, thief.body(0, 12)).status == 403

    with tools.process(SERVE, str(directory), "--prefix", "/w1") as (url, _):
        assert url.endswith("/w1")
        assert tools.post(url, log.body(0, 12)).body == b"8\n"
        reply = tools.post(url, log.body(8, 12))
        cosigned(directory, log.note(12), reply)
        shown = tools.ask(url, "GET", f"/{digest}/checkpoint")
        assert (shown.status, shown.content_type) == (200, "text/plain; charset=utf-8")
        assert shown.body == log.note(12) + reply.body
        # Only the one spelling of the hash is a path.
        for path in (digest.upper(), digest[:-1], digest + "0", "%20" + digest, "x" * 64):
            assert tools.ask(url, "GET", f"/{path}/checkpoint").status == 404
        assert tools.ask(url.removesuffix("/w1"), "POST", "/add-checkpoint", b"").status == 404
        assert tools.ask(url, "GET", "/add-checkpoint").status == 405
        assert tools.ask(url, "POST", "/add-checkpoint/", b"").status == 404


def test_the_fork_that_was_shown_is_kept(witness, log, tools):
    with tools.running(witness) as url:
        tools.post(url, log.body(0, 5))
        for _ in range(2):
            assert tools.post(url, log.body(5, 5, branch=1)).status == 422
        # Anybody can send a true checkpoint with a false proof: that accuses nobody.
        assert tools.post(url, b"old 5\n\n" + log.note(8)).status == 422
    assert witness.store.forks(log.origin) == [(log.note(5, branch=1), log.note(5))]


def test_requests_that_are_too_long_are_cut_off(witness, tools):
    with tools.running(witness) as url:
        assert tools.post(url, b"old 0\n\n" + b"x" * 140_000).status == 413
        assert tools.post(url, b"x" * 131_072).status == 400


def test_random_bodies_are_refused_and_nothing_breaks(witness, log, tools):
    """Test plan seed 9: random bodies must give 4xx, never 5xx."""
    dice = random.Random(7)
    good = log.body(0, 9)
    with tools.running(witness) as url:
        statuses = set()
        for _ in range(300):
            match dice.randrange(3):
                case 0:
                    body = dice.randbytes(dice.randrange(400))
                case 1:
                    damaged = bytearray(good)
                    for _ in range(dice.randrange(1, 4)):
                        damaged[dice.randrange(len(damaged))] = dice.randrange(256)
                    body = bytes(damaged)
                case _:
                    parts = good.split(b"\n")
                    dice.shuffle(parts)
                    body = b"\n".join(parts)
            if body != good:
                statuses.add(tools.post(url, body).status)
        assert statuses <= {400, 403, 404}
        assert tools.post(url, good).status == 200


@pytest.mark.parametrize("processes", [1, 2])
def test_of_two_updates_at_once_one_wins(directory, log, tools, processes):
    """The race that the specification spells out; also with two processes on one memory."""
    with tools.process(SERVE, str(directory)) as (one, _), tools.process(SERVE, str(directory)) as (two, _):
        urls = [one, two if processes == 2 else one]
        assert tools.post(one, log.body(0, 4)).status == 200
        size = 4
        for _ in range(10):
            # SPEC: "checking the old size against the latest checkpoint and persisting the new checkpoint must
            # be performed atomically, otherwise [...] rolling back K leaves".
            gate = threading.Barrier(2)
            replies = {}

            def race(url, new, old=size, gate=gate, replies=replies):
                body = log.body(old, new)
                gate.wait()
                replies[new] = tools.post(url, body)

            threads = [threading.Thread(target=race, args=(url, size + n)) for n, url in enumerate(urls, 1)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            [winner] = [new for new, reply in replies.items() if reply.status == 200]
            [loser] = [reply for reply in replies.values() if reply.status != 200]
            assert (loser.status, loser.body) == (409, f"{winner}\n".encode())
            size = winner


KILLED = """
import os, signal, sys
from pathlib import Path
import uvicorn
from api.cli.serve import listen
from api.witness import create_app
from ledger.witness.config import DATABASE, load_cosigner, read_witness_config
from ledger.witness.service import Witness
from ledger.witness.store import WitnessStore

directory = Path(sys.argv[1])

class Dies:
    vkey = ""
    def cosign(self, note, timestamp):
        os.kill(os.getpid(), signal.SIGKILL)

class DiesBefore(WitnessStore):
    def update(self, origin, decide):
        def last_words(state, trusted):
            decide(state, trusted)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().update(origin, last_words)

if sys.argv[2] == "stored":
    witness = Witness(WitnessStore(directory / DATABASE), Dies())
else:
    witness = Witness(DiesBefore(directory / DATABASE), load_cosigner(read_witness_config(directory), directory))
with listen("127.0.0.1", 0) as listener:
    print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(create_app(witness), lifespan="off", log_config=None)).run(sockets=[listener])
"""


@pytest.mark.parametrize(("moment", "size"), [("stored", 8), ("unstored", 5)])
def test_killed_between_the_store_and_the_answer(directory, log, tools, moment, size):
    """Whatever the moment of death, what was remembered is never behind what was cosigned."""
    with tools.process(SERVE, str(directory)) as (url, _):
        assert tools.post(url, log.body(0, 5)).status == 200
    with tools.process(KILLED, str(directory), moment) as (url, child):
        with pytest.raises(ConnectionError):  # the connection ends without an answer
            tools.post(url, log.body(5, 8))
        assert child.wait(20) == -signal.SIGKILL
    with tools.process(SERVE, str(directory)) as (url, _):
        # The other branch of the log has no more luck than before.
        assert tools.post(url, log.body(size, 8, branch=1)).status == 422
        again = tools.post(url, log.body(5, 8))
        if moment == "stored":
            assert (again.status, again.body) == (409, b"8\n")
            again = tools.post(url, log.body(8, 8))
        cosigned(directory, log.note(8), again)


def test_a_clock_set_back_stops_the_witness_and_says_so(witness, log, tools, clock):
    with tools.running(witness) as url:
        assert tools.post(url, log.body(0, 5)).status == 200
        clock.move(-3600)
        reply = tools.post(url, log.body(5, 8))
        assert (reply.status, reply.headers["retry-after"]) == (503, "5")
        clock.move(3600)
        assert tools.post(url, log.body(5, 8)).status == 200


def test_a_memory_that_is_lost_or_damaged_is_never_replaced_by_an_empty_one(witness, log):
    directory = witness.store.path.parent
    witness.add_checkpoint(log.body(0, 5))
    witness.close()
    with sqlite3.connect(directory / DATABASE) as connection:
        connection.execute("UPDATE witness_state SET note = replace(note, 'log', 'lag')")
    connection.close()
    with pytest.raises(StoreError, match="Retire this witness"):
        Witness.open(directory)
    (directory / DATABASE).unlink()
    with pytest.raises(ConfigError, match="retire its key"):
        Witness.open(directory)


def test_a_smaller_memory_cannot_be_made_to_fit_by_hand(witness, log):
    """A size that contradicts the signed checkpoint beside it is damage, not a roll-back."""
    witness.add_checkpoint(log.body(0, 5))
    with sqlite3.connect(witness.store.path) as connection:
        connection.execute("UPDATE witness_state SET size = 0")
    connection.close()
    with pytest.raises(StoreDamagedError, match="Retire this witness"):
        witness.add_checkpoint(log.body(0, 8))


def test_making_a_witness_twice_changes_nothing_and_half_a_witness_is_completed(tmp_path):
    made, new = make_witness(tmp_path / "w", "witness.example/w1")
    assert new
    assert make_witness(tmp_path / "w", "witness.example/w1") == (made, False)
    (tmp_path / "w/witness.toml").unlink()
    assert make_witness(tmp_path / "w", "witness.example/w1")[0].vkey == made.vkey
    with pytest.raises(ConfigError, match="another directory"):
        make_witness(tmp_path / "w", "witness.example/w2")
    for name in ("", "two words", "a+b"):
        with pytest.raises(ConfigError, match="name cannot be used"):
            make_witness(tmp_path / "x", name)


def test_an_origin_need_not_be_the_name_of_the_key(make, tools):
    """`go.sum database tree` is signed by a key called sum.golang.org."""
    log = tools.Log("go.sum database tree")
    witness = make("witness.example/w1", (log.origin, log.signer.verifier))
    with tools.running(witness) as url:
        assert tools.post(url, log.body(0, 5)).status == 200
        digest = hashlib.sha256(log.origin.encode()).hexdigest()
        shown = tools.ask(url, "GET", f"/{digest}/checkpoint").body
    assert Checkpoint.parse(split_note(shown)[0]).origin == "go.sum database tree"
