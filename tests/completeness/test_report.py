"""Reports: complete ones verify offline, and no other list does."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import Ledger, OwnEvent
from ledger.completeness import (
    MalformedReportError,
    Report,
    ReportError,
    markdown,
    resource_report,
    seal_index,
    subject_report,
    verify_report,
)
from ledger.completeness.index import Key
from ledger.errors import InputError, NoteError, PolicyError, StoreDamagedError, TocsinError, VerificationError

NOBODY = "s_" + "a" * 26


@pytest.fixture(scope="module")
def full(tmp_path_factory, kit) -> Iterator[Ledger]:
    """Two sealed sizes, many people."""
    with kit.create(tmp_path_factory.mktemp("full") / "data") as ledger:
        kit.fill(ledger, 60)
        seal_index(ledger)
        kit.fill(ledger, 60, first=60)
        seal_index(ledger)
        yield ledger


@pytest.fixture(scope="module")
def files(full, kit) -> dict[str, Any]:
    """Reports about the same person at both sizes, about others, and the log's key."""
    ref = kit.ref(full, "cust-1")
    old = min(seal.root.size for seal in seals_of(full))
    return {
        "vkey": full.vkey,
        "now": json.loads(subject_report(full, ref).report.to_bytes()),
        "old": json.loads(subject_report(full, ref, old).report.to_bytes()),
        "other": json.loads(subject_report(full, kit.ref(full, "cust-2")).report.to_bytes()),
        "nobody": json.loads(subject_report(full, NOBODY).report.to_bytes()),
        "resource": json.loads(resource_report(full, "record/1").report.to_bytes()),
    }


def seals_of(ledger: Ledger) -> list[Any]:
    from ledger.completeness import seals

    return seals(ledger)


