"""A model of a disk: what a program's system calls have made durable, and what a power cut may take away.

What POSIX promises and nothing more: a file's bytes are durable once the file was synced, a name once its directory
was. What was not synced may be lost, kept, or kept in part; writes may reach the disk in any order, and of one write
any first part in sectors of 512 bytes. Changes of the names in one directory keep their order, as journals do.
A sync that fails loses what it should have saved: the kernel marks those pages as clean, and no later sync writes them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from tracing import Call

TRACED = (
    *("openat", "creat", "pwrite64", "write", "lseek", "ftruncate", "fdatasync", "fsync", "rename", "renameat"),
    *("renameat2", "link", "linkat", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir"),
)
_SECTOR = 512
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_NUMBER = re.compile(r"(\d+)(?:<|$)")


class File:
    """Bytes that are durable, and what was written since."""

    def __init__(self, content: bytes = b"") -> None:
        self.size = len(content)
        self.durable = bytearray(content)
        self.pending: list[tuple[int, bytes | None]] = []

    def write(self, offset: int, data: bytes) -> None:
        self.size = max(self.size, offset + len(data))
        self.pending.append((offset, data))

    def truncate(self, size: int) -> None:
        self.size = size
        self.pending.append((size, None))

    def sync(self) -> None:
        for offset, data in self.pending:
            _put(self.durable, offset, data)
        self.pending.clear()

    def after_cut(self, luck: Random | None) -> bytes:
        left = bytearray(self.durable)
        for offset, data in self.pending if luck else ():
            assert luck is not None
            if luck.random() < 0.5:
                torn = data is not None and luck.random() < 0.3
                whole = len(data or b"")
                _put(left, offset, data[: luck.randrange(0, whole + 1, _SECTOR)] if data and torn else data)
        return bytes(left)


def _put(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
    elif data:
        content.extend(bytes(max(0, offset - len(content))))
        content[offset : offset + len(data)] = data


class Directory:
    """Names that are durable, and how they were changed since."""

    def __init__(self) -> None:
        self.names: dict[str, File | Directory] = {}
        self.durable: dict[str, File | Directory] = {}
        self.pending: list[Callable[[dict[str, File | Directory]], Any]] = []

    def change(self, change: Callable[[dict[str, File | Directory]], Any]) -> None:
        change(self.names)
        self.pending.append(change)

    def sync(self) -> None:
        for change in self.pending:
            change(self.durable)
        self.pending.clear()

    def after_cut(self, luck: Random | None) -> dict[str, File | Directory]:
        left = dict(self.durable)
        for change in self.pending[: luck.randint(0, len(self.pending)) if luck else 0]:
            change(left)
        return left


class Disk:
    """A directory as it lay on disk, changed by the system calls of one process that ran in a copy of it.

    Attributes:
        said: what the process had told others until now.
    """

    def __init__(self, source: Path, place: Path) -> None:
        self._place = place
        self._root = _read(source)
        self._open: dict[int, tuple[File | Directory, int]] = {}  # descriptor: what it is open on, its position
        self.said: list[Any] = []

    @staticmethod
    def says(call: Call) -> bool:
        """Whether a call tells somebody outside what was promised."""
        return call.name == "write" and _first_path(call).endswith(".said")

    @staticmethod
    def synced(call: Call) -> Path:
        """What a sync is of."""
        return Path(_first_path(call))

    def apply(self, call: Call) -> None:
        """Do what a call did; calls that touch nothing below the directory do nothing."""
        if call.name in ("fsync", "fdatasync"):
            self._sync(call)
        elif call.result < 0:
            return
        elif self.says(call):
            self.said.append(json.loads(_strings(call)[0]))
        elif call.name in ("openat", "creat"):
            self._opened(call)
        elif call.name in ("write", "pwrite64", "lseek", "ftruncate"):
            self._written(call)
        else:
            self._named(call)

    def _sync(self, call: Call) -> None:
        found = self._open.get(_descriptor(call))
        if found is None:
            return
        if call.result == 0:
            found[0].sync()
        elif isinstance(found[0], File):
            found[0].pending.clear()

    def _opened(self, call: Call) -> None:
        self._open.pop(call.result, None)
        at = self._find(_strings(call)[0].decode())
        if at is None:
            return
        directory, name = at
        if not name:
            self._open[call.result] = (directory, 0)
            return
        if name not in directory.names:
            file = File()
            directory.change(lambda names: names.__setitem__(name, file))
        found = directory.names[name]
        if "O_TRUNC" in call.arguments and isinstance(found, File) and found.size:
            found.truncate(0)
        self._open[call.result] = (found, 0)

    def _written(self, call: Call) -> None:
        descriptor = _descriptor(call)
        file, position = self._open.get(descriptor, (None, 0))
        if not isinstance(file, File):
            return
        if call.name == "lseek":
            self._open[descriptor] = (file, call.result)
        elif call.name == "ftruncate":
            file.truncate(int(call.arguments.rsplit(", ", 1)[1]))
        elif call.name == "pwrite64":
            file.write(int(call.arguments.rsplit(", ", 1)[1]), _strings(call)[0][: call.result])
        else:
            file.write(position, _strings(call)[0][: call.result])
            self._open[descriptor] = (file, position + call.result)

    def _named(self, call: Call) -> None:
        places = [self._find(text.decode()) for text in _strings(call)]
        if not places or places[0] is None:
            return
        directory, name = places[0]
        found = directory.names.get(name)
        if call.name in ("unlink", "unlinkat", "rmdir"):
            directory.change(lambda names: names.pop(name, None))
        elif call.name in ("mkdir", "mkdirat"):
            new = Directory()
            directory.change(lambda names: names.__setitem__(name, new))
        elif found is not None and len(places) > 1 and places[1] is not None:
            into, other = places[1]
            if call.name in ("link", "linkat"):
                into.change(lambda names: names.__setitem__(other, found))
            elif into is directory:
                directory.change(lambda names: (names.pop(name, None), names.__setitem__(other, found)))
            else:
                raise AssertionError(f"The model of a disk does not know renames between directories: {call}")

    def _find(self, path: str) -> tuple[Directory, str] | None:
        """The directory below which a path lies, and its name there; "" for the place itself."""
        try:
            parts = Path(path).relative_to(self._place).parts
        except ValueError:
            return None
        if not parts:
            return self._root, ""
        directory: Directory = self._root
        for part in parts[:-1]:
            inner = directory.names[part]
            assert isinstance(inner, Directory)
            directory = inner
        return directory, parts[-1]

    def write(self, place: Path, luck: Random | None) -> None:
        """Write what a power cut leaves at this moment; `luck` says what of the unsynced, None takes all of it."""
        _write(self._root, place, luck, {})


def _write(directory: Directory, place: Path, luck: Random | None, files: dict[int, bytes]) -> None:
    place.mkdir()
    for name, found in directory.after_cut(luck).items():
        if isinstance(found, Directory):
            _write(found, place / name, luck, files)
        elif not name.endswith("-shm"):  # shared memory, made anew
            path = place / name
            path.write_bytes(files.setdefault(id(found), found.after_cut(luck)))
            path.chmod(0o600)


def _read(source: Path) -> Directory:
    directory = Directory()
    for path in source.iterdir():
        directory.names[path.name] = _read(path) if path.is_dir() else File(path.read_bytes())
    directory.durable = dict(directory.names)
    return directory


def _strings(call: Call) -> list[bytes]:
    return [bytes.fromhex(text.replace("\\x", "")) for text in _STRING.findall(call.arguments)]


def _descriptor(call: Call) -> int:
    match = _NUMBER.match(call.arguments)
    return int(match[1]) if match else -1


def _first_path(call: Call) -> str:
    match = re.match(r"\d+<([^>]*)>", call.arguments)
    return bytes.fromhex(match[1].replace("\\x", "")).decode() if match and "\\x" in match[1] else ""
