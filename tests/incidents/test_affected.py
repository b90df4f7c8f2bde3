"""Who is affected: what each kind of access means, and that the set does not depend on the order of reading."""

from dataclasses import dataclass
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incidents.people.affected import AffectedSet, Profile, collect, freeze, younger
from incidents.people.inventory import Holding
from ledger.merkle import EMPTY_ROOT, verify_inclusion

OCCURRED = datetime(2026, 3, 10, tzinfo=UTC)


@dataclass(frozen=True)
class Row:
    index: int
    action: str = "data.download"
    outcome: str = "success"
    resource: str | None = "b/one"
    subject: str | None = None


HELD = (
    Holding("b/one", "s_a", ("email", "name"), ()),
    Holding("b/one", "s_b", ("name",), ("financial",)),
    Holding("b/two", "s_c", ("ssn",), ()),
    Holding("bb/three", "s_d", ("ssn",), ()),
)


def held_in(resource):
    return [item for item in HELD if item.resource == resource]


def held_below(container):
    return [item for item in HELD if item.resource.startswith(container + "/")]


def run(*rows, profiles=None):
    return freeze(collect(rows, held_in, held_below), profiles or {}, OCCURRED)


def sure(found):
    return {member.ref: member.confidence for member in found.members}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (Row(1), {"s_a": "confirmed", "s_b": "confirmed"}),
        (Row(1, "data.export"), {"s_a": "confirmed", "s_b": "confirmed"}),
        (Row(1, "data.delete"), {"s_a": "confirmed", "s_b": "confirmed"}),
        (Row(1, outcome=""), {"s_a": "probable", "s_b": "probable"}),
        (Row(1, outcome="denied"), {"s_a": "possible", "s_b": "possible"}),
        (Row(1, outcome="error"), {"s_a": "possible", "s_b": "possible"}),
        (Row(1, "data.search", resource="b"), {"s_a": "possible", "s_b": "possible", "s_c": "possible"}),
        (Row(1, "data.search", resource="b/two"), {"s_c": "probable"}),
        # Refused or failed, a search of the resource itself was an attempt on it; a listing named nothing.
        (Row(1, "data.search", resource="b/two", outcome="denied"), {"s_c": "possible"}),
        (Row(1, "data.search", resource="b", outcome="denied"), {}),
        (Row(1, "data.search", resource="b", outcome="failure"), {}),
        (Row(1, "data.search", resource="b", outcome="error"), {}),
        (Row(1, "data.search", resource="b", outcome="denied", subject="s_x"), {"s_x": "possible"}),
        (Row(1, "data.search", resource="b/one", subject="s_a"), {"s_a": "confirmed", "s_b": "probable"}),
        (Row(1, resource="b"), {}),  # reading "b" reads no object inside it
        (Row(1, resource="b/on"), {}),
        (Row(1, "data.create"), {}),
        (Row(1, "auth.login", resource=None), {}),
        (Row(1, resource=None, subject="s_x"), {"s_x": "confirmed"}),
        (Row(1, "data.search", resource=None, subject="s_x"), {"s_x": "confirmed"}),
        (Row(1, resource=None, subject="s_x", outcome="denied"), {"s_x": "possible"}),
    ],
)
def test_what_one_access_means(row, expected):
    assert sure(run(row)) == expected


def test_the_surest_reason_counts_and_every_entry_is_kept():
    found = run(Row(9, outcome="denied"), Row(3), Row(5, "data.search", resource="b"))
    member = found.members[0]
    assert (member.ref, member.confidence, member.entries, member.entry_count) == ("s_a", "confirmed", (3, 5, 9), 3)
    assert member.data_categories == ("email", "name")


LISTED = (Holding("b/file", "s_a", ("email", "name"), ()), Holding("b/four", "s_a", ("ssn",), ("financial",)))


def seen(*rows):
    """The one member of the set and what weaker accesses reached, over an inventory of two objects of a bucket."""
    evidence = collect(
        rows,
        lambda resource: [item for item in LISTED if item.resource == resource],
        lambda container: [item for item in LISTED if item.resource.startswith(container + "/")],
    )
    [member] = freeze(evidence, {}, OCCURRED).members
    return member, evidence.weaker()


@pytest.mark.parametrize(
    "weaker",
    [Row(2, "data.search", resource="b"), Row(2, resource="b/four", outcome="denied")],
    ids=["listed", "denied"],
)
def test_nobody_is_told_that_data_were_read_which_were_only_listed_or_refused(weaker):
    read = Row(1, resource="b/file")
    for rows in ((read, weaker), (weaker, read)):
        member, apart = seen(*rows)
        assert (member.confidence, member.data_categories) == ("confirmed", ("email", "name"))
        assert member.legal_classes == ()
        assert member.entries == (1, 2)
        assert apart == {"ssn": 1}
    member, apart = seen(weaker)
    assert member.confidence == "possible"
    assert "ssn" in member.data_categories
    assert apart == {}