def to_bytes(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def refused(value: Any, vkey: str) -> str:
    with pytest.raises(ReportError) as caught:
        verify_report(to_bytes(value), vkey)
    return str(caught.value)


def test_a_report_has_exactly_the_entries_that_name_the_person(full, kit):
    for number in range(7):
        key = Key("subject", kit.ref(full, f"cust-{number}"))
        for size in sorted({seal.root.size for seal in seals_of(full)}):
            made = subject_report(full, key.name, size)
            data = made.report.to_bytes()
            expected = kit.positions(full, key, size)
            assert [access.stored.index for access in made.report.accesses] == expected
            assert expected
            assert verify_report(data, full.vkey) == made.verdict
            assert verify_report(data, f"log {full.vkey}\nquorum none\n".encode()) == made.verdict
            assert Report.parse(data).to_bytes() == data


def test_a_resource_report_has_exactly_its_entries(full, kit):
    key = Key("resource", "record/1")
    made = resource_report(full, "record/1")
    assert [access.stored.index for access in made.report.accesses] == kit.positions(full, key, made.report.size)


def test_a_person_without_accesses_gets_a_proof_of_absence(full):
    made = subject_report(full, NOBODY)
    assert made.report.accesses == ()
    verdict = verify_report(made.report.to_bytes(), full.vkey)
    assert verdict.keys[0][1] == 0
    assert "None. The sealed index proves" in markdown(made.report, verdict)


def test_a_report_can_cover_the_resources_that_hold_the_persons_data(full, kit):
    ref = kit.ref(full, "cust-1")
    made = subject_report(full, ref, resources=["record/2", "record/nowhere", "record/2"])
    size = made.report.size
    keys = [Key("subject", ref), Key("resource", "record/2"), Key("resource", "record/nowhere")]
    assert [section.key for section in made.report.sections] == keys
    expected = sorted({index for key in keys for index in kit.positions(full, key, size)})
    assert [access.stored.index for access in made.report.accesses] == expected
    alone = subject_report(full, ref).verdict
    assert any("named no person" in line for line in alone.not_proven)
    assert not any("named no person" in line for line in made.verdict.not_proven)


# --- no other list verifies ---------------------------------------------------------------------


def leave_out(value: Any, chance: random.Random) -> None:
    at = chance.randrange(len(value["accesses"]))
    index = value["accesses"].pop(at)["index"]
    value["sections"][0]["positions"].remove(index)


def leave_out_last(value: Any, _chance: random.Random) -> None:
    value["sections"][0]["positions"].remove(value["accesses"].pop()["index"])


def leave_out_the_entry_alone(value: Any, chance: random.Random) -> None:
    value["accesses"].pop(chance.randrange(len(value["accesses"])))


def leave_out_all(value: Any, _chance: random.Random) -> None:
    value["accesses"], value["sections"][0]["positions"] = [], []


def reorder(value: Any, chance: random.Random) -> None:
    first, second = sorted(chance.sample(range(len(value["accesses"])), 2))
    for items in (value["accesses"], value["sections"][0]["positions"]):
        items[first], items[second] = items[second], items[first]


def reorder_the_entries_alone(value: Any, _chance: random.Random) -> None:
    value["accesses"].reverse()


def repeat(value: Any, chance: random.Random) -> None:
    at = chance.randrange(len(value["accesses"]))
    value["accesses"].insert(at, value["accesses"][at])
    value["sections"][0]["positions"].insert(at, value["sections"][0]["positions"][at])


def move(value: Any, chance: random.Random) -> None:
    at = chance.randrange(len(value["accesses"]))
    value["accesses"][at]["index"] += 1
    value["sections"][0]["positions"][at] += 1


def flip_blind(value: Any, _chance: random.Random) -> None:
    blind = value["sections"][0]["blind"]
    value["sections"][0]["blind"] = f"{int(blind[0], 16) ^ 1:x}{blind[1:]}"


def no_blind(value: Any, _chance: random.Random) -> None:
    value["sections"][0]["blind"] = None


def flip_sibling(value: Any, chance: random.Random) -> None:
    siblings = value["sections"][0]["map"]["siblings"]
    siblings[chance.randrange(len(siblings))] = "00" * 32


def invent_a_neighbour(value: Any, _chance: random.Random) -> None:
    value["sections"][0]["map"]["neighbour"] = {"label": "00" * 32, "value": "00" * 32}


def raise_size(value: Any, chance: random.Random) -> None:
    value["size"] += chance.choice([-1, 1])


def alter_payload(value: Any, chance: random.Random) -> None:
    access = value["accesses"][chance.randrange(len(value["accesses"]))]
    access["payload"] = access["payload"].replace("success", "denied!")


def alter_entry(value: Any, chance: random.Random) -> None:
    access = value["accesses"][chance.randrange(len(value["accesses"]))]
    access["entry"] = access["entry"].replace("08:59", "07:59")


def alter_seal(value: Any, _chance: random.Random) -> None:
    seal = value["sections"][0]["seal"]
    seal["payload"] = seal["payload"].replace('"unreadable":0', '"unreadable":1')


def hide_seal(value: Any, _chance: random.Random) -> None:
    value["sections"][0]["seal"] |= {"payload": None, "salt": None}


def another_origin(value: Any, _chance: random.Random) -> None:
    value["origin"] = "example.org/elsewhere"


def another_person(value: Any, _chance: random.Random) -> None:
    value["sections"][0]["key"] = NOBODY


def another_kind(value: Any, _chance: random.Random) -> None:
    value["sections"][0]["kind"] = "resource"


def same_section_twice(value: Any, _chance: random.Random) -> None:
    value["sections"].append(value["sections"][0])


CHANGES: list[Callable[[Any, random.Random], None]] = [
    leave_out, leave_out_last, leave_out_the_entry_alone, leave_out_all, reorder, reorder_the_entries_alone, repeat,
    move, flip_blind, no_blind, flip_sibling, invent_a_neighbour, raise_size, alter_payload, alter_entry, alter_seal,
    hide_seal, another_origin, another_person, another_kind, same_section_twice,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@given(seed=st.integers(0, 2**16))
def test_an_altered_report_fails(files, change, seed):
    for name in ("now", "old"):
        value = copy.deepcopy(files[name])
        change(value, random.Random(seed))
        assert value != files[name]
        refused(value, files["vkey"])


@given(seed=st.integers(0, 2**16))
def test_an_access_of_somebody_else_cannot_be_added(files, seed):
    value = copy.deepcopy(files["now"])
    mine = set(value["sections"][0]["positions"])
    foreign = random.Random(seed).choice([item for item in files["other"]["accesses"] if item["index"] not in mine])
    value["accesses"] = sorted([*value["accesses"], foreign], key=lambda access: access["index"])
    value["sections"][0]["positions"] = sorted([*mine, foreign["index"]])
    assert "not exactly those" in refused(value, files["vkey"])


def test_an_access_cannot_be_added_to_nobody(files):
    value = copy.deepcopy(files["nobody"])
    value["accesses"] = files["now"]["accesses"][:1]
    value["sections"][0]["positions"] = [value["accesses"][0]["index"]]
    value["sections"][0]["blind"] = files["now"]["sections"][0]["blind"]
    refused(value, files["vkey"])


def test_the_old_list_cannot_pass_for_the_new_one(files):
    value = copy.deepcopy(files["old"])
    value["size"] = files["now"]["size"]
    assert "another size" in refused(value, files["vkey"])
    value["sections"][0]["seal"] = files["now"]["sections"][0]["seal"]
    value["sections"][0]["map"] = files["now"]["sections"][0]["map"]
    assert "not exactly those" in refused(value, files["vkey"])


def test_the_root_of_another_map_cannot_show_absence(files):
    value = copy.deepcopy(files["nobody"])
    value["sections"][0]["seal"] = files["resource"]["sections"][0]["seal"]
    value["sections"][0]["map"] = files["resource"]["sections"][0]["map"]
    assert "another map" in refused(value, files["vkey"])


def test_the_absence_of_one_cannot_be_shown_for_another(files):
    value = copy.deepcopy(files["nobody"])
    value["sections"][0]["key"] = files["now"]["sections"][0]["key"]
    refused(value, files["vkey"])


def test_a_root_that_a_producer_sent_is_no_seal(full, kit, files):
    seal = json.loads(files["now"]["sections"][0]["seal"]["payload"])["data"]
    event = kit.event(9000, [], type="org.tocsin.index.sealed.v1", data=seal)
    index = full.append([event])[0].index
    checkpoint, [path] = full.inclusion_paths([index])
    value = copy.deepcopy(files["now"])
    made = Report.parse(to_bytes(value))
    stored = full.entry(index)
    forged = made.sections[0].__class__(
        made.sections[0].key,
        made.sections[0].blind,
        made.sections[0].positions,
        made.sections[0].seal.__class__(stored, tuple(path)),
        made.sections[0].proof,
    )
    report = Report(made.origin, made.size, made.made, checkpoint, (forged,), ())
    with pytest.raises(ReportError, match="own seal"):
        verify_report(report.to_bytes(), full.vkey)


def test_another_log_or_key_is_refused(files, kit):
    from ledger.notes import Signer

    stranger = Signer.from_seed(kit.origin, bytes(32)).vkey
    with pytest.raises(NoteError):
        verify_report(to_bytes(files["now"]), stranger)
    with pytest.raises(PolicyError):
        verify_report(to_bytes(files["now"]), Signer.from_seed("example.org/other", bytes(32)).vkey)
    with pytest.raises(PolicyError):
        verify_report(to_bytes(files["now"]), "no key at all")


# --- form ---------------------------------------------------------------------------------------


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from paths(item, (*path, key))
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from paths(item, (*path, at))


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-1, 2**60), st.text(max_size=5), st.floats(), st.just([]), st.just({}),
    st.just([None]), st.just("0" * 64), st.just("A" * 44),
)  # fmt: skip


