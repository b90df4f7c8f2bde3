"""`POST /v1/events` answered in one process, against workers in front of a sequencer.

Three servers, started as an operator starts them, each with a ledger of its own: one process that also writes; one
worker and a sequencer; two workers and a sequencer. They are asked in turn, round after round, so that the ratios
come from the same minutes. Client and servers share the machine's cores: with two of them, two workers and a
sequencer have nowhere to go. So the processor time is given as well, for each event: in all processes, and in the
one that writes, which is what bounds the rate where there are cores enough.
"""

from __future__ import annotations

import argparse
import os
import re
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
from harness import BATCH, batch, describe, percentile, scratch, spread
from ingest_http import Channel, request, singles

from ledger import Ledger

CONNECTIONS = 64
LOADERS = 4
"""Connections that send batches."""
TOCSIN = [sys.executable, "-c", "from api.cli import main; main()"]


@dataclass(frozen=True)
class Server:
    """One of the three.

    Attributes:
        name: what it is.
        port: where it listens.
        processes: ids of the programs that were started for it, the one that writes first.
    """

    name: str
    port: int
    processes: tuple[int, ...]


@dataclass(frozen=True)
class Measured:
    """What a series of requests took: requests per second, seconds of each, processor seconds for each."""

    rate: float
    taken: list[float]
    processor: float
    writing: float


@contextmanager
def started(arguments: Sequence[str]) -> Iterator[tuple[int, str]]:
    """A program of ours: its process id and its first line."""
    # What it logs for each request is made, as in production, and thrown away.
    with subprocess.Popen([*TOCSIN, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as it:  # noqa: S603 - our own command
        assert it.stdout is not None
        try:
            yield it.pid, it.stdout.readline()
        finally:
            it.terminate()
            it.wait()


def serve(data: Path, stack: ExitStack, *options: str) -> tuple[int, int]:
    """Process id and port of a server."""
    arguments = ["serve", "--port", "0", "--data", str(data), "--verify-every", "0", "--seal-every", "0", *options]
    pid, line = stack.enter_context(started(arguments))
    found = re.search(r":(\d+)/", line)
    if found is None:
        raise SystemExit(f"no server: {line}")
    return pid, int(found[1])


def servers(directory: Path, stack: ExitStack) -> list[Server]:
    """Start all of them."""
    for name in ("alone", "one", "two"):
        Ledger.create(directory / name, "bench.example/log").close()
    found = []
    pid, port = serve(directory / "alone", stack)
    found.append(Server("in one process", port, (pid,)))
    for name, workers in (("one", 1), ("two", 2)):
        socket = str(directory.resolve() / f"{name}.sock")
        writer, _ = stack.enter_context(started(["sequencer", "--data", str(directory / name), "--socket", socket]))
        pid, port = serve(directory / name, stack, "--workers", str(workers), "--sequencer", socket)
        found.append(Server(f"sequencer + {workers} worker{'s' * (workers > 1)}", port, (writer, pid)))
    return found


def processor_time(pid: int) -> float:
    """Processor seconds of a process and its children so far; 0 where the system does not say."""
    total = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if int(stat.parent.name) == pid or int(fields[1]) == pid:
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def drive(server: Server, requests: Iterator[bytes], connections: int, seconds: float) -> Measured:
    """Send requests on several connections for a time."""
    selector = selectors.DefaultSelector()
    taken: list[float] = []
    sent: dict[int, float] = {}
    before = [processor_time(pid) for pid in server.processes]
    began = time.perf_counter()
    for _ in range(connections):
        channel = Channel(server.port)
        selector.register(channel.socket, selectors.EVENT_READ, channel)
        sent[channel.socket.fileno()] = time.perf_counter()
        channel.send(next(requests))
    while selector.get_map():
        for key, _ in selector.select():
            if key.data.receive() is None:
                continue
            now = time.perf_counter()
            taken.append(now - sent[key.fd])
            following = next(requests, None) if now - began < seconds else None
            if following is None:
                selector.unregister(key.data.socket)
                key.data.socket.close()
            else:
                sent[key.fd] = now
                key.data.send(following)
    rate = len(taken) / (time.perf_counter() - began)
    spent = [processor_time(pid) - at for pid, at in zip(server.processes, before, strict=True)]
    return Measured(rate, taken, sum(spent) / len(taken), spent[0] / len(taken))


def batches(start: int, count: int) -> Iterator[bytes]:
    """Requests with `BATCH` events each, made before the clock runs."""
    bodies = (b"\n".join(orjson.dumps(each) for each in batch(start + n * BATCH)) for n in range(count))
    return iter([request("/v1/events", body, "application/x-ndjson") for body in bodies])


def report(title: str, measured: dict[str, list[Measured]], events: int) -> None:
    """Print rates, ratios to the first server of the same round, and processor time."""
    print(f"\n{title}")
    base = next(iter(measured.values()))
    for name, rows in measured.items():
        ratios = [one.rate / other.rate for one, other in zip(rows, base, strict=True)]
        spent = [other.processor / one.processor for one, other in zip(rows, base, strict=True) if one.processor]
        print(f"  {name}: {spread([one.rate * events for one in rows], 0)} events/s; ratio {spread(ratios, 2)}")
        for share in (0.5, 0.99):
            print(f"    p{share * 100:.0f} {spread([percentile(one.taken, share) * 1e3 for one in rows], 1)} ms")
        if spent:
            total, writing = (
                [value / events * 1e6 for value in values]
                for values in ([one.processor for one in rows], [one.writing for one in rows])
            )
            print(f"    processor: {spread(total, 0)} us an event, {spread(writing, 0)} in the process that writes")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    describe(f"WAL, synchronous=FULL, {options.rounds} rounds of {options.seconds:g} s")
    with scratch() as directory, ExitStack() as stack:
        all_of_them = servers(directory, stack)
        one: dict[str, list[Measured]] = {server.name: [] for server in all_of_them}
        many: dict[str, list[Measured]] = {server.name: [] for server in all_of_them}
        for turn in range(options.rounds + 1):
            for server in all_of_them:
                single = drive(server, singles((turn + 1) * 10**9), CONNECTIONS, options.seconds)
                several = drive(server, batches(10**11 + turn * 10**7, 200), LOADERS, options.seconds)
                if turn:  # until all of them know the people
                    one[server.name].append(single)
                    many[server.name].append(several)
    report(f"one event a request, {CONNECTIONS} connections", one, 1)
    report(f"NDJSON of {BATCH} a request, {LOADERS} connections", many, BATCH)


if __name__ == "__main__":
    main()
