"""What stands beside the engine: questions, differences, explanations, pages and the cache."""

from __future__ import annotations

import re

import pytest

from incidents.law import Law
from incidents.law.changes import closest, compare_assessments, compare_laws
from incidents.law.explain import explain
from incidents.law.library import read_files
from incidents.law.page import page, words
from incidents.law.parsecache import recall, remember, user_cache
from incidents.law.questions import question_text
from incidents.law.vocabulary import DATA

FIRST_HOUR = {
    "time_zone": "Europe/Warsaw", "affected": [{"jurisdiction": "PL", "count": 300}], "role": ["controller"],
    "established_in": ["PL"], "clocks": {"awareness": "2026-09-14T13:00"}, "risk": "high", "nexus": [],
    "network_operated_in": ["PL"],
}  # fmt: skip


def test_the_most_useful_question_comes_first(law) -> None:
    nothing = law.questions({"time_zone": "Europe/Warsaw", "clocks": {"awareness": "2026-09-14T13:00"}})
    assert [question.path for question in nothing[:4]] == ["affected", "role", "breach_types", "risk"]
    assert nothing == sorted(nothing, key=lambda q: -q.settles)
    first_hour = law.questions(FIRST_HOUR)
    assert first_hour[0].path in ("sectors", "conditions.household_activity")
    assert first_hour[0].hours is not None


def test_answering_the_first_question_again_and_again_settles_everything(law) -> None:
    document = dict(FIRST_HOUR)
    for _ in range(60):
        questions = law.questions(document)
        if not questions:
            break
        head, _, name = questions[0].path.partition(".")
        answer = {"conditions": False, "numbers": 0}.get(head, [])
        document = document | {head: {**document.get(head, {}), name: answer} if name else answer}
    assert not any(e.result == "undetermined" for e in law.assess(document))


def test_every_question_waits_for_an_undetermined_duty_and_has_words(law) -> None:
    undetermined = {e.duty for e in law.assess(FIRST_HOUR) if e.result == "undetermined"}
    questions = law.questions(FIRST_HOUR)
    assert {duty for question in questions for duty in question.duties} == undetermined
    assert all(question.text.endswith("?") for question in questions)
    assert question_text("clocks.awareness") == "Has this happened, and when: awareness?"


def test_a_clock_is_asked_for_when_no_clock_is_known(law) -> None:
    paths = [question.path for question in law.questions({"time_zone": "UTC", "complete": True, "risk": "high"})]
    assert paths == []
    asked = {question.path for question in law.questions(FIRST_HOUR | {"clocks": {}})}
    assert "clocks.awareness" in asked


def test_two_versions_of_the_law_differ_in_words(law) -> None:
    files = read_files(DATA)
    edited = dict(files)
    edited["duties/eu.yaml"] = files["duties/eu.yaml"].replace(b"amount: 72", b"amount: 96", 1)
    edited["duties/ua.yaml"] = b"[]"
    edited["calendars.yaml"] = files["calendars.yaml"].replace(b"'2026-05-01'", b"'2026-05-02'", 1)
    other = Law.parse(edited)
    lines = list(compare_laws(law, other))
    assert "eu-gdpr-33-1-authority stages[0].deadline.amount: 72 -> 96" in lines
    assert any(line.startswith("ua-") and "removed" in line for line in lines)
    assert "calendar at: changed" in lines
    assert any(line.startswith("ua-") and "added" in line for line in compare_laws(other, law))
    assert list(compare_laws(law, law)) == []


def test_two_assessments_differ_in_words(law) -> None:
    document = {
        "time_zone": "Europe/Madrid", "complete": True, "established_in": ["ES"], "role": ["controller"],
        "affected": [{"jurisdiction": "ES", "count": 1}], "risk": "risk", "clocks": {"awareness": "2026-03-10T09:00"},
    }  # fmt: skip
    before, after = law.assess(document), law.assess(document | {"risk": "high"})
    lines = list(compare_assessments(before, after))
    assert "eu-gdpr-34-individuals result: not required (no longer)" in lines
    assert any(line.startswith("eu-gdpr-34-individuals") and line.endswith("(new)") for line in lines)
    assert not any(line.startswith("eu-gdpr-33-1-authority") for line in lines)
    later = law.assess(document | {"clocks": {"awareness": "2026-03-10T10:00"}})
    assert any("due 2026-03-13T08:00:00Z" in line and "-> " in line for line in compare_assessments(before, later))
    assert list(compare_assessments(before, before)) == []


def test_an_explanation_shows_every_step(law) -> None:
    lines = list(explain(law.facts(FIRST_HOUR), law.duty("eu-gdpr-33-1-authority"), law.duties, law.calendars))
    text = "\n".join(lines)
    assert lines[0] == "in force: yes (in force)"
    assert "  all of: unknown" in lines
    assert "established in EEA: yes" in text
    assert "household activity: unknown (open: conditions.household_activity)" in text
    assert "displaced by eu-eprivacy-611-authority" in text
    assert lines[-1].startswith("result: undetermined, open: ")