@given(which=st.sampled_from(["now", "nobody"]), place=st.integers(0, 10_000), junk=JUNK)
def test_junk_in_any_place_is_refused_and_never_leaks_another_error(files, which, place, junk):
    value = copy.deepcopy(files[which])
    # The files are made anew in each run, so a place is a number that means something in all of them.
    places = [path for path in paths(value) if path]
    *way, last = places[place % len(places)]
    holder = value
    for step in way:
        holder = holder[step]
    if holder[last] == junk or last == "made":
        return
    holder[last] = junk
    with pytest.raises(VerificationError):
        verify_report(json.dumps(value).encode("utf-8", "surrogatepass"), files["vkey"])


def test_a_blind_where_there_is_nothing_to_open_is_refused(files):
    value = copy.deepcopy(files["nobody"])
    assert value["sections"][0]["blind"] is None
    value["sections"][0]["blind"] = "0" * 64
    with pytest.raises(ReportError, match="opens nothing"):
        verify_report(json.dumps(value).encode(), files["vkey"])


@given(st.binary(max_size=60))
def test_bytes_that_are_no_report(junk):
    with pytest.raises(TocsinError):
        verify_report(junk, "example.org/audit+12345678+AA==")


def test_a_report_without_sections_is_about_nobody(files):
    value = copy.deepcopy(files["nobody"]) | {"sections": []}
    with pytest.raises(MalformedReportError):
        verify_report(to_bytes(value), files["vkey"])


