"""Retention: what is too old is deleted and the disk is freed; every proof from before stays valid."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.encoding import format_time
from ledger.errors import InputError, StoreDamagedError
from ledger.forgetting.erasing import erase
from ledger.forgetting.events import RULES_CHANGED
from ledger.forgetting.holding import place_hold
from ledger.forgetting.retention import RetentionHeldError, Rule, parse_rules, recorded_before, run_rules
from ledger.forgetting.scrub import finish

VIEWS = Rule("views", "*.data.view.v1", 365)
LOGINS = Rule("logins", "com.clinic.auth.*", 30)


class Cases:
    """One open case, which rests on what it is given."""

    def __init__(self, evidence):
        self._evidence = evidence

    def affecting(self, _ref):
        return []

    def concerns(self, _case, _ref):
        return False

    def open(self):
        return ["INC-2026-0001"]

    def evidence(self, _case):
        return self._evidence


@pytest.fixture
def years(ledger, kit, clock):
    """Entries 1-4 are two years old, 5-8 are of today; each kind twice."""
    for year in (0, 2):
        clock.move(days=365 * year)
        ledger.append([kit.view(f"{year}-{n}", [f"cust-{n}"]) for n in range(2)])
        ledger.append([kit.view(f"{year}-login-{n}", [], type="com.clinic.auth.login.v1") for n in range(2)])
    ledger.access.follow()
    return ledger


def gone(ledger):
    return [stored.index for stored in ledger.entries() if stored.payload is None]


def test_only_what_is_due_goes_and_the_log_says_what(years, kit):
    by = kit.refer(years, "officer", kind="actor")
    held = kit.proofs(years)
    [ran] = run_rules(years, [VIEWS], by=by)
    assert gone(years) == [1, 2]
    assert all(stored.salt is None for stored in years.entries() if stored.payload is None)
    assert (ran.deleted, ran.counts, ran.kept) == (2, {"com.clinic.data.view.v1": 2}, {})
    [index] = ran.indices
    data = kit.data(years, index)
    assert data["rule"] == VIEWS.as_json()
    assert data["cutoff"] == "2027-03-10T09:00:00.000Z"
    assert data["counts"] == {"com.clinic.data.view.v1": 2}
    assert data["payloads"]["count"] == 2
    assert kit.damage(years) == []
    finish(years, by=by)
    assert kit.damage(years) == []
    kit.check_proofs(held)
    kit.check_proofs(kit.proofs(years))
    assert run_rules(years, [VIEWS], by=by)[0].deleted == 0


def test_the_disk_is_freed_and_the_text_is_gone(ledger, kit, clock, actor):
    for turn in range(20):
        big = {"justification": {"code": "x" * 2000}, "text": "t" * 500}
        ledger.append([kit.view(f"old-{turn}-{n}", [f"cust-{n}"], **big) for n in range(20)])
    ledger.access.follow()
    clock.move(days=400)
    finish(ledger, by=actor)
    run_rules(ledger, [VIEWS], by=actor, batch=64)
    wiped = finish(ledger, by=actor)
    assert wiped.freed > 400_000
    assert kit.everywhere(ledger.directory, b"ward/record-old-3-7") == []
    assert len(wiped.events) == -(-400 // 64)
    assert kit.damage(ledger) == []


def test_the_shortest_rule_wins_and_a_rule_reaches_only_its_types(years, kit):
    by = kit.refer(years, "officer", kind="actor")
    ran = run_rules(years, [VIEWS, Rule("all", "*", 3000), LOGINS], by=by)
    assert [(item.rule, item.deleted) for item in ran] == [("logins", 2), ("views", 2), ("all", 0)]
    assert gone(years) == [1, 2, 3, 4]


def test_tocsins_own_events_are_never_touched(years, kit, clock):
    by = kit.refer(years, "officer", kind="actor")
    clock.move(days=4000)
    run_rules(years, [Rule("everything", "*", 1)], by=by)
    first = years.entry(0)
    assert first.decode().type.startswith("org.tocsin.logging")
    assert first.payload is not None
    clock.move(days=4000)
    run_rules(years, [Rule("everything", "*", 1)], by=by)
    assert gone(years) == list(range(1, 9))
    assert kit.damage(years) == []


def test_holds_on_people_and_resources_keep_what_is_due(years, kit):
    by = kit.refer(years, "officer", kind="actor")
    ref = years.vault.find("subject", "cust-0")
    place_hold(years, "person", ref, authority="court", basis="b", by=by)
    [ran] = run_rules(years, [VIEWS], by=by)
    assert (gone(years), ran.kept) == ([2], {"holds": 1})
    place_hold(years, "resource", "ward/record-0-login-1", authority="court", basis="b", by=by)
    [ran] = run_rules(years, [LOGINS], by=by)
    assert (gone(years), ran.kept) == ([2, 3], {"holds": 1})


def test_the_evidence_of_open_incidents_is_kept(years, kit):
    by = kit.refer(years, "officer", kind="actor")
    [ran] = run_rules(years, [VIEWS], by=by, cases=Cases(frozenset({1})))
    assert (gone(years), ran.kept) == ([2], {"incidents": 1})


def test_an_incident_that_has_not_said_what_it_needs_stops_it_unless_overridden(years, kit):
    by = kit.refer(years, "officer", kind="actor")
    with pytest.raises(RetentionHeldError, match="INC-2026-0001"):
        run_rules(years, [VIEWS], by=by, cases=Cases(None))
    assert gone(years) == []
    [ran] = run_rules(years, [VIEWS], by=by, cases=Cases(None), override="a lost phone, no access")
    assert kit.data(years, ran.indices[0])["override"] == "a lost phone, no access"
    place_hold(years, "incident", "INC-2026-0001", authority="court", basis="b", by=by)
    with pytest.raises(RetentionHeldError):
        run_rules(years, [LOGINS], by=by, cases=Cases(None), override="a lost phone, no access")


def test_erasure_after_retention_and_the_other_way_round(years, kit):
    by = kit.refer(years, "officer", kind="actor")
    erase(years, years.vault.find("subject", "cust-0"), basis="b", by=by)
    [ran] = run_rules(years, [VIEWS], by=by)
    assert ran.deleted == 1
    assert erase(years, years.vault.find("subject", "cust-1"), basis="b", by=by).payloads == 1
    assert gone(years) == [1, 2, 5, 6]
    finish(years, by=by)
    assert kit.damage(years) == []


def test_a_change_of_the_rules_is_recorded_once(years, kit):
    by = kit.refer(years, "officer", kind="actor")
    for rules in ([VIEWS], [VIEWS], [LOGINS], [LOGINS]):
        run_rules(years, rules, by=by)
    types = [stored.decode().type for stored in years.entries()]
    assert types.count(RULES_CHANGED) == 2


@pytest.mark.parametrize("before", range(4))
def test_the_cut_is_made_where_entries_were_recorded(ledger, kit, clock, before):
    moments = []
    for n in range(4):
        clock.move(hours=1)
        moments.append(format_time(clock.now))
        ledger.append([kit.view(f"{n}-{part}", []) for part in range(2)])
    with ledger.database.read() as connection:
        assert recorded_before(connection, moments[before]) == 1 + 2 * before
        assert recorded_before(connection, "2099") == 9
        assert recorded_before(connection, "2000") == 0


GOOD = '[[rule]]\nname = "views"\ntype = "*.data.view.v1"\ndays = 365\naction = "delete-payload"\n'


def test_rules_are_read_strictly():
    assert parse_rules(GOOD, "r.toml") == (VIEWS,)
    for wrong in (
        "",
        "rule = 3",
        "[[rule]]",
        "= 3",
        GOOD + 'more = "x"\n',
        GOOD + GOOD,
        GOOD + "[other]\n",
        GOOD.replace("365", "0"),
        GOOD.replace("365", "true"),
        GOOD.replace("365", "1.5"),
        GOOD.replace("*.data", "*'data"),
        GOOD.replace("delete-payload", "delete-entry"),
        GOOD.replace('"views"', '""'),
        GOOD.replace('"views"', "7"),
    ):
        with pytest.raises(InputError, match=r"r\.toml"):
            parse_rules(wrong, "r.toml")


@given(st.text(max_size=60))
def test_any_text_is_rules_or_an_input_error(text):
    with suppress(InputError):
        assert parse_rules(text, "r.toml")


TAMPER = {
    "a payload": "UPDATE event SET payload = CAST(replace(CAST(payload AS TEXT), 'success', 'denied') AS BLOB)",
    "a salt": "UPDATE event SET salt = CAST('12345678901234567890123456789012' AS BLOB)",
    "a short salt": "UPDATE event SET salt = CAST('1' AS BLOB)",
    "the type beside an entry": "UPDATE event SET topic = 'com.clinic.data.view.v1'",
    "the entry": "UPDATE event SET entry = CAST(replace(CAST(entry AS TEXT), '08:59:59', '08:59:58') AS BLOB)",
}


@pytest.mark.sqlite
@pytest.mark.parametrize("name", TAMPER)
def test_what_was_altered_is_not_deleted_as_if_it_were_due(years, kit, name):
    """Retention destroys only what the log signed; what it refuses stays as evidence."""
    index = 3 if name == "the type beside an entry" else 2
    by = kit.refer(years, "officer", kind="actor")
    run_rules(years, [Rule("none", "com.none.*", 365)], by=by)  # the index has read everything
    with years.database.write() as connection:
        before = connection.execute("SELECT * FROM event WHERE position = ?", (index + 1,)).fetchone()
        connection.execute(f"{TAMPER[name]} WHERE position = ?", (index + 1,))
        assert tuple(connection.execute("SELECT * FROM event WHERE position = ?", (index + 1,)).fetchone()) != tuple(
            before
        )
    with pytest.raises(StoreDamagedError, match=r"[Ee]ntry \d.*tocsin verify"):
        run_rules(years, [VIEWS], by=by)
    assert gone(years) == []


@pytest.mark.sqlite
def test_a_time_that_was_altered_makes_nothing_before_it_due(years, kit):
    """Where what is due ends is found by halving: one entry that looks older makes all before it look so."""
    by = kit.refer(years, "officer", kind="actor")
    rule = Rule("views", "*.data.view.v1", 3000)
    assert run_rules(years, [rule], by=by)[0].deleted == 0
    with years.database.write() as connection:
        for index in range(5, 9):
            connection.execute(
                "UPDATE event SET entry = CAST(replace(CAST(entry AS TEXT), '2028-', '2001-') AS BLOB)"
                " WHERE position = ?",
                (index + 1,),
            )
    with pytest.raises(StoreDamagedError, match="Entry 1 is not due"):
        run_rules(years, [rule], by=by)
    assert gone(years) == []
