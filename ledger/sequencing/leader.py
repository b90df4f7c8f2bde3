"""Who leads: of all sequencers of one ledger, the one that holds the lock.

The lock only decides who listens. What keeps the log whole, also against a leader that lost the lock without
noticing, is the head row: it is read again inside every write transaction, and the update names the head that it
extends (`ledger.store.sequencer`).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ledger.errors import ConfigError
from ledger.ledger import Ledger

LOCK: Final = "sequencer.lock"
"""Name of the lock file in the data directory."""
_PAUSE_S: Final = 0.2


def leader_lock(ledger: Ledger) -> FileLock:
    """The lock of a data directory.

    Of a ledger in a server each host has a directory, and a sequencer, of its own; the store orders them.
    """
    return FileLock(ledger.directory / LOCK)


class FileLock:
    """`flock` on a file of the data directory, which the system releases however the process ends.

    A process that is stopped and not dead (SIGSTOP) keeps it: then nobody takes over until it is killed.

    Args:
        path: the file; made when missing, never removed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def take(self) -> bool:
        """Take it if it is free; never waits."""
        if self.held():
            return True
        self.release()
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"{self._path} cannot be opened: {error.strerror}.") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        self._file = file
        if not self.held():  # somebody removed the file in between: this one locks nobody out
            self.release()
            return False
        return True

    def held(self) -> bool:
        """Whether it is held, and the file is still the one at its path."""
        if self._file is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._file), self._path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Give it back."""
        if self._file is not None:
            file, self._file = self._file, None
            os.close(file)


def lead(lock: FileLock, waits: Callable[[], None], pause: Callable[[float], bool]) -> bool:
    """Take the lock, however long it takes.

    Args:
        lock: what to take.
        waits: called once, when another process has it.
        pause: waits for that many seconds and says whether to give up, as `threading.Event.wait` does.

    Returns:
        Whether this process leads; False when it was told to give up.
    """
    if lock.take():
        return True
    waits()
    while not pause(_PAUSE_S):
        if lock.take():
            return True
    return False