def test_a_search_that_names_somebody_showed_what_the_resource_holds_of_them():
    member, apart = seen(Row(1, "data.search", resource="b/four", subject="s_a"))
    assert (member.confidence, member.data_categories, apart) == ("confirmed", ("ssn",), {})


ROWS = st.lists(
    st.builds(
        Row,
        index=st.integers(0, 20),
        action=st.sampled_from(["data.download", "data.search", "data.view", "auth.login"]),
        outcome=st.sampled_from(["success", "denied", "", "failure"]),
        resource=st.sampled_from(["b", "b/one", "b/two", "bb/three", None]),
        subject=st.sampled_from([None, "s_a", "s_x"]),
    ),
    max_size=12,
)


@given(ROWS, st.randoms())
def test_order_and_repetition_do_not_matter(rows, random):
    shuffled = [*rows, *rows]
    random.shuffle(shuffled)
    first, second = run(*rows), run(*shuffled)
    assert first == second
    assert first.root == second.root
    assert AffectedSet.decode(first.encode()) == first
    assert [member.ref for member in first.members] == sorted({member.ref for member in first.members})


@given(ROWS, ROWS)
def test_more_accesses_never_lose_anybody(rows, more):
    before, after = run(*rows), run(*rows, *more)
    difference = after.difference(before)
    assert difference.removed == ()
    assert set(difference.added) == set(sure(after)) - set(sure(before))
    assert before.difference(before).counts() == {"added": 0, "removed": 0, "changed": 0}


@given(ROWS.filter(bool))
def test_each_member_can_be_proven(rows):
    found = run(*rows)
    for index, member in enumerate(found.members):
        path = found.prove(member.ref)
        verify_inclusion(index, found.count, member.leaf(), path, bytes.fromhex(found.root))
    assert found.prove("s_nobody") is None


def test_nobody_is_an_empty_set():
    assert run().root == EMPTY_ROOT.hex()
    assert run().summary()["by_jurisdiction"] == {}


@pytest.mark.parametrize(
    ("born", "years", "minor"),
    [
        (date(2008, 3, 10), 18, False),
        (date(2008, 3, 11), 18, True),
        (date(2012, 3, 10), 14, False),
        (date(2012, 3, 11), 14, True),
        (None, 18, False),
    ],
)
def test_a_birthday_on_the_day_counts(born, years, minor):
    assert younger(born, OCCURRED.date(), years) is minor


def test_born_on_a_leap_day():
    assert younger(date(2008, 2, 29), date(2026, 2, 28), 18)
    assert not younger(date(2008, 2, 29), date(2026, 3, 1), 18)


def test_profiles_are_taken_over():
    child = Profile("ES", "es", date(2013, 1, 1), ("s_g",))
    member = run(Row(1), profiles={"s_a": child}).members[0]
    assert (member.jurisdiction, member.language, member.under_18, member.under_14) == ("ES", "es", True, True)
    assert member.guardians == ("s_g",)
    assert run(Row(1), profiles={"s_a": child}).summary()["by_jurisdiction"] == {"ES": 1, "unknown": 1}


# On the ledger


def test_scoping_joins_log_and_inventory(peopled, ledger, world, clock):
    ledger.append(
        [
            world.access_event(1),
            world.access_event(2, verb="search", resource=world.BUCKET),
            world.access_event(3, resource="arn:aws:s3:::clients/nothing.txt"),
            world.access_event(4, actor="arn:aws:iam::1:user/honest", resource=f"{world.BUCKET}/other.txt"),
        ]
    )
    name = peopled.declare("Copied", by="ana", aware=clock.now)
    found = peopled.scope(name, peopled.criteria(actors=[world.INTRUDER]), by="ana")
    by_id = {ledger.vault.profile(m.ref)["id"]: m for m in found.members}
    assert {key: m.confidence for key, m in by_id.items()} == {
        "cust-1": "confirmed",
        "cust-2": "confirmed",
        "cust-3": "confirmed",
        "cust-4": "confirmed",
        "cust-5": "confirmed",
        "cust-6": "possible",
        "cust-7": "possible",
    }
    assert (by_id["cust-2"].under_18, by_id["cust-2"].under_14) == (True, True)
    assert (by_id["cust-5"].under_18, by_id["cust-5"].under_14) == (True, False)
    view = peopled.view(name)
    assert view.affected.root == found.root
    assert view.affected.by_confidence == {"confirmed": 5, "probable": 0, "possible": 2}
    facts = {fact.path: fact.value for fact in view.facts}
    # The merely possible do not count as affected before the law.
    assert facts["affected"] == [
        {"jurisdiction": "CN", "count": 1},
        {"jurisdiction": "DE", "count": 1, "minors": {"under_18": 1, "under_14": 0}},
        {"jurisdiction": "ES", "count": 2, "minors": {"under_18": 1, "under_14": 1}},
        {"jurisdiction": "US-CA", "count": 1},
    ]
    assert facts["data_categories"] == ["email", "name", "ssn"]
    assert peopled.affected(name) == found


