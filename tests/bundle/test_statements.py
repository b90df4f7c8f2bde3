"""What the ledger's own key could be made to sign, and the verifier still refuses."""

from __future__ import annotations

import base64
import json

import pytest

from ledger.container import unpack
from ledger.encoding import canonical, parse
from ledger.verify_bundle import verify_bytes

QUICK = b"pass\n"


def refused(data: bytes) -> tuple[str, str]:
    result = verify_bytes(data)
    assert result["exit_code"] == 2, result
    return result["kind"], result["where"]


def lines(data: bytes, name: str) -> list[dict]:
    return [parse(line) for line in unpack(data)[name].splitlines()]


def write(rows: list[dict]) -> bytes:
    return b"".join(canonical(row) + b"\n" for row in rows)


def test_an_entry_moved_to_another_index_is_named(kit, small, story):
    rows = lines(small, "entries.ndjson")
    rows[3]["entry"], rows[3]["salt"], rows[3]["payload"] = (rows[1][key] for key in ("entry", "salt", "payload"))
    data = kit.reseal(small, {"entries.ndjson": write(rows)}, story.log.signer)
    assert refused(data) == ("inclusion", "entry 3")


@pytest.mark.parametrize("field", ["path", "entry"])
def test_a_wrong_path_or_entry_is_named(kit, small, story, field):
    rows = lines(small, "entries.ndjson")
    if field == "path":
        rows[5]["path"] = rows[5]["path"][1:]
    else:
        raw = base64.b64decode(rows[5]["entry"]).replace(b"declared", b"forgiven")
        rows[5]["entry"] = base64.b64encode(raw).decode()
    data = kit.reseal(small, {"entries.ndjson": write(rows)}, story.log.signer)
    assert refused(data) == ("inclusion", "entry 5")


def test_another_payload_than_the_committed_one_is_named(kit, small, story):
    rows = lines(small, "entries.ndjson")
    payload = base64.b64decode(rows[5]["payload"]).replace(b"Bucket copied", b"Nothing at all")
    rows[5]["payload"] = base64.b64encode(payload).decode()
    data = kit.reseal(small, {"entries.ndjson": write(rows)}, story.log.signer)
    assert refused(data) == ("payload", "entry 5")


def test_entries_out_of_order_or_twice_are_named(kit, small, story):
    rows = lines(small, "entries.ndjson")
    for changed in ([rows[1], rows[0], *rows[2:]], [rows[0], *rows]):
        data = kit.reseal(small, {"entries.ndjson": write(changed)}, story.log.signer)
        assert refused(data) == ("order", "entry 0")


def test_a_left_out_event_of_the_incident_is_noticed(kit, story):
    """The key signs a bundle without the event that says who scoped what: versions are no longer 1..n."""
    left_out = story.where["known"]
    kept = [index for index in range(len(story.log.stored)) if index != left_out]
    material = story.log.material(kept, story.members, story.receipts)
    data = kit.make(story, QUICK, entries=material.entries, paths=material.paths)
    kind, where = refused(data)
    assert kind == "completeness"
    assert where == f"entry {story.where['scope']}"


def test_the_access_on_which_a_person_is_listed_must_be_there(kit, story):
    kept = [index for index in range(len(story.log.stored)) if index != 3]
    material = story.log.material(kept, story.members, story.receipts)
    data = kit.make(story, QUICK, entries=material.entries, paths=material.paths)
    assert refused(data) == ("affected", "affected.ndjson line 2")


def test_an_erased_payload_leaves_the_rest_provable(kit, story):
    from ledger.entries import StoredEntry

    material = story.log.material(members=story.members, receipts=story.receipts)
    entries = tuple(
        StoredEntry(item.index, item.entry, None, None) if item.index == 1 else item for item in material.entries
    )
    result = verify_bytes(kit.make(story, QUICK, entries=entries))
    assert result["exit_code"] == 0
    details = {check["check"]: check["detail"] for check in result["checks"]}
    assert details["entries"] == "17 entries, 16 payloads opened, 1 withheld"


