"""A real ledger and real witnesses: published, lagging, forked, restored from an old backup."""

import json
import shutil
from contextlib import ExitStack, closing

import pytest

from ledger import Ledger, OwnEvent
from ledger.checkpoint import Checkpoint
from ledger.errors import NotFoundError, PolicyError, StoreError
from ledger.notes import sign_note, split_note
from ledger.policy import parse_policy
from ledger.proofs import verify_checkpoint, verify_receipt
from ledger.witness import records
from ledger.witness.errors import AnchorOverdueError, EquivocationError, HaltedError, RolledBackError
from ledger.witness.evidence import Evidence
from ledger.witness.publication import Budget, Publication, refuse_below
from ledger.witness.settling import SETTLED, settle


def note_events(ledger, count):
    for _ in range(count):
        ledger.record([OwnEvent("org.tocsin.logging.checked.v1", {"what": "nothing"})])


@pytest.fixture
def network(make, ledger, tools):
    """Three witnesses that know the ledger, served; `policy(quorum)` names them all."""
    with ExitStack() as stack:
        witnesses = [make(f"w{n}.example/w", (ledger.origin, ledger.signer.verifier)) for n in range(3)]
        urls = [stack.enter_context(tools.running(witness)) for witness in witnesses]

        class Network:
            def __init__(self):
                self.witnesses, self.urls = witnesses, list(urls)

            def text(self, quorum="2"):
                lines = [
                    f"witness w{n} {w.vkey} {u}" for n, (w, u) in enumerate(zip(self.witnesses, self.urls, strict=True))
                ]
                group = f"group all3 {quorum} w0 w1 w2"
                return "\n".join([f"log {ledger.vkey}", *lines, group, "quorum all3", ""]).encode()

            def policy(self, quorum="2"):
                return parse_policy(self.text(quorum))

        yield Network()


def restored(ledger, tmp_path, name="copy"):
    """A copy of the ledger's directory as it is now: a backup."""
    ledger.close()
    shutil.copytree(tmp_path / "ledger", tmp_path / name)
    return tmp_path / name


def test_published_by_all_and_anchored_for_strangers(ledger, network, clock):
    publication = Publication(ledger, network.policy(), Budget(entries=10, seconds=600))
    assert publication.witnessed_note() is None
    assert publication.state(0) == "committed"
    with pytest.raises(NotFoundError):
        publication.prove(0)
    note_events(ledger, 3)
    clock.move(60)
    lag = publication.lag()
    assert (lag.entries, lag.witnessed, lag.seconds) == (4, 0, 60.0)

    result = publication.publish_now()
    assert (result.size, result.state) == (4, "witnessed")
    assert [item.state for item in result.outcomes] == ["cosigned"] * 3
    assert (publication.lag().entries, publication.lag().seconds) == (0, 0.0)
    # What was stored stands by itself: the policy that a regulator pins accepts it.
    checkpoint, cosigned = verify_checkpoint(publication.witnessed_note(), network.policy("all"))
    assert (checkpoint.size, len(cosigned)) == (4, 3)
    entry = next(iter(ledger.entries(2, 3)))
    assert verify_receipt(publication.prove(2), entry.entry, network.text("3")).index == 2

    note_events(ledger, 300)
    assert publication.state(3) == "witnessed"
    assert publication.state(4) == "committed"
    # Receipts of witnessed entries stay as they are while the log grows.
    assert verify_receipt(publication.prove(2), entry.entry, network.text("3")).size == 4
    assert publication.publish_now().state == "witnessed"
    assert verify_checkpoint(publication.witnessed_note(), network.policy())[0].size == 304
    # A ledger that was opened again, or another process, sees the same.
    assert Publication(ledger, network.policy()).lag().witnessed == 304


def test_fewer_than_the_quorum_is_committed_and_no_more(ledger, network):
    network.urls[1] = "http://127.0.0.1:1"
    assert Publication(ledger, network.policy("2")).publish_now().state == "witnessed"
    note_events(ledger, 1)
    strict = Publication(ledger, network.policy("all"))
    result = strict.publish_now()
    assert result.state == "committed"
    assert [item.state for item in result.outcomes] == ["cosigned", "refused", "cosigned"]
    assert strict.lag().entries == 1
    assert Checkpoint.parse(split_note(strict.witnessed_note())[0]).size == 1


