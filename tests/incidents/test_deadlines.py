"""Deadlines: local days become instants, states follow the clock, and every reminder is said exactly once."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incidents.clocks.deadlines import LEADS, MISSED, REMINDED, Deadline, carry_over, end_of_day, marks, tick
from incidents.clocks.ticking import tick as record_tick

NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)

ROW = Deadline(
    incident="INC-2026-0001",
    duty="eu-gdpr-33-1-authority",
    stage="initial",
    result="due",
    due=NOW + timedelta(hours=72),
    last_day=None,
    zone="Europe/Madrid",
    recipient_kind="authority",
    recipient="AEPD",
    title="Notify",
    citation="Art 33",
    words="",
    anchor="awareness",
    confidence="verified",
)


@pytest.mark.parametrize(
    ("day", "zone", "end"),
    [
        (date(2026, 4, 9), "America/Los_Angeles", "2026-04-10T07:00:00+00:00"),
        (date(2026, 3, 28), "Europe/Madrid", "2026-03-28T23:00:00+00:00"),
        (date(2026, 3, 29), "Europe/Madrid", "2026-03-29T22:00:00+00:00"),  # clocks went forward that day
        (date(2026, 10, 25), "Europe/Madrid", "2026-10-25T23:00:00+00:00"),  # and back
        (date(2026, 2, 28), "Asia/Tokyo", "2026-02-28T15:00:00+00:00"),
        (date(2026, 12, 31), "UTC", "2027-01-01T00:00:00+00:00"),
        (date(2026, 9, 5), "America/Santiago", "2026-09-06T04:00:00+00:00"),  # midnight itself is skipped
    ],
)
def test_a_last_day_runs_to_its_local_end(day, zone, end):
    assert end_of_day(day, zone) == datetime.fromisoformat(end)


def test_states():
    assert ROW.state(NOW) == "running"
    assert ROW.state(ROW.due) == "missed"
    assert replace(ROW, told_at=NOW).state(ROW.due + timedelta(days=9)) == "met"
    assert replace(ROW, told_at=ROW.due).state(ROW.due) == "missed"  # told too late stays missed
    assert replace(ROW, due=None, result="due_without_fixed_time").state(NOW) == "no_fixed_time"
    assert replace(ROW, due=None, result="due_without_fixed_time", told_at=NOW).state(NOW) == "met"
    assert replace(ROW, result="delayed").state(NOW) == "paused"
    assert replace(ROW, due=None, result="not_started").state(NOW) == "waiting"
    assert replace(ROW, due=None, result="undetermined").state(NOW) == "to_clarify"


@given(st.lists(st.integers(-100, 100), min_size=1, max_size=20))
def test_however_the_ticks_fall_each_thing_is_said_once(hours):
    row, said = ROW, []
    for hour in sorted(hours):
        found = tick([row], ROW.due + timedelta(hours=hour))
        assert len(found) <= 1
        for notice in found:
            reminded, missed = marks(notice)
            row = replace(row, reminded=reminded, missed=missed)
            said.append((notice.kind, notice.lead))
    assert len(said) == len(set(said))
    assert ((MISSED, "") in said) == (max(hours) >= 0)
    leads = [lead for kind, lead in said if kind == REMINDED]
    assert leads in ([], ["24h"], ["2h"], ["24h", "2h"])
    assert ("2h" in leads) == any(-2 <= hour < 0 for hour in hours)


def test_nothing_is_said_once_the_recipient_was_told():
    assert tick([replace(ROW, told_at=NOW)], ROW.due + timedelta(days=1)) == []
    assert tick([replace(ROW, due=None, result="due_without_fixed_time")], NOW) == []


def test_a_moved_limit_is_reminded_of_again_and_an_unmoved_one_is_not():
    held = replace(ROW, reminded="24h", missed=False)
    assert carry_over([ROW], [held]) == [held]
    moved = replace(ROW, due=ROW.due + timedelta(hours=1))
    assert carry_over([moved], [replace(held, told_at=NOW)]) == [replace(moved, told_at=NOW)]


def test_time_travel_through_an_incident(assessed, ledger, clock):
    """GDPR Art 33: 72 hours after awareness, in UTC; reminders, the miss, and nothing twice."""
    service, name = assessed
    aware = clock.now - timedelta(hours=1)
    due = aware + timedelta(hours=72)

    def limit():
        return next(item for item in service.view(name).deadlines if item.duty == "eu-gdpr-33-1-authority")

    assert (limit().due, limit().state, limit().started_by) == (due, "running", "awareness")
    assert limit().due_local.isoformat() == "2026-03-13T12:00:00+01:00"
    assert service.tick() == []
    said = []
    while clock.now < due + timedelta(hours=30):
        clock.move(hours=7)
        said += [(item.deadline.duty, item.kind, item.lead) for item in service.tick()]
        assert service.tick() == []
    said = [item[1:] for item in said if item[0] == "eu-gdpr-33-1-authority"]
    assert said in ([(REMINDED, "24h"), (MISSED, "")], [(REMINDED, "24h"), (REMINDED, "2h"), (MISSED, "")])
    assert limit().state == "missed"
    assert service.view(name).next_step.what.startswith("Tell competent supervisory authority")
    entries = [item for item in service.view(name).timeline if item.type == MISSED]
    assert len(entries) == 1
    assert ledger.entry(entries[0].index).decode().type == MISSED
    service.told(name, "eu-gdpr-33-1-authority", stage="initial", by="ana", evidence="receipt 7")
    assert limit().state == "missed"  # never hidden
    assert limit().told_at is not None
    follow_up = [d for d in service.view(name).deadlines if d.stage == "follow_up_in_phases"]
    assert [item.state for item in follow_up] == ["no_fixed_time"]  # its clock has started


def test_told_in_time_is_met_and_stays_so_after_another_assessment(assessed, clock):
    service, name = assessed
    service.told(name, "eu-gdpr-33-1-authority", stage="initial", by="ana")
    clock.move(days=10)
    service.assess(name, by="ana")
    found = [d for d in service.view(name).deadlines if d.duty == "eu-gdpr-33-1-authority" and d.stage == "initial"]
    assert [item.state for item in found] == ["met"]
    assert [n.deadline.duty for n in service.tick() if n.deadline.duty == "eu-gdpr-33-1-authority"] == []


def test_two_ticks_at_once_record_one_entry(assessed, ledger, clock, monkeypatch):
    """The second tick read its rows before the first one marked them."""
    from incidents.clocks import deadlines

    service, _ = assessed
    clock.move(hours=60)
    with ledger.database.read() as connection:
        stale = deadlines.read(connection)
    assert service.tick()
    size = ledger.size()
    monkeypatch.setattr(deadlines, "read", lambda *_: stale)
    assert record_tick(ledger, clock.now) == []
    assert ledger.size() == size


def test_the_leads_are_ordered_longest_first():
    assert list(LEADS) == sorted(LEADS, reverse=True)
