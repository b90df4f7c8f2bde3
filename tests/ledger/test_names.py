"""Refs known by heart: what is not known is asked for once, and only so much is remembered."""

from __future__ import annotations

from ledger.names import KINDS, Names


def test_who_is_not_known_is_a_blank_and_is_asked_for_once():
    names = Names()
    assert not names.lacking
    assert [names.subject["a"], names.subject["b"], names.subject["a"], names.actor["a"]] == [""] * 4
    assert names.lacking
    assert list(names.wanted()) == [("subject", ["a", "b"]), ("actor", ["a"])]
    assert not names.lacking
    assert list(names.wanted()) == []


def test_who_is_known_is_not_asked_for():
    names = Names()
    names.network["192.0.2.1"] = "n_x"
    assert names.network["192.0.2.1"] == "n_x"
    assert not names.lacking
    assert "a" not in names.subject
    assert not names.lacking


def test_the_newest_are_kept_and_open_questions_dropped():
    names = Names()
    for kind in KINDS:
        names.of(kind).update({str(number): f"ref-{number}" for number in range(5)})
    assert names.subject["x"] == ""
    names.trim(3)
    assert [list(names.of(kind)) for kind in KINDS] == [["2", "3", "4"]] * 3
    assert not names.lacking
    names.clear()
    assert [len(names.of(kind)) for kind in KINDS] == [0, 0, 0]
