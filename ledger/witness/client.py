"""Asking a witness for cosignatures (C2SP tlog-witness, the log's side).

A witness is trusted for one thing only, its signature: every line it returns is verified against its
key over our own checkpoint before anything is made of it. What it says about sizes is a hint.

Real witnesses differ from the specification, and this client lives with it: 403 instead of 404 for an
unknown log (litewitness, 2025), 409 without a body where the roots differ (transparency-dev/witness, and
C2SP v1.0.0 itself), trust on first use, no monitoring path.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import urlsplit

import aiohttp

from ledger.checkpoint import Checkpoint
from ledger.errors import NoteError, PolicyError
from ledger.notes import Signature, Verifier, open_note, split_note
from ledger.policy import Policy, Witness
from ledger.wire import parse_decimal
from ledger.witness.core import MAX_PROOF_LINES, MAX_TREE_SIZE, format_submission
from ledger.witness.errors import StaleError, WitnessError
from ledger.witness.service import origin_hash

TIMEOUT_S: Final = 10.0
"""How long one request to a witness may take."""
MAX_ROUNDS: Final = 3
"""Submissions in one go: a guess of the old size, the corrected one, and one for a race."""
MAX_ANSWER_BYTES: Final = 262_144

_OK, _FORBIDDEN, _NOT_FOUND, _CONFLICT, _UNPROCESSABLE = 200, 403, 404, 409, 422
_REFUSALS: Final = {
    400: "found the request malformed, or its old size too large",
    _FORBIDDEN: "does not know this log, or does not trust the key that signed",
    _NOT_FOUND: "does not know this log",
    413: "found the request too long",
    429: "asks to be left alone for a while",
}

Prove = Callable[[int], Awaitable[Sequence[bytes]]]
"""Gives the consistency proof from an older size to the submitted checkpoint's."""


