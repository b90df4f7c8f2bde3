"""The pages without a browser: what stands on them, what is escaped, what is recorded."""

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.console.health import spot_check
from api.console.looks import EVENT_TYPE
from api.http import create_app
from incidents.views import IncidentView
from ledger import Ledger

PAGE = {"accept": "text/html"}


@pytest.fixture
def client(ledger: Ledger, incidents: Any) -> Iterator[TestClient]:
    with TestClient(create_app(ledger, incidents), base_url="http://127.0.0.1", headers=PAGE) as made:
        yield made


@pytest.fixture
def page(client: TestClient, view: IncidentView) -> str:
    return client.get(f"/incidents/{view.id}").text


class Outline(HTMLParser):
    """Ids, headings and every attribute of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.attributes: set[str] = set()
        self.tags: set[str] = set()
        self.levels: list[int] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        held = dict(attrs)
        if held.get("id"):
            self.ids.append(str(held["id"]))
        if held.get("href"):
            self.links.append(str(held["href"]))
        if re.fullmatch(r"h[1-6]", tag):
            self.levels.append(int(tag[1]))


def test_the_question_comes_first_and_is_answered(page: str) -> None:
    question = page.index("What must happen next, by whom, by when")
    assert question < page.index("Clocks</h2>")
    answer = page[question : question + 900]
    assert "Tell the authority" in answer
    assert "privacy officer" in answer
    assert "29 hours left" in answer
    assert "Fri 13 Mar 2026, 10:00 CET" in answer
    assert "13 Mar 2026, 09:00 UTC" in answer


def test_every_clock_is_there_with_word_law_addressee_and_start(page: str, view: IncidentView) -> None:
    for limit in view.deadlines:
        assert limit.title in page
    for word in (
        "Missed",
        "Running",
        "Without delay",
        "On hold",
        "Not started",
        "Told too late",
        "Met",
        "Undetermined",
    ):
        assert f"</svg> {word}</span>" in page
    assert "GDPR Art 33(1) · ES, EU" in page
    assert "General Data Protection Regulation, GDPR Art. 33(1)" in page
    assert "not started: waits for initial report sent" in page
    assert "Decisions: 8 due, 1 undetermined." in page
    assert 'Started by “aware”, Tue 10 Mar 2026, 10:00 CET, <a href="/entries/0">' in page
    assert "18 hours over" in page
    assert "recalled: counsel must confirm" in page
    assert "Needs to be known: numbers: cost eur" in page
    assert "no health data" in page


def test_what_to_find_out_stands_beside_what_must_happen(page: str) -> None:
    asked = page.index("Find out next")
    assert page.index("What must happen next") < asked < page.index("Clocks</h2>")
    shown = page[asked : asked + 700]
    assert "What legal kind of entity is the organisation?" in shown
    assert "<code>entity_kinds</code>, settles 29 duties, the shortest clock 0.5 h" in shown
    assert "<code>clocks.report_received</code>, settles 1 duty</span>" in shown


def test_people_facts_notices_and_the_balance(page: str) -> None:
    assert "<strong>61</strong> of them under 18 (20 under 14)" in page
    assert page.index(">Known <") < page.index(">Assumed <") < page.index(">Unknown <")
    assert "superseded-value" not in page
    assert "not counted above: health data (44 people)" in page
    assert "2 notices, <strong>1</strong> not yet approved" in page
    assert "Needs the approval of somebody other than the author." in page
    assert "12 still to be sent" in page
    assert "Opened 12 Mar 2026, 03:04 UTC by Noor" in page
    assert "The balance does not close" in page


def test_the_timeline_is_newest_first_and_leads_to_entries(page: str) -> None:
    timeline = page[page.index("Timeline</h2>") :]
    assert timeline.index("Note ") < timeline.index("Declared")
    assert 'href="/entries/0"' in timeline


def test_a_long_timeline_is_folded_and_nothing_of_it_is_lost(ledger: Ledger, view: IncidentView) -> None:
    items = tuple(replace(view.timeline[0], text=f"Step {number};") for number in range(240))
    held = replace(view, timeline=items, deadlines=())
    fixed = type("Fixed", (), {"list": lambda _: [], "view": lambda _, __: held})()
    with TestClient(create_app(ledger, fixed), base_url="http://127.0.0.1", headers=PAGE) as client:
        page = client.get(f"/incidents/{view.id}").text
    folded = page.index("175 earlier</summary>")
    assert page.index("Step 239;") < page.index("Step 215;") < folded < page.index("Step 214;")
    assert "40 older events are in the ledger." in page
    assert "No duty is known to apply yet" in page


def test_attacker_strings_are_escaped_and_hidden_characters_shown(client: TestClient, page: str) -> None:
    for text in (page, client.get("/").text):
        assert "<script>" not in text
        assert "<b>bold" not in text
        assert "\u202e" not in text
        assert "\u200b" not in text
        assert "⟨U+202E⟩gnp.exe⟨U+200B⟩" in text


@pytest.mark.parametrize("path", ["/", "/incidents/INC-2026-0001", "/entries/0", "/problems/erased", "/nope"])
def test_every_page_is_whole_html_without_script_style_or_other_origins(client: TestClient, path: str) -> None:
    answer = client.get(path)
    outline = Outline(answer.text)
    assert answer.headers["cache-control"] == "no-store"
    assert "Not legal advice." in answer.text
    assert "counsel confirm" in answer.text
    assert not outline.tags & {"script", "style", "iframe", "object"}
    assert not {name for name in outline.attributes if name == "style" or name.startswith("on")}
    assert all(link.startswith(("/", "#")) for link in outline.links)
    assert len(outline.ids) == len(set(outline.ids))
    assert outline.levels[0] == 1
    assert outline.levels.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(outline.levels, outline.levels[1:], strict=False))
    targets = {link[1:] for link in outline.links if link.startswith("#")}
    assert targets <= set(outline.ids)


def test_opening_an_incident_is_recorded_once_a_minute(
    client: TestClient, ledger: Ledger, clock: Any, view: IncidentView
) -> None:
    def looks() -> list[int]:
        return [stored.index for stored in ledger.entries() if stored.decode().type == EVENT_TYPE]

    first = client.get(f"/incidents/{view.id}").text
    (index,) = looks()
    assert f'recorded: <a href="/entries/{index}">' in first
    client.get(f"/incidents/{view.id}")
    client.get("/")
    client.get("/entries/0")
    client.get(f"/entries/{index}")  # looking at the record of a look makes no other
    client.get("/incidents/INC-2026-9999")  # nothing was seen
    assert looks() == [index]
    clock.now += timedelta(minutes=1)
    client.get(f"/incidents/{view.id}")
    assert len(looks()) == 2
    assert "Somebody opened the page /incidents/INC-2026-0001" in client.get(f"/entries/{index}").text


def test_a_page_is_shown_although_the_look_cannot_be_recorded_and_says_so(
    client: TestClient, ledger: Ledger, view: IncidentView, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger.database, "_timeout", 0.05)
    ledger.database._idle.clear()
    holder = sqlite3.connect(ledger.database.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    answer = client.get(f"/incidents/{view.id}")
    holder.execute("ROLLBACK")
    holder.close()
    assert answer.status_code == 200
    assert "This look could not be recorded" in answer.text
    assert "tocsin_views_unrecorded_total 1\n" in client.get("/metrics").text


def test_the_spot_check_passes_on_a_whole_ledger_and_names_a_damaged_entry(client: TestClient, ledger: Ledger) -> None:
    found = spot_check(ledger)
    assert (found.bad, found.checked) == (None, (0,))
    assert "Spot check passed" in client.get("/").text
    with ledger.database.write() as connection:
        connection.execute("UPDATE event SET payload = CAST(payload || ' ' AS BLOB)")
    assert spot_check(ledger).bad == 0
    page = client.get("/").text
    assert "Damaged" in page
    assert "Spot check passed" not in page


def test_an_unknown_incident_is_a_page_for_a_browser_and_a_problem_for_a_program(client: TestClient) -> None:
    answer = client.get("/incidents/INC-1")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert client.get("/incidents/INC-1", headers={"accept": "*/*"}).json()["status"] == 404
    assert client.get("/v1/entries/99").headers["content-type"] == "application/problem+json"


def test_an_exercise_says_so_on_every_page(ledger: Ledger, incidents: Any, view: IncidentView) -> None:
    app = create_app(ledger, incidents, exercise=True)
    with TestClient(app, base_url="http://127.0.0.1", headers=PAGE) as client:
        for path in ("/", f"/incidents/{view.id}", "/entries/0", "/nope"):
            text = client.get(path).text
            assert "This is a drill" in text
            assert "<title>EXERCISE" in text


def test_an_exercise_is_marked_on_its_own_pages_and_in_the_lists(
    ledger: Ledger, incidents: Any, view: IncidentView
) -> None:
    incidents.incidents[view.id] = replace(view, status="Exercise", uuid=ledger.entry(0).decode().stream)
    with TestClient(create_app(ledger, incidents), base_url="http://127.0.0.1", headers=PAGE) as client:
        for path in (f"/incidents/{view.id}", "/entries/0"):
            assert "This is a drill" in client.get(path).text
            assert "<title>EXERCISE" in client.get(path).text
        overview = client.get("/").text
        assert "This is a drill" not in overview
        assert overview.count('<span class="tag">Exercise</span>') == 2


def test_an_empty_console_teaches(ledger: Ledger) -> None:
    app = create_app(ledger, type("Nothing", (), {"list": lambda _: [], "view": None})())
    with TestClient(app, base_url="http://127.0.0.1", headers=PAGE) as client:
        text = client.get("/").text
    assert "tocsin incident declare" in text
    assert "curl -X POST" in text
    assert "Nothing</span>" in text


def test_the_style_sheet_is_small_cached_for_ever_and_under_a_digest(client: TestClient) -> None:
    (link,) = re.findall(r'href="(/static/console\.css\?v=[0-9a-f]{12})"', client.get("/").text)
    answer = client.get(link)
    assert "immutable" in answer.headers["cache-control"]
    assert len(answer.content) <= 25_000
    assert "url(" not in answer.text
    assert "@import" not in answer.text
    assert client.get("/static/pages.py").status_code == 404
    assert client.get("/static/..%2fpages.py").status_code == 404
