"""The log of a busy server: lines are formatted cheaply and written several at once.

A write for every request costs more than making its line: it gives up the interpreter, and has to queue for it again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Any, Final

PAUSE_S: Final = 0.1
"""How long a line may wait to be written; what is worse than information never waits."""

_MOST: Final = 500


@contextmanager
def buffered() -> Iterator[None]:
    """Let what the root logger writes to plain streams wait a moment, until the block ends."""
    root = logging.getLogger()
    replaced = [(other, Lines(other)) for other in root.handlers if type(other) is logging.StreamHandler]
    for other, lines in replaced:
        root.removeHandler(other)
        root.addHandler(lines)
    try:
        yield
    finally:
        for other, lines in replaced:
            root.removeHandler(lines)
            root.addHandler(other)
            lines.close()


class Lines(logging.Handler):
    """Writes what another handler would have written, a little later.

    Args:
        other: gives stream, format, level and filters.
    """

    def __init__(self, other: logging.StreamHandler[Any]) -> None:
        super().__init__(other.level)
        self.formatter = other.formatter
        self.filters = other.filters
        self._other = other
        self._lines: list[str] = []  # guarded by the handler's own lock, which the logging module holds around `emit`
        self._some = Event()
        self._closed = False
        self._thread = Thread(target=self._write_on, name="tocsin-log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line; write all when it is urgent."""
        try:
            self._lines.append(self.format(record))
        except Exception:  # noqa: BLE001 - a faulty message must not fail what it tells about
            self.handleError(record)
        if record.levelno > logging.INFO or len(self._lines) >= _MOST:
            self.flush()
        elif len(self._lines) == 1:
            self._some.set()

    def flush(self) -> None:
        """Write what waits."""
        self.acquire()
        try:
            lines, self._lines = self._lines, []
            if lines:
                with suppress(OSError, ValueError):  # the reader has gone, or the stream was closed
                    self._other.stream.write("\n".join([*lines, ""]))
                    self._other.stream.flush()
        finally:
            self.release()

    def close(self) -> None:
        """Write what waits, and end."""
        self._closed = True
        self._some.set()
        self._thread.join()
        self.flush()
        super().close()

    def _write_on(self) -> None:
        while not self._closed:
            self._some.wait()
            self._some.clear()
            if not self._closed:
                time.sleep(PAUSE_S)
            self.flush()