class DisputedError(WitnessError):
    """The witness holds that the log contradicts what it cosigned before.

    Attributes:
        status: its HTTP status, 409 or 422.
        size: the size it says it last cosigned; None where it did not say.
    """

    def __init__(self, message: str, *, status: int, size: int | None) -> None:
        super().__init__(message)
        self.status = status
        self.size = size


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A witness and where it is.

    Attributes:
        name: what the policy calls it.
        verifier: its key.
        url: submission and monitoring prefix, without a slash at the end.
    """

    name: str
    verifier: Verifier
    url: str

    @classmethod
    def of(cls, witness: Witness) -> Self:
        """The endpoint of a policy's witness.

        Raises:
            PolicyError: the witness has no usable URL.
        """
        name = witness.name.decode("utf-8", "backslashreplace")
        try:
            url = (witness.url or b"").decode("ascii")
            parts = urlsplit(url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.query or parts.fragment)
        except ValueError:
            usable = False
        if not usable:
            raise PolicyError(f"The witness {name} has no http or https URL in the policy, so it cannot be asked.")
        return cls(name, witness.verifier, url.rstrip("/"))


@dataclass(frozen=True, slots=True)
class Sighting:
    """A checkpoint that a witness shows: signed by the log, cosigned by the witness, both verified.

    Attributes:
        note: the checkpoint with both signatures.
        checkpoint: its text, parsed.
        time: POSIX seconds of the cosignature.
    """

    note: bytes
    checkpoint: Checkpoint
    time: int


class WitnessClient:
    """One witness, over a shared HTTP session.

    Args:
        endpoint: the witness.
        session: the caller's session; see `open_session`.
        timeout_s: limit for one request, connecting included.
    """

    def __init__(self, endpoint: Endpoint, session: aiohttp.ClientSession, *, timeout_s: float = TIMEOUT_S) -> None:
        self.endpoint = endpoint
        self._session = session
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)

    async def submit(self, checkpoint: bytes, old_size: int, proof: Sequence[bytes]) -> tuple[Signature, ...]:
        """Send one add-checkpoint request and return the witness's verified cosignatures.

        Args:
            checkpoint: the signed checkpoint, verbatim.
            old_size: the size the witness last cosigned, as far as known; 0 to find out.
            proof: consistency proof from there to the checkpoint, 32-byte hashes.

        Raises:
            StaleError: the witness last cosigned another size, and says which.
            DisputedError: it holds that the log contradicts what it cosigned.
            WitnessError: unreachable, refusing, or its answer does not verify.
        """
        if len(proof) > MAX_PROOF_LINES:
            raise WitnessError(f"The proof has {len(proof)} hashes; a witness takes {MAX_PROOF_LINES}.")
        body = format_submission(old_size, proof, checkpoint)
        status, answer = await self._request("POST", "/add-checkpoint", body)
        if status == _OK:
            return self._verified(checkpoint, answer)
        size = _read_size(answer) if status == _CONFLICT else None
        if size is not None and size != old_size:
            raise StaleError(f"The witness {self.endpoint.name} last cosigned size {size}.", size=size)
        if status in (_CONFLICT, _UNPROCESSABLE):
            # A 409 that names the very size we sent, or none, is how some witnesses say "other root".
            raise DisputedError(
                f"The witness {self.endpoint.name} answered {status}: it cosigned another tree at size {old_size}, "
                "or found the proof wrong.",
                status=status,
                size=size,
            )
        reason = _REFUSALS.get(status, "cannot answer now" if status >= 500 else "refused")  # noqa: PLR2004 - HTTP
        raise WitnessError(f"The witness {self.endpoint.name} {reason} (status {status}).")

    async def witness(self, checkpoint: bytes, old_size: int, prove: Prove) -> tuple[Signature, ...]:
        """Have a checkpoint cosigned, correcting the old size as often as the witness asks for it.

        Raises:
            StaleError: the witness has cosigned a larger tree than the checkpoint's.
            DisputedError: it holds that the log contradicts what it cosigned.
            WitnessError: unreachable, refusing, or never satisfied.
        """
        newest = Checkpoint.parse(split_note(checkpoint)[0]).size
        old_size = min(old_size, newest)
        for _ in range(MAX_ROUNDS):
            try:
                return await self.submit(checkpoint, old_size, await prove(old_size))
            except StaleError as error:
                if error.size > newest:
                    raise
                old_size = error.size
        raise WitnessError(
            f"The witness {self.endpoint.name} named another size after each of {MAX_ROUNDS} submissions; "
            "another program submits this log as well."
        )

    async def latest(self, log: Verifier | Sequence[Verifier], origin: str) -> Sighting | None:
        """The newest checkpoint the witness shows of a log; None when it shows none.

        Args:
            log: the log's key; all of them where it was changed, for the witness may show an older checkpoint.
            origin: the log's name.

        Raises:
            WitnessError: unreachable, or what it shows is not signed by the log and by itself.
        """
        status, answer = await self._request("GET", f"/{origin_hash(origin)}/checkpoint")
        if status != _OK:
            return None
        try:
            logs = [log] if isinstance(log, Verifier) else list(log)
            note = open_note(answer, [*logs, self.endpoint.verifier])
            checkpoint = Checkpoint.parse(note.text)
        except NoteError as error:
            raise WitnessError(f"What the witness {self.endpoint.name} shows does not verify. {error}") from None
        ours = [item for item in note.signatures if item.timestamp is None and item.key in [log.key for log in logs]]
        theirs = [item for item in note.signatures if item.timestamp]
        if not ours or not theirs or checkpoint.origin != origin:
            raise WitnessError(
                f"What the witness {self.endpoint.name} shows is not a checkpoint of this log with its cosignature."
            )
        lines = b"".join(item.line for item in (*ours, *theirs))
        return Sighting(note.text.encode() + b"\n" + lines, checkpoint, theirs[0].timestamp or 0)

    def _verified(self, checkpoint: bytes, answer: bytes) -> tuple[Signature, ...]:
        # SPEC: "The client MUST ignore any cosignatures from unknown keys. To parse the response, the client
        # MAY concatenate it to the checkpoint, and use a note verification function configured with the
        # witness keys it trusts." The checkpoint's own signatures are left out: they are not in question.
        text, _ = split_note(checkpoint)
        try:
            note = open_note(text.encode() + b"\n" + answer, [self.endpoint.verifier])
        except NoteError as error:
            raise WitnessError(f"The answer of the witness {self.endpoint.name} does not verify. {error}") from None
        # An empty line in the answer moves the border between text and signatures.
        if note.text != text:
            raise WitnessError(f"The answer of the witness {self.endpoint.name} is not made of signature lines alone.")
        if not all(item.timestamp for item in note.signatures):
            raise WitnessError(f"The witness {self.endpoint.name} dated its cosignature 0; its clock is not set.")
        return note.signatures

    async def _request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        try:
            async with self._session.request(
                method,
                self.endpoint.url + path,
                data=body,
                timeout=self._timeout,
                allow_redirects=False,
                headers={"content-type": "text/plain; charset=utf-8"} if body is not None else None,
            ) as response:
                answer = bytearray()
                async for chunk in response.content.iter_any():
                    answer += chunk
                    if len(answer) > MAX_ANSWER_BYTES:
                        raise WitnessError(f"The witness {self.endpoint.name} sends more than any answer holds.")
                return response.status, bytes(answer)
        except TimeoutError:
            raise WitnessError(f"The witness {self.endpoint.name} did not answer in time.") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise WitnessError(
                f"The witness {self.endpoint.name} cannot be reached ({type(error).__name__})."
            ) from None


def open_session() -> aiohttp.ClientSession:
    """A session for witnesses: no cookies, no proxies from the environment."""
    return aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(), headers={"user-agent": "tocsin"}, auto_decompress=False
    )


def endpoints(policy: Policy) -> list[Endpoint]:
    """The witnesses of a policy that can be asked; those without a URL are left out."""
    return [Endpoint.of(witness) for witness in policy.witnesses if witness.url]


async def look(
    places: Sequence[Endpoint], log: Verifier | Sequence[Verifier], origin: str, *, timeout_s: float = TIMEOUT_S
) -> dict[str, Sighting | WitnessError | None]:
    """What each witness shows of a log, asked in parallel: a sighting, nothing, or why it cannot be known."""

    async def one(session: aiohttp.ClientSession, place: Endpoint) -> Sighting | WitnessError | None:
        try:
            return await WitnessClient(place, session, timeout_s=timeout_s).latest(log, origin)
        except WitnessError as error:
            return error

    async with open_session() as session:
        seen = await asyncio.gather(*(one(session, place) for place in places))
    return {place.name: sighting for place, sighting in zip(places, seen, strict=True)}


def _read_size(answer: bytes) -> int | None:
    """The size in the body of a 409; None where there is none, whatever the media type says."""
    try:
        size = parse_decimal(answer.decode("ascii").removesuffix("\n"))
    except UnicodeDecodeError:
        return None
    return size if size is None or size <= MAX_TREE_SIZE else None
