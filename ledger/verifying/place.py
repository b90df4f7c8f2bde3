"""How far a walk along the log has come, and what is laid beside it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ledger.seal import GENESIS_CHAIN


@dataclass(frozen=True, slots=True)
class Laid:
    """A checkpoint from elsewhere, laid beside the walk.

    Attributes:
        size: the tree size it is filed under.
        note: the signed checkpoint.
        what: `witnessed`, or `verified` by an earlier run.
    """

    size: int
    note: bytes
    what: str = "witnessed"


@dataclass(slots=True)
class Place:
    """How far a walk has come, but for the tree.

    Attributes:
        chain: the chain hash there.
        recorded: when the entry before was recorded.
        signed: size of the newest good checkpoint.
        versions: the last version of each stream.
        starts: in a part, the first version of each stream that the part cannot judge.
        sequences: the last number of each source that counts its events.
        counted: in a part, the first number of each source, as (leaf index, number).
        producers: producers' events so far.
    """

    chain: bytes = GENESIS_CHAIN
    recorded: str = ""
    signed: int = 0
    versions: dict[str, int] = field(default_factory=dict)
    starts: dict[str, int] = field(default_factory=dict)
    sequences: dict[str, str] = field(default_factory=dict)
    counted: dict[str, tuple[int, str]] = field(default_factory=dict)
    producers: int = 0
