"""`tocsin sequencer`: the one process that writes for all workers of `tocsin serve`."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from api.cli.common import DataDirectory, MaxLagEntries, MaxLagSeconds, PolicyFile, read_file

app = typer.Typer(add_completion=False, help="Write for several workers.")

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@app.command()
def sequencer(
    *,
    data: DataDirectory,
    socket: Annotated[
        Path | None, typer.Option(help="Unix socket to listen on; default DATA/sequencer.sock.", show_default=False)
    ] = None,
    policy: PolicyFile = None,
    max_lag_entries: MaxLagEntries = 100_000,
    max_lag_seconds: MaxLagSeconds = 3600.0,
) -> None:
    """Write for all workers of `tocsin serve --sequencer`, until interrupted.

    A second one on the same ledger stands by and takes over when the first ends, however it ends.
    """
    run(
        data,
        socket or default_socket(data),
        policy=None if policy is None else read_file(policy),
        budget=(max_lag_entries, max_lag_seconds),
        announce=typer.echo,
    )


def default_socket(data: Path) -> Path:
    """Where the sequencer of a data directory listens."""
    from ledger.sequencing.local import SOCKET

    return data / SOCKET


def run(
    data: Path,
    path: Path,
    *,
    policy: bytes | None = None,
    budget: tuple[int, float] | None = None,
    announce: Callable[[str], Any],
) -> None:
    """Stand by, lead, and write for whoever connects, until the process is told to stop.

    Raises:
        ConfigError: the socket cannot be made.
        LeadLostError: another process leads now.
        TocsinError: the ledger cannot be opened.
    """
    from ledger import Ledger
    from ledger.sequencing.errors import LeadLostError
    from ledger.sequencing.leader import lead, leader_lock
    from ledger.sequencing.local import listening
    from ledger.sequencing.server import Server

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    stopped = threading.Event()
    for number in _SIGNALS:
        signal.signal(number, lambda *_: stopped.set())
    with Ledger.open(data) as candidate:
        lock = leader_lock(candidate)
        try:
            if not lead(lock, lambda: announce("Another sequencer leads; this one stands by."), stopped.wait):
                return
            # Opened anew: keys may have been changed while this process stood by.
            with Ledger.open(data) as ledger, listening(path) as listener:
                if policy is not None:
                    _watch_witnesses(ledger, policy, budget)
                _settle()
                announce(f"The sequencer listens on {path} (Ctrl+C stops it)")
                asyncio.run(_serve(Server(ledger, listener, leads=lock.held), stopped))
            if not stopped.is_set():
                raise LeadLostError("This sequencer leads no more and has stopped. Start it again to stand by.")
        finally:
            lock.release()


async def _serve(server: Any, stopped: threading.Event) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def end() -> None:
        stopped.set()
        stop.set()

    for number in _SIGNALS:
        loop.add_signal_handler(number, end)
    if stopped.is_set():
        stop.set()
    await server.run(stop)


def _watch_witnesses(ledger: Any, policy: bytes, budget: tuple[int, float] | None) -> None:
    from ledger.policy import parse_policy
    from ledger.witness.publication import Budget, Publication

    publication = Publication(ledger, parse_policy(policy), None if budget is None else Budget(*budget))
    ledger.before_append = publication.check_budget


def _settle() -> None:
    """What lives by now lives for ever; looking through it again and again costs a tenth of the rate."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
