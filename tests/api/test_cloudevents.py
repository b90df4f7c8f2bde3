"""Reading CloudEvents out of HTTP: every mode, and every way to get one wrong."""

import base64
import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from api.http import cloudevents
from api.http.cloudevents import Envelope, Submission, open_envelope, open_raw, read
from api.http.problems import RequestError

EVENT = {"specversion": "1.0", "id": "1", "source": "/a", "type": "a.b.v1", "data": {"n": 1}}


def submit(body: bytes, content_type: str, *headers: tuple[str, str]) -> Submission:
    return read(open_envelope([("content-type", content_type), *headers]), body)


def refusal(body: bytes, content_type: str, *headers: tuple[str, str]) -> RequestError:
    with pytest.raises(RequestError) as caught:
        submit(body, content_type, *headers)
    return caught.value


def test_structured_mode_is_one_event() -> None:
    found = submit(json.dumps(EVENT).encode(), "application/cloudevents+json; charset=UTF-8")
    assert found == Submission([EVENT], many=False)


def test_batch_and_ndjson_are_lists_even_of_one_event() -> None:
    text = json.dumps(EVENT).encode()
    assert submit(b"[" + text + b"]", "application/cloudevents-batch+json") == Submission([EVENT], many=True)
    assert submit(text + b"\r\n\n" + text, "application/x-ndjson") == Submission([EVENT, EVENT], many=True)
    assert submit(b"[]", "application/cloudevents-batch+json") == Submission([], many=True)


def test_binary_mode_takes_attributes_from_headers_and_data_from_the_body() -> None:
    headers = [(f"ce-{name}", str(EVENT[name])) for name in ("specversion", "id", "source", "type")]
    assert submit(b'{"n": 1}', "application/json", *headers) == Submission(
        [{**EVENT, "datacontenttype": "application/json"}], many=False
    )
    assert "data" not in submit(b"", "application/json", *headers).events[0]
    binary = submit(b"\xff\x00", "application/octet-stream", *headers).events[0]
    assert base64.b64decode(binary["data_base64"]) == b"\xff\x00"


def test_quoted_and_percent_encoded_header_values_are_decoded_once() -> None:
    headers = [("ce-specversion", "1.0"), ("ce-subject", r'"a\"b"'), ("ce-id", "100%2525")]
    event = submit(b"", "application/json", *headers).events[0]
    assert (event["subject"], event["id"]) == ('a"b', "100%25")


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_any_text_survives_a_binary_mode_header(text: str) -> None:
    headers = [("ce-specversion", "1.0"), ("ce-subject", quote(text, safe=""))]
    assert submit(b"", "application/json", *headers).events[0]["subject"] == text


@pytest.mark.parametrize(
    ("body", "content_type", "pointer"),
    [
        (b"{", "application/cloudevents+json", ""),
        (b"[1]", "application/cloudevents+json", ""),
        (b'{"id": 1', "application/cloudevents-batch+json", ""),
        (b'{"id": 1}', "application/cloudevents-batch+json", ""),
        (b"[{}, 3]", "application/cloudevents-batch+json", "/1"),
        (b'{}\n{"a": }\n', "application/x-ndjson", "/1"),
        (b"{}\n7", "application/x-ndjson", "/1"),
        (b'\xff\xfe{"a": 1}', "application/cloudevents+json", ""),
    ],
)
def test_a_malformed_body_is_400_and_says_where(body: bytes, content_type: str, pointer: str) -> None:
    problem = refusal(body, content_type).problem
    assert problem.kind.status == 400
    assert [fault.pointer for fault in problem.faults] == [pointer]


@pytest.mark.parametrize(
    "headers",
    [
        [("ce-Data", "x")],
        [("ce-data", "x")],
        [("ce-datacontenttype", "text/plain")],
        [("ce-some_name", "x")],
        [("ce-id", "1"), ("ce-id", "2")],
        [("ce-subject", "%ff")],
    ],
)
def test_headers_that_cannot_be_attributes_are_400(headers: list[tuple[str, str]]) -> None:
    assert refusal(b"{}", "application/json", ("ce-specversion", "1.0"), *headers).problem.kind.status == 400


@pytest.mark.parametrize(
    ("content_type", "headers"),
    [
        ("application/json", []),
        ("text/plain", []),
        ("", []),
        ("application/cloudevents+xml", []),
        ("application/cloudevents+json; charset=utf-16", []),
        ("application/cloudevents+json", [("content-encoding", "gzip")]),
    ],
)
def test_types_that_are_not_taken_are_415(content_type: str, headers: list[tuple[str, str]]) -> None:
    assert refusal(b"{}", content_type, *headers).problem.kind.status == 415


def test_limits_are_413_by_declared_length_and_by_count() -> None:
    length = ("content-length", str(cloudevents.MAX_BYTES + 1))
    assert refusal(b"{}", "application/cloudevents+json", length).problem.kind.status == 413
    many: list[Any] = [{}] * (cloudevents.MAX_EVENTS + 1)
    assert refusal(json.dumps(many).encode(), "application/cloudevents-batch+json").problem.kind.status == 413
    assert refusal(b"{}\n" * len(many), "application/x-ndjson").problem.kind.status == 413
    assert len(submit(json.dumps(many[1:]).encode(), "application/cloudevents-batch+json").events) == 1000


_VALUES = st.one_of(
    st.sampled_from(
        [
            "application/cloudevents+json",
            "Application/CloudEvents+JSON; charset=utf-8",
            "application/cloudevents-batch+json;charset=latin-1",
            "application/x-ndjson",
            "application/json",
            "identity",
            "gzip",
            "1.0",
            "999999",
            "5242880",
            "5242881",
            "-1",
        ]
    ),
    st.text(st.characters(codec="latin-1"), max_size=10),
)
_NAMES = ["content-type", "content-encoding", "content-length", "ce-specversion", "ce-id", "ce-", "host", "accept"]


@given(st.lists(st.tuples(st.sampled_from(_NAMES), _VALUES), max_size=5))
@example([("content-type", "application/x-ndjson"), ("content-length", "5242881")])
@example([("content-type", "application/x-ndjson"), ("content-encoding", "gzip")])
@example([("content-type", "application/x-ndjson"), ("ce-specversion", "1.0")])
def test_the_quick_look_at_the_headers_decides_as_the_long_one_does(headers: list[tuple[str, str]]) -> None:
    def outcome(take: Any, pairs: Any) -> Envelope | tuple[str, str, Any]:
        try:
            found: Envelope = take(pairs)
        except RequestError as error:
            return error.problem.kind.name, error.problem.detail, error.problem.headers
        return found

    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    assert outcome(open_raw, raw) == outcome(open_envelope, headers)
