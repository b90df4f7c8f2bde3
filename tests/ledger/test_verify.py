"""The tamper campaign: each kind of damage has its own verdict and names the first entry concerned."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ledger import Ledger
from ledger.checkpoint import Checkpoint
from ledger.config import DATABASE, read_config
from ledger.entries import Entry, commit
from ledger.errors import InputError, NotFoundError, PolicyError, StoreDamagedError, TocsinError
from ledger.findings import GRAVITY
from ledger.keys import load_kek, load_signer
from ledger.merkle import CompactRange, leaf_hash, node_hash
from ledger.notes import CosignatureSigner, Signer, add_signatures, sign_note
from ledger.store.sqlite import SqliteDatabase
from ledger.vault import Vault
from ledger.verify import Findings, verify_database
from ledger.verifying import parts
from ledger.verifying.parts import scan
from ledger.verifying.resume import FILE
from ledger.witness import records

pytestmark = pytest.mark.sqlite

BATCHES = (1, 7, 250, 40, 1, 250, 60)
STARTS = [1 + sum(BATCHES[:number]) for number in range(len(BATCHES))]
SIZE = 1 + sum(BATCHES)
VICTIM = 280
SINCE = 259
"""The commit that VICTIM belongs to started here."""


def build(kit, directory: Path, batches: Sequence[int]) -> Path:
    """A closed ledger with one commit per batch, all of it in one file."""
    clock = kit.clock()
    first = 1
    with kit.create(directory, clock=clock) as ledger:
        for count in batches:
            clock.move(1)
            numbers = range(first, first + count)
            ledger.append([kit.event(number, data={"text": f"note {number}"}) for number in numbers])
            first += count
        ledger.access.follow()
        assert ledger.size() == first
    assert not list(directory.glob("*-wal"))
    return directory


@pytest.fixture(scope="module")
def original(tmp_path_factory, kit) -> Path:
    return build(kit, tmp_path_factory.mktemp("tamper") / "data", BATCHES)


@pytest.fixture
def copy(original, tmp_path) -> Path:
    return shutil.copytree(original, tmp_path / "data")


def verify(directory: Path, policy: bytes | None = None, vault: bool = True, **how: object) -> Findings:
    config = read_config(directory)
    with closing(SqliteDatabase(directory / DATABASE)) as database:
        opened = None
        if vault:
            key = load_kek(config.vault_key, directory)
            opened = Vault(database, key, config.origin, bytes, lambda uri: load_kek(uri, directory))
            opened.unlock(config.vault_key)
        return verify_database(database, config.vkey, vault=opened, policy=policy, **how)


def test_an_intact_ledger_is_intact_and_says_what_it_did_not_prove(original, copy):
    findings = verify(copy)
    assert findings.damage == []
    result = findings.as_json()
    assert (result["verdict"], result["exit_code"]) == ("intact", 0)
    assert result["first_bad_index"] is None
    assert result["integrity"] == {
        "entries": SIZE,
        "payloads": SIZE,
        "checkpoints": len(BATCHES) + 1,
        "tiles": 3,
        "access_rows": SIZE - 1,
        "identities": SIZE + 1,
    }
    assert (result["anchored_range"], result["unanchored_range"]) == (None, [0, SIZE])
    assert any("true" in line for line in result["not_checked"])
    # Verifying leaves no trace.
    assert (copy / DATABASE).read_bytes() == (original / DATABASE).read_bytes()


def test_without_the_vault_key_the_rest_is_verified_and_the_result_says_so(copy):
    findings = verify(copy, vault=False)
    assert findings.exit_code == 0
    assert findings.identities == 0
    assert any("vault" in line for line in findings.not_checked)


def flip(data: bytes, at: int = -1) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def change(table: str, column: str, where: str, to: object = flip) -> Callable:
    """An attack that alters one value."""

    def attack(connection: sqlite3.Connection, _directory: Path) -> None:
        (old,) = connection.execute(f"SELECT {column} FROM {table} WHERE {where}").fetchone()
        new = to(old) if callable(to) else to
        assert new != old
        assert connection.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (new,)).rowcount == 1

    return attack


def run(*statements: str) -> Callable:
    def attack(connection: sqlite3.Connection, _directory: Path) -> None:
        for statement in statements:
            connection.execute(statement)

    return attack


def swap(connection: sqlite3.Connection, _directory: Path) -> None:
    connection.execute(f"UPDATE event SET position = -1 WHERE position = {VICTIM + 1}")
    connection.execute(f"UPDATE event SET position = {VICTIM + 1} WHERE position = {VICTIM + 6}")
    connection.execute(f"UPDATE event SET position = {VICTIM + 6} WHERE position = -1")


def rewrite(connection: sqlite3.Connection, directory: Path, sign: Callable[[str], bytes] | None = None) -> None:
    """History written anew around one changed payload: chain, tiles and head fit; the signatures cannot."""
    rows = connection.execute("SELECT * FROM event ORDER BY position").fetchall()
    tree, chain, leaves = CompactRange(), bytes(32), []
    for row in rows:
        entry, payload = row["entry"], row["payload"]
        if row["position"] == VICTIM + 1:
            payload = payload.replace(b"success", b"failure")
            old = Entry.decode(entry).commitment
            entry = entry.replace(old.encode(), commit(row["salt"], payload).encode())
            assert entry != row["entry"]
        leaf = leaf_hash(entry)
        leaves.append(leaf)
        tree.append(leaf)
        chain = hashlib.sha256(chain + leaf).digest()
        connection.execute(
            "UPDATE event SET entry = ?, payload = ?, chain = ? WHERE position = ?",
            (entry, payload, chain, row["position"]),
        )
        if sign and connection.execute("SELECT 1 FROM checkpoint WHERE size = ?", (row["position"],)).fetchone():
            note = sign(Checkpoint(read_config(directory).origin, tree.size, tree.root()).format())
            connection.execute("UPDATE checkpoint SET note = ? WHERE size = ?", (note, tree.size))
    connection.execute("DELETE FROM tile")
    level = [leaves[at : at + 256] for at in range(0, len(leaves) - 255, 256)]
    connection.executemany(
        "INSERT INTO tile VALUES (0, ?, ?)", [(number, b"".join(part)) for number, part in enumerate(level)]
    )
    connection.execute("INSERT INTO tile VALUES (1, 0, ?)", (b"".join(map(fold, level)),))
    connection.execute("UPDATE head SET chain = ?, frontier = ?", (chain, tree.to_bytes()[8:]))
    connection.execute(
        "UPDATE access_row SET outcome = 'failure' WHERE position = ?",
        (VICTIM + 1,),
    )


def unsigned(connection: sqlite3.Connection, _directory: Path) -> None:
    """An entry as the ledger would have made it, which nobody signed."""
    last = connection.execute("SELECT * FROM event ORDER BY position DESC LIMIT 1").fetchone()
    version = last["version"] + 1
    entry = dataclasses.replace(Entry.decode(last["entry"]), version=version, source="urn:tocsin:ledger").encode()
    chain = hashlib.sha256(last["chain"] + leaf_hash(entry)).digest()
    connection.execute(
        "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (SIZE + 1, last["stream"], version, last["topic"], entry, chain, last["salt"], last["payload"]),
    )


def rewrite_and_sign_with_another_key(connection: sqlite3.Connection, directory: Path) -> None:
    signer = Signer.from_seed(read_config(directory).origin, bytes(32))
    rewrite(connection, directory, lambda text: sign_note(text, [signer]))


def fold(hashes: list[bytes]) -> bytes:
    while len(hashes) > 1:
        hashes = [node_hash(hashes[at], hashes[at + 1]) for at in range(0, len(hashes), 2)]
    return hashes[0]


def other_note(connection: sqlite3.Connection, _directory: Path) -> None:
    """A genuine checkpoint of this log, put where another belongs."""
    note = connection.execute("SELECT note FROM checkpoint WHERE size = ?", (SINCE,)).fetchone()[0]
    connection.execute("UPDATE checkpoint SET note = ? WHERE size = ?", (note, STARTS[4]))


ROW = f"position = {VICTIM + 1}"
NOTE = f"size = {SINCE}"
TILE = "level = 0 AND number = 1"
LAST = SIZE - 3

ATTACKS = {
    "entry byte": (change("event", "entry", ROW, lambda old: flip(old, 20)), "entry_altered", VICTIM),
    "entry's own syntax": (change("event", "entry", ROW, lambda old: flip(old, 0)), "entry_altered", VICTIM),
    "entry of a later commit": (
        change("event", "entry", f"position = {SIZE}", lambda old: old.replace(b"clinic", b"clinik")),
        "entry_altered",
        SIZE - 1,
    ),
    "entry replaced by a number": (change("event", "entry", ROW, 7), "entry_altered", VICTIM),
    "entry replaced by text": (change("event", "entry", ROW, bytes.decode), "entry_altered", VICTIM),
    "payload byte": (change("event", "payload", ROW, lambda old: flip(old, 20)), "payload_altered", VICTIM),
    "payload replaced by another's": (
        run(f"UPDATE event SET payload = (SELECT payload FROM event WHERE position = 5) WHERE {ROW}"),
        "payload_altered",
        VICTIM,
    ),
    "payload replaced by a list": (change("event", "payload", ROW, b"[]"), "payload_altered", VICTIM),
    "payload replaced by text": (change("event", "payload", ROW, bytes.decode), "payload_altered", VICTIM),
    "salt byte": (change("event", "salt", ROW), "payload_altered", VICTIM),
    "salt replaced by a number": (change("event", "salt", ROW, 7), "payload_altered", VICTIM),
    "payload taken away": (change("event", "payload", ROW, None), "payload_missing", VICTIM),
    "salt taken away": (change("event", "salt", ROW, None), "payload_missing", VICTIM),
    "chain byte": (change("event", "chain", ROW), "chain_altered", VICTIM),
    "chain replaced by a number": (change("event", "chain", ROW, 7), "chain_altered", VICTIM),
    "chain of the last entry": (change("event", "chain", f"position = {SIZE}"), "chain_altered", SIZE - 1),
    "stream column": (change("event", "stream", ROW), "row_altered", VICTIM),
    "stream replaced by text": (change("event", "stream", ROW, "x"), "row_altered", VICTIM),
    "version column": (change("event", "version", ROW, 9999), "row_altered", VICTIM),
    "topic column": (change("event", "topic", ROW, "com.clinic.data.print.v1"), "row_altered", VICTIM),
    "row deleted": (run(f"DELETE FROM event WHERE {ROW}"), "entry_missing", VICTIM),
    "first row deleted": (run("DELETE FROM event WHERE position = 1"), "entry_missing", 0),
    "row deleted and the rest moved up": (
        run(
            f"DELETE FROM event WHERE {ROW}",
            f"UPDATE event SET position = -position WHERE position > {VICTIM + 1}",
            f"UPDATE event SET position = -position - 1 WHERE position < -{VICTIM + 1}",
        ),
        "stream_gap",
        VICTIM,
    ),
    "last rows deleted": (run(f"DELETE FROM event WHERE position > {LAST}"), "entry_missing", LAST),
    "last rows and their checkpoints deleted": (
        run(f"DELETE FROM event WHERE position > {STARTS[6]}", f"DELETE FROM checkpoint WHERE size > {STARTS[6]}"),
        "head_altered",
        None,
    ),
    "rows swapped": (swap, "stream_gap", VICTIM),
    "a row more at the end": (
        run(
            "INSERT INTO event SELECT position + 1, stream, version + 1, topic, entry, chain, salt, payload"
            f" FROM event WHERE position = {SIZE}"
        ),
        "entry_altered",
        SIZE,
    ),
    "an entry more that fits": (unsigned, "checkpoint_missing", SIZE),
    "a row more before the first": (
        run(
            "UPDATE event SET version = 99999 WHERE position = 1",
            "INSERT INTO event SELECT 0, stream, 1, topic, entry, chain, salt, payload FROM event WHERE position = 1",
        ),
        "entry_missing",
        0,
    ),
    "history rewritten": (rewrite, "root_mismatch", SINCE),
    "history rewritten and signed with another key": (rewrite_and_sign_with_another_key, "checkpoint_altered", 0),
    "checkpoint signature": (
        change("checkpoint", "note", f"size = {SINCE}", lambda old: old[:-6] + bytes([old[-6] ^ 1]) + old[-5:]),
        "checkpoint_altered",
        STARTS[2],
    ),
    "checkpoint text": (change("checkpoint", "note", NOTE, lambda old: flip(old, 3)), "checkpoint_altered", STARTS[2]),
    "checkpoint replaced by a number": (change("checkpoint", "note", NOTE, 7), "checkpoint_altered", STARTS[2]),
    "checkpoint of another size": (other_note, "root_mismatch", SINCE),
    "checkpoint deleted": (run(f"DELETE FROM checkpoint WHERE size = {SINCE}"), "checkpoint_missing", STARTS[2]),
    "last checkpoint deleted": (run(f"DELETE FROM checkpoint WHERE size = {SIZE}"), "checkpoint_missing", STARTS[6]),
    "all checkpoints deleted": (run("DELETE FROM checkpoint"), "checkpoint_missing", 0),
    "tile altered": (change("tile", "hashes", TILE), "tile_altered", 256),
    "upper tile altered": (change("tile", "hashes", "level = 1"), "tile_altered", 0),
    "tile cut short": (change("tile", "hashes", TILE, lambda old: old[:-32]), "tile_altered", 256),
    "tile missing": (run("DELETE FROM tile WHERE level = 0 AND number = 1"), "tile_missing", 256),
    "a tile more": (run("INSERT INTO tile VALUES (0, 2, x'00')"), "tile_altered", 512),
    "head size": (change("head", "size", "only = 1", SIZE + 1), "head_altered", None),
    "head chain": (change("head", "chain", "only = 1"), "head_altered", None),
    "head chain replaced by a number": (change("head", "chain", "only = 1", 7), "head_altered", None),
    "head frontier": (change("head", "frontier", "only = 1"), "head_altered", None),
    "head time": (change("head", "recorded", "only = 1", "2020-01-01T00:00:00.000Z"), "head_altered", None),
    "head deleted": (run("DELETE FROM head"), "head_altered", None),
    "access row altered": (change("access_row", "actor", ROW, "a_nobody"), "read_model_altered", VICTIM),
    "access time altered": (change("access_row", "time", ROW, "2026"), "read_model_altered", VICTIM),
    "access row removed": (run(f"DELETE FROM access_row WHERE {ROW}"), "read_model_altered", VICTIM),
    "last access row removed": (run(f"DELETE FROM access_row WHERE position = {SIZE}"), "read_model_altered", SIZE - 1),
    "access row added": (
        run(f"INSERT INTO access_row SELECT position, 1, time, type, action, outcome, actor, credential, address,"
            f" resource, container, subject FROM access_row WHERE {ROW}"),
        "read_model_altered",
        VICTIM,
    ),
    "access row added beyond the log": (
        run(f"INSERT INTO access_row SELECT 9999, 0, time, type, action, outcome, actor, credential, address,"
            f" resource, container, subject FROM access_row WHERE {ROW}"),
        "read_model_altered",
        None,
    ),
    "access index said to be further": (
        run("UPDATE tracking SET position = position + 1000 WHERE name = 'access'"),
        "read_model_altered",
        None,
    ),
    "access index said to be behind": (
        run("UPDATE tracking SET position = 5 WHERE name = 'access'"),
        "read_model_altered",
        None,
    ),
    "seen digest": (change("seen", "digest", ROW), "duplicate_guard_altered", VICTIM),
    "seen digest replaced by text": (change("seen", "digest", ROW, "x"), "duplicate_guard_altered", VICTIM),
    "seen position": (change("seen", "position", ROW, 5), "duplicate_guard_altered", VICTIM),
    "seen id": (change("seen", "id", ROW, "other"), "duplicate_guard_altered", VICTIM),
    "seen row deleted": (run(f"DELETE FROM seen WHERE {ROW}"), "duplicate_guard_altered", VICTIM),
    "seen row added": (run("INSERT INTO seen VALUES (1, 'never-sent', 5, x'00')"), "duplicate_guard_altered", None),
    "source altered": (change("source", "uri", "number = 1", "urn:other"), "duplicate_guard_altered", 1),
    "source added": (run("INSERT INTO source (uri) VALUES ('urn:other')"), "duplicate_guard_altered", None),
    "vault profile": (change("vault", "profile", "kind = 'subject' LIMIT 1", flip), "vault_altered", None),
    "vault data key": (change("vault", "data_key", "kind = 'actor'"), "vault_altered", None),
    "vault lookup": (change("vault", "lookup", "kind = 'actor'"), "vault_altered", None),
    "vault kind": (change("vault", "kind", "kind = 'actor'", "network"), "vault_altered", None),
    "vault row deleted": (run("DELETE FROM vault WHERE kind = 'actor'"), "identity_missing", None),
    "version of the tables": (change("meta", "value", "name = 'schema'", 2), "schema_altered", None),
    "a trigger": (
        run("CREATE TRIGGER quiet AFTER INSERT ON event BEGIN DELETE FROM access_row WHERE outcome = 'denied'; END"),
        "schema_altered",
        None,
    ),
    "an index taken away": (run("DROP INDEX access_actor"), "schema_altered", None),
}  # fmt: skip


def strike(directory: Path, *names: str) -> None:
    with closing(sqlite3.connect(directory / DATABASE)) as connection:
        connection.row_factory = sqlite3.Row
        for name in names:
            ATTACKS[name][0](connection, directory)
        connection.commit()


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_named_with_its_kind_and_first_entry(copy, name):
    _, kind, index = ATTACKS[name]
    strike(copy, name)
    findings = verify(copy)
    result = findings.as_json()
    assert (result["kind"], result["first_bad_index"]) == (kind, index)
    assert kind in GRAVITY
    assert (result["verdict"], result["exit_code"]) == ("damaged", 2)
    assert result["message"]
    # Nobody's identity is in the messages.
    assert all("patient" not in damage.message for damage in findings.damage)


# --- In several processes ------------------------------------------------------------------------


@pytest.fixture
def ahead(monkeypatch):
    """Parts of 256 entries, walked by the workers' own code but in this process, and counted."""
    taken = []

    @contextmanager
    def workers(path, vkey, starts, *, total, indexed, jobs):
        def take(start):
            if jobs == 1:
                return None
            part = scan(path, vkey, start, min(start + starts.step, total), indexed)
            taken.append(part is not None)
            return part

        yield take

    monkeypatch.setattr("ledger.verify.workers", workers)
    monkeypatch.setattr("ledger.verifying.walk.PAGE", 256)
    return taken


