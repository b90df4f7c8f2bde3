"""Three-valued (Kleene) expressions: true, false, and unknown written as None.

`all` is false if any part is false, else unknown if any is unknown; `any` mirrors it; `at_least` is
true with n true parts and false when n can no longer be reached; `not` swaps (SCHEMA.md, section 3).
An unknown result names the facts that would decide it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol


class Finding(NamedTuple):
    """What a leaf found: its truth, and the fact paths that would decide it when that is unknown."""

    truth: bool | None
    missing: tuple[str, ...] = ()


TRUE, FALSE = Finding(True), Finding(False)


def found(truth: bool) -> Finding:
    """A finding about known facts."""
    return TRUE if truth else FALSE


class View(Protocol):
    """What an expression may look at: it asks the view for each of its leaves."""

    def finding(self, leaf: Leaf) -> Finding:
        """The finding of a leaf, computed once per evaluation."""
        ...


class Node(Protocol):
    """An expression."""

    def truth(self, view: View) -> bool | None:
        """Evaluate."""
        ...

    def missing(self, view: View) -> set[str]:
        """The fact paths that would decide an unknown result; empty when it is known."""
        ...

    def reasons(self, view: View) -> Iterator[str]:
        """The leaves that made the result, as short texts ending in yes, no or unknown."""
        ...

    def leaves(self) -> Iterator[Leaf]:
        """Every leaf below."""
        ...


class Leaf:
    """A predicate with its argument; two leaves with the same text are one object.

    Attributes:
        predicate: name of the predicate.
        text: predicate and argument as a reader understands them.
        test: decides it; gets the engine's view.
        clocks: clocks the leaf asks about.
        duties: ids of duties the leaf asks about.
    """

    __slots__ = ("_reasons", "clocks", "duties", "predicate", "test", "text")

    def __init__(
        self,
        predicate: str,
        text: str,
        test: Callable[..., Finding],
        *,
        clocks: tuple[str, ...] = (),
        duties: tuple[str, ...] = (),
    ) -> None:
        self.predicate = predicate
        self.text = text
        self.test = test
        self.clocks = clocks
        self.duties = duties
        self._reasons = {
            True: (f"{text}: yes",),
            False: (f"{text}: no",),
            None: (f"{text}: unknown",),
        }

    def truth(self, view: View) -> bool | None:
        """Evaluate."""
        return view.finding(self).truth

    def missing(self, view: View) -> set[str]:
        """The fact paths that would decide it."""
        return set(view.finding(self).missing)

    def reasons(self, view: View) -> Iterator[str]:
        """Itself, with its truth."""
        return iter(self._reasons[view.finding(self).truth])

    def leaves(self) -> Iterator[Leaf]:
        """Itself."""
        yield self


class _Group(ABC):
    """Shared by the nodes that have parts."""

    __slots__ = ("parts",)

    def __init__(self, parts: tuple[Node, ...]) -> None:
        self.parts = parts

    @abstractmethod
    def truth(self, view: View) -> bool | None:
        """Evaluate."""

    def missing(self, view: View) -> set[str]:
        """What the unknown parts lack, when the whole is unknown."""
        if self.truth(view) is not None:
            return set()
        return set().union(*(part.missing(view) for part in self.parts))

    def leaves(self) -> Iterator[Leaf]:
        """Every leaf below."""
        for part in self.parts:
            yield from part.leaves()

    def _that_are(self, view: View, truth: bool | None) -> Iterator[str]:
        for part in self.parts:
            if part.truth(view) is truth:
                yield from part.reasons(view)

    def _first(self, view: View, truth: bool) -> Iterator[str]:
        for part in self.parts:
            if part.truth(view) is truth:
                return part.reasons(view)
        return iter(())


class All(_Group):
    """True when every part is."""

    __slots__ = ()

    def truth(self, view: View) -> bool | None:
        """Evaluate."""
        result: bool | None = True
        for part in self.parts:
            truth = part.truth(view)
            if truth is False:
                return False
            if truth is None:
                result = None
        return result

    def reasons(self, view: View) -> Iterator[str]:
        """One false part is enough; else the unknown parts; else all."""
        truth = self.truth(view)
        return self._first(view, False) if truth is False else self._that_are(view, truth)


class Any(_Group):
    """True when one part is."""

    __slots__ = ()

    def truth(self, view: View) -> bool | None:
        """Evaluate."""
        result: bool | None = False
        for part in self.parts:
            truth = part.truth(view)
            if truth is True:
                return True
            if truth is None:
                result = None
        return result

    def reasons(self, view: View) -> Iterator[str]:
        """One true part is enough; else the unknown parts; else all."""
        truth = self.truth(view)
        return self._first(view, True) if truth is True else self._that_are(view, truth)


class AtLeast(_Group):
    """True when `count` parts are true."""

    __slots__ = ("count",)

    def __init__(self, count: int, parts: tuple[Node, ...]) -> None:
        super().__init__(parts)
        self.count = count

    def truth(self, view: View) -> bool | None:
        """Evaluate."""
        truths = [part.truth(view) for part in self.parts]
        if truths.count(True) >= self.count:
            return True
        return None if truths.count(True) + truths.count(None) >= self.count else False

    def reasons(self, view: View) -> Iterator[str]:
        """The parts that have the truth of the whole."""
        return self._that_are(view, self.truth(view))


class Not(_Group):
    """True when its part is false."""

    __slots__ = ()

    def truth(self, view: View) -> bool | None:
        """Evaluate."""
        truth = self.parts[0].truth(view)
        return None if truth is None else not truth

    def reasons(self, view: View) -> Iterator[str]:
        """Those of the part: they show its own truth."""
        return self.parts[0].reasons(view)
