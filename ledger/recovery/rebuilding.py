"""Making the tables again that follow from the log: who touched what, and what was submitted before.

Both are put right in place, a page of the log in each transaction. So whoever reads meanwhile sees what was
there before or what is right, never an empty table; a killed run has done part of it, and the next does all.

An entry is only believed when its payload is the one it commits to: a table that is made from a damaged log
would carry the damage on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ledger import access
from ledger.access import accesses
from ledger.encoding import parse
from ledger.entries import Entry, StoredEntry, commits_to
from ledger.errors import InputError, StoreDamagedError
from ledger.store.catalogue import has_table
from ledger.store.connection import Connection, Row
from ledger.store.log import read_entries
from ledger.store.seen import UNKNOWN
from ledger.vocabulary import OWN_SOURCE

if TYPE_CHECKING:
    from ledger.ledger import Ledger

Progress = Callable[[int, int], None]
"""Called with (entries read, entries in all)."""

_PAGE: Final = 1000
_VALUES: Final = 400
"""Values in one statement; every SQLite can do with that many."""
_ACCESS_COLUMNS: Final = (
    "time", "type", "action", "outcome", "actor", "credential", "address", "resource", "container", "subject",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RebuiltTables:
    """What was put right.

    Attributes:
        entries: entries read.
        accesses: entries whose rows in the access index were wrong, missing or too many.
        submissions: rows of what was submitted before that were wrong, missing or too many.
        lost: erased entries whose fingerprint is gone; a repetition of them is told by type and time alone.
    """

    entries: int
    accesses: int
    submissions: int
    lost: int

    def as_json(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}


def rebuild_tables(ledger: Ledger, progress: Progress = lambda _done, _total: None) -> RebuiltTables:
    """Put the access index and the table of submissions right.

    Raises:
        StoreDamagedError: an entry is damaged; the log has to be repaired first.
        StoreError: the store refused.
    """
    work = _Work(ledger)
    with ledger.database.write() as connection:
        if not has_table(connection, "access_row"):
            _track(connection, 0)
        for statement in access.TABLES.split(";"):
            connection.execute(statement)
        work.cut(connection)
    end = ledger.size()
    for start in range(0, end, _PAGE):
        with ledger.database.write() as connection:
            work.page(connection, start, min(start + _PAGE, end))
        progress(min(start + _PAGE, end), end)
    with ledger.database.write() as connection:
        work.finish(connection, end)
    return RebuiltTables(end, work.accesses, work.submissions, work.lost)


class _Work:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._numbers: dict[str, int] = {}
        self._producers = 0
        self.accesses = 0
        self.submissions = 0
        self.lost = 0

    def cut(self, connection: Connection) -> None:
        """Take away what the access index has of entries that it says it has not read."""
        tracked = _tracked(connection)
        size = self._ledger.size()
        if not 0 <= tracked <= size:
            tracked = 0
        stray = connection.execute("DELETE FROM access_row WHERE position < 1 OR position > ?", (tracked,)).rowcount
        self.accesses += stray
        _track(connection, tracked)

    def page(self, connection: Connection, start: int, stop: int) -> None:
        """Put right what the entries of a page account for."""
        read = list(read_entries(connection, start, stop))
        if [stored.index for stored in read] != list(range(start, stop)):
            raise StoreDamagedError(f"Entries are missing from {start} to {stop - 1}. Run `tocsin verify`.")
        page = [(stored, _checked(stored)) for stored in read]
        self._check_accesses(connection, page, start, stop)
        if _tracked(connection) < stop:
            _track(connection, stop)
        self._check_submissions(connection, [(stored, entry) for stored, entry in page if entry.source != OWN_SOURCE])

    def _check_accesses(
        self, connection: Connection, page: Sequence[tuple[StoredEntry, Entry]], start: int, stop: int
    ) -> None:
        columns = ", ".join(_ACCESS_COLUMNS)
        found: dict[int, list[tuple[Any, ...]]] = {}
        for row in connection.execute(
            f"SELECT position, part, {columns} FROM access_row"  # noqa: S608 - names of this module
            " WHERE position > ? AND position <= ? ORDER BY position, part",
            (start, stop),
        ):
            found.setdefault(row["position"], []).append(tuple(row))
        for stored, entry in page:
            position = stored.index + 1
            wanted = [
                (position, part, *(getattr(item, name) for name in _ACCESS_COLUMNS))
                for part, item in enumerate(accesses(stored, entry))
            ]
            if found.get(position, []) == wanted:
                continue
            # What the index has not read yet is new, and not put right.
            self.accesses += position <= _tracked(connection)
            connection.execute("DELETE FROM access_row WHERE position = ?", (position,))
            connection.executemany(
                f"INSERT INTO access_row (position, part, {columns})"  # noqa: S608 - as above
                f" VALUES (?, ?{', ?' * len(_ACCESS_COLUMNS)})",
                wanted,
            )

    def _check_submissions(self, connection: Connection, page: Sequence[tuple[StoredEntry, Entry]]) -> None:
        self._producers += len(page)
        by_source: dict[int, list[tuple[StoredEntry, Entry]]] = {}
        for stored, entry in page:
            by_source.setdefault(self._number(connection, entry, stored.index + 1), []).append((stored, entry))
        for number, items in by_source.items():
            known = _seen(connection, number, [entry.id for _, entry in items])
            for stored, entry in items:
                self._check_submission(connection, number, stored, entry, known.get(entry.id))

    def _check_submission(
        self, connection: Connection, number: int, stored: StoredEntry, entry: Entry, row: Row | None
    ) -> None:
        position, digest = stored.index + 1, _submission(stored)
        if digest is None:  # erased: the row is all that is left of it
            digest = row["digest"] if row is not None and isinstance(row["digest"], bytes) else UNKNOWN
        if row is not None and (row["position"], row["digest"]) == (position, digest):
            self.lost += digest == UNKNOWN
            return
        self.lost += digest == UNKNOWN
        self.submissions += 1
        connection.execute(
            "INSERT INTO seen (source, id, position, digest) VALUES (?, ?, ?, ?) ON CONFLICT (source, id)"
            " DO UPDATE SET position = excluded.position, digest = excluded.digest",
            (number, entry.id, position, digest),
        )

    def _number(self, connection: Connection, entry: Entry, position: int) -> int:
        """The number of a producer; a running server may remember it, so it is taken from rows that are left."""
        number = self._numbers.get(entry.source)
        if number is not None:
            return number
        row = connection.execute("SELECT number FROM source WHERE uri = ?", (entry.source,)).fetchone()
        if row is None:
            left = connection.execute(
                "SELECT source AS number FROM seen WHERE id = ? AND position = ?", (entry.id, position)
            ).fetchone()
            if left is None:
                connection.execute("INSERT INTO source (uri) VALUES (?)", (entry.source,))
            else:
                connection.execute(
                    "INSERT INTO source (number, uri) VALUES (?, ?)"
                    " ON CONFLICT (number) DO UPDATE SET uri = excluded.uri",
                    (left["number"], entry.source),
                )
            self.submissions += 1
            row = connection.execute("SELECT number FROM source WHERE uri = ?", (entry.source,)).fetchone()
        self._numbers[entry.source] = int(row["number"])
        return self._numbers[entry.source]

    def finish(self, connection: Connection, end: int) -> None:
        """Take away rows of submissions that belong to no entry."""
        size = self._ledger.size()
        later = sum(_checked(stored).source != OWN_SOURCE for stored in read_entries(connection, end, size))
        (rows,) = connection.execute("SELECT count(*) FROM seen").fetchone()
        if rows != self._producers + later:
            for source, name in [(row["source"], row["id"]) for row in _joined(connection) if self._is_stray(row)]:
                connection.execute("DELETE FROM seen WHERE source = ? AND id = ?", (source, name))
                self.submissions += 1
        unused = connection.execute("DELETE FROM source WHERE number NOT IN (SELECT source FROM seen)").rowcount
        self.submissions += unused

    def _is_stray(self, row: Row) -> bool:
        if row["entry"] is None:
            return True
        entry = Entry.decode(row["entry"])
        return (row["uri"], row["id"]) != (entry.source, entry.id)


def _joined(connection: Connection) -> Sequence[Row]:
    return connection.execute(
        "SELECT seen.source, seen.id, source.uri, event.entry FROM seen"
        " LEFT JOIN source ON source.number = seen.source LEFT JOIN event ON event.position = seen.position"
    ).fetchall()


def _seen(connection: Connection, number: int, names: Sequence[str]) -> Mapping[str, Row]:
    found: dict[str, Row] = {}
    for start in range(0, len(names), _VALUES):
        some = names[start : start + _VALUES]
        rows = connection.execute(
            # Only a number of marks is spliced in.
            f"SELECT id, position, digest FROM seen WHERE source = ? AND id IN ({', '.join('?' * len(some))})",  # noqa: S608
            [number, *some],
        )
        found.update((row["id"], row) for row in rows)
    return found


def _checked(stored: StoredEntry) -> Entry:
    """The values of an entry that is what was recorded, with the payload it commits to or with none."""
    try:
        entry = stored.decode()
        fits = stored.payload is None or commits_to(entry.commitment, stored.salt or b"", stored.payload)
    except (InputError, TypeError):
        fits = False
    if not fits:
        raise StoreDamagedError(
            f"Entry {stored.index} is damaged in the database, so nothing can be made from it. Run `tocsin verify`, "
            "then restore a backup."
        )
    return entry


def _submission(stored: StoredEntry) -> bytes | None:
    """The fingerprint of what was submitted; None where the payload is gone or never had one."""
    if stored.payload is None:
        return None
    try:
        return bytes.fromhex(parse(stored.payload)["submission"])
    except (InputError, KeyError, TypeError, ValueError):
        return None


def _tracked(connection: Connection) -> int:
    row = connection.execute("SELECT position FROM tracking WHERE name = ?", (access.NAME,)).fetchone()
    if row is None:
        return 0
    return row["position"] if isinstance(row["position"], int) else -1


def _track(connection: Connection, position: int) -> None:
    connection.execute(
        "INSERT INTO tracking (name, position) VALUES (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET position = excluded.position",
        (access.NAME, position),
    )
