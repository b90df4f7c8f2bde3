# SPDX-License-Identifier: Apache-2.0
"""Check a Tocsin bundle: one file, Python 3.8 or newer, standard library only, no network.

    python verify_bundle.py FILE.zip [--vkey VKEY | --policy FILE] [--json]

Exit status: 0 intact; 2 damaged (what and where is printed); 3 intact in itself but not signed as the
given key or policy demands; 4 unreadable (not a bundle, or one newer than this program).

A copy travels inside every bundle for convenience. Whoever can replace the bundle can replace that
copy: for evidence, take this file from the Tocsin repository and pin the ledger's key with --vkey.

This file repeats on purpose what the rest of Tocsin also implements (container, Ed25519, notes,
Merkle tree): it is a second, independent reading of the same bytes. Sources: RFC 8032 (Ed25519),
RFC 9162 section 2.1 (Merkle tree), C2SP signed-note, tlog-checkpoint, tlog-cosignature and
tlog-policy, docs/bundle.md (key rotations), PKWARE APPNOTE 6.3.10 (zip), RFC 8785 (canonical JSON, without floats).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import struct
import sys
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

FORMAT = "tocsin-bundle/v1"
EXIT_CODES = {"intact": 0, "damaged": 2, "not_anchored": 3, "unreadable": 4}
REQUIRED = (
    "README.txt",
    "affected.ndjson",
    "checkpoint",
    "entries.ndjson",
    "keys.txt",
    "policy",
    "receipts.ndjson",
    "report.json",
    "report.pdf",
    "verify_bundle.py",
)
MANIFEST = "manifest.note"
MAX_INT = 2**53 - 1
MAX_SIGNATURES = 100


class Refused(Exception):  # noqa: N818 - it carries a verdict, not a malfunction
    """The bundle does not pass; `where` names the file, entry index or member concerned."""

    def __init__(self, kind: str, where: str, message: str, verdict: str = "damaged") -> None:
        super().__init__(message)
        self.kind, self.where, self.message, self.verdict = kind, where, message, verdict


# --- Container ---------------------------------------------------------------------------------------

_LOCAL = struct.Struct("<IHHHHHIIIHH")
_CENTRAL = struct.Struct("<IHHHHHHIIIHHHHHII")
_END = struct.Struct("<IHHHHIIH")
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*", re.ASCII)


def read_container(data: bytes) -> dict[str, bytes]:
    """Split the zip into its files and demand that no byte of it could be otherwise."""
    if data[:4] != b"PK\x03\x04" and data[-22:-18] != b"PK\x05\x06":
        raise Refused("container", "file", "This is not a zip file.", "unreadable")
    files: dict[str, bytes] = {}
    offset = 0
    while data[offset : offset + 4] == b"PK\x03\x04":
        start = offset + _LOCAL.size
        header = data[offset:start]
        if len(header) < _LOCAL.size:
            raise Refused("container", f"byte {offset}", "The file ends inside a member's header.")
        fields = _LOCAL.unpack(header)
        checksum, size, name_length = fields[6], fields[8], fields[9]
        name = data[start : start + name_length].decode("ascii", "replace")
        content = data[start + name_length : start + name_length + size]
        if _NAME.fullmatch(name) is None or len(content) != size:
            raise Refused("container", f"byte {offset}", "A member's name or length is impossible.")
        if name in files:
            raise Refused("container", name, "The same name is there twice.")
        if fields[3] != 0:
            raise Refused("container", name, "The member is compressed; bundles store members as they are.")
        if zlib.crc32(content) != checksum:
            raise Refused("content", name, "The content does not match the checksum beside it.")
        files[name] = content
        offset = start + name_length + size
    if write_container(files) != data:
        raise Refused(
            "container",
            f"byte {offset} or the headers before it",
            "The container is not the one these files give: something was changed, added, removed or moved "
            "between them.",
        )
    return files


def write_container(files: dict[str, bytes]) -> bytes:
    """Serialise the files in the one form a bundle may have (see docs/bundle.md)."""
    body, directory, offset = [], [], 0
    for name in sorted(files):
        content, raw = files[name], name.encode("ascii")
        shared = (0, 0, 0, 0x0021, zlib.crc32(content), len(content), len(content), len(raw))
        local = _LOCAL.pack(0x04034B50, 20, *shared, 0) + raw + content
        mode = 0o100644 << 16
        directory.append(_CENTRAL.pack(0x02014B50, 3 << 8 | 20, 20, *shared, 0, 0, 0, 0, mode, offset) + raw)
        body.append(local)
        offset += len(local)
    index = b"".join(directory)
    return b"".join(body) + index + _END.pack(0x06054B50, 0, 0, len(files), len(files), len(index), offset, 0)


# --- Strict text, numbers, base64, JSON --------------------------------------------------------------


def decode_text(data: bytes, where: str) -> str:
    """UTF-8 without control characters other than newline, ending in a newline."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused("format", where, "The text is not valid UTF-8.") from None
    if re.search("[\x00-\x09\x0b-\x1f]", text) or not text.endswith("\n"):
        raise Refused("format", where, "The text holds a control character or does not end in a newline.")
    return text


def decode_number(text: str, where: str) -> int:
    """ASCII decimal without sign, spaces, underscores or leading zeros."""
    if re.fullmatch("0|[1-9][0-9]{0,18}", text) is None:
        raise Refused("format", where, "A number is not written in plain decimal.")
    return int(text)


def decode_base64(text: object, where: str, length: int | None = None) -> bytes:
    """RFC 4648 section 4 with padding; what does not re-encode to the same text is refused."""
    if not isinstance(text, str):
        raise Refused("format", where, "Base64 text was expected.")
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except ValueError:  # includes UnicodeEncodeError and binascii.Error
        raise Refused("format", where, "Base64 text is malformed.") from None
    if base64.b64encode(data).decode("ascii") != text or length not in (None, len(data)):
        raise Refused("format", where, "Base64 text is not in its one canonical form, or has the wrong length.")
    return data


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError
    return value


def _refuse_number(_text: str) -> None:
    raise ValueError


