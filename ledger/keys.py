"""Where keys come from: a URI scheme per kind of place, so that a KMS can be added beside the files.

`file:PATH` (relative to the data directory, readable by its owner only) and `env:NAME`; any other
scheme is looked up among the entry points of the group `tocsin.key_sources`, so that a package which
knows a KMS needs only to be installed. A signing key is written as Go's note package writes one
(`PRIVATE+KEY+...`); a key-encryption key is 32 bytes in base64.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final, Protocol

from ledger.errors import ConfigError, NoteError
from ledger.notes import Signer

KEK_SIZE: Final = 32


SOURCES: Final = "tocsin.key_sources"
"""Entry-point group of further schemes; the entry point's name is the scheme."""


class KeySource(Protocol):
    """One kind of place that keys come from."""

    def __call__(self, rest: str, directory: Path, environment: Mapping[str, str], /) -> str:
        """The text of a key.

        Args:
            rest: the URI after its scheme and colon.
            directory: the data directory, to which paths are relative.
            environment: environment variables.

        Raises:
            ConfigError: there is no such key, or it cannot be had.
        """
        ...


def _from_file(rest: str, directory: Path, _environment: Mapping[str, str]) -> str:
    path = directory / rest
    try:
        mode = path.stat().st_mode
        text = path.read_text("ascii")
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"The key file {path} cannot be read; put it back from your backup of the keys.") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"The key file {path} can be read by others; run `chmod 600 {path}`.")
    return text


def _from_environment(rest: str, _directory: Path, environment: Mapping[str, str]) -> str:
    try:
        return environment[rest]
    except KeyError:
        raise ConfigError(
            f"The environment variable {rest} is not set; the configuration takes a key from it."
        ) from None


_SOURCES: Final[Mapping[str, KeySource]] = {"file": _from_file, "env": _from_environment}


def read_key(uri: str, directory: Path, environment: Mapping[str, str] = os.environ) -> str:
    """The text behind a key URI, stripped.

    Raises:
        ConfigError: unknown scheme, missing or unreadable key, or a key file that others can read.
    """
    scheme, _, rest = uri.partition(":")
    return _source(scheme)(rest, directory, environment).strip()


def _source(scheme: str) -> KeySource:
    if scheme in _SOURCES:
        return _SOURCES[scheme]
    for found in entry_points(group=SOURCES, name=scheme):
        try:
            source: KeySource = found.load()
        except (ImportError, AttributeError):
            raise ConfigError(
                f"The package that gives the key URI scheme {scheme!r} is broken; reinstall it."
            ) from None
        return source
    raise ConfigError(
        f"The key URI scheme {scheme!r} is not known; use file: or env:, or install a package that gives it."
    )


def write_key(path: Path, text: str) -> None:
    """Write a new key file for its owner only, durably; an existing file is never overwritten.

    Raises:
        ConfigError: the file exists or cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        make_directories(path.parent)
        # Only a whole file gets the key's name; what a cut-short attempt left was never used.
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
        temporary.unlink()
        fsync_directory(path.parent)
    except OSError as error:
        raise ConfigError(f"The key file {path} cannot be written: {error.strerror}.") from None


def make_directories(directory: Path) -> None:
    """Make a directory for its owner only, and what is missing above it, so that a power cut leaves them there.

    Raises:
        OSError: one cannot be made.
    """
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in missing:
        fsync_directory(path.parent)
    if not missing:
        # A killed attempt may have made it. What lies above somebody else's directory need not be readable.
        with suppress(OSError):
            fsync_directory(directory.parent)


def fsync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def load_signer(uri: str, directory: Path, origin: str) -> Signer:
    """The log's signer.

    Raises:
        ConfigError: the key is missing, malformed, or named for another log.
    """
    text = read_key(uri, directory)
    try:
        signer = Signer.from_private_key(text)
    except NoteError:
        raise ConfigError(f"The signing key behind {uri} is malformed; put it back from your backup.") from None
    if signer.name != origin:
        raise ConfigError(f"The signing key behind {uri} belongs to another log than this one ({origin}).")
    return signer


def load_kek(uri: str, directory: Path) -> bytes:
    """The vault's key-encryption key, 32 bytes.

    Raises:
        ConfigError: the key is missing or is not 32 bytes of base64.
    """
    try:
        key = base64.b64decode(read_key(uri, directory), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEK_SIZE:
        raise ConfigError(f"The vault key behind {uri} is not 32 bytes of base64; put it back from your backup.")
    return key


def encode_kek(key: bytes) -> str:
    """Text form of a key-encryption key."""
    return base64.b64encode(key).decode()


def key_id(key: bytes) -> str:
    """A name for a secret key that tells nothing about it: 16 hex digits.

    The first 64 bits of SHA-256 over HMAC-SHA-256(key, label); the keys are 256 random bits, so neither
    can be run backwards.
    """
    return hashlib.sha256(hmac.digest(key, b"tocsin/key-id/v1", "sha256")).hexdigest()[:16]
