"""Four eyes: the author of a notice never approves it, and an approval holds for one content only."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incidents.case.aggregate import Incident
from incidents.case.records import NoticeVersion
from incidents.case.staff import normalise, same_person
from incidents.errors import ApprovalError, FourEyesError, IncidentError
from ledger.errors import InputError

NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=20).filter(
    lambda name: any(char.isalnum() for char in name)
)


def incident():
    return Incident.declare(
        origin="example.org/log",
        incident="INC-2026-0001",
        title="Object copied",
        time_zone="UTC",
        organisation={},
        by="ana",
        at=NOW,
    )


def draft(author, content="one", findings=()):
    return NoticeVersion(
        id="person-en",
        number=0,
        audience="person",
        language="en",
        form="standard",
        jurisdictions=("ES",),
        duties=(),
        elements=(),
        messages=({"text": content},),
        findings=findings,
        content_hash=content,
        author=author,
        at="",
        version=0,
    )


SPELLINGS = st.sampled_from([str.upper, str.lower, str.title, str.swapcase, str.casefold])
FILLERS = st.sampled_from(["", " ", "\t", "\u200b", "\u00ad"])


@given(NAMES, SPELLINGS, FILLERS)
def test_the_author_cannot_approve_in_any_spelling(name, spell, filler):
    held = incident()
    held.draft_notice(draft(name), at=NOW)
    other = filler + spell(name) + filler
    # A few letters have case forms that no case folding joins (such as dotless i); those are other names.
    if normalise(other) != normalise(name):
        return
    with pytest.raises(FourEyesError):
        held.approve_notice("person-en", "one", by=other, at=NOW)
    assert held.notice("person-en").approver is None


@pytest.mark.parametrize(
    "other", ["ANA RUIZ", " ana ruiz ", "Ana\u200b Ruiz", "\uff21\uff2e\uff21 ruiz", "ana\u00a0ruiz", "AnaRuiz"]
)
def test_these_are_the_same_person(other):
    assert same_person("Ana Ruiz", other)


@given(st.text(max_size=30))
def test_normalising_twice_changes_nothing(name):
    try:
        once = normalise(name)
    except InputError:
        return
    assert normalise(once) == once


@pytest.mark.parametrize("nobody", ["", "  ", "\u200b", "\n"])
def test_nobody_is_refused(nobody):
    with pytest.raises(InputError):
        normalise(nobody)


def test_somebody_else_approves_exactly_this_content():
    held = incident()
    held.draft_notice(draft("ana"), at=NOW)
    with pytest.raises(ApprovalError):
        held.approve_notice("person-en", "two", by="lena", at=NOW)
    held.approve_notice("person-en", "one", by="lena", at=NOW)
    assert held.notice("person-en").approver == "lena"
    assert held.phase == "respond"
    with pytest.raises(ApprovalError):
        held.approve_notice("person-en", "one", by="otto", at=NOW)


def test_an_edit_voids_the_approval():
    held = incident()
    held.draft_notice(draft("ana"), at=NOW)
    held.approve_notice("person-en", "one", by="lena", at=NOW)
    held.draft_notice(draft("ana", "two"), at=NOW + timedelta(minutes=1))
    assert held.notice("person-en").approver is None
    with pytest.raises(ApprovalError):
        held.open_campaign("c", {"person-en": "two"}, owed=1, audience="owed", by="ana", at=NOW)
    with pytest.raises(ApprovalError):
        held.open_campaign("c", {"person-en": "one"}, owed=1, audience="owed", by="ana", at=NOW)


def test_everybody_who_wrote_since_the_last_approval_is_an_author():
    """Ana cannot let Lena change a comma and then approve her own text."""
    held = incident()
    held.draft_notice(draft("ana"), at=NOW)
    held.draft_notice(draft("lena", "two"), at=NOW)
    for author in ("ana", "lena"):
        with pytest.raises(FourEyesError):
            held.approve_notice("person-en", "two", by=author, at=NOW)
    held.approve_notice("person-en", "two", by="otto", at=NOW)


def test_the_same_text_again_keeps_its_approval():
    held = incident()
    held.draft_notice(draft("ana"), at=NOW)
    held.approve_notice("person-en", "one", by="lena", at=NOW)
    assert held.draft_notice(draft("ana"), at=NOW) is False
    assert held.notice("person-en").approver == "lena"


def test_a_notice_with_errors_cannot_be_approved():
    held = incident()
    held.draft_notice(draft("ana", findings=({"severity": "error", "message": "No heading."},)), at=NOW)
    with pytest.raises(ApprovalError, match="No heading"):
        held.approve_notice("person-en", "one", by="lena", at=NOW)


def test_nothing_changes_after_closing_and_events_rebuild_the_same_state():
    held = incident()
    held.draft_notice(draft("ana"), at=NOW)
    held.close("Rotate keys.", by="ana", at=NOW)
    with pytest.raises(IncidentError):
        held.draft_notice(draft("ana", "two"), at=NOW)
    again = None
    for event in held.pending_events:
        again = event.mutate(again)
    assert {**vars(again), "_pending_events": 0} == {**vars(held), "_pending_events": 0}
    assert again.phase == "learn_lessons"


def test_a_clock_cannot_stand_in_the_future():
    from incidents.case.facts import Source

    with pytest.raises(IncidentError, match="not come yet"):
        incident().record_clock(
            name="awareness",
            stood=NOW + timedelta(seconds=1),
            source=Source("person", "ana"),
            note="",
            by="ana",
            at=NOW,
        )
