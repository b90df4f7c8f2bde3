"""A served ledger and its witnesses: publication at every tick, the budget, the alarm, the start."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx2
import pytest
from starlette.testclient import TestClient

from api.anchoring import CONTRADICTED, Anchoring
from api.http import create_app
from incidents.service import IncidentService
from ledger import Ledger, OwnEvent
from ledger.checkpoint import Checkpoint
from ledger.errors import VerificationError
from ledger.notes import sign_note
from ledger.policy import parse_policy
from ledger.proofs import verify_checkpoint, verify_receipt
from ledger.recovery.rotating import retire
from ledger.witness import records
from ledger.witness.core import format_submission
from ledger.witness.publication import Budget, Publication

MAIN = "from api.cli import main; main()"


def event(number):
    return {
        "specversion": "1.0",
        "id": f"event-{number}",
        "source": "https://crm.example.org/a",
        "type": "org.example.data.view.v1",
        "time": "2026-03-10T09:00:00Z",
        "data": {"actor": {"id": "employee-7"}, "outcome": "success", "resource": {"id": "customers/1"}},
    }


def policy_of(ledger, vkey, url):
    return f"log {ledger.vkey}\nwitness w {vkey} {url}\nquorum w\n".encode()


@pytest.fixture
def served(make, ledger, tools):
    """The ledger's application with one witness; gives (anchoring, client, policy)."""
    witness = make("w.example/w", (ledger.origin, ledger.signer.verifier))
    with tools.running(witness) as url:
        policy = policy_of(ledger, witness.vkey, url)
        publication = Publication(ledger, parse_policy(policy), Budget(entries=3, seconds=600))
        anchoring = Anchoring(ledger, publication, IncidentService(ledger))
        app = create_app(ledger, IncidentService(ledger), anchoring=anchoring)
        with TestClient(app, base_url="http://127.0.0.1") as client:
            yield anchoring, client, policy


def home(client):
    answer = client.get("/", headers={"accept": "text/html"})
    assert answer.status_code == 200
    return " ".join(re.sub(r"<[^>]+>", " ", answer.text).split())


def test_strangers_are_shown_what_witnesses_have_seen(served, ledger, clock):
    anchoring, client, policy = served
    assert client.get("/checkpoint").content == ledger.checkpoint()  # nothing was witnessed yet
    anchoring.tick(clock())
    shown = client.get("/checkpoint").content
    checkpoint, cosigned = verify_checkpoint(shown, parse_policy(policy))
    assert (checkpoint.size, len(cosigned)) == (1, 1)
    assert "Witnessed 1 entry of 1" in home(client)
    assert client.post("/v1/events", json=event(1)).status_code == 415
    client.post("/v1/events", json=event(1), headers={"content-type": "application/cloudevents+json"})
    # Committed here, and not shown before it was witnessed.
    assert client.get("/checkpoint").content == shown
    clock.move(7)
    assert "1 entry of 2" in home(client)
    assert "1 entry is committed here and not yet" in home(client)
    anchoring.tick(clock())
    assert verify_checkpoint(client.get("/checkpoint").content, parse_policy(policy))[0].size == 2


def test_past_the_budget_events_wait_and_own_entries_do_not(served, ledger, clock):
    anchoring, client, _ = served
    headers = {"content-type": "application/cloudevents+json"}
    for number in range(3):
        assert client.post("/v1/events", json=event(number), headers=headers).status_code == 201
    refused = client.post("/v1/events", json=event(9), headers=headers)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "30")
    assert refused.json()["type"] == "/problems/not-anchored"
    assert "Events are refused" in home(client)
    ledger.record([OwnEvent("org.tocsin.logging.checked.v1", {})])
    anchoring.tick(clock())
    assert client.post("/v1/events", json=event(9), headers=headers).status_code == 201
    assert "Events are refused" not in home(client)