def test_an_intact_ledger_walked_in_parts_gives_the_same_result(copy, ahead):
    alone = verify(copy)
    assert ahead == []
    assert verify(copy, jobs=2, span=256).as_json() == alone.as_json()
    assert ahead == [True, True, True]


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_named_alike_when_parts_were_walked_ahead(copy, ahead, name):
    _, kind, index = ATTACKS[name]
    strike(copy, name)
    alone = verify(copy).as_json()
    result = verify(copy, jobs=2, span=256).as_json()
    assert (result["kind"], result["first_bad_index"]) == (kind, index)
    assert result == alone
    assert ahead


@pytest.mark.usefixtures("ahead")
@pytest.mark.parametrize("seed", range(40))
def test_two_attacks_at_once_are_named_alike_in_parts(copy, seed):
    names = random.Random(seed).sample(sorted(ATTACKS), 2)
    # Where the second attack does not work after the first, the first alone is left to be named.
    with suppress(sqlite3.Error, TypeError, AttributeError, AssertionError, ValueError, InputError):
        strike(copy, *names)
    results = []
    for how in ({}, {"jobs": 2, "span": 256}):
        try:
            results.append(verify(copy, **how).as_json())
        except TocsinError as error:
            results.append(type(error))
    assert results[0] == results[1], names


