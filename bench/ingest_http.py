"""`POST /v1/events` over a real socket, against the library and against an empty FastAPI route.

The server is a process of its own with the settings of `tocsin serve`, its log included (written nowhere); the
empty route is plain FastAPI on the same server. The client keeps its connections open, sends the next request
when the answer is there and has made the requests beforehand. Client and server share the machine's cores, so the
processor time that the server takes for a request is measured beside the rate.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import selectors
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import orjson
from harness import BATCH, batch, describe, event, percentile, scratch, spread
from starlette.types import Receive, Scope, Send

from ledger import Ledger

CONNECTIONS = 64
SECONDS = 4.0
ROUNDS = 5
BATCHES = 30
MOST = 12_000
"""Requests made beforehand for a second; more is not reached."""


def serve(data: Path, ready: Connection, others: dict[str, Any]) -> None:
    """The product's application with one empty FastAPI route beside it, on a free port."""
    import logging

    from fastapi import FastAPI

    from api.http import create_app, server
    from incidents.service import IncidentService

    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=Path(os.devnull).open("w", encoding="utf-8"),  # noqa: SIM115 - for as long as the process lives
    )
    empty = FastAPI()

    @empty.post("/empty")
    async def nothing() -> dict[str, str]:
        return {}

    with Ledger.create(data, "bench.example/log") as ledger:
        application = create_app(ledger, IncidentService(ledger))

        async def either(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] == "/time":
                content = f"{time.process_time():.6f}".encode()
                headers = [(b"content-length", b"%d" % len(content))]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                await send({"type": "http.response.body", "body": content})
                return
            await (empty if scope["path"] == "/empty" else application)(scope, receive, send)

        with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
            ready.send(listener.getsockname()[1])
            server.run(either, listener, lifespan="off", **others)


class Channel:
    """One connection on which one request after the other is sent."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._part = b""

    def send(self, data: bytes) -> None:
        """Send a request."""
        self.socket.sendall(data)

    def receive(self) -> bytes | None:
        """The body of the answer, once it is there whole; answers come one at a time, with a Content-Length."""
        self._part += self.socket.recv(262_144)
        head, found, body = self._part.partition(b"\r\n\r\n")
        if not found:
            return None
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return None
        if head[9:12] not in {b"200", b"201"}:
            raise SystemExit(f"the server answered {head[9:12]!r}: {body!r}")
        self._part = b""
        return body


@dataclass(frozen=True)
class Measured:
    """What a series of requests took.

    Attributes:
        rate: requests per second.
        taken: seconds that each one took.
        processor: seconds of processor time that the server took for one.
    """

    rate: float
    taken: list[float]
    processor: float


def drive(port: int, requests: Iterator[bytes], connections: int, seconds: float) -> Measured:
    """Send requests on several connections for a time."""
    selector = selectors.DefaultSelector()
    taken: list[float] = []
    before = processor_time(port)
    started: dict[int, float] = {}
    began = time.perf_counter()
    for _ in range(connections):
        channel = Channel(port)
        selector.register(channel.socket, selectors.EVENT_READ, channel)
        started[channel.socket.fileno()] = time.perf_counter()
        channel.send(next(requests))
    while selector.get_map():
        for key, _ in selector.select():
            channel = key.data
            if channel.receive() is None:
                continue
            now = time.perf_counter()
            taken.append(now - started[key.fd])
            following = next(requests, None) if now - began < seconds else None
            if following is None:
                selector.unregister(channel.socket)
                channel.socket.close()
            else:
                started[key.fd] = now
                channel.send(following)
    rate = len(taken) / (time.perf_counter() - began)
    return Measured(rate, taken, (processor_time(port) - before) / len(taken))


def processor_time(port: int) -> float:
    """Seconds of processor time that the server has taken so far."""
    channel = Channel(port)
    channel.send(b"GET /time HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    while (content := channel.receive()) is None:
        pass
    channel.socket.close()
    return float(content)


def request(path: str, body: bytes, media_type: str) -> bytes:
    """One HTTP/1.1 request."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {media_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def singles(start: int) -> Iterator[bytes]:
    """Requests with one event each."""
    numbers = range(start, start + int(MOST * SECONDS))
    return iter(
        [request("/v1/events", orjson.dumps(event(number)), "application/cloudevents+json") for number in numbers]
    )


def empties() -> Iterator[bytes]:
    """Requests to the empty route, with a body of the same size."""
    one = request("/empty", orjson.dumps(event(0)), "application/cloudevents+json")
    while True:
        yield one


@contextmanager
def server(data: Path, others: dict[str, Any]) -> Iterator[int]:
    """The port of a running server."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(data, theirs, others))
    process.start()
    theirs.close()  # so that a server that does not start is noticed
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join()


def one_at_a_time(port: int) -> None:
    """One event a request over many connections, against the empty route, in turn."""
    idle, busy = [], []
    drive(port, singles(10**10), CONNECTIONS, 1.0)  # until the server knows the people
    for turn in range(ROUNDS):
        idle.append(drive(port, empties(), CONNECTIONS, SECONDS))
        busy.append(drive(port, singles((turn + 1) * 10**9), CONNECTIONS, SECONDS))
    pairs = list(zip(busy, idle, strict=True))
    p50, p99 = ([percentile(one.taken, share) * 1e3 for one in busy] for share in (0.5, 0.99))
    print(f"\none event a request, {CONNECTIONS} connections, durable, with receipt")
    print(
        f"  requests/s: {spread([one.rate for one in busy], 0)}; "
        f"empty FastAPI route {spread([one.rate for one in idle], 0)}"
    )
    print(f"  ratio: {spread([one.rate / other.rate for one, other in pairs])}")
    print(
        f"  microseconds of the server's processor time a request: {spread([one.processor * 1e6 for one in busy], 0)}; "
        f"empty route {spread([one.processor * 1e6 for one in idle], 0)}"
    )
    print(f"  ratio: {spread([other.processor / one.processor for one, other in pairs])}")
    print(f"  milliseconds: p50 {spread(p50, 1)}, p99 {spread(p99, 1)}")
    print(f"  p99 of the empty route: {statistics.median(percentile(one.taken, 0.99) for one in idle) * 1e3:.1f}")


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
            [taken] = drive(port, lone, 1, 60).taken
            if turn > 2:  # noqa: PLR2004 - until both know the people
                ratios.append(own / taken)
                rates.append(BATCH / taken)
                library.append(BATCH / own)
    print(f"\nNDJSON of {BATCH} a request, one connection")
    print(f"  events/s: {spread(rates, 0)}; library {spread(library, 0)}")
    print(f"  ratio to the library, paired: {spread(ratios)}")


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--plain", action="store_true", help="asyncio and h11 though uvloop and httptools are there")
    plain = options.parse_args().plain
    parser = "httptools" if _has("httptools") and not plain else "h11"
    loop = "uvloop" if _has("uvloop") and not plain else "asyncio"
    describe(
        f"uvicorn {version('uvicorn')} ({parser}, {loop}), fastapi {version('fastapi')}, WAL, synchronous=FULL, "
        f"{ROUNDS} rounds of {SECONDS:.0f} s"
    )
    others = {"http": "h11", "loop": "asyncio"} if plain else {}
    with scratch() as directory, server(directory / "served", others) as port:
        one_at_a_time(port)
        in_batches(port, directory)
    print(f"\nload at the end {os.getloadavg()[0]:.1f}")


def _has(name: str) -> bool:
    try:
        __import__(name)
    except ImportError:
        return False
    return True


if __name__ == "__main__":
    main()
