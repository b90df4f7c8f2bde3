"""The data directory: what is in it, how it is made, how its configuration is read.

tocsin.toml       origin, verifier key, and where the secret keys are
ledger.db         the log, the vault and all read models
keys/ledger.key   the log's signing key
keys/vault.key    the vault's key-encryption key
"""

from __future__ import annotations

import base64
import json
import os
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ledger.errors import ConfigError
from ledger.keys import KEK_SIZE, encode_kek, fsync_directory, load_signer, read_key, write_key
from ledger.notes import Signer

CONFIG: Final = "tocsin.toml"
DATABASE: Final = "ledger.db"
SIGNING_KEY: Final = "file:keys/ledger.key"
VAULT_KEY: Final = "file:keys/vault.key"

_ORIGIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~:/-]{0,254}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Config:
    """What `tocsin.toml` says.

    Attributes:
        origin: the log's name, as in its checkpoints (a URL without scheme).
        vkey: the log's verifier key; what others pin.
        signing_key, vault_key: key URIs, see `ledger.keys`.
    """

    origin: str
    vkey: str
    signing_key: str
    vault_key: str


def read_config(directory: Path) -> Config:
    """Read the configuration of a data directory.

    Raises:
        ConfigError: missing or malformed.
    """
    path = directory / CONFIG
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"There is no ledger in {directory}; make one with `tocsin init --data {directory}`."
        ) from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise ConfigError(f"{path} is not valid TOML; restore it from your backup.") from None
    section = values.get("ledger")
    names = ("origin", "vkey", "signing_key", "vault_key")
    if not isinstance(section, dict) or any(not isinstance(section.get(name), str) for name in names):
        raise ConfigError(f"{path} must have a [ledger] section with {', '.join(names)}.")
    return Config(*(section[name] for name in names))


def make_directory(directory: Path, origin: str | None, entropy: Callable[[int], bytes]) -> Config:
    """Make a data directory, or complete one whose making was cut short.

    Keys come first and the configuration last, in one rename: a directory without `tocsin.toml` is not
    a ledger yet and is completed by the next call; nothing that exists is overwritten.

    Raises:
        ConfigError: the origin is not usable, or the directory cannot be written.
    """
    if origin is not None and _ORIGIN.fullmatch(origin) is None:
        raise ConfigError(
            "The origin must be a URL without scheme, such as example.org/audit: letters, digits and . _ ~ : / -"
        )
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"The data directory {directory} cannot be made: {error.strerror}.") from None
    if (directory / CONFIG).exists():
        config = read_config(directory)
        if origin is not None and origin != config.origin:
            raise ConfigError(f"{directory} already holds the ledger {config.origin}; choose another directory.")
        return config
    signer = _signing_key(directory, origin, entropy)
    vault_key = directory / VAULT_KEY.removeprefix("file:")
    if not vault_key.exists():
        write_key(vault_key, encode_kek(entropy(KEK_SIZE)))
    config = Config(signer.name, signer.vkey, SIGNING_KEY, VAULT_KEY)
    _write_config(directory, config)
    return config


def _signing_key(directory: Path, origin: str | None, entropy: Callable[[int], bytes]) -> Signer:
    path = directory / SIGNING_KEY.removeprefix("file:")
    if path.exists():
        # The name inside the key is the origin: an earlier call may have chosen it.
        parts = read_key(SIGNING_KEY, directory).split("+")
        return load_signer(SIGNING_KEY, directory, origin or (parts[2] if len(parts) > 2 else ""))  # noqa: PLR2004
    name = origin or f"tocsin.local/{base64.b32encode(entropy(5)).decode().lower()}"
    signer = Signer.from_seed(name, entropy(32))
    write_key(path, signer.private_key)
    return signer


def _write_config(directory: Path, config: Config) -> None:
    # JSON strings without exotic characters are TOML basic strings.
    text = (
        "# Made by tocsin init. Others pin the origin and the vkey; the keys are secret: back them up apart.\n"
        "[ledger]\n"
        f"origin = {json.dumps(config.origin)}\n"
        f"vkey = {json.dumps(config.vkey)}\n"
        f"signing_key = {json.dumps(config.signing_key)}\n"
        f"vault_key = {json.dumps(config.vault_key)}\n"
    )
    temporary = directory / f".{CONFIG}.new"
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(directory / CONFIG)
        fsync_directory(directory)
    except OSError as error:
        raise ConfigError(f"{directory / CONFIG} cannot be written: {error.strerror}.") from None
