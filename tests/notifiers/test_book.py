"""Plans, the ladder and the book, as pure functions and as a book kept over random histories."""

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifiers import claims, outbox
from notifiers.balance import DEAD_STEPS, OPEN_STEPS, STEP_STATES, Balance, Line, Step, settle
from notifiers.claims import Result
from notifiers.errors import BalanceError, PlanError
from notifiers.messages import Message, Recipient
from notifiers.plan import catalogue, next_rung, plan, rungs_of, summarise

TEXTS = catalogue(
    Message(channel, "en", audience, "S", "T")
    for channel in ("email", "sms", "push", "letter")
    for audience in ("person", "child", "guardian")
)


def test_all_mailboxes_together_everything_else_one_after_the_other():
    assert rungs_of(("email", "sms", "letter"), {"email": 2, "sms": 2, "push": 1}) == (
        (("email", 0), ("email", 1)),
        (("sms", 0),),
        (("sms", 1),),
    )


def test_the_next_rung_waits_for_the_last_address_of_the_rung_before():
    rungs = rungs_of(("email", "sms"), {"email": 2, "sms": 1})
    dead, due = Step("email", 0, "failed"), Step("email", 1, "due")
    assert next_rung(rungs, [dead, due]) == ()
    assert next_rung(rungs, [dead, Step("email", 1, "unknown")]) == (("sms", 0),)
    assert next_rung(rungs, [dead, Step("email", 1, "expired")]) == ()
    assert next_rung(rungs, [dead, Step("email", 1, "failed"), Step("sms", 0, "failed")]) == ()


def test_a_child_without_contact_is_told_through_its_guardian():
    recipients = [
        Recipient("s_kim", "s_kim", "child", "en"),
        Recipient("s_kim", "s_pat", "guardian", "en"),
        Recipient("s_lee", "s_lee", "child", "en"),
    ]
    tellings = plan(recipients, {"s_kim": {}, "s_pat": {"email": 1}, "s_lee": {}}, TEXTS)
    assert [telling.reason for telling in tellings] == ["through_guardian", "", "no_contact_details"]


def test_the_same_telling_twice_is_one_unless_they_disagree():
    one = Recipient("s_a", "s_a", "person", "en")
    assert len(plan([one, one], {"s_a": {"email": 1}}, TEXTS)) == 1
    with pytest.raises(PlanError, match="twice"):
        plan([one, Recipient("s_a", "s_a", "person", "es")], {"s_a": {"email": 1}}, TEXTS)


@pytest.mark.parametrize("channel", ["public", "fax"])
def test_a_ladder_names_personal_channels_only(channel):
    with pytest.raises(PlanError, match="ladder"):
        plan([Recipient("s_a", "s_a", "person", "en", (channel,))], {"s_a": {}}, TEXTS)


def test_preflight_is_people_times_channel_over_rate():
    recipients = [Recipient(f"s_{number}", f"s_{number}", "person", "fi") for number in range(7200)]
    tellings = plan(recipients, {recipient.addressee: {"email": 2} for recipient in recipients}, TEXTS)
    preflight = summarise("c", tellings, TEXTS, {"email": 2.0})
    assert preflight.by_channel == {"email": 7200}
    assert preflight.hours == {"email": 2.0}
    assert preflight.substituted == 7200
    assert preflight.as_json()["seconds"] == {"email": 7200}


@given(st.lists(st.sampled_from(STEP_STATES), max_size=6))
def test_a_telling_stands_in_exactly_one_column_and_the_best_news_counts(states):
    entry = settle(Step("email", number, state) for number, state in enumerate(states))
    if "delivered" in states:
        assert entry.state == "delivered"
    elif "handed_over" in states:
        assert entry.state == "handed_over"
    elif OPEN_STEPS & set(states):
        assert entry.state == "queued"
    elif not states or {"excluded", "cancelled"} & set(states):
        assert entry.state == "excluded"
        assert entry.reason
    else:
        assert set(states) <= DEAD_STEPS
        assert entry.state == "failed"
        assert entry.reason


def test_a_book_that_does_not_add_up_says_so():
    with pytest.raises(BalanceError, match="3 tellings are owed but 2"):
        Balance("c", 3, (Line("failed", "email", "x", 2),)).check()


