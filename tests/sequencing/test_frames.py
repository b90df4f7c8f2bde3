"""The codec: one form for everything, and nothing but `FrameError` for what is none."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.sequencing.errors import FrameError
from ledger.sequencing.frames import (
    LENGTH,
    MAX_FRAME,
    MAX_MESSAGE,
    Greeting,
    Place,
    Refusal,
    Reply,
    Request,
    checked_length,
    format_greeting,
    format_reply,
    format_request,
    framed,
    parse_greeting,
    parse_reply,
    parse_request,
)

NUMBERS = st.integers(0, 2**64 - 1)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
GREETINGS = st.builds(Greeting, st.integers(0, 2**16 - 1), TEXTS)
REQUESTS = st.builds(
    Request,
    NUMBERS,
    st.lists(st.lists(st.binary(min_size=1, max_size=20), max_size=4).map(tuple), min_size=1, max_size=4).map(tuple),
)
PLACES = st.builds(
    Place,
    NUMBERS,
    st.binary(min_size=32, max_size=32),
    st.datetimes().map(lambda moment: moment.isoformat(timespec="milliseconds") + "Z"),
    st.booleans(),
    st.booleans(),
)
REFUSALS = st.builds(Refusal, st.from_regex(r"[A-Za-z]{1,64}", fullmatch=True), TEXTS, TEXTS, st.integers(0, 2**32 - 1))
REPLIES = st.builds(Reply, NUMBERS, st.lists(st.lists(PLACES, max_size=3).map(tuple) | REFUSALS, max_size=4).map(tuple))
CODECS = [
    (format_greeting, parse_greeting, GREETINGS),
    (format_request, parse_request, REQUESTS),
    (format_reply, parse_reply, REPLIES),
]


@pytest.mark.parametrize(("form", "parse", "values"), CODECS)
def test_what_was_formatted_is_parsed_again(form, parse, values):
    @given(values)
    def check(value):
        assert parse(form(value)) == value

    check()


@pytest.mark.parametrize(("form", "parse", "values"), CODECS)
def test_nothing_has_two_forms(form, parse, values):
    @given(values.map(form), st.data())
    def check(payload, data):
        altered = bytearray(payload)
        for _ in range(data.draw(st.integers(1, 3))):
            place = data.draw(st.integers(0, len(altered)))
            kind = data.draw(st.sampled_from(["put", "cut", "set"]))
            if kind == "put":
                altered[place:place] = data.draw(st.binary(min_size=1, max_size=5))
            elif kind == "cut":
                del altered[place : place + data.draw(st.integers(1, 5))]
            elif place < len(altered):
                altered[place] = data.draw(st.integers(0, 255))
        try:
            read = parse(bytes(altered))
        except FrameError:
            return
        assert form(read) == bytes(altered)

    check()


@pytest.mark.parametrize("parse", [parse_greeting, parse_request, parse_reply])
@given(payload=st.binary(max_size=200))
def test_garbage_is_refused_by_its_own_error(parse, payload):
    with suppress(FrameError):
        parse(payload)


def test_numbers_that_promise_too_much_take_no_memory():
    request = format_request(Request(1, ((b"{}",),)))
    for place in range(9, len(request) - 2, 4):
        with pytest.raises(FrameError):
            parse_request(request[:place] + b"\xff\xff\xff\xff" + request[place + 4 :])


@pytest.mark.parametrize("altered", [b"2026-03-10T09:00:00.000Z\4", b"2026-03-10 09:00:00.000Z\0"])
def test_a_receipt_has_a_time_and_no_unknown_flag(altered):
    reply = format_reply(Reply(1, ((Place(1, bytes(32), "2026-03-10T09:00:00.000Z", False, False),),)))
    with pytest.raises(FrameError, match="flag"):
        parse_reply(reply[: -len(altered)] + altered)


def test_a_refusal_is_not_longer_than_it_may_be():
    with pytest.raises(FrameError, match="too much"):
        parse_reply(format_reply(Reply(1, (Refusal("StoreError", "x" * (MAX_MESSAGE + 1)),))))


def test_a_frame_is_its_length_and_its_payload():
    assert framed(b"abc") == b"\0\0\0\3abc"
    assert LENGTH.unpack(framed(b"a" * 300)[:4]) == (300,)
    for length in (0, MAX_FRAME + 1, 2**32 - 1):
        with pytest.raises(FrameError, match=str(length)):
            checked_length(length)
    with pytest.raises(FrameError):
        framed(b"")
