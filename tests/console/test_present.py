"""Words, marks and order: what the pages say, without any page."""

import unicodedata
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from api.console import present
from api.console.sentences import sentence
from incidents.clocks import deadlines
from incidents.views import DeadlineView, IncidentSummary, IncidentView, wording

NOW = datetime(2026, 3, 12, 3, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 minutes left"),
        (59, "0 minutes left"),
        (60, "1 minute left"),
        (3599, "59 minutes left"),
        (3600, "1 hour left"),
        (71 * 3600 + 3599, "71 hours left"),
        (96 * 3600 - 1, "95 hours left"),
        (96 * 3600, "4 days left"),
        (96 * 3600 + 3600, "4 days 1 hour left"),
        (-1, "0 minutes over"),
        (-7200, "2 hours over"),
        (None, ""),
    ],
)
def test_what_is_left_is_said_in_words_and_never_rounded_up(seconds: int | None, text: str) -> None:
    assert wording.left(seconds) == text


@given(st.text())
def test_no_hidden_character_is_left_in_what_a_page_prints(text: str) -> None:
    shown = present.visible(text)
    for character in shown:
        assert character in "\n\t\u200c\u200d" or unicodedata.category(character) not in {
            "Cc",
            "Cf",
            "Zl",
            "Zp",
            "Cs",
            "Co",
        }
    if text.isprintable():
        assert shown == text


def test_bidirectional_overrides_are_named_and_markup_is_left_alone() -> None:
    assert present.visible("a\u202eb\x00") == "a⟨U+202E⟩b⟨U+0000⟩"
    assert present.visible("two\nlines\t") == "two\nlines\t"
    assert present.visible(Markup("<b>\u202e</b>")) == "<b>\u202e</b>"
    assert present.visible(7) == 7


def test_every_state_of_a_deadline_has_a_mark(view: IncidentView) -> None:
    some = view.deadlines[0]
    for state in deadlines.STATES:
        mark = present.mark_of(replace(some, state=state, told_at=None, seconds_left=None))
        assert (mark is present.UNDETERMINED) == (state == "to_clarify"), state
    assert present.mark_of(replace(some, state="made-up")) is present.UNDETERMINED


def test_a_limit_that_has_passed_is_missed_even_before_the_ticker_said_so(view: IncidentView) -> None:
    running = replace(view.deadlines[1], state="running", seconds_left=-1)
    assert present.mark_of(running) is present.MISSED
    assert present.mark_of(replace(running, seconds_left=0)) is present.SOON_MARK
    assert present.mark_of(replace(running, seconds_left=present.SOON)) is present.RUNNING


def test_clocks_are_sorted_by_time_left_and_none_is_hidden(view: IncidentView) -> None:
    rows = present.clock_rows(view)
    assert [row.mark.word for row in rows] == [
        "Missed",
        "Running",
        "Running",
        "Without delay",
        "On hold",
        "Not started",
        "Told too late",
        "Met",
    ]
    lefts = [row.limit.seconds_left for row in rows[:3]]
    assert lefts == sorted(lefts, key=lambda left: left or 0)
    folded = present.folded_rows(view)
    shown = {(row.limit.duty, row.limit.stage) for row in rows}
    assert len(rows) + len(folded) == len(shown | {(duty.duty, duty.stage) for duty in view.duties})
    assert [row.mark.word for row in folded] == ["Undetermined", "Not obligatory", "Not triggered"]
    assert folded[0].missing == ("numbers.cost_eur",)


def test_the_clock_that_started_a_limit_is_found_and_superseded_ones_are_not(view: IncidentView) -> None:
    row = present.clock_rows(view)[0]
    assert row.started is not None
    assert row.started.name == "aware"
    occurred: DeadlineView = replace(view.deadlines[1], started_by="occurred")
    assert present.clock_rows(replace(view, deadlines=(occurred,)))[0].started is None


def test_the_balance_says_when_it_does_not_close() -> None:
    whole = {"queued": 1, "handed_over": 2, "delivered": 3, "failed": 4, "excluded": 5}
    assert present.equation(15, whole).closes
    assert present.equation(15, whole).open == 1
    assert not present.equation(16, whole).closes
    assert not present.equation(15, {}).closes


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "not known"),
        (True, "yes"),
        (False, "no"),
        (1234, "1,234"),
        ([], "none"),
        (["a", "b"], "a; b"),
        ([{"jurisdiction": "ES", "count": 2}], "ES 2"),
        ([{"jurisdiction": "ES", "count": 1200, "minors": {"under_18": 9}}], "ES 1,200 (9 under 18)"),
        ({"kind": "targets", "on": True}, "kind: targets, on: yes"),
        ("12.5", "12.5"),
    ],
)
def test_values_of_facts_in_words(value: Any, text: str) -> None:
    assert wording.value(value) == text


def test_long_lists_of_places_are_cut_and_confidences_ordered() -> None:
    assert present.places(("ES",)) == "ES"
    assert present.places(("EU", "EEA", "AT", "BE", "BG")) == "EU, EEA, AT and 2 more"
    counts = {"possible": 1, "odd": 2, "confirmed": 3}
    assert [name for name, _ in present.by_confidence(counts)] == ["confirmed", "possible", "odd"]


def test_what_was_missed_stands_first_on_the_overview() -> None:
    def summary(name: str, due: datetime | None, missed: int, *, closed: bool = False) -> IncidentSummary:
        return IncidentSummary(name, name, "respond", closed, NOW, None, due, missed)

    held = [
        summary("later", NOW + timedelta(2), 0),
        summary("nothing", None, 0),
        summary("soon", NOW + timedelta(1), 0),
        summary("missed", None, 1),
        summary("closed", NOW, 1, closed=True),
    ]
    assert [item.id for item in present.waiting(held)] == ["missed", "soon", "later"]


def test_times_are_given_in_the_zone_and_in_utc(view: IncidentView) -> None:
    due = view.deadlines[1]
    assert due.due_local is not None
    assert present.local(due.due_local) == "Fri 13 Mar 2026, 10:00 CET"
    assert present.utc(due.due) == "13 Mar 2026, 09:00 UTC"
    assert present.machine(due.due) == "2026-03-13T09:00:00+00:00"


def test_an_entry_is_a_sentence_first() -> None:
    data = {
        "actor": {"id": "a_1", "kind": "human"},
        "outcome": "denied",
        "resource": {"id": "customers/4711"},
        "subjects": [{"ref": "s_1"}, {"ref": "s_2"}],
    }
    assert sentence("org.example.data.view.v1", {"data": data}) == (
        "Human actor a_1 viewed customers/4711, which holds data of 2 people (it was denied)."
    )
    assert sentence("org.tocsin.incident.declared.v1", {"incident": "INC-1", "title": "T"}) == (
        "Incident INC-1 was declared: T"
    )
    assert "erased" in sentence("a.b.v1", None)
    assert sentence("x.y.z.v1", {"data": None}) == "An event of type x.y.z.v1 was recorded."


@given(st.dictionaries(st.text(max_size=9), st.recursive(st.none() | st.integers() | st.text(), st.lists)))
def test_no_payload_breaks_the_sentence(data: dict[str, Any]) -> None:
    for event_type in ("org.example.data.view.v1", "org.tocsin.incident.declared.v1", "", "."):
        assert sentence(event_type, {"data": data})
        assert sentence(event_type, {"data": {"actor": data, "resource": data, "subjects": data}})
