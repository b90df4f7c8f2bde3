"""The demo touches only directories it made itself."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from api.demo.place import MARKER, prepare
from ledger.errors import ConfigError

NOW = datetime(2026, 3, 20, 12, 0, tzinfo=UTC)


def make(data, *, fresh=False, began=NOW, seed=1, people=20, records=100):
    return prepare(data, fresh=fresh, began=began, seed=seed, people=people, records=records)


def test_a_new_directory_is_marked_and_gone_on_with(tmp_path):
    first = make(tmp_path / "demo")
    assert (tmp_path / "demo" / MARKER).is_file()
    later = make(tmp_path / "demo", began=NOW.replace(hour=18))
    assert later == first
    assert later.began == NOW


def test_an_empty_directory_may_be_used(tmp_path):
    assert make(tmp_path).data == tmp_path


@pytest.mark.parametrize("fresh", [False, True])
def test_somebody_elses_directory_is_never_touched(tmp_path, fresh):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="nothing in it is touched"):
        make(tmp_path, fresh=fresh)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"kind": "holiday pictures"}', "\xff"])
def test_a_marker_of_another_kind_does_not_count(tmp_path, text):
    (tmp_path / MARKER).write_text(text)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="nothing in it is touched"):
        make(tmp_path, fresh=True)
    assert (tmp_path / "thesis.txt").exists()


def test_fresh_empties_a_demo_and_nothing_behind_its_links(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "keep").write_text("mine")
    demo = tmp_path / "demo"
    make(demo)
    (demo / "world").mkdir()
    (demo / "world" / "people.ndjson").write_text("{}")
    (demo / "link").symlink_to(outside)
    again = make(demo, fresh=True, began=NOW.replace(day=21), seed=2)
    assert [path.name for path in demo.iterdir()] == [MARKER]
    assert (again.seed, again.began.day) == (2, 21)
    assert (outside / "keep").read_text() == "mine"


def test_another_size_is_another_demo(tmp_path):
    make(tmp_path / "demo")
    with pytest.raises(ConfigError, match="--people 20"):
        make(tmp_path / "demo", people=30)


@pytest.mark.parametrize("make_it", [lambda path, _: path.write_text("x"), lambda path, to: path.symlink_to(to)])
def test_a_file_or_a_link_is_no_directory(tmp_path, make_it):
    (tmp_path / "target").mkdir()
    make_it(tmp_path / "demo", tmp_path / "target")
    with pytest.raises(ConfigError, match="not a directory"):
        make(tmp_path / "demo", fresh=True)
