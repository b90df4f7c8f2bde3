"""The quick way in against the long one: what it recognises is what `read_event` would have read."""

from __future__ import annotations

import copy
import enum
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.admission import read_events, recognise
from ledger.cloudevents import ACTOR, MAX_EVENT, OBJECTS, read_event
from ledger.encoding import MAX_DEPTH, canonical, canonical_each
from ledger.errors import EventError, InputError
from ledger.vocabulary import FIELDS


class Colour(enum.StrEnum):
    RED = "red"


class Outcome(enum.StrEnum):
    SUCCESS = "success"


class Number(enum.IntEnum):
    ONE = 1


class Text(str):
    __slots__ = ()


class Items(list):
    pass


class Members(dict):
    pass


ODD = st.sampled_from(
    [
        1.5,
        float("nan"),
        2**53,
        -(2**60),
        "half \ud83d",
        b"bytes",
        (1, 2),
        {1: 2},
        {"é": 1},
        {"": 1},
        {"\n": 1},
        {"~\x7f": 1},
        uuid.UUID(int=1),
        Colour.RED,
        Outcome.SUCCESS,
        Number.ONE,
        Text("success"),
        Items(["a"]),
        Members(a="a"),
        ({"id": "p"},),
        "x" * 1024,
        "x" * 1025,
        "\N{GRINNING FACE}" * 1024,
        "",
        [],
        {},
        True,
        0,
        None,
        "José\n",
    ]
)
PLAIN = st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["a", "b c", "é", '"', "\\", "\x00"])
VALUES = st.recursive(
    PLAIN | ODD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=5,
)
TEXTS = st.sampled_from(["x", "dr-grey", "record/1", "é"])


def objects(names):
    return st.dictionaries(st.sampled_from([*sorted(names), "unheard_of"]), TEXTS | VALUES, max_size=4)


SUBJECTS = st.lists(objects({"id", "ref", "category", "relation"}) | st.builds(lambda i: {"id": i}, TEXTS), max_size=3)
DATA = st.fixed_dictionaries(
    {
        "actor": st.builds(lambda i, more: {"id": i, **more}, TEXTS, st.just({}) | objects(ACTOR)),
        "outcome": st.sampled_from(["success", "denied", "success", "perhaps"]),
        "resource": st.builds(
            lambda i, more: {"id": i, **more}, TEXTS, st.just({}) | objects(OBJECTS["resource"] or frozenset())
        ),
    },
    optional={
        **dict.fromkeys(sorted(FIELDS - {"actor", "outcome", "resource"}), VALUES),
        "client": objects({"ip", "user_agent", "geo"}) | VALUES,
        "subjects": SUBJECTS | VALUES,
        "justification": objects({"code", "text", "approved_by"}) | VALUES,
        "unheard_of": VALUES,
    },
)
EVENTS = st.fixed_dictionaries(
    {
        "specversion": st.sampled_from(["1.0", "1.0", "1.0", "0.3", 1]),
        "id": st.sampled_from(["a", "view-1", '"\\', "é", "a b", "", 7]),
        "source": st.sampled_from(["urn:x", "/bench", "https://a.example/b", "urn:tocsin:x", "a b", None]),
        "type": st.sampled_from(["a.data.view.v1", "a.data.search.v1", "x.y.z.v1", "a b"]),
    },
    optional={
        "time": st.sampled_from(
            [
                "2026-03-10T09:00:00Z",
                "2026-03-10T09:00:00.123Z",
                "2026-03-10T09:00:00.123456Z",
                "2026-03-10t09:00:00z",
                "2026-03-10T10:00:00+01:00",
                "2026-02-30T09:00:00Z",
                "2026-03-10T24:00:00Z",
                "2026-W10-2T09:00:00Z",
                "0000-01-01T00:00:00Z",
                None,
                7,
            ]
        ),
        "recordedtime": st.sampled_from(["2026-03-10T09:00:00Z", "yesterday", None]),
        "subject": VALUES,
        "dataclassification": st.sampled_from(["public", "secret", None]),
        "Odd-Name": VALUES,
        "data": DATA | VALUES,
        "data_base64": st.just("eA=="),
    },
)
GOOD = {
    "specversion": "1.0",
    "id": "view-1",
    "source": "urn:x",
    "type": "a.data.view.v1",
    "time": "2026-03-10T09:00:00Z",
    "subject": "x",
    "data": {
        "actor": {"id": "dr-grey", "kind": "human", "roles": ["a"]},
        "outcome": "success",
        "resource": {"id": "r", "fields": ["a", {"b": None}]},
        "subjects": [{"id": "p"}, {"ref": "q", "category": "patient"}],
        "client": {"ip": "192.0.2.1", "geo": {"country": "ES"}},
        "justification": {"code": "c", "approved_by": ["boss"]},
        "details": {"more": [1, 2, None, True]},
        "raw": "text",
    },
}


def by_the_long_way(value):
    try:
        return read_event(value)
    except EventError as error:
        return str(error), error.field


def by_the_quick_way(value):
    try:
        [event] = read_events([value])
    except EventError as error:
        return str(error), error.field
    return event