def test_the_budget_refuses_and_says_why_and_ends_by_itself(ledger, network, clock):
    publication = Publication(ledger, network.policy(), Budget(entries=5, seconds=600))
    publication.check_budget()
    clock.move(600)
    publication.check_budget()
    clock.move(1)
    with pytest.raises(AnchorOverdueError, match=r"1 entries since .*budget is 5 entries and 600 seconds") as caught:
        publication.check_budget()
    assert isinstance(caught.value, StoreError)
    publication.publish_now()
    publication.check_budget()
    note_events(ledger, 5)
    publication.check_budget()
    note_events(ledger, 1)
    with pytest.raises(AnchorOverdueError, match="6 entries"):
        publication.check_budget()
    publication.publish_now()
    publication.check_budget()
    # A quiet log never lags, however long it is quiet.
    clock.move(1_000_000)
    publication.check_budget()


def test_a_forked_ledger_is_shown_both_checkpoints(ledger, network, tmp_path, clock):
    """Somebody with the signing key writes another history over a copy; the witnesses know the first."""
    policy = network.policy()
    copy = restored(ledger, tmp_path)
    with Ledger.open(tmp_path / "ledger", clock=clock) as first:
        note_events(first, 6)
        assert Publication(first, policy).publish_now().state == "witnessed"
    with Ledger.open(copy, clock=clock) as second:
        publication = Publication(second, policy)
        for extra in (6, 5):  # of the same size as what the witnesses cosigned, then longer
            note_events(second, extra)
            with pytest.raises(EquivocationError) as caught:
                publication.publish_now()
            evidence = caught.value.evidence
            assert evidence.check() == "fork"
            assert evidence.claim.status == 422
            # The file convicts without us: both signatures, and the proof, from its bytes alone.
            assert Evidence.parse(evidence.to_bytes()).proven
            assert Checkpoint.parse(split_note(evidence.theirs)[0]).size == 7
        assert publication.witnessed_note() is None
        with pytest.raises(HaltedError, match="forked") as halted:
            publication.check_budget()
        with second.database.read() as connection:
            kept = list(records.evidence(connection))
        assert len(kept) == 1  # met twice, kept once
        assert kept[0].digest in str(halted.value)
        # That somebody looked is an entry, made once; the mark stands or falls with it.
        assert settle(second, kept[0].digest, "drill") == second.size() - 1
        assert settle(second, kept[0].digest, "drill") is None
        last = second.entry(second.size() - 1)
        assert last.decode().type == SETTLED
        assert json.loads(last.payload)["data"]["evidence"] == kept[0].digest
        with pytest.raises(NotFoundError):
            settle(second, "0" * 64, "drill")
        publication.check_budget()
        with pytest.raises(EquivocationError):
            publication.check_start_now()


def test_a_restored_old_backup_refuses_to_start_and_says_how_to_go_on(ledger, network, tmp_path, clock):
    policy = network.policy()
    note_events(ledger, 4)
    old = restored(ledger, tmp_path, "old")
    with Ledger.open(tmp_path / "ledger", clock=clock) as now:
        assert Publication(now, policy).publish_now().state == "witnessed"
        note_events(now, 4)
        assert Publication(now, policy).publish_now().state == "witnessed"
        newest = restored(now, tmp_path, "newest")
    with closing(Ledger.open(old, clock=clock)) as backup:
        publication = Publication(backup, policy)
        with pytest.raises(RolledBackError, match=r"cosigned 9 entries of this log; this server holds 5.*new origin"):
            publication.check_start_now()
        # Whoever starts it all the same is told when it publishes, and accepts nothing.
        with pytest.raises(EquivocationError) as caught:
            publication.publish_now()
        assert caught.value.evidence.check() == "longer"
        with pytest.raises(HaltedError, match="shortened"):
            publication.check_budget()
        publication.ledger.close()
    # The missing entries come back: the database of the newest copy, the evidence of the old one.
    with closing(Ledger.open(newest, clock=clock)) as whole:
        publication = Publication(whole, policy)
        with whole.database.write() as connection:
            records.keep_evidence(connection, caught.value.evidence)
        with pytest.raises(HaltedError):
            publication.check_budget()
        publication.check_start_now()
        note_events(whole, 1)
        assert publication.publish_now().state == "witnessed"
        publication.check_budget()


def test_refuse_below_names_the_witness_that_has_seen_most():
    refuse_below(5, {})
    refuse_below(5, {"a": 5, "b": 3})
    with pytest.raises(RolledBackError, match="witness b has cosigned 7 entries"):
        refuse_below(5, {"a": 6, "b": 7})


