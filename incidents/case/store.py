"""Tables beside the log that belong to incidents; every row is written with the log entry behind it.

The log is the truth: `incident_index` and `incident_entry` are read models, `incident_affected` holds the
sets whose roots the log names (pseudonyms only; it is what an erasure may delete while the root stays).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from incidents.clocks import deadlines
from incidents.errors import IncidentError
from incidents.people import inventory
from incidents.people.affected import AffectedSet
from ledger.errors import ErasedError
from ledger.store.connection import Connection

SCHEMA: Final = (
    """
CREATE TABLE IF NOT EXISTS incident_index (
    incident TEXT PRIMARY KEY,
    uuid     TEXT NOT NULL UNIQUE,
    year     INTEGER NOT NULL,
    number   INTEGER NOT NULL,
    UNIQUE (year, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS incident_entry (
    incident TEXT NOT NULL,
    leaf     INTEGER NOT NULL,
    version  INTEGER,
    type     TEXT NOT NULL,
    time     TEXT NOT NULL,
    note     TEXT NOT NULL,
    PRIMARY KEY (incident, leaf)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS incident_affected (
    root    TEXT PRIMARY KEY,
    count   INTEGER NOT NULL,
    members BLOB NOT NULL
) WITHOUT ROWID;
"""
    + deadlines.SCHEMA
    + ";"
    + inventory.SCHEMA
)


@dataclass(frozen=True)
class LoggedEntry:
    """An entry of the log about an incident; `version` is None for events outside the aggregate."""

    leaf: int
    version: int | None
    type: str
    time: str
    note: str


def next_number(connection: Connection, year: int) -> int:
    """The next free number of a year."""
    row = connection.execute("SELECT max(number) FROM incident_index WHERE year = ?", (year,)).fetchone()
    return 1 if row[0] is None else int(row[0]) + 1


def add_incident(connection: Connection, incident: str, uuid: str, year: int, number: int) -> None:
    """List a new incident."""
    connection.execute("INSERT INTO incident_index VALUES (?, ?, ?, ?)", (incident, uuid, year, number))


def incidents(connection: Connection) -> list[str]:
    """Short ids of all incidents, oldest first."""
    rows = connection.execute("SELECT incident FROM incident_index ORDER BY year, number")
    return [str(row["incident"]) for row in rows]


def exists(connection: Connection, incident: str) -> bool:
    """Whether there is such an incident."""
    row = connection.execute("SELECT 1 FROM incident_index WHERE incident = ?", (incident,)).fetchone()
    return row is not None


def incident_of(connection: Connection, uuid: str) -> str | None:
    """Short id of the incident with this stream, None when it is another stream."""
    row = connection.execute("SELECT incident FROM incident_index WHERE uuid = ?", (uuid,)).fetchone()
    return None if row is None else str(row["incident"])


def add_entries(connection: Connection, incident: str, entries: Sequence[LoggedEntry]) -> None:
    """Note which log entries are about an incident."""
    connection.executemany(
        "INSERT INTO incident_entry VALUES (?, ?, ?, ?, ?, ?)",
        [(incident, item.leaf, item.version, item.type, item.time, item.note) for item in entries],
    )


def entries(connection: Connection, incident: str) -> list[LoggedEntry]:
    """Log entries about an incident, in log order."""
    rows = connection.execute(
        "SELECT leaf, version, type, time, note FROM incident_entry WHERE incident = ? ORDER BY leaf", (incident,)
    )
    return [LoggedEntry(**dict(row)) for row in rows]


def keep_affected(connection: Connection, found: AffectedSet) -> None:
    """Keep a frozen set under its root; the same set is kept once."""
    connection.execute(
        "INSERT INTO incident_affected VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (found.root, found.count, zlib.compress(found.encode())),
    )


def read_affected(connection: Connection, root: str) -> AffectedSet:
    """The frozen set with this root.

    Raises:
        ErasedError: it was deleted.
        IncidentError: what is stored does not have this root.
    """
    row = connection.execute("SELECT members FROM incident_affected WHERE root = ?", (root,)).fetchone()
    if row is None:
        raise ErasedError("The members of this affected set were erased; its root and numbers remain in the log.")
    try:
        found = AffectedSet.decode(zlib.decompress(row["members"]))
    except (zlib.error, TypeError, KeyError, ValueError):
        found = None
    if found is None or found.root != root:
        raise IncidentError("The stored affected set does not have the root that the log names; scope again.")
    return found
