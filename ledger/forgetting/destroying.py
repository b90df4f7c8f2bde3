"""The one door through which payloads are destroyed.

Whom an entry named is read from its payload. So the index of `ledger.completeness` is made to read it before it
is gone: afterwards a report about anybody else who is named there is still complete, and an auditor can still
compute every sealed root from what the index remembers.

A payload that was altered is the only evidence of that. Somebody who could write to the database, and had no key,
could write another person's ref into it and wait for that person's lawful erasure to destroy it. So nothing is
destroyed that is not what the log signed: payload and salt must be what the entry commits to, and the entry must
be in the tree of the newest checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Final

from ledger.completeness.sealing import Progress, index_before, index_steps, require_committed
from ledger.completeness.source import checked
from ledger.entries import StoredEntry
from ledger.errors import NoteError, NotFoundError, ProofError, StoreDamagedError
from ledger.forgetting.coverage import delete_payloads
from ledger.merkle import inclusion_path, leaf_hash, verify_inclusion
from ledger.store.connection import Connection
from ledger.store.log import read_checkpoint, read_tile
from ledger.tiles import TILE_WIDTH, TileReader, tile_width

if TYPE_CHECKING:
    from ledger.ledger import Ledger

_VALUES: Final = 400
"""Values in one statement; every SQLite can do with that many."""
_HASH: Final = 32
_WAY_ON: Final = "Nothing was destroyed. Run `tocsin verify`, then restore a backup."


def prepare(ledger: Ledger, progress: Progress = lambda _done, _total: None) -> None:
    """Have the index read the log up to now, in steps that hold nobody up; call it outside of transactions."""
    for done, total in index_steps(ledger):
        progress(done, total)


def destroy_payloads(ledger: Ledger, connection: Connection, indices: Sequence[int], event: int) -> dict[str, object]:
    """Have the index read these entries, then delete their payloads and salts, and list them under `event`.

    Args:
        ledger: where; `prepare` was called before.
        connection: the write transaction that also records the event.
        indices: leaf indices, ascending.
        event: leaf index that the event will have.

    Returns:
        What the event must say of them: `count` and `root`.

    Raises:
        StoreDamagedError: one of them, or one that the index has yet to read, is not what the log signed.
    """
    if indices:
        _require_signed(ledger, connection, indices)
        index_before(ledger, connection, indices[-1] + 1)
    return delete_payloads(connection, indices, event)


def _require_signed(ledger: Ledger, connection: Connection, indices: Sequence[int]) -> None:
    """Refuse entries that are not in the signed tree, and payloads that are not what their entries commit to."""
    try:
        signed = ledger.open_checkpoint(read_checkpoint(connection))
    except (NoteError, NotFoundError):
        raise StoreDamagedError(f"The log's newest checkpoint is not one that its key signed. {_WAY_ON}") from None
    node = TileReader(lambda level, number, width: read_tile(connection, level, number, width), signed.size)
    for number, group in groupby(_read(connection, indices), lambda stored: stored.index // TILE_WIDTH):
        some = list(group)
        require_committed(some)
        try:
            hashes = read_tile(connection, 0, number, tile_width(0, number, signed.size))
            # The way up from one leaf is hashed from all the others of its tile, so it proves the whole tile.
            first = some[0]
            path = inclusion_path(first.index, signed.size, node)
            verify_inclusion(first.index, signed.size, leaf_hash(first.entry), path, signed.root)
        except (ProofError, NotFoundError):
            raise _unsigned(some[0].index) from None
        for stored in some:
            at = stored.index % TILE_WIDTH * _HASH
            if hashes[at : at + _HASH] != leaf_hash(stored.entry):
                raise _unsigned(stored.index)


def _unsigned(index: int) -> StoreDamagedError:
    return StoreDamagedError(
        f"Entry {index}, or what stands beside it in the tree, is not what the log signed. {_WAY_ON}"
    )


def _read(connection: Connection, indices: Sequence[int]) -> Iterator[StoredEntry]:
    for start in range(0, len(indices), _VALUES):
        some = indices[start : start + _VALUES]
        rows = connection.execute(
            # Only a number of marks is spliced in.
            "SELECT position, entry, payload, salt FROM event"  # noqa: S608
            f" WHERE position IN ({', '.join('?' * len(some))}) AND payload IS NOT NULL ORDER BY position",
            [index + 1 for index in some],
        ).fetchall()
        if len(rows) != len(some):
            raise StoreDamagedError(f"Payloads of entries {some[0]} to {some[-1]} are missing. {_WAY_ON}")
        for row in rows:
            yield checked(StoredEntry(row["position"] - 1, row["entry"], row["payload"], row["salt"]))