def test_a_person_dropped_from_the_list_is_noticed(kit, story):
    kind, where = refused(kit.make(story, QUICK, members=story.members[:-1]))
    assert (kind, where) == ("affected", "affected.ndjson")


def test_a_person_changed_in_the_list_is_noticed(kit, story):
    changed = ({**story.members[0], "under_18": True}, *story.members[1:])
    assert refused(kit.make(story, QUICK, members=changed)) == ("affected", "affected.ndjson")


def test_a_list_in_another_order_is_noticed(kit, story):
    assert refused(kit.make(story, QUICK, members=story.members[::-1])) == ("affected", "affected.ndjson line 2")


@pytest.mark.parametrize(
    ("field", "value"),
    [("count", 2), ("by_jurisdiction", {"ES": 3}), ("under_18", 0), ("data_categories", [])],
)
def test_recorded_numbers_that_the_list_does_not_give_are_noticed(kit, field, value):
    whole = kit.tell().log.stored[9].payload
    summary = {**parse(whole)["summary"], field: value} if field != "count" else parse(whole)["summary"]
    change = {"summary": summary} if field != "count" else {"count": value}
    assert refused(kit.make(kit.tell(scope=change), QUICK)) == ("affected", "entry 9")


def test_an_access_outside_the_recorded_search_is_noticed(kit):
    for criteria in ({"actors": ["a_worker"]}, {"outcomes": ["denied"]}, {"until": "2026-03-10T09:00:01.000Z"}):
        kind, where = refused(kit.make(kit.tell(scope={"criteria": criteria}), QUICK))
        assert (kind, where) == ("affected", "entry 1")
    broad = {"actions": ["data.view"], "resources": ["arn:aws:s3:::bucket/a.csv", "arn:aws:s3:::bucket/b.csv"]}
    assert verify_bytes(kit.make(kit.tell(scope={"criteria": broad}), QUICK))["exit_code"] == 0


def test_a_matched_access_that_nobody_rests_on_may_not_be_left_out(kit):
    """The search counted two accesses; the key signs a list and a bundle that know of one."""
    members = [kit.member("s_aaa", [1])]
    told = kit.tell(scope=kit.scoped(members, 5))
    kept = [index for index in range(len(told.log.stored)) if index != 3]
    material = told.log.material(kept, tuple(members), told.receipts)
    data = kit.make(told, QUICK, entries=material.entries, paths=material.paths, members=tuple(members))
    assert refused(data) == ("completeness", "entry 9")


def test_a_receipt_left_out_added_or_changed_is_noticed(kit, story):
    block = story.where["block"]
    extra = (block, canonical(kit.receipt("s_ccc", "delivered")))
    for receipts in (story.receipts[:1], (*story.receipts, extra), story.receipts[::-1], ()):
        assert refused(kit.make(story, QUICK, receipts=receipts)) == ("receipts", f"entry {block}")


def test_receipts_under_an_entry_that_commits_to_none_are_noticed(kit, story):
    moved = tuple((1, leaf) for _, leaf in story.receipts)
    assert refused(kit.make(story, QUICK, receipts=moved)) == ("receipts", "entry 1")


def test_a_receipt_of_another_campaign_is_noticed(kit):
    told = kit.tell(block={"campaign": "c2"})
    assert refused(kit.make(told, QUICK)) == ("receipts", "receipts.ndjson line 1")


def test_approval_by_the_author_is_noticed(kit):
    told = kit.tell(approve={"by": "a_responder"})
    assert refused(kit.make(told, QUICK)) == ("approval", f"entry {told.where['approve']}")


def test_approval_of_another_text_is_noticed(kit):
    told = kit.tell(approve={"content_hash": "ef" * 32})
    assert refused(kit.make(told, QUICK)) == ("approval", f"entry {told.where['approve']}")


