"""Errors that cross the socket: the worker raises what `Ledger.append` would have raised in its process.

The classes are a closed list. An error of another class crosses as the nearest of its bases that is in the list;
what nobody raised on purpose crosses as a `StoreError` that says no more than the class.
"""

from __future__ import annotations

from typing import Final

from ledger.errors import (
    ConfigError,
    ErasedError,
    EventConflictError,
    EventError,
    InputError,
    KeyMismatchError,
    NotFoundError,
    OverloadedError,
    StoreBusyError,
    StoreDamagedError,
    StoreError,
    StoreFullError,
    TocsinError,
    UnknownOutcomeError,
)
from ledger.recovery.errors import UnconfirmedCopyError
from ledger.sequencing.errors import FrameError
from ledger.sequencing.frames import MAX_MESSAGE, Refusal
from ledger.witness.errors import AnchorOverdueError, HaltedError

_CLASSES: Final[dict[str, type[TocsinError]]] = {
    kind.__name__: kind
    for kind in (
        TocsinError,
        ConfigError,
        ErasedError,
        EventConflictError,
        EventError,
        InputError,
        KeyMismatchError,
        NotFoundError,
        OverloadedError,
        StoreBusyError,
        StoreDamagedError,
        StoreError,
        StoreFullError,
        UnknownOutcomeError,
        AnchorOverdueError,
        HaltedError,
        UnconfirmedCopyError,
    )
}


def refusal_of(error: Exception) -> Refusal:
    """An error as it goes over the socket."""
    if not isinstance(error, TocsinError):
        return Refusal(
            StoreError.__name__,
            f"The sequencer failed unexpectedly ({type(error).__name__}); its log has more. Send the events again.",
        )
    name = next(kind.__name__ for kind in type(error).__mro__ if _CLASSES.get(kind.__name__) is kind)
    return Refusal(
        name,
        _cut(str(error)),
        _cut(error.field) if isinstance(error, InputError) else "",
        error.index if isinstance(error, EventError) else 0,
    )


def error_of(refusal: Refusal) -> TocsinError:
    """The error that a refusal stands for.

    Raises:
        FrameError: it names no error that crosses the socket.
    """
    kind = _CLASSES.get(refusal.name)
    if kind is None:
        raise FrameError("The sequencer refused with an error that this version does not know; use one version.")
    if issubclass(kind, EventError):
        return kind(refusal.message, field=refusal.field, index=refusal.index)
    if issubclass(kind, InputError):
        return kind(refusal.message, field=refusal.field)
    return kind(refusal.message)


def _cut(text: str) -> str:
    """As much of a text as a frame holds; what is no valid Unicode becomes a question mark."""
    return text.encode(errors="replace")[:MAX_MESSAGE].decode(errors="ignore")
