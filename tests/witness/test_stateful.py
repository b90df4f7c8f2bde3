"""Whatever logs, clocks and crashes do: one root for a size, sizes and times that never fall."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ledger.merkle import verify_consistency
from ledger.notes import Verifier, open_note
from ledger.witness.config import make_witness
from ledger.witness.core import format_submission
from ledger.witness.errors import ClockError, RefusedError, Verdict
from ledger.witness.service import Witness, origin_hash

SIZES = st.integers(0, 12)
BRANCHES = st.integers(0, 2)


@pytest.mark.timeout(600)
def test_a_witness_never_contradicts_itself(tools):  # noqa: C901 - the rules of one machine
    log = tools.Log(fork_at=3)

    class Machine(RuleBasedStateMachine):
        @initialize()
        def start(self):
            self.directory = Path(tempfile.mkdtemp())
            self.clock = tools.Clock()
            make_witness(self.directory, "witness.example/w1")
            self.cosigned = []  # (size, root, time) in order
            self.roots = {}
            self.open()
            self.witness.store.add_log(log.origin, log.signer.verifier)

        def open(self):
            self.witness = Witness.open(self.directory, clock=self.clock)
            self.verifier = Verifier.from_vkey(self.witness.vkey)

        @property
        def size(self):
            return self.cosigned[-1][0] if self.cosigned else 0

        def submit(self, old, new, branch, proof):
            note = log.note(new, branch)
            try:
                lines = self.witness.add_checkpoint(format_submission(old, proof, note))
            except RefusedError as error:
                self.check_stale(error.verdict is Verdict.STALE, error.size, old)
                return
            except ClockError:
                return
            [signature] = open_note(note + lines, [self.verifier]).signatures
            self.cosigned.append((new, log.root(new, branch), signature.timestamp))

        def check_stale(self, stale, named, old):
            assert not stale or named == self.size != old

        @rule(new=SIZES, branch=BRANCHES)
        def grow(self, new, branch):
            """What an honest client, or the holder of a forked log, sends: the witness's own size."""
            proof = log.proof(self.size, new, branch) if self.size <= new else []
            self.submit(self.size, new, branch, proof)

        @rule(old=SIZES, new=SIZES, branch=BRANCHES)
        def guess(self, old, new, branch):
            self.submit(old, new, branch, log.proof(old, new, branch) if old <= new else [])

        @rule(new=SIZES, branch=BRANCHES, proof=st.lists(st.sampled_from(log.leaves(12)), max_size=3))
        def lie(self, new, branch, proof):
            self.submit(self.size, new, branch, proof)

        @rule(seconds=st.integers(-100, 100))
        def drift(self, seconds):
            self.clock.move(seconds)

        @rule()
        def restart(self):
            self.witness.close()
            self.open()

        @invariant()
        def consistent(self):
            last = None
            for entry in self.cosigned[-2:]:
                size, root, time = entry
                assert self.roots.setdefault(size, root) == root
                if last is not None:
                    assert last[0] <= size
                    assert last[2] <= time
                last = entry
            if len(self.cosigned) > 1:
                before, after = self.cosigned[-2:]
                branches = [b for b in range(3) if log.root(after[0], b) == after[1]]
                assert any(log.root(before[0], b) == before[1] for b in branches)
                proof = log.proof(before[0], after[0], branches[0])
                verify_consistency(before[0], after[0], before[1], after[1], proof)

        @invariant()
        def shown(self):
            if self.cosigned:
                shown = self.witness.latest(origin_hash(log.origin))
                opened = open_note(shown, [self.verifier, log.signer.verifier])
                assert opened.text.split("\n")[1] == str(self.size)
                assert opened.signatures[-1].timestamp == self.cosigned[-1][2]

        def teardown(self):
            self.witness.close()
            shutil.rmtree(self.directory)

    class Case(Machine.TestCase):
        settings = settings(max_examples=60, stateful_step_count=25, deadline=None)

    case = Case("runTest")
    case.runTest()
