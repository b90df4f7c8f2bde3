"""Email to a relay over SMTP (RFC 5321), on connections that are kept.

The transaction is made step by step rather than by one call, because what an error means depends on where
it happens: before the final dot nothing was sent; after it, nobody knows.
"""

from __future__ import annotations

import hashlib
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import aiosmtplib

from notifiers.adapters import UNREACHABLE, Capabilities, Outcome, Outgoing
from notifiers.compile import mailbox
from notifiers.errors import AddressError
from notifiers.messages import Channel

Tls = Literal["none", "starttls", "implicit"]

_ENHANCED = re.compile(r"\b([245])\.(\d{1,3})\.(\d{1,3})\b")
_POLICY: Final = "7"
_PERMANENT: Final = 500
"""RFC 5321 section 4.2.1: 5yz replies are permanent."""
_TIMEOUT_S: Final = 30.0


@dataclass(eq=False)
class SmtpAdapter:
    """One relay.

    Attributes:
        host: its name.
        port: 25, 465 or 587, usually.
        tls: "implicit" from the first byte, "starttls" required after EHLO, or "none" (loopback only).
        sender: envelope sender, where bounces go.
        username: for AUTH; "" for none.
        password: for AUTH.
        connections: how many are kept open at once.
        rate: messages per second the relay grants; None is unlimited.
        timeout_s: longest wait for one answer.
    """

    host: str
    port: int
    sender: str
    tls: Tls = "starttls"
    username: str = ""
    password: str = field(default="", repr=False)
    connections: int = 8
    rate: float | None = None
    timeout_s: float = _TIMEOUT_S
    channel: Channel = "email"
    _idle: list[aiosmtplib.SMTP] = field(default_factory=list, repr=False)

    @property
    def provider(self) -> str:
        """Name in receipts and pacing."""
        return f"smtp:{self.host}:{self.port}"

    @property
    def capabilities(self) -> Capabilities:
        """One message at a time per connection."""
        return Capabilities(batch=1, concurrency=self.connections, rate=self.rate)

    async def send(self, batch: Sequence[Outgoing]) -> Sequence[Outcome]:
        """Hand over the messages, one after the other on one connection."""
        return [await self._send(message) for message in batch]

    async def close(self) -> None:
        """Say goodbye on the idle connections."""
        idle, self._idle = self._idle, []
        for client in idle:
            try:
                await client.quit()
            except (aiosmtplib.SMTPException, OSError):
                client.close()

    async def _send(self, message: Outgoing) -> Outcome:
        try:
            recipient = mailbox(message.address if isinstance(message.address, str) else "")
        except AddressError as error:
            return Outcome("address", error.reason)
        reused = bool(self._idle)
        outcome = await self._attempt(message, recipient)
        if reused and outcome.reason == "disconnected":
            # The relay had closed an idle connection; that says nothing about this message. Once more, afresh.
            await self.close()
            outcome = await self._attempt(message, recipient)
        return outcome

    async def _attempt(self, message: Outgoing, recipient: str) -> Outcome:
        try:
            client = self._idle.pop() if self._idle else await self._connect()
        except (aiosmtplib.SMTPException, OSError) as error:
            return _no_connection(error)
        outcome, usable = await self._transact(client, message, recipient)
        if usable:
            self._idle.append(client)
        else:
            client.close()
        return outcome

    async def _connect(self) -> aiosmtplib.SMTP:
        client = aiosmtplib.SMTP(
            hostname=self.host,
            port=self.port,
            use_tls=self.tls == "implicit",
            start_tls=self.tls == "starttls",
            username=self.username or None,
            password=self.password or None,
            timeout=self.timeout_s,
        )
        await client.connect()
        return client

    async def _transact(self, client: aiosmtplib.SMTP, message: Outgoing, recipient: str) -> tuple[Outcome, bool]:
        """One mail transaction: the outcome, and whether the connection may be used again."""
        sent = False
        try:
            try:
                await client.mail(self.sender)
                await client.rcpt(recipient)
                sent = True  # from here on a lost connection leaves the outcome open
                reply = await client.data(message.content)
            except aiosmtplib.SMTPResponseException as error:
                outcome = classify(error.code, error.message, refused=_stage(error))
                if error.code == 421:  # noqa: PLR2004  # RFC 5321 3.8: the server closes the channel
                    return outcome, False
                await client.rset()
                return outcome, True
        except (aiosmtplib.SMTPServerDisconnected, TimeoutError, OSError) as error:
            if not sent:
                return Outcome("transient", "disconnected", type(error).__name__), False
            return Outcome("unknown", "connection_lost", type(error).__name__, _hash(message)), False
        except aiosmtplib.SMTPException as error:
            return Outcome("ours", "smtp_protocol", type(error).__name__), False
        text = f"{reply.code} {reply.message}"
        return Outcome("handed_over", "", text, _hash(message)), True


def _no_connection(error: Exception) -> Outcome:
    """What it means that no session could be set up: the relay is away, or we are not welcome."""
    reply = type(error).__name__
    if isinstance(error, aiosmtplib.SMTPResponseException):
        reply = f"{error.code} {error.message}"
        if isinstance(error, aiosmtplib.SMTPAuthenticationError) and error.code >= _PERMANENT:
            return Outcome("ours", "smtp_auth_refused", reply)
        return Outcome("transient", UNREACHABLE, reply)
    if isinstance(error, ssl.SSLError):
        return Outcome("ours", "smtp_tls_failed", reply)
    if isinstance(error, OSError | aiosmtplib.SMTPTimeoutError):
        return Outcome("transient", UNREACHABLE, reply)
    return Outcome("ours", "smtp_no_tls_or_auth", reply)  # the relay does not offer what we demand


def _hash(message: Outgoing) -> str:
    return hashlib.sha256(message.content).hexdigest()


def _stage(error: aiosmtplib.SMTPResponseException) -> str:
    if isinstance(error, aiosmtplib.SMTPRecipientRefused):
        return "recipient"
    return "sender" if isinstance(error, aiosmtplib.SMTPSenderRefused) else "data"


def classify(code: int, reply: str, *, refused: str) -> Outcome:
    """What a refusal means.

    4xx is for later. A refused recipient is the address's fault unless the enhanced status code
    (RFC 3463) says security or policy, X.7.X; a refused sender or message is ours.

    Args:
        code: SMTP reply code.
        reply: its text.
        refused: "sender", "recipient" or "data".
    """
    text = f"{code} {reply}"
    reason = f"smtp_{code}"
    found = _ENHANCED.search(reply)
    if found:
        reason = f"smtp_{code}_{found[1]}_{found[2]}_{found[3]}"
    if code < _PERMANENT:
        return Outcome("transient", reason, text)
    if refused == "recipient" and not (found and found[2] == _POLICY):
        return Outcome("address", reason, text)
    return Outcome("ours", reason, text)
