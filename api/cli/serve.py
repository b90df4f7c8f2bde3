"""`tocsin serve`: the HTTP API, the console and the clocks, in one process."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from api.cli.common import DataDirectory
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
    policy: Annotated[
        Path | None, typer.Option(help="tlog-policy file: the witnesses that cosign this ledger, and the quorum.")
    ] = None,
    max_lag_entries: Annotated[
        int, typer.Option(min=1, help="Refuse events when more entries than this have no quorum of witnesses.")
    ] = 100_000,
    max_lag_seconds: Annotated[
        float, typer.Option(min=1, help="Refuse events when an entry has had no quorum for longer than this.")
    ] = 3600.0,
    verify_every: Annotated[
        float, typer.Option(min=0, help="Hours between verifications in the background; 0 for none.")
    ] = 24.0,
) -> None:
    """Serve the API and the console until interrupted.

    On the loopback interface no token is needed. Anywhere else set TOCSIN_TOKEN (20 characters or
    more); it is then required for everything but /healthz, /checkpoint, /tile and /notices.

    With --policy the ledger is published to its witnesses at every tick. It does not start when they have
    seen more of it than it holds, and refuses events when they fall too far behind.
    """
    run(
        data,
        host=host,
        port=port,
        tick_s=tick,
        notices=notices or data / "public",
        exercise=exercise,
        token=os.environ.get("TOCSIN_TOKEN"),
        announce=typer.echo,
        policy=None if policy is None else _read(policy),
        budget=(max_lag_entries, max_lag_seconds),
        verify_hours=verify_every,
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None


def run(
    data: Path,
    *,
    host: str,
    port: int,
    tick_s: float,
    notices: Path,
    exercise: bool,
    token: str | None,
    announce: Callable[[str], Any],
    policy: bytes | None = None,
    budget: tuple[int, float] | None = None,
    verify_hours: float = 0.0,
) -> None:
    """Serve until the process is told to stop.

    Raises:
        ConfigError: the address may not be served without a token, or cannot be listened on.
        PolicyError: the policy is malformed, or cannot work for this ledger.
        RolledBackError: witnesses have seen more of this ledger than it holds.
        EquivocationError: they have seen another history of it.
        TocsinError: the ledger cannot be opened.
    """
    from datetime import timedelta

    import uvicorn

    from api.anchoring import Anchoring
    from api.clock import Ticker, each_of
    from api.http import Access, create_app
    from api.verification import Verification
    from incidents.service import IncidentService
    from ledger import Ledger
    from ledger.policy import parse_policy
    from ledger.witness.publication import Budget, Publication
    from notifiers.service import Dispatcher

    access = Access.decide(host, token)
    with Ledger.open(data) as ledger, listen(host, port) as listener, ExitStack() as stack:
        dispatcher = Dispatcher(ledger)  # without adapters: it reads balances and can send nothing
        incidents = IncidentService(ledger, dispatcher=dispatcher)

        works: list[Callable[[datetime], Any]] = [incidents.tick]
        anchoring = verification = None
        if policy is not None:
            publication = Publication(ledger, parse_policy(policy), None if budget is None else Budget(*budget))
            publication.check_start_now()
            anchoring = Anchoring(ledger, publication, incidents)
            works.append(anchoring.tick)
        if verify_hours:
            verification = Verification(ledger, timedelta(hours=verify_hours), policy=policy)
            stack.callback(verification.stop)
            works.append(verification.tick)
        application = create_app(
            ledger,
            incidents,
            access=access,
            notices=notices,
            ticker=Ticker(ledger, each_of(*works), timedelta(seconds=tick_s)),
            exercise=exercise,
            anchoring=anchoring,
            verification=verification,
        )
        configuration = uvicorn.Config(
            application,
            # The access log would hold paths and addresses; `api.http.edge` writes a line without them.
            access_log=False,
            log_config=None,
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=10,
        )
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
        name = f"[{host}]" if ":" in host else host
        announce(f"Tocsin is listening on http://{name}:{listener.getsockname()[1]}/ (Ctrl+C stops it)")
        uvicorn.Server(configuration).run(sockets=[listener])


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
