"""Uvicorn's httptools protocol with a limit on head and trailers of a request; importable only where httptools is."""

from __future__ import annotations

from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD: Final = 64 * 1024
"""Most bytes of a request line and its headers; more is refused while it arrives, and before any token is read.

The same holds for the trailers after a chunked body."""


class BoundedProtocol(HttpToolsProtocol):
    """Refuses a request with more than `MAX_HEAD` bytes of head or of trailers; httptools would keep any number.

    Trailers are not merged into the headers (RFC 9110 section 6.5.1): they come after the headers were acted on,
    and nothing here is defined to be a trailer, so they are dropped.
    """

    def __init__(self, *args: Any, **others: Any) -> None:
        super().__init__(*args, **others)
        self._in_head = True
        self._idle = 0  # bytes read since a head ended or a piece of a body was found

    def data_received(self, data: bytes) -> None:
        """Read what arrived."""
        self._idle += len(data)
        super().data_received(data)
        if self._idle > MAX_HEAD and not self.transport.is_closing():
            self._refuse()

    def _refuse(self) -> None:
        """Close the connection; say why where the client would not take it for the answer to another request."""
        latest: Any = self.cycle
        if self._in_head:
            due = latest is None or latest.response_complete
        else:
            due = not (latest.response_started or self.pipeline)
        if due:
            part = "head" if self._in_head else "trailer section"
            self.send_400_response(f"The {part} of the request is too large.")
        else:
            self.transport.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, drop a trailer."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is over."""
        self._in_head, self._idle = False, 0
        super().on_headers_complete()

    def on_chunk_header(self) -> None:
        """The size of a chunk was read; the last one, of size 0, is followed by the trailers."""
        self._idle = 0

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._idle = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The next head begins."""
        super().on_message_complete()
        self._in_head, self._idle = True, 0
