"""A commit of its own, signed by exactly the keys given.

The sequencer shares commits and signs with one key. What changes who may sign must stand alone, and is
written past it: under the same write lock, onto the same head, in one transaction.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence

from ledger import Ledger, OwnEvent
from ledger.checkpoint import Checkpoint
from ledger.encoding import canonical, format_time
from ledger.entries import SALT_SIZE
from ledger.errors import StoreBusyError
from ledger.notes import Signer, sign_note
from ledger.seal import Draft, seal
from ledger.store.connection import Connection
from ledger.store.log import read_head, read_tail, write_sealed
from ledger.vocabulary import OWN_SOURCE

Make = Callable[[Connection, int], Sequence[OwnEvent]]
"""Makes the events inside the transaction, given the leaf index of the first of them."""


def commit_alone(ledger: Ledger, make: Make, signers: Sequence[Signer]) -> int:
    """Record own events in one commit whose checkpoint these keys sign; returns the new size.

    Args:
        ledger: an open ledger.
        make: raising undoes everything.
        signers: the first is the one that signs what follows.
    """
    stream = uuid.uuid5(uuid.NAMESPACE_URL, ledger.origin)
    with ledger.database.write() as connection:
        head = read_head(connection)
        events = make(connection, head.size)
        last = connection.execute("SELECT max(version) FROM event WHERE stream = ?", (stream.bytes,)).fetchone()[0] or 0
        drafts = [
            Draft(event.type, ledger.new_id(), OWN_SOURCE, None, stream, None, canonical({"data": dict(event.data)}))
            for event in events
        ]
        sealed = seal(
            head,
            drafts,
            range(last + 1, last + 1 + len(drafts)),
            recorded=format_time(ledger.clock()),
            salts=ledger.entropy(SALT_SIZE * len(drafts)),
            tail=read_tail(connection, head.size),
        )
        checkpoint = Checkpoint(ledger.origin, sealed.head.size, sealed.head.root)
        if not write_sealed(connection, head, sealed, sign_note(checkpoint.format(), signers)):
            raise StoreBusyError("The log grew while this was being written; nothing was lost. Try again.")
    return sealed.head.size