def test_real_processes_find_what_one_finds(copy):
    alone = verify(copy).as_json()
    assert verify(copy, jobs=3, span=256).as_json() == alone
    strike(copy, "payload byte")
    assert verify(copy, jobs=2, span=256).as_json() == verify(copy, span=256).as_json()


@pytest.mark.parametrize("how", ["before the first", "each once it begins"])
def test_killed_workers_cost_time_and_nothing_else(copy, monkeypatch, how):
    """What they did not deliver, this process walks itself."""
    alone = verify(copy).as_json()
    started = []
    begin = parts.multiprocessing.process.BaseProcess.start

    def start(process):
        begin(process)
        started.append(process.pid)
        if how == "each once it begins":
            os.kill(process.pid, signal.SIGKILL)

    monkeypatch.setattr(parts.multiprocessing.process.BaseProcess, "start", start)
    if how == "before the first":
        monkeypatch.setattr(parts, "_begin_worker", os.abort)
    assert verify(copy, jobs=2, span=256).as_json() == alone
    assert started


def test_a_short_log_stays_in_one_process(copy, monkeypatch):
    def refuse(*_args, **_how):
        raise AssertionError

    monkeypatch.setattr(parts, "ProcessPoolExecutor", refuse)
    assert verify(copy, jobs=8).exit_code == 0