def canonical_json(value: Any) -> bytes:
    """RFC 8785 for the subset without floats and with ASCII keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def decode_json(data: bytes, where: str) -> Any:
    """Parse JSON that must be canonical byte for byte."""
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_no_duplicates,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
        same = canonical_json(value) == data
    except (ValueError, RecursionError):
        raise Refused("format", where, "This is not JSON as Tocsin writes it.") from None
    if not same:
        raise Refused("format", where, "This JSON is not in canonical form; it was altered or re-encoded.")
    return value


def decode_lines(data: bytes, where: str) -> list[Any]:
    """NDJSON: one canonical JSON value on each line; an empty file has no lines."""
    if not data:
        return []
    if not data.endswith(b"\n"):
        raise Refused("format", where, "The last line is cut off.")
    return [decode_json(line, f"{where} line {number}") for number, line in enumerate(data[:-1].split(b"\n"), 1)]


# --- Ed25519 (RFC 8032 section 5.1), verification only ------------------------------------------------

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_ROOT = pow(2, (_P - 1) // 4, _P)
_IDENTITY: tuple[int, ...] = (0, 1, 1, 0)


def _add(one: tuple[int, ...], two: tuple[int, ...]) -> tuple[int, ...]:
    """Addition in extended coordinates, RFC 8032 section 5.1.4 (complete: also for doubling)."""
    x1, y1, z1, t1 = one
    x2, y2, z2, t2 = two
    a, b = (y1 - x1) * (y2 - x2) % _P, (y1 + x1) * (y2 + x2) % _P
    c, d = 2 * t1 * t2 * _D % _P, 2 * z1 * z2 % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _decode_point(data: bytes) -> tuple[int, ...] | None:
    """RFC 8032 section 5.1.3; None for anything that is not a canonical encoding of a point."""
    value = int.from_bytes(data, "little")
    sign, y = value >> 255, value & (2**255 - 1)
    if y >= _P:
        return None
    square = (y * y - 1) * pow(_D * y * y + 1, _P - 2, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _ROOT % _P
    if (x * x - square) % _P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = _P - x
    return x, y, 1, x * y % _P


def _encode_point(point: tuple[int, ...]) -> bytes:
    inverse = pow(point[2], _P - 2, _P)
    x, y = point[0] * inverse % _P, point[1] * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _small_order(point: tuple[int, ...]) -> bool:
    for _ in range(3):
        point = _add(point, point)
    return point[0] == 0 and point[1] == point[2]


def _multiply_add(k: int, one: tuple[int, ...], m: int, two: tuple[int, ...]) -> tuple[int, ...]:
    """[k]one + [m]two, both scalars read together from the top bit."""
    table = (None, one, two, _add(one, two))
    result = _IDENTITY
    for bit in range(max(k.bit_length(), m.bit_length()) - 1, -1, -1):
        result = _add(result, result)
        term = table[(k >> bit & 1) | (m >> bit & 1) << 1]
        if term is not None:
            result = _add(result, term)
    return result


_BASE_Y = 4 * pow(5, _P - 2, _P) % _P
_BASE = _decode_point(_BASE_Y.to_bytes(32, "little")) or _IDENTITY


def verify_ed25519(public: bytes, message: bytes, signature: bytes) -> bool:
    """RFC 8032 section 5.1.7, cofactorless, and as strict as libsodium.

    A scalar at or above the group order, a non-canonical point, and a key or R of small order are
    refused: with those, one signature could fit several messages or several keys.
    """
    if len(public) != 32 or len(signature) != 64:  # noqa: PLR2004 - sizes of RFC 8032
        return False
    scalar = int.from_bytes(signature[32:], "little")
    key = _decode_point(public)
    if scalar >= _L or key is None or _small_order(key):
        return False
    digest = hashlib.sha512(signature[:32] + public + message).digest()
    challenge = int.from_bytes(digest, "little") % _L
    negated = (_P - key[0], key[1], key[2], _P - key[3])
    point = _multiply_add(scalar, _BASE, challenge, negated)
    return _encode_point(point) == signature[:32] and not _small_order(point)


# --- Signed notes, checkpoints, policies (C2SP) -------------------------------------------------------

_LOG_KEY, _WITNESS_KEY = 1, 4
_KEY_NAME = re.compile(r"[^\s+\x00-\x1f]{1,255}")


class Key:
    """A public key in vkey form, `<name>+<id>+<base64 of type and key>`."""

    def __init__(self, vkey: str, where: str) -> None:
        parts = vkey.split("+", 2)
        if len(parts) != 3 or _KEY_NAME.fullmatch(parts[0]) is None:  # noqa: PLR2004 - three parts of a vkey
            raise Refused("key", where, "A key is not in the form name+id+base64.")
        self.vkey, self.name = vkey, parts[0]
        material = decode_base64(parts[2], where, 33)
        self.type, self.public = material[0], material[1:]
        self.id = hashlib.sha256(self.name.encode("utf-8") + b"\n" + material).digest()[:4]
        if self.id.hex() != parts[1] or self.type not in (_LOG_KEY, _WITNESS_KEY):
            raise Refused("key", where, "A key's id does not belong to it, or its type is unknown.")

    def accepts(self, text: str, signature: bytes) -> bool:
        """Whether `signature` (without the key id) is this key's over the note text."""
        message = text.encode("utf-8")
        if self.type == _LOG_KEY:
            return verify_ed25519(self.public, message, signature)
        if len(signature) != 72:  # noqa: PLR2004 - 8 bytes of time and 64 of signature
            return False
        time = int.from_bytes(signature[:8], "big")
        head = f"cosignature/v1\ntime {time}\n".encode("ascii")
        return 0 < time < 2**63 and verify_ed25519(self.public, head + message, signature[8:])


class Note:
    """A signed note: text, and signature lines as (key name, key id, signature)."""

    def __init__(self, data: bytes, where: str) -> None:
        whole = decode_text(data, where)
        cut = whole.rfind("\n\n")
        if cut < 0:
            raise Refused("format", where, "The note has no signature part.")
        self.text, self.where = whole[: cut + 1], where
        self.signatures: list[tuple[str, bytes, bytes]] = []
        lines = whole[cut + 2 :].split("\n")[:-1]
        if not lines or len(lines) > MAX_SIGNATURES:
            raise Refused("format", where, "The note has no signature, or too many.")
        for line in lines:
            match = re.fullmatch("\u2014 ([^ ]+) ([A-Za-z0-9+/=]+)", line)
            if match is None or _KEY_NAME.fullmatch(match.group(1)) is None:
                raise Refused("format", where, "A signature line is malformed.")
            blob = decode_base64(match.group(2), where)
            self.signatures.append((match.group(1), blob[:4], blob[4:]))
        if len({item[:2] for item in self.signatures}) != len(self.signatures):
            raise Refused("format", where, "Two signature lines name the same key.")

    def signed_by(self, key: Key) -> bool:
        """Whether the key signed. A line that names the key but does not verify damns the note."""
        for name, key_id, signature in self.signatures:
            if (name, key_id) == (key.name, key.id):
                if not key.accepts(self.text, signature):
                    raise Refused("signature", self.where, f"The signature of {key.name} does not verify.")
                return True
        return False


def read_checkpoint(note: Note) -> tuple[str, int, bytes]:
    """Origin, tree size and root of a checkpoint's note text (tlog-checkpoint)."""
    lines = note.text.split("\n")[:-1]
    if len(lines) < 3 or "" in lines:  # noqa: PLR2004 - origin, size, root
        raise Refused("format", note.where, "The checkpoint lacks origin, size or root.")
    return lines[0], decode_number(lines[1], note.where), decode_base64(lines[2], note.where, 32)


class Policy:
    """A tlog-policy: which logs are trusted and which witnesses must have cosigned."""

    def __init__(self, data: bytes, where: str) -> None:
        self.where = where
        self.logs: list[Key] = []
        self.witnesses: dict[str, Key] = {}
        self.groups: dict[str, tuple[int, list[str]]] = {}
        self.members: set[str] = set()
        self.quorum: str | None = None
        if re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", data):
            raise self._fail("it holds a control character")
        for line in data.decode("latin-1").split("\n"):
            words = [word for word in re.split("[ \t]+", line) if word]
            if words and not words[0].startswith("#"):
                self._line([word.encode("latin-1").decode("utf-8", "replace") for word in words])
        if self.quorum is None:
            raise self._fail("it has no quorum line")

    def _fail(self, why: str) -> Refused:
        return Refused("policy", self.where, f"The policy cannot be used: {why}.", "unreadable")

    def _line(self, words: list[str]) -> None:
        verb, count = words[0], len(words)
        if verb == "log" and count in (2, 3):
            self.logs.append(self._key(words[1], _LOG_KEY))
        elif verb == "witness" and count in (3, 4):
            self._new_name(words[1])
            self.witnesses[words[1]] = self._key(words[2], _WITNESS_KEY)
        elif verb == "group" and count > 3:  # noqa: PLR2004 - verb, name, threshold, members
            self._group(words[1], words[2], words[3:])
        elif verb == "quorum" and count == 2 and self.quorum is None:  # noqa: PLR2004 - verb, name
            if words[1] != "none" and words[1] not in self.witnesses and words[1] not in self.groups:
                raise self._fail("the quorum names something not defined above it")
            self.quorum = words[1]
        else:
            raise self._fail("a line is neither log, witness, group nor the one quorum")

    def _key(self, vkey: str, kind: int) -> Key:
        try:
            key = Key(vkey, self.where)
        except Refused as error:
            raise self._fail("a key in it is malformed") from error
        known = [*self.logs, *self.witnesses.values()]
        if key.type != kind or any(key.public == other.public for other in known):
            raise self._fail("a key in it is of the wrong type or there twice")
        return key

    def _new_name(self, name: str) -> None:
        if name == "none" or name in self.witnesses or name in self.groups:
            raise self._fail("a name in it is reserved or defined twice")

    def _group(self, name: str, threshold: str, members: list[str]) -> None:
        self._new_name(name)
        for member in members:
            if member in self.members or (member not in self.witnesses and member not in self.groups):
                raise self._fail("a group member is unknown or already in a group")
            self.members.add(member)
        words = {"all": len(members), "any": 1}
        if threshold not in words and re.fullmatch("[1-9][0-9]{0,4}", threshold) is None:
            raise self._fail("a group's threshold is neither a number nor all nor any")
        needed = words[threshold] if threshold in words else int(threshold)
        if not 1 <= needed <= len(members):
            raise self._fail("a group asks for more members than it has, or none")
        self.groups[name] = (needed, members)

    def satisfied(self, name: str, note: Note) -> bool:
        """Whether the named witness or group cosigned `note`."""
        if name == "none":
            return True
        if name in self.witnesses:
            return note.signed_by(self.witnesses[name])
        needed, members = self.groups[name]
        return sum([self.satisfied(member, note) for member in members]) >= needed


