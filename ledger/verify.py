"""Full verification: hash everything again and say what is proven, what is not, and what is broken.

One pass in log order over entries, payloads, tiles and read models, with the signed checkpoints laid
beside it. Nothing stored is believed: entries are re-hashed to leaves, leaves to roots, roots are
compared with what the log's key signed, payloads with their commitments. The first damage in log
order is named with its index and kind.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from ledger import access
from ledger.checkpoint import Checkpoint
from ledger.encoding import parse
from ledger.entries import Entry, StoredEntry, commits_to
from ledger.errors import InputError, NoteError, StoreDamagedError, TocsinError, VerificationError
from ledger.findings import EXIT_DAMAGED, EXIT_INTACT, EXIT_NOT_ANCHORED, EXIT_UNREADABLE, Damage, Findings
from ledger.merkle import CompactRange, leaf_hash
from ledger.notes import Verifier, open_note
from ledger.policy import Policy, parse_policy
from ledger.proofs import verify_checkpoint
from ledger.seal import GENESIS_CHAIN, chain_hash
from ledger.store.database import Database
from ledger.store.log import read_head
from ledger.tiles import MAX_LEVEL, TILE_HEIGHT, TILE_WIDTH
from ledger.vault import Vault
from ledger.verify_tables import check_tables, other_tables, read_indexed
from ledger.vocabulary import OWN_SOURCE

_PAGE: Final = 1000
_SEQUENCE_DIGITS: Final = 18
Progress = Callable[[int, int], None]
"""Called with (entries checked, entries in all)."""


def verify_database(
    database: Database,
    vkey: str,
    *,
    vault: Vault | None = None,
    policy: bytes | None = None,
    progress: Progress = lambda _done, _total: None,
) -> Findings:
    """Verify the whole log.

    Args:
        database: the store.
        vkey: the log's verifier key.
        vault: opened vault whose rows are decrypted too; None leaves that unchecked.
        policy: tlog-policy text that the newest checkpoint must satisfy.
        progress: called now and then.

    Raises:
        StoreError: the database cannot be read at all.
        PolicyError: the policy is malformed.
    """
    required = None if policy is None else parse_policy(policy)
    run = _Run(Verifier.from_vkey(vkey), progress)
    try:
        with database.read() as connection:
            run.walk(connection)
            if vault is not None:
                run.check_vault(connection, vault)
            run.check_structure(connection)
    except StoreDamagedError as error:
        if run.findings.size == 0:
            raise
        run.damaged("store_damaged", run.done, str(error))
    run.anchor(required)
    if vault is None:
        run.findings.not_checked.append("the vault's rows: they need the vault key")
    run.findings.not_checked += [
        "that what producers said is true",
        "that producers sent everything: only gaps in sequences they numbered show",
    ]
    return run.findings


class _Run:
    def __init__(self, verifier: Verifier, progress: Progress) -> None:
        self.findings = Findings()
        self.done = 0
        self._verifier = verifier
        self._progress = progress
        self._tree = CompactRange()
        self._chain = GENESIS_CHAIN
        self._recorded = ""
        self._versions: dict[str, int] = {}
        self._sequences: dict[str, str] = {}
        self._levels: dict[int, list[bytes]] = {}
        self._open: list[bytes] = []
        self._newest: tuple[Checkpoint, bytes] | None = None
        self._broken: int | None = None  # first entry since then whose chain hash is wrong
        self._unsigned: int | None = None  # size since then at which a checkpoint is missing
        self._producers = 0

    def damaged(self, kind: str, index: int | None, message: str) -> None:
        self.findings.damage.append(Damage(kind, index, message))

    def _sort(self) -> None:
        # Damage found by different checks of one page is put in log order.
        self.findings.damage.sort(key=lambda damage: -1 if damage.index is None else damage.index)

    @property
    def _intact(self) -> bool:
        return not self.findings.damage

    def walk(self, connection: sqlite3.Connection) -> None:
        total = connection.execute("SELECT coalesce(max(position), 0) FROM event").fetchone()[0]
        checkpoints = _Ahead(connection.execute("SELECT size, note FROM checkpoint ORDER BY size"))
        self.findings.size = total
        indexed = read_indexed(connection)
        for rows in _pages(connection):
            self._check_page(connection, rows, checkpoints, indexed)
            self._progress(self.done, total)
            if not self._intact:
                # What follows the first damage of the log proves nothing about its cause.
                break
        if self._broken is not None:
            self._entry_altered(self._broken)
            self._sort()
        if not self._intact:
            return
        for row in checkpoints.upto(None):
            self.damaged("entry_missing", self.done, f"A checkpoint signs {row['size']} entries; {self.done} are left.")
        self._check_tiles(connection)
        self._check_head(connection)
        for kind, index, message in check_tables(connection, self.done, self._producers):
            self.damaged(kind, index, message)
        self.findings.root = self._tree.root().hex()

    def _check_page(
        self,
        connection: sqlite3.Connection,
        rows: Sequence[sqlite3.Row],
        checkpoints: _Ahead,
        indexed: int,
    ) -> None:
        decoded: list[tuple[StoredEntry, Entry]] = []
        for row in rows:
            before = self._recorded
            entry = self._check_row(row)
            if entry is None:
                break
            if entry.recorded != before and self.done > 1 and self._signed != self.done - 1:
                # All entries of one commit share the time, so here a commit ended, and each was signed.
                self._unsigned = self._unsigned or self.done - 1
            decoded.append((StoredEntry(row["position"] - 1, row["entry"], row["payload"], row["salt"]), entry))
            for checkpoint in checkpoints.upto(self.done):
                self._check_checkpoint(checkpoint)
        for stored, entry in decoded:
            self._check_producer(connection, stored, entry)
        if decoded and decoded[0][0].index < indexed:
            self._check_accesses(connection, [pair for pair in decoded if pair[0].index < indexed])
        self._sort()

    def _check_row(self, row: sqlite3.Row) -> Entry | None:
        """Check one event row; None when the log cannot be followed past it."""
        index = self.done
        if row["position"] != index + 1:
            self.damaged("entry_missing", index, "The entry is missing from the log.")
            return None
        try:
            entry = Entry.decode(row["entry"])
        except InputError as error:
            self.damaged("entry_altered", index, f"The entry is not what was recorded. {error}")
            return None
        leaf = leaf_hash(row["entry"])
        self._chain = chain_hash(self._chain, leaf)
        if self._chain != row["chain"] and self._broken is None:
            # Which of the two was altered, the entry or the chain, the next signed root will tell.
            self._broken = index
        self._grow(leaf)
        if (_hex(row["stream"]), row["version"], row["topic"]) != (
            entry.stream.replace("-", ""),
            entry.version,
            entry.type,
        ):
            self.damaged("row_altered", index, "The columns beside the entry contradict it.")
        expected = self._versions.get(entry.stream, 0) + 1
        self._versions[entry.stream] = entry.version
        if entry.version != expected:
            self.damaged("stream_gap", index, f"The stream goes on with version {entry.version} instead of {expected}.")
        if entry.recorded < self._recorded:
            self.damaged("time_reversed", index, "The entry was recorded before the one it follows.")
        self._recorded = entry.recorded
        self._check_payload(row, entry, index)
        self.done += 1
        return entry

    def _check_payload(self, row: sqlite3.Row, entry: Entry, index: int) -> None:
        if row["payload"] is None or row["salt"] is None:
            self.damaged("payload_missing", index, "The payload is gone, and no recorded erasure covers it.")
        elif not (
            isinstance(row["salt"], bytes)
            and isinstance(row["payload"], bytes)
            and commits_to(entry.commitment, row["salt"], row["payload"])
        ):
            self.damaged("payload_altered", index, "The payload or its salt is not what the entry commits to.")
        else:
            self.findings.payloads += 1

    def _grow(self, leaf: bytes) -> None:
        self._open.append(leaf)
        for level, (_, hashes) in enumerate(self._tree.extend((leaf,))):
            if level and level % TILE_HEIGHT == 0:
                self._levels.setdefault(level // TILE_HEIGHT, []).extend(hashes)

    @property
    def _signed(self) -> int:
        """Size of the newest good checkpoint so far."""
        return self._newest[0].size if self._newest else 0

    def _entry_altered(self, index: int) -> None:
        self._broken = None
        kinds = {damage.kind for damage in self.findings.damage if damage.index == index}
        if "stream_gap" in kinds and "row_altered" not in kinds:
            return  # a whole row is missing or in another's place, and that was said
        message = "The entry is not what was recorded: its chain hash does not fit."
        self.findings.damage.insert(0, Damage("entry_altered", index, message))

    def _check_checkpoint(self, row: sqlite3.Row) -> None:
        since = self._signed
        try:
            note = row["note"] if isinstance(row["note"], bytes) else b""
            checkpoint = Checkpoint.parse(open_note(note, [self._verifier]).text)
        except NoteError as error:
            self.damaged("checkpoint_altered", since, f"The checkpoint of size {row['size']} does not verify. {error}")
            return
        if checkpoint != Checkpoint(self._verifier.name, row["size"], self._tree.root()):
            if self._broken is not None:
                self._entry_altered(self._broken)
                return
            self.damaged(
                "root_mismatch",
                since,
                f"Entries {since} to {row['size'] - 1} do not hash to the root that was signed for them.",
            )
            return
        if self._broken is not None:
            self.damaged("chain_altered", self._broken, "The chain hash beside the entry is not what was recorded.")
            self._broken = None
        if self._unsigned is not None:
            self.damaged("checkpoint_missing", since, f"No checkpoint signs {self._unsigned} entries.")
            self._unsigned = None
        self._newest = (checkpoint, note)
        self.findings.checkpoints += 1

    def _check_producer(self, connection: sqlite3.Connection, stored: StoredEntry, entry: Entry) -> None:
        if entry.source == OWN_SOURCE:
            return
        self._producers += 1
        if stored.payload is None:
            return
        try:
            payload = parse(stored.payload)
        except InputError:
            payload = None
        if not isinstance(payload, dict):
            return  # reported as an altered payload already
        seen = connection.execute(
            "SELECT position, digest FROM seen WHERE id = ? AND source = (SELECT number FROM source WHERE uri = ?)",
            (entry.id, entry.source),
        ).fetchone()
        if seen is None or (seen["position"], _hex(seen["digest"])) != (
            stored.index + 1,
            payload.get("submission"),
        ):
            self.damaged("duplicate_guard_altered", stored.index, "The row that recognises repeated events is wrong.")
        sequence = payload.get("sequence")
        if (
            isinstance(sequence, str)
            and sequence.isascii()
            and sequence.isdigit()
            and len(sequence) <= _SEQUENCE_DIGITS
        ):
            before = self._sequences.get(entry.source)
            if before is not None and int(sequence) > int(before) + 1:
                self.findings.gaps.append((entry.source, before, sequence))
            self._sequences[entry.source] = sequence

    def _check_accesses(self, connection: sqlite3.Connection, decoded: Sequence[tuple[StoredEntry, Entry]]) -> None:
        first, last = decoded[0][0].index + 1, decoded[-1][0].index + 1
        rows = connection.execute(
            "SELECT position, part, time, type, action, outcome, actor, credential, address, resource, container,"
            " subject FROM access_row WHERE position BETWEEN ? AND ? ORDER BY position, part",
            (first, last),
        ).fetchall()
        found = [tuple(row) for row in rows]
        expected = []
        for stored, entry in decoded:
            try:
                touched = access.accesses(stored, entry)
            except (TocsinError, AttributeError, KeyError, TypeError):
                continue  # an altered payload, reported already
            expected += [
                (a.index + 1, part, a.time, a.type, a.action, a.outcome, a.actor, a.credential, a.address,
                 a.resource, a.container, a.subject)
                for part, a in enumerate(touched)
            ]  # fmt: skip
        if found != expected:
            both = zip(found, expected, strict=False)
            place = next(
                (min(a[0], b[0]) for a, b in both if a != b), max(rows[-1][0] for rows in (found, expected) if rows)
            )
            self.damaged("read_model_altered", int(place) - 1, "The access index says something else than the log.")
        self.findings.accesses += len(found)

    def _check_tiles(self, connection: sqlite3.Connection) -> None:
        full = len(self._open) // TILE_WIDTH
        expected = {(0, number): self._tile(self._open, number) for number in range(full)}
        for level, hashes in self._levels.items():
            for number in range(-(-len(hashes) // TILE_WIDTH)):
                expected[level, number] = self._tile(hashes, number)
        for row in connection.execute("SELECT level, number, hashes FROM tile"):
            if expected.pop((row["level"], row["number"]), None) != row["hashes"]:
                level, number = row["level"], row["number"]
                known = isinstance(level, int) and isinstance(number, int) and 0 <= level <= MAX_LEVEL
                index = number * TILE_WIDTH ** (level + 1) if known else None
                self.damaged("tile_altered", index, f"Tile {level}/{number} does not hold the tree's hashes.")
            self.findings.tiles += 1
        for level, number in expected:
            self.damaged("tile_missing", number * TILE_WIDTH ** (level + 1), f"Tile {level}/{number} is missing.")

    @staticmethod
    def _tile(hashes: Sequence[bytes], number: int) -> bytes:
        return b"".join(hashes[number * TILE_WIDTH : (number + 1) * TILE_WIDTH])

    def _check_head(self, connection: sqlite3.Connection) -> None:
        if self._signed != self.done:
            self.damaged("checkpoint_missing", self._signed, "The newest entries have no checkpoint.")
        try:
            head = read_head(connection)
            same = (head.size, head.chain, head.recorded, head.root) == (
                self.done,
                self._chain,
                self._recorded,
                self._tree.root(),
            )
        except (TocsinError, TypeError):
            same = False
        if not same:
            self.damaged("head_altered", None, "The row that holds the end of the log is not what the log says.")

    def check_vault(self, connection: sqlite3.Connection, vault: Vault) -> None:
        try:
            self.findings.identities = vault.check_all(connection)
        except StoreDamagedError as error:
            self.damaged("vault_altered", None, str(error))

    def check_structure(self, connection: sqlite3.Connection) -> None:
        others = other_tables(connection)
        if others:
            self.findings.not_checked.append(f"tables that other parts keep beside the log: {', '.join(others)}")
        result = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if result != "ok":
            self.damaged("store_damaged", None, "The database file is damaged in its own structure or indexes.")

    def anchor(self, policy: Policy | None) -> None:
        if policy is None or self._newest is None:
            self.findings.policy = None if policy is None else "there is no checkpoint to hold against the policy"
            return
        try:
            checkpoint, _ = verify_checkpoint(self._newest[1], policy)
        except VerificationError as error:
            self.findings.policy = str(error)
            return
        self.findings.policy = "satisfied"
        self.findings.anchored = 0 if policy.quorum is None else checkpoint.size


class _Ahead:
    """Reads an ordered cursor of checkpoints as far as the walk has come."""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._cursor = cursor
        self._next: sqlite3.Row | None = cursor.fetchone()

    def upto(self, size: int | None) -> Iterator[sqlite3.Row]:
        while self._next is not None and (size is None or self._next["size"] <= size):
            yield self._next
            self._next = self._cursor.fetchone()


def _hex(value: Any) -> str | None:
    """Hex of a column that should hold bytes; a damaged file can give any type."""
    return value.hex() if isinstance(value, bytes) else None


def _pages(connection: sqlite3.Connection) -> Iterator[Sequence[sqlite3.Row]]:
    position = -1
    while True:
        rows = connection.execute(
            "SELECT position, stream, version, topic, entry, chain, salt, payload FROM event"
            " WHERE position > ? ORDER BY position LIMIT ?",
            (position, _PAGE),
        ).fetchall()
        if not rows:
            return
        yield rows
        position = rows[-1]["position"]


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
