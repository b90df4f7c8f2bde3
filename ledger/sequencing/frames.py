"""The frames between workers and the sequencer: a pure codec, strict both ways.

A frame is a length (4 bytes, big-endian) and that many bytes; the first says what it is. All numbers are
big-endian and unsigned.

    greeting   1 | version u16 | origin, UTF-8
    request    2 | id u64 | batches u32 | events u32 | events in each batch u32... | length of each event u32... |
                 the events, canonical JSON one after the other
    reply      3 | id u64 | results u32 | each result
    a result   0 | receipts u32 | each: index u64, leaf hash 32, time of acceptance 24, flags u8 (1 new, 2 known type)
               1 | length u8, class | index u32 | length u16, field | length u32, message

The sequencer greets first. Then a worker sends one request at a time on a connection, and gets one reply.
Nothing has two forms: `format(parse(x)) == x` for every `x` that parses.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

from ledger.cloudevents import MAX_EVENT
from ledger.sequencing.errors import FrameError

VERSION: Final = 1
MAX_FRAME: Final = 16 * 1024 * 1024
"""Largest payload of a frame in bytes; the server holds at most one for each connection."""
MAX_BATCHES: Final = 4096
"""Most batches in one request."""
MAX_ORIGIN: Final = 1024
MAX_MESSAGE: Final = 4096
"""Longest message of a refusal in bytes of UTF-8."""

LENGTH: Final = struct.Struct(">I")
_GREETING: Final = struct.Struct(">BH")
_REQUEST: Final = struct.Struct(">BQII")
_REPLY: Final = struct.Struct(">BQI")
_COUNT: Final = struct.Struct(">I")
_PLACE: Final = struct.Struct(">Q32s24sB")
_CLASS: Final = re.compile(r"[A-Za-z]{1,64}", re.ASCII)
_TIME: Final = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)

_IS_GREETING, _IS_REQUEST, _IS_REPLY = 1, 2, 3
_IS_PLACES, _IS_REFUSAL = 0, 1
_NEW, _KNOWN = 1, 2


@dataclass(frozen=True, slots=True)
class Greeting:
    """What the sequencer says first: the version it speaks and the log it writes."""

    version: int
    origin: str


@dataclass(frozen=True, slots=True)
class Request:
    """Batches of events to record, each all or none.

    Attributes:
        id: chosen by the worker; the reply repeats it.
        batches: canonical bytes of validated events.
    """

    id: int
    batches: tuple[tuple[bytes, ...], ...]


class Place(NamedTuple):
    """Where an event is: a receipt without what the worker knows itself.

    Attributes:
        leaf_index: place in the log, from 0.
        leaf_hash: 32 bytes.
        accepted_at: RFC 3339 UTC with milliseconds.
        new: whether this request recorded it.
        known: whether the vocabulary knows its type.
    """

    leaf_index: int
    leaf_hash: bytes
    accepted_at: str
    new: bool
    known: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a batch was refused, see `ledger.sequencing.refusals`.

    Attributes:
        name: class of the error.
        message: for people.
        field, index: as in `EventError`, else "" and 0.
    """

    name: str
    message: str
    field: str = ""
    index: int = 0


