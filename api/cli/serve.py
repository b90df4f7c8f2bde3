"""`tocsin serve`: the HTTP API, the console and the clocks, in one process."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from api.cli.common import DataDirectory
from ledger.errors import ConfigError

app = typer.Typer(help="Serve the API and the console.")


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
) -> None:
    """Serve the API and the console until interrupted.

    On the loopback interface no token is needed. Anywhere else set TOCSIN_TOKEN (20 characters or
    more); it is then required for everything but /healthz, /checkpoint, /tile and /notices.
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
    )


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
) -> None:
    """Serve until the process is told to stop.

    Raises:
        ConfigError: the address may not be served without a token, or cannot be listened on.
        TocsinError: the ledger cannot be opened.
    """
    from datetime import timedelta

    import uvicorn

    from api.clock import Ticker
    from api.http import Access, create_app
    from incidents.service import IncidentService
    from incidents.views import IncidentView
    from ledger import Ledger
    from notifiers.service import Dispatcher

    access = Access.decide(host, token)
    with Ledger.open(data) as ledger, listen(host, port) as listener:
        dispatcher = Dispatcher(ledger)  # without adapters: it reads balances and can send nothing
        incidents = IncidentService(ledger, dispatcher=dispatcher)

        def is_drill(view: IncidentView) -> bool:
            return any(dispatcher.status(campaign.id).mode == "drill" for campaign in view.campaigns)

        application = create_app(
            ledger,
            incidents,
            access=access,
            notices=notices,
            ticker=Ticker(ledger, incidents.tick, timedelta(seconds=tick_s)),
            exercise=exercise,
            is_drill=is_drill,
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
