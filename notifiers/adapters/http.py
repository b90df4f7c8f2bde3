"""SMS and push over a provider's HTTP interface: one JSON POST per message, with an `Idempotency-Key`.

Request body: {"to", "text", "title", "from", "reference", "language"}; the key is the step's id, so a repeat
is recognisable. A 2xx answer may carry {"id": "..."}.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import aiohttp

from ledger.encoding import canonical, parse
from ledger.errors import InputError
from notifiers.adapters import UNREACHABLE, Capabilities, Outcome, Outgoing
from notifiers.errors import AdapterError
from notifiers.messages import Channel

_TIMEOUT_S: Final = 30.0
_REPLY_BYTES: Final = 4096
_LATER: Final = frozenset({408, 425, 429})
_DEAD_ADDRESS: Final = frozenset({404, 410, 422})


@dataclass(eq=False)
class HttpAdapter:
    """One provider of text messages or push.

    Attributes:
        channel: "sms", "push" or "voice".
        url: where to POST; http only for loopback and gateways inside the house.
        token: sent as a bearer token; "" for none.
        sender: originator shown to the reader, for SMS.
        rate: messages (SMS: segments) per second the provider grants; None is unlimited.
        connections: requests in flight at once.
        deduplicates: whether the provider honours the `Idempotency-Key`.
    """

    channel: Channel
    url: str
    token: str = field(default="", repr=False)
    sender: str = ""
    rate: float | None = None
    connections: int = 16
    deduplicates: bool = False
    timeout_s: float = _TIMEOUT_S
    _session: aiohttp.ClientSession | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.url.startswith(("https://", "http://")):
            raise AdapterError(f"The {self.channel} adapter's url must start with https:// (or http:// inside).")

    @property
    def provider(self) -> str:
        """Name in receipts and pacing: channel and host, no path."""
        return f"{self.channel}:{self.url.split('/')[2].rpartition('@')[2]}"

    @property
    def capabilities(self) -> Capabilities:
        """One message per request."""
        return Capabilities(batch=1, concurrency=self.connections, rate=self.rate, deduplicates=self.deduplicates)

    async def send(self, batch: Sequence[Outgoing]) -> Sequence[Outcome]:
        """POST the messages."""
        return [await self._send(message) for message in batch]

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _send(self, message: Outgoing) -> Outcome:
        if not isinstance(message.address, str):
            return Outcome("address", "bad_address")
        body = canonical(
            {
                "from": self.sender,
                "language": message.language,
                "reference": message.reference,
                "text": message.content.decode(),
                "title": message.subject,
                "to": message.address,
            }
        )
        digest = hashlib.sha256(body).hexdigest()
        headers = {"Content-Type": "application/json", "Idempotency-Key": message.id}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        try:
            # Redirects are not followed: a message for one person must not wander to another host.
            async with self._open().post(self.url, data=body, headers=headers, allow_redirects=False) as response:
                reply = await response.content.read(_REPLY_BYTES)
                return classify(response.status, response.headers.get("Retry-After", ""), reply, digest)
        except aiohttp.ClientConnectorError as error:
            return Outcome("transient", UNREACHABLE, type(error).__name__)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return Outcome("unknown", "connection_lost", type(error).__name__, digest)

    def _open(self) -> aiohttp.ClientSession:
        # A session belongs to one event loop; a later run makes its own.
        if self._session is None or self._session.closed or self._loop is not asyncio.get_running_loop():
            self._loop = asyncio.get_running_loop()
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self.connections),
                timeout=aiohttp.ClientTimeout(total=self.timeout_s, sock_connect=10),
            )
        return self._session

    _loop: asyncio.AbstractEventLoop | None = field(default=None, repr=False)


def classify(status: int, retry_after: str, reply: bytes, digest: str) -> Outcome:
    """What an HTTP answer means.

    2xx taken; 408, 425, 429 and 5xx later; 404, 410 and 422 a dead or impossible address; everything
    else, redirects too, is our configuration.
    """
    reason = f"http_{status}"
    if 200 <= status < 300:  # noqa: PLR2004  # RFC 9110 15.3
        return Outcome("handed_over", "", f"{status} {_provider_id(reply)}".strip(), digest)
    if status in _LATER or status >= 500:  # noqa: PLR2004  # RFC 9110 15.6
        wait = int(retry_after) if retry_after.isascii() and retry_after.isdigit() else None
        return Outcome("transient", reason, str(status), digest, wait)
    if status in _DEAD_ADDRESS:
        return Outcome("address", reason, str(status), digest)
    return Outcome("ours", reason, str(status), digest)


def _provider_id(reply: bytes) -> str:
    try:
        value = parse(reply)
    except InputError:
        return ""
    found = value.get("id") if isinstance(value, dict) else None
    return f"id={found}" if isinstance(found, str | int) else ""
