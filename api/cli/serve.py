"""`tocsin serve`: the HTTP API, the console and the clocks, in one process or in several."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from api.cli.common import DataDirectory, MaxLagEntries, MaxLagSeconds, PolicyFile, read_file
from ledger.errors import ConfigError

app = typer.Typer(add_completion=False, help="Serve the API and the console.")


@app.command()
def serve(
    *,
    data: DataDirectory,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8470,
    tick: Annotated[float, typer.Option(min=0.05, help="Seconds between looks at the clocks.")] = 30.0,
    notices: Annotated[
        Path | None, typer.Option(help="Directory of public announcements; default DATA/public.")
    ] = None,
    exercise: Annotated[bool, typer.Option("--exercise", help="A drill: every page says so.")] = False,
    policy: PolicyFile = None,
    max_lag_entries: MaxLagEntries = 100_000,
    max_lag_seconds: MaxLagSeconds = 3600.0,
    verify_every: Annotated[
        float, typer.Option(min=0, help="Hours between verifications in the background; 0 for none.")
    ] = 24.0,
    seal_every: Annotated[
        float, typer.Option(min=0, help="Hours between seals of the completeness index; 0 for none.")
    ] = 24.0,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="Processes that answer requests; more than one share a sequencer.")
    ] = 1,
    sequencer: Annotated[
        Path | None,
        typer.Option(help="Socket of a `tocsin sequencer` that runs already; else several workers start their own."),
    ] = None,
) -> None:
    """Serve the API and the console until interrupted.

    On the loopback interface no token is needed. Anywhere else set TOCSIN_TOKEN (20 characters or
    more); it is then required for everything but /healthz, /checkpoint, /tile and /notices.

    With --policy the ledger is published to its witnesses at every tick. It does not start when they have
    seen more of it than it holds, and refuses events when they fall too far behind.
    """
    settings = Settings(
        data,
        host=host,
        tick_s=tick,
        notices=notices or data / "public",
        exercise=exercise,
        token=os.environ.get("TOCSIN_TOKEN"),
        policy=None if policy is None else read_file(policy),
        budget=(max_lag_entries, max_lag_seconds),
        verify_hours=verify_every,
        seal_hours=seal_every,
        sequencer=sequencer,
    )
    if workers > 1:
        from api.workers import serve_with_workers

        serve_with_workers(settings, port, workers, typer.echo)
    else:
        with listen(host, port) as listener:
            answer(settings, listener, lambda: typer.echo(listening_on(host, listener)))


@dataclass(frozen=True)
class Settings:
    """What `tocsin serve` was asked for; every worker is given the same.

    Attributes:
        data: the data directory.
        host: the address to listen on.
        tick_s: seconds between looks at the clocks.
        notices: directory of public announcements.
        exercise: a drill.
        token: who has it may talk to the server; None on the loopback interface.
        policy: tlog-policy text.
        budget: most entries and most seconds without a quorum of witnesses.
        verify_hours: hours between verifications in the background, 0 for none.
        seal_hours: hours between seals of the completeness index, 0 for none.
        sequencer: socket of the process that writes; None writes in this one.
        shared: other workers answer beside this one.
    """

    data: Path
    host: str
    tick_s: float
    notices: Path
    exercise: bool
    token: str | None
    policy: bytes | None = None
    budget: tuple[int, float] | None = None
    verify_hours: float = 0.0
    seal_hours: float = 0.0
    sequencer: Path | None = None
    shared: bool = False


def answer(settings: Settings, listener: socket.socket, ready: Callable[[], Any]) -> None:
    """Answer requests on a listening socket until the process is told to stop.

    Args:
        settings: what was asked for.
        listener: where requests come from.
        ready: called when nothing can go wrong any more.

    Raises:
        ConfigError: the address may not be served without a token.
        PolicyError: the policy is malformed, or cannot work for this ledger.
        RolledBackError: witnesses have seen more of this ledger than it holds.
        EquivocationError: they have seen another history of it.
        TocsinError: the ledger cannot be opened.
    """
    from datetime import timedelta

    from api.anchoring import Anchoring
    from api.clock import Ticker, each_of
    from api.http import Access, create_app, server
    from api.http.sessions import StoredSessions
    from api.sealing import Sealing
    from api.verification import Verification
    from incidents.service import IncidentService
    from ledger import Ledger
    from ledger.policy import parse_policy
    from ledger.witness.publication import Budget, Publication
    from notifiers.service import Dispatcher

    access = Access.decide(settings.host, settings.token)
    with Ledger.open(settings.data) as ledger, ExitStack() as stack:
        dispatcher = Dispatcher(ledger)  # without adapters: it reads balances and can send nothing
        incidents = IncidentService(ledger, dispatcher=dispatcher)

        works: list[Callable[[datetime], Any]] = [incidents.tick]
        anchoring = verification = sealing = None
        if settings.policy is not None:
            budget = None if settings.budget is None else Budget(*settings.budget)
            publication = Publication(ledger, parse_policy(settings.policy), budget)
            if not settings.shared:  # else asked once, before the first worker
                publication.check_start_now()
            anchoring = Anchoring(ledger, publication, incidents)
            works.append(anchoring.tick)
        if settings.verify_hours:
            verification = Verification(ledger, timedelta(hours=settings.verify_hours), policy=settings.policy)
            stack.callback(verification.stop)
            works.append(verification.tick)
        if settings.seal_hours:
            most = timedelta(seconds=settings.tick_s / 4)
            sealing = Sealing(ledger, timedelta(hours=settings.seal_hours), most)
            works.append(sealing.tick)
        application = create_app(
            ledger,
            incidents,
            access=access,
            notices=settings.notices,
            ticker=Ticker(
                ledger,
                each_of(*works),
                timedelta(seconds=settings.tick_s),
                stopping=sealing.stop if sealing else lambda: None,
            ),
            exercise=settings.exercise,
            anchoring=anchoring,
            verification=verification,
            appender=_way_to(settings.sequencer, ledger, stack),
            sessions=StoredSessions(ledger) if settings.shared else None,
        )
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
        _end_in_order()
        ready()
        server.run(application, listener)


def listening_on(host: str, listener: socket.socket) -> str:
    """What is said when requests can come."""
    name = f"[{host}]" if ":" in host else host
    return f"Tocsin is listening on http://{name}:{listener.getsockname()[1]}/ (Ctrl+C stops it)"


def _way_to(sequencer: Path | None, ledger: Any, stack: ExitStack) -> Any:
    """What appends producers' events: the ledger itself, or the sequencer."""
    if sequencer is None:
        return ledger
    from ledger.sequencing.client import RemoteAppender

    remote = RemoteAppender(sequencer, ledger.origin, before_append=ledger.before_append)
    stack.callback(remote.close)
    return remote


def _end_in_order() -> None:
    """Let SIGTERM unwind this program: uvicorn raises it again when it has stopped, and that would end it there."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, made before anything is announced.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigError(
            f"Cannot listen on {host} port {port}: {error.strerror or 'the name is not known'}. "
            "Choose another --port, or stop the program that has it."
        ) from error
