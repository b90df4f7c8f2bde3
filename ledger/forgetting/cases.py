"""What investigations need kept; incidents lie above the ledger and are asked through this port."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ledger.store.connection import Connection


class Cases(Protocol):
    """Investigations as far as they stand in the way of forgetting. Asked outside of write transactions."""

    def affecting(self, ref: str) -> Sequence[str]:
        """Open cases whose frozen list of affected people names the person (or a guardian's child)."""
        ...

    def concerns(self, case: str, ref: str) -> bool:
        """Whether a case, open or closed, names the person; True too where that cannot be told."""
        ...

    def open(self) -> Sequence[str]:
        """Ids of the open cases."""
        ...

    def evidence(self, case: str) -> frozenset[int] | None:
        """Leaf indices of the producers' entries a case rests on; None while that is not known."""
        ...


class NoCases:
    """There are no investigations."""

    def affecting(self, ref: str) -> Sequence[str]:
        """None."""
        del ref
        return ()

    def concerns(self, case: str, ref: str) -> bool:
        """A hold names a case of which nothing is known, so it may concern anybody."""
        del case, ref
        return True

    def open(self) -> Sequence[str]:
        """None."""
        return ()

    def evidence(self, case: str) -> frozenset[int] | None:
        """Unknown."""
        del case
        return None


def incidents_moved(connection: Connection, size: int) -> bool:
    """Whether an incident of this ledger has changed since the log had `size` entries."""
    row = connection.execute(
        # "/" follows "." in ASCII, so this is the range of the prefix.
        "SELECT 1 FROM event WHERE position > ? AND topic >= 'org.tocsin.incident.'"
        " AND topic < 'org.tocsin.incident/' LIMIT 1",
        (size,),
    ).fetchone()
    return row is not None
