"""Canonical JSON against the reference implementation of RFC 8785, and times."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from ledger.encoding import MAX_DEPTH, MAX_INT, canonical, check, format_time, parse, parse_strict, parse_time
from ledger.errors import InputError

KEYS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=12)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SCALARS = st.none() | st.booleans() | st.integers(-MAX_INT, MAX_INT) | TEXTS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=30,
)

MOMENTS = st.builds(
    lambda zone, offset: datetime(1970, 1, 1, tzinfo=UTC).astimezone(zone) + offset,
    st.timezones() | st.just(UTC),
    st.timedeltas(timedelta(days=-300_000), timedelta(days=300_000)),
)

REFUSED = st.one_of(
    st.floats(),
    st.integers(min_value=MAX_INT + 1),
    st.integers(max_value=-MAX_INT - 1),
    st.sampled_from([b"bytes", {1, 2}, object(), datetime(2026, 1, 1, tzinfo=UTC), 1j, "half \ud83d", "\udc00"]),
    st.dictionaries(
        st.text(st.characters(min_codepoint=0x7F, exclude_categories=["Cs"]), min_size=1), SCALARS, min_size=1
    ),
    st.dictionaries(st.text(st.characters(max_codepoint=0x1F), max_size=3), SCALARS, min_size=1),
    st.dictionaries(st.integers() | st.none() | st.booleans(), SCALARS, min_size=1),
)


@given(VALUES)
def test_canonical_is_rfc_8785(value):
    assert canonical(value) == rfc8785.dumps(value)


@given(VALUES)
def test_parse_strict_reads_back_what_canonical_wrote(value):
    assert parse_strict(canonical(value)) == value


@given(VALUES, REFUSED, st.data())
def test_what_has_no_canonical_form_is_refused_wherever_it_hides(value, bad, data):
    wrapped = data.draw(
        st.sampled_from([bad, [value, bad], {"a": value, "b": bad}, [{"deep": [[bad]]}], {"x": {"y": [value, bad]}}]),
    )
    with pytest.raises(InputError):
        canonical(wrapped)


@given(VALUES, st.sampled_from([None, 0, 2]))
def test_parse_strict_refuses_every_other_spelling(value, indent):
    other = json.dumps(value, indent=indent, ensure_ascii=True).encode()
    if other == canonical(value):
        assert parse_strict(other) == value
    else:
        with pytest.raises(InputError):
            parse_strict(other)


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1,"a":1}',
        b'{"b":1,"a":1}',
        b'{"a": 1}',
        b' {"a":1}',
        b'{"a":1}\n',
        b'{"a":1.0}',
        b'{"a":-0}',
        b'{"a":1e2}',
        b'"\\u0041"',
        b'"\\/"',
        b"9007199254740992",
        b'{"\xc3\xa9":1}',
        b'"\xff"',
        b"\xef\xbb\xbf{}",
        b"NaN",
        b"",
        b"{} {}",
        b'{"a":1',
    ],
)
def test_parse_strict_refuses(text):
    with pytest.raises(InputError):
        parse_strict(text)


@given(st.binary(max_size=60))
def test_arbitrary_bytes_never_raise_anything_else(data):
    for read in (parse, parse_strict):
        with contextlib.suppress(InputError):
            read(data)


def test_nesting_is_bounded():
    value: object = 1
    for _ in range(MAX_DEPTH):
        value = [value]
    assert canonical(value)
    with pytest.raises(InputError, match="nested deeper"):
        canonical([value])


def test_deeply_nested_text_is_refused_and_not_a_crash():
    with pytest.raises(InputError):
        parse_strict(b"[" * 100_000 + b"]" * 100_000)


@pytest.mark.parametrize(
    ("value", "pointer"),
    [
        ({"data": {"price": 1.5}}, "/data/price"),
        ({"data": [0, {"n": 2**53}]}, "/data/1/n"),
        ({"data": {"a": {"é": 1}}}, "/data/a"),
        (1.5, ""),
        # A key that is not a plain name may itself be data; the pointer does not repeat it.
        ({"data": {"canary@example.org": 1.5}}, "/data/*"),
        ({"data": {"+34600123123": [1.5]}}, "/data/*/0"),
    ],
)
def test_errors_point_at_the_part(value, pointer):
    with pytest.raises(InputError) as caught:
        check(value)
    assert caught.value.field == pointer
    assert "canary" not in str(caught.value)
    assert "1.5" not in str(caught.value)


def test_json_errors_give_the_place_and_not_the_content():
    with pytest.raises(InputError, match="line 2, column") as caught:
        parse(b'{"name":\nCanary}')
    assert "Canary" not in str(caught.value)


@given(MOMENTS)
def test_times_round_trip_to_the_millisecond(moment):
    text = format_time(moment)
    read = parse_time(text)
    assert format_time(read) == text
    assert timedelta(0) <= moment - read < timedelta(milliseconds=1)


@given(st.lists(st.datetimes(timezones=st.just(UTC)), min_size=2, max_size=2))
def test_time_texts_sort_as_the_times_do(pair):
    first, second = sorted(pair)
    assert format_time(first) <= format_time(second)


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-03-10T09:00:00Z", "2026-03-10T09:00:00.000Z"),
        ("2026-03-10t09:00:00z", "2026-03-10T09:00:00.000Z"),
        ("2026-03-10T10:30:00+01:30", "2026-03-10T09:00:00.000Z"),
        ("2026-03-10T23:30:00-01:00", "2026-03-11T00:30:00.000Z"),
        ("2026-03-10T09:00:00.1Z", "2026-03-10T09:00:00.100Z"),
        ("2026-03-10T09:00:00.123999999Z", "2026-03-10T09:00:00.123Z"),
    ],
)
def test_rfc_3339_times_are_read(text, utc):
    assert format_time(parse_time(text)) == utc


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-10T09:00:00",
        "2026-03-10",
        "2026-03-10 09:00:00Z",
        "2026-02-30T09:00:00Z",
        "2026-03-10T25:00:00Z",
        "2026-03-10T09:60:00Z",
        "2026-03-10T09:00:60Z",
        "2026-03-10T09:00:00+99:99",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "2026-W10-2T09:00:00Z",
        "\uff12\uff10\uff12\uff16-03-10T09:00:00Z",
        "1773133200",
        1773133200,
        None,
        "",
    ],
)
def test_other_times_are_refused(text):
    with pytest.raises(InputError) as caught:
        parse_time(text, "/time")
    assert caught.value.field == "/time"


def test_a_time_without_a_zone_is_not_written():
    with pytest.raises(InputError):
        format_time(datetime(2026, 3, 10))  # noqa: DTZ001 - that is the point
    assert format_time(datetime(2026, 3, 10, tzinfo=timezone(timedelta(hours=9)))) == "2026-03-09T15:00:00.000Z"
