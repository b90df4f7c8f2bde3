"""A missing payload is fine where a signed entry accounts for it, and damage everywhere else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import Ledger
from ledger.errors import StoreDamagedError
from ledger.forgetting.coverage import judge, positions_root
from ledger.forgetting.erasing import erase
from ledger.forgetting.events import (
    ERASURE_COMPLETED,
    ERASURE_EXECUTED,
    HOLD_LIFTED,
    HOLD_PLACED,
    Positions,
    Recorded,
    Standing,
    fold,
)
from ledger.merkle import leaf_hash, root_hash


@pytest.fixture
def erased(ledger, kit, actor):
    """A ledger in which one of three people was erased; the index of the event."""
    ledger.append([kit.view(n, [f"cust-{n}"]) for n in range(3)])
    ledger.access.follow()
    done = erase(ledger, ledger.vault.find("subject", "cust-1"), basis="b", by=actor)
    assert kit.damage(ledger) == []
    return done


def change(ledger, sql, *values):
    with ledger.database.write() as connection:
        assert connection.execute(sql, values).rowcount > 0


@pytest.mark.sqlite
@pytest.mark.usefixtures("erased")
@pytest.mark.parametrize(
    ("sql", "kinds"),
    [
        ("UPDATE event SET payload = NULL, salt = NULL WHERE position = 2", ["payload_missing"]),
        ("UPDATE event SET salt = NULL WHERE position = 2", ["payload_missing"]),
        ("DELETE FROM forgotten", ["payload_missing"]),
        ("UPDATE forgotten SET event = event - 1", ["payload_missing"]),
        ("INSERT INTO forgotten SELECT 2, event FROM forgotten", ["payload_missing"]),
        ("UPDATE event SET payload = x'7b7d' WHERE position = 3", ["payload_missing"]),
        ("DELETE FROM vault WHERE ref IN (SELECT subject FROM access_row WHERE position = 2)", ["identity_missing"]),
        ("ALTER TABLE forgotten ADD COLUMN more", ["schema_altered"]),
        ("INSERT INTO forgotten VALUES (2, 9999)", ["erasure_list_altered"]),
        ("INSERT INTO forgotten VALUES (1000, 4)", ["payload_missing"]),
    ],
)
def test_what_no_entry_accounts_for_is_damage(ledger, kit, sql, kinds):
    with ledger.database.write() as connection:
        connection.execute(sql)
    assert kit.damage(ledger)[: len(kinds)] == kinds


@pytest.mark.sqlite
@pytest.mark.usefixtures("erased")
def test_a_damaged_state_of_the_vault_is_named(ledger):
    change(ledger, "UPDATE meta SET value = x'00' WHERE name = 'vault.state'")
    with pytest.raises(StoreDamagedError, match="state of the vault"):
        Ledger.open(ledger.directory)


def test_a_payload_put_back_and_a_person_put_back_are_named(ledger, kit, actor):
    ledger.append([kit.view(n, [f"cust-{n}"]) for n in range(3)])
    ref = ledger.vault.find("subject", "cust-1")
    with ledger.database.read() as connection:
        kept = tuple(connection.execute("SELECT salt, payload FROM event WHERE position = 3").fetchone())
        row = tuple(connection.execute("SELECT * FROM vault WHERE ref = ?", (ref,)).fetchone())
    erase(ledger, ref, basis="b", by=actor)
    change(ledger, "UPDATE event SET salt = ?, payload = ? WHERE position = 3", *kept)
    change(ledger, "INSERT INTO vault VALUES (?, ?, ?, ?, ?)", *row)
    findings = kit.verify(ledger)
    assert [item.kind for item in findings.damage] == ["erasure_undone", "erasure_undone"]
    assert findings.damage[1].index == 2 or findings.damage[0].index == 2


def test_a_producer_cannot_cover_anything_by_sending_an_event_of_that_type(ledger, kit):
    ledger.append([kit.view(0, ["cust-0"])])
    forged = kit.view("forged", ["cust-0"], type="org.tocsin.erasure.executed.v1")
    forged["source"] = "urn:somebody"
    ledger.append([forged])
    change(ledger, "UPDATE event SET salt = NULL, payload = NULL WHERE position = 2")
    assert kit.damage(ledger)[0] == "payload_missing"


@given(st.lists(st.sets(st.integers(0, 60), min_size=1), max_size=4))
def test_exactly_the_listed_positions_are_covered(parts):
    taken: set[int] = set()
    rows, deleted = [], {}
    for number, part in enumerate(parts):
        fresh = sorted(part - taken)
        taken |= part
        deleted[100 + number] = Positions(len(fresh), positions_root(fresh))
        rows += [(index, 100 + number) for index in fresh]
    coverage = judge(sorted(rows), Standing(deleted=deleted))
    assert coverage.broken == ()
    assert {index for index in range(-2, 70) if coverage.covers(index)} == taken


@given(st.sets(st.integers(0, 60), min_size=1), st.integers(0, 61), st.booleans())
def test_one_position_more_or_less_breaks_the_whole_list(part, other, more):
    listed = {100: Positions(len(part), positions_root(sorted(part)))}
    changed = part | {other} if more else part - {other}
    coverage = judge(sorted((index, 100) for index in changed), Standing(deleted=listed))
    assert (coverage.broken == ()) == (changed == part)
    assert changed == part or not any(coverage.covers(index) for index in range(70))


def test_a_list_cannot_cover_what_came_after_its_event():
    coverage = judge([(7, 5)], Standing(deleted={5: Positions(1, positions_root([7]))}))
    assert coverage.broken == (5,)
    assert not coverage.covers(7)


def test_the_root_is_that_of_rfc_9162_over_eight_byte_indices():
    assert positions_root([3, 9]) == root_hash([leaf_hash(n.to_bytes(8, "big")) for n in (3, 9)]).hex()
    many = range(0, 30_000, 3)
    assert positions_root(many) == root_hash([leaf_hash(n.to_bytes(8, "big")) for n in many]).hex()


def test_what_stands_is_what_the_events_say_in_order():
    placed = {"scope": {"person": "s_x"}, "authority": "court", "basis": "12/26", "expires": None, "by": "a"}
    nothing = {"payloads": {"count": 0, "root": ""}}
    standing = fold(
        [
            Recorded(3, HOLD_PLACED, {"hold": "hold-3", **placed}),
            Recorded(4, HOLD_PLACED, {"hold": "hold-4", **placed, "expires": "2026-03-10T09:00:00.000Z"}),
            Recorded(5, HOLD_LIFTED, {"hold": "hold-3"}),
            Recorded(6, HOLD_LIFTED, {"hold": "hold-99"}),
            Recorded(7, ERASURE_EXECUTED, {"ref": "s_x", **nothing}),
            Recorded(8, ERASURE_EXECUTED, {"ref": "s_y", **nothing}),
            Recorded(9, ERASURE_COMPLETED, {"events": [7]}),
        ]
    )
    assert [hold.id for hold in standing.active("2026-03-10T08:59:59.999Z")] == ["hold-4"]
    assert standing.active("2026-03-10T09:00:00.000Z") == []
    assert standing.erased == {"s_x": 7, "s_y": 8}
    assert standing.unfinished == {8}
