"""The main job, narrated: from an access log with an intrusion in it to told people and a file that proves it.

Every step asks the ledger what is done already, so a demo that was killed goes on where it stopped. The
work is done by the same services that the console and the command line use; what is here is the story.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from api.demo import finding, proving, story, tables, telling
from api.demo.narrator import Narrator
from api.demo.place import Place
from api.demo.sinks import MailSink, PhoneSink
from api.demo.stage import CONSOLE, Stage
from api.demo.synthetic import World, read_world, write_world
from incidents.service import IncidentService
from ledger import Ledger
from notifiers import config
from notifiers.service import Dispatcher

STEPS: Final = 15
ORIGIN: Final = "lumbrera.example.org/audit"


@dataclass(frozen=True)
class Outcome:
    """What a finished demo leaves behind.

    Attributes:
        incident: short id.
        facts: the closing figures as JSON values: verify, bundle, duties, balance.
        paths: what was made, by what it is.
        console: the command that opens the console.
    """

    incident: str
    facts: Mapping[str, Any]
    paths: Mapping[str, Path]
    console: str

    def as_json(self) -> dict[str, Any]:
        """The outcome as JSON values."""
        return {
            "incident": self.incident,
            **self.facts,
            "paths": {name: str(path) for name, path in self.paths.items()},
            "console": {"command": self.console, "url": CONSOLE},
        }


def run(place: Place, narrator: Narrator) -> Outcome:
    """Run the demo, or what is left of it.

    Args:
        place: its directory, as `place.prepare` gives it.
        narrator: tells what happens.

    Raises:
        DemoError: something that must hold did not.
        TocsinError: as the services say.
    """
    narrator.headline(
        "Tocsin demo",
        f"{story.ORGANISATION['name']}, an invented company, finds that somebody read its members' data.\n"
        "Nobody here is real and nothing leaves this machine: mail, SMS and push end at servers on 127.0.0.1.",
    )
    world = _make_world(place, narrator)
    with ExitStack() as stack:
        stage = _set_up(stack, place, world, narrator)
        finding.import_log(stage)
        finding.load_people(stage)
        finding.declare(stage)
        finding.scope(stage)
        finding.record_clocks(stage)
        finding.assess(stage)
        telling.draft(stage)
        telling.approve(stage)
        telling.announce(stage)
        books = telling.dispatch(stage)
        telling.show_receipts(stage)
        bundle, checked = proving.prove_bundle(stage)
        verified = proving.prove_ledger(stage)
        return _close(stage, books, {"verify": verified, "bundle": checked}, bundle)


def _make_world(place: Place, narrator: Narrator) -> World:
    with narrator.step("Invent a company, its people and two weeks of its access log"):
        world = read_world(place.world)
        if world is None:
            with narrator.bar("Inventing records") as tell:
                world = write_world(
                    place.world,
                    seed=place.seed,
                    people=place.people,
                    records=place.records,
                    until=place.began,
                    progress=tell,
                )
        narrator.say(
            f"{world.records:,} CloudTrail records, {world.persons:,} people in nine jurisdictions, and an inventory "
            f"of which object holds whose data (seed {place.seed})."
        )
    return world


def _set_up(stack: ExitStack, place: Place, world: World, narrator: Narrator) -> Stage:
    """The ledger, local servers, and channels to them, set up in a file the way an operator does it."""
    with narrator.step("Make the ledger"):
        ledger = stack.enter_context(Ledger.create(place.data, ORIGIN))
        narrator.say(f"Origin {ledger.origin}; everything from here on is an entry of this one log.")
        narrator.say(f"Its public key: {ledger.vkey}")
    mail = stack.enter_context(MailSink(place.sent / "mail"))
    phone = stack.enter_context(PhoneSink(place.sent))
    channels = story.channels(mail.port, phone.url, place.letters.name)
    (place.data / config.FILE).write_text(channels, encoding="utf-8")
    dispatcher = Dispatcher(ledger, config.read_config(place.data).adapters)
    service = IncidentService(ledger, dispatcher=dispatcher)
    return Stage(place, world, narrator, ledger, service, dispatcher, mail, phone)


def _close(
    stage: Stage, books: list[Mapping[str, Any]], proofs: Mapping[str, Mapping[str, Any]], bundle: Path
) -> Outcome:
    """The closing page."""
    view, narrator, place = stage.view(), stage.narrator, stage.place
    paths = {
        "ledger": place.data,
        "bundle": bundle,
        "announcement": place.public,
        "letters": place.letters,
        "sent": place.sent,
        "input": place.world,
    }
    rows = tables.duty_rows(view, view.deadlines)
    facts = {**proofs, "duties": tables.duties_json(view), "balance": books}
    command = f"{_program()} serve --data {place.data}"
    verified = proofs["verify"]
    narrator.headline("Where things stand", "")
    narrator.say(f"Verify: {verified['verdict']}, {verified['size']:,} entries, root {verified['root']}")
    narrator.table("Duties and their deadlines", tables.DUTY_COLUMNS, rows, flexible=2)
    narrator.table("The balance, which closes", tables.BALANCE_COLUMNS, tables.balance_rows(books))
    narrator.headline("What was made", "")
    for name, path in paths.items():
        narrator.say(f"{name:<13} {path}")
    narrator.headline("Open the console", "")
    narrator.say(command)
    narrator.say(f"and go to {CONSOLE}")
    return Outcome(stage.incident, facts, paths, command)


def _program() -> str:
    """How the reader calls Tocsin: the command beside this Python, as short as it can be said from here."""
    program = Path(sys.executable).parent / "tocsin"
    if not program.is_file():
        return "tocsin"
    here = Path.cwd()
    return str(program.relative_to(here)) if program.is_relative_to(here) else str(program)
