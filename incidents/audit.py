"""The incidents' tables held against the log, for `tocsin verify`.

Affected sets must have the roots under which they were frozen, the inventory the root that the newest
load recorded, and the index of incidents and their entries must say what the log says.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, Final

from incidents.people.affected import AffectedSet
from incidents.people.inventory import LOADED, table_root
from ledger.encoding import parse
from ledger.errors import TocsinError
from ledger.findings import Damage
from ledger.store.catalogue import tables
from ledger.store.connection import Connection

TABLES: Final = frozenset({"incident_affected", "incident_entry", "incident_index", "incident_inventory"})
"""What `check` proves against the log; deadlines are recomputed by every assessment."""

_SCOPED: Final = "org.tocsin.incident.scoped.v1"


def check(connection: Connection) -> Iterator[Damage]:
    """Every way in which these tables contradict the log."""
    present = tables(connection)
    if "incident_affected" in present:
        yield from _affected(connection)
    if "incident_index" in present:
        yield from _entries(connection)
    if "incident_inventory" in present:
        yield from _inventory(connection)


def _affected(connection: Connection) -> Iterator[Damage]:
    frozen = {
        _fields(row["payload"]).get("root"): row["position"] - 1
        for row in connection.execute("SELECT position, payload FROM event WHERE topic = ?", (_SCOPED,))
    }
    for row in connection.execute("SELECT root, count, members FROM incident_affected"):
        try:
            found = AffectedSet.decode(zlib.decompress(row["members"]))
            same = (found.root, found.count) == (row["root"], row["count"]) and row["root"] in frozen
        except (zlib.error, TocsinError, TypeError, KeyError, ValueError, AttributeError):
            same = False
        if not same:
            what = "A list of affected people is not the one that was frozen in the log."
            yield Damage("affected_set_altered", frozen.get(row["root"]), what)


def _entries(connection: Connection) -> Iterator[Damage]:
    wrong = connection.execute(
        "SELECT i.leaf FROM incident_entry i LEFT JOIN event e ON e.position = i.leaf + 1"
        " WHERE e.position IS NULL OR e.topic <> i.type"
        " OR (i.version IS NOT NULL AND e.version <> i.version) ORDER BY i.leaf LIMIT 1"
    ).fetchone()
    if wrong is None:
        wrong = connection.execute(
            "SELECT e.position - 1 FROM incident_index n JOIN event e"
            " ON lower(hex(e.stream)) = replace(n.uuid, '-', '') LEFT JOIN incident_entry i"
            " ON i.incident = n.incident AND i.leaf = e.position - 1"
            # What was rebuilt from tiles without its payload is in no index; `verify` names any other that is gone.
            " WHERE i.leaf IS NULL AND e.payload IS NOT NULL ORDER BY e.position LIMIT 1"
        ).fetchone()
    if wrong is not None:
        index = wrong[0] if isinstance(wrong[0], int) else None
        yield Damage("read_model_altered", index, "The index of incidents says something else than the log.")


def _inventory(connection: Connection) -> Iterator[Damage]:
    row = connection.execute(
        # A load whose payload was lost in a rebuild from tiles never reached this table.
        "SELECT position, payload FROM event WHERE topic = ? AND payload IS NOT NULL ORDER BY position DESC LIMIT 1",
        (LOADED,),
    ).fetchone()
    data = _fields(row["payload"]).get("data") if row is not None else {}
    recorded = data.get("table") if isinstance(data, dict) else None
    try:
        same = recorded == table_root(connection)
    except TocsinError:
        same = False
    rows = connection.execute("SELECT EXISTS (SELECT 1 FROM incident_inventory)").fetchone()[0]
    if not same and (row is not None or rows):
        what = "The inventory of whose data lies where is not the one whose root the newest load recorded."
        yield Damage("inventory_altered", None if row is None else row["position"] - 1, what)


def _fields(payload: bytes | None) -> dict[str, Any]:
    try:
        return dict(parse(payload or b"{}"))
    except (TocsinError, TypeError, ValueError):
        return {}
