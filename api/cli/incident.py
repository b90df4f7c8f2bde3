"""`tocsin incident`: declare, establish, scope, assess, follow and close."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer
import yaml

from api.cli.casefile import Name, Who, instant, load_yaml, mark, opened
from api.cli.common import AsJson, DataDirectory, out, print_json
from api.cli.incident_view import (
    show_affected,
    show_assessment,
    show_changes,
    show_incident,
    show_list,
    show_questions,
    show_timeline,
)
from incidents.case.facts import LISTS, State
from incidents.views import as_json
from incidents.views.wording import count
from ledger.errors import InputError

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Declare, scope, assess and follow an incident.")

Entry = Annotated[int | None, typer.Option(help="Leaf index of the log entry that says so.")]
Note = Annotated[str, typer.Option(help="Why we believe it.")]


@app.command()
def declare(
    title: Annotated[str, typer.Argument(help="A few words; everything else can wait.")],
    *,
    data: DataDirectory,
    who: Who,
    aware: Annotated[str | None, typer.Option(help="Since when you know: 2026-03-10T09:00.")] = None,
    time_zone: Annotated[str, typer.Option(help="IANA zone of the organisation.")] = "UTC",
    organisation: Annotated[Path | None, typer.Option(help="YAML: name, contact_name, contact_email, ...")] = None,
    exercise: Annotated[
        bool, typer.Option("--exercise", help="A drill, for ever: marked everywhere, and nobody can be told.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Declare an incident, or an exercise."""
    known = None if organisation is None else {key: str(value) for key, value in load_yaml(organisation).items()}
    with opened(data) as service:
        since = None if aware is None else instant(aware, time_zone, "aware")
        name = service.declare(title, by=who, aware=since, time_zone=time_zone, organisation=known, exercise=exercise)
        view = service.view(name)
    mark(view.status, json=json)
    if json:
        print_json(as_json(view))
        return
    out.print(f"[bold]{name}[/] declared. Next: {view.next_step.what}")


@app.command("list")
def list_(data: DataDirectory, json: AsJson = False) -> None:
    """All incidents, newest first."""
    with opened(data) as service:
        found = service.list()
    if json:
        print_json(as_json(found))
        return
    show_list(found)


@app.command()
def show(
    incident: Name,
    data: DataDirectory,
    as_of: Annotated[str | None, typer.Option(help="What was known then: a time or a version number.")] = None,
    json: AsJson = False,
) -> None:
    """What must happen next, the clocks, facts, duties and notices."""
    with opened(data, incident, json=json) as service:
        view = service.view(incident)
        if as_of is not None and as_of.isdigit():
            view = service.view(incident, version=int(as_of))
        elif as_of is not None:
            view = service.view(incident, as_of=instant(as_of, view.time_zone, "as-of"))
    if json:
        print_json(as_json(view))
        return
    show_incident(view)


@app.command()
def fact(
    incident: Name,
    *,
    data: DataDirectory,
    who: Who,
    values: Annotated[
        list[str] | None, typer.Argument(help="PATH=VALUE, such as risk=high or role=controller", metavar="FACT")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="YAML: path to value.")] = None,
    state: Annotated[str, typer.Option(help="known, assumed or unknown")] = "known",
    entry: Entry = None,
    note: Note = "",
    preview: Annotated[bool, typer.Option(help="Only show which duties would change.")] = False,
    json: AsJson = False,
) -> None:
    """State facts, all or none; a later one supersedes an earlier one and both stay."""
    stated = {} if file is None else load_yaml(file)
    for position, text in enumerate(values or (), 1):
        path, sign, value = text.partition("=")
        if not sign and state != "unknown":
            raise InputError(f"Fact {position}: write PATH=VALUE, such as risk=high.", field="fact")
        stated[path] = _value(path, value) if sign else None
    with opened(data, incident, json=json) as service:
        if preview:
            changes = service.preview(incident, stated)
            if json:
                print_json(changes)
            else:
                show_changes(changes)
                out.print(f"{count(len(changes), 'decision', 'decisions')} would change; nothing was recorded.")
            return
        found = service.record_facts(incident, stated, by=who, state=cast("State", state), entry=entry, note=note)
    if json:
        print_json({"entries": found})
        return
    out.print(f"{len(found)} fact(s) recorded, entries {found}. Assess again to see what changes.")


def _value(path: str, text: str) -> Any:
    """A value as typed: a list of words needs no brackets, and NO stays Norway."""
    if path in LISTS and not text.lstrip().startswith("["):
        return [word.strip() for word in text.split(",") if word.strip()]
    return yaml.safe_load(text)