def test_a_fork_is_recorded_and_opens_one_incident(make, ledger, tools, tmp_path, clock):
    ledger.close()
    shutil.copytree(tmp_path / "ledger", tmp_path / "copy")
    witness = make("w.example/w", (ledger.origin, ledger.signer.verifier))
    with tools.running(witness) as url:
        with Ledger.open(tmp_path / "copy", clock=clock) as other:
            policy = parse_policy(policy_of(other, witness.vkey, url))
            other.record([OwnEvent("org.tocsin.logging.checked.v1", {"what": "another history"})])
            assert Publication(other, policy).publish_now().state == "witnessed"
        with Ledger.open(tmp_path / "ledger", clock=clock) as mine:
            incidents = IncidentService(mine)
            mine.append([event(1)])
            anchoring = Anchoring(mine, Publication(mine, policy), incidents)
            for _ in range(3):
                anchoring.tick(clock())
                clock.move(30)
            recorded = [stored for stored in mine.entries() if stored.decode().type == CONTRADICTED]
            assert len(recorded) == 1
            with mine.database.read() as connection:
                [kept] = records.evidence(connection)
            data = json.loads(recorded[0].payload)["data"]
            assert (data["kind"], data["evidence"]) == ("fork", kept.digest)
            [summary] = incidents.list()
            view = incidents.view(summary.id)
            assert "signed two histories" in view.title
            assert {fact.path: fact.state for fact in view.facts} == {
                "incident_types": "known",
                "breach_types": "assumed",
            }
            assert any(clock.name == "detection" for clock in view.clocks)
            with TestClient(create_app(mine, incidents, anchoring=anchoring), base_url="http://127.0.0.1") as client:
                page = home(client)
                assert "Contradicted by a witness" in page
                assert summary.id in page
                headers = {"content-type": "application/cloudevents+json"}
                refused = client.post("/v1/events", json=event(2), headers=headers)
                assert (refused.status_code, refused.json()["type"]) == (503, "/problems/halted")
                assert client.get("/problems/halted", headers={"accept": "text/html"}).status_code == 200


def test_the_misuse_of_a_replaced_key_is_recorded_and_shown_and_opens_no_incident(make, ledger, tools, clock):
    ledger.append([event(1)])
    stolen = ledger.signer
    retire(ledger, 1)
    witness = make("w.example/w", (ledger.origin, stolen.verifier), (ledger.origin, ledger.signer.verifier))
    invented = sign_note(Checkpoint(ledger.origin, 500, b"\x07" * 32).format(), [stolen])
    witness.add_checkpoint(format_submission(0, [], invented))
    with tools.running(witness) as url:
        incidents = IncidentService(ledger)
        policy = parse_policy(policy_of(ledger, witness.vkey, url))
        anchoring = Anchoring(ledger, Publication(ledger, policy), incidents)
        for _ in range(3):
            anchoring.tick(clock())
        [recorded] = [stored for stored in ledger.entries() if stored.decode().type == CONTRADICTED]
        assert json.loads(recorded.payload)["data"]["kind"] == "retired_key"
        assert incidents.list() == []
        with TestClient(create_app(ledger, incidents, anchoring=anchoring), base_url="http://127.0.0.1") as client:
            page = home(client)
            assert "A replaced key was misused" in page
            assert "The ledger itself did not sign two histories" in page
            headers = {"content-type": "application/cloudevents+json"}
            assert client.post("/v1/events", json=event(2), headers=headers).status_code == 201


# --- As processes of their own --------------------------------------------------------------------


