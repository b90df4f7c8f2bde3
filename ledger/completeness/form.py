"""The form of a report file: JSON, read strictly. Nothing is verified here.

    format       "org.tocsin.completeness-report.v1"
    origin       the log
    size         the report covers entries 0 to size - 1
    made         when, RFC 3339; authenticated by nothing
    checkpoint   signed note; all inclusion paths lead to it
    sections     one for each key the report is about, the first is what was asked for:
                 kind, key, blind (hex, null without accesses), positions,
                 seal {index, entry, payload, salt, path}, map {siblings, neighbour {label, value}}
    accesses     each entry that any section lists, by rising index:
                 index, entry, state, payload, salt, path

`entry` and `payload` are the exact stored bytes as text, `salt` and hashes of the map are hex, paths
are base64 as in a tlog-proof. Siblings run from the root down; "" stands for an empty subtree.
`state` is `included`, `erased` or `withheld`; without a payload the report shows the entry alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ledger.completeness.errors import MalformedReportError
from ledger.completeness.index import KINDS, Key
from ledger.completeness.trie import BITS, EMPTY, HASH_SIZE, Leaf, MapProof
from ledger.encoding import MAX_INT, parse
from ledger.entries import SALT_SIZE, StoredEntry
from ledger.errors import InputError
from ledger.proofs import MAX_PATH
from ledger.wire import format_base64, parse_base64

FORMAT: Final = "org.tocsin.completeness-report.v1"
STATES: Final = ("included", "erased", "withheld")
_HEX: Final = re.compile(r"(?:[0-9a-f]{2})*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Proven:
    """An entry with what shows that it is in the log.

    Attributes:
        stored: the entry, and its payload and salt where the report has them.
        path: 32-byte hashes of the inclusion proof, leaf's sibling first.
        state: why there is no payload, or `included`.
    """

    stored: StoredEntry
    path: tuple[bytes, ...]
    state: str = "included"


@dataclass(frozen=True, slots=True)
class Section:
    """All accesses to one key.

    Attributes:
        key: who or what.
        blind: opens the list's commitment, 32 bytes; None when there are no accesses.
        positions: leaf indices, rising.
        seal: the entry that logged the map's root.
        proof: the map proof of this list, or of its absence.
    """

    key: Key
    blind: bytes | None
    positions: tuple[int, ...]
    seal: Proven
    proof: MapProof


@dataclass(frozen=True, slots=True)
class Report:
    """A completeness report; see the module for the fields."""

    origin: str
    size: int
    made: str
    checkpoint: bytes
    sections: tuple[Section, ...]
    accesses: tuple[Proven, ...]

    def to_bytes(self) -> bytes:
        """The file: JSON, indented, ending in a newline."""
        value = {
            "format": FORMAT,
            "origin": self.origin,
            "size": self.size,
            "made": self.made,
            "checkpoint": self.checkpoint.decode(),
            "sections": [_write_section(section) for section in self.sections],
            "accesses": [{"state": access.state, **_write_proven(access)} for access in self.accesses],
        }
        return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()

    @classmethod
    def parse(cls, data: bytes) -> Report:
        """Read a file that `to_bytes` wrote.

        Raises:
            MalformedReportError: naming the part.
        """
        try:
            value = parse(data)
        except InputError as error:
            raise MalformedReportError(f"The report cannot be read. {error}") from None
        fields = _fields(value, "", "format", "origin", "size", "made", "checkpoint", "sections", "accesses")
        if fields["format"] != FORMAT:
            raise MalformedReportError("The file is not a completeness report of the version this program reads.")
        report = cls(
            _text(fields["origin"], "/origin"),
            _number(fields["size"], "/size"),
            _text(fields["made"], "/made"),
            _bytes(fields["checkpoint"], "/checkpoint"),
            tuple(_read_section(item, f"/sections/{at}") for at, item in enumerate(_list(fields, "sections", ""))),
            tuple(_read_access(item, f"/accesses/{at}") for at, item in enumerate(_list(fields, "accesses", ""))),
        )
        if not report.sections:
            raise MalformedReportError("The report is about nobody and nothing: it has no sections.")
        return report


def _write_proven(proven: Proven) -> dict[str, Any]:
    stored = proven.stored
    return {
        "index": stored.index,
        "entry": stored.entry.decode(),
        "payload": None if stored.payload is None else stored.payload.decode(),
        "salt": None if stored.salt is None else stored.salt.hex(),
        "path": [format_base64(item) for item in proven.path],
    }


def _write_section(section: Section) -> dict[str, Any]:
    neighbour = section.proof.neighbour
    return {
        "kind": section.key.kind,
        "key": section.key.name,
        "blind": None if section.blind is None else section.blind.hex(),
        "positions": list(section.positions),
        "seal": _write_proven(section.seal),
        "map": {
            "siblings": ["" if item == EMPTY else item.hex() for item in section.proof.siblings],
            "neighbour": neighbour and {"label": neighbour.label.hex(), "value": neighbour.value.hex()},
        },
    }


def _read_section(value: Any, path: str) -> Section:
    fields = _fields(value, path, "kind", "key", "blind", "positions", "seal", "map")
    kind = next((kind for kind in KINDS if kind == fields["kind"]), None)
    if kind is None:
        raise MalformedReportError(f"{path}/kind is neither subject nor resource.")
    parts = _fields(fields["map"], f"{path}/map", "siblings", "neighbour")
    siblings = _list(parts, "siblings", f"{path}/map")
    if len(siblings) > BITS:
        raise MalformedReportError(f"{path}/map/siblings has more hashes than a map is deep.")
    neighbour = None
    if parts["neighbour"] is not None:
        leaf = _fields(parts["neighbour"], f"{path}/map/neighbour", "label", "value")
        neighbour = Leaf(*(_hash(leaf[name], f"{path}/map/neighbour/{name}") for name in ("label", "value")))
    return Section(
        Key(kind, _text(fields["key"], f"{path}/key")),
        None if fields["blind"] is None else _hash(fields["blind"], f"{path}/blind"),
        tuple(_number(item, f"{path}/positions/{at}") for at, item in enumerate(_list(fields, "positions", path))),
        _read_proven(fields["seal"], f"{path}/seal"),
        MapProof(
            tuple(
                EMPTY if item == "" else _hash(item, f"{path}/map/siblings/{at}") for at, item in enumerate(siblings)
            ),
            neighbour,
        ),
    )


def _read_access(value: Any, path: str) -> Proven:
    if not isinstance(value, dict) or value.get("state") not in STATES:
        raise MalformedReportError(f"{path}/state is not one of {', '.join(STATES)}.")
    rest = {name: item for name, item in value.items() if name != "state"}
    proven = _read_proven(rest, path)
    if (proven.stored.payload is None) == (value["state"] == "included"):
        raise MalformedReportError(f"{path}/state contradicts whether there is a payload.")
    return Proven(proven.stored, proven.path, value["state"])


def _read_proven(value: Any, path: str) -> Proven:
    fields = _fields(value, path, "index", "entry", "payload", "salt", "path")
    hashes = [parse_base64(_text(item, f"{path}/path")) for item in _list(fields, "path", path)]
    if len(hashes) > MAX_PATH or any(item is None or len(item) != HASH_SIZE for item in hashes):
        raise MalformedReportError(f"{path}/path is not a list of at most {MAX_PATH} hashes in canonical base64.")
    payload, salt = fields["payload"], fields["salt"]
    if (payload is None) != (salt is None):
        raise MalformedReportError(f"{path} has a payload without its salt, or a salt without its payload.")
    return Proven(
        StoredEntry(
            _number(fields["index"], f"{path}/index"),
            _bytes(fields["entry"], f"{path}/entry"),
            None if payload is None else _bytes(payload, f"{path}/payload"),
            None if salt is None else _hash(salt, f"{path}/salt", SALT_SIZE),
        ),
        tuple(item for item in hashes if item is not None),
    )


def _fields(value: Any, path: str, *names: str) -> Mapping[str, Any]:
    if not isinstance(value, dict) or value.keys() != set(names):
        raise MalformedReportError(f"{path or '/'} does not have exactly the fields {', '.join(names)}.")
    return value


def _list(fields: Mapping[str, Any], name: str, path: str) -> list[Any]:
    value = fields[name]
    if not isinstance(value, list):
        raise MalformedReportError(f"{path}/{name} is not a list.")
    return value


def _text(value: Any, path: str) -> str:
    if not isinstance(value, str) or not value:
        raise MalformedReportError(f"{path} is not a text.")
    return value


def _bytes(value: Any, path: str) -> bytes:
    return _text(value, path).encode()


def _number(value: Any, path: str) -> int:
    if type(value) is not int or not 0 <= value <= MAX_INT:
        raise MalformedReportError(f"{path} is not a whole number from 0 to 2^53 - 1.")
    return value


def _hash(value: Any, path: str, size: int = HASH_SIZE) -> bytes:
    text = _text(value, path)
    if len(text) != 2 * size or _HEX.fullmatch(text) is None:
        raise MalformedReportError(f"{path} is not {size} bytes in lower-case hex.")
    return bytes.fromhex(text)
