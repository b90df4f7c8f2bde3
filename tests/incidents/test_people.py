"""The directory and the inventory: strict files, nothing half-loaded, no personal data in an error or the log."""

import json
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incidents.errors import LineError
from incidents.people.directory import check_person
from ledger.errors import TocsinError

TODAY = date(2026, 3, 10)


def count_subjects(ledger):
    with ledger.database.read() as connection:
        return connection.execute("SELECT count(*) FROM vault WHERE kind = 'subject'").fetchone()[0]


def test_people_become_sealed_profiles_and_one_event_without_them(service, ledger, world, tmp_path):
    file = world.write_lines(tmp_path / "people.ndjson", world.PEOPLE)
    seen = []
    loaded = service.load_directory(file, by="ana", progress=lambda done, total: seen.append((done, total)))
    assert loaded.count == 7
    assert seen[-1] == (7, 7)
    payload = ledger.entry(loaded.index).payload
    assert b"Muster" not in payload
    assert b"cust-" not in payload
    assert json.loads(payload)["data"]["count"] == 7
    child = ledger.vault.profile(ledger.vault.find("subject", "cust-2"))
    assert child["guardians"] == [ledger.vault.find("subject", "cust-1")]
    assert child["jurisdiction"] == "ES"


def test_loading_again_changes_nothing_but_the_log(service, ledger, world, tmp_path):
    file = world.write_lines(tmp_path / "people.ndjson", world.PEOPLE)
    first = service.load_directory(file, by="ana")
    before = count_subjects(ledger)
    second = service.load_directory(file, by="ana")
    assert (second.digest, count_subjects(ledger)) == (first.digest, before)
    assert second.index > first.index


def test_a_guardian_may_be_loaded_before(service, ledger, world, tmp_path):
    service.load_directory(world.write_lines(tmp_path / "a", [world.person(1, "ES", "es")]), by="ana")
    child = world.person(2, "ES", "es", born="2015-01-01", guardians=["cust-1"])
    service.load_directory(world.write_lines(tmp_path / "b", [child]), by="ana")
    profile = ledger.vault.profile(ledger.vault.find("subject", "cust-2"))
    assert profile["guardians"] == [ledger.vault.find("subject", "cust-1")]


def test_an_interrupted_load_is_completed_by_repeating_it(service, ledger, world, tmp_path, monkeypatch):
    monkeypatch.setattr("incidents.people.directory.BATCH", 2)
    file = world.write_lines(tmp_path / "people.ndjson", world.PEOPLE)
    size = ledger.size()

    def die(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        service.load_directory(file, by="ana", progress=die)
    assert ledger.size() == size  # the log never says that people were loaded who were not
    assert service.load_directory(file, by="ana").count == 7
    assert count_subjects(ledger) == 7


BAD = [
    ({"jurisdiction": "ZZ"}, "jurisdiction"),
    ({"jurisdiction": "US-ZZ"}, "jurisdiction"),
    ({"jurisdiction": None}, "jurisdiction"),
    ({"language": "spanish!"}, "language"),
    ({"name": ""}, "name"),
    ({"name": "two\nlines"}, "name"),
    ({"id": 7}, "id"),
    ({"born": "2013-02-30"}, "born"),
    ({"born": "2999-01-01"}, "born"),
    ({"born": "20130228"}, "born"),
    ({"guardians": ["cust-9999"]}, "guardians"),
    ({"guardians": ["cust-3"]}, "guardians"),
    ({"guardians": "cust-1"}, "guardians"),
    ({"contacts": {"fax": ["1"]}}, "contacts"),
    ({"contacts": {"email": ["no at sign"]}}, "contacts/email"),
    ({"contacts": {"email": "a@example.org"}}, "contacts/email"),
    ({"contacts": {"sms": ["0600000000"]}}, "contacts/sms"),
    ({"contacts": {"letter": [["only one line"]]}}, "contacts/letter"),
    ({"contacts": {"letter": "street"}}, "contacts/letter"),
    ({"contacts": []}, "contacts"),
]


@pytest.mark.parametrize(("change", "field"), BAD, ids=[f"{field}-{n}" for n, (_, field) in enumerate(BAD)])
def test_one_bad_line_is_named_and_nothing_is_loaded(service, world, tmp_path, change, field):
    ledger = service.ledger
    rows = [world.person(1, "ES", "es"), world.person(2, "ES", "es"), {**world.person(3, "ES", "es"), **change}]
    size = ledger.size()
    with pytest.raises(LineError) as caught:
        service.load_directory(world.write_lines(tmp_path / "people.ndjson", rows), by="ana")
    assert caught.value.line == 3
    assert f"Line 3, field {field}" in str(caught.value)
    assert count_subjects(ledger) == 0
    assert ledger.size() == size
    for value in json.dumps(next(iter(change.values()))).split('"')[1::2]:
        assert len(value) < 8 or value not in str(caught.value)


@pytest.mark.parametrize(
    "line", ["", "not json", "[]", '"text"', "{}", '{"id": 1e400}', '{"id": "\\ud800"}', '{"n": 1.5}']
)
def test_a_line_that_is_no_person_is_named(service, ledger, world, tmp_path, line):
    file = tmp_path / "people.ndjson"
    file.write_text(json.dumps(world.person(1, "ES", "es")) + f"\n{line}\n" + json.dumps(world.person(2, "ES", "es")))
    with pytest.raises(LineError, match="Line 2"):
        service.load_directory(file, by="ana")
    assert count_subjects(ledger) == 0


def test_the_same_person_twice_is_refused(service, world, tmp_path):
    rows = [world.person(1, "ES", "es"), world.person(2, "ES", "es"), world.person(1, "FR", "fr")]
    with pytest.raises(LineError, match="Line 3, field id: the same id is on line 1"):
        service.load_directory(world.write_lines(tmp_path / "p", rows), by="ana")


@pytest.mark.parametrize("name", ["missing.ndjson", "empty.ndjson", "."])
def test_a_file_without_people_is_one_clear_error(service, tmp_path, name):
    (tmp_path / "empty.ndjson").write_bytes(b"")
    with pytest.raises(LineError):
        service.load_directory(tmp_path / name, by="ana")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(["id", "name", "language", "jurisdiction", "born", "guardians", "contacts"], JSON),
    )
)
def test_any_line_is_a_person_or_a_line_error(record):
    lines = [4]
    try:
        check_person(record, 4, TODAY)
    except LineError as error:
        lines.append(error.line)
    assert set(lines) == {4}


