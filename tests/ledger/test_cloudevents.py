"""What the door refuses, how it says so, and that it never repeats what it was given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.cloudevents import MAX_EVENT, MAX_SUBJECTS, read_event
from ledger.errors import EventError
from ledger.vocabulary import required, verdict

CANARY = "Canary-Zq7"
"""Stands for submitted data; no error may contain it."""


def event(**attributes):
    base = {
        "specversion": "1.0",
        "id": f"{CANARY}-id",
        "source": f"https://{CANARY}.example/x",
        "type": "com.clinic.data.view.v1",
        "time": "2026-03-10T08:59:59Z",
        "subject": f"{CANARY} subject",
        "data": {
            "actor": {"id": f"{CANARY} actor", "kind": "human", "session": f"{CANARY} session", "org": CANARY},
            "outcome": "success",
            "resource": {"id": f"{CANARY} resource", "type": CANARY, "container": CANARY, "fields": [CANARY]},
            "subjects": [{"id": f"{CANARY} person"}, {"ref": f"{CANARY} ref"}],
            "client": {"ip": CANARY, "user_agent": CANARY},
            "justification": {"text": CANARY, "approved_by": [CANARY]},
            "query": {"text": CANARY},
            "raw": {"whole": CANARY},
            "details": {"more": CANARY},
        },
    }
    return {key: item for key, item in {**base, **attributes}.items() if item is not ...}


def data(**changes):
    merged = {**event()["data"], **changes}
    return event(data={key: item for key, item in merged.items() if item is not ...})


def actor(**changes):
    merged = {**event()["data"]["actor"], **changes}
    return data(actor={key: item for key, item in merged.items() if item is not ...})


MALFORMED = {
    "not an object": (CANARY, ""),
    "a list": ([CANARY], ""),
    "nothing": (None, ""),
    "no specversion": (event(specversion=...), "/specversion"),
    "other specversion": (event(specversion=CANARY), "/specversion"),
    "specversion as a number": (event(specversion=1), "/specversion"),
    "no id": (event(id=...), "/id"),
    "empty id": (event(id=""), "/id"),
    "id with spaces": (event(id=f"{CANARY} {CANARY}"), "/id"),
    "id too long": (event(id=CANARY * 10), "/id"),
    "id as a number": (event(id=7), "/id"),
    "id beyond ASCII": (event(id=f"{CANARY}é"), "/id"),
    "id with a newline": (event(id=f"{CANARY}\n"), "/id"),
    "no source": (event(source=...), "/source"),
    "empty source": (event(source=""), "/source"),
    "source with spaces": (event(source=f"{CANARY} x"), "/source"),
    "source too long": (event(source=f"urn:{CANARY * 30}"), "/source"),
    "source of the ledger": (event(source=f"urn:tocsin:{CANARY}"), "/source"),
    "source of the ledger, shouted": (event(source=f"URN:Tocsin:{CANARY}"), "/source"),
    "no type": (event(type=...), "/type"),
    "type with spaces": (event(type=f"{CANARY} x"), "/type"),
    "type too long": (event(type=CANARY * 15), "/type"),
    "time without a zone": (event(time="2026-03-10T08:59:59"), "/time"),
    "time that is none": (event(time=CANARY), "/time"),
    "time as a number": (event(time=1773133199), "/time"),
    "a day that does not exist": (event(time="2026-02-30T08:59:59Z"), "/time"),
    "recordedtime that is none": (event(recordedtime=CANARY), "/recordedtime"),
    "attribute in capitals": (event(**{f"{CANARY}": "x"}), ""),
    "attribute with a dash": (event(**{"trace-id": CANARY}), ""),
    "attribute too long": (event(**{"a" * 21: CANARY}), ""),
    "attribute that is an object": (event(sequence={"a": CANARY}), "/sequence"),
    "attribute that is a list": (event(sequence=[CANARY]), "/sequence"),
    "attribute that is a float": (event(sequence=1.5), "/sequence"),
    "unknown classification": (event(dataclassification=CANARY), "/dataclassification"),
    "base64 data": (event(data_base64=CANARY), "/data_base64"),
    "no data": (event(data=...), "/data"),
    "data is text": (event(data=CANARY), "/data"),
    "data of an unknown type is text": (event(type="com.x.y.z.v1", data=CANARY), "/data"),
    "a float in data": (data(details={"price": 1.5, "name": CANARY}), "/data/details/price"),
    "a big integer": (data(details={"n": 2**53, "name": CANARY}), "/data/details/n"),
    "a key beyond ASCII": (data(details={f"é{CANARY}": 1}), "/data/details"),
    "half a surrogate": (data(details={"t": f"{CANARY}\ud83d"}), "/data/details/t"),
    "a float under a key that is data": (data(details={f"{CANARY}@example.org": 1.5}), "/data/details/*"),
    "no actor": (data(actor=...), "/data/actor"),
    "actor is null": (data(actor=None), "/data/actor"),
    "actor is text": (data(actor=CANARY), "/data/actor"),
    "actor without an id": (actor(id=...), "/data/actor/id"),
    "actor with an empty id": (actor(id=""), "/data/actor/id"),
    "actor id is a number": (actor(id=7), "/data/actor/id"),
    "actor id too long": (actor(id=CANARY * 120), "/data/actor/id"),
    "actor of an unknown kind": (actor(kind=CANARY), "/data/actor/kind"),
    "actor with a field of its own": (actor(email=CANARY), "/data/actor"),
    "session is a number": (actor(session=7), "/data/actor/session"),
    "on_behalf_of is a list": (actor(on_behalf_of=[CANARY]), "/data/actor/on_behalf_of"),
    "no outcome": (data(outcome=...), "/data/outcome"),
    "unknown outcome": (data(outcome=CANARY), "/data/outcome"),
    "no resource": (data(resource=...), "/data/resource"),
    "resource is text": (data(resource=CANARY), "/data/resource"),
    "resource without an id": (data(resource={"type": CANARY}), "/data/resource/id"),
    "resource id is a number": (data(resource={"id": 7}), "/data/resource/id"),
    "resource type is a list": (data(resource={"id": "x", "type": [CANARY]}), "/data/resource/type"),
    "resource with a field of its own": (data(resource={"id": "x", "owner": CANARY}), "/data/resource"),
    "a field of its own": (data(**{CANARY: "x"}), "/data"),
    "subjects is text": (data(subjects=CANARY), "/data/subjects"),
    "too many subjects": (data(subjects=[{"id": CANARY}] * (MAX_SUBJECTS + 1)), "/data/subjects"),
    "a subject is text": (data(subjects=[{"id": "x"}, CANARY]), "/data/subjects/1"),
    "a subject without an id": (data(subjects=[{"category": CANARY}]), "/data/subjects/0"),
    "a subject with an id and a ref": (data(subjects=[{"id": CANARY, "ref": CANARY}]), "/data/subjects/0"),
    "a subject with a name": (data(subjects=[{"id": "x", "name": CANARY}]), "/data/subjects/0"),
    "a subject id is a number": (data(subjects=[{"id": 7}]), "/data/subjects/0"),
    "a subject id is empty": (data(subjects=[{"id": ""}]), "/data/subjects/0"),
    "client is text": (data(client=CANARY), "/data/client"),
    "client with a field of its own": (data(client={"mac": CANARY}), "/data/client"),
    "ip is a number": (data(client={"ip": 7}), "/data/client/ip"),
    "credential is an object": (data(credential={"key": CANARY}), "/data/credential"),
    "approved_by is text": (data(justification={"approved_by": CANARY}), "/data/justification/approved_by"),
    "approved_by holds a number": (data(justification={"approved_by": [7]}), "/data/justification/approved_by"),
    "details is text": (data(details=CANARY), "/data/details"),
    "too large": (data(details={"t": CANARY * (MAX_EVENT // 10)}), ""),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_event_is_refused_naming_the_field_and_never_the_value(name):
    value, field = MALFORMED[name]
    with pytest.raises(EventError) as caught:
        read_event(value, 4)
    assert caught.value.field == field
    assert caught.value.index == 4
    assert str(caught.value).startswith("Event 4: ")
    shown = f"{caught.value} {caught.value.field} {caught.value!r} {caught.value.args}"
    assert CANARY not in shown
    assert field.rpartition("/")[2].replace("*", "details") in shown
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_the_event_the_table_starts_from_is_accepted():
    read = read_event(event())
    assert read.time == "2026-03-10T08:59:59.000Z"
    assert read.attributes == {"subject": f"{CANARY} subject"}
    assert read.data == event()["data"]


@pytest.mark.parametrize("time", [..., None])
def test_the_time_may_be_missing(time):
    assert read_event(event(time=time)).time is None


@pytest.mark.parametrize(
    ("event_type", "expected"),
    [
        ("com.clinic.data.view.v1", "known"),
        ("org.tocsin.data.view.v1", "known"),
        ("a-b.c.consent.given.v12", "known"),
        ("com.clinic.data.stare.v1", "unknown"),
        ("com.clinic.data.view", "unknown"),
        ("com.clinic.data.view.v0", "unknown"),
        ("com.clinic.Data.View.v1", "unknown"),
        ("data.view.v1", "unknown"),
        ("com..data.view.v1", "unknown"),
        ("com.clinic.data.view.v1\n", "unknown"),
        ("", "unknown"),
    ],
)
def test_types_are_known_by_family_and_verb(event_type, expected):
    assert verdict(event_type) == expected
    assert bool(required(event_type)) == (expected == "known")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["specversion", "id", "source", "type", "data", "actor", "subjects", "client", "ref", "é"]
                ),
                inner,
                max_size=5,
            )
        ),
        max_leaves=15,
    ),
    st.data(),
)
def test_no_value_makes_anything_but_an_event_error(value, draw):
    """Whatever stands wherever: read, or refused with an EventError."""
    where = draw.draw(st.sampled_from(["event", "attribute", "data", "field", "actor"]))
    whole = {
        "event": value,
        "attribute": event(**{draw.draw(st.sampled_from(sorted(event()))): value}),
        "data": event(data=value),
        "field": data(
            **{draw.draw(st.sampled_from([*sorted(event()["data"]), "change", "policy", "recipient"])): value}
        ),
        "actor": actor(**{draw.draw(st.sampled_from(["id", "kind", "session", "roles", "mfa"])): value}),
    }[where]
    try:
        read = read_event(whole)
    except EventError:
        return
    assert read.canonical
