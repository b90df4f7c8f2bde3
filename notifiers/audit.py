"""The outbox held against the log, for `tocsin verify`: receipts, approved texts, and the book.

Blocks of receipts must hash to the roots that the log names, stored texts to the hashes under which they
were approved, and every step must have the attempts that its receipts say.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ledger.encoding import parse
from ledger.errors import TocsinError
from ledger.findings import Damage
from ledger.store.catalogue import has_table
from ledger.store.connection import Connection, Row
from notifiers.messages import Message
from notifiers.receipts import RECORDED, block_root

TABLES: Final = frozenset({"outbox_attempt", "outbox_block", "outbox_message"})
"""What `check` proves against the log; the working tables of the outbox are state, not evidence."""

_KIND: Final = "receipt_altered"


def check(connection: Connection) -> Iterator[Damage]:
    """Every way in which the kept receipts and texts contradict the log."""
    if not has_table(connection, "outbox_block"):
        return
    recorded = {
        row["position"] - 1: _data(row["payload"])
        # What was lost in a rebuild from tiles says nothing about receipts; `verify` names any other that is gone.
        for row in connection.execute(
            "SELECT position, payload FROM event WHERE topic = ? AND payload IS NOT NULL", (RECORDED,)
        )
    }
    for block in connection.execute("SELECT id, campaign, root, entry FROM outbox_block ORDER BY id").fetchall():
        data = recorded.pop(block["entry"], None)
        if data is None:
            yield Damage(_KIND, None, f"Receipt block {block['id']} names a log entry that records no receipts.")
            continue
        leaves = [
            row["leaf"]
            for row in connection.execute(
                "SELECT leaf FROM outbox_attempt WHERE block = ? ORDER BY position", (block["id"],)
            )
        ]
        if not _agrees(block, data, leaves):
            yield Damage(_KIND, block["entry"], "The receipts kept for this entry do not hash to the root it records.")
    for index in sorted(recorded):
        yield Damage(_KIND, index, "The receipts that this entry records are gone from the outbox.")
    yield from _messages(connection)


def _agrees(block: Row, data: dict[str, Any], leaves: list[Any]) -> bool:
    if not leaves or not all(isinstance(leaf, bytes) for leaf in leaves):
        return False
    said = (data.get("campaign"), data.get("root"), data.get("count"))
    return said == (block["campaign"], block_root(leaves).hex(), len(leaves)) and block["root"] == data.get("root")


def _messages(connection: Connection) -> Iterator[Damage]:
    for row in connection.execute("SELECT campaign, hash, message FROM outbox_message ORDER BY campaign, hash"):
        try:
            same = Message.from_json(parse(row["message"])).content_hash == row["hash"]
        except (TocsinError, KeyError, TypeError, ValueError, AttributeError):
            same = False
        if not same:
            what = f"A text of campaign {row['campaign']} is not the one that was approved."
            yield Damage("text_altered", None, what)


def _data(payload: bytes | None) -> dict[str, Any]:
    try:
        return dict(parse(payload or b"{}")["data"])
    except (TocsinError, KeyError, TypeError, ValueError):
        return {}