# --- Merkle tree (RFC 9162 section 2.1) --------------------------------------------------------------


def leaf_hash(data: bytes) -> bytes:
    """SHA-256(0x00 || data)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_hash(leaves: Sequence[bytes]) -> bytes:
    """Merkle tree hash over leaf hashes, level by level; an odd last node moves up unchanged."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    level = list(leaves)
    while len(level) > 1:
        pairs = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = pairs + level[len(pairs) * 2 :]
    return level[0]


def root_from_path(index: int, size: int, leaf: bytes, path: Sequence[bytes]) -> bytes | None:
    """RFC 9162 section 2.1.3.2: the root the inclusion path leads to, None when it cannot fit."""
    if index >= size:
        return None
    fn, sn, result = index, size - 1, leaf
    for node in path:
        if sn == 0:
            return None
        if fn & 1 or fn == sn:
            result = node_hash(node, result)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            result = node_hash(result, node)
        fn, sn = fn >> 1, sn >> 1
    return result if sn == 0 else None


# --- What a bundle says ------------------------------------------------------------------------------

_ENTRY_FIELDS = {"commitment", "id", "recorded", "source", "stream", "time", "type", "version"}
_LINE_FIELDS = {"entry", "index", "path", "payload", "salt", "withheld"}


class Manifest:
    """The signed list of files and what the bundle is about."""

    def __init__(self, data: bytes) -> None:
        self.note = Note(data, MANIFEST)
        lines = self.note.text.split("\n")[:-1]
        if not re.fullmatch(r"tocsin-bundle/v[0-9]+", lines[0]):
            raise Refused("format", MANIFEST, "This is not the manifest of a Tocsin bundle.", "unreadable")
        if lines[0] != FORMAT:
            raise Refused("format", MANIFEST, "A newer verifier is needed for this bundle.", "unreadable")
        head = {}
        for name, line in zip(("incident", "stream", "origin", "size", "root"), lines[1:6]):  # noqa: B905 - Python 3.8
            if not line.startswith(name + " "):
                raise Refused("format", MANIFEST, f"The manifest lacks its {name} line.")
            head[name] = line[len(name) + 1 :]
        if len(head) != 5:  # noqa: PLR2004 - the five lines above
            raise Refused("format", MANIFEST, "The manifest is cut off.")
        self.incident, self.stream, self.origin = head["incident"], head["stream"], head["origin"]
        self.size = decode_number(head["size"], MANIFEST)
        self.root = decode_base64(head["root"], MANIFEST, 32)
        self.files: dict[str, tuple[str, int]] = {}
        for line in lines[6:]:
            match = re.fullmatch("([0-9a-f]{64}) ([0-9]+) ([!-~]+)", line)
            if match is None or (self.files and match.group(3) <= max(self.files)):
                raise Refused("format", MANIFEST, "A file line of the manifest is malformed or out of order.")
            self.files[match.group(3)] = (match.group(1), decode_number(match.group(2), MANIFEST))

    def fields(self) -> dict[str, Any]:
        """The header as `derive_bundle` takes it."""
        named = {"incident": self.incident, "stream": self.stream, "origin": self.origin}
        return {**named, "size": self.size, "root": self.root.hex()}


class Evidence:
    """One entry of the ledger with its payload, as far as the bundle discloses it."""

    def __init__(self, line: Any, size: int, root: bytes) -> None:
        if not isinstance(line, dict) or set(line) != _LINE_FIELDS or type(line["index"]) is not int:
            raise Refused("format", "entries.ndjson", "A line does not have exactly the fields of an entry line.")
        self.index: int = line["index"]
        where = f"entry {self.index}"
        raw = decode_base64(line["entry"], where)
        path = line["path"]
        if not isinstance(path, list) or len(path) > 64:  # noqa: PLR2004 - no tree is higher
            raise Refused("inclusion", where, "The inclusion path is malformed.")
        nodes = [decode_base64(node, where, 32) for node in path]
        reached = root_from_path(self.index, size, leaf_hash(raw), nodes) if self.index >= 0 else None
        if reached is None or not hmac.compare_digest(reached, root):
            raise Refused("inclusion", where, "The entry's inclusion path does not lead to the signed root.")
        self.entry: dict[str, Any] = decode_json(raw, where)
        if not isinstance(self.entry, dict) or set(self.entry) != _ENTRY_FIELDS:
            raise Refused("format", where, "The entry does not have exactly the fields of a Tocsin entry.")
        if type(self.entry["version"]) is not int or not all(
            isinstance(self.entry[name], str) for name in _ENTRY_FIELDS - {"version"}
        ):
            raise Refused("format", where, "A field of the entry has the wrong type.")
        self.type: str = self.entry["type"]
        self.withheld: str | None = line["withheld"]
        self.payload: Any = self._open(line, where)

    def _open(self, line: dict[str, Any], where: str) -> Any:
        if line["payload"] is None and line["salt"] is None and isinstance(line["withheld"], str):
            return None
        if line["withheld"] is not None:
            raise Refused("payload", where, "The payload is both there and marked as withheld.")
        payload, salt = decode_base64(line["payload"], where), decode_base64(line["salt"], where, 32)
        commitment = hashlib.sha256(b"tocsin/payload/v1" + salt + payload).hexdigest()
        if not hmac.compare_digest(commitment.encode(), self.entry["commitment"].encode()):
            raise Refused("payload", where, "The payload is not the one the entry committed to.")
        return decode_json(payload, where)


def read_entries(data: bytes, size: int, root: bytes) -> list[Evidence]:
    """Check each disclosed entry against the signed root, and their order."""
    evidence: list[Evidence] = []
    for line in decode_lines(data, "entries.ndjson"):
        item = Evidence(line, size, root)
        if evidence:
            before = evidence[-1]
            if item.index <= before.index:
                raise Refused("order", f"entry {item.index}", "Entries are not in the order of the log.")
            if item.entry["recorded"] < before.entry["recorded"]:
                raise Refused("order", f"entry {item.index}", "It was recorded before the entry it follows.")
        evidence.append(item)
    return evidence


def check_stream(evidence: Iterable[Evidence], stream: str) -> list[Evidence]:
    """The incident's own events, which must be versions 1, 2, 3 ... without a gap."""
    own = [item for item in evidence if item.entry["stream"] == stream]
    if not own:
        raise Refused("completeness", "entries.ndjson", "No event of the incident is in the bundle.")
    for expected, item in enumerate(own, 1):
        if item.entry["version"] != expected:
            raise Refused(
                "completeness",
                f"entry {item.index}",
                f"Version {expected} of the incident was expected here; an event is missing or out of place.",
            )
    return own


