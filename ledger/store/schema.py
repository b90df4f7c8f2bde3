"""The tables of the log. Everything else in the file is a read model that can be made again."""

from __future__ import annotations

from typing import Final

VERSION: Final = b"1"
"""Raised whenever a change of these tables needs a migration."""

VERSIONS: Final = (VERSION, 1)
"""What `meta` may say; the number is how the first ledgers wrote it."""

TABLES: Final = """
CREATE TABLE IF NOT EXISTS meta (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS event (
    position INTEGER PRIMARY KEY,
    stream   BLOB    NOT NULL,
    version  INTEGER NOT NULL,
    topic    TEXT    NOT NULL,
    entry    BLOB    NOT NULL,
    chain    BLOB    NOT NULL,
    salt     BLOB,
    payload  BLOB,
    UNIQUE (stream, version)
);

CREATE TABLE IF NOT EXISTS head (
    only     INTEGER PRIMARY KEY CHECK (only = 1),
    size     INTEGER NOT NULL,
    recorded TEXT    NOT NULL,
    chain    BLOB    NOT NULL,
    frontier BLOB    NOT NULL
);

CREATE TABLE IF NOT EXISTS checkpoint (
    size INTEGER PRIMARY KEY,
    note BLOB NOT NULL
);

CREATE TABLE IF NOT EXISTS tile (
    level  INTEGER NOT NULL,
    number INTEGER NOT NULL,
    hashes BLOB    NOT NULL,
    PRIMARY KEY (level, number)
);

CREATE TABLE IF NOT EXISTS source (
    number INTEGER PRIMARY KEY,
    uri    TEXT NOT NULL UNIQUE
);

CREATE TABLE IF NOT EXISTS seen (
    source   INTEGER NOT NULL,
    id       TEXT    NOT NULL,
    position INTEGER NOT NULL,
    digest   BLOB    NOT NULL,
    PRIMARY KEY (source, id)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS vault (
    ref      TEXT PRIMARY KEY,
    kind     TEXT NOT NULL,
    lookup   BLOB NOT NULL UNIQUE,
    data_key BLOB NOT NULL,
    profile  BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS tracking (
    name     TEXT PRIMARY KEY,
    position INTEGER NOT NULL
) WITHOUT ROWID
"""
