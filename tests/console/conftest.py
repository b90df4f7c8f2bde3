"""One incident with every kind of clock in it, hostile text included, behind a real server."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import uvicorn

from api.cli.serve import listen
from api.http import Access, create_app
from incidents.errors import IncidentNotFoundError
from incidents.views import (
    AffectedSummary,
    AssessmentView,
    CampaignView,
    ClockView,
    DeadlineView,
    DutyView,
    FactView,
    FindingView,
    IncidentSummary,
    IncidentView,
    NextStep,
    NoticeView,
    QuestionView,
    TimelineItem,
)
from ledger import Ledger
from notifiers.messages import Message, Sender
from notifiers.publish import publish

ZONE = ZoneInfo("Europe/Madrid")
NOW = datetime(2026, 3, 12, 3, 4, tzinfo=UTC)
AWARE = datetime(2026, 3, 10, 9, 0, tzinfo=UTC)
HOSTILE = '<script>alert("x")</script><b>bold\u202egnp.exe\u200b'
TOKEN = "correct-horse-battery-staple"


def limit(state: str, title: str, due: datetime | None = None, **more: object) -> DeadlineView:
    """A deadline in a state."""
    held = DeadlineView(
        duty=title.lower().replace(" ", "-"),
        stage="initial",
        title=title,
        recipient_kind="authority",
        recipient="Agencia Española de Protección de Datos",
        citation="GDPR Art. 33(1)",
        result="due",
        state=state,
        due=due,
        due_local=None if due is None else due.astimezone(ZONE),
        last_day=None,
        zone="Europe/Madrid",
        words="within 72 hours" if due else "without undue delay",
        started_by="aware",
        seconds_left=None if due is None else int((due - NOW).total_seconds()),
        told_at=None,
        confidence="verified",
        law="General Data Protection Regulation",
        provision="GDPR Art 33(1)",
    )
    return replace(held, **more)


LIMITS = (
    limit("met", "Record the breach", NOW + timedelta(hours=9), told_at=NOW - timedelta(hours=1)),
    limit("running", "Tell the authority", AWARE + timedelta(hours=72)),
    limit("missed", "Tell the financial supervisor", AWARE + timedelta(hours=24), confidence="recalled"),
    limit("no_fixed_time", "Tell the people", recipient_kind="individuals", recipient="affected people"),
    limit("running", "Tell the Attorney General", NOW + timedelta(days=20, hours=5)),
    limit("paused", "Tell the people in California", NOW + timedelta(days=30)),
    limit("waiting", "Final report", words="not started: waits for initial report sent", started_by=""),
    limit("to_clarify", "Tell the consumer agency"),
    limit("missed", "Tell the CSIRT", AWARE + timedelta(hours=30), told_at=AWARE + timedelta(hours=31)),
)


def duty(held: DeadlineView, **more: object) -> DutyView:
    """The evaluation behind a deadline."""
    made = DutyView(
        duty=held.duty,
        stage=held.stage,
        title=held.title,
        law="General Data Protection Regulation",
        citation=held.citation,
        jurisdictions=("ES", "EU"),
        recipient_kind=held.recipient_kind,
        recipient=held.recipient,
        result=held.result,
        due=held.due,
        last_day=None,
        anchor="aware",
        why=("A personal data breach", "risk is at least 'possible'"),
        missing=(),
        confidence=held.confidence,
        provision=held.provision,
    )
    return replace(made, **more)


def fact(path: str, state: str, value: object, **more: object) -> FactView:
    """A fact."""
    made = FactView(path, state, value, "person", "a_1", "", "a_1", "Noor", AWARE, 0)
    return replace(made, **more)


VIEW = IncidentView(
    id="INC-2026-0001",
    uuid="00000000-0000-5000-8000-000000000000",
    title=f"Customer bucket read by a stranger {HOSTILE}",
    phase="assess_and_decide",
    phases_done=("detect_and_report",),
    closed=False,
    version=7,
    time_zone="Europe/Madrid",
    organisation={"name": "Example"},
    declared_at=AWARE,
    declared_by="a_1",
    declared_by_name="Noor",
    as_of=NOW,
    next_step=NextStep(
        "Tell the authority: Agencia Española de Protección de Datos",
        "privacy officer",
        AWARE + timedelta(hours=72),
        (AWARE + timedelta(hours=72)).astimezone(ZONE),
    ),
    clocks=(
        ClockView("aware", AWARE, AWARE.astimezone(ZONE), "entry", "0", "", "a_1", "Noor", AWARE, 0),
        ClockView(
            "occurred", AWARE, AWARE.astimezone(ZONE), "entry", "0", "", "a_1", "Noor", AWARE, 0, superseded=True
        ),
    ),
    facts=(
        fact("encrypted", "known", False),
        fact("data_categories", "known", ["name", "email", "ssn"]),
        fact("affected", "known", [{"jurisdiction": "ES", "count": 812}], note=HOSTILE),
        fact("risk", "assumed", "high"),
        fact("numbers.cost_eur", "unknown", None),
        fact("risk", "known", "superseded-value", superseded=True),
    ),
    affected=AffectedSummary(
        root="ab" * 32,
        count=2044,
        log_size=1,
        criteria={"credential": "a_9f", "from": "2026-03-09T00:00:00.000Z"},
        by_confidence={"confirmed": 1800, "probable": 200, "possible": 44},
        by_jurisdiction={"ES": 812, "CN": 500, "US-CA": 400, "US-TX": 132, "BR": 120, "JP": 80},
        by_language={"es": 1000, "en": 544, "zh-Hans": 500},
        under_18=61,
        under_14=20,
        data_categories=("name", "email", "ssn"),
        entries=(0,),
        added=3,
        removed=0,
        changed=1,
        advice="",
        scoped_at=NOW,
        index=0,
        weaker_categories={"health_data": 44},
    ),
    assessment=AssessmentView("2026-11-01", "cd" * 32, NOW, 1, (), 0, {"due": 8, "undetermined": 1}),
    questions=(
        QuestionView("entity_kinds", "What legal kind of entity is the organisation?", 29, 0.5),
        QuestionView("clocks.report_received", "Has this happened, and when: report received?", 1, None),
    ),
    duties=(
        *(duty(held) for held in LIMITS if held.state != "to_clarify"),
        duty(LIMITS[7], result="undetermined", missing=("numbers.cost_eur",)),
        duty(limit("x", "Tell the health ministry"), result="not_required", why=("no health data",)),
        duty(limit("x", "Tell the insurer"), result="recommended", why=()),
    ),
    deadlines=LIMITS,
    notices=(
        NoticeView(
            id="person-es",
            version=2,
            audience="person",
            language="es",
            form="gdpr34",
            jurisdictions=("ES",),
            duties=("tell-the-people",),
            elements=("nature",),
            content_hash="ef" * 32,
            state="approved",
            author="a_1",
            author_name="Noor",
            drafted_at=NOW,
            approver="a_2",
            approver_name="Ren",
            approved_at=NOW,
            messages=(
                {"channel": "email", "subject": "Sus datos", "text": f"Estimada [[name]]:\n\n{HOSTILE}", "html": None},
            ),
            findings=(),
            draft_index=0,
            approval_index=0,
        ),
        NoticeView(
            id="guardian-en",
            version=1,
            audience="guardian",
            language="en",
            form="gdpr34",
            jurisdictions=("ES",),
            duties=("tell-the-people",),
            elements=("nature",),
            content_hash="01" * 32,
            state="drafted",
            author="a_1",
            author_name="Noor",
            drafted_at=NOW,
            approver=None,
            approver_name=None,
            approved_at=None,
            messages=({"channel": "sms", "subject": "", "text": "Call us.", "html": None},),
            findings=(FindingView("warning", "hedge", "sms", "The text hedges."),),
            draft_index=0,
            approval_index=None,
        ),
    ),
    campaigns=(
        CampaignView(
            "2026-03-notice-1",
            NOW,
            "a_1",
            {"person-es": "ef" * 32},
            2044,
            {"queued": 12, "handed_over": 1000, "delivered": 1000, "failed": 20, "excluded": 12},
            None,
            0,
            opened_by_name="Noor",
        ),
        CampaignView("2026-03-notice-2", NOW, "a_1", {}, 10, {"queued": 0, "delivered": 9}, None, 0),
    ),
    announcements=(),
    reports=(),
    timeline=(
        TimelineItem(0, 1, AWARE, AWARE.astimezone(ZONE), "org.tocsin.incident.declared.v1", "Declared", "a_1", "Noor"),
        TimelineItem(None, 2, NOW, NOW.astimezone(ZONE), "org.example.note.v1", f"Note {HOSTILE}", "a_2", HOSTILE),
    ),
)


@dataclass
class FixedIncidents:
    """Incidents that stand still; the pages cannot tell them from the service's."""

    incidents: dict[str, IncidentView]

    def list(self) -> list[IncidentSummary]:
        """Their summaries."""
        return [
            IncidentSummary(
                view.id,
                view.title,
                view.phase,
                view.closed,
                view.declared_at,
                view.affected.count if view.affected else None,
                view.next_step.due,
                1,
                view.status,
            )
            for view in self.incidents.values()
        ]

    def view(self, incident: str, /) -> IncidentView:
        """One of them."""
        if incident not in self.incidents:
            raise IncidentNotFoundError("There is no incident with this id in this ledger.")
        return self.incidents[incident]

    def exercises(self, stream: str, /) -> bool:
        """Whether the stream is that of an incident that is an exercise."""
        return any(view.uuid == stream and view.exercise for view in self.incidents.values())