# --- Key rotations -----------------------------------------------------------------------------------

_ROTATED_EVENT = "org.tocsin.key.rotated.v1"
_OWN_SOURCE = "urn:tocsin:ledger"


class Rotation:
    """A change of the ledger's key: a statement in an entry, signed by the old and the new key."""

    def __init__(self, index: int, said: dict[str, Any], origin: str) -> None:
        where = f"entry {index}"
        since, statement = said.get("compromised_since"), said.get("statement")
        vkeys = [said.get("old"), said.get("new")]
        if not all(isinstance(text, str) for text in [*vkeys, statement]):
            raise Refused("key", where, "The key rotation recorded here is malformed.")
        self.index, self.since = index, since
        self.old, self.new = (Key(str(vkey), where) for vkey in vkeys)
        note = Note(str(statement).encode("utf-8"), where)
        # Origin and index are signed too, so that a statement holds at its own place in its own log only.
        text = f"tocsin.org/key-rotation/v1\norigin {origin}\nindex {index}\nold {vkeys[0]}\nnew {vkeys[1]}\n"
        if (
            note.text != text
            or not all(_signs_for(key, origin) and note.signed_by(key) for key in (self.old, self.new))
            or not (since is None or (type(since) is int and 0 <= since <= index))
        ):
            raise Refused("key", where, "The key rotation recorded here is not vouched for by both keys.")

    def __str__(self) -> str:
        change = f"key {self.old.id.hex()} was replaced by {self.new.id.hex()} at entry {self.index}"
        return f"{change}, each signed for by the other"


def _signs_for(key: Key, origin: str) -> bool:
    return (key.type, key.name) == (_LOG_KEY, origin)


def read_rotations(evidence: Iterable[Evidence], origin: str) -> list[Rotation]:
    """Every rotation of the log's key among the entries, oldest first, each starting from the key before."""
    rotations: list[Rotation] = []
    for item in evidence:
        if item.type != _ROTATED_EVENT or item.entry["source"] != _OWN_SOURCE:
            continue
        where = f"entry {item.index}"
        said = item.payload.get("data") if isinstance(item.payload, dict) else None
        if not isinstance(said, dict):
            raise Refused("key", where, "A key rotation is recorded here, but the bundle does not disclose it.")
        if said.get("purpose") != "log":
            continue  # the vault's key, which signs nothing
        rotation = Rotation(item.index, said, origin)
        if rotations and rotations[-1].new.vkey != rotation.old.vkey:
            raise Refused("key", where, "The key rotation recorded here does not start from the key before it.")
        if rotation.new.public in [rotation.old.public, *(other.old.public for other in rotations)]:
            raise Refused("key", where, "The key rotation recorded here leads back to a key that was replaced.")
        rotations.append(rotation)
    return rotations


def check_keys(
    evidence: Sequence[Evidence], manifest: Manifest, keys: Sequence[Key], checkpoint: Note
) -> list[Rotation]:
    """Follow the log's keys from the one that its first entry names to the one that signs.

    Args:
        evidence: the entries, proven to be in the log.
        manifest: names the log.
        keys: those of keys.txt, oldest first; the last one signed the manifest and the checkpoint.
        checkpoint: the signed tree head.
    """
    rotations = read_rotations(evidence, manifest.origin)
    first = evidence[0]
    if rotations and (first.index != 0 or not isinstance(first.payload, dict)):
        raise Refused("key", "entry 0", "The keys cannot be followed: the log's first entry is not disclosed.")
    if first.index == 0 and isinstance(first.payload, dict):
        said = first.payload.get("data") or {}
        if (said.get("origin"), said.get("vkey")) != (manifest.origin, keys[0].vkey):
            raise Refused(
                "key",
                "entry 0",
                "The first entry of the log names another log, or a key that is not the oldest in keys.txt.",
            )
    steps = [(rotation.old.vkey, rotation.new.vkey) for rotation in rotations]
    listed = [key.vkey for key in keys]
    if steps != list(zip(listed, listed[1:])):  # noqa: B905, RUF007 - Python 3.8
        raise Refused(
            "key",
            "keys.txt",
            "The keys listed are not those that the key rotations among the entries lead through; one is missing, "
            "added or out of order.",
        )
    if rotations and manifest.size == rotations[-1].index + 1 and not checkpoint.signed_by(rotations[-1].old):
        raise Refused("checkpoint", "checkpoint", "The tree head that covers a key rotation needs both signatures.")
    return rotations


# --- The report, said again from the entries ----------------------------------------------------------

REPORT_FORMAT = "tocsin-report/v1"
_INCIDENT_EVENT = re.compile(r"org\.tocsin\.incident\.([a-z_]+)\.v1")
_DEADLINE_EVENT = re.compile(r"org\.tocsin\.deadline\.[a-z_]+\.v1")
_RECEIPT_EVENT = "org.tocsin.dispatch.recorded.v1"
_ROWS = {
    "fact_recorded": ("facts", ("path", "state", "value", "source_kind", "source", "note")),
    "clock_recorded": ("clocks", ("name", "at", "source_kind", "source", "note")),
    "campaign_opened": ("campaigns", ("campaign", "notices", "owed", "audience")),
    "announced": ("announcements", ("notices", "places")),
    "recipient_told": ("told", ("duty", "stage", "told_at", "evidence")),
    "report_released": ("reports", ("name", "digest", "log_size")),
    "notice_drafted": (
        "notices",
        (
            "notice",
            "number",
            "audience",
            "language",
            "form",
            "jurisdictions",
            "duties",
            "elements",
            "content_hash",
        ),
    ),
}
KNOWN_VERBS = {
    *_ROWS,
    *("declared", "organisation_stated", "scoped", "assessed", "notice_approved", "campaign_finished", "closed"),
}
_SUPERSEDED_BY = {"facts": "path", "clocks": "name"}
_PHASES = ("detect_and_report", "assess_and_decide", "respond", "learn_lessons")
_REACHES = {
    "scoped": 1,
    "assessed": 1,
    "notice_approved": 2,
    "campaign_opened": 2,
    "announced": 2,
    "closed": 3,
}
_REACHED = ("handed_over", "delivered")
_COLUMNS = ("queued", "handed_over", "delivered", "failed", "excluded")

# What report.json may say beyond what its entries say, section by section; shown as "stated" to the reader.
STATED = {
    "": {"limits", "notice"},
    "head": {"generated_at", "generated_local", "how_to_verify", "vkey"},
    "clocks": {"at_local"},
    "duties": {"due_local", "state"},
    "timeline": {"text"},
}


