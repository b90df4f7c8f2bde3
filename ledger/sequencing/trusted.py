"""Events that a worker has validated, taken up again from their canonical bytes."""

from __future__ import annotations

import re
from typing import Any, Final

from ledger.cloudevents import CORE, CloudEvent
from ledger.encoding import format_time, parse, parse_time
from ledger.errors import InputError
from ledger.sequencing.errors import FrameError

_KEPT: Final = re.compile(r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{3}Z", re.ASCII).fullmatch
"""A time as `format_time` writes it; that there was such a day, the worker has looked up."""


def event_of(text: bytes) -> CloudEvent:
    """The event that `ledger.cloudevents.read_event` made of what these are the canonical bytes of.

    Its rules are not held against it a second time: who may connect could write to the database directly.
    What must hold for the code that follows does.

    Raises:
        FrameError: the bytes are not those of an event.
    """
    try:
        value = parse(text)
        get = value.get
        event_id, source, event_type = value["id"], value["source"], value["type"]
        time = get("time")
        moment = None if time is None else _moment(time)
    except (InputError, AttributeError, KeyError, TypeError):
        raise _not_an_event() from None
    data = get("data")
    if not type(event_id) is type(source) is type(event_type) is str or (data is not None and type(data) is not dict):
        raise _not_an_event()
    others = value.keys() - CORE
    attributes = {name: value[name] for name in others if value[name] is not None} if others else {}
    return CloudEvent(event_id, source, event_type, moment, attributes, data, text)


def _moment(time: Any) -> str:
    if type(time) is str:
        if _KEPT(time):
            return time
        if _KEPT(whole := f"{time[:-1]}.000Z") and time[-1] == "Z":
            return whole
    return format_time(parse_time(time))


def _not_an_event() -> FrameError:
    return FrameError("A request with bytes that are not those of an event; the worker must validate first.")
