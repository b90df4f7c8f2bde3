"""The synthetic world: big enough, of the right shape, and the same every time."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from datetime import UTC, date, datetime

import orjson
import pytest

from api.demo.regions import REGIONS
from api.demo.synthetic import RECORDS, write_world
from api.demo.traffic import Traffic, make_principals
from ledger.cloudevents import read_event
from ledger.importers import cloudtrail, lossless

pytestmark = pytest.mark.xdist_group("synthetic")  # one worker makes what all tests of this file look at

UNTIL = datetime(2026, 3, 20, 15, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("world"), until=UNTIL)


def rows(path):
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_same_seed_and_day_give_the_same_bytes(tmp_path):
    later_that_day = UNTIL.replace(hour=23)
    one = write_world(tmp_path / "1", seed=7, people=60, records=500, until=UNTIL)
    two = write_world(tmp_path / "2", seed=7, people=60, records=500, until=later_that_day)
    other = write_world(tmp_path / "3", seed=8, people=60, records=500, until=UNTIL)
    for name in ("cloudtrail", "people", "inventory"):
        assert digest(getattr(one, name)) == digest(getattr(two, name))
        assert digest(getattr(one, name)) != digest(getattr(other, name))


def test_there_are_enough_people_in_enough_places(world):
    people = rows(world.people)
    assert len(people) >= 2400
    where = Counter(person["jurisdiction"] for person in people)
    assert {"ES", "DE", "FR", "MX", "CN", "US-CA", "US-TX", "BR", "JP"} <= set(where)
    assert min(where.values()) > 90
    assert where["US-CA"] > 500  # the attorney general is told from 501 on
    assert len({person["id"] for person in people}) == len(people)


def test_children_have_adult_guardians_with_their_name(world):
    people = {person["id"]: person for person in rows(world.people)}
    children = [person for person in people.values() if person["guardians"]]
    assert len(children) > 300
    for child in children:
        assert (UNTIL.date() - date.fromisoformat(child["born"])).days < 18 * 365.25
        guardians = [people[guardian] for guardian in child["guardians"]]
        assert not any(guardian["guardians"] for guardian in guardians)
        family = next(r for r in REGIONS if r.code == child["jurisdiction"]).family
        assert any(name in child["name"] and name in guardians[0]["name"] for name in family)
    young = {person["id"] for person in children}
    for person in people.values():
        if person["id"] not in young and person["born"]:
            assert (UNTIL.date() - date.fromisoformat(person["born"])).days > 18 * 366


def test_some_people_are_hard_to_reach(world):
    adults = [person for person in rows(world.people) if not person["guardians"]]
    kinds = Counter("+".join(sorted(person["contacts"])) for person in adults)
    assert kinds[""] >= 5
    assert kinds["letter"] > 50
    assert kinds["sms"] + kinds["push"] + kinds["push+sms"] > 150
    assert sum("gone.example.org" in str(person["contacts"]) for person in adults) > 30


def test_nothing_could_belong_to_a_real_person(world):
    numbers = []
    for person in rows(world.people):
        for address in person["contacts"].get("email", []):
            assert address.endswith(("@example.org", "@gone.example.org"))
        numbers += person["contacts"].get("sms", [])
    assert len(numbers) == len(set(numbers))
    for number in numbers:
        assert number.startswith("+3363998") or (number.startswith("+1") and number[5:9] == "5550" and number[9] == "1")


def test_the_traffic_is_large_and_looks_like_a_working_fortnight(world):
    records = rows(world.cloudtrail)
    assert len(records) == world.records == RECORDS + world.intrusion.calls
    assert RECORDS >= 50_000
    assert len({record["eventID"] for record in records}) == len(records)
    times = [record["eventTime"] for record in records]
    assert times == sorted(times)
    assert times[0] < "2026-03-06T01"
    assert "2026-03-19T22" < times[-1] < "2026-03-20"
    hours = Counter(time[11:13] for time in times)
    assert hours["10"] > 5 * hours["05"]
    actors = {record["userIdentity"].get("arn") for record in records}
    assert len(actors) >= 80


def test_the_intrusion_stands_in_the_middle_and_nowhere_else(world):
    records = rows(world.cloudtrail)
    outside = [record for record in records if record["sourceIPAddress"] == world.intrusion.address]
    assert len(outside) == world.intrusion.calls
    assert {record["userIdentity"]["arn"] for record in outside} == {world.intrusion.principal}
    assert {record["userIdentity"]["accessKeyId"] for record in outside} == {world.intrusion.credential}
    shape = Counter((record["eventName"], record.get("errorCode")) for record in outside)
    assert shape["ListBuckets", None] >= 1
    assert shape["ListObjects", None] >= 1
    assert shape["GetObject", None] == 2
    assert shape["GetObject", "AccessDenied"] >= 1
    read = {r["resources"][0]["ARN"] for r in outside if r["eventName"] == "GetObject" and "errorCode" not in r}
    assert read == {world.intrusion.stolen}
    place = records.index(outside[0]) / len(records)
    assert 0.3 < place < 0.7
    honest = [
        record["userIdentity"]["arn"]
        for record in records
        if record["sourceIPAddress"] != world.intrusion.address
        and world.intrusion.stolen in str(record.get("resources"))
    ]
    assert len(honest) > 100
    assert len(set(honest)) >= 5


def test_the_inventory_joins_the_stolen_object_to_nearly_everybody(world):
    people = {person["id"] for person in rows(world.people)}
    inventory = {line["resource"]: line for line in rows(world.inventory)}
    assert len(inventory) == len(rows(world.inventory))
    assert len(inventory) > 50
    for line in inventory.values():
        assert set(line["subjects"]) <= people
        assert set(line.get("by_subject", {})) <= set(line["subjects"])
    stolen = set(inventory[world.intrusion.stolen]["subjects"])
    assert 0.9 * len(people) < len(stolen) < len(people)
    listed = {
        s for name, line in inventory.items() if name.startswith(world.intrusion.bucket) for s in line["subjects"]
    }
    assert stolen < listed < people


def test_every_record_passes_the_importer():
    traffic = Traffic(random.Random(3), UNTIL.replace(hour=0, minute=0))
    kinds = Counter()
    for record in traffic.records(3000):
        made = cloudtrail.to_event(lossless.parse(orjson.dumps(record)))
        read_event(made)
        kinds[made["type"]] += 1
    assert kinds["org.tocsin.data.download.v1"] > 1000
    assert kinds["org.tocsin.data.search.v1"] > 100
    assert kinds["org.tocsin.auth.assumed_role.v1"] > 30


def identifying(record):
    identity = record["userIdentity"]
    values = [record["eventID"], record["requestID"], record["recipientAccountId"], record["sourceIPAddress"]]
    values += [identity.get(name) for name in ("arn", "principalId", "accessKeyId", "userName")]
    values.append(
        record.get("@timestamp", record.get("eventTime", ""))[11:19] if "aws-cli" in record["userAgent"] else None
    )
    return {value for value in values if value and not value.endswith(".amazonaws.com")}


def test_no_value_of_the_real_breach_was_copied(shared, world):
    real = (shared / "data/cloudtrail-s3-breach/cloudtrail.ndjson").read_bytes().splitlines()
    copied = set().union(*(identifying(orjson.loads(line)) for line in real))
    assert len(copied) > 200
    ours = [record for record in rows(world.cloudtrail) if record["sourceIPAddress"] == world.intrusion.address]
    assert not copied & set().union(*(identifying(record) for record in ours))
    anybody = set().union(*(identifying(record | {"userAgent": ""}) for record in rows(world.cloudtrail)))
    assert not copied & anybody


def test_there_are_more_than_eighty_principals():
    principals = make_principals(random.Random(1))
    assert len({principal.arn for principal in principals}) == len(principals) > 80
