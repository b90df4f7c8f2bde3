"""A witness: the core's rules over the store's memory, with a key and a clock."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from ledger.errors import NotFoundError, StoreError
from ledger.notes import Verifier, add_signatures
from ledger.witness.config import DATABASE, load_cosigner, read_witness_config
from ledger.witness.core import State, Submission, authenticate, decide
from ledger.witness.errors import RefusedError
from ledger.witness.store import WitnessStore

_log = logging.getLogger("tocsin.witness")


class Cosigner(Protocol):
    """What signs for a witness; `ledger.notes.CosignatureSigner` is one."""

    @property
    def vkey(self) -> str:
        """Public text form of the key."""

    def cosign(self, note: bytes, timestamp: int) -> bytes:
        """One signature line over a note's checkpoint."""


class Witness:
    """Cosigns checkpoints of the logs it knows, never two that contradict each other.

    Args:
        store: its memory; closed with the witness.
        cosigner: its key, the same for as long as the memory lives.
        clock: gives the present, aware.
    """

    def __init__(
        self, store: WitnessStore, cosigner: Cosigner, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.store = store
        self._cosigner = cosigner
        self._clock = clock

    @classmethod
    def open(cls, directory: Path, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Self:
        """Open the witness in a directory that `make_witness` made.

        Raises:
            ConfigError: there is none, or its key or memory is missing.
            StoreError: its memory cannot be read.
        """
        config = read_witness_config(directory)
        return cls(WitnessStore(directory / DATABASE), load_cosigner(config, directory), clock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the memory; what was cosigned is on disk already."""
        self.store.close()

    @property
    def vkey(self) -> str:
        """The witness's verifier key."""
        return self._cosigner.vkey

    def add_checkpoint(self, body: bytes) -> bytes:
        """Answer an add-checkpoint request with cosignature lines.

        Args:
            body: the request's body, verbatim.

        Raises:
            RefusedError: the specification's 400, 403, 404, 409 or 422.
            ClockError: the clock was set back; nothing is cosigned until it is right.
            StoreError: the state could not be stored.
        """
        submission = Submission.parse(body)
        origin = submission.checkpoint.origin
        # What nobody signed is refused before it can hold the lock that the others wait for.
        note = authenticate(submission, self.store.verifiers(origin))
        now = int(self._clock().timestamp())

        def judge(last: State | None, trusted: tuple[Verifier, ...]) -> State:
            nonlocal note
            # Again, under the lock: a key that was removed meanwhile must have nothing cosigned any more.
            note = authenticate(submission, trusted)
            return decide(submission, note, last, now)

        try:
            # SPEC: "The witness MUST persist the new checkpoint before responding." The key is not even
            # used before, so what dies between here and the answer leaves no cosignature behind.
            state = self.store.update(origin, judge)
        except RefusedError as error:
            if error.forked:
                self._keep_fork(note, now)
            raise
        return self._cosign(state)

    def latest(self, origin_hash: str) -> bytes:
        """The newest checkpoint cosigned of a log, with the log's signatures and this witness's.

        Args:
            origin_hash: lowercase hex SHA-256 of the log's origin.

        Raises:
            NotFoundError: no such log, or nothing of it was ever cosigned.
        """
        try:
            digest = bytes.fromhex(origin_hash)
        except ValueError:
            digest = b""
        state = self.store.latest(digest) if digest.hex() == origin_hash else None
        if state is None:
            raise NotFoundError("This witness has cosigned no checkpoint of a log with this origin hash.")
        return add_signatures(state.note, [self._cosign(state)])

    def _cosign(self, state: State) -> bytes:
        # Ed25519 is deterministic: the same state always gives the same cosignature.
        return self._cosigner.cosign(state.note, state.time)

    def _keep_fork(self, note: bytes, now: int) -> None:
        _log.error("A log signed two roots for one size; see `tocsin witness list`.")
        with suppress(StoreError):  # keeping evidence must not turn a refusal into a failure
            self.store.keep_fork(note, now)


def origin_hash(origin: str) -> str:
    """Lowercase hex SHA-256 of an origin, as it stands in monitoring paths."""
    return sha256(origin.encode()).hexdigest()
