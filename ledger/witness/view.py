"""A ledger as its newest checkpoint shows it, for proofs and comparisons."""

from __future__ import annotations

from ledger import Ledger
from ledger.checkpoint import Checkpoint
from ledger.merkle import CompactRange, consistency_path
from ledger.tiles import TileReader


class View:
    """A ledger as its newest checkpoint shows it; the log may grow meanwhile, this does not.

    Attributes:
        note: the signed checkpoint.
        checkpoint: its text, parsed.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.note = ledger.checkpoint()
        self.checkpoint = ledger.open_checkpoint(self.note)

    def proof(self, size: int) -> list[bytes]:
        """Consistency proof from an older size to this checkpoint's."""
        return consistency_path(size, self.checkpoint.size, TileReader(self._ledger.tile, self.checkpoint.size))

    def root(self, size: int) -> bytes:
        """Root that the tree had at an older size."""
        node = TileReader(self._ledger.tile, size)
        frontier, start = [], 0
        for level in reversed(range(size.bit_length())):
            if size >> level & 1:
                frontier.append(node(level, start >> level))
                start += 1 << level
        return CompactRange(size, frontier).root()

    def holds(self, other: Checkpoint) -> bool:
        """Whether that checkpoint is of this log at its size or before."""
        return other.size <= self.checkpoint.size and self.root(other.size) == other.root
