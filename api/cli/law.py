"""`tocsin law`: breach duties as dated, cited data; which apply, why, and exactly when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from rich.markup import escape
from rich.table import Table

from api.cli import law_reference
from api.cli.common import AsJson, err, out, print_json
from api.cli.law_common import FactsFile, LawDirectory, load_law
from incidents.law import (
    ADVISED,
    DISCLAIMER,
    Duty,
    Evaluation,
    Law,
    LawError,
    Reading,
    UnknownDutyError,
    outer_bounds,
)
from incidents.law.cases import check as run_cases
from incidents.law.cases import read_cases, shipped_cases
from incidents.law.changes import closest, compare_laws
from incidents.law.evaluation import format_utc
from incidents.law.explain import explain as explain_duty
from incidents.law.facts import Facts
from incidents.law.page import deadline_text, page
from incidents.law.places import country
from incidents.law.questions import Question
from incidents.law.yamlfile import read_yaml_file

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Breach duties: which apply, why, and exactly when.")

app.add_typer(law_reference.app)
SHOWN_QUESTIONS = 8


@app.callback()
def _group() -> None:
    """Breach duties: which apply, why, and exactly when. Not legal advice."""


@app.command()
def assess(
    facts: FactsFile,
    json: AsJson = False,
    everything: Annotated[bool, typer.Option("--all", help="Also what is not owed.")] = False,
    directory: LawDirectory = None,
) -> None:
    """Evaluate every duty for one incident.

    With --json the evaluations as they are, one object per duty and stage; else a table of what is owed,
    the nearest limit first, and what to find out next.
    """
    law = load_law(directory)
    known = law.facts(read_yaml_file(facts))
    evaluations = law.assess(known)
    if json:
        print_json([evaluation.as_json() for evaluation in evaluations])
        err.print(DISCLAIMER)
        return
    home = ZoneInfo(known.time_zone)
    owed = sorted((e for e in evaluations if e.owed or e.result in ADVISED), key=lambda e: _urgency(e, home))
    bounds = outer_bounds(law.readings(known))
    table = _table("Owed, the nearest limit first", owed, law, home, bounds)
    out.print(table if owed else "No duty is known to be owed.")
    if everything:
        rest = [e for e in evaluations if not e.owed and e.result not in ADVISED]
        out.print(_table("Not owed, or not decided", rest, law, home, {}))
    _print_open(evaluations, law.questions(known))
    out.print(f"Law data {law.version[:16]}. {DISCLAIMER}", style="italic")


def _urgency(evaluation: Evaluation, home: ZoneInfo) -> tuple[int, str]:
    """Binding before advised, dated before undated, early before late."""
    if evaluation.due_utc:
        return (0, evaluation.due_utc.astimezone(home).isoformat())
    if evaluation.last_day:
        return (0, f"{evaluation.last_day}T24:00")
    return (3 if evaluation.result in ADVISED else 2 if evaluation.result == "not_started" else 1, evaluation.duty)


Bounds = Mapping[tuple[str, str], Reading]


def _table(title: str, evaluations: list[Evaluation], law: Law, home: ZoneInfo, bounds: Bounds) -> Table:
    table = Table(title=title, title_justify="left", show_lines=True)
    table.add_column("limit", no_wrap=True)
    table.add_column("duty", overflow="fold")
    table.add_column("result and law", overflow="fold")
    for evaluation in evaluations:
        duty = law.duty(evaluation.duty)
        stage = f" / {evaluation.stage}" if evaluation.stage else ""
        open_facts = f"\nopen: {', '.join(evaluation.missing)}" if evaluation.missing else ""
        bound = bounds.get((evaluation.duty, evaluation.stage or ""))
        if bound is not None:
            until = f"{bound.until_utc.astimezone(duty.zone or home):%Y-%m-%d %H:%M %Z}"
            open_facts += f"\nouter bound (information only): {until}, {bound.name.replace('_', ' ')}"
        recalled = "" if duty.confidence == "verified" else " (recalled)"
        table.add_row(
            _limit(evaluation, duty, home),
            escape(f"{duty.title}\n{duty.id}{stage}\nto: {duty.recipient.name}"),
            escape(f"{evaluation.result.replace('_', ' ')}{open_facts}\n{duty.law}, {duty.citation}{recalled}"),
        )
    return table


def _limit(evaluation: Evaluation, duty: Duty, home: ZoneInfo) -> str:
    """A limit in local time and in UTC, or the day it runs out."""
    if evaluation.due_utc:
        local = evaluation.due_utc.astimezone(duty.zone or home)
        return f"{local:%Y-%m-%d %H:%M %Z}\n{format_utc(evaluation.due_utc)}"
    if evaluation.last_day:
        return f"{evaluation.last_day} 24:00\n{duty.zone or home}"
    return {"due_relative": "with another notice", "not_started": "clock not started"}.get(evaluation.result, "no date")


def _print_open(evaluations: list[Evaluation], questions: list[Question]) -> None:
    counts = Counter(evaluation.result for evaluation in evaluations)
    if not counts["undetermined"]:
        return
    out.print(f"{counts['undetermined']} results are undetermined. To find out next:")
    for question in questions[:SHOWN_QUESTIONS]:
        clock = f", shortest limit {question.hours:g} h" if question.hours else ""
        waiting = f"{len(question.duties)} duties wait for it{clock}"
        out.print(f"  {question.text} [dim]({escape(question.path)}; {waiting})[/dim]", soft_wrap=True)


@app.command()
def check(
    cases: Annotated[list[Path] | None, typer.Argument(help="Case files; the shipped ones when left out.")] = None,
    directory: LawDirectory = None,
) -> None:
    """Run worked cases: one line per expectation, exit code 1 when one fails."""
    law = load_law(directory)
    files = [read_cases(path) for path in cases or shipped_cases()]
    passed = failed = 0
    for file in files:
        for verdict in run_cases(law, file):
            typer.echo(str(verdict))
            passed, failed = passed + verdict.passed, failed + (not verdict.passed)
    typer.echo(f"{passed} passed, {failed} failed")
    if failed:
        raise typer.Exit(1)


@app.command(name="list")
def list_duties(
    jurisdiction: Annotated[
        str | None, typer.Option("--jurisdiction", help="A code such as ES or US-CA; also its country's duties.")
    ] = None,
    json: AsJson = False,
    directory: LawDirectory = None,
) -> None:
    """List the duties of the data."""
    law = load_law(directory)
    if jurisdiction and law.vocabulary.code_problem(jurisdiction):
        raise LawError("--jurisdiction: not a code; write ISO 3166-1 or a subdivision, for example ES or US-CA")
    duties = [duty for duty in law.duties.values() if not jurisdiction or _belongs(duty, jurisdiction, law)]
    if json:
        print_json([_summary(duty) for duty in duties])
        return
    table = Table(show_lines=True)
    for column in ("duty", "whom", "limit", "status"):
        table.add_column(column, overflow="fold")
    for duty in duties:
        limit = deadline_text(duty.stages[0].deadline)
        status = f"{duty.status.replace('_', ' ')}\n{duty.confidence}"
        cells = (f"{duty.id}\n{duty.title}", duty.recipient.name, limit, status)
        table.add_row(*(escape(cell) for cell in cells))
    out.print(table)
    out.print(f"{len(duties)} duties. Law data {law.version[:16]}. {DISCLAIMER}", style="italic")


def _belongs(duty: Duty, code: str, law: Law) -> bool:
    """Whether a duty belongs to a jurisdiction, its country or a group that holds it."""
    area = law.vocabulary.area(duty.jurisdictions)
    return code in duty.jurisdictions or code in area or country(code) in area


def _summary(duty: Duty) -> dict[str, object]:
    return {
        "id": duty.id,
        "title": duty.title,
        "law": duty.law,
        "citation": duty.citation,
        "jurisdictions": list(duty.jurisdictions),
        "status": duty.status,
        "recipient": duty.recipient.kind,
        "confidence": duty.confidence,
        "digest": duty.digest,
        "file": duty.file,
    }


def _find(law: Law, duty_id: str) -> Duty:
    try:
        return law.duty(duty_id)
    except UnknownDutyError:
        near = closest(law, duty_id)
        hint = f"; did you mean {', '.join(near)}?" if near else "; `tocsin law list` names them all"
        raise UnknownDutyError(f"no duty has this id{hint}") from None


@app.command()
def show(
    duty_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the duty.")],
    json: AsJson = False,
    directory: LawDirectory = None,
) -> None:
    """Show one duty: citation, who, whom, when, what, channels, exemptions, sources, confidence."""
    law = load_law(directory)
    duty = _find(law, duty_id)
    if json:
        print_json({**duty.written, "digest": duty.digest, "file": duty.file, "law_version": law.version})
        return
    out.print(f"[bold]{escape(duty.title)}[/bold] [dim]{escape(duty.id)}[/dim]", soft_wrap=True)
    if duty.confidence == "recalled":
        out.print("Recalled: written from memory. Counsel must confirm it before anybody relies on it.")
    for heading, lines in page(duty, law.elements, law.duties):
        out.print(f"\n[bold]{escape(heading)}[/bold]")
        for line in lines:
            out.print(f"  {escape(line)}", soft_wrap=True)
    out.print(
        f"\nFile {duty.file}, digest {duty.digest[:16]}, law data {law.version[:16]}. {DISCLAIMER}", style="italic"
    )


@app.command()
def explain(
    duty_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the duty.")],
    facts: FactsFile,
    directory: LawDirectory = None,
) -> None:
    """Show step by step how the engine reaches its answer about one duty."""
    law = load_law(directory)
    duty = _find(law, duty_id)
    known: Facts = law.facts(read_yaml_file(facts))
    out.print(f"[bold]{escape(duty.title)}[/bold] [dim]{escape(f'{duty.law}, {duty.citation}')}[/dim]", soft_wrap=True)
    for line in explain_duty(known, duty, law.duties, law.calendars):
        out.print(escape(line), soft_wrap=True)
    for reading in law.readings(known):
        if reading.duty == duty.id:
            kind = "outer bound" if reading.later else "stricter aim"
            said = f"{reading.stage}: {kind} {format_utc(reading.until_utc)} ({reading.name}: {reading.words})"
            out.print(escape(said), soft_wrap=True)
    out.print(DISCLAIMER, style="italic")


@app.command()
def questions(facts: FactsFile, json: AsJson = False, directory: LawDirectory = None) -> None:
    """What to find out next, the most useful question first."""
    law = load_law(directory)
    found = law.questions(read_yaml_file(facts))
    if json:
        print_json(
            [
                {"path": q.path, "text": q.text, "settles": q.settles, "duties": list(q.duties), "hours": q.hours}
                for q in found
            ]
        )
        return
    table = Table("question", "fact", "settles", "duties waiting", "shortest limit")
    for question in found:
        hours = f"{question.hours:g} h" if question.hours else ""
        table.add_row(question.text, escape(question.path), str(question.settles), str(len(question.duties)), hours)
    out.print(table if found else "Nothing is undetermined.")


@app.command()
def diff(
    old: Annotated[Path, typer.Argument(help="Directory of the earlier law data.")],
    new: Annotated[Path | None, typer.Argument(help="The later one; the shipped data when left out.")] = None,
) -> None:
    """Say in words what changed between two versions of the law data; exit code 1 when something did."""
    before, after = Law.load(old), load_law(new)
    lines = list(compare_laws(before, after))
    for line in lines:
        typer.echo(line)
    typer.echo(f"{before.version[:16]} -> {after.version[:16]}: {len(lines)} differences")
    if lines:
        raise typer.Exit(1)