def derive_bundle(
    manifest: dict[str, Any],
    disclosed: Sequence[tuple[int, dict[str, Any], Any, str | None]],
    members: Sequence[dict[str, Any]],
    receipts: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """Everything in report.json that follows from the rest of the bundle.

    The writer puts exactly this into report.json and adds only what `STATED` allows (titles and citations
    of the law data, local times); the verifier derives it again and demands to find it there.

    Args:
        manifest: incident, stream, origin, size and root (hex) as in the manifest.
        disclosed: (leaf index, entry, payload or None, why it is withheld or None) for each entry, in order.
        members: the lines of affected.ndjson.
        receipts: the lines of receipts.ndjson.
    """
    own = [item for item in disclosed if item[1]["stream"] == manifest["stream"]]
    report = derive_incident([(index, entry, payload) for index, entry, payload, _ in own])
    if report["affected"] is not None:
        report["affected"].update(count_members(members))
    report["receipts"] = count_receipts(receipts)
    report["deadlines"] = [
        {"index": index, "time": entry["time"], "type": entry["type"], "said": (payload or {}).get("data")}
        for index, entry, payload, _ in disclosed
        if _DEADLINE_EVENT.fullmatch(entry["type"])
    ]
    matched = {index for member in members for index in member["entries"]}
    report["head"] = {
        "format": REPORT_FORMAT,
        "ledger": manifest["origin"],
        "size": manifest["size"],
        "root": manifest["root"],
        "entries": len(disclosed),
        "first": disclosed[0][0],
        "last": disclosed[-1][0],
        "types": _count(entry["type"] for _, entry, _, _ in disclosed),
        "matched": len(matched),
        "withheld": _count(reason for _, _, _, reason in disclosed if reason is not None),
    }
    return report


def derive_incident(own: Sequence[tuple[int, dict[str, Any], Any]]) -> dict[str, Any]:
    """What the incident's own events say: (leaf index, entry, payload or None) of each, in order."""
    incident = {"phase": _PHASES[0], "closed_at": None, "lessons": None}
    report: dict[str, Any] = {"incident": incident, "affected": None, "assessment": None}
    report.update({section: [] for section, _ in _ROWS.values()}, duties=[], timeline=[])
    for index, entry, payload in own:
        match = _INCIDENT_EVENT.fullmatch(entry["type"])
        verb = match.group(1) if match else ""
        said = payload if isinstance(payload, dict) else {}
        stamp = {"index": index, "time": entry["time"], "by": said.get("by")}
        report["timeline"].append({**stamp, "version": entry["version"], "type": entry["type"]})
        incident["phase"] = _PHASES[max(_PHASES.index(incident["phase"] or ""), _REACHES.get(verb, 0))]
        if verb in _ROWS:
            section, names = _ROWS[verb]
            _supersede(report[section], _SUPERSEDED_BY.get(section), said)
            report[section].append({**{name: said.get(name) for name in names}, **stamp})
        else:
            _derive_rest(report, verb, said, stamp)
    return report


def _supersede(rows: list[dict[str, Any]], name: str | None, said: dict[str, Any]) -> None:
    if name is not None:
        for row in rows:
            row["superseded"] = row.get("superseded", False) or row[name] == said.get(name)


def _derive_rest(report: dict[str, Any], verb: str, said: dict[str, Any], stamp: dict[str, Any]) -> None:
    def take(*names: str) -> dict[str, Any]:
        return {name: said.get(name) for name in names}

    if verb == "declared":
        report["incident"].update(take("incident", "title", "time_zone", "organisation"))
        if "status" in said:  # ledgers of the first versions did not write it: theirs were all actual
            report["incident"]["status"] = said["status"]
        report["incident"].update(declared_at=stamp["time"], declared_by=stamp["by"])
    elif verb == "organisation_stated":
        held, more = report["incident"].get("organisation") or {}, said.get("organisation") or {}
        report["incident"]["organisation"] = {**held, **more}
    elif verb == "scoped":
        report["affected"] = {
            **take("root", "count", "log_size", "criteria", "summary", "difference"),
            **stamp,
        }
    elif verb == "assessed":
        report["assessment"] = {**take("law_version", "digest", "log_size", "facts", "changed"), **stamp}
        report["duties"] = [dict(row) for row in said.get("decisions", [])]
    elif verb == "notice_approved":
        approval = {"approver": stamp["by"], "approved_at": stamp["time"], "approval_index": stamp["index"]}
        approval["approved_hash"] = said.get("content_hash")
        _mark(report["notices"], take("notice", "number"), approval)
    elif verb == "campaign_finished":
        end = {"balance": said.get("balance"), "finished_at": stamp["time"], "finish_index": stamp["index"]}
        _mark(report["campaigns"], take("campaign"), end)
    elif verb == "closed":
        report["incident"].update(closed_at=stamp["time"], lessons=said.get("lessons"))


def _mark(rows: list[dict[str, Any]], which: dict[str, Any], more: dict[str, Any]) -> None:
    for row in rows:
        if all(row[name] == value for name, value in which.items()):
            row.update(more)


def _count(names: Iterable[Any]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items()))


