"""Finding the records in a log file, one at a time, in constant memory.

Three layouts, each plain or gzipped (told by the first bytes, not by the name): NDJSON, a JSON array,
and AWS's own delivery file `{"Records": [...]}`.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ledger.errors import InputError

CHUNK: Final = 1 << 16
MAX_RECORD: Final = 1 << 22
"""Longest record in characters; CloudTrail's own limit is 256 KB."""

_GZIP: Final = b"\x1f\x8b"
_ARRAY_HEAD = re.compile(r'\s*(?:\{\s*"Records"\s*:\s*)?\[\s*')
_BETWEEN = re.compile(r"\s*(,)?\s*")
_DECODER = json.JSONDecoder()

Stream = io.BufferedReader | gzip.GzipFile
Located = tuple[str, str | bytes]
"""Where a record stands ("line 7", "record 7") and its text."""


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedReader]:
    """Open a regular file that can be read twice.

    Raises:
        InputError: missing, unreadable, or not a regular file.
    """
    if path.exists() and not path.is_file():
        raise InputError(f"{path.name} is not a regular file; it is read twice, so a pipe cannot be imported.")
    try:
        with path.open("rb") as stream:
            yield stream
    except FileNotFoundError:
        raise InputError(f"{path.name} does not exist; give the path of a log file.") from None
    except PermissionError:
        raise InputError(f"{path.name} may not be read by this user; change its permissions.") from None


def records(stream: io.BufferedReader) -> Iterator[Located]:
    """Yield each record's place and text, from the start of the stream.

    Raises:
        InputError: the file is cut off, its gzip data is damaged, or it is not UTF-8.
    """
    stream.seek(0)
    start = stream.read(len(_GZIP))
    stream.seek(0)
    plain: Stream = gzip.GzipFile(fileobj=stream) if start == _GZIP else stream
    try:
        yield from _array(plain) if _is_array(plain.peek(CHUNK)) else _lines(plain)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise InputError("The gzip data is cut off or damaged; fetch the file again.") from None
    except UnicodeDecodeError:
        raise InputError("The file is not valid UTF-8; nothing can be read from it.") from None


def _is_array(head: bytes) -> bool:
    return _ARRAY_HEAD.match(head.decode("utf-8-sig", "replace")) is not None


def _lines(stream: Stream) -> Iterator[Located]:
    number = 0
    while line := stream.readline(MAX_RECORD + 1):
        number += 1
        if len(line) > MAX_RECORD:
            raise InputError(f"line {number} is longer than any CloudTrail record; is this the right file?")
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if line.strip():
            yield f"line {number}", line


class _Window:
    """The part of a JSON text that is in memory."""

    def __init__(self, stream: Stream) -> None:
        self._read: Callable[[int], bytes] = stream.read
        self._decode = codecs.getincrementaldecoder("utf-8-sig")()
        self.text = ""
        self.ended = False

    def more(self) -> None:
        data = self._read(CHUNK)
        self.ended = not data
        self.text += self._decode.decode(data, final=self.ended)

    def drop(self, count: int) -> None:
        self.text = self.text[count:]


def _array(stream: Stream) -> Iterator[Located]:
    window = _Window(stream)
    while (head := _ARRAY_HEAD.match(window.text)) is None and not window.ended:
        window.more()
    position = head.end() if head else 0
    number = 0
    while True:
        number += 1
        gap = _BETWEEN.match(window.text, position)
        begin = gap.end() if gap else position
        if begin >= len(window.text) and not window.ended:
            window.more()
            number -= 1
            continue
        if window.text[begin : begin + 1] == "]":
            return
        if number > 1 and not (gap and gap.group(1)):
            raise InputError(f"record {number}: a comma or the end of the list is missing; is the file cut off?")
        end = _end_of_value(window, begin, number)
        yield f"record {number}", window.text[begin:end]
        position = end
        if position > CHUNK:
            window.drop(position)
            position = 0


def _end_of_value(window: _Window, begin: int, number: int) -> int:
    """Where the JSON value ends that begins there; reads on while it is incomplete."""
    while True:
        try:
            _, end = _DECODER.raw_decode(window.text, begin)
        except json.JSONDecodeError as error:
            # Broken text stays broken, so an error well before the end of what is read is final.
            if window.ended or len(window.text) - begin > MAX_RECORD:
                raise InputError(
                    f"record {number}: not valid JSON ({error.pos - begin} characters into it); is the file cut off?"
                ) from None
            window.more()
        except (ValueError, RecursionError):
            raise InputError(f"record {number}: not readable JSON") from None
        else:
            if end < len(window.text) or window.ended:
                return end
            window.more()