def test_at_one_entry_the_graver_damage_is_named(copy):
    strike(copy, "access row altered", "entry byte")
    findings = verify(copy)
    assert (findings.damage[0].kind, findings.damage[0].index) == ("entry_altered", VICTIM)
    assert ("read_model_altered", VICTIM) in [(item.kind, item.index) for item in findings.damage]


def test_damage_of_a_read_model_does_not_hide_which_of_entry_and_chain_was_altered(copy):
    strike(copy, "access row altered", "chain byte")
    assert verify(copy).as_json()["kind"] == "chain_altered"


# --- From where an earlier run ended ------------------------------------------------------------


NOW = datetime(2026, 3, 11, tzinfo=UTC)


def incremental(directory: Path, **how: object) -> Findings:
    return verify(directory, remember=(directory / FILE, lambda: NOW), incremental=True, **how)


def grow(directory: Path, kit, count: int, name: str = "later") -> None:
    with closing(Ledger.open(directory)) as ledger:
        for at in range(0, count, 300):
            ledger.append([kit.event(f"{name}-{number}") for number in range(at, min(at + 300, count))])
        ledger.access.follow()


def test_an_incremental_run_hashes_what_is_new_and_says_what_it_trusted(copy, kit):
    first = incremental(copy)
    assert (first.mode, first.trusted, first.exit_code) == ("full", [], 0)
    for count in (0, 1, 500, 3):
        before = verify(copy).size
        grow(copy, kit, count, str(count))
        found = incremental(copy)
        result = found.as_json()
        assert (found.exit_code, found.mode, found.start) == (0, "incremental", before)
        assert result["integrity"]["payloads"] == count
        assert result["verified_range"] == ([before, before + count] if count else None)
        assert f"entries 0 to {before - 1}" in found.trusted[0]
        assert "nobody signs" in found.trusted[0]
        assert any("vault" in line for line in found.not_checked)
        assert found.root == verify(copy).root
    # What a full run says is what the file goes on from.
    assert incremental(copy, jobs=2, span=256).exit_code == 0


