"""Several processes that answer, one that writes, and this one that keeps them alive.

Every worker has a listening socket of its own on the same address (SO_REUSEPORT), so that the kernel spreads
connections evenly. They are all opened here: when a worker dies, what waits at its socket waits for the next one.
Where the system does not spread connections so, all workers share one socket.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any, Final

from api.cli import sequencer as sequencing
from api.cli.serve import Settings, answer, listen, listening_on
from ledger.errors import ConfigError

_log = logging.getLogger("tocsin.workers")

_STOP_S: Final = 20.0
"""How long a process may take to stop; longer than uvicorn waits for requests."""
_SOON_S: Final = 5.0
"""A process that ends sooner than this after its start is started again less and less quickly."""
_LONGEST_S: Final = 5.0
_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s[%(process)d] %(message)s"


def serve_with_workers(settings: Settings, port: int, workers: int, announce: Callable[[str], Any]) -> None:
    """Answer requests in several processes until this one is told to stop.

    Args:
        settings: what was asked for; without a sequencer, one is started and stopped here. Where another one
            leads already, that one writes and this one stands by.
        port: port to listen on; 0 takes a free one.
        workers: how many processes.
        announce: takes the line that says where the server listens.

    Raises:
        TocsinError: what would stop every worker from starting.
    """
    own = settings.sequencer is None
    settings = replace(settings, shared=True, sequencer=settings.sequencer or sequencing.default_socket(settings.data))
    with ExitStack() as stack:
        listeners = _listeners(settings.host, port, workers, stack)
        _check(settings)
        logging.basicConfig(level=logging.INFO, format=_FORMAT)
        context = multiprocessing.get_context("spawn")

        def worker(number: int) -> Callable[[], BaseProcess]:
            return lambda: context.Process(
                target=_work, args=(settings, listeners[number % len(listeners)]), name=f"worker {number + 1}"
            )

        def sequencer() -> BaseProcess:
            return context.Process(target=_write, args=(settings,), name="sequencer")

        # In this order they start; in the other order they stop.
        kept = [Kept(sequencer)] if own else []
        kept += [Kept(worker(number)) for number in range(workers)]
        announce(listening_on(settings.host, listeners[0]))
        keep(kept, before_stop=stack.close)


def _check(settings: Settings) -> None:
    """Raise here, once, what would raise in every worker."""
    from api.http import Access
    from ledger import Ledger
    from ledger.policy import parse_policy
    from ledger.witness.publication import Publication

    Access.decide(settings.host, settings.token)
    with Ledger.open(settings.data) as ledger:
        if settings.policy is not None:
            Publication(ledger, parse_policy(settings.policy)).check_start_now()


def _listeners(host: str, port: int, count: int, stack: ExitStack) -> list[socket.socket]:
    if not sys.platform.startswith("linux"):
        return [stack.enter_context(listen(host, port))]
    # The first one as everywhere else: with SO_REUSEPORT alone a second server on the address would go unnoticed.
    with listen(host, port) as first:
        family, address = first.family, first.getsockname()
    listeners = []
    for _ in range(count):
        try:
            listeners.append(stack.enter_context(socket.create_server(address, family=family, reuse_port=True)))
        except OSError as error:
            raise ConfigError(f"Cannot listen on {host} port {address[1]}: {error.strerror}.") from error
    return listeners


def _work(settings: Settings, listener: socket.socket) -> None:
    """What a worker does."""
    _belong()
    logging.basicConfig(level=logging.INFO, format=_FORMAT)
    answer(settings, listener, lambda: None)


def _write(settings: Settings) -> None:
    """What the sequencer does."""
    _belong()
    logging.basicConfig(level=logging.INFO, format=_FORMAT)
    assert settings.sequencer is not None
    sequencing.run(
        settings.data, settings.sequencer, policy=settings.policy, budget=settings.budget, announce=_log.info
    )


def _belong() -> None:
    """Stop when the parent says so or dies, and not by itself when Ctrl+C is pressed at the terminal."""
    os.setpgid(0, 0)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="tocsin-parent", daemon=True).start()


@dataclass(slots=True)
class Kept:
    """A process that is started again when it ends.

    Attributes:
        make: makes the process, not started.
        process: the one that runs, or ran last.
        started: monotonic seconds of its start.
        due: when to start the next one; None while one runs.
        pause: how long the next one waits.
    """

    make: Callable[[], BaseProcess]
    process: BaseProcess | None = None
    started: float = 0.0
    due: float | None = 0.0
    pause: float = 0.0

    def start(self, now: float) -> None:
        """Start a process."""
        self.process = self.make()
        self.process.start()
        self.started, self.due = now, None

    def ended(self, now: float) -> None:
        """Plan the next one, later each time if they end soon after their start."""
        assert self.process is not None
        _log.error("%s (process %s) ended with %s.", self.process.name, self.process.pid, self.process.exitcode)
        self.process.close()
        self.process = None
        soon = now - self.started < _SOON_S
        self.pause = min(max(2 * self.pause, 0.1), _LONGEST_S) if soon else 0.0
        self.due = now + self.pause


def keep(kept: Sequence[Kept], *, before_stop: Callable[[], Any]) -> None:
    """Keep processes running until this one is told to stop; then stop them, the last one first.

    Args:
        kept: started in this order.
        before_stop: called first when they are to stop.
    """
    with _told_to_stop() as (stopped, wake):
        try:
            while not stopped():
                now = time.monotonic()
                for item in kept:
                    if item.process is not None and item.process.exitcode is not None:
                        item.ended(now)
                    if item.due is not None and item.due <= now:
                        item.start(now)
                dues = [item.due - now for item in kept if item.due is not None]
                sentinels = [item.process.sentinel for item in kept if item.process is not None]
                connection.wait([wake, *sentinels], min(dues, default=None))
        finally:
            before_stop()
            # Workers together and before the sequencer, which they need to finish what they began.
            _stop([item.process for item in kept[1:] if item.process is not None])
            _stop([item.process for item in kept[:1] if item.process is not None])


def _stop(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    until = time.monotonic() + _STOP_S
    for process in processes:
        process.join(max(0.0, until - time.monotonic()))
        if process.exitcode is None:
            _log.error("%s (process %s) did not stop and is killed.", process.name, process.pid)
            process.kill()
            process.join()


@contextmanager
def _told_to_stop() -> Iterator[tuple[Callable[[], bool], int]]:
    """Whether SIGTERM or SIGINT came, and a descriptor that becomes readable when one does."""
    told: list[int] = []
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = {number: signal.signal(number, lambda number, _: told.append(number)) for number in _SIGNALS}
    wakeup = signal.set_wakeup_fd(writing)
    try:
        yield lambda: bool(told), reading
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        with suppress(OSError):
            os.close(reading)
            os.close(writing)


_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