# --- what is shown, and to whom -----------------------------------------------------------------


def test_withheld_payloads_leave_the_proof(full, kit):
    ref = kit.ref(full, "cust-1")
    shown, bare = subject_report(full, ref), subject_report(full, ref, payloads=False)
    assert [access.stored.index for access in bare.report.accesses] == [
        access.stored.index for access in shown.report.accesses
    ]
    assert bare.verdict.withheld == bare.verdict.accesses > 0
    assert b"cust" not in bare.report.to_bytes()
    assert b"record/" not in bare.report.to_bytes()
    assert any("withheld" in line for line in bare.verdict.not_proven)


def test_an_erased_access_stays_in_the_report_as_erased(ledger, kit):
    ledger.append([kit.event(number, ["cust-1"]) for number in range(3)])
    ref = kit.ref(ledger, "cust-1")
    seal_index(ledger)
    kit.erase(ledger, 2)
    made = subject_report(ledger, ref)
    assert [(access.stored.index, access.state) for access in made.report.accesses] == [
        (1, "included"),
        (2, "erased"),
        (3, "included"),
    ]
    assert made.verdict.erased == 1
    assert "*erased*" in markdown(made.report, made.verdict)


def test_a_report_shows_no_other_key(full, kit, files):
    labels = {Key("resource", f"record/{number}").label(full.origin).hex() for number in range(5)}
    labels |= {Key("subject", kit.ref(full, f"cust-{number}")).label(full.origin).hex() for number in range(7)}
    for name in ("nobody", "now", "resource"):
        text = json.dumps([section["map"] for section in files[name]["sections"]])
        assert not any(label in text for label in labels)
    assert json.dumps(files["nobody"]).count("record/") == 0


def test_tables_that_do_not_hash_to_the_root_make_no_report(ledger, kit):
    ledger.append([kit.event(number, ["cust-1"]) for number in range(3)])
    seal_index(ledger)
    ref = kit.ref(ledger, "cust-1")
    with ledger.database.write() as connection:
        connection.execute("DELETE FROM access_map_entry WHERE position = 3")
    with pytest.raises(StoreDamagedError, match="No report was made"):
        subject_report(ledger, ref)


def test_only_the_ref_of_a_person_is_taken(ledger):
    seal_index(ledger)
    for name in ("cust-1", "a_" + "a" * 26, ""):
        with pytest.raises(InputError):
            subject_report(ledger, name)
    with pytest.raises(InputError):
        resource_report(ledger, "")
    with pytest.raises(InputError):
        resource_report(ledger, "half\ud800")


def test_markdown_shows_what_producers_wrote_as_text(ledger, kit):
    name = "a|b](javascript:x) <script>\u202e\n# head"
    ledger.append([kit.event(1, ["cust-1"], name)])
    seal_index(ledger)
    made = resource_report(ledger, name)
    text = markdown(made.report, made.verdict)
    assert "<script>" not in text
    assert "\u202e" not in text
    assert "\n# head" not in text
    row = next(line for line in text.splitlines() if line.startswith("| 1 "))
    assert row.replace("\\|", "").count("|") == 7


def test_own_events_with_odd_payloads_name_nobody(ledger):
    odd = [{"subjects": [{"id": "x"}]}, {"subjects": "all"}, {"resource": ["r"]}, {"subjects": [{"ref": {"a": 1}}]}]
    ledger.record([OwnEvent("org.tocsin.data.view.v1", data) for data in odd])
    assert {seal.root.count for seal in seal_index(ledger)} == {0}


def test_a_report_verifies_without_the_database(full, kit, tmp_path, monkeypatch):
    data = subject_report(full, kit.ref(full, "cust-1")).report.to_bytes()
    (tmp_path / "report.json").write_bytes(data)
    import sqlite3

    def no_database(*_arguments: object, **_keywords: object) -> None:
        raise AssertionError

    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", no_database)
        verify_report(Path(tmp_path / "report.json").read_bytes(), full.vkey)
