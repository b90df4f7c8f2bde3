"""`POST /v1/events` over a real socket, against the library and against an empty FastAPI route.

The server is a process of its own (uvicorn, one worker); the client keeps its connections open and sends
the next request when the answer is there. Client and server share the machine's cores.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path

import orjson
from harness import BATCH, batch, describe, event, percentile, scratch, spread
from starlette.types import Receive, Scope, Send

from ledger import Ledger

CONNECTIONS = 64
SECONDS = 4.0
ROUNDS = 3
BATCHES = 30


def serve(data: Path, ready: Connection) -> None:
    """The product's application with one empty FastAPI route beside it, on a free port."""
    import logging

    import uvicorn
    from fastapi import FastAPI

    from api.http import create_app
    from incidents.service import IncidentService

    logging.disable()
    empty = FastAPI()

    @empty.post("/empty")
    async def nothing() -> dict[str, str]:
        return {}

    with Ledger.create(data, "bench.example/log") as ledger:
        application = create_app(ledger, IncidentService(ledger))

        async def either(scope: Scope, receive: Receive, send: Send) -> None:
            await (empty if scope.get("path") == "/empty" else application)(scope, receive, send)

        listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        ready.send(listener.getsockname()[1])
        configuration = uvicorn.Config(either, access_log=False, log_config=None, ws="none", lifespan="off")
        uvicorn.Server(configuration).run(sockets=[listener])


class Client(asyncio.Protocol):
    """One connection; sends what `requests` gives until the time is over."""

    def __init__(self, requests: Iterator[bytes], until: float, seconds: list[float], done: asyncio.Event) -> None:
        self._requests, self._until, self._seconds, self._done = requests, until, seconds, done
        self._buffer = bytearray()
        self._began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._began = time.perf_counter()
        request = next(self._requests, None)
        if request is None or self._began >= self._until:
            self._done.set()
            self._transport.close()
        else:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Answers come one at a time, with a Content-Length."""
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        status = int(head[9:12])
        if status not in {200, 201}:
            raise SystemExit(f"the server answered {status}: {bytes(body)!r}")
        self._buffer.clear()
        self._seconds.append(time.perf_counter() - self._began)
        self._send()


def request(path: str, body: bytes, media_type: str) -> bytes:
    """One HTTP/1.1 request."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {media_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


async def drive(port: int, requests: Iterator[bytes], connections: int, seconds: float) -> tuple[float, list[float]]:
    """Requests per second and how long each took."""
    loop = asyncio.get_running_loop()
    taken: list[float] = []
    began = time.perf_counter()
    events = [asyncio.Event() for _ in range(connections)]
    for done in events:
        await loop.create_connection(
            lambda done=done: Client(requests, began + seconds, taken, done), "127.0.0.1", port
        )
    await asyncio.gather(*(done.wait() for done in events))
    return len(taken) / (time.perf_counter() - began), taken


def singles(start: int) -> Iterator[bytes]:
    """Requests with one event each."""
    number = start
    while True:
        number += 1
        yield request("/v1/events", orjson.dumps(event(number)), "application/cloudevents+json")


def empties() -> Iterator[bytes]:
    """Requests to the empty route, with a body of the same size."""
    one = request("/empty", orjson.dumps(event(0)), "application/cloudevents+json")
    while True:
        yield one


@contextmanager
def server(data: Path) -> Iterator[int]:
    """The port of a running server."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(data, theirs))
    process.start()
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join()


def one_at_a_time(port: int) -> None:
    """One event a request over many connections, against the empty route, in turn."""
    ratios, rates, p50, p99, idle = [], [], [], [], []
    for turn in range(ROUNDS):
        empty, _ = asyncio.run(drive(port, empties(), CONNECTIONS, SECONDS))
        rate, taken = asyncio.run(drive(port, singles((turn + 1) * 10**9), CONNECTIONS, SECONDS))
        ratios.append(rate / empty)
        rates.append(rate)
        idle.append(empty)
        p50.append(percentile(taken, 0.5) * 1e3)
        p99.append(percentile(taken, 0.99) * 1e3)
    print(f"\none event a request, {CONNECTIONS} connections, durable, with receipt")
    print(f"  requests/s: {spread(rates, 0)}; empty FastAPI route {spread(idle, 0)}")
    print(f"  ratio: {spread(ratios)}; p50 {statistics.median(p50):.1f} ms, p99 {statistics.median(p99):.1f} ms")


def in_batches(port: int, directory: Path) -> None:
    """NDJSON of 1,000 events a request over one connection, against the library, in turn."""
    ratios, rates, library = [], [], []
    with Ledger.create(directory / "library", "bench.example/library") as ledger:
        for turn in range(BATCHES):
            events = batch(turn * BATCH)
            body = b"\n".join(orjson.dumps(each) for each in events)
            began = time.perf_counter()
            ledger.append(events)
            own = time.perf_counter() - began
            lone = iter([request("/v1/events", body, "application/x-ndjson")])
            _, [taken] = asyncio.run(drive(port, lone, 1, 60))
            if turn > 2:  # noqa: PLR2004 - until both know the people
                ratios.append(own / taken)
                rates.append(BATCH / taken)
                library.append(BATCH / own)
    print(f"\nNDJSON of {BATCH} a request, one connection")
    print(f"  events/s: {spread(rates, 0)}; library {spread(library, 0)}")
    print(f"  ratio to the library, paired: {spread(ratios)}")


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    parser = "httptools" if _has("httptools") else "h11"
    loop = "uvloop" if _has("uvloop") else "asyncio"
    describe(
        f"uvicorn {version('uvicorn')} ({parser}, {loop}), fastapi {version('fastapi')}, WAL, synchronous=FULL, "
        f"{ROUNDS} rounds of {SECONDS:.0f} s"
    )
    with scratch() as directory, server(directory / "served") as port:
        one_at_a_time(port)
        in_batches(port, directory)


def _has(name: str) -> bool:
    try:
        __import__(name)
    except ImportError:
        return False
    return True


if __name__ == "__main__":
    main()