def test_dispatch_of_an_unapproved_text_is_noticed(kit):
    told = kit.tell(open={"notices": {"person-es": "ef" * 32}})
    assert refused(kit.make(told, QUICK)) == ("approval", f"entry {told.where['open']}")


def test_a_text_that_is_not_the_hashed_one_is_noticed(kit):
    other = [{**message, "text": "Nothing happened."} for message in kit.MESSAGES]
    told = kit.tell(draft={"messages": other})
    assert refused(kit.make(told, QUICK)) == ("approval", f"entry {told.where['draft']}")


def test_a_receipt_for_another_text_than_the_approved_one_is_noticed(kit):
    told = kit.tell(approve={"notice": "another"}, open={"notices": {}})
    assert refused(kit.make(told, QUICK)) == ("approval", "receipts.ndjson line 1")


def test_a_balance_that_does_not_close_is_noticed(kit):
    balance = {"owed": 4, "queued": 0, "handed_over": 1, "delivered": 1, "failed": 0, "excluded": 1}
    told = kit.tell(finish={"balance": balance})
    assert refused(kit.make(told, QUICK)) == ("balance", f"entry {told.where['finish']}")


def test_a_balance_without_receipts_behind_it_is_noticed(kit):
    balance = {"owed": 3, "queued": 0, "handed_over": 2, "delivered": 1, "failed": 0, "excluded": 0}
    told = kit.tell(finish={"balance": balance})
    assert refused(kit.make(told, QUICK)) == ("balance", f"entry {told.where['finish']}")


def change(report: dict, pointer: str, value: object) -> dict:
    copy = json.loads(json.dumps(report))
    *path, last = [int(step) if step.isdigit() else step for step in pointer.split("/")[1:]]
    place = copy
    for step in path:
        place = place[step]
    place[last] = value
    return copy


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("/head/entries", 16),
        ("/head/withheld", {"erased": 1}),
        ("/head/matched", 9),
        ("/incident/title", "Nothing happened"),
        ("/incident/phase", "learn_lessons"),
        ("/incident/closed_at", "2026-03-11T00:00:00.000Z"),
        ("/clocks/0/at", "2026-03-11T09:05:00.000Z"),
        ("/facts/1/value", "low"),
        ("/facts/0/superseded", False),
        ("/affected/count", 2),
        ("/affected/by_jurisdiction", {"ES": 3}),
        ("/affected/under_18", 0),
        ("/affected/by_confidence", {"confirmed": 3}),
        ("/assessment/law_version", "2020"),
        ("/duties/0/result", "not_required"),
        ("/duties/0/due_utc", "2026-04-13T09:05:00Z"),
        ("/duties/0/why", []),
        ("/duties/1/result", "due"),
        ("/duties/0/citation", "Art. 1"),
        ("/deadlines", [{"index": 0}]),
        ("/notices/0/content_hash", "00" * 32),
        ("/notices/0/approver", "a_chief"),
        ("/campaigns/0/balance", {"owed": 0}),
        ("/receipts/count", 3),
        ("/receipts/outcomes", {"delivered": 2}),
        ("/told/0/told_at", "2026-03-10T09:00:00.000Z"),
        ("/timeline/0/by", "a_nobody"),
        ("/duties", []),
        ("/timeline", []),
        ("/affected", None),
        ("/facts/0/excuse", "none"),
        ("/verdict", "harmless"),
        ("/duties/0/verdict", "harmless"),
    ],
)
def test_a_report_that_says_something_else_than_the_entries_is_noticed(kit, small, story, pointer, value):
    report = parse(unpack(small)["report.json"])
    data = kit.reseal(small, {"report.json": canonical(change(report, pointer, value))}, story.log.signer)
    kind, where = refused(data)
    assert kind == "report"
    assert where.startswith("report.json /" + pointer.split("/")[1])


@pytest.mark.parametrize("section", ["duties", "timeline", "affected", "head", "receipts", "announcements"])
def test_a_section_left_out_of_the_report_is_noticed(kit, small, story, section):
    report = parse(unpack(small)["report.json"])
    del report[section]
    data = kit.reseal(small, {"report.json": canonical(report)}, story.log.signer)
    assert refused(data) == ("report", f"report.json /{section}")