@settings(max_examples=600)
@given(EVENTS)
def test_both_ways_read_the_same_or_refuse_with_the_same_words(value):
    assert by_the_quick_way(value) == by_the_long_way(value)


@settings(max_examples=300)
@given(DATA)
def test_both_ways_agree_on_the_data_of_a_known_type(data):
    value = {**GOOD, "data": data}
    assert by_the_quick_way(value) == by_the_long_way(value)


def test_an_ordinary_event_is_recognised():
    """Else the tests above would say nothing about the quick way."""
    assert recognise(GOOD) is not None
    assert recognise({**GOOD, "type": "x.y.z.v1", "data": {"any": ["thing"]}}) is not None
    assert read_events([GOOD]) == [read_event(GOOD)]


@settings(max_examples=400)
@given(st.data())
def test_one_changed_value_anywhere_is_judged_the_same(draw):
    value = copy.deepcopy(GOOD)
    holder = value
    while True:
        key = draw.draw(st.sampled_from(list(holder) if isinstance(holder, dict) else list(range(len(holder)))))
        if isinstance(holder[key], dict | list) and holder[key] and draw.draw(st.booleans()):
            holder = holder[key]
            continue
        holder[key] = draw.draw(VALUES)
        break
    assert by_the_quick_way(value) == by_the_long_way(value)


@pytest.mark.parametrize("depth", [MAX_DEPTH - 4, MAX_DEPTH - 3, MAX_DEPTH - 2, MAX_DEPTH - 1, MAX_DEPTH])
@pytest.mark.parametrize("innermost", ["x", [], {}])
@pytest.mark.parametrize("field", ["raw", "details", "client"])
def test_both_ways_stop_at_the_same_depth(depth, innermost, field):
    deep = innermost
    for _ in range(depth):
        deep = {"a": deep}
    value = {**GOOD, "data": {**GOOD["data"], field: {"geo": deep} if field == "client" else {"a": deep}}}
    assert by_the_quick_way(value) == by_the_long_way(value)


def test_the_first_bad_event_of_a_batch_is_named_by_its_place():
    batch = [{**GOOD, "id": f"{number}"} for number in range(300)]
    assert [event.id for event in read_events(batch)] == [f"{number}" for number in range(300)]
    batch[170] = {**GOOD, "subject": 2**53}
    batch[250] = {**GOOD, "id": ""}
    with pytest.raises(EventError, match=r"^Event 170: /subject is an integer beyond") as caught:
        read_events(batch)
    assert caught.value.index == 170


def test_an_event_that_is_too_large_is_refused_among_others():
    with pytest.raises(EventError, match=r"^Event 1: The event is larger"):
        read_events([GOOD, {**GOOD, "data": {**GOOD["data"], "raw": "x" * MAX_EVENT}}])


@given(st.lists(st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from("ab"), inner))))
def test_encoding_many_at_once_is_encoding_each(values):
    assert canonical_each(values) == [canonical(value) for value in values]


def test_encoding_many_does_not_cut_inside_a_text():
    values = ["a,\n,b", [",\n,"], {",": "\n,"}, []]
    assert canonical_each(values) == [canonical(value) for value in values]
    with pytest.raises(InputError):
        canonical_each(["fine", "half \ud83d"])


@pytest.mark.parametrize(
    "change",
    [
        {"outcome": Outcome.SUCCESS},
        {"resource": {"id": Text("r")}},
        {"resource": {"id": "r", "count": Number.ONE}},
        {"resource": {"id": "r", "fields": Items(["a"])}},
        {"resource": Members(id="r")},
        {"subjects": ({"id": "p"},)},
        {"subjects": [({"id": "p"})] * 10_001},
        {"subjects": [{"id": "p", "ref": "q"}]},
        {"subjects": [{}]},
        {"subjects": [{"id": None, "ref": "q"}]},
        {"justification": {"approved_by": ("boss",)}},
        {"justification": {"approved_by": None}},
        {"justification": {"approved_by": [""]}},
        {"actor": {"id": "x" * 1025}},
        {"details": {"a": {"b": [1.0]}}},
        {"bulk": 1.0},
    ],
)
def test_what_only_looks_like_json_in_order_is_left_to_the_long_way(change):
    value = {**GOOD, "data": {**GOOD["data"], **change}}
    by_the_long = by_the_long_way(value)
    assert isinstance(by_the_long, tuple)
    assert by_the_long[1] is not None
    assert by_the_quick_way(value) == by_the_long
    # Neighbours in the same chunk do not change that.
    with pytest.raises(EventError, match=r"^Event 1"):
        read_events([GOOD, value, GOOD])


def test_every_field_of_a_known_type_is_recognised_when_it_is_null_or_ordinary():
    for name in FIELDS - {"actor", "outcome", "resource"}:
        assert recognise({**GOOD, "data": {**GOOD["data"], name: None}}) is not None, name
    for name, parts in OBJECTS.items():
        for part in (parts or frozenset({"any"})) - {"approved_by"}:
            data = {**GOOD["data"], name: {"id": "r", part: "x"} if name == "resource" else {part: "x"}}
            assert recognise({**GOOD, "data": data}) is not None, (name, part)
