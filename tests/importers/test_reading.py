"""Finding records in NDJSON, arrays and delivery files, plain or gzipped."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.errors import InputError
from ledger.importers import reading

ROWS = [{"n": n, "text": "€" * (n % 5), "nested": {"list": [1, {"]": "}"}]}} for n in range(40)]


def found(path):
    with reading.opened(path) as stream:
        return [(place, json.loads(text)) for place, text in reading.records(stream)]


def layouts(rows):
    yield "line", "\n".join(json.dumps(row) for row in rows)
    yield "line", "\r\n\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\r\n"
    yield "record", json.dumps({"Records": rows})
    yield "record", json.dumps({"Records": rows}, indent=2, ensure_ascii=False)
    yield "record", json.dumps(rows)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("layout", range(5))
def test_every_layout_gives_the_same_records(tmp_path, layout, packed):
    word, text = list(layouts(ROWS))[layout]
    path = tmp_path / "log"
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    got = found(path)
    assert [row for _, row in got] == ROWS
    assert got[0][0] == f"{word} 1"


def test_a_byte_order_mark_is_skipped(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"\xef\xbb\xbf" + b'{"a": 1}\n')
    assert found(path) == [("line 1", {"a": 1})]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    rows=st.lists(st.dictionaries(st.text(max_size=4), st.text(max_size=30), max_size=3), max_size=8),
    chunk=st.integers(1, 40),
    indent=st.sampled_from([None, 1]),
)
def test_records_are_found_across_any_read_boundary(tmp_path, monkeypatch, rows, chunk, indent):
    monkeypatch.setattr(reading, "CHUNK", chunk)
    path = tmp_path / "log"
    path.write_text(json.dumps({"Records": rows}, indent=indent, ensure_ascii=False), "utf-8", "surrogatepass")
    # The head itself must be seen at once to know the layout; the buffer's own size guarantees that.
    assert [row for _, row in found(path)] == rows


def test_an_empty_file_has_no_records(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"")
    assert found(path) == []


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"Records": [{"a": 1}, {"a": ', "record 2"),
        ('{"Records": [{"a": 1} {"a": 2}]}', "record 2"),
        ('{"Records": [{"a": 1}', "record 2"),
        ('{"Records": [', "record 1"),
    ],
)
def test_a_broken_array_names_the_record(tmp_path, text, place):
    path = tmp_path / "log"
    path.write_text(text)
    with pytest.raises(InputError, match=place):
        found(path)


@pytest.mark.parametrize("cut", [5, 40])
def test_a_cut_gzip_file_is_one_clear_error(tmp_path, cut):
    path = tmp_path / "log"
    path.write_bytes(gzip.compress(json.dumps(ROWS).encode())[:-cut])
    with pytest.raises(InputError, match="cut off"):
        found(path)


def test_bytes_that_are_not_utf8_are_one_clear_error(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b'[{"a": "\xff\xfe"}]')
    with pytest.raises(InputError, match="UTF-8"):
        found(path)


def test_an_endless_line_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MAX_RECORD", 1000)
    path = tmp_path / "log"
    path.write_text('{"a": 1}\n{"b": "' + "x" * 2000)
    with pytest.raises(InputError, match="line 2"):
        found(path)


@pytest.mark.parametrize("make", [lambda _: None, lambda path: path.mkdir()])
def test_a_missing_file_or_a_directory_is_one_clear_error(tmp_path, make):
    path = tmp_path / "log"
    make(path)
    with pytest.raises(InputError, match="log"):
        found(path)
