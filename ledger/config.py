"""The data directory: what is in it, how it is made, how its configuration is read and changed.

tocsin.toml       origin, verifier key, and where the secret keys are
ledger.db         the log, the vault and all read models
keys/ledger.key   the log's signing key
keys/vault.key    the vault's key-encryption key

`[ledger]` has the log and its current keys. `[[key]]` lists every key that has signed it, in order, with
the checkpoint sizes it signed (`from`, `to`; the newest has no `to`). `[next_key]` is there while a
rotation is under way, `[restored]` while a restored copy is not confirmed, `[store]` where
the log lies in a PostgreSQL server. Sections of other parts are
kept as they are when this module rewrites the file; comments are not.
"""

from __future__ import annotations

import base64
import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ledger.errors import ConfigError
from ledger.keys import KEK_SIZE, encode_kek, fsync_directory, load_signer, make_directories, read_key, write_key
from ledger.notes import Signer

CONFIG: Final = "tocsin.toml"
DATABASE: Final = "ledger.db"
SIGNING_KEY: Final = "file:keys/ledger.key"
VAULT_KEY: Final = "file:keys/vault.key"

_LEDGER: Final = ("origin", "vkey", "signing_key", "vault_key")
_ORIGIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~:/-]{0,254}", re.ASCII)


@dataclass(frozen=True, slots=True)
class KeyPeriod:
    """A log key and the checkpoints it signed.

    Attributes:
        vkey: the key.
        first: smallest checkpoint size it signs; 0 for the first key of the log.
        last: largest one, which the next key signs as well; None for the current key.
    """

    vkey: str
    first: int
    last: int | None = None


@dataclass(frozen=True, slots=True)
class NextKey:
    """The key that a rotation under way will sign with.

    Attributes:
        vkey: its verifier key.
        signing_key: its URI.
    """

    vkey: str
    signing_key: str


@dataclass(frozen=True, slots=True)
class Restored:
    """A copy put back from a backup that nobody has confirmed yet.

    Attributes:
        id: random, hex; names this restoration.
        size: entries it had.
        root: root over them, hex.
        taken: when the backup was taken, RFC 3339.
        database: hex SHA-256 of the backed-up database file.
    """

    id: str
    size: int
    root: str
    taken: str
    database: str


@dataclass(frozen=True, slots=True)
class Store:
    """A PostgreSQL store; without one the ledger is a file beside its configuration.

    Attributes:
        url: `postgresql://…`, or a key URI (`env:NAME`, `file:PATH`) of a text that holds it, so that a
            password need not stand in the configuration.
        schema: the schema that has the ledger's tables, one ledger in each.
    """

    url: str = field(repr=False)
    schema: str = "tocsin"


@dataclass(frozen=True, slots=True)
class Config:
    """What `tocsin.toml` says.

    Attributes:
        origin: the log's name, as in its checkpoints (a URL without scheme).
        vkey: the log's verifier key; what others pin.
        signing_key, vault_key: key URIs, see `ledger.keys`.
        keys: every key that signed the log, in order, the last being `vkey`.
        next_key: set while a rotation is under way.
        restored: set while a restored copy is unconfirmed; nothing is signed then.
        instance: id of the restoration this directory came from, "" for an original.
        store: where the log is kept; None for the file `ledger.db`.
        others: sections that this module does not know.
    """

    origin: str
    vkey: str
    signing_key: str
    vault_key: str
    keys: tuple[KeyPeriod, ...] = ()
    next_key: NextKey | None = None
    restored: Restored | None = None
    instance: str = ""
    store: Store | None = None
    others: Mapping[str, Any] = field(default_factory=dict)


def read_config(directory: Path) -> Config:
    """Read the configuration of a data directory.

    Raises:
        ConfigError: missing or malformed.
    """
    path = directory / CONFIG
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"There is no ledger in {directory}; make one with `tocsin init --data {directory}`."
        ) from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not valid TOML; restore it from your backup.") from None
    return parse_config(text, str(path))


