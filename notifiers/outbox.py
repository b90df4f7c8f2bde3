"""The durable outbox: what is owed and how far it has come, in the ledger's own database.

Rows hold refs, never a name, an address or a filled-in text: those are read from the vault and spliced at
the moment of sending. The tables are written in the same transaction as the log entry that reports them
(`Ledger.record(..., also=...)`), so the log never says more or less than the outbox.

All functions take an open connection and do no other I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from ledger.encoding import canonical, parse
from ledger.store.connection import Connection
from notifiers.balance import Balance, Entry, Line, Step, settle
from notifiers.errors import CampaignNotFoundError
from notifiers.messages import Message, Recipient
from notifiers.plan import Rung, Telling, next_rung

TABLES: Final = """
CREATE TABLE IF NOT EXISTS outbox_campaign (
    campaign   TEXT PRIMARY KEY,
    incident   TEXT NOT NULL,
    mode       TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('open', 'paused', 'cancelled', 'finished')),
    reason     TEXT NOT NULL,
    key        BLOB NOT NULL,
    sender     BLOB NOT NULL,
    definition TEXT NOT NULL,
    instance   TEXT NOT NULL,
    opened     TEXT NOT NULL,
    not_after  INTEGER,
    owed       INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS outbox_message (
    campaign TEXT NOT NULL,
    hash     TEXT NOT NULL,
    message  BLOB NOT NULL,
    PRIMARY KEY (campaign, hash)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS outbox_telling (
    id        INTEGER PRIMARY KEY,
    campaign  TEXT NOT NULL,
    person    TEXT NOT NULL,
    addressee TEXT NOT NULL,
    audience  TEXT NOT NULL,
    language  TEXT NOT NULL,
    reference TEXT NOT NULL,
    rungs     TEXT NOT NULL,
    state     TEXT NOT NULL CHECK (state IN ('queued', 'handed_over', 'delivered', 'failed', 'excluded')),
    channel   TEXT NOT NULL,
    reason    TEXT NOT NULL,
    repeated  INTEGER NOT NULL DEFAULT 0,
    UNIQUE (campaign, person, addressee)
);

CREATE INDEX IF NOT EXISTS outbox_telling_book ON outbox_telling (campaign, state, channel, reason, repeated);

CREATE TABLE IF NOT EXISTS outbox_step (
    id          INTEGER PRIMARY KEY,
    telling     INTEGER NOT NULL REFERENCES outbox_telling (id),
    campaign    TEXT NOT NULL,
    person      TEXT NOT NULL,
    addressee   TEXT NOT NULL,
    channel     TEXT NOT NULL,
    step        INTEGER NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('due', 'leased', 'handed_over', 'delivered', 'failed',
                                               'expired', 'cancelled', 'unknown', 'excluded')),
    reason      TEXT NOT NULL,
    not_before  INTEGER NOT NULL,
    claims      INTEGER NOT NULL DEFAULT 0,
    attempts    INTEGER NOT NULL DEFAULT 0,
    lease_owner TEXT,
    lease_until INTEGER,
    UNIQUE (campaign, person, addressee, channel, step)
);

CREATE INDEX IF NOT EXISTS outbox_step_due ON outbox_step (campaign, state, channel, not_before);
CREATE INDEX IF NOT EXISTS outbox_step_telling ON outbox_step (telling);

CREATE TABLE IF NOT EXISTS outbox_block (
    id       INTEGER PRIMARY KEY,
    campaign TEXT NOT NULL,
    root     TEXT NOT NULL,
    entry    INTEGER NOT NULL
);

CREATE TABLE IF NOT EXISTS outbox_attempt (
    id       INTEGER PRIMARY KEY,
    block    INTEGER NOT NULL REFERENCES outbox_block (id),
    position INTEGER NOT NULL,
    step     INTEGER NOT NULL REFERENCES outbox_step (id),
    attempt  INTEGER NOT NULL,
    outcome  TEXT NOT NULL,
    leaf     BLOB NOT NULL,
    UNIQUE (block, position)
);

