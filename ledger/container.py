"""The one zip file a set of named byte strings has.

A regulator's file must change visibly when a single byte of it changes, so the container may leave no
freedom: members sorted by name, stored uncompressed, fixed date and attributes, no extra fields, no
comments, nothing before, between or after. `pack` writes that form, `unpack` accepts no other
(`pack(unpack(x)) == x` for everything it accepts). The layout is APPNOTE.TXT 6.3.10, sections 4.3.7,
4.3.12 and 4.3.16, without zip64. `ledger.verify_bundle` repeats the layout on purpose: it is shipped
alone.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping
from typing import Final

from ledger.errors import InputError, VerificationError

MAX_BYTES: Final = 0xFFFFFFFE
MAX_FILES: Final = 0xFFFE

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*", re.ASCII)
_LOCAL = struct.Struct("<IHHHHHIIIHH")
_CENTRAL = struct.Struct("<IHHHHHHIIIHHHHHII")
_END = struct.Struct("<IHHHHIIH")
# Version 2.0, stored, 1980-01-01 00:00:00; "made by" Unix so that the mode -rw-r--r-- is honoured.
_NEEDED, _FLAGS, _STORED, _TIME, _DATE = 20, 0, 0, 0, 0x0021
_MADE_BY, _MODE = 3 << 8 | 20, 0o100644 << 16


class ContainerError(VerificationError):
    """The bytes are not the canonical container of any set of files."""


def pack(files: Mapping[str, bytes]) -> bytes:
    """Write the canonical container of `files` (name to content).

    Raises:
        InputError: no file, a name that is not a plain relative ASCII path, or more than the format
            without zip64 holds (4 GiB, 65,534 files).
    """
    if not files or len(files) > MAX_FILES:
        raise InputError(f"A container holds 1 to {MAX_FILES} files; {len(files)} were given.")
    body: list[bytes] = []
    directory: list[bytes] = []
    offset = 0
    for name in sorted(files):
        if _NAME.fullmatch(name) is None:
            raise InputError("A file name in the container must be a plain relative ASCII path.", field=name)
        content, raw = files[name], name.encode("ascii")
        if offset + len(content) > MAX_BYTES:
            raise InputError(
                f"{name} takes the container past 4 GiB; bundle a narrower range of the ledger.", field=name
            )
        shared = (_FLAGS, _STORED, _TIME, _DATE, zlib.crc32(content), len(content), len(content), len(raw))
        local = _LOCAL.pack(0x04034B50, _NEEDED, *shared, 0) + raw + content
        directory.append(_CENTRAL.pack(0x02014B50, _MADE_BY, _NEEDED, *shared, 0, 0, 0, 0, _MODE, offset) + raw)
        body.append(local)
        offset += len(local)
    index = b"".join(directory)
    if offset + len(index) > MAX_BYTES:
        raise InputError("The container is past 4 GiB; bundle a narrower range of the ledger.")
    end = _END.pack(0x06054B50, 0, 0, len(files), len(files), len(index), offset, 0)
    return b"".join((*body, index, end))


def unpack(data: bytes) -> dict[str, bytes]:
    """Read a canonical container.

    Raises:
        ContainerError: anything `pack` would not have written, byte for byte.
    """
    files: dict[str, bytes] = {}
    offset = 0
    while data[offset : offset + 4] == b"PK\x03\x04":
        start = offset + _LOCAL.size
        if start > len(data):
            raise ContainerError(f"The container ends inside the file header at byte {offset}.")
        header = _LOCAL.unpack_from(data, offset)
        size, name_length = header[7], header[9]
        body = start + name_length
        if body + size > len(data):
            raise ContainerError(f"The container ends inside the file that starts at byte {offset}.")
        name = data[start:body].decode("ascii", "replace")
        if name in files:
            raise ContainerError(f"The container holds the same name twice, again at byte {offset}.")
        files[name] = data[body : body + size]
        offset = body + size
    try:
        rebuilt = pack(files)
    except InputError as error:
        raise ContainerError(f"Not a canonical container: {error}") from None
    if rebuilt != data:
        raise ContainerError(f"Not a canonical container: first difference at byte {_first_difference(rebuilt, data)}.")
    return files


def _first_difference(one: bytes, other: bytes) -> int:
    """Position of the first byte that differs; the shorter length if one is a prefix of the other."""
    low, high = 0, min(len(one), len(other))
    while low < high:  # bisect on equal prefixes: slices compare at memory speed
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return low
