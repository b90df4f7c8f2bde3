"""Full verification: hash everything again and say what is proven, what is not, and what is broken.

One walk in log order over entries, payloads, tiles and read models, with the signed checkpoints laid
beside it (`ledger.verifying`). Nothing stored is believed: entries are re-hashed to leaves, leaves to
roots, roots are compared with what the log's key signed and what witnesses cosigned, payloads with
their commitments. The first damage in log order is named with its index and kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ledger.errors import InputError, StoreDamagedError, TocsinError, VerificationError
from ledger.findings import EXIT_DAMAGED, EXIT_INTACT, EXIT_NOT_ANCHORED, EXIT_UNREADABLE, Damage, Findings
from ledger.notes import Verifier
from ledger.policy import Policy, parse_policy
from ledger.proofs import verify_checkpoint
from ledger.recovery import lostpayloads
from ledger.recovery.succession import read_lineage
from ledger.store.connection import Connection
from ledger.store.database import Database
from ledger.store.log import read_head
from ledger.vault import Vault
from ledger.verify_tables import check_tables, other_tables, read_indexed
from ledger.verifying.known import Known, read_known
from ledger.verifying.parts import SPAN, absorb, laid, workers
from ledger.verifying.place import Laid
from ledger.verifying.resume import FILE, Verified, read_verified, write_verified
from ledger.verifying.walk import Progress, Walk
from ledger.witness import records


@dataclass(frozen=True, slots=True)
class Beside:
    """Tables that another package keeps beside the log, and how they are held against it.

    Attributes:
        tables: the tables that `check` proves.
        check: yields what contradicts the log, given a connection in a read snapshot.
    """

    tables: frozenset[str]
    check: Callable[[Connection], Iterable[Damage]]


Remember = tuple[Path, Callable[[], datetime]]
"""Where what was verified is kept, and the clock that dates it."""


def verify_database(
    database: Database,
    vkey: str,
    *,
    vault: Vault | None = None,
    policy: bytes | None = None,
    progress: Progress = lambda _done, _total: None,
    jobs: int = 1,
    remember: Remember | None = None,
    incremental: bool = False,
    span: int = SPAN,
    beside: Sequence[Beside] = (),
) -> Findings:
    """Verify the whole log, or what it gained since an earlier verification.

    Args:
        database: the store.
        vkey: one of the log's verifier keys; the others are known from rotations that both keys signed.
        vault: opened vault whose rows are decrypted too; None leaves that unchecked.
        policy: tlog-policy text that a checkpoint of the log must satisfy.
        progress: called now and then.
        jobs: processes to walk with; logs shorter than two spans are walked in this one.
        remember: the file that keeps how far an intact log was verified; written when this run finds no
            damage.
        incremental: begin where that file says; without one, or with one that does not fit, at 0.
        span: entries in a part, a multiple of 256; tests make it small.
        beside: tables of other packages to hold against the log in a full run.

    Raises:
        StoreError: the database cannot be read at all.
        PolicyError: the policy is malformed.
        ConfigError: what is to be remembered cannot be written.
    """
    required = None if policy is None else parse_policy(policy)
    run = _Run(database, Verifier.from_vkey(vkey), progress)
    try:
        with database.read() as connection:
            run.begin(connection, None if remember is None or not incremental else remember[0])
            run.walk(connection, jobs, span)
            run.check_lineage(connection)
            run.check_rest(connection, vault, beside)
    except StoreDamagedError as error:
        if run.findings.size == 0:
            raise
        run.findings.damage.append(Damage("store_damaged", run.done, str(error)))
    run.anchor(required)
    run.say_limits(vault is not None)
    if remember is not None and not run.findings.damage:
        run.keep(remember)
    return run.findings


class _Run:
    """One verification; `walk` does the log, the rest compares what lies beside it."""

    def __init__(self, database: Database, verifier: Verifier, progress: Progress) -> None:
        self._database = database
        self._verifier = verifier
        self._progress = progress
        self._before: Verified | None = None
        self._walk: Walk | None = None
        self._sound = False  # the store found its own structure in order while others walked
        self.findings = Findings()

    @property
    def done(self) -> int:
        """Entries walked so far."""
        return 0 if self._walk is None else self._walk.done

    def begin(self, connection: Connection, path: Path | None) -> None:
        """Look where the walk begins and ends."""
        known = read_known(connection, self._verifier)
        total = max(0, connection.execute("SELECT coalesce(max(position), 0) FROM event").fetchone()[0])
        beside = laid(connection)
        self._walk = Walk(known, indexed=read_indexed(connection), progress=self._progress, total=total)
        if path is not None:
            beside += self._resume(connection, path, known, total)
        self._walk.laid = sorted(beside, key=lambda item: item.size)
        self.findings = self._walk.findings
        self.findings.size = total

    def _resume(self, connection: Connection, path: Path, known: Known, total: int) -> list[Laid]:
        """Begin where an earlier run ended, or give its checkpoint to be laid beside a walk from 0."""
        old = None
        try:
            old = read_verified(path)
            if old is None:
                return []
            growth = old.growth(connection, known)
        except (InputError, TypeError) as error:
            why = str(error) if isinstance(error, InputError) else "the newest entries it covers are damaged"
            assert self._walk is not None
            self._walk.findings.notes.append(f"{FILE} was not built upon: {why}; everything was hashed again")
            return [] if old is None else old.laid(known)
        self._before = old
        self._walk = Walk(
            known,
            growth=growth,
            place=old.place(),
            indexed=read_indexed(connection),
            progress=self._progress,
            total=total,
        )
        findings = self._walk.findings
        findings.mode, findings.start, findings.trusted = "incremental", old.size, old.trusted()
        if old.witnessed is not None:
            self._walk.matched.append(Laid(*old.witnessed))
        return []

    def walk(self, connection: Connection, jobs: int, span: int) -> None:
        """Walk the log, absorbing what workers walked ahead."""
        walk = self._walk
        assert walk is not None
        total = self.findings.size
        # Whole parts only: what lies before the first one, this process walks itself.
        starts = range(-(-walk.done // span) * span, total, span)
        indexed = read_indexed(connection)
        with (
            workers(
                self._database.address, self._verifier.vkey, starts, total=total, indexed=indexed, jobs=jobs
            ) as take,
            self._structure(jobs, len(starts)),
        ):
            while walk.done < total and not walk.over:
                stop = min((walk.done // span + 1) * span, total)
                part = take(walk.done)
                if part is None or not absorb(walk, part):
                    before = walk.done
                    walk.walk(connection, stop)
                    if walk.done == before:
                        break
                self._progress(walk.done, total)
        if total < 1:
            walk.walk(connection, total)  # rows before the first place
        walk.finish(connection)

    @contextmanager
    def _structure(self, jobs: int, parts: int) -> Iterator[None]:
        """Have the store check its own structure while this process waits for others to walk.

        What it finds wrong counts only when the check is repeated at its turn.
        """
        if jobs < 2 or parts < 2 or self._before is not None or not self._database.checks_itself:  # noqa: PLR2004 - then nobody else walks
            yield
            return
        with ThreadPoolExecutor(1) as thread:
            found = thread.submit(self._is_sound)
            yield
            self._sound = found.result()

    def _is_sound(self) -> bool:
        try:
            with self._database.read() as connection:
                return self._database.check(connection) is None
        except TocsinError:
            return False

    def check_lineage(self, connection: Connection) -> None:
        """Say where the log comes from, and whether what it says of that holds."""
        walk = self._walk
        assert walk is not None
        lines, wrong = read_lineage(connection)
        lost = walk.known.lost
        missing = lostpayloads.count(connection, lost, walk.known.erased)
        said = [each.line() for each in missing]
        self.findings.lineage += [*lines, *walk.known.keys.lines(), *said, *records.lines(connection)]
        self.findings.lost = [each.as_json() for each in missing]
        for damage in (*lost.damage(), *(damage for each in missing for damage in each.damage())):
            walk.damaged(*damage)
        for each in missing:
            if each.payloads:
                self.findings.not_checked.append(
                    f"what {each.payloads} entries rebuilt from tiles committed to: those payloads are lost, as entry "
                    f"{each.event} records"
                )
        if wrong is not None:
            walk.damaged("predecessor_invalid", 0, wrong)

    def check_rest(self, connection: Connection, vault: Vault | None, beside: Sequence[Beside]) -> None:
        """Compare what lies beside the log; in vain once the log itself is damaged, but for the vault."""
        walk, findings = self._walk, self.findings
        assert walk is not None
        if not findings.damage:
            for damage in walk.growth.check_tiles(connection):
                walk.damaged(*damage)
            findings.tiles = walk.growth.checked
            self._check_head(connection, walk)
            for damage in check_tables(connection, walk.done, walk.place.producers):
                walk.damaged(*damage)
            findings.root = walk.growth.tree.root().hex()
        findings.gaps = [gap[1:] for gap in sorted(walk.gaps)]
        findings.witnessed = max((item.size for item in walk.matched if item.what == "witnessed"), default=0)
        self._check_beside(connection, beside)
        if self._before is not None:
            findings.not_checked.append("the vault's rows, and the database file's own structure: a full run does")
            return
        if vault is not None:
            try:
                findings.identities = vault.check_all(connection)
            except StoreDamagedError as error:
                walk.damaged("vault_altered", None, str(error))
        structure = None if self._sound else self._database.check(connection)
        if structure is not None:
            walk.damaged("store_damaged", None, structure)
        if not self._database.checks_itself:
            findings.not_checked.append(
                "the store's own structure and indexes: pg_amcheck checks a PostgreSQL server's"
            )

    def _check_beside(self, connection: Connection, beside: Sequence[Beside]) -> None:
        proven: set[str] = set()
        if self._before is None and not self.findings.damage:
            for each in beside:
                self.findings.damage += each.check(connection)
                proven |= each.tables
        others = [name for name in other_tables(connection) if name not in proven]
        if others:
            self.findings.not_checked.append(f"tables that other parts keep beside the log: {', '.join(others)}")

    def _check_head(self, connection: Connection, walk: Walk) -> None:
        place = walk.place
        if place.signed != walk.done:
            walk.damaged("checkpoint_missing", place.signed, "The newest entries have no checkpoint.")
        try:
            head = read_head(connection)
            same = (head.size, head.chain, head.recorded, head.root) == (
                walk.done,
                place.chain,
                place.recorded,
                walk.growth.tree.root(),
            )
        except (TocsinError, TypeError):
            same = False
        if not same:
            walk.damaged("head_altered", None, "The row that holds the end of the log is not what the log says.")

    def anchor(self, policy: Policy | None) -> None:
        """Find the newest checkpoint that satisfies the policy, among the witnessed ones and the log's own."""
        walk, findings = self._walk, self.findings
        if policy is None:
            return
        own = None if walk is None else walk.newest or (self._before.note if self._before else None)
        notes = [] if walk is None else [item.note for item in reversed(walk.matched) if item.what == "witnessed"]
        if own is None:
            findings.policy = "there is no checkpoint to hold against the policy"
            return
        for note in [own, *notes]:
            try:
                checkpoint, _ = verify_checkpoint(note, policy)
            except VerificationError as error:
                findings.policy = findings.policy or str(error)
                continue
            findings.policy = "satisfied"
            findings.anchored = 0 if policy.quorum is None else checkpoint.size
            return

    def say_limits(self, with_vault: bool) -> None:
        """State what this run did not prove."""
        if not with_vault and self._before is None:
            self.findings.not_checked.append("the vault's rows: they need the vault key")
        if self.findings.witnessed and self.findings.policy is None:
            self.findings.not_checked.append("who cosigned the witnessed checkpoints: a policy says whom to believe")
        self.findings.not_checked += [
            "that what producers said is true",
            "that producers sent everything: only gaps in sequences they numbered show",
        ]

    def keep(self, remember: Remember) -> None:
        """Keep how far the log was found intact."""
        path, clock = remember
        if self._walk is not None:
            found = Verified.of(self._walk, clock(), self._before)
            if found is not None:
                write_verified(path, found)


__all__ = [
    "EXIT_DAMAGED",
    "EXIT_INTACT",
    "EXIT_NOT_ANCHORED",
    "EXIT_UNREADABLE",
    "Damage",
    "Findings",
    "Progress",
    "verify_database",
]
