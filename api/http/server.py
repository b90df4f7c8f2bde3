"""How this program serves HTTP: uvicorn's settings, the garbage collector's, and how it stops.

With `uvloop` and `httptools` installed uvicorn takes them; without them it does with asyncio and h11.
"""

from __future__ import annotations

import gc
import socket
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp

from api.http.lines import buffered

STOP_S: Final = 10
"""Seconds that requests under way are given when the server is told to stop."""

_THRESHOLDS: Final = (50_000, 20, 20)


def run(application: ASGIApp, listener: socket.socket, **others: Any) -> None:
    """Answer requests on a listening socket until the process is told to stop.

    Changes the garbage collector of the whole process, so it is for a process that does nothing else.

    Args:
        application: what answers.
        listener: where connections come from.
        others: settings of uvicorn that differ.
    """
    prepare(listener)
    settle()
    with buffered():
        uvicorn.Server(configuration(application, **others)).run(sockets=[listener])


def configuration(application: ASGIApp, **others: Any) -> uvicorn.Config:
    """Uvicorn's settings.

    Args:
        application: what answers.
        others: settings that differ.
    """
    return uvicorn.Config(
        application,
        **{
            "http": _protocol(),
            # The access log would hold paths and addresses; `api.http.edge` writes a line without them.
            "access_log": False,
            "log_config": None,
            "server_header": False,
            "ws": "none",
            "timeout_graceful_shutdown": STOP_S,
            **others,
        },
    )


def prepare(listener: socket.socket) -> None:
    """Let the connections of a listener send each write at once.

    Uvicorn writes head and body of an answer apart. asyncio turns Nagle's algorithm off only on sockets that name
    their protocol, which accepted ones do not; then the body waits for the client's delayed acknowledgement, 40 ms.
    """
    if listener.family in {socket.AF_INET, socket.AF_INET6}:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted sockets inherit it


def settle() -> None:
    """What lives when the server starts lives as long as it; the collector need not walk through it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


def _protocol() -> Any:
    """What reads HTTP: httptools where it is installed, with the limit on the head that h11 has by itself."""
    try:
        from api.http.protocol import BoundedProtocol
    except ImportError:
        return "h11"
    return BoundedProtocol