@dataclass
class Clock:
    """A clock that tests move."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    with Ledger.create(tmp_path / "data", "example.org/console", clock=clock) as opened:
        yield opened


@pytest.fixture
def incidents() -> FixedIncidents:
    return FixedIncidents({VIEW.id: VIEW})


@contextlib.contextmanager
def serving(application: object) -> Iterator[str]:
    """Serve an application on loopback in a thread; gives its address."""
    listener = listen("127.0.0.1", 0)
    config = uvicorn.Config(application, log_config=None, access_log=False, ws="none", lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()


@pytest.fixture
def address(ledger: Ledger, incidents: FixedIncidents) -> Iterator[str]:
    with serving(create_app(ledger, incidents)) as base:
        yield base


@pytest.fixture
def address_with_announcements(ledger: Ledger, incidents: FixedIncidents, tmp_path: Path) -> Iterator[str]:
    publish(
        [
            Message("public", "en", "public", "About your data", "# What happened\n\nSomebody read a file."),
            Message("public", "es", "public", "Sobre sus datos", "# Qué pasó\n\nAlguien leyó un archivo."),
        ],
        directory=tmp_path / "public",
        sender=Sender("Example", "privacy@example.org"),
        slug="inc-2026-0001",
        base_url="https://example.org/notices",
        published=NOW,
    )
    with serving(create_app(ledger, incidents, notices=tmp_path / "public")) as base:
        yield base


@pytest.fixture
def address_with_token(ledger: Ledger, incidents: FixedIncidents) -> Iterator[str]:
    app = create_app(ledger, incidents, access=Access.decide("127.0.0.1", TOKEN), exercise=True)
    with serving(app) as base:
        yield base


@pytest.fixture
def view() -> IncidentView:
    return VIEW