def test_damage_in_what_is_new_is_found_and_not_remembered(copy, kit):
    incremental(copy)
    kept = (copy / FILE).read_bytes()
    grow(copy, kit, 300)
    with closing(sqlite3.connect(copy / DATABASE)) as connection:
        connection.execute("UPDATE event SET payload = x'00' WHERE position = ?", (SIZE + 20,))
        connection.execute("UPDATE tile SET hashes = zeroblob(8192) WHERE level = 0 AND number = 2")
        connection.commit()
    found = incremental(copy)
    assert (found.mode, found.as_json()["kind"], found.as_json()["first_bad_index"]) == (
        "incremental",
        "payload_altered",
        SIZE + 19,
    )
    assert (copy / FILE).read_bytes() == kept


@pytest.mark.parametrize(("number", "kind"), [(2, "tile_altered"), (0, None)])
def test_tiles_from_before_are_trusted_and_later_ones_are_not(copy, kit, number, kind):
    incremental(copy)
    grow(copy, kit, 300)
    with closing(sqlite3.connect(copy / DATABASE)) as connection:
        connection.execute("UPDATE tile SET hashes = zeroblob(8192) WHERE level = 0 AND number = ?", (number,))
        connection.commit()
    assert incremental(copy).as_json()["kind"] == kind
    assert verify(copy).as_json()["kind"] == "tile_altered"


