"""`tocsin dispatch` as an operator uses it."""

import json

from typer.testing import CliRunner

from api.cli.dispatch import app
from ledger.errors import TocsinError

RUN = CliRunner()


def tocsin(house, *arguments):
    return RUN.invoke(app, [*arguments, "--data", str(house.ledger.directory)])


def opened(house):
    refs = house.people(ana={"email": ["ana@example.net"]}, bo={})
    house.open(house.dispatcher(), house.owed(refs))
    (house.ledger.directory / "notifiers.toml").write_text(
        f'[email]\nhost = "127.0.0.1"\nport = {house.mailbox.port}\ntls = "none"\nsender = "b@example.org"\nrate = 50\n'
    )
    return refs


def test_a_campaign_from_preflight_to_its_receipts(house):
    refs = opened(house)
    before = json.loads(tocsin(house, "preflight", "c1", "--json").stdout)
    assert before["by_channel"] == {"email": 1}
    assert [each["person"] for each in before["excluded"]] == [refs["bo"]]
    assert refs["bo"] in tocsin(house, "preflight", "c1").stdout

    assert tocsin(house, "pause", "c1", "--reason", "legal_hold").exit_code == 0
    assert "paused (legal_hold)" in tocsin(house, "status", "c1").stdout
    assert tocsin(house, "run", "c1").exit_code == 1
    assert tocsin(house, "resume", "c1").exit_code == 0
    report = tocsin(house, "run", "c1", "--json")
    assert report.exit_code == 0
    assert json.loads(report.stdout)["balance"]["handed_over"] == 1
    assert "no_contact_details: 1" in tocsin(house, "status", "c1").stdout
    # Finishing belongs to the incident, whose duties it marks as met; this campaign has none.
    refused = tocsin(house, "finish", "c1", "--as", "ana")
    assert isinstance(refused.exception, TocsinError)

    [status] = json.loads(tocsin(house, "status", "--json").stdout)
    assert (status["state"], status["balance"]["queued"]) == ("open", 0)
    [receipt] = json.loads(tocsin(house, "receipts", "c1", refs["ana"]).stdout)
    assert receipt["facts"]["outcome"] == "handed_over"


def test_a_halted_channel_is_told_and_ends_in_exit_code_1(house):
    opened(house)
    (house.ledger.directory / "notifiers.toml").write_text(
        '[email]\nhost = "127.0.0.1"\nport = 1\ntls = "none"\nsender = "b@example.org"\n'
    )
    result = tocsin(house, "run", "c1")
    assert result.exit_code == 1
    tocsin(house, "cancel", "c1")
    assert "cancelled: 1" in tocsin(house, "status", "c1").stdout
