"""The sequencer's side of the socket: whatever arrived from all workers goes into one commit.

One event loop reads and answers, one thread commits. What arrives while a commit is under way waits for the next,
and that begins when the last one ends: group commit without a timer, as in `ledger.store.sequencer`. A connection
has one request in hand at a time, so what the server holds is bounded by the connections.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from ledger.batch import Batch
from ledger.errors import OverloadedError, TocsinError
from ledger.exchange import Receipt
from ledger.ledger import MAX_BATCH, Ledger
from ledger.sequencing import frames
from ledger.sequencing.errors import FrameError
from ledger.sequencing.frames import MAX_BATCHES, Greeting, Place, Reply, Request, Result
from ledger.sequencing.local import peer_uid
from ledger.sequencing.refusals import refusal_of
from ledger.sequencing.trusted import event_of

_log = logging.getLogger("tocsin.sequencer")

_LOOK_S: Final = 1.0
"""How often a leader looks whether it still leads."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the server takes before it refuses.

    Attributes:
        batches: most batches that wait for a commit.
        size: most bytes of requests that wait for a commit.
        connections: most connections at a time.
    """

    batches: int = MAX_BATCHES
    size: int = 64 * 1024 * 1024
    connections: int = 256


@dataclass(eq=False, slots=True)
class _Waiting:
    batches: Sequence[Batch]
    size: int
    results: asyncio.Future[list[Result]]


class Server:
    """Appends for all who connect.

    Args:
        ledger: an open ledger; its `before_append` is asked once for each commit.
        listener: a listening Unix socket; closed at the end.
        limits: when to refuse.
        leads: whether this process still leads, asked every second; the server ends when it does not.
        trusted: the only user id that may connect; by default the one of this process.
    """

    def __init__(
        self,
        ledger: Ledger,
        listener: socket.socket,
        *,
        limits: Limits | None = None,
        leads: Callable[[], bool] = lambda: True,
        trusted: int | None = None,
    ) -> None:
        self._ledger = ledger
        self._listener = listener
        self._limits = limits or Limits()
        self._leads = leads
        self._trusted = os.geteuid() if trusted is None else trusted
        # Touched on the event loop alone.
        self._queue: deque[_Waiting] = deque()
        self._batches = self._size = 0
        self._draining: asyncio.Task[None] | None = None
        self._connections: set[_Connection] = set()
        self._committer = ThreadPoolExecutor(1, "tocsin-sequencer")

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until told to stop, or until this process leads no more; what was begun is finished and answered."""
        server = await asyncio.start_unix_server(self._connected, sock=self._listener)
        try:
            await self._until(stop)
        finally:
            server.close()
            for connection in list(self._connections):
                connection.finish()
            await asyncio.gather(*(connection.done for connection in self._connections), return_exceptions=True)
            self._committer.shutdown()

    async def _until(self, stop: asyncio.Event) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _LOOK_S)
                return
            try:
                # In a thread: a database may take long to say.
                if await asyncio.to_thread(self._leads):
                    continue
            except TocsinError as error:
                _log.error("Whether this process still leads cannot be said: %s", error)
            _log.error("This process leads no more; another sequencer may have taken over.")
            return

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(reader, writer)
        self._connections.add(connection)
        try:
            self._check_peer(writer)
            await self._converse(connection)
        except FrameError as error:
            _log.error("A connection was closed: %s", error)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the worker went away; what it sent was either recorded or not, and it will ask again
        except Exception as error:  # noqa: BLE001 - one connection must not end the server
            _log.error("A connection was closed: unexpected %s", type(error).__qualname__)
        finally:
            self._connections.discard(connection)
            writer.close()

    def _check_peer(self, writer: asyncio.StreamWriter) -> None:
        uid = peer_uid(writer.get_extra_info("socket"))
        if uid not in {None, self._trusted}:
            raise FrameError(f"a process of user {uid} connected, and only user {self._trusted} may.")
        if len(self._connections) > self._limits.connections:
            raise FrameError(f"there are {self._limits.connections} connections already.")

    async def _converse(self, connection: _Connection) -> None:
        await connection.send(frames.format_greeting(Greeting(frames.VERSION, self._ledger.origin)))
        while (payload := await connection.receive()) is not None:
            request = frames.parse_request(payload)
            batches = [self._batch(texts) for texts in request.batches]
            results = await self._answer(request, batches, len(payload))
            await connection.send(frames.format_reply(Reply(request.id, tuple(results))))

    def _batch(self, texts: Sequence[bytes]) -> Batch:
        if len(texts) > MAX_BATCH:
            raise FrameError(f"A batch of more than {MAX_BATCH} events; the worker must refuse it.")
        return Batch(self._ledger, [event_of(text) for text in texts])

    async def _answer(self, request: Request, batches: Sequence[Batch], size: int) -> Sequence[Result]:
        if self._batches + len(batches) > self._limits.batches or self._size + size > self._limits.size:
            refusal = refusal_of(
                OverloadedError("Too much is waiting to be written already; nothing of this was kept. Try again soon.")
            )
            return [refusal] * len(request.batches)
        waiting = _Waiting(batches, size, asyncio.get_running_loop().create_future())
        self._batches += len(batches)
        self._size += size
        self._queue.append(waiting)
        if self._draining is None:
            self._draining = asyncio.create_task(self._commit_queued())
        return await waiting.results

    async def _commit_queued(self) -> None:
        """Commit what waits, together, until nothing does."""
        loop = asyncio.get_running_loop()
        try:
            while self._queue:
                group = self._take()
                batches = [batch for waiting in group for batch in waiting.batches]
                try:
                    results = iter(await loop.run_in_executor(self._committer, self._append, batches))
                finally:
                    self._batches -= len(batches)
                    self._size -= sum(waiting.size for waiting in group)
                for waiting in group:
                    waiting.results.set_result([next(results) for _ in waiting.batches])
        finally:
            self._draining = None

    def _take(self) -> list[_Waiting]:
        """As many requests as fit into one commit, at least one."""
        group = [self._queue.popleft()]
        count = len(group[0].batches)
        while self._queue and count + len(self._queue[0].batches) <= MAX_BATCHES:
            count += len(self._queue[0].batches)
            group.append(self._queue.popleft())
        return group

    def _append(self, batches: Sequence[Batch]) -> list[Result]:
        try:
            self._ledger.before_append()
            results = self._ledger.append_each(batches)
        except Exception as error:  # noqa: BLE001 - answered to every worker that waits for it
            results = [error] * len(batches)
        return [self._result(result) for result in results]

    def _result(self, result: list[Receipt] | Exception) -> Result:
        if isinstance(result, Exception):
            if not isinstance(result, TocsinError):
                _log.error("A batch was refused: unexpected %s", type(result).__qualname__, exc_info=result)
            return refusal_of(result)
        return tuple(
            Place(
                receipt.index,
                bytes.fromhex(receipt.entry_hash),
                receipt.accepted_at,
                receipt.new,
                receipt.schema_verdict == "known",
            )
            for receipt in result
        )


class _Connection:
    """One worker's connection: at most one request in hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._idle = False
        self._finishing = False
        task = asyncio.current_task()
        assert task is not None
        self.done: asyncio.Task[object] = task

    def finish(self) -> None:
        """End it after the request in hand, or at once where there is none."""
        self._finishing = True
        if self._idle:
            self._writer.transport.abort()

    async def receive(self) -> bytes | None:
        """The payload of the next request; None when there will be none."""
        if self._finishing:
            return None
        self._idle = True
        try:
            head = await self._reader.readexactly(frames.LENGTH.size)
            (length,) = frames.LENGTH.unpack(head)
            return await self._reader.readexactly(frames.checked_length(length))
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            return None
        finally:
            self._idle = False

    async def send(self, payload: bytes) -> None:
        """Send a frame."""
        self._writer.write(frames.framed(payload))
        await self._writer.drain()
