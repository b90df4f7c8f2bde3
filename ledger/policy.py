"""Trust policies: which logs and how many witnesses make a checkpoint good (C2SP tlog-policy).

    log <vkey> [<url>]
    witness <name> <vkey> [<url>]
    group <name> all|any|<k> <member>...
    quorum <name>|none

A policy is the file that a regulator pins. It is a file of octets: items are separated by spaces and
tabs only, octets above 0x7F are opaque, and names are compared byte by byte. Errors name the line
and never repeat its content.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ledger.errors import NoteError, PolicyError
from ledger.notekeys import COSIGNATURE, ED25519, Verifier
from ledger.wire import parse_decimal

MAX_POLICY_BYTES: Final = 1_048_576
NONE: Final = b"none"
"""The predefined quorum that asks for no cosignature; never a name of a witness or group."""

_FORBIDDEN = re.compile(rb"[^\t\n\x20-\x7e\x80-\xff]")
_ITEM = re.compile(rb"[^ \t]+")


@dataclass(frozen=True, slots=True)
class KnownLog:
    """A log whose checkpoints the policy accepts; the verifier's name is the log's origin."""

    verifier: Verifier
    url: bytes | None = None


@dataclass(frozen=True, slots=True)
class Witness:
    """A cosigner under a name that has a meaning inside the policy only."""

    name: bytes
    verifier: Verifier
    url: bytes | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Counts as having witnessed when at least `threshold` of its members have."""

    name: bytes
    threshold: int
    members: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A parsed policy; make one with `parse_policy`.

    Attributes:
        logs: accepted logs; may be empty when the log is known from the context.
        witnesses: known cosigners.
        groups: in order of definition, members before the groups that name them.
        quorum: name of the witness or group that must have witnessed, None for `quorum none`.
    """

    logs: tuple[KnownLog, ...]
    witnesses: tuple[Witness, ...]
    groups: tuple[Group, ...]
    quorum: bytes | None

    @property
    def verifiers(self) -> tuple[Verifier, ...]:
        """Every key of the policy, logs first, for `ledger.notes.open_note`."""
        return (*(log.verifier for log in self.logs), *(witness.verifier for witness in self.witnesses))

    def log_keys(self, origin: str) -> frozenset[Verifier]:
        """Keys of the accepted logs with this origin; empty when the policy does not know it."""
        return frozenset(log.verifier for log in self.logs if log.verifier.name == origin)

    def satisfied(self, cosigner_keys: Iterable[bytes]) -> bool:
        """Whether the quorum is reached.

        Args:
            cosigner_keys: 32-byte public keys of *verified* cosignatures; unknown keys count for nothing.
        """
        if self.quorum is None:
            return True
        keys = frozenset(cosigner_keys)
        witnessed = {witness.name for witness in self.witnesses if witness.verifier.key in keys}
        # Members stand on earlier lines than their group, so one pass in order settles all of them.
        for group in self.groups:
            if sum(member in witnessed for member in group.members) >= group.threshold:
                witnessed.add(group.name)
        return self.quorum in witnessed

    def format(self) -> bytes:
        """Write the policy in canonical form: logs, witnesses, groups, quorum; no comments."""
        lines: list[tuple[bytes, ...]] = [
            *((b"log", log.verifier.vkey.encode(), *_optional(log.url)) for log in self.logs),
            *((b"witness", w.name, w.verifier.vkey.encode(), *_optional(w.url)) for w in self.witnesses),
            *((b"group", group.name, _threshold_word(group), *group.members) for group in self.groups),
            (b"quorum", NONE if self.quorum is None else self.quorum),
        ]
        return b"".join(b" ".join(line) + b"\n" for line in lines)


def parse_policy(text: bytes) -> Policy:
    """Read a policy, strictly.

    The newline of the last line may be missing, as in the parsers of Sigsum and torchwood: a policy
    is written by hand.

    Raises:
        PolicyError: naming the line and the rule it breaks.
    """
    if len(text) > MAX_POLICY_BYTES:
        raise PolicyError(f"The policy is longer than {MAX_POLICY_BYTES} bytes.")
    reader = _Reader()
    for number, line in enumerate(text.split(b"\n"), 1):
        if _FORBIDDEN.search(line) is not None:
            raise PolicyError(
                f"Line {number} of the policy holds a control character other than tab; "
                "lines end in a newline alone (no carriage return)."
            )
        try:
            reader.read(_ITEM.findall(line))
        except (PolicyError, NoteError) as error:
            raise PolicyError(f"Line {number} of the policy: {error}") from None
    return reader.policy()


class _Reader:
    """What the lines so far have defined."""

    def __init__(self) -> None:
        self._logs: list[KnownLog] = []
        self._witnesses: list[Witness] = []
        self._groups: list[Group] = []
        self._quorum: bytes | None = None
        self._names: set[bytes] = set()
        self._members: set[bytes] = set()

    def read(self, items: list[bytes]) -> None:
        if not items or items[0].startswith(b"#"):
            return
        keyword, *rest = items
        match keyword, len(rest):
            case b"log", 1 | 2:
                self._log(*rest)
            case b"witness", 2 | 3:
                self._witness(*rest)
            case b"group", count if count >= 3:  # noqa: PLR2004 - name, threshold and a first member
                self._group(rest[0], rest[1], rest[2:])
            case b"quorum", 1:
                self._set_quorum(rest[0])
            case b"log" | b"witness" | b"group" | b"quorum", _:
                raise PolicyError("the number of items does not fit the keyword.")
            case _:
                raise PolicyError("it starts with no keyword: log, witness, group, quorum or #.")

    def policy(self) -> Policy:
        # "A policy file must include exactly one quorum line."
        if self._quorum is None:
            raise PolicyError("The policy has no quorum line; end it with `quorum <name>` or `quorum none`.")
        quorum = None if self._quorum == NONE else self._quorum
        return Policy(tuple(self._logs), tuple(self._witnesses), tuple(self._groups), quorum)

    def _log(self, vkey: bytes, url: bytes | None = None) -> None:
        verifier = _verifier(vkey, ED25519, "a log signs with an Ed25519 key (0x01)")
        # "Two vkeys are considered duplicate if they wrap the same underlying public key, even if
        # they differ by key name and key id."
        if any(log.verifier.key == verifier.key for log in self._logs):
            raise PolicyError("another log line has the same public key.")
        self._logs.append(KnownLog(verifier, url))

    def _witness(self, name: bytes, vkey: bytes, url: bytes | None = None) -> None:
        self._define(name)
        verifier = _verifier(vkey, COSIGNATURE, "a witness signs with a cosignature key (0x04)")
        if any(witness.verifier.key == verifier.key for witness in self._witnesses):
            raise PolicyError("another witness line has the same public key.")
        self._witnesses.append(Witness(name, verifier, url))

    def _group(self, name: bytes, threshold: bytes, members: list[bytes]) -> None:
        # A name is defined by its line, so a group cannot name itself.
        for member in members:
            if member not in self._names:
                raise PolicyError("a member is not defined on an earlier line.")
            # "Each defined name can be listed as a group member at most once."
            if member in self._members:
                raise PolicyError("a member is already a member of a group.")
            self._members.add(member)
        self._define(name)
        self._groups.append(Group(name, _threshold(threshold, len(members)), tuple(members)))

    def _set_quorum(self, name: bytes) -> None:
        if self._quorum is not None:
            raise PolicyError("there is a quorum line already.")
        if name != NONE and name not in self._names:
            raise PolicyError("the quorum is not defined on an earlier line.")
        self._quorum = name

    def _define(self, name: bytes) -> None:
        if name == NONE:
            raise PolicyError("the name `none` is predefined; choose another.")
        if name in self._names:
            raise PolicyError("the name is defined already; witnesses and groups share one namespace.")
        self._names.add(name)


def _verifier(vkey: bytes, kind: int, rule: str) -> Verifier:
    try:
        text = vkey.decode("utf-8")
    except UnicodeDecodeError:
        raise PolicyError("the verifier key's name is not valid UTF-8.") from None
    verifier = Verifier.from_vkey(text)
    if verifier.kind != kind:
        raise PolicyError(f"the verifier key is of the wrong type: {rule}.")
    return verifier


def _threshold(word: bytes, members: int) -> int:
    if word == b"all":
        return members
    if word == b"any":
        return 1
    value = parse_decimal(word.decode("ascii", "replace"))
    if value is None or not 1 <= value <= members:
        raise PolicyError("the threshold is not `all`, `any` or a number from 1 to the number of members.")
    return value


def _threshold_word(group: Group) -> bytes:
    if group.threshold == len(group.members):
        return b"all"
    return b"any" if group.threshold == 1 else str(group.threshold).encode()


def _optional(url: bytes | None) -> tuple[bytes, ...]:
    return () if url is None else (url,)
