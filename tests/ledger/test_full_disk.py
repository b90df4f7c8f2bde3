"""A database that may not grow: a real failing write inside one process."""

from __future__ import annotations

import pytest

from ledger.errors import StoreFullError

pytestmark = pytest.mark.sqlite


def allow(ledger, pages: int | None) -> None:
    """Bound the size of the file for the one pooled connection that a single thread uses."""
    with ledger.database.read() as connection:
        used = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {2**31 if pages is None else used + pages}")


@pytest.mark.parametrize("pages", [0, 1, 3, 10])
def test_a_full_database_refuses_the_batch_whole_and_goes_on_when_there_is_space(ledger, kit, pages):
    ledger.append([kit.event("before")])
    ledger.access.follow()
    allow(ledger, pages)
    batch = [kit.event(number, data={"text": "x" * 300}) for number in range(200)]
    with pytest.raises(StoreFullError, match="No space is left") as caught:
        ledger.append(batch)
    assert "patient" not in str(caught.value)
    assert ledger.size() == 2
    assert kit.verify(ledger).damage == []
    allow(ledger, None)
    assert [receipt.new for receipt in ledger.append(batch)] == [True] * 200
    ledger.access.follow()
    for receipt in ledger.append(batch):
        assert not receipt.new
        assert ledger.details(ledger.entry(receipt.index)) == {"text": "x" * 300}
    assert kit.verify(ledger).damage == []
    kit.prove_all(ledger)


def test_a_read_model_that_does_not_fit_leaves_the_log_alone(ledger, kit):
    ledger.append([kit.event(number) for number in range(500)])
    allow(ledger, 0)
    with pytest.raises(StoreFullError):
        ledger.access.follow()
    assert kit.verify(ledger).damage == []
    allow(ledger, None)
    assert ledger.access.follow() == 501
    assert kit.verify(ledger).accesses == 500
