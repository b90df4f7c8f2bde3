"""Holds forbid erasure and retention, on record, until they are lifted or expire."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ledger.errors import InputError, NotFoundError
from ledger.forgetting.erasing import ErasureRefusedError, erase
from ledger.forgetting.holding import lift_hold, list_holds, place_hold


@pytest.fixture
def person(ledger, kit):
    ref = kit.refer(ledger, "cust-1", {"name": "Vera"})
    ledger.append([kit.view(1, ["cust-1"]), kit.view(2, ["cust-2"])])
    return ref


def place(ledger, kind, target, actor, **more):
    return place_hold(ledger, kind, target, authority="District court", basis="file 12/26", by=actor, **more)


def refused(ledger, ref, actor):
    with pytest.raises(ErasureRefusedError) as error:
        erase(ledger, ref, basis="request 1", by=actor)
    return error.value


def test_refused_under_a_hold_on_the_person_with_a_record_of_why(ledger, kit, person, actor):
    hold = place(ledger, "person", person, actor)
    error = refused(ledger, person, actor)
    assert "District court: file 12/26" in str(error)
    assert kit.data(ledger, error.index)["holds"] == [hold.id]
    assert ledger.entry(error.index).decode().type == "org.tocsin.erasure.refused.v1"
    assert ledger.vault.profile(person)["name"] == "Vera"
    # No reason overrides a hold.
    with pytest.raises(ErasureRefusedError):
        erase(ledger, person, basis="request 1", by=actor, override="but they insist")
    # Others are free.
    assert erase(ledger, ledger.vault.find("subject", "cust-2"), basis="request 2", by=actor).payloads == 1
    lift_hold(ledger, hold.id, reason="order withdrawn", by=actor)
    assert erase(ledger, person, basis="request 1", by=actor).payloads == 1
    assert kit.damage(ledger) == []


def test_a_hold_expires(ledger, person, actor, clock):
    hold = place(ledger, "person", person, actor, expires=clock.now + timedelta(days=30))
    refused(ledger, person, actor)
    clock.move(days=30)
    assert [item.as_json("2027")["state"] for item in list_holds(ledger)] == ["expired"]
    assert hold.active("2026-04-09T08:59:59.999Z")
    erase(ledger, person, basis="request 1", by=actor)


@pytest.mark.parametrize("target", ["ward/record-1", "ward"])
def test_a_hold_on_a_resource_or_its_container_covers_whom_its_records_name(ledger, person, actor, target):
    place(ledger, "resource", target, actor)
    refused(ledger, person, actor)


def test_a_hold_on_another_resource_does_not(ledger, person, actor):
    for target in ("ward/record-2", "war", "ward/record-1/page"):
        place(ledger, "resource", target, actor)
    erase(ledger, person, basis="request 1", by=actor)


def test_a_hold_on_an_incident_of_which_nothing_is_known_covers_everybody(ledger, person, actor):
    place(ledger, "incident", "INC-2026-0001", actor)
    refused(ledger, person, actor)


def test_an_auditor_sees_every_hold_there_ever_was_from_the_log_alone(ledger, person, actor):
    first = place(ledger, "person", person, actor)
    second = place(ledger, "resource", "ward", actor)
    lift_hold(ledger, first.id, reason="order withdrawn", by=actor)
    now = "2026-03-10T10:00:00.000Z"
    rows = {row["hold"]: row for row in (item.as_json(now) for item in list_holds(ledger))}
    assert rows[first.id]["state"] == "lifted"
    assert rows[second.id] == {
        "hold": f"hold-{second.placed}",
        "state": "active",
        "scope": {"resource": "ward"},
        "authority": "District court",
        "basis": "file 12/26",
        "expires": None,
        "placed": second.placed,
        "lifted": None,
    }
    assert ledger.entry(second.placed).decode().type == "org.tocsin.hold.placed.v1"


def test_wrong_holds_leave_no_trace(ledger, person, actor, clock):
    hold = place(ledger, "person", person, actor)
    lift_hold(ledger, hold.id, reason="r", by=actor)
    size = ledger.size()
    with pytest.raises(NotFoundError):
        lift_hold(ledger, hold.id, reason="again", by=actor)
    with pytest.raises(NotFoundError):
        lift_hold(ledger, "hold-0", reason="r", by=actor)
    with pytest.raises(InputError, match="reason"):
        lift_hold(ledger, hold.id, reason="", by=actor)
    with pytest.raises(NotFoundError):
        place(ledger, "person", "s_" + "z" * 26, actor)
    with pytest.raises(InputError, match="expired"):
        place(ledger, "person", person, actor, expires=clock.now)
    with pytest.raises(InputError, match="authority"):
        place_hold(ledger, "person", person, authority="a\nb", basis="b", by=actor)
    assert ledger.size() == size