def parse_config(text: str, where: str) -> Config:
    """Read the text of a `tocsin.toml`; `where` names it in errors.

    Raises:
        ConfigError: malformed.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise ConfigError(f"{where} is not valid TOML; restore it from your backup.") from None
    section = _strings(values.pop("ledger", None), _LEDGER)
    if section is None:
        raise ConfigError(f"{where} must have a [ledger] section with {', '.join(_LEDGER)}.")
    rest = values.pop("key", [])
    following, restored, instance, store = (
        values.pop(name, None) for name in ("next_key", "restored", "instance", "store")
    )
    try:
        keys = tuple(KeyPeriod(item["vkey"], item["from"], item.get("to")) for item in rest)
        waiting = None if following is None else NextKey(following["vkey"], following["signing_key"])
        copy = None if restored is None else Restored(*(restored[name] for name in Restored.__dataclass_fields__))
        name = "" if instance is None else str(instance["id"])
        place = None if store is None else Store(str(store["url"]), str(store.get("schema", "tocsin")))
    except (KeyError, TypeError, AttributeError):
        raise ConfigError(
            f"{where}: [[key]], [next_key], [restored], [instance] or [store] lacks a field; put it back as it was."
        ) from None
    if any(not _is_period(item) for item in keys) or (keys and keys[-1].vkey != section["vkey"]):
        raise ConfigError(f"{where}: the last [[key]] must be the vkey of [ledger], each with its sizes.")
    return Config(
        **section,
        keys=keys or (KeyPeriod(section["vkey"], 0),),
        next_key=waiting,
        restored=copy,
        instance=name,
        store=place,
        others=values,
    )


def _strings(section: object, names: Sequence[str]) -> dict[str, str] | None:
    if not isinstance(section, dict) or any(not isinstance(section.get(name), str) for name in names):
        return None
    return {name: section[name] for name in names}


def _is_period(item: KeyPeriod) -> bool:
    return type(item.vkey) is str and type(item.first) is int and type(item.last) in (int, type(None))


def check_origin(origin: str) -> None:
    """Refuse an origin that others could not pin.

    Raises:
        ConfigError: it is not a URL without scheme.
    """
    if _ORIGIN.fullmatch(origin) is None:
        raise ConfigError(
            "The origin must be a URL without scheme, such as example.org/audit: letters, digits and . _ ~ : / -"
        )


def make_directory(
    directory: Path, origin: str | None, entropy: Callable[[int], bytes], store: Store | None = None
) -> Config:
    """Make a data directory, or complete one whose making was cut short.

    Keys come first and the configuration last, in one rename: a directory without `tocsin.toml` is not
    a ledger yet and is completed by the next call; nothing that exists is overwritten.

    Raises:
        ConfigError: the origin is not usable, or the directory cannot be written.
    """
    if origin is not None:
        check_origin(origin)
    try:
        make_directories(directory)
    except OSError as error:
        raise ConfigError(f"The data directory {directory} cannot be made: {error.strerror}.") from None
    if (directory / CONFIG).exists():
        config = read_config(directory)
        if origin is not None and origin != config.origin:
            raise ConfigError(f"{directory} already holds the ledger {config.origin}; choose another directory.")
        if store is not None and store != config.store:
            raise ConfigError(f"The ledger in {directory} is kept in another store; choose another directory.")
        return config
    signer = _signing_key(directory, origin, entropy)
    vault_key = directory / VAULT_KEY.removeprefix("file:")
    if not vault_key.exists():
        write_key(vault_key, encode_kek(entropy(KEK_SIZE)))
    config = Config(signer.name, signer.vkey, SIGNING_KEY, VAULT_KEY, (KeyPeriod(signer.vkey, 0),), store=store)
    write_config(directory, config)
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


def write_config(directory: Path, config: Config) -> None:
    """Replace the configuration, durably and in one step; only its owner may read it: a url may hold a password.

    Raises:
        ConfigError: it cannot be written.
    """
    temporary = directory / f".{CONFIG}.{os.getpid()}.new"
    try:
        # What a killed process of the same number left may be open to others.
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(format_config(config))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(directory / CONFIG)
        fsync_directory(directory)
    except OSError as error:
        raise ConfigError(f"{directory / CONFIG} cannot be written: {error.strerror}.") from None


def format_config(config: Config) -> str:
    """The text of a `tocsin.toml`."""
    values: dict[str, Any] = {"ledger": {name: getattr(config, name) for name in _LEDGER}}
    if len(config.keys) > 1:
        values["key"] = [
            {"vkey": item.vkey, "from": item.first} | ({} if item.last is None else {"to": item.last})
            for item in config.keys
        ]
    if config.next_key is not None:
        values["next_key"] = {"vkey": config.next_key.vkey, "signing_key": config.next_key.signing_key}
    if config.restored is not None:
        values["restored"] = {name: getattr(config.restored, name) for name in Restored.__dataclass_fields__}
    if config.instance:
        values["instance"] = {"id": config.instance}
    if config.store is not None:
        values["store"] = {"url": config.store.url, "schema": config.store.schema}
    simple = {name: value for name, value in config.others.items() if not _is_section(value)}
    sections = values | {name: value for name, value in config.others.items() if name not in simple}
    lines = ["# Made by tocsin. Others pin the origin and the vkey; the keys are secret: back them up apart."]
    lines += [f"{_toml_key(name)} = {_toml(value)}" for name, value in simple.items()]
    for name, value in sections.items():
        several = isinstance(value, list)
        for item in value if several else [value]:
            lines.append(f"[[{_toml_key(name)}]]" if several else f"[{_toml_key(name)}]")
            lines += [f"{_toml_key(key)} = {_toml(part)}" for key, part in item.items()]
    return "\n".join(lines) + "\n"


def _is_section(value: object) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(item, dict) for item in value)
    return isinstance(value, dict)


def _toml(value: Any) -> str:
    """A TOML value on one line; tables inside sections become inline tables."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # A JSON string is a TOML basic string, but for DEL.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_toml_key(key)} = {_toml(item)}' for key, item in value.items())}}}"
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _toml_key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name, re.ASCII) else _toml(name)