def test_one_lying_witness_stops_nobody(ledger, network, tools):
    """It says that it has seen more, and shows nothing: kept as a claim, and the quorum decides."""
    with tools.odd(lambda method, *_: (409, {}, b"999\n") if method == "POST" else (404, {}, b"")) as url:
        network.urls[2] = url
        publication = Publication(ledger, network.policy("2"))
        for _ in range(2):
            result = publication.publish_now()
        assert result.state == "witnessed"
        assert result.outcomes[2].state == "disputed"
        assert result.outcomes[2].evidence.check() == "claim"
        publication.check_budget()
        publication.check_start_now()
        with ledger.database.read() as connection:
            [kept] = records.evidence(connection)
        assert (kept.claim.status, kept.claim.size, kept.theirs) == (409, 999, None)


def test_a_faster_process_on_the_same_ledger_is_no_fork(ledger, network, monkeypatch):
    publication = Publication(ledger, network.policy())
    publication.publish_now()
    note_events(ledger, 1)
    from ledger.witness import publication as module

    real = module.View

    class Stale(real):
        """Between reading the checkpoint and asking, the log grows and the other process publishes."""

        raced = False

        def __init__(self, led):
            super().__init__(led)
            if not Stale.raced:
                Stale.raced = True
                note_events(led, 1)
                assert Publication(led, network.policy()).publish_now().state == "witnessed"

    monkeypatch.setattr(module, "View", Stale)
    result = publication.publish_now()
    assert [item.state for item in result.outcomes] == ["superseded"] * 3
    assert publication.lag().entries == 0
    with ledger.database.read() as connection:
        assert list(records.evidence(connection)) == []


def test_policies_that_cannot_work_are_refused_at_once(ledger, network, log):
    def text(**changes):
        lines = network.text().decode()
        for old, new in changes.items():
            lines = lines.replace(getattr(ledger, old), new)
        return parse_policy(lines.encode())

    with pytest.raises(PolicyError, match="not this one"):
        Publication(ledger, text(vkey=log.signer.vkey))
    with pytest.raises(PolicyError, match="none"):
        Publication(ledger, parse_policy(b"quorum none\n"))
    network.urls[0] = network.urls[1] = ""
    with pytest.raises(PolicyError, match="add URLs"):
        Publication(ledger, network.policy("2"))


def test_older_publications_are_thinned_to_one_an_hour(ledger, clock):
    ledger.database.ensure(records.TABLES)
    sizes = []
    for minute in range(0, 240, 20):
        note_events(ledger, 1)
        size = ledger.size()
        sizes.append((minute, size))
        note = sign_note(Checkpoint(ledger.origin, size, bytes(32)).format(), [ledger.signer])
        with ledger.database.write() as connection:
            records.keep_published(connection, size, note, clock())
        clock.move(20 * 60)
    with ledger.database.read() as connection:
        kept = [item.size for item in records.published(connection)]
        newest = records.newest(connection)
    assert kept == [size for minute, size in sizes if minute % 60 == 0] + [sizes[-1][1]]
    assert newest.size == sizes[-1][1]


def test_a_ledger_that_was_never_witnessed_has_no_published_checkpoints(ledger):
    with ledger.database.read() as connection:
        assert list(records.published(connection)) == []


def test_verify_is_not_disturbed_by_what_is_kept_beside_the_log(ledger, network):
    from ledger.verify import verify_database

    Publication(ledger, network.policy()).publish_now()
    findings = verify_database(ledger.database, ledger.vkey, vault=ledger.vault)
    assert findings.exit_code == 0


def test_by_hand(ledger, network, tmp_path, capsys):
    """`tocsin witness publish`, and the witness's `list`."""
    from typer.main import get_command

    from api.cli.witness import app

    def call(*arguments):
        code = get_command(app).main(list(arguments), standalone_mode=False)
        return code, capsys.readouterr().out

    policy = tmp_path / "policy"
    policy.write_bytes(network.text("2"))
    data = ("--data", str(tmp_path / "ledger"))
    code, text = call("publish", *data, "--policy", str(policy), "--json")
    assert not code
    assert json.loads(text)["state"] == "witnessed"
    code, text = call("evidence", *data)
    assert json.loads(text) == []
    with pytest.raises(NotFoundError):
        call("settle", "0" * 64, *data, "--why", "drill")
    network.urls = ["http://127.0.0.1:1"] * 3
    policy.write_bytes(network.text("2"))
    code, text = call("publish", *data, "--policy", str(policy))
    assert code == 3
    assert "cannot be reached" in text
    code, text = call("list", "--data", str(network.witnesses[0].store.path.parent), "--json")
    [row] = json.loads(text)["logs"]
    assert (row["origin"], row["size"], row["forks"]) == (ledger.origin, ledger.size(), [])