def tocsin(*arguments):
    return subprocess.run(
        [sys.executable, "-c", MAIN, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )


@contextmanager
def running(*arguments):
    """A server of the command line; gives its URL and the process."""
    variables = {name: value for name, value in os.environ.items() if name != "TOCSIN_TOKEN"}
    child = subprocess.Popen(
        [sys.executable, "-c", MAIN, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=variables,
    )
    try:
        found = re.search(r"http://[^\s/]+", child.stdout.readline())
        assert found
        yield found[0], child
    finally:
        child.kill()
        child.wait(20)
        child.stdout.close()


def until(condition):
    """Wait for something that another process does by itself."""
    for _ in range(400):
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come about")


def post(base, number):
    return httpx2.post(
        f"{base}/v1/events", json=event(number), headers={"content-type": "application/cloudevents+json"}
    )


def test_commit_publish_verify_and_a_witness_that_is_away_for_a_while(tmp_path):
    data, directory, policy = tmp_path / "data", tmp_path / "witness", tmp_path / "policy"
    vkey = json.loads(tocsin("init", "--data", data, "--origin", "example.org/audit", "--json").stdout)["vkey"]
    made = json.loads(tocsin("witness", "init", "--data", directory, "--name", "w.example/w", "--json").stdout)
    assert tocsin("witness", "add-log", vkey, "--data", directory).returncode == 0
    options = ("--tick", "0.1", "--max-lag-entries", "4", "--verify-every", "0", "--port", "0")
    with running("witness", "serve", "--data", directory, "--port", "0") as (url, _):
        policy.write_text(f"log {vkey}\nwitness w {made['vkey']} {url}\nquorum w\n")
        with running("serve", "--data", data, "--policy", policy, *options) as (base, _):
            assert post(base, 0).status_code == 201
            pinned = parse_policy(policy.read_bytes())

            def shown():
                try:
                    return verify_checkpoint(httpx2.get(f"{base}/checkpoint").content, pinned)[0].size
                except VerificationError:
                    return 0

            until(lambda: shown() == 2)
            verified = json.loads(tocsin("verify", "--data", data, "--policy", policy, "--json").stdout)
            assert (verified["exit_code"], verified["anchored_range"], verified["unanchored_range"]) == (
                0,
                [0, 2],
                None,
            )
            proof = tocsin("prove", 1, "--witnessed", "--data", data).stdout.encode()
            with Ledger.open(data) as ledger:
                assert verify_receipt(proof, ledger.entry(1).entry, policy.read_bytes()).cosigned
            port = url.rpartition(":")[2]
    # The witness goes away; the server, started without it, takes what the budget allows.
    with running("serve", "--data", data, "--policy", policy, *options) as (base, _):
        answers = [post(base, number) for number in range(1, 8)]
        assert [answer.status_code for answer in answers] == [201] * 5 + [503] * 2
        assert answers[-1].json()["type"] == "/problems/not-anchored"
        assert int(answers[-1].headers["retry-after"]) > 0
        lagging = json.loads(tocsin("verify", "--data", data, "--policy", policy, "--json").stdout)
        assert (lagging["exit_code"], lagging["anchored_range"], lagging["unanchored_range"]) == (0, [0, 2], [2, 7])
        text = tocsin("verify", "--data", data, "--policy", policy).stdout
        assert "Not anchored yet: entries 2 to 6" in text
        with running("witness", "serve", "--data", directory, "--port", port):
            until(lambda: post(base, 7).status_code == 201)


def test_a_server_started_from_an_old_backup_says_so_and_ends(tmp_path, make, tools, ledger, clock):
    ledger.close()
    shutil.copytree(tmp_path / "ledger", tmp_path / "old")
    witness = make("w.example/w", (ledger.origin, ledger.signer.verifier))
    with tools.running(witness) as url:
        policy = tmp_path / "policy"
        policy.write_bytes(policy_of(ledger, witness.vkey, url))
        with Ledger.open(tmp_path / "ledger", clock=clock) as now:
            now.record([OwnEvent("org.tocsin.logging.checked.v1", {})])
            assert Publication(now, parse_policy(policy.read_bytes())).publish_now().state == "witnessed"
        ended = tocsin("serve", "--data", tmp_path / "old", "--policy", policy, "--port", "0")
        assert ended.returncode == 1
        assert "cosigned 2 entries of this log; this server holds 1" in ended.stderr
        assert "Traceback" not in ended.stderr
    with Ledger.open(tmp_path / "old") as old:
        assert old.size() == 1
