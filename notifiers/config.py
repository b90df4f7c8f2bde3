"""Where messages go is configured in a file beside the data, never over the network.

`notifiers.toml` in the data directory:

    [organisation]            # who speaks; see `messages.Sender`
    name = "Example Clinic"
    email = "notices@example.org"

    [email]
    host = "relay.example.org"
    port = 587
    tls = "starttls"          # or "implicit", or "none" on loopback
    sender = "bounces@example.org"
    username = "notices"
    password_file = "keys/smtp"
    rate = 100                # messages per second the relay grants

    [sms]                     # [push] alike
    url = "https://gateway.example.org/send"
    token_file = "keys/sms"

    [letter]
    folder = "letters"
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from notifiers.adapters import Adapter
from notifiers.adapters.http import HttpAdapter
from notifiers.adapters.letter import LetterAdapter
from notifiers.adapters.smtp import SmtpAdapter
from notifiers.errors import AdapterError
from notifiers.messages import Sender

FILE: Final = "notifiers.toml"

_TABLES: Final[Mapping[str, Mapping[str, type | tuple[type, ...]]]] = {
    "email": {
        "connections": int,
        "host": str,
        "password_file": str,
        "port": int,
        "rate": (int, float),
        "sender": str,
        "tls": str,
        "username": str,
    },
    "sms": {"deduplicates": bool, "rate": (int, float), "sender": str, "token_file": str, "url": str},
    "push": {"deduplicates": bool, "rate": (int, float), "token_file": str, "url": str},
    "letter": {"folder": str, "rate": (int, float)},
    "organisation": {
        "email": str,
        "name": str,
        "phone": str,
        "postal": list,
        "reply_to": str,
        "sms": str,
        "website": str,
    },
}
_REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "email": ("host", "sender"),
    "sms": ("url",),
    "push": ("url",),
    "letter": ("folder",),
    "organisation": ("name", "email"),
}


@dataclass(frozen=True)
class Configured:
    """What the file says.

    Attributes:
        sender: the organisation; None where the file does not name one.
        adapters: one per configured channel.
    """

    sender: Sender | None
    adapters: tuple[Adapter, ...]


def read_config(directory: Path) -> Configured:
    """Read `notifiers.toml`; without it nothing is configured and nothing can be sent.

    Raises:
        AdapterError: names the file and the field that is wrong or missing.
        MessageError: the organisation's details cannot stand in a header.
    """
    path = directory / FILE
    if not path.exists():
        return Configured(None, ())
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise AdapterError(f"{FILE} is not valid TOML; correct it.") from None
    for name, table in tables.items():
        _check(name, table)
    sender = Sender.from_json(tables["organisation"]) if "organisation" in tables else None
    adapters: list[Adapter] = []
    if "email" in tables:
        adapters.append(_email(directory, tables["email"]))
    adapters.extend(_http(directory, name, tables[name], sender) for name in ("sms", "push") if name in tables)
    if "letter" in tables:
        if sender is None:
            raise AdapterError(f"{FILE}: letters need a letterhead; add a table [organisation].")
        table = tables["letter"]
        adapters.append(LetterAdapter(directory / table["folder"], sender, rate=table.get("rate")))
    return Configured(sender, tuple(adapters))


def _check(name: str, table: Any) -> None:
    known = _TABLES.get(name)
    if known is None or not isinstance(table, dict):
        raise AdapterError(f"{FILE} has an unknown table or key; the tables are {', '.join(sorted(_TABLES))}.")
    for field, value in table.items():
        kind = known.get(field)
        if kind is None:
            raise AdapterError(f"{FILE}: [{name}] has an unknown field; known are {', '.join(sorted(known))}.")
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise AdapterError(f"{FILE}: {name}.{field} is not of its type.")
        if field == "rate" and isinstance(value, int | float) and value <= 0:
            raise AdapterError(f"{FILE}: {name}.rate must be above zero; leave it out for no limit.")
    for field in _REQUIRED[name]:
        if not table.get(field):
            raise AdapterError(f"{FILE}: {name}.{field} is missing.")


def _email(directory: Path, table: Mapping[str, Any]) -> SmtpAdapter:
    tls = table.get("tls", "starttls")
    if tls not in ("none", "starttls", "implicit"):
        raise AdapterError(f'{FILE}: email.tls is "none", "starttls" or "implicit".')
    return SmtpAdapter(
        host=table["host"],
        port=table.get("port", 587),
        sender=table["sender"],
        tls=tls,
        username=table.get("username", ""),
        password=_secret(directory, table, "password_file"),
        connections=table.get("connections", 8),
        rate=table.get("rate"),
    )


def _http(directory: Path, name: str, table: Mapping[str, Any], sender: Sender | None) -> HttpAdapter:
    return HttpAdapter(
        channel="sms" if name == "sms" else "push",
        url=table["url"],
        token=_secret(directory, table, "token_file"),
        sender=table.get("sender", sender.sms if sender is not None and name == "sms" else ""),
        rate=table.get("rate"),
        deduplicates=table.get("deduplicates", False),
    )


def _secret(directory: Path, table: Mapping[str, Any], field: str) -> str:
    """A secret stands in a file of its own, with its own rights, not in the configuration."""
    if field not in table:
        return ""
    try:
        return (directory / str(table[field])).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise AdapterError(f"{FILE}: the file named by {field} cannot be read; check its path and rights.") from None