def test_running_again_shows_the_difference(peopled, ledger, world, tmp_path):
    ledger.append([world.access_event(1)])
    name = peopled.declare("Copied", by="ana")
    criteria = peopled.criteria(actors=[world.INTRUDER])
    first = peopled.scope(name, criteria, by="ana")
    assert peopled.scope(name, criteria, by="ana").root == first.root
    view = peopled.view(name)
    assert (view.affected.added, view.affected.removed, view.affected.changed) == (0, 0, 0)
    ledger.append([world.access_event(5, resource=f"{world.BUCKET}/other.txt")])
    peopled.scope(name, criteria, by="ana")
    view = peopled.view(name)
    assert (view.affected.added, view.affected.removed, view.affected.changed) == (2, 0, 0)
    row = {"resource": world.RESOURCE, "subjects": ["cust-1"], "data_categories": ["name"]}
    peopled.load_inventory(world.write_lines(tmp_path / "less", [row]), by="ana")
    peopled.scope(name, criteria, by="ana")
    view = peopled.view(name)
    assert (view.affected.added, view.affected.removed, view.affected.changed) == (0, 4, 1)


def test_nobody_found_says_what_to_widen(peopled, ledger, world):
    ledger.append([world.access_event(1, resource="arn:aws:s3:::clients/unlisted.txt")])
    name = peopled.declare("Copied", by="ana")
    peopled.scope(name, peopled.criteria(actors=[world.INTRUDER]), by="ana")
    assert "inventory lists nobody" in peopled.view(name).affected.advice
    peopled.scope(name, peopled.criteria(actors=[world.INTRUDER], outcomes=["denied"]), by="ana")
    assert "Widen or drop one of: actors, outcomes" in peopled.view(name).affected.advice


def test_an_identity_the_ledger_never_saw_is_refused(peopled):
    with pytest.raises(Exception, match="actors: item 1 does not occur"):
        peopled.criteria(actors=["arn:aws:iam::1:user/stranger"])


def test_the_real_breach_touches_exactly_the_people_of_the_object(shared, service, ledger, world, tmp_path):
    """OTRF SDAWS-200914011940: two GetObject calls on ring.txt, and ListObjects on its bucket."""
    from ledger.importers.runner import import_cloudtrail

    import_cloudtrail(ledger, shared / "data/cloudtrail-s3-breach/cloudtrail.ndjson")
    bucket = "arn:aws:s3:::mordors3stack-s3bucket-llp2yingx64a"
    service.load_directory(world.write_lines(tmp_path / "p", world.PEOPLE), by="ana")
    rows = [
        {"resource": f"{bucket}/ring.txt", "subjects": ["cust-1", "cust-2", "cust-4"], "data_categories": ["name"]},
        {"resource": f"{bucket}/other.txt", "subjects": ["cust-3", "cust-4"], "data_categories": ["ssn"]},
        {"resource": f"{bucket}-2/ring.txt", "subjects": ["cust-5"], "data_categories": ["name"]},
    ]
    service.load_inventory(world.write_lines(tmp_path / "i", rows), by="ana")
    name = service.declare("Bucket copied", by="ana")
    role = "arn:aws:sts::123456789123:assumed-role/MordorNginxStack-BankingWAFRole-9S3E0UAE1MM0/i-0317f6c6b66ae9c40"
    found = service.scope(name, service.criteria(actors=[role]), by="ana")
    people = {ledger.vault.profile(m.ref)["id"]: m for m in found.members}
    assert {key for key, m in people.items() if m.confidence == "confirmed"} == {"cust-1", "cust-2", "cust-4"}
    assert people["cust-3"].confidence == "possible"  # the bucket was listed, the object not read
    assert "cust-5" not in people
    assert people["cust-4"].data_categories == ("name",)  # what stands in the object that was only listed is not told
    assert service.view(name).affected.weaker_categories == {"ssn": 1}

    reads = service.criteria(actors=[role], actions=["data.download"])
    found = service.scope(name, reads, by="ana")
    assert {ledger.vault.profile(m.ref)["id"] for m in found.members} == {"cust-1", "cust-2", "cust-4"}
    entries = {index for member in found.members for index in member.entries}
    times = sorted(ledger.entry(index).decode().time for index in entries)
    assert times == ["2020-09-14T01:02:34.000Z", "2020-09-14T01:13:20.000Z"]
    assert service.view(name).affected.under_18 == 1  # ages at the time of the breach, in 2020
