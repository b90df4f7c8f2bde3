"""`tocsin verify` holds the incidents' tables against the log: who is affected cannot be rewritten afterwards."""

import zlib

import pytest

from incidents.audit import check


def found(ledger):
    with ledger.database.read() as connection:
        return {(damage.kind, damage.index is not None) for damage in check(connection)}


@pytest.mark.usefixtures("assessed")
def test_untouched_tables_agree_with_the_log(ledger):
    assert found(ledger) == set()


def test_a_ledger_without_incidents_has_nothing_to_check(ledger):
    assert found(ledger) == set()


@pytest.mark.sqlite
@pytest.mark.usefixtures("assessed")
@pytest.mark.parametrize(
    ("statement", "damage"),
    [
        ("UPDATE incident_affected SET count = count + 1", ("affected_set_altered", True)),
        ("UPDATE incident_affected SET members = X'00'", ("affected_set_altered", True)),
        ("UPDATE incident_affected SET root = replace(root, substr(root, 1, 1), 'x')", ("affected_set_altered", False)),
        ("DELETE FROM incident_inventory WHERE subject = (SELECT min(subject) FROM incident_inventory)",
         ("inventory_altered", True)),
        ("UPDATE incident_inventory SET categories = '[]'", ("inventory_altered", True)),
        ("UPDATE incident_entry SET leaf = leaf - 1 WHERE leaf = (SELECT min(leaf) FROM incident_entry)",
         ("read_model_altered", True)),
        ("DELETE FROM incident_entry WHERE leaf = (SELECT max(leaf) FROM incident_entry WHERE version IS NOT NULL)",
         ("read_model_altered", True)),
        ("UPDATE incident_entry SET type = type || 'x'", ("read_model_altered", True)),
    ],
)  # fmt: skip
def test_every_rewritten_table_is_found(ledger, statement, damage):
    with ledger.database.write() as connection:
        connection.execute(statement)
    assert damage in found(ledger)


@pytest.mark.usefixtures("assessed")
def test_a_person_slipped_into_a_frozen_set_is_found(ledger):
    with ledger.database.write() as connection:
        row = connection.execute("SELECT root, members FROM incident_affected").fetchone()
        members = zlib.decompress(row["members"])
        line = members.splitlines()[0]
        forged = zlib.compress(members.replace(line, line.replace(b'"s_', b'"s_x', 1), 1))
        connection.execute("UPDATE incident_affected SET members = ? WHERE root = ?", (forged, row["root"]))
    assert ("affected_set_altered", True) in found(ledger)