def test_a_file_that_does_not_fit_the_log_is_not_built_upon(copy):
    incremental(copy)
    good = (copy / FILE).read_bytes()
    value = json.loads(good)
    for change in (
        {"size": value["size"] - 1},
        {"chain": "00" * 32},
        {"frontier": ["00" * 32] * len(value["frontier"])},
        {"checkpoint": value["checkpoint"].replace("\n", "\n\n", 1)},
        {"producers": -1},
        {"versions": []},
        {"more": 1},
    ):
        (copy / FILE).write_bytes(json.dumps(value | change, indent=1, sort_keys=True).encode())
        found = incremental(copy)
        assert (found.mode, found.start, found.trusted) == ("full", 0, [])
        assert any("not built upon" in line for line in found.notes)
        assert (copy / FILE).read_bytes() == good  # made again by the full run
    (copy / FILE).write_bytes(b"\xff")
    assert incremental(copy).mode == "full"


def test_a_log_shorter_than_what_was_verified_was_rolled_back(copy, tmp_path, kit):
    incremental(copy)
    earlier = build(kit, tmp_path / "earlier", BATCHES[:3])
    shutil.copy(copy / FILE, earlier / FILE)
    result = incremental(earlier).as_json()
    assert (result["kind"], result["first_bad_index"], result["mode"]) == ("rolled_back", STARTS[3], "full")


def test_a_log_signed_anew_contradicts_the_checkpoint_that_was_verified(copy):
    incremental(copy)
    strike(copy, "history rewritten")
    sign_again(copy)
    assert verify(copy).exit_code == 0  # nothing in the ledger shows it
    assert incremental(copy).as_json()["kind"] == "verified_root_mismatch"


# --- Witnessed checkpoints ----------------------------------------------------------------------


def sign_again(directory: Path) -> None:
    """What whoever holds the key can do: sign the rewritten history, leaving nothing to see from inside."""
    signer = load_signer(read_config(directory).signing_key, directory, read_config(directory).origin)
    with closing(sqlite3.connect(directory / DATABASE)) as connection:
        tree, notes = CompactRange(), dict(connection.execute("SELECT size, note FROM checkpoint"))
        for position, entry in connection.execute("SELECT position, entry FROM event ORDER BY position").fetchall():
            tree.append(leaf_hash(entry))
            if position in notes:
                note = sign_note(Checkpoint(signer.verifier.name, position, tree.root()).format(), [signer])
                connection.execute("UPDATE checkpoint SET note = ? WHERE size = ?", (note, position))
        connection.commit()


def publish(directory: Path, *sizes: int) -> None:
    """Keep checkpoints as witnessed, as `ledger.witness.publication` does."""
    with closing(SqliteDatabase(directory / DATABASE)) as database:
        database.ensure(records.TABLES)
        with database.write() as connection:
            for number, size in enumerate(sizes):
                (note,) = connection.execute("SELECT note FROM checkpoint WHERE size = ?", (size,)).fetchone()
                cosigned = add_signatures(note, [witness().cosign(note, 1773133200)])
                records.keep_published(connection, size, cosigned, NOW + timedelta(hours=number))


def test_the_witnessed_range_is_stated_and_anchored_under_the_policy(copy):
    publish(copy, STARTS[2], SINCE)
    found = verify(copy)
    assert (found.exit_code, found.witnessed, found.anchored) == (0, SINCE, 0)
    assert found.as_json()["witnessed_range"] == [0, SINCE]
    assert any("who cosigned" in line for line in found.not_checked)
    found = verify(copy, quorum(read_config(copy).vkey))
    assert (found.exit_code, found.policy) == (0, "satisfied")
    assert found.as_json()["anchored_range"] == [0, SINCE]
    assert found.as_json()["unanchored_range"] == [SINCE, SIZE]
    incremental(copy)
    assert incremental(copy, policy=quorum(read_config(copy).vkey)).as_json()["anchored_range"] == [0, SINCE]


@pytest.mark.usefixtures("ahead")
@pytest.mark.parametrize("how", [{}, {"jobs": 2, "span": 256}])
def test_a_rewritten_and_newly_signed_history_contradicts_the_witnesses(copy, how):
    publish(copy, STARTS[2], SIZE)
    strike(copy, "history rewritten")
    sign_again(copy)
    result = verify(copy, quorum(read_config(copy).vkey), **how).as_json()
    assert (result["kind"], result["first_bad_index"], result["exit_code"]) == (
        "witnessed_root_mismatch",
        STARTS[2],
        2,
    )


