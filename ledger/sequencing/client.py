"""A worker's way to the sequencer: an `Appender` that validates here and records there.

Sending a request again is safe: `(source, id)` is remembered for ever, so events that were recorded get the
receipts they had. That is what a broken connection is answered with, as nobody can know what came of it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Final, NamedTuple

from ledger.admission import read_events
from ledger.errors import EventError
from ledger.exchange import Receipt
from ledger.ledger import MAX_BATCH
from ledger.sequencing import frames
from ledger.sequencing.errors import FrameError, SequencerAwayError, SequencerMismatchError
from ledger.sequencing.frames import MAX_BATCHES, MAX_FRAME, Reply, Request, Result
from ledger.sequencing.local import connect, peer_uid
from ledger.sequencing.refusals import error_of

PATIENCE_S: Final = 5.0
"""How long a call looks for a sequencer before it gives up."""
REPLY_S: Final = 30.0
"""How long a call waits for a reply; longer than the store waits for another writer."""

_FIRST_PAUSE_S: Final = 0.02
_LONGEST_PAUSE_S: Final = 0.5
_OVERHEAD: Final = 64
"""Bytes of a request beside its events and their lengths, and more."""


class RemoteBatch(NamedTuple):
    """Validated events on their way to the sequencer.

    Attributes:
        names: source and id of each.
        texts: canonical bytes of each.
    """

    names: tuple[tuple[str, str], ...]
    texts: tuple[bytes, ...]

    @property
    def size(self) -> int:
        """Bytes it takes in a request, with its counts."""
        return sum(map(len, self.texts)) + 4 * len(self.texts) + 4


class RemoteAppender:
    """Appends to a ledger through the sequencer that leads; threads may share it.

    Each call takes a connection of its own from a pool and waits for its reply.

    Args:
        path: the sequencer's socket.
        origin: the log that events are meant for; a sequencer of another log is refused.
        before_append: called first wherever events are prepared, and refuses by raising.
        patience_s: how long to look for a sequencer.
        reply_s: how long to wait for a reply.
        clock: monotonic seconds.
        sleep: waits for that many seconds.
    """

    def __init__(
        self,
        path: Path,
        origin: str,
        *,
        before_append: Callable[[], None] = lambda: None,
        patience_s: float = PATIENCE_S,
        reply_s: float = REPLY_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._path = path
        self._origin = origin
        self._before_append = before_append
        self._patience_s = patience_s
        self._reply_s = reply_s
        self._clock = clock
        self._sleep = sleep
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []  # guarded by _lock

    def append(self, events: Sequence[Mapping[str, Any]], /) -> list[Receipt]:
        """Record events, all or none; see `Ledger.append`.

        Raises:
            SequencerAwayError: no sequencer answers; whether the events were recorded is not known.
            TocsinError: what `Ledger.append` would have raised.
        """
        [result] = self.append_each([self.batch(events)])
        if isinstance(result, Exception):
            raise result
        return result

    def batch(self, events: Sequence[Mapping[str, Any]], /) -> RemoteBatch:
        """Validate events; see `Ledger.batch`.

        Raises:
            EventError: an event is malformed, or there are too many for one batch.
            StoreError: `before_append` refused.
        """
        self._before_append()
        if len(events) > MAX_BATCH:
            raise EventError(f"A batch holds at most {MAX_BATCH} events; send smaller batches.")
        read = read_events(events)
        batch = RemoteBatch(tuple((event.source, event.id) for event in read), tuple(event.canonical for event in read))
        if batch.size + _OVERHEAD > MAX_FRAME:
            raise EventError(f"A batch holds at most {MAX_FRAME} bytes of events; send smaller batches.")
        return batch

    def append_each(self, batches: Sequence[RemoteBatch], /) -> list[list[Receipt] | Exception]:
        """Record batches that have nothing to do with each other; see `Ledger.append_each`.

        Raises:
            SequencerAwayError: no sequencer answers; whether events were recorded is not known.
            SequencerMismatchError: the socket leads to another ledger, user or version.
            FrameError: the sequencer answers with something else than a reply.
        """
        results: list[list[Receipt] | Exception] = []
        for part in _parts(batches):
            reply = self._ask(Request(next(self._numbers), tuple(batch.texts for batch in part)))
            if len(reply.results) != len(part):
                raise FrameError("The sequencer answered for another number of batches than it was sent.")
            results += [self._read(batch, result) for batch, result in zip(part, reply.results, strict=True)]
        return results

    def close(self) -> None:
        """Close the connections that nobody uses now."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _read(self, batch: RemoteBatch, result: Result) -> list[Receipt] | Exception:
        if isinstance(result, frames.Refusal):
            return error_of(result)
        if len(result) != len(batch.names):
            raise FrameError("The sequencer answered with another number of receipts than it was sent events.")
        return [
            Receipt(
                source,
                event_id,
                self._origin,
                place.leaf_index,
                place.leaf_hash.hex(),
                place.accepted_at,
                "known" if place.known else "unknown",
                place.new,
            )
            for (source, event_id), place in zip(batch.names, result, strict=True)
        ]

    def _ask(self, request: Request) -> Reply:
        """Send a request until it is answered; a lost connection may have been a lost answer, so it is sent again."""
        payload = frames.format_request(request)
        until = self._clock() + self._patience_s
        pause = _FIRST_PAUSE_S
        while True:
            connection = pooled = self._take()
            try:
                connection = pooled or _Connection(self._path, self._origin, self._reply_s)
                reply = connection.ask(payload, request.id)
            except TimeoutError:
                self._drop(connection)
                raise self._away(f"did not answer within {self._reply_s:g} seconds") from None
            except OSError:
                self._drop(connection)
                if self._clock() + pause > until:
                    raise self._away("is not there") from None
                if pooled is None:  # else it led to a process that has ended since; another may be there already
                    self._sleep(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE_S)
            except BaseException:
                self._drop(connection)
                raise
            else:
                self._give_back(connection)
                return reply

    def _away(self, what: str) -> SequencerAwayError:
        return SequencerAwayError(
            f"The sequencer behind {self._path} {what}; it is not known whether the events were recorded. "
            "Send them again, which records nothing twice; see that `tocsin sequencer` runs."
        )

    def _take(self) -> _Connection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _give_back(self, connection: _Connection) -> None:
        with self._lock:
            self._idle.append(connection)

    def _drop(self, connection: _Connection | None) -> None:
        """Close a connection that failed, and those like it: they led to the same process."""
        if connection is not None:
            connection.close()
        self.close()


