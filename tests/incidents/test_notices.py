"""Notices: every demanded element in every language, short messages that stay short, nothing to click."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incidents.errors import TemplateError
from incidents.notices import templates
from incidents.notices.drafting import BASE, BY_FORM, Plan, content_hash, date_text, differences, draft, to_html
from incidents.notices.lint import SAMPLE
from incidents.notices.sms import is_gsm, segments
from incidents.notices.templates import LANGUAGES, parse, pick, shipped
from notifiers.messages import Message, slots_of

SLOTS = {
    "organisation": "Northwind Bank",
    "sms_name": "Northwind",
    "incident": "INC-2026-0001",
    "contact_name": "Data protection officer",
    "contact_email": "dpo@northwind.example",
    "contact_phone": "+34 900 000 000",
    "contact_address": "Calle Mayor 1, 28001 Madrid",
    "website": "northwind.example",
    "occurred": "9 March 2026",
    "discovered": "10 March 2026",
    "contained": "10 March 2026",
    "affected_count": 5,
    "malicious": True,
    "law_enforcement_hold": False,
    "what_happened": "Somebody copied a file.",
    "measures_taken": "We closed the way in.",
    "services": "We offer no paid service.",
}
AUDIENCES = ("person", "guardian", "child", "public")
CATEGORIES = ("name", "ssn", "email")


def make(audience="person", language="en", form="standard", **more):
    plan = Plan(audience, language, form, **{"categories": CATEGORIES, **more})
    return draft(plan, shipped(language), SLOTS)


def demanded_anywhere(law):
    """Every content element that some duty towards individuals asks for."""
    individuals = [duty for duty in law.duties.values() if duty.recipient.kind == "individuals"]
    return frozenset(element for duty in individuals for element in duty.content)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("form", ["standard", "us", "us-ca", "us-ma"])
@pytest.mark.parametrize("audience", AUDIENCES)
def test_every_element_that_any_law_asks_for_has_a_paragraph(law, language, form, audience):
    made = make(audience, language, form, demanded=demanded_anywhere(law))
    assert [finding for finding in made.findings if finding.severity == "error"] == []
    if audience != "child":
        assert demanded_anywhere(law) <= set(made.elements)
    for message in made.messages:
        message.check()
        assert "{{" not in message.text
        assert "{%" not in message.text


def test_the_three_languages_have_the_same_parts():
    parts = {language: shipped(language).parts for language in LANGUAGES}
    for name in ("elements", "labels", "defaults", "sections", "titles", "sms"):
        assert parts["en"][name].keys() == parts["es"][name].keys() == parts["zh-Hans"][name].keys()
    for element in parts["en"]["elements"]:
        assert parts["en"]["elements"][element].keys() == parts["es"]["elements"][element].keys()
    for part in ("consequences", "advice"):
        whens = [[rule["when"] for rule in parts[language][part]] for language in LANGUAGES]
        assert whens[0] == whens[1] == whens[2]
    for form in parts["en"]["sections"]:
        layout = [[item["elements"] for item in parts[language]["sections"][form]] for language in LANGUAGES]
        assert layout[0] == layout[1] == layout[2]


def test_labels_and_rules_name_data_categories_of_the_law(law):
    words = law.vocabulary.words["data_categories"]
    parts = shipped("en").parts
    assert set(parts["labels"]) <= words
    for part in ("consequences", "advice"):
        for rule in parts[part]:
            assert set(rule["when"]) - {"always"} <= words
    assert set(parts["elements"]) <= set(law.elements)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_california_form(language):
    """Cal. Civ. Code 1798.82(d)(1): the title, then five headings in this order."""
    text = next(m.text for m in make("person", language, "us-ca").messages if m.channel == "letter")
    wanted = [
        "Notice of Data Breach",
        "What Happened",
        "What Information Was Involved",
        "What We Are Doing",
        "What You Can Do",
        "For More Information",
    ]
    places = [text.index(f"# {heading}") for heading in wanted]
    assert places == sorted(places)


def test_a_heading_out_of_place_is_an_error():
    from incidents.notices.drafting import relint

    made = make("person", "en", "us-ca")
    broken = [
        Message.from_json({**m.as_json(), "text": m.text.replace("# What We Are Doing", "# Doing")})
        for m in made.messages
    ]
    codes = {finding.code for finding in relint(made.plan, shipped("en"), broken, made.elements)}
    assert "missing_heading" in codes


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("audience", ["person", "guardian", "child"])
def test_short_messages(language, audience):
    made = {message.channel: message for message in make(audience, language).messages}
    assert set(made) == {"email", "letter", "push", "sms"}
    text = made["sms"].text
    for slot, sample in SAMPLE.items():
        text = text.replace(slot, sample)
    assert is_gsm(text) == (language != "zh-Hans")
    assert segments(text) <= (2 if language == "zh-Hans" else 1)
    assert len(text) <= 160
    assert set(slots_of(made["push"].text + made["push"].subject)) <= {"reference"}
    labels = shipped(language).parts["labels"]
    for message in (made["sms"], made["push"]):
        assert not any(labels[item].lower() in f"{message.subject} {message.text}".lower() for item in ("ssn", "email"))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("audience", AUDIENCES)
def test_nothing_to_click_no_hedging_and_what_we_never_ask(language, audience):
    made = make(audience, language)
    assert {finding.code for finding in made.findings} <= {"sms_segments"}
    for message in made.messages:
        assert "http" not in message.text + (message.html or "")
        assert "<a" not in (message.html or "")
    never = {
        "en": ("never ask", "will ever ask"),
        "es": ("unca le pediremos", "te pedirá nunca"),
        "zh-Hans": ("绝不会", "会因为这件事向你要"),
    }
    assert any(words in made.messages[0].text for words in never[language])


def test_only_a_guardians_notice_names_the_child():
    for audience in AUDIENCES:
        slots = {slot for m in make(audience).messages for slot in slots_of(m.text + m.subject)}
        assert ("child" in slots) == (audience == "guardian")
    assert {slot for m in make("public").messages for slot in slots_of(m.text)} == set()


def test_advice_is_ranked_and_fits_the_data():
    text = make(categories=("payment_card", "name")).messages[0].text
    assert text.index("Call your bank today") < text.index("Distrust calls") < text.index("Keep this notice")
    assert "password" not in make(categories=("name",)).messages[1].text.split("never ask")[0]


def test_a_missing_slot_names_file_language_and_element():
    slots = {name: value for name, value in SLOTS.items() if name != "what_happened"}
    with pytest.raises(TemplateError) as caught:
        draft(Plan("person", "es", categories=("name",)), shipped("es"), slots)
    error = caught.value
    assert (error.template, error.language, error.element) == ("es.yaml", "es", "nature_of_breach")
    assert "es.yaml (es), element nature_of_breach: 'what_happened' is undefined" in str(error)


def test_a_missing_paragraph_names_file_language_and_element():
    with pytest.raises(TemplateError) as caught:
        make(demanded=frozenset({"ransom_details"}))
    assert (caught.value.template, caught.value.element) == ("en.yaml", "ransom_details")
    with pytest.raises(TemplateError, match="no label for the data category dna_profile"):
        make(categories=("dna_profile",))
    texts = shipped("en")
    elements = {name: text for name, text in texts.parts["elements"].items() if name != "contact_point"}
    broken = templates.Texts("en", "en.yaml", {**texts.parts, "elements": elements})
    with pytest.raises(TemplateError, match="element contact_point: no paragraph"):
        draft(Plan("person", "en", categories=("name",)), broken, SLOTS)


@pytest.mark.parametrize(
    "text", ["", "- a", "language: en", "language: [", "{a: b}", "language: en\nsubjects: {}\n", "\x00"]
)
def test_a_broken_template_file_is_one_clear_error(text):
    with pytest.raises(TemplateError, match=r"en\.yaml"):
        parse(text, "en.yaml", "en")


@pytest.mark.parametrize(
    "attack",
    ["{{ ''.__class__.__mro__ }}", "{{ x }", "{% for i in range(9) %}", "{{ organisation.__init__.__globals__ }}"],
)
def test_a_template_cannot_reach_out(attack):
    texts = shipped("en")
    with pytest.raises(TemplateError):
        texts.fill(attack, SLOTS, "cause")


def test_a_value_cannot_smuggle_in_a_personal_slot():
    with pytest.raises(TemplateError, match="per-person slots"):
        draft(Plan("person", "en", categories=("name",)), shipped("en"), {**SLOTS, "cause": "[[child]] did it"})


def test_what_one_law_forbids_is_left_out_and_said_so():
    """Mass. Gen. Laws ch. 93H s. 3(b): the notice must not include the nature of the breach."""
    made = make(form="us-ma", demanded=frozenset({"nature_of_breach"}), prohibited=frozenset({"nature_of_breach"}))
    assert "Somebody copied a file" not in made.messages[0].text
    assert [finding.code for finding in made.findings if finding.severity == "warning"] == ["conflict"]


def test_lint_finds_hedging_links_and_long_sentences():
    slots = {
        **SLOTS,
        "what_happened": "Your data may have been seen. Click https://evil.example now. " + "word " * 40 + ".",
    }
    made = draft(Plan("person", "en", categories=("name",)), shipped("en"), slots)
    codes = {(finding.severity, finding.code) for finding in made.findings if finding.channel == "email"}
    assert codes == {
        ("error", "link"),
        ("warning", "hedging"),
        ("warning", "phishing_look"),
        ("warning", "long_sentence"),
    }


@given(st.text(max_size=200))
def test_html_escapes_everything(text):
    made = to_html(text)
    for tag in ("<h2>", "</h2>", "<ul>", "</ul>", "<li>", "</li>", "<p>", "</p>", "<br>"):
        made = made.replace(tag, "")
    assert "<" not in made
    assert ">" not in made


def test_the_content_hash_covers_every_channel_in_any_order():
    made = make()
    assert content_hash(made.messages) == content_hash(tuple(reversed(made.messages))) == made.content_hash
    for position, message in enumerate(made.messages):
        other = Message.from_json({**message.as_json(), "text": message.text + "."})
        changed = [*made.messages[:position], other, *made.messages[position + 1 :]]
        assert content_hash(changed) != made.content_hash


def test_differences_show_the_changed_lines():
    old = make().messages
    new = draft(
        Plan("person", "en", categories=CATEGORIES), shipped("en"), {**SLOTS, "what_happened": "A clerk erred."}
    ).messages
    lines = differences(old, new)
    assert "-Somebody copied a file." in lines
    assert "+A clerk erred." in lines
    assert differences(old, old) == []


@pytest.mark.parametrize(
    ("wanted", "language"),
    [
        ("en", "en"),
        ("es-MX", "es"),
        ("zh", "zh-Hans"),
        ("zh-CN", "zh-Hans"),
        ("zh-Hans-SG", "zh-Hans"),
        ("pt-BR", "en"),
        (None, "en"),
    ],
)
def test_the_language_somebody_is_written_to(wanted, language):
    assert pick(wanted) == language


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("你" * 70, 1),
        ("你" * 71, 2),
        ("😀" * 35, 1),
    ],
)
def test_segments(text, count):
    assert segments(text) == count


@pytest.mark.parametrize(
    ("language", "text"),
    [("en", "9 March 2026"), ("es", "9 de marzo de 2026"), ("zh-Hans", "2026年3月9日")],
)
def test_dates_are_written_out(language, text):
    assert date_text(shipped(language), datetime(2026, 3, 9, tzinfo=UTC)) == text
    assert date_text(shipped(language), None)


def test_base_elements_are_elements_of_the_law(law):
    elements = set(law.elements)
    assert elements >= BASE
    assert elements >= BY_FORM
