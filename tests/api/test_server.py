"""How the server listens: what arrives too long is refused, what is sent leaves at once."""

import gc
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from api.http import server

PARSERS = ["h11", "default"]


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the size of what was sent."""
    assert scope["type"] == "http"
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body", False):
            break
    content = str(size).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(content))]})
    await send({"type": "http.response.body", "body": content})


async def names(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the names of the headers, as they are once the body has arrived."""
    while (await receive()).get("more_body", False):
        pass
    content = b" ".join(name for name, _ in scope["headers"])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(content))]})
    await send({"type": "http.response.body", "body": content})


async def hasty(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers without looking at the body."""
    del scope, receive
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hasty"})


@contextmanager
def serving(parser: str, application: ASGIApp = echo) -> Iterator[socket.socket]:
    """A connection to a running server."""
    others = {} if parser == "default" else {"http": parser}
    running = uvicorn.Server(server.configuration(application, lifespan="off", **others))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.prepare(listener)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            with socket.create_connection(listener.getsockname(), timeout=20) as connection:
                yield connection
        finally:
            running.should_exit = True
            thread.join(20)


def answers(connection: socket.socket, count: int) -> bytes:
    """What came back, until there are so many answers."""
    received = b""
    while received.count(b"HTTP/1.1 ") < count or not received.split(b"\r\n\r\n")[-1]:
        more = connection.recv(65536)
        assert more, received
        received += more
    return received


@pytest.mark.parametrize("parser", PARSERS)
def test_a_head_without_end_is_refused_and_the_connection_closed(parser: str) -> None:
    with serving(parser) as connection, pytest.raises(OSError, match=r"(?i)reset|pipe|abort"):
        connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nX-Long: " + b"a" * 64 * 1024 * 1024)


@pytest.mark.parametrize("parser", PARSERS)
def test_long_bodies_and_long_series_of_requests_are_not_taken_for_a_long_head(parser: str) -> None:
    body = b"b" * 300_000
    with serving(parser) as connection:
        for _ in range(2):
            connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n" + body)
            assert answers(connection, 1).endswith(b"\r\n\r\n300000")
        small = b"POST / HTTP/1.1\r\nHost: a\r\nX-Long: " + b"c" * 30_000 + b"\r\nContent-Length: 1\r\n\r\nd"
        for _ in range(4):
            connection.sendall(small)
            assert answers(connection, 1).endswith(b"\r\n\r\n1")


CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("parser", PARSERS)
def test_trailers_are_no_headers_of_this_request_or_the_next(parser: str) -> None:
    trailed = CHUNKED + b"1\r\na\r\n0\r\nAuthorization: Bearer late\r\nX-Last: b\r\n\r\n"
    plain = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nd"
    with serving(parser, names) as connection:
        connection.sendall(trailed + plain)  # pipelined
        first, second = answers(connection, 2).split(b"HTTP/1.1 200")[1:]
        assert first.endswith(b"\r\n\r\nhost transfer-encoding")
        assert second.endswith(b"\r\n\r\nhost content-length")
        for byte in trailed[:-1]:  # in pieces, on a connection that was kept
            connection.sendall(bytes((byte,)))
        connection.sendall(trailed[-1:])
        assert answers(connection, 1).endswith(b"\r\n\r\nhost transfer-encoding")
        connection.sendall(plain)
        assert answers(connection, 1).endswith(b"\r\n\r\nhost content-length")


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize(
    "endless",
    [b"0\r\n" + b"x: %s\r\n" % (b"a" * 1000) * 30_000, b"0\r\nx: " + b"a" * 30_000_000, b"1;" + b"a" * 30_000_000],
)
def test_trailers_and_the_rest_of_the_framing_have_an_end(parser: str, endless: bytes) -> None:
    with serving(parser) as connection, pytest.raises(OSError, match=r"(?i)reset|pipe|abort"):
        connection.sendall(CHUNKED + endless)


def test_what_is_refused_gets_one_answer() -> None:
    for application, last in [(echo, b"The trailer section of the request is too large."), (hasty, b"hasty")]:
        with serving("default", application) as connection:
            connection.sendall(CHUNKED)
            received = answers(connection, 1) if application is hasty else b""
            connection.sendall(b"0\r\n")
            while not select.select([connection], [], [], 0.2)[0]:  # one after the other, so that none is left unread
                connection.sendall(b"x: %s\r\n" % (b"a" * 60_000))
            while more := connection.recv(65536):
                received += more
            assert received.count(b"HTTP/1.1 ") == 1
            assert received.endswith(b"\r\n\r\n" + last)


@pytest.mark.parametrize("parser", PARSERS)
def test_a_body_of_many_small_chunks_is_no_long_trailer(parser: str) -> None:
    with serving(parser) as connection:
        connection.sendall(CHUNKED + b"1;name=value\r\na\r\n" * 20_000 + b"0\r\n\r\n")
        assert answers(connection, 1).endswith(b"\r\n\r\n20000")


def test_accepted_connections_do_not_wait_for_acknowledgements() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.prepare(listener)
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_what_lives_at_the_start_is_not_collected_again() -> None:
    before = gc.get_threshold()
    try:
        server.settle()
        assert gc.get_freeze_count() > 0
        assert gc.get_threshold()[0] > before[0]
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
