"""The main job end to end, small: `tocsin demo` as a reader runs it, killed and repeated."""

from __future__ import annotations

import email
import email.policy
import json
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from typer.testing import CliRunner

from api.cli.demo import app
from api.demo import story
from incidents.service import IncidentService
from ledger import Ledger
from ledger.verify_bundle import verify_file

pytestmark = pytest.mark.xdist_group("demo")  # one worker makes what all tests of this file look at

SMALL = ("--people", "110", "--records", "300")


def demo(data, *more):
    return CliRunner().invoke(app, ["--data", str(data), *SMALL, *more], catch_exceptions=False)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A demo that was run once as a reader runs it, and what a second run in JSON says about it."""
    data = tmp_path_factory.mktemp("demo") / "here"
    first = demo(data)
    mails = mailed(data)
    second = demo(data, "--json")
    return data, first.stdout, mails, json.loads(second.stdout)


def mailed(data):
    return [
        email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        for path in sorted((data / "sent/mail/new").iterdir())
    ]


def total(result, column):
    return sum(book[column] for book in result["balance"])


def test_the_story_is_told_to_its_end(told):
    data, text, _, _ = told
    for number in range(1, 16):
        assert f"{number}/15" in text
    for said in (
        "tries to approve",
        "The balance closes",
        "Intact, says the single-file verifier",
        "One bit flipped",
        "The ledger itself is intact",
        "GDPR: notify",
        f"serve --data {data}",
        "http://127.0.0.1:8470/",
    ):
        assert said in text


def test_everybody_owed_a_notice_is_on_the_book_once(told):
    data, _, mails, result = told
    assert total(result, "owed") > 80
    columns = ("handed_over", "delivered", "failed", "excluded", "queued")
    assert total(result, "owed") == sum(total(result, column) for column in columns)
    assert total(result, "queued") == 0
    by_channel = Counter()
    for book in result["balance"]:
        assert book["closed"]
        for channel, row in book["by_channel"].items():
            by_channel[channel] += row.get("handed_over", 0)
    assert by_channel["email"] == len(mails) == len({mail["Message-ID"] for mail in mails})
    assert by_channel["sms"] == lines(data, "sms")
    assert by_channel["push"] == lines(data, "push")
    assert by_channel["letter"] == sum(1 for _ in (data / "letters").rglob("*.pdf")) > 0


def lines(data, name):
    return len((data / "sent" / f"{name}.ndjson").read_bytes().splitlines())


def test_mail_goes_to_invented_people_in_their_language(told):
    _, _, mails, _ = told
    assert all(str(mail["To"]).endswith("@example.org") for mail in mails)
    assert {str(mail["Content-Language"]) for mail in mails} == {"en", "es", "zh-Hans"}
    assert all(str(mail["From"]).startswith(story.ORGANISATION["name"]) for mail in mails)
    assert all("[[" not in mail.get_body(("plain",)).get_content() for mail in mails)


def test_children_are_told_through_their_guardians(told):
    data, _, _, result = told
    with Ledger.open(data) as ledger:
        service = IncidentService(ledger)
        children = [member for member in service.affected(result["incident"]).members if member.guardians]
        assert len(children) > 6
        audiences = {notice.audience for notice in service.view(result["incident"]).notices}
    assert audiences == {"person", "child", "guardian", "public"}


def test_no_notice_was_approved_by_its_author(told):
    data, _, _, result = told
    with Ledger.open(data) as ledger:
        notices = IncidentService(ledger).view(result["incident"]).notices
    assert len(notices) > 10
    assert {(notice.author_name, notice.approver_name) for notice in notices} == {(story.RESPONDER, story.COUNSEL)}


def test_a_second_run_tells_nobody_again(told):
    data, _, mails, result = told
    assert len(mailed(data)) == len(mails)
    assert total(result, "possibly_repeated") == 0
    with Ledger.open(data) as ledger:
        assert [item.id for item in IncidentService(ledger).list()] == [result["incident"]]


def test_the_bundle_holds_and_its_damaged_copy_does_not(told):
    data, _, _, result = told
    assert result["verify"]["verdict"] == "intact"
    assert result["bundle"]["exit_code"] == 0
    bundle = data / "bundles" / f"{result['incident']}.zip"
    assert verify_file(str(bundle))["exit_code"] == 0
    assert verify_file(str(data / "damaged-copies" / bundle.name))["exit_code"] == 2


def test_duties_of_every_region_stand_in_the_table(told):
    _, _, _, result = told
    assert {"EU", "BR", "CN", "JP", "MX", "US-CA", "US-TX"} <= {row["jurisdiction"] for row in result["duties"]}
    states = Counter((row["recipient_kind"], row["state"]) for row in result["duties"])
    assert states["authority", "running"] >= 3
    assert states["individuals", "met"] >= 5
    assert states["individuals", "running"] == 0
    assert all(row["citation"] and row["title"] for row in result["duties"])


def test_the_announcement_is_published(told):
    data, _, _, _ = told
    assert len(list((data / "public").glob("*.html"))) == 3
    assert list((data / "public").glob("*.atom"))


def test_somebody_elses_directory_is_refused_in_one_line(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    for more in ([], ["--fresh"]):
        done = tocsin("demo", "--data", tmp_path, *SMALL, *more)
        assert done.returncode == 1
        assert done.stderr.decode().count("\n") == 1
        assert b"nothing in it is touched" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_kill_9_while_people_are_told_loses_nobody_and_repeats_nobody_unmarked(tmp_path):
    data = tmp_path / "demo"
    arguments = ("demo", "--data", str(data), "--people", "300", "--records", "200", "--json")
    process = subprocess.Popen([*TOCSIN, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(12_000):
            if process.poll() is not None or arrived(data) > 40:
                break
            time.sleep(0.01)
        assert process.poll() is None, "the demo ended before it could be killed"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = arrived(data)
    assert before > 40

    result = json.loads(tocsin(*arguments, check=True).stdout)
    assert result["verify"]["verdict"] == "intact"
    assert total(result, "queued") == 0
    assert total(result, "owed") == sum(total(result, name) for name in ("handed_over", "failed", "excluded"))
    copies = Counter(mail["Message-ID"] for mail in mailed(data))
    told_by_mail = sum(book["by_channel"]["email"]["handed_over"] for book in result["balance"])
    assert len(copies) == told_by_mail > before
    assert sum(count > 1 for count in copies.values()) <= total(result, "possibly_repeated")


TOCSIN = [sys.executable, "-c", "import sys; from api.cli import main; main(sys.argv[1:])"]


def tocsin(*arguments, check=False):
    return subprocess.run([*TOCSIN, *map(str, arguments)], capture_output=True, check=check)


def arrived(data):
    folder = data / "sent/mail/new"
    return sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0