def count_members(members: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The affected set in numbers, counted from its members."""
    sure = _count(member["confidence"] for member in members)
    return {
        "by_confidence": {name: sure.get(name, 0) for name in ("confirmed", "probable", "possible")},
        "by_jurisdiction": _count(member["jurisdiction"] or "unknown" for member in members),
        "by_language": _count(member["language"] or "unknown" for member in members),
        "data_categories": sorted({item for member in members for item in member["data_categories"]}),
        "under_14": sum(1 for member in members if member["under_14"]),
        "under_18": sum(1 for member in members if member["under_18"]),
    }


def compare_report(derived: dict[str, Any], report: Any) -> None:
    """Demand that report.json says what was derived, and beyond it only what may be stated."""
    if not isinstance(report, dict):
        raise Refused("report", "report.json", "The report is not a JSON object.")
    _compare_members(derived, report, STATED[""], "report.json ", shallow=True)
    for section, expected in derived.items():
        found, where, extra = report[section], f"report.json /{section}", STATED.get(section, set())
        if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
            for number, row in enumerate(expected):
                _compare_members(row, found[number], extra, f"{where}/{number}")
        elif isinstance(expected, dict) and isinstance(found, dict):
            _compare_members(expected, found, extra, where)
        elif expected is not None or found is not None:
            raise Refused("report", where, "The report does not have what the entries say here.")


def _compare_members(expected: Any, found: Any, extra: set[str], where: str, shallow: bool = False) -> None:
    if not isinstance(expected, dict) or not isinstance(found, dict):
        raise Refused("report", where, "The report does not have what the entries say here.")
    for name in sorted(set(expected) | set(found)):
        if name not in found:
            raise Refused("report", f"{where}/{name}", "The report leaves out what the entries say.")
        if name not in expected:
            if name not in extra:
                raise Refused("report", f"{where}/{name}", "The report says something that no entry says.")
        elif not shallow and canonical_json(expected[name]) != canonical_json(found[name]):
            raise Refused("report", f"{where}/{name}", "The report says something else than the entries.")


# --- The rest of the bundle against the entries -------------------------------------------------------

_MEMBER_FIELDS = {
    *("confidence", "data_categories", "entries", "entry_count", "guardians", "jurisdiction", "language"),
    *("legal_classes", "ref", "under_14", "under_18"),
}


def check_affected(data: bytes, own: Sequence[Evidence], evidence: Sequence[Evidence]) -> list[dict[str, Any]]:
    """The frozen list: its Merkle root, its order, its counts, and the entries each member rests on."""
    members = decode_lines(data, "affected.ndjson")
    scoped = [item for item in own if item.type == "org.tocsin.incident.scoped.v1"]
    if not scoped:
        if members:
            raise Refused("affected", "affected.ndjson", "A list is there, but no search was recorded.")
        return members
    said, where = scoped[-1].payload, f"entry {scoped[-1].index}"
    if not isinstance(said, dict):
        raise Refused("affected", where, "The search's result is withheld, so the list cannot be checked.")
    _check_members(members, {item.index: item for item in evidence}, said)
    lines = data[:-1].split(b"\n") if data else []
    if root_hash([leaf_hash(line) for line in lines]).hex() != said.get("root"):
        raise Refused("affected", "affected.ndjson", f"The list is not the one frozen in {where}.")
    counted, summary = count_members(members), said.get("summary")
    if said.get("count") != len(members) or not isinstance(summary, dict):
        raise Refused("affected", where, "The recorded number of people is not that of the list.")
    _check_accesses(evidence, said, summary.get("accesses"), where)
    for name in counted:
        if name in summary and summary[name] != counted[name]:
            raise Refused("affected", where, f"The recorded {name} is not what the list gives.")
    return members


def _check_members(members: Sequence[Any], entries: dict[int, Evidence], said: dict[str, Any]) -> None:
    met: set[int] = set()
    criteria = said.get("criteria") or {}
    for number, member in enumerate(members, 1):
        where = f"affected.ndjson line {number}"
        if not isinstance(member, dict) or set(member) != _MEMBER_FIELDS:
            raise Refused("format", where, "A line does not have exactly the fields of an affected person.")
        if number > 1 and not members[number - 2]["ref"] < member["ref"]:
            raise Refused("affected", where, "The list is not in the order of its pseudonyms.")
        for index in member["entries"]:
            if index not in entries:
                raise Refused("affected", where, f"Entry {index}, on which this line rests, is not in the bundle.")
            # A withheld payload cannot be judged; how many are withheld is in the report.
            if index not in met and entries[index].withheld is None and not rows_meeting(criteria, entries[index]):
                raise Refused("affected", f"entry {index}", "The access does not meet the recorded search.")
            met.add(index)


def _check_accesses(evidence: Sequence[Evidence], said: dict[str, Any], recorded: Any, where: str) -> None:
    """As many accesses must meet the search here as the ledger counted when it searched."""
    searched = [item for item in evidence if item.index < said["log_size"]]
    found = sum(rows_meeting(said.get("criteria") or {}, item) for item in searched)
    withheld = any(item.withheld is not None for item in searched)
    if recorded is not None and (found > recorded or (found < recorded and not withheld)):
        raise Refused(
            "completeness", where, f"The search matched {recorded} accesses, but {found} that meet it are here."
        )


def rows_meeting(criteria: dict[str, Any], item: Evidence) -> int:
    """How many accesses of an event meet the search: any value within a field, all fields together.

    An event that names several people is one access to each of them.
    """
    action = ".".join(item.type.split(".")[-3:-1])
    data = item.payload.get("data") if isinstance(item.payload, dict) else None
    if not isinstance(data, dict) or not action.startswith(("data.", "access.")):
        return 0
    time, since, until = item.entry["time"], criteria.get("since"), criteria.get("until")
    if (since is not None and time < since) or (until is not None and time >= until):
        return 0
    resource = data.get("resource") or {}
    values = {
        "actors": (data.get("actor") or {}).get("id"),
        "credentials": data.get("credential"),
        "addresses": (data.get("client") or {}).get("ip_ref"),
        "resources": resource.get("id"),
        "containers": resource.get("container"),
        "actions": action,
        "outcomes": data.get("outcome") or "",
    }
    if any(criteria.get(name) and value not in criteria[name] for name, value in values.items()):
        return 0
    people, wanted = [subject.get("ref") for subject in data.get("subjects") or [{}]], criteria.get("subjects")
    return sum(1 for person in people if not wanted or person in wanted)


def check_receipts(data: bytes, evidence: Sequence[Evidence]) -> list[dict[str, Any]]:
    """Each block of dispatch receipts against the entry that committed to its Merkle root."""
    receipts = decode_lines(data, "receipts.ndjson")
    leaves: dict[int, list[bytes]] = {}
    for number, line in enumerate(receipts, 1):
        if not isinstance(line, dict) or set(line) != {"block", "leaf"} or not isinstance(line["leaf"], dict):
            raise Refused("format", f"receipts.ndjson line {number}", "A line is not a receipt.")
        leaves.setdefault(line["block"], []).append(leaf_hash(canonical_json(line["leaf"])))
    blocks = {item.index: item for item in evidence if item.type == _RECEIPT_EVENT}
    for index in sorted(set(leaves) | set(blocks)):
        where = f"entry {index}"
        if index not in blocks or not isinstance(blocks[index].payload, dict):
            raise Refused("receipts", where, "Receipts name this entry, but it does not commit to receipts.")
        said = blocks[index].payload.get("data") or {}
        found = leaves.get(index, [])
        if said.get("count") != len(found) or said.get("root") != root_hash(found).hex():
            raise Refused("receipts", where, "The receipts of this block are not the ones it committed to.")
    for number, line in enumerate(receipts, 1):
        if line["leaf"].get("campaign") != blocks[line["block"]].payload["data"].get("campaign"):
            raise Refused("receipts", f"receipts.ndjson line {number}", "A receipt is of another campaign.")
    return receipts


def check_texts(own: Sequence[Evidence], receipts: Sequence[dict[str, Any]]) -> None:
    """The texts behind the hashes: a notice's hash is of its messages, a receipt's of an approved message."""
    drafted: dict[tuple[Any, Any], set[str]] = {}
    approved: set[str] = set()
    for item in own:
        said = item.payload if isinstance(item.payload, dict) else {}
        which, where = (said.get("notice"), said.get("number")), f"entry {item.index}"
        if item.type == "org.tocsin.incident.notice_drafted.v1":
            messages = sorted(said["messages"], key=lambda message: str(message["channel"]))
            if _hash(messages) != said["content_hash"]:
                raise Refused("approval", where, "The notice's content hash is not that of its messages.")
            drafted[which] = {_hash(message) for message in messages}
        elif item.type == "org.tocsin.incident.notice_approved.v1":
            approved |= drafted.get(which, set())
    for number, line in enumerate(receipts, 1):
        if line["leaf"]["notice"] not in approved:
            raise Refused("approval", f"receipts.ndjson line {number}", "What was sent is no approved text.")


def _hash(value: Any) -> str:
    return hashlib.sha256(canonical_json(value)).hexdigest()


def count_receipts(receipts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The receipts in numbers: attempts by outcome, and per campaign the messages that were taken over."""
    accepted: dict[str, set[str]] = {}
    for line in receipts:
        leaf = line["leaf"]
        messages = accepted.setdefault(leaf["campaign"], set())
        if leaf["outcome"] in _REACHED:
            messages.add(leaf["message_id"])
    return {
        "count": len(receipts),
        "blocks": len({line["block"] for line in receipts}),
        "outcomes": _count(line["leaf"]["outcome"] for line in receipts),
        "modes": _count(line["leaf"]["mode"] for line in receipts),
        "providers": _count(line["leaf"]["provider"] or "none" for line in receipts),
        "accepted": {campaign: len(messages) for campaign, messages in sorted(accepted.items())},
    }


def _check_balance(campaign: dict[str, Any], accepted: int) -> None:
    balance, where = campaign.get("balance"), f"entry {campaign.get('finish_index')}"
    if balance is None:
        return
    if balance.get("owed") != sum(balance.get(name, 0) for name in _COLUMNS):
        raise Refused("balance", where, "The balance of the dispatch does not close.")
    if sum(balance.get(name, 0) for name in _REACHED) > accepted:
        raise Refused("balance", where, "The balance claims more people reached than there are receipts for.")


def check_conduct(report: dict[str, Any]) -> str:
    """Rules of the house that the derived report itself shows to be kept or broken."""
    if report["incident"].get("status") == "Exercise" and set(report["receipts"]["modes"]) - {"drill"}:
        raise Refused("receipts", "receipts.ndjson", "This is an exercise, but messages of it were really sent.")
    approved: dict[tuple[Any, Any], int] = {}
    authors: dict[Any, set[Any]] = {}
    for row in report["notices"]:
        authors.setdefault(row["notice"], set()).add(row["by"])
        if row.get("approver") is not None:
            where = f"entry {row['approval_index']}"
            if row["approver"] in authors.pop(row["notice"]):
                raise Refused("approval", where, "A notice was approved by one of its own authors.")
            if row["approved_hash"] != row["content_hash"]:
                raise Refused("approval", where, "An approval is for another text than the notice's.")
            approved[row["notice"], row["content_hash"]] = row["approval_index"]
    for row in report["campaigns"] + report["announcements"]:
        for notice, digest in sorted((row["notices"] or {}).items()):
            if approved.get((notice, digest), row["index"]) >= row["index"]:
                raise Refused("approval", f"entry {row['index']}", f"Notice {notice} went out unapproved.")
    for row in report["campaigns"]:
        _check_balance(row, report["receipts"]["accepted"].get(row["campaign"], 0))
    return f"{len(approved)} approvals, each by somebody else than the author; {len(report['campaigns'])} campaigns"


# --- The verdict -------------------------------------------------------------------------------------

CHECKS = (
    ("container", "the zip is byte for byte the one its files give"),
    ("signature", "the manifest is signed by the ledger's key"),
    ("files", "every file is the one the manifest lists, and there is no other"),
    ("checkpoint", "the ledger signed the tree head that the manifest names"),
    ("entries", "every entry is in that tree, and every disclosed payload is the one committed to"),
    ("keys", "the ledger's keys lead from one to the next, each change signed by both"),
    ("stream", "the incident's events are complete from the first to the last one here"),
    ("affected", "the list of affected people is the one frozen in the ledger"),
    ("receipts", "the dispatch receipts are the ones recorded in the ledger"),
    (
        "approvals",
        "every text sent was approved before by somebody else, and every finished balance closes",
    ),
    ("report", "the report says what the entries say"),
    ("anchor", "the key or policy you gave vouches for this ledger"),
)
NOT_CHECKED = (
    "Whether what was recorded is true: the ledger proves that it was said, when, and never changed since.",
    "Whether more happened to this incident after its last event here; ask for a newer bundle.",
    "Whether the ledger itself counted every access when it searched; as many as it counted are here.",
    "report.pdf was not read: its bytes are signed, but only report.json was compared with the entries.",
    "This program itself: a forger can replace a copy inside a bundle; take it from the Tocsin repository.",
    "The law: no duty, deadline or citation was judged; this is not legal advice.",
)


class _Run:
    """One verification: remembers which checks passed, stops at the first that does not."""

    def __init__(self) -> None:
        self.checks: list[dict[str, str]] = []
        self.facts: dict[str, Any] = {}
        self.not_checked = list(NOT_CHECKED)

    def passed(self, name: str, detail: str) -> None:
        self.checks.append({"check": name, "state": "proven", "detail": detail})

    def result(self, error: Refused | None) -> dict[str, Any]:
        if error is not None and len(self.checks) < len(CHECKS):
            self.checks.append({"check": CHECKS[len(self.checks)][0], "state": "failed", "detail": error.message})
        done = len(self.checks)
        self.checks += [{"check": name, "state": "not reached", "detail": ""} for name, _ in CHECKS[done:]]
        verdict = error.verdict if error else "intact"
        return {
            "verdict": verdict,
            "exit_code": EXIT_CODES[verdict],
            "kind": error.kind if error else None,
            "where": error.where if error else None,
            "message": error.message if error else None,
            "checks": self.checks,
            "not_checked": self.not_checked,
            "bundle": self.facts,
        }


def verify_bytes(data: bytes, vkey: str | None = None, policy: bytes | None = None) -> dict[str, Any]:
    """Check a bundle held in memory.

    Args:
        data: the zip file.
        vkey: the ledger's key as the reader got it from elsewhere (C2SP vkey form); any key that it ever
            had will do, if rotations lead from there to the one that signs.
        policy: the text of a tlog-policy the reader trusts; at most one of the two is needed.

    Returns:
        `verdict` ("intact", "damaged", "not_anchored", "unreadable"), `exit_code`, `kind`, `where` and
        `message` of the first failure (None if there is none), `checks`, `not_checked`, and `bundle`
        with what the bundle says it is about. Never raises for bad input.
    """
    run = _Run()
    try:
        _verify(run, data, vkey, policy)
    except Refused as error:
        return run.result(error)
    except Exception as error:  # noqa: BLE001 - whatever a forger made us trip over, it did not pass
        kind = type(error).__name__
        return run.result(Refused("unexpected", "file", f"The check could not be finished ({kind})."))
    return run.result(None)


def _verify(run: _Run, data: bytes, vkey: str | None, policy: bytes | None) -> None:
    pinned = _given_key(vkey) if vkey is not None else None
    rules = Policy(policy, "the given policy") if policy is not None else None
    run.facts["sha256"] = hashlib.sha256(data).hexdigest()
    files = read_container(data)
    run.passed("container", f"{len(files)} files, {len(data)} bytes")
    if MANIFEST not in files:
        raise Refused("format", MANIFEST, "This zip has no manifest, so it is not a Tocsin bundle.", "unreadable")
    manifest = Manifest(files[MANIFEST])
    run.facts.update(incident=manifest.incident, origin=manifest.origin, size=manifest.size, root=manifest.root.hex())
    keys = _ledger_keys(files.get("keys.txt", b""), manifest)
    key = keys[-1]
    run.facts.update(vkey=key.vkey, keys=[item.vkey for item in keys])
    run.passed("signature", f"by {key.name} (key id {key.id.hex()})")
    _check_files(files, manifest)
    _check_policy(files["policy"], key)
    run.passed("files", f"{len(manifest.files)} files hashed")
    checkpoint = _check_checkpoint(files["checkpoint"], manifest, key)
    run.passed("checkpoint", f"tree of {manifest.size} entries")
    evidence = read_entries(files["entries.ndjson"], manifest.size, manifest.root)
    if not evidence:
        raise Refused("completeness", "entries.ndjson", "The bundle holds no entry.")
    closed = sum(1 for item in evidence if item.withheld is not None)
    run.passed("entries", f"{len(evidence)} entries, {len(evidence) - closed} payloads opened, {closed} withheld")
    rotations = check_keys(evidence, manifest, keys, checkpoint)
    run.passed("keys", "; ".join([f"{len(keys)} keys" if rotations else "1 key", *map(str, rotations)]))
    run.not_checked[:0] = [
        f"What key {rotation.old.id.hex()} signed for entries {rotation.since} to {rotation.index}: it is declared "
        f"compromised since {rotation.since} entries; hold these entries against what witnesses or others kept."
        for rotation in rotations
        if rotation.since is not None
    ]
    own = check_stream(evidence, manifest.stream)
    run.passed("stream", f"versions 1 to {len(own)}")
    _check_content(run, files, manifest, evidence)
    _check_anchor(run, checkpoint, keys, rotations, pinned=pinned, rules=rules)


def _given_key(vkey: str) -> Key:
    try:
        key = Key(vkey, "the given key")
    except Refused as error:
        raise Refused("key", error.where, error.message, "unreadable") from None
    if key.type != _LOG_KEY:
        raise Refused("key", "the given key", "This is a witness's key; give the ledger's.", "unreadable")
    return key


def _ledger_keys(data: bytes, manifest: Manifest) -> list[Key]:
    """The keys of keys.txt, oldest first, once the last of them has verified the manifest."""
    keys = [Key(line, "keys.txt") for line in decode_text(data, "keys.txt").split("\n")[:-1]]
    if not all(_signs_for(key, manifest.origin) for key in keys) or not manifest.note.signed_by(keys[-1]):
        why = "The manifest is not signed by the newest key in keys.txt, or a key there is not of this ledger."
        raise Refused("signature", MANIFEST, why)
    return keys


def _check_files(files: dict[str, bytes], manifest: Manifest) -> None:
    for name, (digest, size) in manifest.files.items():
        if name not in files:
            raise Refused("files", name, "The manifest lists this file, but it is not in the bundle.")
        if len(files[name]) != size or hashlib.sha256(files[name]).hexdigest() != digest:
            raise Refused("files", name, "The file is not the one that the manifest lists.")
    for name in files:
        if name not in manifest.files and name != MANIFEST:
            raise Refused("files", name, "The bundle holds a file that the manifest does not list.")
    for name in REQUIRED:
        if name not in manifest.files:
            raise Refused("files", name, "A file that every bundle has is not there.")


def _check_policy(data: bytes, key: Key) -> None:
    """The policy offered for pinning must name the key that signed."""
    try:
        logs = Policy(data, "policy").logs
    except Refused as error:
        raise Refused("policy", "policy", error.message) from None
    if all((log.name, log.public) != (key.name, key.public) for log in logs):
        raise Refused("policy", "policy", "The policy in the bundle is for another ledger's key.")


def _check_checkpoint(data: bytes, manifest: Manifest, key: Key) -> Note:
    note = Note(data, "checkpoint")
    if read_checkpoint(note) != (manifest.origin, manifest.size, manifest.root):
        raise Refused("checkpoint", "checkpoint", "The checkpoint is not the one the manifest names.")
    if not note.signed_by(key):
        raise Refused("checkpoint", "checkpoint", "The ledger's key did not sign this checkpoint.")
    return note


def _check_content(run: _Run, files: dict[str, bytes], manifest: Manifest, evidence: list[Evidence]) -> None:
    """The list of people, the receipts and the report against the entries."""
    own = [item for item in evidence if item.entry["stream"] == manifest.stream]
    for item in own:
        match = _INCIDENT_EVENT.fullmatch(item.type)
        if match is None or match.group(1) not in KNOWN_VERBS:
            why = "This verifier does not know this kind of event; a newer one is needed."
            raise Refused("format", f"entry {item.index}", why, "unreadable")
    members = check_affected(files["affected.ndjson"], own, evidence)
    run.passed("affected", f"{len(members)} people")
    receipts = check_receipts(files["receipts.ndjson"], evidence)
    run.passed("receipts", f"{len(receipts)} receipts in {len({line['block'] for line in receipts})} blocks")
    derived = derive_bundle(
        manifest.fields(),
        [(item.index, item.entry, item.payload, item.withheld) for item in evidence],
        members,
        receipts,
    )
    if derived["incident"].get("incident") != manifest.incident:
        raise Refused("report", MANIFEST, "The incident's events are those of another incident.")
    run.facts["status"] = derived["incident"].get("status", "Actual")
    check_texts(own, receipts)
    run.passed("approvals", check_conduct(derived))
    compare_report(derived, decode_json(files["report.json"], "report.json"))
    stated = "; ".join(f"{section or 'report'}: {', '.join(sorted(STATED[section]))}" for section in sorted(STATED))
    run.not_checked.append(f"What report.json adds that no entry says ({stated}).")
    run.passed("report", f"{len(derived['timeline'])} events, {len(derived['duties'])} decisions")


def _check_anchor(
    run: _Run,
    checkpoint: Note,
    keys: Sequence[Key],
    rotations: Sequence[Rotation],
    *,
    pinned: Key | None,
    rules: Policy | None,
) -> None:
    """Demand that a key the reader trusts is the one that signs, or was replaced step by step by it."""
    if pinned is None and rules is None:
        run.checks.append({"check": "anchor", "state": "skipped", "detail": "no key or policy was given"})
        run.not_checked.insert(
            0,
            "Whose key it is: compare the key printed here with the one the organisation published, or give "
            "that one with --vkey. Anybody can make an intact bundle with a key of their own.",
        )
        return
    start = len(rotations)
    if pinned is not None:
        why = "The bundle is intact but signed by another key, and no key rotation leads from yours to it."
        start = _start_at(keys, [pinned], why)
    if rules is not None:
        start = min(start, _start_at(keys, rules.logs, "The bundle is intact but its ledger is not in the policy."))
        if not rules.satisfied(rules.quorum or "", checkpoint):
            raise Refused(
                "quorum",
                "checkpoint",
                "The bundle is intact but the witnesses that the policy demands did not cosign its tree.",
                "not_anchored",
            )
    followed = rotations[start:]
    detail = f"{keys[-1].name} is vouched for by what you gave"
    if followed:
        detail += f", which names an older key of it: {'; '.join(map(str, followed))}"
    if any(rotation.since is not None for rotation in followed):
        run.not_checked.insert(
            0,
            "Whether the thief of a key made this bundle: the key you gave, or one after it, is declared "
            "compromised, and whoever has it can lead on to any other. Get the newest key from the organisation.",
        )
    run.passed("anchor", detail)


def _start_at(keys: Sequence[Key], trusted: Sequence[Key], why: str) -> int:
    """Place of the newest key that is trusted; the chain of rotations counts from there."""
    known = [(key.name, key.public) for key in trusted]
    places = [place for place, key in enumerate(keys) if (key.name, key.public) in known]
    if not places:
        raise Refused("key", MANIFEST, why, "not_anchored")
    return places[-1]


def verify_file(path: str, vkey: str | None = None, policy: str | None = None) -> dict[str, Any]:
    """Check a bundle in a file; `policy` is the path of a tlog-policy file. See `verify_bytes`."""
    contents = []
    for name in (path, policy):
        try:
            contents.append(_read(name) if name is not None else None)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            return _Run().result(Refused("file", str(name), f"The file cannot be read: {reason}.", "unreadable"))
    return verify_bytes(contents[0] or b"", vkey, contents[1])


def _read(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123 - `path` may be any path-like, and pathlib adds nothing here
        return file.read()


# --- Command line ------------------------------------------------------------------------------------


def safe(text: object) -> str:
    """Printable ASCII only: a bundle must not be able to write escape codes on a terminal."""
    return "".join(
        character if " " <= character <= "~" else character.encode("unicode_escape").decode("ascii")
        for character in str(text)
    )


def render(result: dict[str, Any]) -> str:
    """The verdict in plain words."""
    lines = []
    bundle = result["bundle"]
    if "incident" in bundle:
        lines += [f"Bundle of incident {safe(bundle['incident'])}", f"Ledger {safe(bundle['origin'])}"]
        lines += [f"Tree   {bundle['size']} entries, root {bundle['root']}"]
    if bundle.get("status", "Actual") != "Actual":
        lines += [f"Status {safe(bundle['status'])}: this is a drill, nothing in it happened"]
    if "vkey" in bundle:
        lines += [f"Key    {safe(bundle['vkey'])}"]
    if "sha256" in bundle:
        lines += [f"File   SHA-256 {bundle['sha256']}"]
    lines += ["", "Checked:"]
    texts = dict(CHECKS)
    for check in result["checks"]:
        detail = f" ({safe(check['detail'])})" if check["detail"] else ""
        lines.append(f"  [{check['state']:>11}] {texts[check['check']]}{detail}")
    lines += ["", "Not checked:"]
    lines += [f"  - {item}" for item in result["not_checked"]]
    verdict = result["verdict"].replace("_", " ").upper()
    lines += ["", f"{verdict}" + ("" if result["exit_code"] == 0 else f": {safe(result['message'])}")]
    if result["where"] is not None:
        lines.append(f"  kind {result['kind']}, at {safe(result['where'])}")
    return "\n".join(lines) + "\n"


def print_result(result: dict[str, Any]) -> None:
    """Print the verdict in plain words."""
    sys.stdout.write(render(result))


def main(arguments: Sequence[str]) -> int:
    """Run as a program; returns the exit status."""
    import argparse

    parser = argparse.ArgumentParser(prog="verify_bundle.py", description="Check a Tocsin bundle offline.")
    parser.add_argument("file", help="the bundle, a zip file")
    pin = parser.add_mutually_exclusive_group()
    pin.add_argument("--vkey", help="the ledger's public key, got from somewhere other than the bundle")
    pin.add_argument("--policy", help="a tlog-policy file that says which ledger and witnesses you trust")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    try:
        given = parser.parse_args(list(arguments))
    except SystemExit as stop:  # argparse ends with 2 on bad usage, which here would mean "damaged"
        return 0 if stop.code == 0 else EXIT_CODES["unreadable"]
    result = verify_file(given.file, given.vkey, given.policy)
    if given.json:
        sys.stdout.write(json.dumps(result, indent=2) + "\n")
    else:
        print_result(result)
    return int(result["exit_code"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
