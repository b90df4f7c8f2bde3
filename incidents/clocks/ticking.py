"""The tick of the clock: reminders and missed limits into the log, each exactly once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from incidents.case import store
from incidents.clocks import deadlines
from incidents.clocks.deadlines import MISSED, Notice
from ledger import OwnEvent
from ledger.encoding import format_time
from ledger.errors import TocsinError
from ledger.store.connection import Connection

if TYPE_CHECKING:
    from ledger import Ledger


class _OvertakenError(TocsinError):
    """Another tick recorded this first."""


def tick(ledger: Ledger, now: datetime) -> list[Notice]:
    """Record what is due at `now` and return it.

    The mark on the row and the entry in the log are one transaction; a second tick, in this process or
    another, finds the mark and records nothing.
    """
    ledger.database.ensure(store.SCHEMA)
    with ledger.database.read() as connection:
        rows = deadlines.read(connection)
    recorded: list[Notice] = []
    for notice in deadlines.tick(rows, now):
        try:
            _record(ledger, notice, now)
        except _OvertakenError:
            continue
        recorded.append(notice)
    return recorded


def _record(ledger: Ledger, notice: Notice, now: datetime) -> None:
    held = notice.deadline

    def alongside(connection: Connection, indices: Sequence[int]) -> None:
        if not deadlines.mark(connection, notice):
            raise _OvertakenError("This limit was marked meanwhile.")
        entry = store.LoggedEntry(indices[0], None, notice.kind, format_time(now), _text(notice))
        store.add_entries(connection, held.incident, [entry])

    ledger.record([OwnEvent(type=notice.kind, data=notice.data(), correlation=held.incident)], also=alongside)


def _text(notice: Notice) -> str:
    held = notice.deadline
    if notice.kind == MISSED:
        return f"Deadline missed: {held.title} ({held.citation})"
    return f"Reminder, {notice.lead} before the limit: {held.title} ({held.citation})"