class _Connection:
    """One connection, greeted and checked."""

    def __init__(self, path: Path, origin: str, timeout_s: float) -> None:
        self._socket = connect(path, timeout_s)
        try:
            self._check(path, origin)
        except BaseException:
            self.close()
            raise

    def _check(self, path: Path, origin: str) -> None:
        uid = peer_uid(self._socket)
        if uid not in {None, os.geteuid()}:
            raise SequencerMismatchError(f"{path} belongs to user {uid}; run sequencer and workers as one user.")
        greeting = frames.parse_greeting(self._receive())
        if greeting.version != frames.VERSION:
            raise SequencerMismatchError(
                f"The sequencer behind {path} speaks version {greeting.version} of the protocol, this program "
                f"{frames.VERSION}; restart both from one installation."
            )
        if greeting.origin != origin:
            raise SequencerMismatchError(f"The sequencer behind {path} writes another log than {origin}.")

    def ask(self, payload: bytes, number: int) -> Reply:
        """Send a request and wait for the reply.

        Raises:
            OSError: the connection broke, or the time was over.
            FrameError: what came is not the reply to this request.
        """
        self._socket.sendall(frames.framed(payload))
        reply = frames.parse_reply(self._receive())
        if reply.id != number:
            raise FrameError("The sequencer answered another request than the one it was sent.")
        return reply

    def close(self) -> None:
        with suppress(OSError):
            self._socket.close()

    def _receive(self) -> bytes:
        (length,) = frames.LENGTH.unpack(self._exactly(frames.LENGTH.size))
        return self._exactly(frames.checked_length(length))

    def _exactly(self, size: int) -> bytes:
        parts = bytearray(size)
        view = memoryview(parts)
        while view:
            got = self._socket.recv_into(view)
            if not got:
                raise ConnectionResetError("the sequencer closed the connection")
            view = view[got:]
        return bytes(parts)


def _parts(batches: Sequence[RemoteBatch]) -> Iterator[list[RemoteBatch]]:
    """Parts that each fit into one request."""
    part: list[RemoteBatch] = []
    size = _OVERHEAD
    for batch in batches:
        if part and (size + batch.size > MAX_FRAME or len(part) == MAX_BATCHES):
            yield part
            part, size = [], _OVERHEAD
        part.append(batch)
        size += batch.size
    if part:
        yield part
