"""The data of known event types as types of `msgspec`, which checks them in compiled code.

Made of the same tables that `ledger.cloudevents` words its errors by. What these types accept is in order;
what they do not accept may still be, such as values nested very deeply: ask `read_event`.
"""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from threading import Lock
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, ValidationError, convert, defstruct

from ledger import cloudevents
from ledger.vocabulary import ACTOR_KINDS, FIELDS, OUTCOMES, required, verdict

_Text = Annotated[str, Meta(min_length=1, max_length=cloudevents.MAX_TEXT)]
_Key = Annotated[str, Meta(pattern=r"\A[\x20-\x7e]+\Z")]


def _nested(levels: int) -> Any:
    """Any JSON but floats, down to so many levels of lists and objects."""
    free: Any = str | int | bool | None
    for _ in range(levels):
        free = str | int | bool | None | list[free] | dict[_Key, free]
    return free


_FREE: Any = _nested(5)


def _shape(names: frozenset[str], needed: frozenset[str] = frozenset(), **special: Any) -> Any:
    """A closed object of these members; null counts as absent where a member is not needed."""
    fields: list[Any] = []
    for name in sorted(names):
        kind = special.get(name, _FREE)
        fields.append((name, kind) if name in needed else (name, kind | None, None))
    return defstruct("Shape", fields, forbid_unknown_fields=True, kw_only=True, gc=False)


def _subject() -> Any:
    """Whether it has exactly one of `id` and `ref` is left to the caller; null is neither."""
    texts = [(name, _Text, "") for name in ("id", "ref")]
    others: list[Any] = [(name, _FREE, None) for name in sorted(cloudevents.SUBJECT - {"id", "ref"})]
    return defstruct("Subject", [*texts, *others], forbid_unknown_fields=True, gc=False)


def _list_of(kind: Any) -> Any:
    return list[kind]


def _justification() -> Any:
    """Here null does not count as absent."""
    names = (cloudevents.OBJECTS["justification"] or _ID) - {"approved_by"}
    approvers = list[Annotated[str, Meta(min_length=1)]]
    fields: list[Any] = [("approved_by", approvers, ()), *((name, _FREE, None) for name in sorted(names))]
    return defstruct("Justification", fields, forbid_unknown_fields=True, gc=False)


def _one_of(allowed: frozenset[str]) -> Any:
    literal: Any = Literal  # made at run time, so that the words stand in one place
    return literal[tuple(sorted(allowed))]


_FIRST_USE: Final = Lock()
_ID: Final = frozenset(("id",))
_RESOURCE: Final = {"id": _Text, "type": _Text, "container": _Text}
_COMMON: Final[dict[str, Any]] = {
    **{name: _shape(parts) for name, parts in cloudevents.OBJECTS.items() if parts is not None},
    "actor": _shape(cloudevents.ACTOR, _ID, id=_Text, session=_Text, on_behalf_of=_Text, kind=_one_of(ACTOR_KINDS)),
    "justification": _justification(),
    "client": _shape(cloudevents.OBJECTS["client"] or _ID, ip=_Text),
    "credential": _Text,
    "details": dict[_Key, _FREE],
    "outcome": _one_of(OUTCOMES),
    "subjects": Annotated[_list_of(_subject()), Meta(max_length=cloudevents.MAX_SUBJECTS)],
}


@lru_cache
def _data(needed: frozenset[str]) -> Any:
    resource = _shape(cloudevents.OBJECTS["resource"] or _ID, _ID if "resource" in needed else frozenset(), **_RESOURCE)
    shape = _shape(FIELDS, needed, **{**_COMMON, "resource": resource})
    # msgspec compiles a shape at its first use, and crashes the process when two threads do so at once.
    with _FIRST_USE, suppress(ValidationError):
        convert({}, shape)
    return shape


UNKNOWN: Final = object()
"""Stands for the data of a type that the vocabulary does not know."""


@lru_cache(maxsize=4096)
def shape_of(event_type: str) -> Any:
    """What `data` of this type must be: a type for `msgspec.convert`, `UNKNOWN`, or None where it is no type."""
    if cloudevents.TYPE.fullmatch(event_type) is None:
        return None
    return _data(required(event_type)) if verdict(event_type) == "known" else UNKNOWN
