"""The data inventory: which resource holds which people's data, and what kinds of it.

A record of a copied bucket object names no people; this is what joins it to them. One JSON object per line:
`{"resource": ..., "subjects": [...], "data_categories": [...], "legal_classes": [...], "by_subject": {...}}`.
A load replaces the resources that the file names and leaves the others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from incidents.errors import LineError
from incidents.people.directory import Loaded, Progress
from incidents.people.ndjson import Fields, records
from ledger import OwnEvent
from ledger.access import storable
from ledger.encoding import canonical, parse
from ledger.merkle import leaf_hash, root_hash
from ledger.store.connection import Connection, Row

if TYPE_CHECKING:
    from ledger import Ledger

LOADED: Final = "org.tocsin.inventory.loaded.v1"

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS incident_inventory (
    resource   TEXT NOT NULL,
    subject    TEXT NOT NULL,
    categories TEXT NOT NULL,
    classes    TEXT NOT NULL,
    PRIMARY KEY (resource, subject)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS incident_inventory_subject ON incident_inventory (subject)
"""

_FIELDS: Final = frozenset({"resource", "subjects", "data_categories", "legal_classes", "by_subject"})


@dataclass(frozen=True)
class Holding:
    """What one resource holds about one person (`subject` is a pseudonym)."""

    resource: str
    subject: str
    categories: tuple[str, ...]
    legal_classes: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """One checked line; subjects are still the organisation's own ids."""

    line: int
    resource: str
    subjects: tuple[str, ...]
    categories: tuple[str, ...]
    legal_classes: tuple[str, ...]
    by_subject: Mapping[str, tuple[str, ...]]


def check_entry(record: dict[str, Any], line: int, vocabulary: Mapping[str, Collection[str]]) -> Entry:
    """Check one line.

    Args:
        record: the decoded line.
        line: its number.
        vocabulary: the law data's closed lists; `data_categories` and `legal_classes` are used.

    Raises:
        LineError: naming line and field.
    """
    fields = Fields(record, line)
    fields.only(_FIELDS)
    subjects = fields.texts("subjects", 200, required=True)
    categories = _listed(fields, "data_categories", vocabulary, required=True)
    own = record.get("by_subject", {})
    if not isinstance(own, dict) or not set(own) <= set(subjects):
        raise fields.fail("by_subject", "an object whose names are among `subjects` is required.")
    by_subject: dict[str, tuple[str, ...]] = {}
    for position, (subject, value) in enumerate(own.items()):
        try:
            by_subject[subject] = _listed(Fields({"data_categories": value}, line), "data_categories", vocabulary)
        except LineError as error:
            raise fields.fail("by_subject", f"entry {position + 1} is not a list of known data categories.") from error
    return Entry(
        line,
        storable(fields.text("resource", 2048)),
        tuple(subjects),
        categories,
        _listed(fields, "legal_classes", vocabulary),
        by_subject,
    )


def _listed(
    fields: Fields, name: str, vocabulary: Mapping[str, Collection[str]], *, required: bool = False
) -> tuple[str, ...]:
    values = fields.texts(name, 100, required=required)
    allowed = vocabulary.get(name)
    if allowed is not None:
        for position, value in enumerate(values):
            if value not in allowed:
                raise fields.fail(
                    name, f"item {position + 1} is not in the law data's list of {name}; no duty could ever match it."
                )
    return tuple(sorted(values))


