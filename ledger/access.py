"""Who touched what: a read model of the log with one row per event and data subject.

It follows the log with a tracked position in the same transaction, so every event is indexed exactly
once; it can be dropped and made again, and `tocsin verify` compares it with the log. Rows carry the
leaf index, so whatever is found here can be proven there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, Final

from ledger.encoding import parse
from ledger.entries import Entry, StoredEntry
from ledger.store.connection import Connection
from ledger.store.database import Database
from ledger.store.log import read_entries, read_head
from ledger.vocabulary import family_verb

NAME: Final = "access"
PAGE: Final = 1000

TABLES: Final = """
CREATE TABLE IF NOT EXISTS access_row (
    position   INTEGER NOT NULL,
    part       INTEGER NOT NULL,
    time       TEXT NOT NULL,
    type       TEXT NOT NULL,
    action     TEXT NOT NULL,
    outcome    TEXT NOT NULL,
    actor      TEXT,
    credential TEXT,
    address    TEXT,
    resource   TEXT,
    container  TEXT,
    subject    TEXT,
    PRIMARY KEY (position, part)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS access_actor ON access_row (actor, time);
CREATE INDEX IF NOT EXISTS access_credential ON access_row (credential, time);
CREATE INDEX IF NOT EXISTS access_address ON access_row (address, time);
CREATE INDEX IF NOT EXISTS access_resource ON access_row (resource, time);
CREATE INDEX IF NOT EXISTS access_subject ON access_row (subject, time)
"""


@dataclass(frozen=True, slots=True)
class Access:
    """One touch of one person's data, or of a resource when the event names no people.

    Attributes:
        index: leaf index of the event.
        time: RFC 3339 time of occurrence.
        type: event type.
        action: `family.verb` of the type.
        outcome: success, failure, denied, error, or "" when the event does not say.
        actor, credential, address: refs, or None.
        resource, container: ids as the producer gave them, or None.
        subject: ref of the person, or None.
    """

    index: int
    time: str
    type: str
    action: str
    outcome: str
    actor: str | None
    credential: str | None
    address: str | None
    resource: str | None
    container: str | None
    subject: str | None


@dataclass(frozen=True, slots=True)
class Criteria:
    """Which accesses to find: alternatives within a field, all fields together; empty means any.

    Attributes:
        actors, credentials, addresses, subjects: refs.
        resources, containers: ids.
        actions: `family.verb`.
        outcomes: outcomes.
        since, until: RFC 3339 UTC times as `ledger.encoding.format_time` writes them, half-open.
    """

    actors: Sequence[str] = ()
    credentials: Sequence[str] = ()
    addresses: Sequence[str] = ()
    resources: Sequence[str] = ()
    containers: Sequence[str] = ()
    subjects: Sequence[str] = ()
    actions: Sequence[str] = ()
    outcomes: Sequence[str] = ()
    since: str | None = None
    until: str | None = None


_COLUMNS: Final = tuple(field.name for field in fields(Access))[1:]
_CRITERIA: Final = (
    ("actors", "actor"),
    ("credentials", "credential"),
    ("addresses", "address"),
    ("resources", "resource"),
    ("containers", "container"),
    ("subjects", "subject"),
    ("actions", "action"),
    ("outcomes", "outcome"),
)


_SHORT: Final = 400
"""Characters that are short enough in any case: 1,600 bytes at most."""
_LONGEST: Final = 2000
"""Most bytes of a resource's name in the index."""
_NOTHING: Final[dict[str, Any]] = {}
_NOBODY: Final = ({"ref": None},)


@lru_cache(maxsize=4096)
def action_of(event_type: str) -> str | None:
    """`family.verb` of a type whose events are indexed, None for all others."""
    action = family_verb(event_type)
    return action if action is not None and action.startswith(("data.", "access.")) else None


def storable(text: str) -> str:
    """A resource's name as it stands in the index, which every store must be able to keep.

    PostgreSQL keeps no U+0000 in a text and no more than some 2,700 bytes in a row of an index; a longer name
    stands there as its beginning and its SHA-256.
    """
    text = text.replace("\0", "\N{SYMBOL FOR NULL}")
    if len(text) > _SHORT and len(raw := text.encode()) > _LONGEST:
        return f"{text[:_SHORT]} sha256:{hashlib.sha256(raw).hexdigest()}"
    return text


def index_rows(position: int, time: str, event_type: str, action: str, payload: Any) -> list[tuple[Any, ...]]:
    """The rows of the index that an event accounts for.

    Args:
        position: its leaf index plus one.
        time: when it happened, from its entry.
        event_type: its type.
        action: what `action_of` says of the type.
        payload: its payload, decoded.

    Raises:
        AttributeError, KeyError, TypeError: the payload is not one that Tocsin makes.
    """
    data = payload.get("data")
    if not isinstance(data, dict):
        return []
    get = data.get
    actor, resource, client = get("actor") or _NOTHING, get("resource") or _NOTHING, get("client") or _NOTHING
    outcome, who, credential = get("outcome") or "", actor.get("id"), get("credential")
    address, what, container = client.get("ip_ref"), resource.get("id"), resource.get("container")
    if what is not None and (len(what) > _SHORT or "\0" in what):
        what = storable(what)
    if container is not None and (len(container) > _SHORT or "\0" in container):
        container = storable(container)
    rows: list[tuple[Any, ...]] = []
    # Not a comprehension, which takes half as long again for the usual single row.
    for subject in get("subjects") or _NOBODY:
        rows.append(
            (position, len(rows), time, event_type, action, outcome, who, credential, address, what, container,
             subject["ref"])
        )  # fmt: skip
    return rows


def accesses(stored: StoredEntry, entry: Entry | None = None) -> list[Access]:
    """What one entry says about accesses; empty for events of other kinds and erased payloads."""
    if stored.payload is None:
        return []
    entry = entry or stored.decode()
    action = action_of(entry.type)
    if action is None:
        return []
    rows = index_rows(stored.index + 1, entry.time, entry.type, action, parse(stored.payload))
    return [Access(stored.index, *row[2:]) for row in rows]


class AccessIndex:
    """The access read model of one ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def follow(self) -> int:
        """Index what the log has gained; returns how many entries were read."""
        read = 0
        while True:
            with self._database.write() as connection:
                start = _tracked(connection)
                page = list(read_entries(connection, start, start + PAGE))
                if page:
                    _insert(connection, page)
                    connection.execute(
                        "INSERT INTO tracking VALUES (?, ?)"
                        " ON CONFLICT (name) DO UPDATE SET position = excluded.position",
                        (NAME, start + len(page)),
                    )
            read += len(page)
            if len(page) < PAGE:
                return read

    def matches(self, criteria: Criteria, size: int) -> Iterator[Access]:
        """Accesses among the first `size` entries that meet the criteria, in log order."""
        sql, values = _where(criteria)
        columns = ", ".join(_COLUMNS)
        while True:
            self.follow()
            with self._database.read() as connection:
                # The index may have been begun anew in between: then read on rather than answer "nobody".
                if _tracked(connection) < min(size, read_head(connection).size):
                    continue
                cursor = connection.stream(
                    # Only column names of this module are spliced in; every value is bound.
                    f"SELECT position, {columns} FROM access_row WHERE position <= ?{sql} ORDER BY position, part",  # noqa: S608
                    [size, *values],
                )
                for row in cursor:
                    yield Access(row["position"] - 1, *(row[name] for name in _COLUMNS))
                return


def _where(criteria: Criteria) -> tuple[str, list[Any]]:
    sql = ""
    values: list[Any] = []
    for name, column in _CRITERIA:
        wanted = getattr(criteria, name)
        if wanted:
            sql += f" AND {column} IN ({', '.join('?' * len(wanted))})"
            values.extend(map(storable, wanted))
    for moment, operator in ((criteria.since, ">="), (criteria.until, "<")):
        if moment is not None:
            sql += f" AND time {operator} ?"
            values.append(moment)
    return sql, values


def _tracked(connection: Connection) -> int:
    row = connection.execute("SELECT position FROM tracking WHERE name = ?", (NAME,)).fetchone()
    return 0 if row is None else int(row["position"])


def _insert(connection: Connection, page: Sequence[StoredEntry]) -> None:
    rows: list[tuple[Any, ...]] = []
    for stored in page:
        entry = stored.decode()
        action = action_of(entry.type)
        if stored.payload is not None and action is not None:
            rows += index_rows(stored.index + 1, entry.time, entry.type, action, parse(stored.payload))
    connection.insert("access_row", f"position, part, {', '.join(_COLUMNS)}", rows)
