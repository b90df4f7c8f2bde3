"""What several requests brought, appended together.

Everything that arrives while a commit is under way goes to the appender as one list: it is validated in one
pass, sealed once and costs one fsync. An event that is refused is taken out and answered alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from threading import Lock
from typing import Any, Final, NamedTuple

from ledger.errors import EventError, OverloadedError, StoreError, TocsinError
from ledger.exchange import Appender, Receipt

MAX_EVENTS: Final = 1000
"""Most events that are appended together; no appender takes more at once."""

_TURNS: Final = 3
"""Turns of the event loop without a new request after which what waits is committed."""

_ENOUGH: Final = 256
"""So many requests are committed at once, also when every turn brings more."""

_RETRIES: Final = 2
"""How often a list is tried again without the request that held it up; then each request is looked at alone."""

Events = Sequence[Mapping[str, Any]]
Result = list[Receipt] | Exception


class Groups:
    """Hands what waits to a blocking appender, in one thread that lives while something waits.

    Args:
        appender: what records events, durably.
    """

    def __init__(self, appender: Appender[Any]) -> None:
        self._appender = appender
        self._pool = _pool()
        self._lock = Lock()
        self._queue: deque[_Waiting] = deque()  # guarded by _lock
        self._loop: asyncio.AbstractEventLoop | None = None  # guarded by _lock; the one that sees to what waits

    def append(self, events: Events) -> asyncio.Future[list[Receipt]]:
        """Queue the events of one request, all or none, at most `MAX_EVENTS`; call on an event loop.

        Returns:
            Their receipts once they are durable, or what `Appender.append` would have raised.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(events, loop.create_future(), loop)
        with self._lock:
            self._queue.append(waiting)
            if self._loop is not None and not self._loop.is_closed():
                return waiting.result
            self._loop = loop
        loop.call_soon(self._gather, loop, 0, _TURNS)
        return waiting.result

    def _gather(self, loop: asyncio.AbstractEventLoop, known: int, turns: int) -> None:
        """On the loop: commit what waits once some turns of the loop have brought no more.

        A commit of half as many costs two thirds as much, and right after one the answers to it bring new requests.
        """
        with self._lock:
            found = len(self._queue)
            if not found and not turns:
                self._loop = None  # nothing waits; the next one begins again
                return
        if turns and found < _ENOUGH:
            loop.call_soon(self._gather, loop, found, turns - 1 if found == known else _TURNS)
            return
        try:
            self._pool.submit(self._work, loop)
        except RuntimeError as error:  # no thread to be had
            # The pool keeps what it could not start and would do it beside the next.
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = _pool()
            self._fail((), OverloadedError("The server has no thread left to write with; nothing was kept."), error)

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        group: list[_Waiting] = []
        try:
            while True:
                group = []
                self._take(group)
                results = self._append(group)
                for each in {waiting.loop for waiting in group}:
                    _call(each, _settle, each, group, results)
                if _call(loop, self._gather, loop, 0, _TURNS) or not group:
                    return
        except BaseException as error:  # noqa: BLE001 - or those who wait would wait for ever, and all after them
            self._fail(group, _broken(), error)

    def _take(self, group: list[_Waiting]) -> None:
        """Move what waits to the group, as much as one list may hold."""
        count = 0
        with self._lock:
            while self._queue and (not group or count + len(self._queue[0].events) <= MAX_EVENTS):
                group.append(self._queue.popleft())
                count += len(group[-1].events)

    def _fail(self, group: Sequence[_Waiting], error: TocsinError, cause: BaseException) -> None:
        """Answer the group and all that waits with an error; the next request begins anew."""
        error.__cause__ = cause
        with self._lock:
            group = (*group, *self._queue)
            self._queue.clear()
            self._loop = None
        for each in {waiting.loop for waiting in group}:
            _call(each, _settle, each, group, [error] * len(group))

    def _append(self, group: Sequence[_Waiting], retries: int = _RETRIES) -> list[Result]:
        """What `Appender.append` gives for each, in as few commits as possible."""
        if not group:
            return []
        try:
            receipts = iter(self._appender.append([event for waiting in group for event in waiting.events]))
        except Exception as error:  # noqa: BLE001 - handed to the requests that wait for it
            if len(group) == 1 or isinstance(error, StoreError):
                return [error] * len(group)
            if not isinstance(error, EventError) or not retries:
                return self._append_each(group)
            odd = _holder(group, error.index)
            rest = self._append([*group[:odd], *group[odd + 1 :]], retries - 1)
            return [*rest[:odd], *self._append([group[odd]]), *rest[odd:]]
        return [list(islice(receipts, len(waiting.events))) for waiting in group]

    def _append_each(self, group: Sequence[_Waiting]) -> list[Result]:
        """The same where the events of one request must not hold up another's: a savepoint for each."""
        prepared = [self._prepare(waiting.events) for waiting in group]
        good = [batch for batch in prepared if not isinstance(batch, Exception)]
        try:
            appended = iter(self._appender.append_each(good) if good else [])
        except Exception as error:  # noqa: BLE001 - handed to the requests that wait for it
            appended = iter([error] * len(good))
        return [batch if isinstance(batch, Exception) else next(appended) for batch in prepared]

    def _prepare(self, events: Events) -> Any:
        try:
            return self._appender.batch(events)
        except Exception as error:  # noqa: BLE001 - handed to the request that waits for it
            return error


class _Waiting(NamedTuple):
    events: Events
    result: asyncio.Future[list[Receipt]]
    loop: asyncio.AbstractEventLoop


def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="tocsin-ingest")


def _broken() -> TocsinError:
    return TocsinError("Writing broke off, so whether the events were recorded is not known; send them again.")


def _holder(group: Sequence[_Waiting], index: int) -> int:
    """Whose event stands at this place of the list."""
    for number, waiting in enumerate(group):
        index -= len(waiting.events)
        if index < 0:
            return number
    return len(group) - 1


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *arguments: Any) -> bool:
    """Have a function called on a loop; False where the loop was closed, so that nobody waits there any more."""
    try:
        loop.call_soon_threadsafe(function, *arguments)
    except RuntimeError:
        return False
    return True


def _settle(loop: asyncio.AbstractEventLoop, group: Sequence[_Waiting], results: Sequence[Result]) -> None:
    """On the loop: give each request what became of it."""
    for waiting, result in zip(group, results, strict=True):
        if waiting.loop is not loop or waiting.result.done():  # done: the client went away
            continue
        if isinstance(result, StopIteration):  # which no future takes
            waiting.result.set_exception(_broken())
        elif isinstance(result, Exception):
            waiting.result.set_exception(result)
        else:
            waiting.result.set_result(result)
