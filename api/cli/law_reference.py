"""`tocsin law authorities|terms|readings|changelog|lint|risk`: what stands beside the duties."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from api.cli.common import AsJson, err, out, print_json
from api.cli.law_common import FactsFile, LawDirectory, load_law
from incidents.law import DISCLAIMER, Law, LawError
from incidents.law.changelog import draft, read_changelog
from incidents.law.evaluation import format_utc
from incidents.law.lint import lint as run_lint
from incidents.law.terms import read_terms
from incidents.law.yamlfile import read_yaml_file
from incidents.risk import assess_breach, four_factors, severity
from incidents.risk.breach import lines as breach_lines
from incidents.risk.enisa import lines as enisa_lines
from incidents.risk.hipaa import lines as hipaa_lines

app = typer.Typer(add_completion=False)
risk = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Risk aids: beside the duties, never instead of a conclusion."
)
app.add_typer(risk, name="risk")
BESIDE = "An aid. It never sets the risk; a person concludes, in writing."


@app.command()
def authorities(
    code: Annotated[
        str | None, typer.Argument(help="A country (DE) or a German Land (DE-HE); all when left out.")
    ] = None,
    json: AsJson = False,
    directory: LawDirectory = None,
) -> None:
    """The supervisory authorities of the EEA and of the German Länder: name, channel, languages."""
    listed = load_law(directory).authorities
    found = listed.of(code) if code else listed.authorities
    if not found:
        raise LawError("the directory has no authority with this code; it covers the EEA and the German Länder")
    if json:
        print_json([authority.as_json() for authority in found])
        return
    table = Table("code", "authority", "channel", "languages", "to be checked", show_lines=True)
    for authority in found:
        where = "\n".join(part for part in (authority.channel, authority.portal, authority.website) if part)
        recalled = ", ".join(part for part, said in authority.confidence.items() if said == "recalled")
        name = f"{authority.name}\n{authority.notes}".strip()
        cells = (authority.code, name, where, ", ".join(authority.languages), recalled)
        table.add_row(*(escape(cell) for cell in cells))
    out.print(table)
    for country, rules in listed.rules.items():
        if any(authority.code.startswith(country) for authority in found):
            _print(f"{country}: {rule}" for rule in rules)
    out.print(f"As of {listed.as_of}. {DISCLAIMER}", style="italic")


@app.command()
def terms(
    name: Annotated[str | None, typer.Argument(metavar="LIST", help="A list, such as data_categories.")] = None,
    json: AsJson = False,
    directory: LawDirectory = None,
) -> None:
    """The words that facts and duties use, each with its meaning in one line."""
    found = read_terms(load_law(directory).vocabulary, directory)
    lists = list(dict.fromkeys(term.vocabulary for term in found))
    if name is not None and name not in lists:
        raise LawError(f"there is no such list; the lists are {', '.join(lists)}")
    chosen = [term for term in found if name in (None, term.vocabulary)]
    if json:
        print_json([{"list": term.vocabulary, "word": term.word, "meaning": term.meaning} for term in chosen])
        return
    for heading in lists if name is None else [name]:
        out.print(f"[bold]{heading}[/bold]")
        _print(f"  {t.word}{f': {t.meaning}' if t.meaning else ''}" for t in chosen if t.vocabulary == heading)


@app.command()
def readings(facts: FactsFile, json: AsJson = False, directory: LawDirectory = None) -> None:
    """Other readings of the limits: outer bounds and softer targets, beside the engine's answer."""
    law = load_law(directory)
    found = law.readings(read_yaml_file(facts))
    if json:
        print_json([reading.as_json() for reading in found])
        return
    for reading in found:
        kind = "outer bound" if reading.later else "stricter aim"
        until = f"{reading.last_day} 24:00" if reading.last_day else format_utc(reading.until_utc)
        _print([f"{reading.duty} / {reading.stage}: {kind} {until} ({reading.name}: {reading.words})"])
    out.print(f"The engine's answer stays the target; never plan for an outer bound. {DISCLAIMER}", style="italic")


@app.command()
def changelog(
    since: Annotated[Path | None, typer.Option(help="Draft an entry: earlier law data to compare with.")] = None,
    json: AsJson = False,
    directory: LawDirectory = None,
) -> None:
    """What changed in the law data, version by version; with --since, a draft of the next entry."""
    if since is not None:
        typer.echo("\n".join(draft(Law.load(since), load_law(directory))))
        return
    entries = read_changelog(directory)
    if json:
        print_json([entry.as_json() for entry in entries])
        return
    for entry in entries:
        out.print(f"[bold]{entry.date}[/bold] {entry.version[:16]} {escape(entry.title)}", soft_wrap=True)
        for change in entry.changes:
            shown = f" (case {', '.join(change.cases)})" if change.cases else ""
            _print([f"  {change.what}: {change.words}{shown}"])


@app.command()
def lint(directory: LawDirectory = None) -> None:
    """Check the law data beyond what the loader refuses; exit code 1 when something is wrong."""
    law = load_law(directory)
    problems = run_lint(law, directory)
    for problem in problems:
        typer.echo(str(problem))
    typer.echo(f"{len(law.duties)} duties, {len(problems)} problems")
    if problems:
        raise typer.Exit(1)


InputFile = Annotated[Path, typer.Argument(metavar="FILE", help="YAML or JSON; docs/law.md has an example.")]


@risk.command()
def enisa(file: InputFile, json: AsJson = False) -> None:
    """The severity of a breach after ENISA's methodology."""
    found = severity(read_yaml_file(file))
    if json:
        print_json(found.as_json())
        err.print(BESIDE)
        return
    _print(enisa_lines(found))
    out.print(BESIDE, style="italic")


@risk.command()
def hipaa(file: InputFile, json: AsJson = False) -> None:
    """The HIPAA breach test: protection, exceptions, four factors."""
    found = four_factors(read_yaml_file(file))
    if json:
        print_json(found.as_json())
        err.print(BESIDE)
        return
    _print(hipaa_lines(found))
    out.print(f"{BESIDE} {DISCLAIMER}", style="italic")


@risk.command()
def breach(file: InputFile, json: AsJson = False, directory: LawDirectory = None) -> None:
    """Facts, score and a person's conclusion together, and the duties that follow."""
    found = assess_breach(read_yaml_file(file), load_law(directory))
    if json:
        print_json(found.as_json())
        err.print(BESIDE)
        return
    _print(breach_lines(found))
    out.print(f"{BESIDE} {DISCLAIMER}", style="italic")


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        out.print(escape(line), soft_wrap=True)
