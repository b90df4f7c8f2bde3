"""A key that was stolen: a witness stops trusting it, and forgets nothing."""

import json
import subprocess
import sys
from contextlib import closing

import pytest

from ledger.errors import ConfigError, NotFoundError, StoreDamagedError
from ledger.notes import sign_note, split_note
from ledger.witness.config import load_cosigner, read_witness_config
from ledger.witness.core import format_submission
from ledger.witness.errors import RefusedError
from ledger.witness.service import Witness, origin_hash
from ledger.witness.store import WitnessStore


@pytest.fixture
def new(log, tools):
    """The log after its key was changed: the same leaves under another key."""
    return tools.Log(log.origin, seed=b"\x22" * 32, fork_at=log.fork_at)


def submit(witness, log, old, size, branch=0):
    return witness.add_checkpoint(log.body(old, size, branch))


def test_what_the_removed_key_signs_is_refused_and_what_it_signed_is_remembered(witness, log, new):
    submit(witness, log, 0, 5)
    witness.store.add_log(log.origin, new.signer.verifier)
    witness.store.remove_log_key(log.origin, log.signer.verifier)
    with pytest.raises(RefusedError) as refused:
        submit(witness, log, 5, 8)
    assert refused.value.verdict == 403
    # The newest cosigned checkpoint is still shown, under the key that signed it then.
    shown = witness.latest(origin_hash(log.origin))
    assert shown.startswith(log.note(5))
    # And still binds: the new key can no more go back or aside than the old one.
    with pytest.raises(RefusedError) as refused:
        submit(witness, new, 0, 4)
    assert (refused.value.verdict, refused.value.size) == (409, 5)
    with pytest.raises(RefusedError) as refused:
        submit(witness, new, 5, 5, branch=1)
    assert (refused.value.verdict, refused.value.forked) == (422, True)
    assert submit(witness, new, 5, 8)
    [known] = witness.store.logs()
    assert (known.vkeys, known.retired) == ((new.signer.vkey,), (log.signer.vkey,))


def test_a_key_that_is_removed_while_a_request_is_answered_has_nothing_cosigned(witness, log, new, clock):
    """The removal has returned, so what is stored after it must not count the key, whenever it was looked at."""
    witness.store.add_log(log.origin, new.signer.verifier)

    def between():
        # After the keys were read, before the state is stored: another process removes the key.
        with closing(WitnessStore(witness.store.path)) as store:
            if log.signer.verifier in store.verifiers(log.origin):
                store.remove_log_key(log.origin, log.signer.verifier)
        return clock()

    raced = Witness(
        witness.store, load_cosigner(read_witness_config(witness.store.path.parent), witness.store.path.parent), between
    )
    both = sign_note(split_note(log.note(5))[0], [new.signer, log.signer])
    with pytest.raises(RefusedError) as refused:
        submit(raced, log, 0, 5)
    assert refused.value.verdict == 403
    assert witness.store.logs()[0].state is None
    # What the other key signs too is taken, and the removed key's signature is not kept with it.
    witness.store.add_log(log.origin, log.signer.verifier, again=True)
    assert raced.add_checkpoint(format_submission(0, [], both))
    assert witness.store.logs()[0].state.note == new.note(5)


def test_it_starts_again_with_a_checkpoint_that_only_the_removed_key_signed(witness, log, new):
    submit(witness, log, 0, 5)
    witness.store.add_log(log.origin, new.signer.verifier)
    witness.store.remove_log_key(log.origin, log.signer.verifier)
    witness.close()
    with closing(WitnessStore(witness.store.path)) as store:
        assert store.verifiers(log.origin) == (new.signer.verifier,)
        assert store.logs()[0].state.checkpoint.size == 5


def test_a_checkpoint_that_both_keys_sign_is_taken(witness, log, new):
    """The one that covers the rotation, if it comes after the removal."""
    submit(witness, log, 0, 5)
    witness.store.add_log(log.origin, new.signer.verifier)
    witness.store.remove_log_key(log.origin, log.signer.verifier)
    both = sign_note(split_note(log.note(6))[0], [new.signer, log.signer])
    assert witness.add_checkpoint(format_submission(5, log.proof(5, 6), both))


def test_the_last_key_needs_a_flag_and_the_memory_stays(witness, log, new):
    submit(witness, log, 0, 5)
    store = witness.store
    with pytest.raises(ConfigError, match="last key"):
        store.remove_log_key(log.origin, log.signer.verifier)
    with pytest.raises(NotFoundError):
        store.remove_log_key(log.origin, new.signer.verifier)
    with pytest.raises(NotFoundError):
        store.remove_log_key("log.example/other", log.signer.verifier)
    assert submit(witness, log, 5, 6)
    store.remove_log_key(log.origin, log.signer.verifier, last=True)
    with pytest.raises(RefusedError) as refused:
        submit(witness, log, 6, 7)
    assert refused.value.verdict == 404
    assert [(item.origin, item.vkeys, item.state.checkpoint.size) for item in store.logs()] == [(log.origin, (), 6)]
    # With another key it goes on from what it remembers.
    store.add_log(log.origin, new.signer.verifier)
    with pytest.raises(RefusedError) as refused:
        submit(witness, new, 0, 7)
    assert (refused.value.verdict, refused.value.size) == (409, 6)


def test_a_removed_key_does_not_come_back_by_mistake(witness, log, new):
    store = witness.store
    store.add_log(log.origin, new.signer.verifier)
    store.remove_log_key(log.origin, log.signer.verifier)
    with pytest.raises(ConfigError, match="--again"):
        store.add_log(log.origin, log.signer.verifier)
    assert store.verifiers(log.origin) == (new.signer.verifier,)
    assert store.add_log(log.origin, log.signer.verifier, again=True)
    assert set(store.verifiers(log.origin)) == {log.signer.verifier, new.signer.verifier}
    assert store.logs()[0].retired == ()


def test_by_the_command_line_while_it_is_served(witness, log, new, tools):
    directory = witness.store.path.parent

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-c", "from api.cli import main; main()", "witness", *arguments, "--data", str(directory)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    with tools.running(witness) as url:
        assert tools.post(url, log.body(0, 5)).status == 200
        assert run("remove-log-key", log.signer.vkey).returncode == 1
        assert run("add-log", new.signer.vkey, "--origin", log.origin).returncode == 0
        removed = run("remove-log-key", log.signer.vkey, "--json")
        assert json.loads(removed.stdout) == {
            "origin": log.origin,
            "removed": log.signer.vkey,
            "vkeys": [new.signer.vkey],
        }
        assert tools.post(url, log.body(5, 8)).status == 403
        assert tools.post(url, new.body(5, 8)).status == 200
        listed = json.loads(run("list", "--json").stdout)["logs"][0]
        assert (listed["vkeys"], listed["removed"]) == ([new.signer.vkey], [log.signer.vkey])
        again = run("add-log", log.signer.vkey)
        assert (again.returncode, "--again" in again.stderr) == (1, True)


def test_an_empty_database_is_no_memory(witness):
    """The table of removed keys is added to older memories; nothing else is ever made up."""
    path = witness.store.path
    witness.close()
    path.unlink()
    path.touch()
    with pytest.raises(StoreDamagedError, match="memory"):
        WitnessStore(path)
