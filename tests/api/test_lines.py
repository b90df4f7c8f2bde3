"""The server's log: nothing is lost, nothing is changed, and what matters is written at once."""

import io
import logging
import threading
from collections.abc import Iterator

import pytest

from api.http.lines import Lines, buffered

FORMAT = "%(levelname)s %(name)s %(message)s"


class Counting(io.StringIO):
    """Counts writes, and tells when there was one."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0
        self.written = threading.Event()

    def write(self, text: str, /) -> int:
        self.writes += 1
        size = super().write(text)
        self.written.set()
        return size


@pytest.fixture
def plain() -> Iterator[logging.StreamHandler[Counting]]:
    handler = logging.StreamHandler(Counting())
    handler.setFormatter(logging.Formatter(FORMAT))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)


def test_lines_are_those_of_the_plain_handler_in_order_and_in_fewer_writes(
    plain: logging.StreamHandler[Counting],
) -> None:
    log = logging.getLogger("test.lines")
    with buffered():
        threads = [
            threading.Thread(target=lambda name=name: [log.info("%s %d", name, n) for n in range(300)]) for name in "ab"
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = plain.stream.getvalue().splitlines()
    for name in "ab":
        assert [line for line in lines if f" {name} " in line] == [f"INFO test.lines {name} {n}" for n in range(300)]
    assert len(lines) == 600
    assert plain.stream.writes < 60
    assert plain in logging.getLogger().handlers


def test_a_lone_line_is_written_soon_and_a_warning_at_once(plain: logging.StreamHandler[Counting]) -> None:
    log = logging.getLogger("test.lines")
    with buffered():
        log.info("first")
        assert plain.stream.written.wait(10)
        assert plain.stream.getvalue() == "INFO test.lines first\n"
        log.info("second")
        log.warning("third")
        assert plain.stream.getvalue().splitlines()[1:] == ["INFO test.lines second", "WARNING test.lines third"]


def test_a_reader_that_has_gone_stops_nobody(plain: logging.StreamHandler[Counting]) -> None:
    lines = Lines(plain)
    plain.stream.close()
    lines.handle(logging.makeLogRecord({"msg": "lost", "levelno": logging.ERROR, "levelname": "ERROR", "name": "x"}))
    lines.close()