Result = tuple[Place, ...] | Refusal


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of each batch of a request."""

    id: int
    results: tuple[Result, ...]


def framed(payload: bytes) -> bytes:
    """The frame of a payload.

    Raises:
        FrameError: it is larger than `MAX_FRAME`.
    """
    return LENGTH.pack(checked_length(len(payload))) + payload


def checked_length(length: int) -> int:
    """The length of a payload, if a frame may have it."""
    if not 0 < length <= MAX_FRAME:
        raise FrameError(f"A frame of {length} bytes; it must have 1 to {MAX_FRAME}.")
    return length


def format_greeting(greeting: Greeting) -> bytes:
    """The payload of a greeting."""
    return _GREETING.pack(_IS_GREETING, greeting.version) + greeting.origin.encode()


def parse_greeting(payload: bytes) -> Greeting:
    """Read a greeting, also one of another version.

    Raises:
        FrameError: it is none.
    """
    walk = _Walk(payload)
    kind, version = walk.unpack(_GREETING)
    if kind != _IS_GREETING or len(payload) > _GREETING.size + MAX_ORIGIN:
        raise FrameError("The other side does not greet as a sequencer does.")
    return Greeting(version, walk.text(len(payload) - _GREETING.size))


def format_request(request: Request) -> bytes:
    """The payload of a request."""
    texts = [text for batch in request.batches for text in batch]
    return b"".join(
        (
            _REQUEST.pack(_IS_REQUEST, request.id, len(request.batches), len(texts)),
            struct.pack(f">{len(request.batches)}I", *map(len, request.batches)),
            struct.pack(f">{len(texts)}I", *map(len, texts)),
            *texts,
        )
    )


def parse_request(payload: bytes) -> Request:
    """Read a request; whether its events are events is not looked at.

    Raises:
        FrameError: it is malformed.
    """
    walk = _Walk(payload)
    kind, number, batches, events = walk.unpack(_REQUEST)
    if kind != _IS_REQUEST or not 0 < batches <= MAX_BATCHES:
        raise FrameError(f"No request, or one that has no batch or more than {MAX_BATCHES}.")
    counts = walk.numbers(batches)
    lengths = walk.numbers(events)
    if sum(counts) != events or (lengths and not 0 < min(lengths) <= max(lengths) <= MAX_EVENT):
        raise FrameError("A request whose counts contradict each other, or with an event that is empty or too large.")
    ends = list(accumulate(lengths, initial=walk.place))
    if ends[-1] != len(payload):
        raise FrameError("A request whose events do not fill it.")
    texts = [payload[start:end] for start, end in pairwise(ends)]
    edges = accumulate(counts, initial=0)
    return Request(number, tuple(tuple(texts[start:end]) for start, end in pairwise(edges)))


def format_reply(reply: Reply) -> bytes:
    """The payload of a reply."""
    parts = [_REPLY.pack(_IS_REPLY, reply.id, len(reply.results))]
    for result in reply.results:
        parts += _format_refusal(result) if isinstance(result, Refusal) else _format_places(result)
    return b"".join(parts)


def _format_places(places: Sequence[Place]) -> Iterator[bytes]:
    yield bytes((_IS_PLACES,)) + _COUNT.pack(len(places))
    for index, leaf, accepted_at, new, known in places:
        yield _PLACE.pack(index, leaf, accepted_at.encode(), new * _NEW | known * _KNOWN)


def _format_refusal(refusal: Refusal) -> Iterator[bytes]:
    name, field, message = (part.encode() for part in (refusal.name, refusal.field, refusal.message))
    yield struct.pack(">BB", _IS_REFUSAL, len(name)) + name
    yield struct.pack(">IH", refusal.index, len(field)) + field
    yield _COUNT.pack(len(message)) + message


def parse_reply(payload: bytes) -> Reply:
    """Read a reply.

    Raises:
        FrameError: it is malformed.
    """
    walk = _Walk(payload)
    kind, number, count = walk.unpack(_REPLY)
    if kind != _IS_REPLY or count > MAX_BATCHES:
        raise FrameError("No reply, or one with too many results.")
    results = tuple(_parse_result(walk) for _ in range(count))
    if walk.place != len(payload):
        raise FrameError("A reply with something behind its last result.")
    return Reply(number, results)


def _parse_result(walk: _Walk) -> Result:
    (kind,) = walk.take(1)
    if kind == _IS_PLACES:
        (count,) = walk.unpack(_COUNT)
        rows = _PLACE.iter_unpack(walk.take(count * _PLACE.size))
        return tuple(_place(*row) for row in rows)
    if kind == _IS_REFUSAL:
        return _parse_refusal(walk)
    raise FrameError("A result of an unknown kind.")


def _place(index: int, leaf: bytes, accepted_at: bytes, flags: int) -> Place:
    if flags > _NEW | _KNOWN or _TIME.fullmatch(accepted_at) is None:
        raise FrameError("A receipt with an unknown flag or without a time.")
    return Place(index, leaf, accepted_at.decode(), bool(flags & _NEW), bool(flags & _KNOWN))


def _parse_refusal(walk: _Walk) -> Refusal:
    (length,) = walk.take(1)
    name = walk.text(length)
    if _CLASS.fullmatch(name) is None:
        raise FrameError("A refusal without the name of an error.")
    index, length = walk.unpack(struct.Struct(">IH"))
    field = walk.text(length)
    (length,) = walk.unpack(_COUNT)
    if length > MAX_MESSAGE:
        raise FrameError("A refusal with too much to say.")
    return Refusal(name, walk.text(length), field, index)


class _Walk:
    """Takes a payload apart from the front, refusing what runs past its end."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self.place = 0

    def take(self, size: int) -> bytes:
        part = self._payload[self.place : self.place + size]
        if len(part) != size:
            raise FrameError("A frame that ends too early.")
        self.place += size
        return part

    def unpack(self, form: struct.Struct) -> tuple[int, ...]:
        return form.unpack(self.take(form.size))

    def numbers(self, count: int) -> tuple[int, ...]:
        return struct.unpack(f">{count}I", self.take(4 * count))

    def text(self, size: int) -> str:
        try:
            return self.take(size).decode()
        except UnicodeDecodeError:
            raise FrameError("A text in a frame is not UTF-8.") from None
