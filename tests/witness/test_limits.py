"""How often a witness may be asked: enough for an honest log, bounded for everybody, little to remember."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from api.witness import create_app
from api.witness.limits import MOST_BUCKETS, PER_PEER, Limits, Throttle


class Seconds:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def seconds():
    return Seconds()


def test_a_burst_is_answered_then_one_at_a_time(seconds):
    throttle = Throttle(Limits(60), seconds)
    assert [throttle.ask("192.0.2.1", "log") for _ in range(60)] == [0] * 60
    assert throttle.ask("192.0.2.1", "log") == 1
    # Another log, and another peer with the same log, are not held up.
    assert throttle.ask("192.0.2.1", "other") == 0
    assert throttle.ask("192.0.2.2", "log") == 0
    seconds.now += 1
    assert throttle.ask("192.0.2.1", "log") == 0
    assert throttle.ask("192.0.2.1", "log") == 1
    seconds.now += 3600
    assert [throttle.ask("192.0.2.1", "log") for _ in range(61)] == [0] * 60 + [1]
    assert Throttle(Limits(1), seconds).ask("192.0.2.1") == 0


def test_the_wait_that_is_named_is_enough(seconds):
    throttle = Throttle(Limits(2), seconds)
    assert [throttle.ask("192.0.2.1", "log") for _ in range(2)] == [0, 0]
    wait = throttle.ask("192.0.2.1", "log")
    assert wait == 30
    seconds.now += wait
    assert throttle.ask("192.0.2.1", "log") == 0


def test_zero_sets_no_limit(seconds):
    throttle = Throttle(Limits(0), seconds)
    assert [throttle.ask("192.0.2.1") for _ in range(10_000)] == [0] * 10_000
    assert throttle.remembered == 0


def test_a_customer_with_many_addresses_is_one_peer(seconds):
    throttle = Throttle(Limits(1), seconds)
    asked = [throttle.ask(f"2001:db8:0:1::{number:x}") for number in range(1, PER_PEER + 2)]
    assert [wait > 0 for wait in asked] == [False] * PER_PEER + [True]
    assert throttle.ask("2001:db8:0:2::1") == 0
    assert throttle.ask("::ffff:192.0.2.1", "log") == 0
    assert throttle.ask("192.0.2.1", "log") > 0
    assert throttle.ask(None, "log") == throttle.ask("no address", "log") == 0


def test_the_memory_is_bounded_and_forgets_who_was_silent_longest(seconds):
    throttle = Throttle(Limits(1), seconds)
    for number in range(MOST_BUCKETS + 500):
        throttle.ask(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", "log")
    assert throttle.remembered == MOST_BUCKETS
    assert throttle.ask("10.0.0.0", "log") == 0  # forgotten, so it begins anew
    last = MOST_BUCKETS + 499
    assert throttle.ask(f"10.0.{last >> 8}.{last & 255}", "log") > 0


@given(st.lists(st.floats(0, 10), max_size=80), st.integers(1, 50))
def test_no_more_are_answered_than_the_rate_allows(pauses, rate):
    seconds = Seconds()
    throttle = Throttle(Limits(rate), seconds)
    answered = 0
    for pause in pauses:
        seconds.now += pause
        answered += throttle.ask("192.0.2.1", "log") == 0
    assert answered <= rate + sum(pauses) * rate / 60 + 1e-6


def test_a_witness_pushes_back_and_says_when_to_come_again(witness, log):
    with TestClient(create_app(witness, throttle=Throttle(Limits(2), Seconds()))) as client:
        for old, new in ((0, 5), (5, 6)):
            assert client.post("/add-checkpoint", content=log.body(old, new)).status_code == 200
        refused = client.post("/add-checkpoint", content=log.body(6, 7))
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "30")
        # What is malformed, and reading, are counted per peer.
        codes = [client.post("/add-checkpoint", content=b"x").status_code for _ in range(2 * PER_PEER)]
        assert codes[0] == 400
        assert codes[-1] == 429
        assert client.get(f"/{'0' * 64}/checkpoint").status_code == 429
    # The state did not move for what was pushed back.
    assert witness.store.logs()[0].state.checkpoint.size == 6