def test_a_witnessed_checkpoint_beyond_the_log_means_it_was_rolled_back(copy):
    publish(copy, SIZE)
    with closing(sqlite3.connect(copy / DATABASE)) as connection:
        connection.execute("DELETE FROM event WHERE position > ?", (STARTS[6],))
        connection.execute("DELETE FROM checkpoint WHERE size > ?", (STARTS[6],))
        connection.commit()
    result = verify(copy).as_json()
    assert (result["kind"], result["first_bad_index"]) == ("rolled_back", STARTS[6])


@pytest.mark.parametrize("value", [7, "text", b"", b"nonsense", None])
def test_a_kept_note_that_is_none_is_damage(copy, value):
    publish(copy, SINCE)
    with closing(sqlite3.connect(copy / DATABASE)) as connection:
        connection.execute("CREATE TABLE other AS SELECT * FROM witness_publication")
        connection.execute("DROP TABLE witness_publication")
        connection.execute("ALTER TABLE other RENAME TO witness_publication")
        connection.execute("UPDATE witness_publication SET note = ?", (value,))
        connection.commit()
    assert verify(copy).as_json()["kind"] == "witnessed_note_altered"


def test_a_note_kept_under_another_size_is_damage(copy):
    publish(copy, SINCE)
    with closing(sqlite3.connect(copy / DATABASE)) as connection:
        connection.execute("UPDATE witness_publication SET size = size + 1")
        connection.commit()
    assert verify(copy).as_json()["kind"] == "witnessed_note_altered"


def test_every_kind_is_explained():
    page = (Path(__file__).parents[2] / "docs" / "verify.md").read_text()
    assert [kind for kind in GRAVITY if f"| `{kind}` |" not in page] == []


def test_a_ledger_with_a_damaged_end_is_not_extended(copy):
    for name in ("head size", "head chain", "head deleted", "last checkpoint deleted", "last rows deleted"):
        directory = shutil.copytree(copy, copy.with_name(name))
        with closing(sqlite3.connect(directory / DATABASE)) as connection:
            connection.row_factory = sqlite3.Row
            ATTACKS[name][0](connection, directory)
            connection.commit()
        with pytest.raises(StoreDamagedError, match="tocsin verify"):
            Ledger.open(directory)


def test_a_table_of_another_part_is_no_damage_but_named_as_not_checked(copy):
    with closing(Ledger.open(copy)) as ledger:
        ledger.database.ensure("CREATE TABLE IF NOT EXISTS outbox_test (leaf INTEGER PRIMARY KEY)")
    findings = verify(copy)
    assert findings.exit_code == 0
    assert any("outbox_test" in line for line in findings.not_checked)


def test_a_log_cut_back_to_an_earlier_state_is_intact_to_itself_and_called_unanchored(original, tmp_path, kit):
    """A restored backup cannot be told from inside: that is what witnesses and receipts in other hands are for."""
    earlier = build(kit, tmp_path / "data", BATCHES[:3])
    findings = verify(earlier)
    assert findings.exit_code == 0
    assert findings.as_json()["unanchored_range"] == [0, STARTS[3]]
    # A receipt of the longer log, in somebody else's hands, is what shows it.
    with closing(Ledger.open(original)) as later, closing(Ledger.open(earlier)) as ledger:
        assert later.entry(STARTS[3])
        with pytest.raises(NotFoundError):
            ledger.entry(STARTS[3])


# --- Policies -----------------------------------------------------------------------------------


def witness() -> CosignatureSigner:
    return CosignatureSigner.from_seed("witness.example/w", bytes(range(32)))


def quorum(vkey: str) -> bytes:
    return f"log {vkey}\nwitness w {witness().vkey}\nquorum w\n".encode()


def test_a_policy_without_its_quorum_is_not_anchored(copy):
    findings = verify(copy, quorum(read_config(copy).vkey))
    assert (findings.exit_code, findings.as_json()["verdict"]) == (3, "not anchored")
    assert "quorum" in findings.policy


def test_a_cosigned_checkpoint_anchors_the_range(copy):
    with closing(sqlite3.connect(copy / DATABASE)) as connection:
        (note,) = connection.execute("SELECT note FROM checkpoint WHERE size = ?", (SIZE,)).fetchone()
        cosigned = add_signatures(note, [witness().cosign(note, 1773133200)])
        connection.execute("UPDATE checkpoint SET note = ? WHERE size = ?", (cosigned, SIZE))
        connection.commit()
    findings = verify(copy, quorum(read_config(copy).vkey))
    assert (findings.exit_code, findings.policy) == (0, "satisfied")
    assert findings.as_json()["anchored_range"] == [0, SIZE]
    assert findings.as_json()["unanchored_range"] is None


def test_a_policy_for_another_log_is_not_satisfied(copy):
    other = Signer.from_seed("other.example/log", bytes(32))
    assert verify(copy, quorum(other.vkey)).exit_code == 3
    impostor = Signer.from_seed(read_config(copy).origin, bytes(32))
    assert verify(copy, f"log {impostor.vkey}\nquorum none\n".encode()).exit_code == 3