def test_every_duty_has_a_readable_page(law) -> None:
    for duty in law.duties.values():
        sections = dict(page(duty, law.elements))
        assert {"Law", "Status", "When it applies", "Whom to tell", "By when", "Confidence"} <= set(sections)
        assert duty.citation in sections["Law"]
        text = "\n".join(line for lines in sections.values() for line in lines)
        for note in (duty.trigger, duty.notes, duty.recipient.portal, *duty.unverified):
            assert note is None or note in text, duty.id
        for detail in (*duty.content_detail, *duty.channels, *duty.obliged):
            assert words(detail) in text, duty.id
        # People's own sentences stay as they are written.
        free = ("Notes", "Trigger", "Confidence", "Sources", "Law", "Whom to tell", "What the notice says")
        said = "\n".join(line for name, lines in sections.items() if name not in free for line in lines)
        assert not re.search(r"\b[a-z]+_[a-z_]+\b", re.sub(r"https?://\S+|calendar \w+", "", said)), duty.id
        for source in duty.sources:
            assert source.title in text


def test_a_page_names_other_duties_by_their_title(law) -> None:
    sections = dict(page(law.duty("us-ny-ag"), law.elements, law.duties))
    title = law.duty("us-ny-individuals").title
    assert f"triggered by us-ny-individuals ({title})" in sections["Relations"]
    assert sections["By when"][0].startswith("main: at the same time as the notice under us-ny-individuals (")


def test_a_page_shows_nested_parts_indented_and_other_readings(law) -> None:
    sections = dict(page(law.duty("eu-gdpr-33-1-authority"), law.elements))
    assert "- country: DE" in sections["National particulars"]
    assert "  11 stolen device, not encrypted | 1 | 1 | 1" in sections["Calibration"]
    assert any("other reading, regulation 1182 71 hours: Regulation" in line for line in sections["By when"])
    assert "  late reasons required: yes" in sections["By when"]
    quebec = dict(page(law.duty("ca-qc-cai"), law.elements))["Risk of harm"]
    assert "written: no" in quebec
    assert not any(line.startswith("retain years") for line in quebec)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ("as_soon_as_possible", "as soon as possible"),
        ("see https://example.org/a_b and c_d", "see https://example.org/a_b and c d"),
        ("A_1_b", "A 1 b"),
        ("", ""),
    ],
)
def test_words_lose_their_joints_and_addresses_keep_them(raw, said) -> None:
    assert words(raw) == said


def test_a_page_says_modifiers_in_words(law) -> None:
    dora = dict(page(law.duty("eu-dora-19-initial"), law.elements))["By when"][0]
    assert "4 hours after classification; at most 24 hours after awareness" in dora
    assert "moved to the next working day at 12:00 local time, unless" in dora
    brazil = dict(page(law.duty("BR-LGPD-48-ANPD"), law.elements))["By when"][0]
    assert "3 working days (calendar br) after awareness; 6 if entity kinds: small scale agent" in brazil
    arkansas = dict(page(law.duty("us-ar-ag"), law.elements))["By when"][0]
    assert "or, if earlier, the day of individual notice" in arkansas


def test_close_ids_are_suggested(law) -> None:
    assert "us-ca-ag" in closest(law, "US-CA-AG ")
    assert closest(law, "zzzzzzzzzz") == []


def test_the_cache_gives_the_same_law_and_is_never_stale(tmp_path, law) -> None:
    source, cache = tmp_path / "law", tmp_path / "cache" / "deep"
    for name, raw in read_files(DATA).items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
    first = Law.load(source, cache=cache)
    (kept,) = cache.glob("law-*.json")
    second = Law.load(source, cache=cache)
    assert first.version == second.version == law.version
    assert [d.digest for d in first.duties.values()] == [d.digest for d in second.duties.values()]
    assert second.assess(FIRST_HOUR) == law.assess(FIRST_HOUR)
    edited = source / "duties" / "eu.yaml"
    edited.write_bytes(edited.read_bytes().replace(b"amount: 72", b"amount: 96", 1))
    third = Law.load(source, cache=cache)
    assert third.duty("eu-gdpr-33-1-authority").stages[0].deadline.amount == 96
    assert not kept.exists()


@pytest.mark.parametrize("cut", [0, 10, 64, 65, 70])
def test_a_damaged_cache_is_not_used(tmp_path, cut) -> None:
    documents = {"duties/xx.yaml": [{"id": "d", "amount": 0.5}]}
    remember(tmp_path, "version", documents)
    (kept,) = tmp_path.glob("law-*.json")
    whole = kept.read_bytes()
    assert recall(tmp_path, "version") == documents
    assert recall(tmp_path, "other") is None
    for content in (whole[:cut], whole.replace(b"0.5", b"1.5", 1), b"{}", b"\xff\n{}"):
        kept.write_bytes(content)
        assert recall(tmp_path, "version") is None


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    assert Law.load(cache=blocked / "inside").duties


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({"XDG_CACHE_HOME": "/c", "HOME": "/h"}, "/c/tocsin"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache/tocsin"),
        ({"HOME": "/h"}, "/h/.cache/tocsin"),
    ],
)
def test_where_the_cache_of_a_user_is(environment, place) -> None:
    assert user_cache(environment).as_posix() == place
    assert user_cache({}) is None
