"""What is kept beside the ledger about its witnesses: cosigned checkpoints, hints, evidence.

Tables of the ledger's database, outside the log: a checkpoint must not change because it was witnessed.
All of it but the evidence can be had again by asking the witnesses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final

from ledger.encoding import format_time
from ledger.errors import VerificationError
from ledger.notes import split_note
from ledger.store.catalogue import has_table
from ledger.store.connection import Connection
from ledger.witness.evidence import Evidence, Kind

TABLES: Final = """
CREATE TABLE IF NOT EXISTS witness_publication (
    size         INTEGER PRIMARY KEY,
    note         BLOB    NOT NULL,
    witnessed_at TEXT    NOT NULL
);

CREATE TABLE IF NOT EXISTS witness_hint (
    vkey TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    time INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS witness_evidence (
    about   TEXT PRIMARY KEY,
    kind    TEXT NOT NULL,
    file    BLOB NOT NULL,
    settled TEXT
) WITHOUT ROWID
"""

MAX_RETIRED: Final = 100
"""Checkpoints of replaced keys that are kept: who has such a key can make any number, and each becomes an entry."""


@dataclass(frozen=True, slots=True)
class Published:
    """A checkpoint that reached the quorum.

    Attributes:
        size: number of entries it covers.
        note: the checkpoint with the log's signature and the witnesses' cosignatures.
        witnessed_at: when the quorum was reached by this server's clock, RFC 3339.
    """

    size: int
    note: bytes
    witnessed_at: str


def newest(connection: Connection) -> Published | None:
    """The largest checkpoint that reached the quorum; None before the first."""
    row = connection.execute(
        "SELECT size, note, witnessed_at FROM witness_publication ORDER BY size DESC LIMIT 1"
    ).fetchone()
    return None if row is None else Published(row["size"], row["note"], row["witnessed_at"])


def published(connection: Connection) -> Iterator[Published]:
    """Every kept checkpoint that reached the quorum, smallest first; the first of each hour and the newest.

    Empty too where the ledger was never set up to be witnessed.
    """
    if not has_table(connection, "witness_publication"):
        return
    for row in connection.execute("SELECT size, note, witnessed_at FROM witness_publication ORDER BY size"):
        yield Published(row["size"], row["note"], row["witnessed_at"])


def keep_published(connection: Connection, size: int, note: bytes, now: datetime) -> None:
    """Keep a checkpoint that reached the quorum, inside the caller's write transaction.

    Older ones are thinned to the first of each hour: each bounds from above when its entries were there.
    """
    connection.execute(
        "INSERT INTO witness_publication VALUES (?, ?, ?) ON CONFLICT (size) DO UPDATE SET note = excluded.note",
        (size, note, format_time(now)),
    )
    connection.execute(
        "DELETE FROM witness_publication WHERE size NOT IN (SELECT max(size) FROM witness_publication)"
        " AND size NOT IN (SELECT min(size) FROM witness_publication GROUP BY substr(witnessed_at, 1, 13))"
    )


def hints(connection: Connection) -> Mapping[str, int]:
    """The size that each witness (by vkey) last cosigned, as far as this ledger knows."""
    return {row["vkey"]: row["size"] for row in connection.execute("SELECT vkey, size FROM witness_hint")}


def keep_hint(connection: Connection, vkey: str, size: int, time: int) -> None:
    """Remember what a witness last cosigned, for the old size of the next submission."""
    connection.execute(
        "INSERT INTO witness_hint VALUES (?, ?, ?)"
        " ON CONFLICT (vkey) DO UPDATE SET size = excluded.size, time = excluded.time",
        (vkey, size, time),
    )


def keep_evidence(connection: Connection, evidence: Evidence) -> None:
    """Keep evidence once: the first of each contradiction, however often it is met."""
    kind = evidence.check()
    if kind == "retired_key":
        kept = connection.execute("SELECT count(*) FROM witness_evidence WHERE kind = ?", (kind,)).fetchone()
        if kept[0] >= MAX_RETIRED:
            return
    connection.execute(
        "INSERT INTO witness_evidence (about, kind, file) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (_about(evidence), kind, evidence.to_bytes()),
    )


def evidence(connection: Connection, *, settled: bool | None = None) -> Iterator[Evidence]:
    """Kept evidence, oldest first; only the unsettled or the settled when asked for."""
    condition = {None: "1 = 1", True: "settled IS NOT NULL", False: "settled IS NULL"}[settled]
    rows = connection.execute(f"SELECT file FROM witness_evidence WHERE {condition}").fetchall()  # noqa: S608 - one of three texts above
    yield from sorted((Evidence.parse(row["file"]) for row in rows), key=lambda item: item.found)


def lines(connection: Connection) -> list[str]:
    """Kept evidence in words, for a verification: what it is about, and whether somebody looked into it."""
    if not has_table(connection, "witness_evidence"):
        return []
    said = []
    for row in connection.execute("SELECT about, file, settled FROM witness_evidence ORDER BY about").fetchall():
        try:
            item = Evidence.parse(row["file"])
        except (VerificationError, TypeError):
            said.append("a file of evidence is kept that does not show what it says")
            continue
        state = "not settled" if row["settled"] is None else "settled"
        said.append(f"{_WORDS[item.kind]}, found {item.found}; evidence {item.digest}, {state}")
    return said


_WORDS: Final[dict[Kind, str]] = {
    "fork": "another history was shown that a key of this log signed",
    "longer": "a longer log was shown that a key of this log signed",
    "retired_key": "a key that this log replaced signed a checkpoint that is not of this log",
    "claim": "a witness said that this log contradicts it, and showed nothing",
}


def halting(connection: Connection) -> Evidence | None:
    """Unsettled evidence that convicts this log by itself, if there is any."""
    rows = connection.execute(
        "SELECT file FROM witness_evidence WHERE settled IS NULL AND kind IN ('fork', 'longer')"
    ).fetchall()
    # Kept by an earlier version, a file may have been called more than it shows.
    return next((item for item in (Evidence.parse(row["file"]) for row in rows) if item.proven), None)


def mark_settled(connection: Connection, item: Evidence, why: str) -> None:
    """Mark evidence as looked into, inside the caller's write transaction."""
    connection.execute(
        "UPDATE witness_evidence SET settled = ? WHERE file = ? AND settled IS NULL", (why, item.to_bytes())
    )


def _about(item: Evidence) -> str:
    """What contradicts us, so that meeting it again is not new: the other text, or the witness that claims."""
    if item.theirs is None:
        return f"claim {'' if item.claim is None else item.claim.witness}"
    return f"{item.check()} {sha256(split_note(item.theirs)[0].encode()).hexdigest()}"