@app.command()
def clock(
    incident: Name,
    *,
    name: Annotated[str, typer.Argument(help="awareness, discovery, occurrence, authority_notified, ...")],
    at: Annotated[str, typer.Argument(help="2026-03-10T09:00, in the incident's zone without an offset.")],
    data: DataDirectory,
    who: Who,
    entry: Entry = None,
    note: Note = "",
    json: AsJson = False,
) -> None:
    """State at which instant a clock stood, and what started it."""
    with opened(data, incident, json=json) as service:
        moment = instant(at, service.view(incident).time_zone, "at")
        found = service.record_clock(incident, name, moment, by=who, entry=entry, note=note)
    if json:
        print_json({"entry": found})
        return
    out.print(f"Clock {name} recorded, entry {found}.")


@app.command()
def organisation(incident: Name, file: Path, data: DataDirectory, who: Who) -> None:
    """State how the organisation names itself in notices (YAML)."""
    with opened(data, incident) as service:
        values = {key: str(value) for key, value in load_yaml(file).items()}
        found = service.state_organisation(incident, values, by=who)
    out.print(f"Organisation stated, entry {found}.")


@app.command()
def scope(
    incident: Name,
    *,
    data: DataDirectory,
    who: Who,
    actor: Annotated[list[str] | None, typer.Option(help="Account or role.")] = None,
    credential: Annotated[list[str] | None, typer.Option(help="Access key.")] = None,
    address: Annotated[list[str] | None, typer.Option(help="Source address.")] = None,
    resource: Annotated[list[str] | None, typer.Option(help="Resource that was touched.")] = None,
    container: Annotated[list[str] | None, typer.Option(help="Bucket, database.")] = None,
    action: Annotated[list[str] | None, typer.Option(help="family.verb, such as data.download")] = None,
    outcome: Annotated[list[str] | None, typer.Option(help="success, failure, denied, error")] = None,
    since: Annotated[str | None, typer.Option(help="From this time on.")] = None,
    until: Annotated[str | None, typer.Option(help="Before this time.")] = None,
    json: AsJson = False,
) -> None:
    """Determine the affected people from the log and the inventory; repeating it shows the difference."""
    with opened(data, incident, json=json) as service:
        time_zone = service.view(incident).time_zone
        criteria = service.criteria(
            actors=actor or (),
            credentials=credential or (),
            addresses=address or (),
            resources=resource or (),
            containers=container or (),
            actions=action or (),
            outcomes=outcome or (),
            since=None if since is None else instant(since, time_zone, "since"),
            until=None if until is None else instant(until, time_zone, "until"),
        )
        service.scope(incident, criteria, by=who)
        view = service.view(incident)
    if json:
        print_json(as_json(view)["affected"])
        return
    show_affected(view)


@app.command()
def assess(incident: Name, data: DataDirectory, who: Who, json: AsJson = False) -> None:
    """Run the law engine on the facts as they stand and recompute every deadline."""
    with opened(data, incident, json=json) as service:
        assessed = service.assess(incident, by=who)
        view = service.view(incident)
    if json:
        full = as_json(view)
        print_json({**as_json(assessed), "duties": full["duties"], "deadlines": full["deadlines"]})
        return
    show_assessment(view, assessed)
    show_questions(view)


@app.command()
def told(
    incident: Name,
    *,
    duty: Annotated[str, typer.Argument(help="Id of the duty whose recipient was told.")],
    data: DataDirectory,
    who: Who,
    stage: Annotated[str | None, typer.Option(help="Stage of the duty.")] = None,
    at: Annotated[str | None, typer.Option(help="When; now if left out.")] = None,
    evidence: Annotated[str, typer.Option(help="Reference number of the receipt.")] = "",
) -> None:
    """Record that the recipient of a duty was told."""
    with opened(data, incident) as service:
        moment = None if at is None else instant(at, service.view(incident).time_zone, "at")
        found = service.told(incident, duty, by=who, stage=stage, at=moment, evidence=evidence)
    out.print(f"Recorded, entry {found}.")


@app.command()
def timeline(incident: Name, data: DataDirectory, json: AsJson = False) -> None:
    """Everything that happened, oldest first, with the log entry that proves it."""
    with opened(data, incident, json=json) as service:
        view = service.view(incident)
    if json:
        print_json(as_json(view)["timeline"])
        return
    show_timeline(view)


@app.command()
def tick(data: DataDirectory, json: AsJson = False) -> None:
    """Record reminders and missed limits that are due; each is recorded once, however often this runs."""
    with opened(data) as service:
        found = [{"type": item.kind, **item.data()} for item in service.tick()]
    if json:
        print_json(found)
        return
    out.print(f"{len(found)} recorded." if found else "Nothing is due.")


@app.command()
def close(
    incident: Name,
    data: DataDirectory,
    who: Who,
    lessons: Annotated[str, typer.Option(help="What was learned.")],
) -> None:
    """Close the incident with its lessons."""
    with opened(data, incident) as service:
        found = service.close(incident, lessons, by=who)
    out.print(f"Closed, entry {found}.")
