"""`tocsin verify` holds the outbox against the log: what was sent cannot be rewritten afterwards."""

import pytest

from notifiers.audit import check


@pytest.fixture
def sent(house):
    refs = house.people(**{f"p{number}": {"email": [f"p{number}@example.net"]} for number in range(9)})
    dispatcher = house.dispatcher()
    house.open(dispatcher, house.owed(refs))
    dispatcher.run("c1")
    return house.ledger


def found(ledger):
    with ledger.database.read() as connection:
        return [(damage.kind, damage.index is not None) for damage in check(connection)]


def test_an_untouched_outbox_agrees_with_the_log(sent):
    assert found(sent) == []


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("UPDATE outbox_attempt SET leaf = replace(CAST(leaf AS TEXT), 'handed_over', 'delivered')", "receipt_altered"),
        ("UPDATE outbox_attempt SET leaf = CAST(leaf || ' ' AS BLOB)", "receipt_altered"),
        ("DELETE FROM outbox_attempt WHERE id = (SELECT max(id) FROM outbox_attempt)", "receipt_altered"),
        ("UPDATE outbox_attempt SET position = 99 - position", "receipt_altered"),
        ("UPDATE outbox_block SET root = upper(root) || '0'", "receipt_altered"),
        ("UPDATE outbox_block SET entry = entry + 1", "receipt_altered"),
        ("UPDATE outbox_message SET message = CAST(replace(CAST(message AS TEXT), 'c', 'k') AS BLOB)", "text_altered"),
        ("UPDATE outbox_message SET message = CAST('[]' AS BLOB)", "text_altered"),
    ],
)  # fmt: skip
def test_every_rewritten_receipt_or_text_is_found(sent, statement, kind):
    with sent.database.write() as connection:
        connection.execute(statement)
    assert kind in {each for each, _ in found(sent)}


def test_receipts_that_are_gone_are_named_by_the_entry_that_recorded_them(sent):
    with sent.database.write() as connection:
        connection.execute("DELETE FROM outbox_attempt")
        connection.execute("DELETE FROM outbox_block")
    assert set(found(sent)) == {("receipt_altered", True)}


def test_a_ledger_that_never_sent_anything_has_nothing_to_check(ledger):
    assert found(ledger) == []