def test_a_policy_that_asks_for_nobody_anchors_nothing(copy):
    findings = verify(copy, f"log {read_config(copy).vkey}\nquorum none\n".encode())
    assert (findings.exit_code, findings.policy, findings.anchored) == (0, "satisfied", 0)


def test_a_malformed_policy_is_an_error_of_its_own(copy):
    with pytest.raises(PolicyError, match="Line 1"):
        verify(copy, b"log nonsense\n")


# --- Damage nobody thought of --------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory, kit) -> Path:
    return build(kit, tmp_path_factory.mktemp("flips") / "data", (255, 4))


COLUMNS = [
    (table, column)
    for table, columns in {
        "event": ["position", "stream", "version", "topic", "entry", "chain", "salt", "payload"],
        "head": ["size", "recorded", "chain", "frontier"],
        "checkpoint": ["size", "note"],
        "tile": ["level", "number", "hashes"],
        "source": ["number", "uri"],
        "seen": ["source", "id", "position", "digest"],
        "vault": ["ref", "kind", "lookup", "data_key", "profile"],
        "tracking": ["name", "position"],
        "meta": ["name", "value"],
        "access_row": ["position", "part", "time", "type", "action", "outcome", "actor", "address", "subject"],
    }.items()
    for column in columns
]


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_no_value_of_any_type_in_any_column_is_a_crash_or_intact(small, tmp_path, table, column):
    """A damaged file can hold anything anywhere, also what the tables' own rules would refuse."""
    copy = shutil.copytree(small, tmp_path / "data")
    data = (copy / DATABASE).read_bytes()
    for value in (None, "text", b"\x00", 1.5, -1, 2**62):
        (copy / DATABASE).write_bytes(data)
        with closing(sqlite3.connect(copy / DATABASE, isolation_level=None)) as connection:
            connection.execute("PRAGMA writable_schema=ON")
            connection.execute("UPDATE sqlite_schema SET sql = replace(sql, 'NOT NULL', '        ')")
        with closing(sqlite3.connect(copy / DATABASE, isolation_level=None)) as connection:
            before = connection.execute(f"SELECT * FROM {table}").fetchall()
            try:
                connection.execute(
                    f"UPDATE {table} SET {column} = ? WHERE {column} = (SELECT max({column}) FROM {table})", (value,)
                )
            except sqlite3.Error:
                continue  # even SQLite itself has no way to store this here
            assert connection.execute(f"SELECT * FROM {table}").fetchall() != before
        for tried in (verify, lambda directory: Ledger.open(directory).close()):
            try:
                findings = tried(copy)
            except TocsinError:
                continue
            assert findings is None or findings.exit_code == 2


@dataclasses.dataclass(frozen=True)
class Dump:
    """Everything that the file says, or None where it cannot be read."""

    rows: dict[str, list] | None

    @classmethod
    def of(cls, path: Path) -> Dump:
        try:
            with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
                schema = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema").fetchall()
                rows = {
                    "sqlite_schema": [[" ".join(str(value).split()) for value in row] for row in schema],
                    **{
                        name: connection.execute(f'SELECT * FROM "{name}" NOT INDEXED').fetchall()
                        for kind, name, *_ in schema
                        if kind == "table" and not name.startswith("sqlite_")
                    },
                }
        except (sqlite3.Error, UnicodeDecodeError):
            return cls(None)
        return cls(rows)


def places(data: bytes, count: int, seed: int) -> Iterator[tuple[int, int]]:
    """Where to flip what: half anywhere, half in the parts that SQLite steers by."""
    dice = random.Random(seed)
    size = int.from_bytes(data[16:18], "big")
    for number in range(count):
        page = size * dice.randrange(len(data) // size)
        at = dice.randrange(len(data)) if number % 2 else dice.choice([page, 0]) + dice.randrange(140)
        yield at, dice.randrange(1, 256)


@pytest.mark.parametrize("seed", range(4))
def test_a_flipped_byte_is_found_or_says_nothing(small, tmp_path, seed):
    """Whenever the file says something else than before, `verify` does not call it intact."""
    original = small
    data = (original / DATABASE).read_bytes()
    before = Dump.of(original / DATABASE)
    assert before.rows
    found = 0
    copy = shutil.copytree(original, tmp_path / "data")
    for at, mask in places(data, 40, seed):
        changed = bytearray(data)
        changed[at] ^= mask
        for old in copy.glob("ledger.db*"):
            old.unlink()
        (copy / DATABASE).write_bytes(changed)
        says_otherwise = Dump.of(copy / DATABASE) != before
        try:
            code = verify(copy).exit_code
        except TocsinError:
            code = 4
        assert code in ({2, 4} if says_otherwise else {0, 2, 4}), f"byte {at} xor {mask}"
        found += code != 0
    assert found > 10