# Inventory


@pytest.mark.usefixtures("peopled")
def test_an_inventory_names_pseudonyms_and_counts(ledger):
    with ledger.database.read() as connection:
        rows = connection.execute("SELECT resource, subject, categories FROM incident_inventory").fetchall()
    assert len(rows) == 7
    assert all(row["subject"].startswith("s_") for row in rows)


def test_reloading_a_resource_replaces_it_and_leaves_the_others(peopled, ledger, world, tmp_path):
    row = {
        "resource": world.RESOURCE,
        "subjects": ["cust-1", "cust-3"],
        "data_categories": ["name"],
        "by_subject": {"cust-3": ["email"]},
    }
    peopled.load_inventory(world.write_lines(tmp_path / "new", [row]), by="ana")
    with ledger.database.read() as connection:
        rows = connection.execute(
            "SELECT subject, categories FROM incident_inventory WHERE resource = ?", (world.RESOURCE,)
        ).fetchall()
        assert connection.execute("SELECT count(*) FROM incident_inventory").fetchone()[0] == 4
    found = {row["subject"]: row["categories"] for row in rows}
    assert found[ledger.vault.find("subject", "cust-3")] == '["email"]'
    assert found[ledger.vault.find("subject", "cust-1")] == '["name"]'


BAD_INVENTORY = [
    ({"subjects": ["cust-1", "nobody"]}, "subjects: item 2"),
    ({"subjects": []}, "subjects"),
    ({"data_categories": ["shoe_size"]}, "data_categories: item 1"),
    ({"data_categories": []}, "data_categories"),
    ({"legal_classes": ["invented"]}, "legal_classes"),
    ({"resource": ""}, "resource"),
    ({"by_subject": {"cust-2": ["name"]}}, "by_subject"),
    ({"by_subject": {"cust-1": ["shoe_size"]}}, "by_subject"),
    ({"owner": "x"}, "unknown field"),
]


@pytest.mark.parametrize(("change", "said"), BAD_INVENTORY, ids=[said for _, said in BAD_INVENTORY])
def test_a_bad_inventory_line_is_named_and_nothing_is_loaded(peopled, world, tmp_path, change, said):
    ledger = peopled.ledger
    good = {"resource": "new", "subjects": ["cust-1"], "data_categories": ["name"]}
    size = ledger.size()
    file = world.write_lines(tmp_path / "inv", [good, {**good, "resource": "other", **change}])
    with pytest.raises(LineError, match="Line 2") as caught:
        peopled.load_inventory(file, by="ana")
    assert said in str(caught.value)
    assert "nobody" not in str(caught.value)
    assert ledger.size() == size
    with ledger.database.read() as connection:
        assert connection.execute("SELECT count(*) FROM incident_inventory").fetchone()[0] == 7


def test_a_resource_listed_twice_is_refused(peopled, world, tmp_path):
    row = {"resource": "r", "subjects": ["cust-1"], "data_categories": ["name"]}
    with pytest.raises(TocsinError, match="Line 2, field resource"):
        peopled.load_inventory(world.write_lines(tmp_path / "inv", [row, row]), by="ana")