CREATE INDEX IF NOT EXISTS outbox_attempt_step ON outbox_attempt (step)
"""


@dataclass(frozen=True)
class Campaign:
    """A row of `outbox_campaign`; `key` never leaves this process."""

    campaign: str
    incident: str
    mode: str
    state: str
    reason: str
    key: bytes
    sender: dict[str, Any]
    definition: str
    instance: str
    opened: str
    not_after: int | None
    owed: int


@dataclass(frozen=True)
class Claimed:
    """A step in this worker's hands, with what its telling says."""

    id: int
    telling: int
    person: str
    addressee: str
    audience: str
    language: str
    reference: str
    channel: str
    step: int
    claims: int
    attempts: int


def milliseconds(moment: datetime) -> int:
    """Milliseconds since 1970 UTC."""
    return int(moment.timestamp() * 1000)


def load(connection: Connection, campaign: str) -> Campaign:
    """Read a campaign.

    Raises:
        CampaignNotFoundError: there is none of that name.
    """
    found = find(connection, campaign)
    if found is None:
        raise CampaignNotFoundError(
            "There is no campaign of that name in this ledger; `tocsin dispatch status` lists them."
        )
    return found


def find(connection: Connection, campaign: str) -> Campaign | None:
    """Read a campaign, or None."""
    row = connection.execute("SELECT * FROM outbox_campaign WHERE campaign = ?", (campaign,)).fetchone()
    return None if row is None else Campaign(**{**dict(row), "sender": parse(row["sender"])})


def names(connection: Connection) -> list[str]:
    """All campaigns, in the order they were opened."""
    rows = connection.execute("SELECT campaign FROM outbox_campaign ORDER BY opened, campaign")
    return [row["campaign"] for row in rows]


def insert_campaign(connection: Connection, campaign: Campaign, messages: Iterable[Message]) -> None:
    """Write a campaign and its texts."""
    connection.execute(
        "INSERT INTO outbox_campaign VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            campaign.campaign, campaign.incident, campaign.mode, campaign.state, campaign.reason, campaign.key,
            canonical(campaign.sender), campaign.definition, campaign.instance, campaign.opened,
            campaign.not_after, campaign.owed,
        ),
    )  # fmt: skip
    connection.executemany(
        "INSERT INTO outbox_message VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        [(campaign.campaign, message.content_hash, canonical(message.as_json())) for message in messages],
    )


def messages_of(connection: Connection, campaign: str) -> list[Message]:
    """The texts of a campaign, exactly as they were approved."""
    rows = connection.execute("SELECT message FROM outbox_message WHERE campaign = ? ORDER BY hash", (campaign,))
    return [Message.from_json(parse(row["message"])) for row in rows]


def insert_tellings(connection: Connection, campaign: str, tellings: Iterable[Telling], now: int) -> int:
    """Write tellings with the steps of their first rung; those already there stay as they are.

    Returns:
        How many were new.
    """
    new = 0
    for telling in tellings:
        recipient = telling.recipient
        first = telling.rungs[0] if telling.rungs else ()
        made = connection.execute(
            "INSERT INTO outbox_telling (campaign, person, addressee, audience, language, reference, rungs,"
            " state, channel, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING id",
            (
                campaign, recipient.person, recipient.addressee, recipient.audience, recipient.language,
                recipient.reference, _write_rungs(telling.rungs), "queued" if first else "excluded",
                first[0][0] if first else "", telling.reason,
            ),
        ).fetchone()  # fmt: skip
        if made is not None:
            new += 1
            _insert_rung(connection, made["id"], first, now)
    return new


def _insert_rung(connection: Connection, telling: int, rung: Rung, now: int) -> None:
    connection.executemany(
        "INSERT INTO outbox_step (telling, campaign, person, addressee, channel, step, state, reason, not_before)"
        " SELECT id, campaign, person, addressee, ?, ?, 'due', '', ? FROM outbox_telling WHERE id = ?"
        " ON CONFLICT DO NOTHING",
        [(channel, position, now, telling) for channel, position in rung],
    )


def _write_rungs(rungs: Sequence[Rung]) -> str:
    return ",".join("+".join(f"{channel}/{position}" for channel, position in rung) for rung in rungs)


def _read_rungs(text: str) -> tuple[Rung, ...]:
    rungs: list[Rung] = []
    for rung in text.split(",") if text else []:
        pairs = (pair.partition("/") for pair in rung.split("+"))
        rungs.append(tuple((channel, int(position)) for channel, _, position in pairs))
    return tuple(rungs)


