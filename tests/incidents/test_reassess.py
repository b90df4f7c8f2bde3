"""The law data change while an incident is open: it is assessed again, and the difference is said in words."""

import pytest

from incidents.law import Law
from incidents.law.library import read_files
from incidents.law.vocabulary import DATA
from incidents.service import IncidentService

DUTY = "eu-gdpr-33-1-authority"


@pytest.fixture(scope="module")
def changed_law():
    """The same data with 48 hours in place of 72 in the EU file."""
    files = read_files(DATA)
    name = next(name for name in files if name.endswith("duties/eu.yaml"))
    start = files[name].index(b"id: " + DUTY.encode())
    amount = files[name].index(b"amount: 72", start)
    return Law.parse({**files, name: files[name][:amount] + b"amount: 48" + files[name][amount + len(b"amount: 72") :]})


def limit(service, name):
    return next(item for item in service.view(name).deadlines if item.duty == DUTY and item.stage == "initial")


def test_a_tick_with_the_same_data_assesses_nothing_again(assessed):
    service, name = assessed
    before = service.view(name).version
    assert service.reassess() == {}
    service.tick()
    assert service.view(name).version == before


def test_changed_data_move_the_deadline_of_an_open_incident(assessed, ledger, changed_law):
    service, incident = assessed
    before = limit(service, incident)
    renewed = IncidentService(ledger, changed_law)
    [(name, words)] = renewed.reassess().items()
    assert name == incident
    assert any(DUTY in line for line in words)
    after = limit(renewed, incident)
    assert (before.due - after.due).total_seconds() == 24 * 3600
    assert renewed.reassess() == {}


def test_a_closed_incident_keeps_its_last_word(assessed, ledger, changed_law):
    service, name = assessed
    service.close(name, "Rotate keys sooner.", by="ana")
    assert IncidentService(ledger, changed_law).reassess() == {}


def test_the_strict_target_and_the_other_reading_stand_side_by_side(assessed):
    """Regulation (EEC, Euratom) 1182/71 does not count the hour of the event: an hour later, for information."""
    service, name = assessed
    shown = limit(service, name)
    # The hour that contains the event is not counted, so the other period runs from the next full hour.
    assert 0 < (shown.outer - shown.due).total_seconds() <= 3600
    assert "1182/71" in shown.outer_words
    unread = next(item for item in service.view(name).deadlines if item.due is None)
    assert unread.outer is None
