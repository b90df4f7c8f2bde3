"""A receipt proves a dispatch, and any altered byte of it is found."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.proofs import verify_receipt
from notifiers.errors import CampaignNotFoundError, ReceiptError
from notifiers.identity import address_fingerprint, person_fingerprint, step_id
from notifiers.receipts import Receipt, verify


@pytest.fixture
def receipts(house):
    refs = house.people(**{f"p{number}": {"email": [f"p{number}@example.net"]} for number in range(9)})
    dispatcher = house.dispatcher()
    house.open(dispatcher, house.owed(refs))
    dispatcher.run("c1")
    return {name: dispatcher.receipts("c1", ref)[0] for name, ref in refs.items()}


def test_every_person_has_a_receipt_that_leads_to_the_log(receipts):
    assert {verify(receipt)["outcome"] for receipt in receipts.values()} == {"handed_over"}
    assert len({receipt.leaf for receipt in receipts.values()}) == 9
    for receipt in receipts.values():
        assert Receipt.from_json(json.loads(json.dumps(receipt.as_json()))) == receipt


def test_the_log_entry_of_a_receipt_verifies_offline_under_a_policy(house, receipts):
    receipt = receipts["p3"]
    policy = f"log {house.ledger.vkey}\nquorum none\n".encode()
    verify_receipt(receipt.proof, receipt.entry, policy)


def test_any_altered_field_is_found(receipts):
    value = receipts["p3"].as_json()
    others = receipts["p0"].as_json()
    altered = {
        "leaf": value["leaf"].replace("handed_over", "delivered"),
        "path": [*value["path"], "00" * 32],
        "root": "00" * 32,
        "payload": value["payload"].replace('"mode":"live"', '"mode":"test"'),
        "salt": "00" * 32,
        "size": value["size"] + 1,
        "position": value["position"] + 1,
        "entry": value["entry"].replace("dispatch.recorded", "dispatch.planned"),
    }
    for field, wrong in altered.items():
        with pytest.raises(ReceiptError):
            verify(Receipt.from_json({**value, field: wrong}))
    with pytest.raises(ReceiptError):
        verify(Receipt.from_json({**value, "leaf": others["leaf"]}))


@given(
    st.dictionaries(
        st.sampled_from(["leaf", "path", "root", "payload", "salt", "size", "position", "entry", "proof"]),
        st.one_of(st.none(), st.integers(), st.text(max_size=5), st.lists(st.integers(), max_size=2)),
    )
)
def test_garbage_is_one_error(value):
    whole = {"entry_index": 0, "leaf": "{}", "path": [], "root": "", "payload": "{}", "salt": "", "size": 1,
             "position": 0, "entry": "{}", "proof": ""}  # fmt: skip
    with pytest.raises(ReceiptError):
        verify(Receipt.from_json({**whole, **value}))


@pytest.mark.sqlite
def test_an_outbox_that_was_tampered_with_gives_no_receipt(house, receipts):
    assert receipts
    with house.ledger.database.write() as connection:
        connection.execute("UPDATE outbox_attempt SET leaf = replace(leaf, 'handed_over', 'delivered')")
        person = connection.execute("SELECT person FROM outbox_step LIMIT 1").fetchone()[0]
    with pytest.raises(ReceiptError):
        house.dispatcher().receipts("c1", person)


def test_no_campaign_no_receipt(house):
    with pytest.raises(CampaignNotFoundError):
        house.dispatcher().receipts("c9", "s_x")


def test_fingerprints_match_the_same_address_written_otherwise_and_nothing_else():
    key = b"k" * 32
    assert address_fingerprint(key, "email", "Ana@Example.NET ") == address_fingerprint(key, "email", "Ana@example.net")
    assert address_fingerprint(key, "email", "ana@example.net") != address_fingerprint(key, "email", "Ana@example.net")
    assert address_fingerprint(key, "sms", "+34 600 00") == address_fingerprint(key, "sms", "+3460000")
    assert address_fingerprint(key, "letter", ("A  B", "C")) == address_fingerprint(key, "letter", ("A B", "C"))
    assert person_fingerprint(key, "s_a") != person_fingerprint(b"x" * 32, "s_a")
    name = {"person": "p", "addressee": "a", "channel": "email", "step": 0, "notice": "h"}
    ids = {step_id(key, **{**name, field: 1 if field == "step" else "z"}) for field in name} | {step_id(key, **name)}
    assert len(ids) == 6
