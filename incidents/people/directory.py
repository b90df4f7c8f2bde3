"""The people directory: who the affected people can be, and how they are reached.

One JSON object per line. The whole file is checked before the first person is written; people go to the
vault in batches (repeating an interrupted load completes it), and the log gets one event with their number
and a digest. The digest is a Merkle root over pseudonym and hash of each profile: pseudonyms are random, so
nobody can test a guess about a person against it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from incidents.errors import LineError
from incidents.law.places import is_place
from incidents.people.ndjson import Fields, digest, records
from ledger import OwnEvent
from ledger.encoding import canonical
from ledger.merkle import leaf_hash, root_hash
from notifiers.messages import is_email

if TYPE_CHECKING:
    from ledger import Ledger

LOADED: Final = "org.tocsin.directory.loaded.v1"
BATCH: Final = 500

Progress = Callable[[int, int], None]
"""Called with (done, total) in people or bytes; the unit is the same within one stage."""

_FIELDS: Final = frozenset({"id", "name", "language", "jurisdiction", "born", "guardians", "contacts"})
_CHANNELS: Final = frozenset({"email", "sms", "push", "letter", "voice"})
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*", re.ASCII)
_PHONE = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)
_LINES: Final = 8


@dataclass(frozen=True)
class Loaded:
    """What a load did: how many records, their digest (hex), and the log entry that says so."""

    count: int
    digest: str
    index: int


@dataclass(frozen=True)
class Person:
    """One checked line of the directory; `guardians` are ids of the same directory."""

    id: str
    profile: dict[str, Any]
    guardians: tuple[str, ...]


def check_person(record: dict[str, Any], line: int, today: date) -> Person:
    """Check one line.

    Raises:
        LineError: naming line and field.
    """
    fields = Fields(record, line)
    fields.only(_FIELDS)
    identity = fields.text("id", 200)
    jurisdiction = fields.text("jurisdiction", 16)
    if not is_place(jurisdiction):
        raise fields.fail("jurisdiction", "unknown code; use ISO 3166-1 (ES) or a subdivision such as US-CA.")
    language = fields.text("language", 35)
    if _LANGUAGE.fullmatch(language) is None:
        raise fields.fail("language", "not a BCP 47 language tag such as es or zh-Hans.")
    guardians = fields.texts("guardians", 200)
    if identity in guardians:
        raise fields.fail("guardians", "nobody is their own guardian.")
    profile = {
        "id": identity,
        "name": fields.text("name", 200),
        "language": language,
        "jurisdiction": jurisdiction,
        "born": _born(fields, today),
        "contacts": _contacts(fields),
    }
    return Person(identity, profile, tuple(guardians))


def _born(fields: Fields, today: date) -> str | None:
    value = fields.record.get("born")
    if value is None:
        return None
    try:
        born = date.fromisoformat(value) if isinstance(value, str) and len(value) == len("2014-05-02") else None
    except ValueError:
        born = None
    if born is None or born > today:
        raise fields.fail("born", "not a past date of the form 2014-05-02, nor null.")
    return born.isoformat()


def _contacts(fields: Fields) -> dict[str, Any]:
    contacts = fields.record.get("contacts", {})
    if not isinstance(contacts, dict) or not set(contacts) <= _CHANNELS:
        raise fields.fail("contacts", f"an object with only {', '.join(sorted(_CHANNELS))} is required.")
    inner = Fields(contacts, fields.line)
    checked: dict[str, Any] = {}
    for channel in sorted(contacts):
        name = f"contacts/{channel}"
        if channel == "letter":
            checked[channel] = [_address(fields, item) for item in _listed(fields, name, contacts[channel])]
            continue
        try:
            values = inner.texts(channel, 4096 if channel == "push" else 254)
        except LineError as error:
            raise fields.fail(name, "a list of texts without repetition is required.") from error
        for position, value in enumerate(values):
            if channel == "email" and not is_email(value):
                raise fields.fail(name, f"item {position + 1} is not an e-mail address (ASCII, user@host).")
            if channel in ("sms", "voice") and _PHONE.fullmatch(value) is None:
                raise fields.fail(name, f"item {position + 1} is not a number such as +34600000000.")
        checked[channel] = values
    return {channel: values for channel, values in checked.items() if values}


def _listed(fields: Fields, name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise fields.fail(name, "a list is required here.")
    return value


def _address(fields: Fields, value: Any) -> list[str]:
    good = isinstance(value, list) and 2 <= len(value) <= _LINES  # noqa: PLR2004 - a name and a place at least
    if not good or not all(isinstance(item, str) and item.strip() and item.isprintable() for item in value):
        raise fields.fail("contacts/letter", f"an address is a list of 2 to {_LINES} printable lines.")
    return list(value)


def load_directory(ledger: Ledger, path: Path, *, by: str, progress: Progress | None = None) -> Loaded:
    """Check the file, put its people into the vault, and record that it was done.

    Args:
        ledger: where to.
        path: NDJSON file.
        by: pseudonym of who loads it.
        progress: told (done, total) people.

    Raises:
        LineError: a line is wrong; nothing was written.
    """
    before, total = _check_all(ledger, path)
    leaves: list[bytes] = []
    for batch in _batches(path, ledger):
        with ledger.database.write() as connection:
            for person in batch:
                refs = [ledger.vault.refer(connection, "subject", item) for item in person.guardians]
                profile = {**person.profile, "guardians": refs}
                ref = ledger.vault.refer(connection, "subject", person.id, profile)
                leaves.append(leaf_hash(ref.encode() + b"\n" + sha256(canonical(profile)).digest()))
        if progress is not None:
            progress(len(leaves), total)
    if digest(path) != before:
        raise LineError(f"{path.name} changed while it was loaded; load it again.")
    root = root_hash(sorted(leaves)).hex()
    data = {"count": len(leaves), "digest": root, "by": by}
    return Loaded(len(leaves), root, ledger.record([OwnEvent(type=LOADED, data=data)])[0])


def _check_all(ledger: Ledger, path: Path) -> tuple[bytes, int]:
    """Check every line and that every guardian exists; the file's digest and number of people."""
    today = ledger.clock().date()
    ids: dict[str, int] = {}
    wanted: dict[str, int] = {}
    for line, record in records(path):
        person = check_person(record, line, today)
        if person.id in ids:
            raise LineError(
                f"Line {line}, field id: the same id is on line {ids[person.id]}; keep one of them.",
                line=line,
                field="/id",
            )
        ids[person.id] = line
        for guardian in person.guardians:
            wanted.setdefault(guardian, line)
    if not ids:
        raise LineError(f"{path.name} holds no people; every line must be one JSON object.")
    for guardian, line in wanted.items():
        if guardian not in ids and ledger.vault.find("subject", guardian) is None:
            raise LineError(
                f"Line {line}, field guardians: a guardian is neither in this file nor "
                "loaded before; add a line for them.",
                line=line,
                field="/guardians",
            )
    return digest(path), len(ids)


def _batches(path: Path, ledger: Ledger) -> Iterator[list[Person]]:
    today = ledger.clock().date()
    batch: list[Person] = []
    for line, record in records(path):
        batch.append(check_person(record, line, today))
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
