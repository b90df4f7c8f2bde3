"""The door for many events at once: ordinary ones are recognised quickly, all others are read at length.

`recognise` accepts a subset of what `ledger.cloudevents.read_event` accepts, with the same result, and
words no error: whatever it does not recognise goes through `read_event`, which accepts it or says what is
wrong. So there is one place where an error is worded, and a property test holds the two together.
"""

from __future__ import annotations

import marshal
import re
from collections.abc import Mapping, Sequence
from datetime import date
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final

from msgspec import ValidationError, convert

from ledger import cloudevents
from ledger.cloudevents import CLASSIFICATIONS, MAX_EVENT, CloudEvent, read_event
from ledger.encoding import MAX_DEPTH, canonical_each, is_key
from ledger.errors import InputError
from ledger.shapes import UNKNOWN, shape_of

Recognised = tuple[str, str, str, str | None, Mapping[str, Any], Any]
"""All of a `CloudEvent` but its canonical bytes."""

_CHUNK: Final = 32
"""Events encoded in one call: enough to make up for it, few enough to stay in the processor's cache."""

_UTC: Final = re.compile(r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{3})?Z", re.ASCII).fullmatch
_WHOLE_SECONDS: Final = len("2026-03-10T09:00:00Z")
_DAY: Final = len("2026-03-10")
_ID: Final = cloudevents.ID.fullmatch
_NEEDED: Final = itemgetter("specversion", "id", "source", "type")
_NO_OTHERS: Final = 6
"""Members of an event that has the needed ones, `time`, `data` and nothing else."""


def read_events(values: Sequence[Any]) -> list[CloudEvent]:
    """Validate a batch of decoded JSON events.

    Raises:
        EventError: of the first event that is refused, with its place in the batch.
    """
    events: list[CloudEvent] = []
    for start in range(0, len(values), _CHUNK):
        part = values[start : start + _CHUNK]
        events += _read_quickly(part) or [_read(value, index) for index, value in enumerate(part, start)]
    return events


def _read(value: Any, index: int) -> CloudEvent:
    [event] = _read_quickly([value]) or [read_event(value, index)]
    return event


def _read_quickly(values: Sequence[Any]) -> list[CloudEvent] | None:
    """Read events if all of them are ordinary ones."""
    known = [recognise(value) for value in values]
    if not all(known):
        return None
    try:
        texts = _encode(values)
    except InputError:
        return None
    if max(map(len, texts)) > MAX_EVENT:
        return None
    return [CloudEvent(*event, text) for event, text in zip(known, texts, strict=True) if event is not None]


def _encode(values: Sequence[Any]) -> list[bytes]:
    """Canonical bytes of each.

    Raises:
        InputError: an integer beyond 2^53 - 1, half a surrogate pair, or a value of a class of its own.
    """
    try:
        marshal.dumps(list(values))  # takes the built-in types alone, neither enumerations nor other subclasses of them
    except ValueError:
        raise InputError("An event holds a value that is not JSON.") from None
    return canonical_each(values)


def recognise(value: Any) -> Recognised | None:
    """Take an event apart if it is an ordinary one.

    What this leaves to the encoder: integers beyond 2^53 - 1, lone surrogates, subclasses of the built-in
    types, the size of the whole.
    """
    try:
        version, event_id, source, event_type = _NEEDED(value)
    except (KeyError, TypeError, IndexError):
        return None
    # One condition where several would read better: this is walked once for every event.
    if (
        not (type(event_id) is type(source) is type(event_type) is type(version) is str)
        or type(value) is not dict
        or version != "1.0"
        or _ID(event_id) is None
        or not _is_source(source)
    ):
        return None
    given, data = value.get("time"), value.get("data")
    time = None if given is None else _utc(given)
    attributes = {} if len(value) == _NO_OTHERS and "time" in value and "data" in value else _attributes(value)
    if attributes is None or (time is None) != (given is None) or not _is_data(data, shape_of(event_type)):
        return None
    return event_id, source, event_type, time, attributes, data


@lru_cache(maxsize=4096)
def _is_source(text: str) -> bool:
    return cloudevents.URI_REFERENCE.fullmatch(text) is not None and not text.lower().startswith(cloudevents.RESERVED)


@lru_cache(maxsize=1024)
def _is_attribute(name: str) -> bool:
    return cloudevents.NAME.fullmatch(name) is not None and name not in {"recordedtime", "dataclassification"}


def _attributes(value: dict[str, Any]) -> dict[str, Any] | None:
    """The context attributes beside those that every event has, in the order in which they were given."""
    found: dict[str, Any] = {}
    for name, item in value.items():
        if name in cloudevents.CORE:
            if name == "data_base64":
                return None
            continue
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
    if type(text) is not str or _UTC(text) is None or not _is_day(text[:_DAY]):
        return None
    return f"{text[:-1]}.000Z" if len(text) == _WHOLE_SECONDS else text


@lru_cache(maxsize=1024)
def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


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


def _is_data(data: Any, shape: Any) -> bool:
    """Whether `data` of a type with this shape is in order."""
    if shape is UNKNOWN or shape is None:
        return shape is not None and (data is None or (type(data) is dict and _is_plain(data, 1)))
    try:
        convert(data, shape)
    except ValidationError:
        return False
    # What the shape does not say: a tuple is no list here, and a person is named in exactly one way.
    subjects, justification = data.get("subjects"), data.get("justification")
    if justification is not None and type(justification.get("approved_by", [])) is not list:
        return False
    if subjects is not None:
        if type(subjects) is not list:
            return False
        for subject in subjects:
            if ("id" in subject) == ("ref" in subject):
                return False
    return True
