"""Real parts on loopback: an SMTP server, an HTTP provider, a ledger with people in its vault."""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from aiosmtpd.smtp import SMTP

from ledger import Ledger
from notifiers.adapters import Adapter
from notifiers.adapters.smtp import SmtpAdapter
from notifiers.messages import Message, Recipient, Sender
from notifiers.plan import Preflight
from notifiers.service import Dispatcher

SENDER = Sender(
    name="Clínica Ejemplo",
    email="avisos@example.org",
    reply_to="ayuda@example.org",
    phone="+34 900 000 000",
    website="example.org",
    postal=("Calle Mayor 1", "28001 Madrid"),
    sms="Ejemplo",
)


class Clock:
    """A clock that stands still until it is moved; sleeping moves it."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 10, 9, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        await asyncio.sleep(0)

    def monotonic(self) -> float:
        return self.now.timestamp()


class Loop:
    """An event loop in a thread of its own, as another host would be."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(10)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


@dataclass
class Mailbox:
    """What the SMTP server saw, and how it shall behave."""

    port: int = 0
    messages: list[tuple[str, bytes]] = field(default_factory=list)
    refuse: dict[str, str] = field(default_factory=dict)  # recipient -> reply at RCPT
    at_data: Callable[[str], str] | None = None  # recipient -> reply at DATA, "" to accept
    seen: threading.Event = field(default_factory=threading.Event)
    until: int = 0

    async def handle_RCPT(self, _server, _session, envelope, address, _options):  # noqa: N802 - aiosmtpd's name
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server, _session, envelope):  # noqa: N802 - aiosmtpd's name
        reply = self.at_data(envelope.rcpt_tos[0]) if self.at_data else ""
        if reply:
            return reply
        self.messages.append((envelope.rcpt_tos[0], envelope.original_content or envelope.content))
        if self.until and len(self.messages) >= self.until:
            self.seen.set()
        return f"250 2.0.0 OK queued as {len(self.messages):06d} for <{envelope.rcpt_tos[0]}>"

    def counts(self) -> Counter:
        return Counter(address for address, _ in self.messages)


@dataclass
class Provider:
    """What the HTTP provider saw, and how it shall behave."""

    url: str = ""
    requests: list[tuple[str, dict]] = field(default_factory=list)
    answer: dict[str, tuple[int, dict[str, str]]] = field(default_factory=dict)  # to -> status, headers
    drop: set[str] = field(default_factory=set)  # take the request, then cut the connection

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.text())
        self.requests.append((request.headers["Idempotency-Key"], body))
        if body["to"] in self.drop:
            request.transport.abort()
            return web.Response()
        status, headers = self.answer.get(body["to"], (202, {}))
        return web.json_response({"id": f"p-{len(self.requests)}"}, status=status, headers=headers)


@pytest.fixture(scope="session")
def other_host() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.stop()


@pytest.fixture
def mailbox(other_host: Loop) -> Iterator[Mailbox]:
    box = Mailbox()

    async def start() -> asyncio.Server:
        return await other_host.loop.create_server(
            lambda: SMTP(box, hostname="relay.test", loop=other_host.loop), "127.0.0.1", 0
        )

    server = other_host.call(start())
    box.port = server.sockets[0].getsockname()[1]
    yield box

    async def stop() -> None:
        server.close()

    other_host.call(stop())


@pytest.fixture
def provider(other_host: Loop) -> Iterator[Provider]:
    seen = Provider()
    application = web.Application()
    application.router.add_post("/send", seen.handle)
    runner = web.AppRunner(application)

    async def start() -> int:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return runner.addresses[0][1]

    seen.url = f"http://127.0.0.1:{other_host.call(start())}/send"
    yield seen
    other_host.call(runner.cleanup())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    with Ledger.create(tmp_path / "data", origin="test.example/log", clock=clock) as made:
        yield made


@pytest.fixture
def sender() -> Sender:
    return SENDER


@pytest.fixture
def texts() -> list[Message]:
    """Messages for every channel and audience in English and Spanish."""
    return [
        message
        for language, hello, word in (("en", "Dear", "about"), ("es", "Estimada", "sobre"))
        for audience in ("person", "child", "guardian")
        for message in _texts(language, hello, word, audience)
    ]


def _texts(language: str, hello: str, word: str, audience: str) -> list[Message]:
    child = " [[child]]" if audience == "guardian" else ""
    subject = f"Notice {word} your data ({audience})"
    text = f"{hello} [[name]],\n\n{word}{child} {audience}.\n\nRef [[reference]]"
    return [
        Message("email", language, audience, subject, text, f"<p>{hello} [[name]]{child}</p>"),
        Message("sms", language, audience, subject, text),
        Message("letter", language, audience, subject, text),
        Message("push", language, audience, "Important", "Open the app. [[reference]]"),
    ]


@dataclass
class House:
    """All parts of one organisation: ledger, people, relay, provider, texts."""

    path: Path
    ledger: Ledger
    clock: Clock
    mailbox: Mailbox
    provider: Provider
    sender: Sender
    texts: list[Message]

    @property
    def smtp(self) -> SmtpAdapter:
        return SmtpAdapter("127.0.0.1", self.mailbox.port, "bounces@example.org", tls="none", connections=4)

    def people(self, **contacts: dict) -> dict[str, str]:
        """Put people into the vault: people(ana={"email": [...]}) gives {"ana": ref}."""
        refs = {}
        with self.ledger.database.write() as connection:
            for name, found in contacts.items():
                profile = {"id": name, "name": name.replace("_", " ").title(), "contacts": found}
                refs[name] = self.ledger.vault.refer(connection, "subject", name, profile)
        return refs

    def owed(self, refs: dict[str, str], language: str = "en") -> list[Recipient]:
        """Each of these people is told in person."""
        return [
            Recipient(ref, ref, "person", language, reference=f"R-{number}") for number, ref in enumerate(refs.values())
        ]

    def dispatcher(self, *adapters: Adapter) -> Dispatcher:
        """By default with the relay alone; waiting moves the clock."""
        return Dispatcher(
            self.ledger,
            adapters or (self.smtp,),
            sleep=self.clock.sleep,
            monotonic=self.clock.monotonic,
        )

    def open(self, dispatcher: Dispatcher, recipients: list[Recipient], **options: object) -> Preflight:
        """Open campaign c1 with this house's texts."""
        options = {"messages": self.texts, **options}
        return dispatcher.open_campaign("c1", incident="inc-1", recipients=recipients, sender=self.sender, **options)


@pytest.fixture
def house(tmp_path, ledger, clock, mailbox, provider, sender, texts) -> House:  # noqa: PLR0917 - fixtures
    return House(tmp_path, ledger, clock, mailbox, provider, sender, texts)