def test_what_may_be_stated_is_listed_as_not_checked(kit, small, story):
    report = parse(unpack(small)["report.json"])
    data = kit.reseal(small, {"report.json": canonical(change(report, "/duties/0/state", "missed"))}, story.log.signer)
    result = verify_bytes(data)
    assert result["exit_code"] == 0
    assert "duties: due_local, state" in result["not_checked"][-1]


def test_an_event_that_this_verifier_does_not_know_is_not_passed_over(kit):
    told = kit.tell()
    index = told.log.say("absolved", reason="none")
    result = verify_bytes(kit.make(told, QUICK))
    assert (result["exit_code"], result["where"]) == (4, f"entry {index}")


@pytest.mark.parametrize("head", [{"incident": "INC-2026-0002"}, {"origin": "example.org/other"}, {"size": 18}])
def test_a_manifest_about_something_else_is_noticed(kit, small, story, head):
    result = verify_bytes(kit.reseal(small, {}, story.log.signer, **head))
    assert result["exit_code"] == 2


def test_a_bundle_without_the_incident_is_noticed(kit, small, story):
    data = kit.reseal(small, {}, story.log.signer, stream="00000000-0000-0000-0000-000000000000")
    assert refused(data) == ("completeness", "entries.ndjson")


@pytest.mark.parametrize("name", ["policy", "README.txt", "verify_bundle.py", "receipts.ndjson"])
def test_a_required_file_that_the_manifest_omits_is_noticed(kit, small, story, name):
    assert refused(kit.reseal(small, {name: None}, story.log.signer)) == ("files", name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("report.json", b'{"a":1.5}'),
        ("report.json", b'{"a":1,"a":2}'),
        ("report.json", b"[" * 100_000),
        ("report.json", b'{"a": 1}'),
        ("report.json", b"\xff"),
        ("report.json", b"NaN"),
        ("report.json", b"[]"),
        ("entries.ndjson", b"{}\n"),
        ("entries.ndjson", b""),
        ("entries.ndjson", b"null"),
        ("affected.ndjson", b"{}\n"),
        ("affected.ndjson", b"7\n"),
        ("receipts.ndjson", b"[]\n"),
        ("receipts.ndjson", b'{"block":"x","leaf":{}}\n'),
        ("keys.txt", b""),
        ("keys.txt", b"key\n"),
        ("checkpoint", b"x\n"),
        ("checkpoint", b"a\n007\nb\n\n\xe2\x80\x94 a AAAA\n"),
    ],
)
def test_malformed_files_under_a_good_signature_never_pass(kit, small, story, name, content):
    result = verify_bytes(kit.reseal(small, {name: content}, story.log.signer))
    assert result["exit_code"] == 2
    assert result["where"]


def test_the_bundle_is_the_same_bytes_again(kit, story, bundle):
    assert kit.make(kit.tell()) == bundle == kit.make(story)


def test_an_exercise_in_which_live_messages_were_sent_is_refused(kit):
    story = kit.tell(declare={"status": "Exercise"})
    assert refused(kit.make(story, verifier=QUICK)) == ("receipts", "receipts.ndjson")


def test_the_status_is_derived_and_a_bundle_from_before_there_was_one_is_actual(kit, small):
    assert verify_bytes(small)["bundle"]["status"] == "Actual"
    told = kit.tell(declare={"status": "Actual"})
    data = kit.make(told, verifier=QUICK)
    assert json.loads(unpack(data)["report.json"])["incident"]["status"] == "Actual"
    assert verify_bytes(data)["exit_code"] == 0
    report = json.loads(unpack(data)["report.json"])
    report["incident"]["status"] = "Exercise"
    forged = kit.reseal(data, {"report.json": canonical(report)}, told.log.signer)
    assert refused(forged) == ("report", "report.json /incident/status")
