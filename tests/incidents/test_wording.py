"""The words in which laws, limits and questions are shown."""

import pytest

from incidents.clocks import deadlines
from incidents.views.wording import PHASES, STATES, balance, limit_words, provision


@pytest.mark.parametrize(
    ("law", "citation", "short"),
    [
        ("Regulation (EU) 2016/679 (GDPR)", "Art 33(1), (3); recitals 85, 87, 88; Art 4(12)", "GDPR Art 33(1)"),
        ("Regulation (EU) 2024/2847 (Cyber Resilience Act)", "Art 14(8)", "Cyber Resilience Act Art 14(8)"),
        ("Regulation (EU) 2022/2554 (DORA), Delegated Regulation (EU) 2025/301", "DORA Art 19(4)(b); RTS 2025/301",
         "DORA Art 19(4)(b)"),
        ("Directive (EU) 2022/2555 (NIS2)", "Art 23(1) first subparagraph, second sentence",
         "NIS2 Art 23(1) first subparagraph"),
        ("Regulation (EU) 2018/1725", "Art 34", "Regulation (EU) 2018/1725 Art 34"),
        ("California Customer Records Act", "Cal. Civ. Code 1798.82 (as amended by SB 446, Stats. 2025 ch. 319)",
         "Cal. Civ. Code 1798.82"),
        ("HIPAA Breach Notification Rule", "45 CFR 164.408(c)", "45 CFR 164.408(c)"),
        ("Personal Information Protection Law", "Art 57(1); Art 60", "Personal Information Protection Law Art 57(1)"),
        ("Privacy Act 1988 (Cth)", "s 26WK", "Privacy Act 1988 (Cth) s 26WK"),
        ("Act 80 of 7 June 2020", "see notes", "Act 80 of 7 June 2020"),
        ("Personal Data Protection Law 79/08", "-", "Personal Data Protection Law 79/08"),
        ("", "", ""),
    ],
)  # fmt: skip
def test_a_provision_in_short_names_law_and_place(law, citation, short):
    assert provision(law, citation) == short


def test_no_duty_of_the_law_data_is_shown_by_a_bare_article(law):
    for duty in law.duties.values():
        short = provision(duty.law, duty.citation)
        assert short, duty.id
        assert not short.startswith(("Art ", "Arts ", "s ", "ss ", "§", "section")), (duty.id, short)
        assert len(short) <= len(duty.law) + len(duty.citation) + 1


@pytest.mark.parametrize(
    ("result", "said", "missing", "words"),
    [
        ("not_started", "fixed", ("clocks.initial_report_sent",), "not started: waits for initial report sent"),
        ("not_started", "", ("clocks.a", "clocks.b_c", "risk"), "not started: waits for a or b c"),
        ("not_started", "without undue delay", (), "not started: waits for the event that starts it"),
        ("due", "fixed", (), ""),
        ("due", "without undue delay, where feasible", (), "without undue delay, where feasible"),
        ("due_without_fixed_time", "fixed", (), "no number in the law"),
        ("due_without_fixed_time", "promptly", (), "promptly"),
        ("due_relative", "none", (), "relative to another notice"),
        ("delayed", "", (), "on hold"),
    ],
)
def test_a_limit_is_put_into_words_that_mean_something(result, said, missing, words):
    assert limit_words(result, said, missing) == words


def test_a_view_has_words_wherever_it_has_no_instant(assessed):
    service, name = assessed
    shown = service.view(name).deadlines
    assert any(item.state == "waiting" for item in shown)
    assert all(item.words or item.due for item in shown)
    assert not any("fixed" in item.words.split(", ") for item in shown)
    follow_up = next(item for item in shown if item.stage == "follow_up_in_phases")
    assert follow_up.words == "not started: waits for initial report sent"
    assert follow_up.provision == "GDPR Art 33(1)"
    assert follow_up.law == "Regulation (EU) 2016/679 (GDPR)"


def test_every_state_and_phase_has_its_word():
    from incidents.case.aggregate import PHASES as NAMES

    assert set(STATES) == set(deadlines.STATES)
    assert tuple(PHASES) == NAMES


def test_a_balance_is_said_in_its_own_order_without_what_is_no_number():
    book = {"closed": True, "excluded": 1, "handed_over": 2, "owed": 1003, "queued": 0}
    assert balance(book) == "owed 1,003, queued 0, handed over 2, excluded 1"
