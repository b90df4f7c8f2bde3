"""A page is recognised as clean exactly where the way row by row finds nothing, and to the same effect."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import Ledger, OwnEvent
from ledger.checkpoint import Checkpoint
from ledger.config import DATABASE, read_config
from ledger.entries import Entry, commit, commit_each, decode_each
from ledger.errors import InputError
from ledger.findings import Findings
from ledger.forgetting.erasing import erase
from ledger.keys import load_signer
from ledger.merkle import CompactRange, leaf_hash
from ledger.notes import sign_note
from ledger.seal import chain_hash
from ledger.store.sqlite import SqliteDatabase
from ledger.verify import verify_database
from ledger.verifying.glance import Glance
from ledger.verifying.growth import Growth
from ledger.verifying.walk import Walk

SOURCES = ("/a", "/b", "https://clinic.example/c", "urn:x:%C3%A9")
TYPES = ("com.clinic.data.view.v1", "com.clinic.data.search.v1", "com.clinic.auth.login.v1", "com.clinic.weather.v1")
OWN = "org.tocsin.logging.started.v1"


def shape(kit, dice: random.Random, number: int) -> dict:
    """One event of the many kinds that a log has."""
    source = dice.choice(SOURCES)
    # Ids of one source rise, those of another are in no order.
    event_id = f"{number:06d}" if source == "/a" else f"{dice.randrange(10**9)}-{number}" + dice.choice(("", '"', "\\"))
    people = [{"id": f"patient-{dice.randrange(9)}"} for _ in range(dice.choice((0, 1, 1, 1, 3)))]
    changes = {
        "subjects": people or None,
        "client": {"ip": f"192.0.2.{dice.randrange(9)}"} if dice.random() < 0.7 else None,
        "credential": "badge-7" if dice.random() < 0.2 else None,
        "resource": {"id": f"record/{dice.randrange(50)}", "container": 'ward "7"\\ä\n'},
    }
    attributes = {"sequence": str(number)} if source == "/b" and dice.random() < 0.8 else {}
    return kit.event(number, data=changes, id=event_id, source=source, type=dice.choice(TYPES), **attributes)


def fill(kit, ledger: Ledger, clock, dice: random.Random, sizes) -> None:
    number = 0
    for size in sizes:
        clock.move(dice.choice((0, 1)))
        if dice.random() < 0.2:
            ledger.record([OwnEvent(OWN, {"actor": {"id": "tocsin"}})])
        ledger.append([shape(kit, dice, number + more) for more in range(size)])
        number += size
    ledger.access.follow()


@pytest.fixture(scope="module")
def original(tmp_path_factory, kit) -> Path:
    """Some 700 entries in commits of all sizes, indexed but for the last."""
    directory, clock, dice = tmp_path_factory.mktemp("glance") / "data", kit.clock(), random.Random(1)
    with kit.create(directory, clock=clock) as ledger:
        fill(kit, ledger, clock, dice, [1, 1, 200, 1, 57, 130, 2, 90, 1, 60, 70])
        clock.move(1)
        ledger.append([shape(kit, dice, 5000 + number) for number in range(40)])
    with closing(sqlite3.connect(directory / DATABASE)) as connection:
        connection.row_factory = sqlite3.Row
        part_streams(connection, dice)
        resign(connection, directory)
        connection.commit()
    return directory


def part_streams(connection: sqlite3.Connection, dice: random.Random) -> None:
    """Give entries 300 to 400 to three streams by turns, as aggregates would have them."""
    versions: dict[str, int] = {}
    rows = connection.execute("SELECT position, entry FROM event ORDER BY position").fetchall()
    connection.execute("UPDATE event SET version = -position")
    for row in rows:
        entry = Entry.decode(row["entry"])
        stream = str(UUID(int=dice.randrange(3))) if 300 <= row["position"] < 400 else entry.stream
        versions[stream] = versions.get(stream, 0) + 1
        changed = dataclasses.replace(entry, stream=stream, version=versions[stream])
        connection.execute(
            "UPDATE event SET stream = ?, version = ?, entry = ? WHERE position = ?",
            (UUID(stream).bytes, changed.version, changed.encode(), row["position"]),
        )


def both(directory: Path) -> tuple[Findings, Findings, int]:
    """What is found with pages recognised, what is found row by row, and how many pages were recognised."""
    vkey = read_config(directory).vkey
    recognised = []
    with pytest.MonkeyPatch.context() as patch, closing(SqliteDatabase(directory / DATABASE)) as database:
        page = Glance.page

        def counting(*args, **how):
            clean = page(*args, **how)
            recognised.append(clean is not None)
            return clean

        patch.setattr(Glance, "page", counting)
        quick = verify_database(database, vkey)
        patch.setattr(Glance, "page", lambda *_args, **_how: None)
        return quick, verify_database(database, vkey), sum(recognised)


def test_every_page_of_an_intact_log_is_recognised(original, monkeypatch):
    quick, careful, recognised = both(original)
    assert quick == careful
    assert quick.damage == []
    assert quick.accesses
    assert quick.gaps
    assert recognised == -(-quick.size // 256) >= 3

    def refuse(*_args):
        raise AssertionError

    monkeypatch.setattr(Walk, "_check_rows", refuse)
    with closing(SqliteDatabase(original / DATABASE)) as database:
        assert verify_database(database, read_config(original).vkey) == quick


def test_erased_payloads_do_not_send_a_page_the_long_way(original, tmp_path):
    directory = shutil.copytree(original, tmp_path / "data")
    with closing(Ledger.open(directory)) as ledger:
        ref = ledger.vault.find("subject", "patient-3")
        assert erase(ledger, ref, basis="Art. 17", by="officer").payloads > 10
    quick, careful, recognised = both(directory)
    assert quick == careful
    assert quick.damage == []
    assert quick.payloads < quick.size
    assert recognised == -(-quick.size // 256)


@pytest.mark.usefixtures("each_store")
def test_every_page_is_recognised_in_either_store(kit, clock, tmp_path, monkeypatch):
    with closing(kit.create(tmp_path / "data", clock=clock)) as ledger:
        fill(kit, ledger, clock, random.Random(2), [1, 300, 1, 40])

        def refuse(*_args):
            raise AssertionError

        monkeypatch.setattr(Walk, "_check_rows", refuse)
        findings = verify_database(ledger.database, ledger.vkey)
        assert findings.damage == []
        assert findings.payloads == findings.size == ledger.size() > 256


@pytest.mark.parametrize("by", [1, 3, 400])
def test_a_last_row_in_another_place_is_found_alike(original, tmp_path, by):
    """Of an event of ours: no other table knows where it stands."""
    directory = shutil.copytree(original, tmp_path / "data")
    with closing(Ledger.open(directory)) as ledger:
        ledger.record([OwnEvent(OWN, {"actor": {"id": "tocsin"}})])
        size = ledger.size()
    with closing(sqlite3.connect(directory / DATABASE)) as connection:
        connection.execute("UPDATE event SET position = position + ? WHERE position = ?", (by, size))
        connection.commit()
    quick, careful, _ = both(directory)
    assert quick == careful
    assert quick.damage[0].kind == "entry_missing"


COLUMNS = {
    "event": ("position", "stream", "version", "topic", "entry", "chain", "salt", "payload"),
    "checkpoint": ("size", "note"),
    "seen": ("source", "id", "position", "digest"),
    "access_row": (
        "position", "part", "time", "type", "action", "outcome", "actor", "credential", "address", "resource",
        "container", "subject",
    ),
    "source": ("number", "uri"),
    "tracking": ("position",),
    "tile": ("level", "number", "hashes"),
    "head": ("size", "recorded", "chain", "frontier"),
}  # fmt: skip


def damaged(value: object, how: str, dice: random.Random) -> object:
    """Another value, near the old one."""
    data = value if isinstance(value, bytes) else str(value).encode()
    at = dice.randrange(len(data)) if data else 0
    return {
        "none": lambda: None,
        "type": lambda: data.decode("latin-1") if isinstance(value, bytes) else data,
        "number": lambda: dice.randrange(-2, 900),
        "fraction": lambda: value + 0.0 if isinstance(value, int) else 0.5,
        "bit": lambda: type(value)(value ^ 1) if isinstance(value, int) else _flip(value, data, at, dice),
        "cut": lambda: value[:at] if isinstance(value, (bytes, str)) else 0,
        "space": lambda: data.replace(b",", b", ", 1) if isinstance(value, bytes) else f" {value}",
        "case": lambda: data.swapcase() if isinstance(value, bytes) else str(value).swapcase(),
        "rename": lambda: data.replace(b'"version"', b'"versioN"').replace(b'"submission"', b'"submissioN"'),
    }[how]()


def _flip(value, data: bytes, at: int, dice: random.Random):
    if not data:
        return b"x"
    changed = bytearray(data)
    changed[at] ^= 1 << dice.randrange(8)
    return bytes(changed) if isinstance(value, bytes) else bytes(changed).decode("latin-1")


HOW = ("none", "type", "number", "fraction", "bit", "bit", "bit", "cut", "space", "case", "rename", "other", "other",
       "swap", "delete", "again", "erase", "both")  # fmt: skip


def strike(connection: sqlite3.Connection, table: str, how: str, dice: random.Random) -> None:
    """Damage one place of a table; SQLite may refuse."""
    key = {"seen": "id", "source": "uri", "tracking": "name"}.get(table, COLUMNS[table][0])
    rows = connection.execute(f"SELECT {key}, * FROM {table} ORDER BY 1").fetchall()
    if not rows:
        return
    row, other = dice.choice(rows), dice.choice(rows)
    column = dice.choice(COLUMNS[table])
    if how == "delete":
        connection.execute(f"DELETE FROM {table} WHERE {key} = ?", (row[0],))
    elif how == "again":
        names = ", ".join(COLUMNS[table])
        changed = ", ".join(
            f"{name} + 1" if name in ("position", "part", "version") else name for name in COLUMNS[table]
        )
        connection.execute(f"INSERT INTO {table} ({names}) SELECT {changed} FROM {table} WHERE {key} = ?", (row[0],))
    elif how == "swap":
        for one, two in ((row, other), (other, row)):
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (one[column], two[0]))
    elif how in ("erase", "both"):
        names = "payload = NULL, salt = NULL" if how == "erase" else "payload = CAST(payload || ' ' AS BLOB)"
        connection.execute(f"UPDATE event SET {names} WHERE position = ?", (dice.randrange(1, 700),))
    else:
        value = other[column] if how == "other" else damaged(row[column], how, dice)
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (value, row[0]))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    blows=st.lists(st.tuples(st.sampled_from(sorted(COLUMNS)), st.sampled_from(HOW)), min_size=1, max_size=3),
    seed=st.integers(0, 2**32),
)
def test_damage_is_found_alike_with_pages_recognised_and_row_by_row(original, tmp_path_factory, blows, seed):
    directory = shutil.copytree(original, tmp_path_factory.mktemp("blow") / "data")
    dice = random.Random(seed)
    with closing(sqlite3.connect(directory / DATABASE, isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        for table, how in blows:
            with suppress(sqlite3.Error):
                strike(connection, table, how, dice)
    quick, careful, _ = both(directory)
    assert quick == careful
    shutil.rmtree(directory)


@pytest.mark.parametrize("table", ["event", "access_row", "seen", "checkpoint"])
@pytest.mark.parametrize("seed", range(3))
def test_damage_in_what_a_page_is_made_of_is_found_alike(original, tmp_path, table, seed):
    """As above, with the rows that a glance looks at hit for certain."""
    dice = random.Random(f"{table}/{seed}")
    directory = tmp_path / "data"
    for how in sorted(set(HOW)):
        shutil.copytree(original, directory)
        with closing(sqlite3.connect(directory / DATABASE, isolation_level=None)) as connection:
            connection.row_factory = sqlite3.Row
            with suppress(sqlite3.Error):
                strike(connection, table, how, dice)
        quick, careful, _ = both(directory)
        assert quick == careful, how
        shutil.rmtree(directory)


def resign(connection: sqlite3.Connection, directory: Path) -> None:
    """History as somebody with the log's key would write it around altered entries: only their sense is wrong."""
    config = read_config(directory)
    signer = load_signer(config.signing_key, directory, config.origin)
    tree, chain, leaves = CompactRange(), bytes(32), []
    sizes = {row["size"] for row in connection.execute("SELECT size FROM checkpoint")}
    for row in connection.execute("SELECT position, entry FROM event ORDER BY position").fetchall():
        leaf = leaf_hash(row["entry"])
        leaves.append(leaf)
        tree.append(leaf)
        chain = chain_hash(chain, leaf)
        connection.execute("UPDATE event SET chain = ? WHERE position = ?", (chain, row["position"]))
        if tree.size in sizes:
            note = sign_note(Checkpoint(config.origin, tree.size, tree.root()).format(), [signer])
            connection.execute("UPDATE checkpoint SET note = ? WHERE size = ?", (note, tree.size))
    connection.execute("UPDATE head SET chain = ?, frontier = ?", (chain, tree.to_bytes()[8:]))
    grown, _ = Growth().ahead(leaves, ())
    connection.execute("DELETE FROM tile")
    for number in range(len(leaves) // 256):
        part = b"".join(leaves[number * 256 : number * 256 + 256])
        connection.execute("INSERT INTO tile VALUES (0, ?, ?)", (number, part))
    connection.execute("INSERT INTO tile VALUES (1, 0, ?)", (b"".join(grown.nodes),))


def edit(column: str, old: bytes, new: bytes, count: int = 1):
    def change(connection: sqlite3.Connection, position: int) -> None:
        (value,) = connection.execute(f"SELECT {column} FROM event WHERE position = ?", (position,)).fetchone()
        connection.execute(
            f"UPDATE event SET {column} = ? WHERE position = ?", (value.replace(old, new, count), position)
        )

    return change


def set_fields(**fields: object):
    """Other values in an entry, in canonical form."""

    def change(connection: sqlite3.Connection, position: int) -> None:
        (value,) = connection.execute("SELECT entry FROM event WHERE position = ?", (position,)).fetchone()
        values = Entry.decode(value)
        new = {name: getattr(values, name) for name in Entry.__dataclass_fields__} | fields
        entry = json.dumps(new, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        connection.execute("UPDATE event SET entry = ? WHERE position = ?", (entry, position))
        if type(fields.get("version")) is int and abs(fields["version"]) < 2**63:
            connection.execute("UPDATE event SET version = ? WHERE position = ?", (fields["version"], position))
        if "type" in fields:
            connection.execute("UPDATE event SET topic = ? WHERE position = ?", (fields["type"], position))

    return change


def set_payload(make):
    """Another payload that the entry commits to."""

    def change(connection: sqlite3.Connection, position: int) -> None:
        row = connection.execute("SELECT salt, payload FROM event WHERE position = ?", (position,)).fetchone()
        payload = make(row["payload"])
        connection.execute("UPDATE event SET payload = ? WHERE position = ?", (payload, position))
        set_fields(commitment=commit(row["salt"], payload))(connection, position)

    return change


def split_entries(connection: sqlite3.Connection, position: int) -> None:
    """The border between two entries moved: together they still read as two values."""
    one, two = (
        row["entry"]
        for row in connection.execute(
            "SELECT entry FROM event WHERE position IN (?, ?) ORDER BY position", (position, position + 1)
        )
    )
    connection.execute("UPDATE event SET entry = ? WHERE position = ?", (one[:-1], position))
    connection.execute("UPDATE event SET entry = ? WHERE position = ?", (b"}," + two, position + 1))


def same_id(connection: sqlite3.Connection, position: int) -> None:
    """Two entries with the id of the second, which the duplicate guard knows only once."""
    row = connection.execute("SELECT entry FROM event WHERE position = ?", (position + 1,)).fetchone()
    entry = Entry.decode(row["entry"])
    set_fields(id=entry.id, source=entry.source)(connection, position)


SENSE = {
    "a space": edit("entry", b'","', b'", "'),
    "a line feed before": edit("entry", b"{", b"\n{"),
    "a line feed behind": edit("entry", b"}", b"}\n"),
    "a needless escape": edit("entry", b'"type":"com', b'"type":"\\u0063om'),
    "a key twice": edit("entry", b'"type":', b'"type":"x","type":'),
    "other order": edit("entry", b'{"commitment"', b'{"source":"x","commitment"'),
    "a key more": edit("entry", b'"version"', b'"until":"x","version"'),
    "a key less": edit("entry", b'"version"', b'"versiom"'),
    "version with a fraction": edit("entry", b"}", b".0}"),
    "version with an exponent": edit("entry", b"}", b"e0}"),
    "version true": set_fields(version=True),
    "version beyond the range": set_fields(version=2**53),
    "version far beyond the range": set_fields(version=2**70),
    "version negative": set_fields(version=-1),
    "version skips": set_fields(version=700),
    "version as text": set_fields(version="8"),
    "time is a number": set_fields(time=5),
    "id is null": set_fields(id=None),
    "id is a list": set_fields(id=[]),
    "recorded is null": set_fields(recorded=None),
    "recorded before": set_fields(recorded="2020-01-01T00:00:00.000Z"),
    "recorded later": set_fields(recorded="2031-01-01T00:00:00.000Z"),
    "source unknown": set_fields(source="/nowhere"),
    "source is ours": set_fields(source="urn:tocsin:ledger"),
    "source is another's": set_fields(source="/a"),
    "id is another's": set_fields(id="000001"),
    "type of no access": set_fields(type="com.clinic.weather.v1"),
    "stream in capitals": edit("entry", b"-", b"", 9),
    "an id that ends an entry": set_fields(id='x"}'),
    "an id with a line feed": set_fields(id="x\n"),
    "an id that is no ASCII": set_fields(id="\u2028\x7f\u00e9"),
    "not an object": lambda connection, position: connection.execute(
        "UPDATE event SET entry = ? WHERE position = ?", (b"[]", position)
    ),
    "the border of two entries": split_entries,
    "one id twice": same_id,
    "payload no JSON": set_payload(lambda old: old[:-1]),
    "payload two values": set_payload(lambda old: old + b"," + old),
    "payload a list": set_payload(lambda _old: b"[]"),
    "payload a number": set_payload(lambda _old: b"7"),
    "payload empty": set_payload(lambda _old: b""),
    "payload without submission": set_payload(lambda _old: b"{}"),
    "payload with a space": set_payload(lambda old: old + b" "),
    "payload in capitals": set_payload(lambda old: old.replace(b"a", b"A")),
    "data a list": set_payload(lambda old: old.replace(b'"data":{', b'"data":[{').replace(b'},"s', b'}],"s')),
    "actor a text": set_payload(lambda old: old.replace(b'"actor":{', b'"actor":"x","acto":{')),
    "actor none": set_payload(lambda old: old.replace(b'"actor":{', b'"actor":null,"acto":{')),
    "outcome none": set_payload(lambda old: old.replace(b'"outcome":"success"', b'"outcome":null')),
    "subjects a text": set_payload(lambda old: old.replace(b'"subjects":[', b'"subjects":"xy","subject":[')),
    "subjects without ref": set_payload(lambda old: old.replace(b'"ref":', b'"name":')),
    "a sequence": set_payload(lambda old: b'{"sequence":"9",' + old[1:]),
    "a sequence that is no number": set_payload(lambda old: b'{"sequence":"x",' + old[1:]),
    "a sequence that is a number": set_payload(lambda old: b'{"sequence":9,' + old[1:]),
    "a sequence in other digits": set_payload(lambda old: b'{"sequence":"\\u0669",' + old[1:]),
    "a very long sequence": set_payload(lambda old: b'{"sequence":"' + b"9" * 40 + b'",' + old[1:]),
    "another stream beside": lambda connection, position: connection.execute(
        "UPDATE event SET stream = ? WHERE position = ?", (UUID(int=9).bytes, position)
    ),
    "payload and salt gone": lambda connection, position: connection.execute(
        "UPDATE event SET payload = NULL, salt = NULL WHERE position = ?", (position,)
    ),
}


@pytest.mark.parametrize("name", SENSE)
def test_what_was_signed_without_sense_is_judged_alike(original, tmp_path, name):
    """Hashes and signatures fit, so it is for the other checks to differ or not."""
    for number, position in enumerate((3, 320, 600)):
        directory = shutil.copytree(original, tmp_path / str(number))
        with closing(sqlite3.connect(directory / DATABASE)) as connection:
            connection.row_factory = sqlite3.Row
            SENSE[name](connection, position)
            resign(connection, directory)
            connection.commit()
        quick, careful, _ = both(directory)
        assert quick == careful
        assert not {"root_mismatch", "chain_altered", "tile_altered", "head_altered"} & {d.kind for d in quick.damage}


def test_signing_anew_alone_leaves_a_log_intact(original, tmp_path):
    """Else the test above would show nothing."""
    directory = shutil.copytree(original, tmp_path / "data")
    with closing(sqlite3.connect(directory / DATABASE)) as connection:
        connection.row_factory = sqlite3.Row
        resign(connection, directory)
        connection.commit()
    quick, careful, recognised = both(directory)
    assert quick == careful
    assert quick.damage == []
    assert recognised == -(-quick.size // 256)


@pytest.mark.parametrize("size", [0, -1, -300])
def test_a_signed_checkpoint_of_no_entries_is_judged_alike(original, tmp_path, size):
    directory = shutil.copytree(original, tmp_path / "data")
    config = read_config(directory)
    signer = load_signer(config.signing_key, directory, config.origin)
    note = sign_note(Checkpoint(config.origin, 0, CompactRange().root()).format(), [signer])
    with closing(sqlite3.connect(directory / DATABASE)) as connection:
        connection.execute("INSERT INTO checkpoint VALUES (?, ?)", (size, note))
        connection.commit()
    quick, careful, _ = both(directory)
    assert quick == careful
    assert quick.damage


TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
ENTRIES = st.builds(Entry, TEXT, TEXT, TEXT, TEXT, TEXT, TEXT, TEXT, st.integers(-(2**53) + 1, 2**53 - 1))


@given(st.lists(ENTRIES, min_size=1, max_size=8))
def test_entries_read_together_are_those_read_one_by_one(entries):
    encoded = [entry.encode() for entry in entries]
    assert [Entry(*values) for values in zip(*decode_each(encoded), strict=True)] == entries


@given(ENTRIES, st.integers(0, 400), st.binary(max_size=3), st.integers(0, 3))
def test_what_one_by_one_is_refused_is_refused_together(entry, at, new, length):
    encoded = entry.encode()
    at %= len(encoded)
    changed = encoded[:at] + new + encoded[at + length :]
    try:
        alone = [Entry.decode(changed)]
    except InputError:
        with pytest.raises(InputError):
            decode_each([changed])
    else:
        assert [Entry(*values) for values in zip(*decode_each([changed]), strict=True)] == alone


@given(st.lists(st.binary(max_size=300), max_size=5), st.binary(min_size=160, max_size=160))
def test_commitments_together_are_those_one_by_one(payloads, salts):
    each = [salts[32 * at : 32 * at + 32] for at in range(len(payloads))]
    assert commit_each(each, payloads) == [commit(salt, payload) for salt, payload in zip(each, payloads, strict=True)]


@given(st.lists(st.integers(1, 700), min_size=1, max_size=5), st.sets(st.integers(1, 2000)))
def test_a_tree_grown_by_pages_is_the_one_grown_by_leaves(counts, stops):
    one, other, leaves = Growth(), Growth(), [leaf_hash(str(number).encode()) for number in range(sum(counts))]
    for count in counts:
        first = one.tree.size
        grown, roots = one.ahead(leaves[first : first + count], sorted(s for s in stops if first < s <= first + count))
        assert one.tree.size == first
        one.absorb(grown)
        for size in range(first, first + count):
            other.add(leaves[size])
            assert roots.get(size + 1, other.tree.root()) == other.tree.root()
    assert one.grown() == other.grown()
