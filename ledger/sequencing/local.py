"""Unix sockets that only the same user reaches."""

from __future__ import annotations

import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from ledger.errors import ConfigError

SOCKET: Final = "sequencer.sock"
"""Name of the socket in the data directory, unless another place was asked for."""

_LONGEST: Final = 100
"""Bytes of a path that every system takes as the address of a socket (Linux 108, others 104, one for the end)."""
_BACKLOG: Final = 128
_CREDENTIALS: Final = struct.Struct("3i")


def peer_uid(connection: socket.socket) -> int | None:
    """User id of the process at the other end, as the kernel knows it (unix(7), SO_PEERCRED).

    None where the system cannot say; there the mode of the socket alone keeps others out.
    """
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    _, uid, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size))
    return int(uid)


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """A socket that listens at `path` with mode 0600, in the place of one that a dead process left.

    Only for who leads: a living sequencer's socket would be replaced as well.

    Raises:
        ConfigError: there is something else at the path, or the system refuses.
    """
    with _listen(path) as listener:
        ours = path.stat()
        try:
            yield listener
        finally:
            with suppress(FileNotFoundError):
                if os.path.samestat(ours, path.stat()):  # else another leader's, who came while this one slept
                    path.unlink()


def _listen(path: Path) -> socket.socket:
    try:
        if path.exists() and not stat.S_ISSOCK(path.lstat().st_mode):
            raise ConfigError(f"{path} exists and is no socket; remove it, or choose another --socket.")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            fresh.unlink(missing_ok=True)
            with _address(fresh) as address:
                listener.bind(address)
            fresh.chmod(0o600)
            listener.listen(_BACKLOG)
            # Whoever connects meets the old socket or the new one, ready and with its mode; never nothing.
            fresh.rename(path)
        except BaseException:
            listener.close()
            fresh.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigError(f"Cannot listen on {path}: {error.strerror or error}. Choose another --socket.") from error
    return listener


def connect(path: Path, timeout_s: float) -> socket.socket:
    """A connection to the socket at `path`.

    Raises:
        OSError: nobody listens there.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        with _address(path) as address:
            connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """The path, or a shorter way to it: the kernel's limit is that of the address, not that of the file's name."""
    if len(os.fsencode(path)) <= _LONGEST:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        short = f"/proc/self/fd/{directory}/{path.name}"
        if len(os.fsencode(short)) > _LONGEST or not Path(f"/proc/self/fd/{directory}").is_dir():
            raise OSError(0, f"the path is longer than the {_LONGEST} bytes that an address may have")
        yield short
    finally:
        os.close(directory)
