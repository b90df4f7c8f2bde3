"""Real servers on loopback that take what the demo sends and keep it: SMTP, and HTTP for SMS and push.

They stand in for a mail relay and for providers, so that the demo's messages travel over real protocols
and end on this disk. Both listen on 127.0.0.1 at a port the system picks.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import threading
from collections import Counter
from collections.abc import Callable
from email import message_from_bytes
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import web
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from api.demo.people import DEAD_MAIL, EXPIRED_DEVICE

LOOPBACK: Final = "127.0.0.1"
_START_SECONDS: Final = 10


def _listen() -> socket.socket:
    """A socket on loopback, at a port the system picks."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.bind((LOOPBACK, 0))
    return made


class _Mailbox:
    """What the mail server does with a message: keeps it as a file, or refuses a dead mailbox for good."""

    def __init__(self, folder: Path) -> None:
        self._new, self._tmp = folder / "new", folder / "tmp"
        for part in (self._new, self._tmp):
            part.mkdir(parents=True, exist_ok=True)
        self._numbers = itertools.count(sum(1 for _ in self._new.iterdir()) + 1)
        self.taken = 0
        self.refused = 0
        self.copies: Counter[str] = Counter()

    async def handle_RCPT(  # noqa: N802 - the name aiosmtpd calls
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Take a recipient, or say that there is no such mailbox."""
        if address.rpartition("@")[2].lower() == DEAD_MAIL:
            self.refused += 1
            return "550 5.1.1 No such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        """Keep a message: written whole under `tmp`, then moved to `new`."""
        content = envelope.original_content or b""
        number = next(self._numbers)
        part = self._tmp / f"{number:06d}.eml"
        part.write_bytes(content)
        part.rename(self._new / part.name)
        self.taken += 1
        self.copies[str(message_from_bytes(content)["Message-ID"])] += 1
        return f"250 2.0.0 kept as {number:06d}"


class _Server(Controller):
    """aiosmtpd's server on a socket that is bound already; it cannot pick a port by itself."""

    def __init__(self, handler: _Mailbox, bound: socket.socket) -> None:
        super().__init__(handler, hostname=LOOPBACK, port=bound.getsockname()[1])
        self._bound = bound

    def _create_server(self) -> Any:
        return self.loop.create_server(self._factory_invoker, sock=self._bound)


class MailSink:
    """An SMTP server that keeps every message under `folder`/new.

    Attributes:
        folder: where the messages go; numbering goes on where an earlier run stopped.
        port: where it listens, once entered.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self._mailbox = _Mailbox(folder)
        self._server: _Server | None = None

    @property
    def taken(self) -> int:
        """Messages taken since it was entered."""
        return self._mailbox.taken

    @property
    def refused(self) -> int:
        """Recipients refused for good."""
        return self._mailbox.refused

    @property
    def repeated(self) -> int:
        """Message-IDs that came more than once since it was entered."""
        return sum(count > 1 for count in self._mailbox.copies.values())

    def __enter__(self) -> Self:
        """Start to listen."""
        self._server = _Server(self._mailbox, _listen())
        self.port = self._server.port
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        if self._server is not None:
            self._server.stop()


class PhoneSink:
    """An HTTP server that takes SMS at `/sms` and push messages at `/push` and appends them to files.

    Attributes:
        folder: `sms.ndjson` and `push.ndjson` are written there.
        url: where it listens, once entered.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.url = ""
        self.taken: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self._bound: socket.socket | None = None
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._run, name="phone-sink", daemon=True)

    def __enter__(self) -> Self:
        """Start to listen."""
        self._bound = _listen()
        self.url = f"http://{LOOPBACK}:{self._bound.getsockname()[1]}"
        self._thread.start()
        if not self._ready.wait(_START_SECONDS):
            raise RuntimeError("The SMS and push server of the demo did not start; try again.")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self._loop.call_soon_threadsafe(self._stop)
        self._thread.join()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        ended = asyncio.Event()
        self._stop = ended.set
        app = web.Application()
        app.router.add_post("/{channel:sms|push}", self._take)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        assert self._bound is not None
        await web.SockSite(runner, self._bound).start()
        self._ready.set()
        await ended.wait()
        await runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        channel = request.match_info["channel"]
        body = await request.json()
        if channel == "push" and str(body["to"]).startswith(EXPIRED_DEVICE):
            self.refused[channel] += 1
            return web.json_response({"error": "expired"}, status=410)
        self.taken[channel] += 1
        row = {"key": request.headers.get("Idempotency-Key", ""), **body}
        with (self.folder / f"{channel}.ndjson").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
        return web.json_response({"id": f"{channel}-{self.taken[channel]}"})