def keys(connection: Connection, campaign: str) -> set[tuple[str, str]]:
    """(person, addressee) of every telling."""
    rows = connection.execute("SELECT person, addressee FROM outbox_telling WHERE campaign = ?", (campaign,))
    return {(row["person"], row["addressee"]) for row in rows}


def tellings_of(connection: Connection, campaign: str) -> list[Telling]:
    """Every telling as it was planned; those excluded since then count as excluded."""
    rows = connection.execute(
        "SELECT person, addressee, audience, language, reference, rungs, state, reason FROM outbox_telling"
        " WHERE campaign = ? ORDER BY id",
        (campaign,),
    )
    return [
        Telling(
            Recipient(
                person=row["person"],
                addressee=row["addressee"],
                audience=row["audience"],
                language=row["language"],
                ladder=(),
                reference=row["reference"],
            ),
            () if row["state"] == "excluded" else _read_rungs(row["rungs"]),
            row["reason"],
        )
        for row in rows
    ]


def add_owed(connection: Connection, campaign: str, count: int) -> None:
    """Owe that many tellings more."""
    connection.execute("UPDATE outbox_campaign SET owed = owed + ? WHERE campaign = ?", (count, campaign))


def adopt(connection: Connection, campaign: str, instance: str) -> None:
    """Make this database the one the campaign runs in."""
    connection.execute("UPDATE outbox_campaign SET instance = ? WHERE campaign = ?", (instance, campaign))


def due_by_channel(connection: Connection, campaign: str) -> dict[str, int]:
    """Channel -> steps that are due, now or later."""
    rows = connection.execute(
        "SELECT channel, count(*) AS n FROM outbox_step WHERE campaign = ? AND state = 'due' GROUP BY channel",
        (campaign,),
    )
    return {row["channel"]: row["n"] for row in rows}


def balance(connection: Connection, campaign: str) -> Balance:
    """The book as this connection sees it."""
    owed = load(connection, campaign).owed
    lines = tuple(
        Line(row["state"], row["channel"], row["reason"], row["n"])
        for row in connection.execute(
            "SELECT state, channel, reason, count(*) AS n FROM outbox_telling WHERE campaign = ?"
            " GROUP BY state, channel, reason",
            (campaign,),
        )
    )
    repeated = connection.execute(
        "SELECT count(*) FROM outbox_telling WHERE campaign = ? AND repeated = 1", (campaign,)
    ).fetchone()[0]
    messages = {
        (row["channel"], row["state"]): row["n"]
        for row in connection.execute(
            "SELECT channel, state, count(*) AS n FROM outbox_step WHERE campaign = ? GROUP BY channel, state",
            (campaign,),
        )
    }
    return Balance(campaign, owed, lines, repeated, messages)


def set_state(connection: Connection, campaign: str, state: str, reason: str) -> None:
    """Move a campaign to another state; the caller has checked that it may."""
    connection.execute("UPDATE outbox_campaign SET state = ?, reason = ? WHERE campaign = ?", (state, reason, campaign))


def steps_of(connection: Connection, telling: int) -> list[Step]:
    """The steps of a telling in the order they were made."""
    rows = connection.execute(
        "SELECT channel, step, state, reason FROM outbox_step WHERE telling = ? ORDER BY id", (telling,)
    )
    return [Step(**dict(row)) for row in rows]


def resettle(connection: Connection, tellings: Iterable[int], now: int) -> None:
    """After steps changed: add the next rung where one is due, and book each telling anew."""
    for telling in dict.fromkeys(tellings):
        row = connection.execute("SELECT rungs, repeated FROM outbox_telling WHERE id = ?", (telling,)).fetchone()
        steps = steps_of(connection, telling)
        entry = settle(steps)
        if entry.state == "failed":
            rung = next_rung(_read_rungs(row["rungs"]), steps)
            if rung:
                _insert_rung(connection, telling, rung, now)
                entry = Entry("queued", rung[0][0], entry.reason)
        connection.execute(
            "UPDATE outbox_telling SET state = ?, channel = ?, reason = ? WHERE id = ?",
            (entry.state, entry.channel, entry.reason, telling),
        )