def load_inventory(
    ledger: Ledger,
    path: Path,
    *,
    by: str,
    vocabulary: Mapping[str, Collection[str]],
    progress: Progress | None = None,
) -> Loaded:
    """Check the file, then write its rows and the event that says so in one transaction.

    Raises:
        LineError: a line is wrong or names a subject who is not in the directory; nothing was written.
    """
    size = path.stat().st_size if path.is_file() else 0
    seen: dict[str, int] = {}
    holdings: list[Holding] = []
    told = None if progress is None else (lambda done: progress(done, size))
    for line, record in records(path, told):
        entry = check_entry(record, line, vocabulary)
        if entry.resource in seen:
            raise LineError(
                f"Line {line}, field resource: the same resource is on line {seen[entry.resource]}; merge them.",
                line=line,
                field="/resource",
            )
        seen[entry.resource] = line
        holdings.extend(_holdings(ledger, entry))
    if not seen:
        raise LineError(f"{path.name} holds no resources; every line must be one JSON object.")
    root = root_hash([leaf_hash(canonical(_row(item))) for item in sorted(holdings, key=_order)]).hex()

    people = len({item.subject for item in holdings})

    def load(connection: Connection, _first: int) -> Sequence[OwnEvent]:
        connection.executemany("DELETE FROM incident_inventory WHERE resource = ?", [(name,) for name in seen])
        connection.executemany(
            "INSERT INTO incident_inventory (resource, subject, categories, classes) VALUES (?, ?, ?, ?)",
            [(item.resource, item.subject, _text(item.categories), _text(item.legal_classes)) for item in holdings],
        )
        data = {"resources": len(seen), "holdings": len(holdings), "people": people, "digest": root, "by": by}
        return [OwnEvent(type=LOADED, data={**data, "table": table_root(connection)})]

    ledger.database.ensure(SCHEMA)
    return Loaded(len(seen), root, ledger.decide(load)[0])


def table_root(connection: Connection) -> str:
    """Merkle root (hex) over the whole inventory as it stands: what a scope determined next will read."""
    rows = connection.execute(
        "SELECT resource, subject, categories, classes FROM incident_inventory ORDER BY resource, subject"
    )
    return root_hash([leaf_hash(canonical(list(row))) for row in rows]).hex()


def _holdings(ledger: Ledger, entry: Entry) -> list[Holding]:
    found: list[Holding] = []
    with ledger.database.read() as connection:
        for position, subject in enumerate(entry.subjects):
            row = connection.execute(
                "SELECT ref FROM vault WHERE lookup = ?", (ledger.vault.lookup("subject", subject),)
            ).fetchone()
            if row is None:
                raise LineError(
                    f"Line {entry.line}, field subjects: item {position + 1} is not in the people directory; "
                    "load the people first.",
                    line=entry.line,
                    field=f"/subjects/{position}",
                )
            categories = entry.by_subject.get(subject, entry.categories)
            found.append(Holding(entry.resource, str(row["ref"]), categories, entry.legal_classes))
    return found


def _row(item: Holding) -> dict[str, Any]:
    return {
        "resource": item.resource,
        "subject": item.subject,
        "data_categories": list(item.categories),
        "legal_classes": list(item.legal_classes),
    }


def _order(item: Holding) -> tuple[str, str]:
    return (item.resource, item.subject)


def _text(values: tuple[str, ...]) -> str:
    return canonical(list(values)).decode()


def holdings_of(connection: Connection, resources: Iterable[str]) -> list[Holding]:
    """Everything held in exactly these resources."""
    found: list[Holding] = []
    for resource in sorted(set(resources)):
        rows = connection.execute(
            "SELECT resource, subject, categories, classes FROM incident_inventory WHERE resource = ? ORDER BY subject",
            (resource,),
        )
        found.extend(_holding(row) for row in rows)
    return found


def holdings_below(connection: Connection, container: str) -> list[Holding]:
    """Everything held in resources inside a container: `bucket` holds `bucket/key`."""
    below = container.rstrip("/") + "/"
    rows = connection.execute(
        "SELECT resource, subject, categories, classes FROM incident_inventory"
        " WHERE resource >= ? AND resource < ? ORDER BY resource, subject",
        (below, below[:-1] + "0"),  # "0" follows "/" in ASCII, so this is the range of the prefix
    )
    return [_holding(row) for row in rows]


def holdings_about(connection: Connection, subjects: Iterable[str]) -> list[Holding]:
    """Everything held about these people, anywhere."""
    found: list[Holding] = []
    for subject in sorted(set(subjects)):
        rows = connection.execute(
            "SELECT resource, subject, categories, classes FROM incident_inventory WHERE subject = ? ORDER BY resource",
            (subject,),
        )
        found.extend(_holding(row) for row in rows)
    return found


def _holding(row: Row) -> Holding:
    return Holding(
        str(row["resource"]),
        str(row["subject"]),
        tuple(parse(row["categories"].encode())),
        tuple(parse(row["classes"].encode())),
    )
