"""Which ref stands for which identity, as far as a program has it in memory.

Asking for one that is not there gives a blank and notes the question, so that a batch of events can be
gone through once, everybody it names be looked up together, and the batch be gone through again.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final, Literal

Kind = Literal["subject", "actor", "network"]

KINDS: Final[tuple[Kind, ...]] = ("subject", "actor", "network")


class Refs(dict[str, str]):
    """Refs of one kind by identity.

    Attributes:
        wanted: identities that were asked for and not there, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.wanted: dict[str, None] = {}

    def __missing__(self, identity: str) -> str:
        self.wanted[identity] = None
        return ""


class Names:
    """Refs of every kind.

    Attributes:
        subject, actor, network: the refs of that kind.
    """

    def __init__(self) -> None:
        self.subject, self.actor, self.network = Refs(), Refs(), Refs()
        self._of = {"subject": self.subject, "actor": self.actor, "network": self.network}

    def of(self, kind: Kind) -> Refs:
        """The refs of a kind."""
        return self._of[kind]

    @property
    def lacking(self) -> bool:
        """Whether somebody was asked for in vain."""
        return bool(self.subject.wanted or self.actor.wanted or self.network.wanted)

    def wanted(self) -> Iterator[tuple[Kind, list[str]]]:
        """What was asked for in vain since the last time this was asked, by kind."""
        for kind in KINDS:
            refs = self._of[kind]
            if refs.wanted:
                found, refs.wanted = list(refs.wanted), {}
                yield kind, found

    def trim(self, most: int) -> None:
        """Keep the newest `most` of each kind, and drop questions that were not answered."""
        for refs in self._of.values():
            refs.wanted = {}
            if len(refs) > most:
                for identity in list(islice(refs, len(refs) - most)):
                    del refs[identity]

    def clear(self) -> None:
        """Know nobody."""
        for refs in self._of.values():
            refs.clear()
            refs.wanted = {}
