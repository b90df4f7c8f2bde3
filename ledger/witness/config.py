"""A witness's directory: what is in it, how it is made.

witness.toml       name, verifier key, and where the secret key is
witness.db         the logs it knows and what it last cosigned of each
keys/witness.key   its cosigning key

Key and memory belong together: a copy of the directory, or the key beside an older memory, is a second
witness under the same name, and two of them can be made to contradict each other.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ledger.errors import ConfigError, KeyMismatchError, NoteError
from ledger.keys import fsync_directory, make_directories, read_key, write_key
from ledger.notes import CosignatureSigner
from ledger.witness.store import WitnessStore

CONFIG: Final = "witness.toml"
DATABASE: Final = "witness.db"
SIGNING_KEY: Final = "file:keys/witness.key"


@dataclass(frozen=True, slots=True)
class WitnessConfig:
    """What `witness.toml` says.

    Attributes:
        name: the witness's name, a URL without scheme.
        vkey: its verifier key; what policies pin.
        signing_key: key URI, see `ledger.keys`.
    """

    name: str
    vkey: str
    signing_key: str


def make_witness(
    directory: Path, name: str, *, entropy: Callable[[int], bytes] = os.urandom
) -> tuple[WitnessConfig, bool]:
    """Make a witness, or complete one whose making was cut short; says whether it is new.

    The configuration comes last: until it is there nothing was cosigned and nothing can be served.

    Raises:
        ConfigError: the name is not usable, another witness is there, or the directory cannot be written.
    """
    if (directory / CONFIG).exists():
        config = read_witness_config(directory)
        if config.name != name:
            raise ConfigError(f"{directory} already holds the witness {config.name}; choose another directory.")
        return config, False
    try:
        signer = CosignatureSigner.from_seed(name, entropy(32))
        make_directories(directory)
    except NoteError as error:
        raise ConfigError(
            f"The name cannot be used. {error} Use a URL without scheme, such as witness.example/w1."
        ) from None
    except OSError as error:
        raise ConfigError(f"The witness's directory {directory} cannot be made: {error.strerror}.") from None
    path = directory / SIGNING_KEY.removeprefix("file:")
    if path.exists():
        signer = _read_signer(SIGNING_KEY, directory)
        if signer.name != name:
            raise ConfigError(f"{directory} already holds the key of {signer.name}; choose another directory.")
    else:
        write_key(path, signer.private_key)
    WitnessStore.create(directory / DATABASE).close()
    config = WitnessConfig(signer.name, signer.vkey, SIGNING_KEY)
    _write_config(directory, config)
    return config, True


def read_witness_config(directory: Path) -> WitnessConfig:
    """Read the configuration of a witness.

    Raises:
        ConfigError: missing or malformed.
    """
    path = directory / CONFIG
    try:
        section = tomllib.loads(path.read_text("utf-8")).get("witness")
    except FileNotFoundError:
        raise ConfigError(
            f"There is no witness in {directory}; make one with `tocsin witness init --data {directory} --name NAME`.",
        ) from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise ConfigError(f"{path} is not valid TOML; put it back from your backup.") from None
    names = ("name", "vkey", "signing_key")
    if not isinstance(section, dict) or any(not isinstance(section.get(item), str) for item in names):
        raise ConfigError(f"{path} must have a [witness] section with {', '.join(names)}.")
    return WitnessConfig(*(section[item] for item in names))


def load_cosigner(config: WitnessConfig, directory: Path) -> CosignatureSigner:
    """The witness's signer.

    Raises:
        ConfigError: the key is missing, malformed, or not the one the configuration names.
    """
    signer = _read_signer(config.signing_key, directory)
    if signer.vkey != config.vkey:
        raise KeyMismatchError(
            f"The key behind {config.signing_key} is not this witness's. "
            f"Put back the key whose vkey stands in {directory / CONFIG}.",
        )
    return signer


def _read_signer(uri: str, directory: Path) -> CosignatureSigner:
    text = read_key(uri, directory)
    try:
        return CosignatureSigner.from_private_key(text)
    except NoteError:
        raise ConfigError(f"The cosigning key behind {uri} is malformed; put it back from your backup.") from None


def _write_config(directory: Path, config: WitnessConfig) -> None:
    text = (
        "# Made by tocsin witness init. Policies pin the vkey. The key is secret, and it must never be used\n"
        "# with an older copy of witness.db: see docs/witness.md.\n"
        "[witness]\n"
        f"name = {json.dumps(config.name)}\n"
        f"vkey = {json.dumps(config.vkey)}\n"
        f"signing_key = {json.dumps(config.signing_key)}\n"
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