OUTCOMES = {
    "handed_over": "handed_over",
    "delivered": "delivered",
    "transient": "due",
    "address": "failed",
    "ours": "due",
    "unknown": "unknown",
    "excluded": "excluded",
}
EVENTS = st.one_of(
    st.tuples(st.just("claim"), st.sampled_from(["w1", "w2"]), st.sampled_from(["email", "sms", "letter"])),
    st.tuples(st.just("record"), st.sampled_from(["w1", "w2"]), st.sampled_from(sorted(OUTCOMES))),
    st.tuples(st.sampled_from(["release", "die", "abandon"]), st.sampled_from(["w1", "w2"]), st.none()),
    st.tuples(st.sampled_from(["pause", "resume", "cancel", "expire"]), st.none(), st.none()),
)


@given(
    st.lists(st.dictionaries(st.sampled_from(["email", "sms", "letter"]), st.integers(1, 2)), min_size=1, max_size=6),
    st.lists(EVENTS, max_size=60),
)
def test_whatever_happens_the_columns_sum_to_what_is_owed(reaches, events):
    """Two workers claim, die, record and give back in any order while somebody pauses, cancels, expires."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.row_factory = sqlite3.Row
    connection.executescript(outbox.TABLES)
    recipients = [Recipient(f"s_{number}", f"s_{number}", "person", "en") for number in range(len(reaches))]
    tellings = plan(recipients, {f"s_{number}": reach for number, reach in enumerate(reaches)}, TEXTS)
    row = outbox.Campaign("c", "i", "live", "open", "", b"k", {}, "", "", "", None, len(tellings))
    outbox.insert_campaign(connection, row, [])
    outbox.insert_tellings(connection, "c", tellings, 0)
    assert outbox.insert_tellings(connection, "c", tellings, 0) == 0

    held: dict[str, list] = {"w1": [], "w2": []}
    told: set[str] = set()
    for now, (action, worker, detail) in enumerate(events, start=1):
        if worker is None:
            _govern(connection, action, now)
        else:
            told |= _work(connection, held, (action, worker, detail), now)
        _check(connection, told)
    connection.close()


def _work(connection, held, event, now) -> set[str]:
    """One worker does something; returns who was told by it."""
    action, worker, detail = event
    if action == "claim":
        held[worker] += claims.claim(connection, "c", detail, owner=worker, now=now, until=now + 1000, limit=2)
    elif action == "record" and held[worker]:
        done, held[worker] = held[worker], []
        results = [Result(step, detail, OUTCOMES[detail], detail, now, b"{}", step.claims > 1) for step in done]
        claims.record(connection, "c", results, root="00", entry=now, owner=worker, now=now)
        return {step.person for step in done} if detail in ("handed_over", "delivered") else set()
    elif action == "release":
        claims.release(connection, held[worker], worker)
        held[worker] = []
    elif action == "abandon":
        claims.abandon(connection, "c", worker, now)
        held[worker] = []
    elif action == "die":  # the lease is reclaimed, but what it sent may still be recorded late
        claims.reclaim(connection, "c", now=now, is_dead=lambda owner: owner == worker)
    return set()


def _govern(connection, action, now) -> None:
    if action in ("pause", "resume") and outbox.load(connection, "c").state != "cancelled":
        outbox.set_state(connection, "c", "paused" if action == "pause" else "open", "")
    elif action == "cancel":
        outbox.set_state(connection, "c", "cancelled", "operator")
        claims.close_due(connection, "c", "cancelled", "cancelled", now)
    elif action == "expire":
        claims.close_due(connection, "c", "expired", "expired", now)


def _check(connection, told) -> None:
    """Who was told stays told; who is queued has something to send; nobody waits for nothing."""
    book = outbox.balance(connection, "c")
    book.check()
    assert book.closed == (book.queued == 0 and book.open_messages == 0)
    rows = connection.execute("SELECT person FROM outbox_step WHERE state IN ('due', 'leased')")
    waiting = {row["person"] for row in rows}
    for telling in connection.execute("SELECT person, state FROM outbox_telling"):
        if telling["person"] in told:
            assert telling["state"] in ("handed_over", "delivered")
        else:
            assert (telling["state"] == "queued") == (telling["person"] in waiting)
