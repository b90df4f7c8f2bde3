"""The door for many events at once: ordinary ones are recognised quickly, all others are read at length.

`recognise` accepts a subset of what `ledger.cloudevents.read_event` accepts, with the same result, and
words no error: whatever it does not recognise goes through `read_event`, which accepts it or says what is
wrong. So there is one place where an error is worded, and a property test holds the two together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

from ledger import cloudevents
from ledger.cloudevents import CLASSIFICATIONS, MAX_EVENT, MAX_SUBJECTS, MAX_TEXT, CloudEvent, read_event
from ledger.encoding import MAX_DEPTH, canonical_each, is_key
from ledger.errors import InputError
from ledger.vocabulary import ACTOR_KINDS, FIELDS, OUTCOMES, required, verdict

Test = Callable[[Any], bool]

_CHUNK: Final = 128
"""Events encoded in one call; bounds the memory that large events take twice."""

_UTC = re.compile(r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):\d\d:\d\d(?:\.\d{3})?Z", re.ASCII)
_WHOLE_SECONDS: Final = len("2026-03-10T09:00:00Z")


class Recognised(NamedTuple):
    """A `CloudEvent` that still lacks its canonical bytes."""

    id: str
    source: str
    type: str
    time: str | None
    attributes: Mapping[str, Any]
    data: Any


def read_events(values: Sequence[Any]) -> list[CloudEvent]:
    """Validate a batch of decoded JSON events.

    Raises:
        EventError: of the first event that is refused, with its place in the batch.
    """
    events: list[CloudEvent] = []
    for start in range(0, len(values), _CHUNK):
        part = values[start : start + _CHUNK]
        known = [recognise(value) for value in part]
        try:
            texts = iter(canonical_each([value for value, event in zip(part, known, strict=True) if event is not None]))
        except InputError:  # an integer out of range or half a surrogate pair somewhere among them
            known, texts = [None] * len(part), iter(())
        for index, (value, event) in enumerate(zip(part, known, strict=True), start):
            text = b"" if event is None else next(texts)
            if event is None or len(text) > MAX_EVENT:
                events.append(read_event(value, index))
            else:
                events.append(CloudEvent(*event, text))
    return events


def recognise(value: Any) -> Recognised | None:
    """Take an event apart if it is an ordinary one.

    What this leaves to the encoder: integers beyond 2^53 - 1, lone surrogates, the size of the whole.
    """
    if type(value) is not dict or "data_base64" in value:
        return None
    get = value.get
    event_id, source, event_type, version = get("id"), get("source"), get("type"), get("specversion")
    # One condition where several would read better: this is walked once for every event.
    if (
        not (type(event_id) is type(source) is type(event_type) is type(version) is str)
        or version != "1.0"
        or cloudevents.ID.fullmatch(event_id) is None
        or not _is_source(source)
        or not _is_type(event_type)
    ):
        return None
    attributes, data, time = _attributes(value), get("data"), get("time")
    kept = None if time is None else _utc(time)
    if attributes is None or (time is not None and kept is None):
        return None
    if verdict(event_type) == "known":
        if type(data) is not dict or not _is_known(data, required(event_type)):
            return None
    elif data is not None and (type(data) is not dict or not _is_plain(data, 1)):
        return None
    return Recognised(event_id, source, event_type, kept, attributes, data)


@lru_cache(maxsize=4096)
def _is_source(text: str) -> bool:
    return cloudevents.URI_REFERENCE.fullmatch(text) is not None and not text.lower().startswith(cloudevents.RESERVED)


@lru_cache(maxsize=4096)
def _is_type(text: str) -> bool:
    return cloudevents.TYPE.fullmatch(text) is not None


@lru_cache(maxsize=1024)
def _is_attribute(name: str) -> bool:
    return cloudevents.NAME.fullmatch(name) is not None and name not in {"recordedtime", "dataclassification"}


def _attributes(value: dict[str, Any]) -> dict[str, Any] | None:
    found: dict[str, Any] = {}
    for name in value.keys() - cloudevents.CORE:
        item = value[name]
        if item is None and type(name) is str and is_key(name):
            continue
        if type(name) is not str or type(item) not in _SCALARS:
            return None
        if not _is_attribute(name) and not (
            (name == "recordedtime" and _utc(item) is not None)
            or (name == "dataclassification" and item in CLASSIFICATIONS)
        ):
            return None
        found[name] = item
    return found


_SCALARS: Final = frozenset((str, int, bool))


def _utc(text: Any) -> str | None:
    """The time as it is kept, if it is written in the two commonest ways."""
    if type(text) is not str or _UTC.fullmatch(text) is None:
        return None
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return None
    return f"{text[:-1]}.000Z" if len(text) == _WHOLE_SECONDS else text


def _is_plain(value: Any, depth: int) -> bool:
    """Whether `ledger.encoding.check` has nothing against the value, but for what the encoder notices."""
    kind = type(value)
    if kind is dict:
        return depth < MAX_DEPTH and all(
            type(key) is str and is_key(key) and (type(item) in _SCALARS or _is_plain(item, depth + 1))
            for key, item in value.items()
        )
    if kind is list:
        return depth < MAX_DEPTH and all(type(item) in _SCALARS or _is_plain(item, depth + 1) for item in value)
    return depth <= MAX_DEPTH and (value is None or kind in _SCALARS)


def _is_known(data: dict[str, Any], needed: frozenset[str]) -> bool:
    """Whether `data` of a known type is in order."""
    for name in needed:
        if data.get(name) is None:
            return False
    for name, item in data.items():
        test = _TESTS.get(name)
        if test is None or not test(item):
            return False
    return "resource" not in needed or data["resource"].get("id") is not None


def _free(depth: int) -> Test:
    return lambda value: type(value) in _SCALARS or _is_plain(value, depth)


def _text(value: Any) -> bool:
    return value is None or (type(value) is str and 0 < len(value) <= MAX_TEXT)


def _one_of(allowed: frozenset[str]) -> Test:
    return lambda value: value is None or (type(value) is str and value in allowed)


def _object(names: frozenset[str], depth: int, **special: Test) -> Test:
    """A test for an object of these members at this depth; those in `special` have a test of their own."""
    parts: dict[str, Test | None] = dict.fromkeys(names) | special
    return lambda value: _has_members(value, parts, depth) if type(value) is dict else value is None


def _has_members(value: dict[str, Any], parts: Mapping[str, Test | None], depth: int) -> bool:
    for name, item in value.items():
        if name not in parts:
            return False
        part = parts[name]
        # The commonest two are written out: a call would take longer than the test.
        if part is _text:
            if (type(item) is not str or not 0 < len(item) <= MAX_TEXT) and item is not None:
                return False
        elif part is not None:
            if not part(item):
                return False
        elif type(item) not in _SCALARS and not _is_plain(item, depth + 1):
            return False
    return True


def _actor(value: Any) -> bool:
    return _ACTOR(value) and value.get("id") is not None


def _subjects(value: Any) -> bool:
    if type(value) is not list:
        return value is None
    if len(value) > MAX_SUBJECTS:
        return False
    for subject in value:
        if type(subject) is not dict or not _SUBJECT(subject) or ("ref" in subject) == ("id" in subject):
            return False
        if subject.get("ref") is None and subject.get("id") is None:
            return False
    return True


def _approvers(value: Any) -> bool:
    return type(value) is list and all(type(name) is str and name for name in value)


_ACTOR: Final = _object(cloudevents.ACTOR, 2, id=_text, session=_text, on_behalf_of=_text, kind=_one_of(ACTOR_KINDS))
_SUBJECT: Final = _object(cloudevents.SUBJECT, 3, id=_text, ref=_text)
_SPECIAL: Final[dict[str, dict[str, Test]]] = {
    "resource": {"id": _text, "type": _text, "container": _text},
    "client": {"ip": _text},
    "justification": {"approved_by": _approvers},
}
_TESTS: Final[dict[str, Test]] = {
    **dict.fromkeys(FIELDS, _free(2)),
    **{
        name: _object(parts, 2, **_SPECIAL.get(name, {}))
        for name, parts in cloudevents.OBJECTS.items()
        if parts is not None
    },
    "details": lambda value: value is None or (type(value) is dict and _is_plain(value, 2)),
    "actor": _actor,
    "outcome": _one_of(OUTCOMES),
    "credential": _text,
    "subjects": _subjects,
}
"""For each field of `data` of a known type, whether a value of it is in order; null counts as absent."""
