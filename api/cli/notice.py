"""`tocsin notice`: draft, read, check and approve notices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from api.cli.casefile import Name, Who, load_yaml, opened
from api.cli.common import AsJson, DataDirectory, out, print_json
from incidents.views import IncidentView, NoticeView, as_json
from ledger.errors import InputError

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Draft, read and approve notices.")

Notice = Annotated[str, typer.Argument(help="Notice, such as person-en.", metavar="NOTICE")]


@app.command()
def draft(
    incident: Name,
    *,
    narrative: Annotated[Path, typer.Argument(help="YAML: language -> slot -> text.")],
    data: DataDirectory,
    who: Who,
    everybody: Annotated[bool, typer.Option(help="Also those to whom no duty is owed.")] = False,
    json: AsJson = False,
) -> None:
    """Draft every notice that is owed; unchanged ones keep their approval."""
    texts = load_yaml(narrative)
    for language, slots in texts.items():
        if not isinstance(slots, dict) or not all(isinstance(text, str) for text in slots.values()):
            raise InputError(f"{narrative.name}, {language}: expected a mapping of slot to text.", field=f"/{language}")
    with opened(data, incident, json=json) as service:
        made = service.draft_notices(incident, by=who, narrative=texts, everybody=everybody)
    if json:
        print_json(as_json(made))
        return
    table = Table("Notice", "Version", "State", "For", "Errors", "Warnings")
    for item in made:
        errors = sum(finding.severity == "error" for finding in item.findings)
        table.add_row(
            item.id,
            str(item.version),
            item.state,
            ", ".join(item.jurisdictions),
            str(errors),
            str(len(item.findings) - errors),
        )
    out.print(table)


@app.command()
def show(
    incident: Name,
    data: DataDirectory,
    notice: Annotated[str | None, typer.Argument(help="Notice, such as person-en; all if left out.")] = None,
    json: AsJson = False,
) -> None:
    """The texts of a notice on every channel, with its content hash and the change since its last approval."""
    with opened(data, incident, json=json) as service:
        view = service.view(incident)
        found = view.notices if notice is None else (_find(view, notice),)
        changes = [] if notice is None else service.notice_difference(incident, notice)
    if json:
        print_json(as_json(list(found)))
        return
    for item in found:
        out.print(f"[bold]{item.id}[/] version {item.version} · {item.state} · by {escape(item.author_name)}")
        out.print(f"content hash {item.content_hash}", soft_wrap=True)
        if notice is None:
            continue
        for message in item.messages:
            out.rule(f"{message['channel']} · {message['language']}")
            out.print(escape(f"{message['subject']}\n\n{message['text']}".strip()))
        _print_findings(item)
    for line in changes:
        out.print(escape(line))


@app.command()
def lint(incident: Name, data: DataDirectory, json: AsJson = False) -> None:
    """What is wrong with the notices: errors stop the approval (exit code 1), warnings do not."""
    with opened(data, incident, json=json) as service:
        view = service.view(incident)
    found = [(notice, finding) for notice in view.notices for finding in notice.findings]
    if json:
        print_json([{"notice": notice.id, **as_json(finding)} for notice, finding in found])
    else:
        for notice in view.notices:
            _print_findings(notice)
        if not found:
            out.print("Nothing found.")
    if any(finding.severity == "error" for _, finding in found):
        raise typer.Exit(1)


@app.command()
def edit(
    incident: Name,
    notice: Notice,
    changes: Annotated[Path, typer.Argument(help="YAML: channel -> {subject, text}.")],
    data: DataDirectory,
    who: Who,
) -> None:
    """Change texts of a notice: a new version, which needs a new approval."""
    texts = load_yaml(changes)
    for channel, change in texts.items():
        if not isinstance(change, dict) or not all(isinstance(text, str) for text in change.values()):
            raise InputError(f"{changes.name}, {channel}: expected subject and text.", field=f"/{channel}")
    with opened(data, incident) as service:
        made = service.edit_notice(incident, notice, texts, by=who)
    out.print(
        f"{made.id} is now version {made.version}, {made.state}; content hash {made.content_hash}", soft_wrap=True
    )
    _print_findings(made)


@app.command()
def approve(
    incident: Name,
    *,
    notice: Notice,
    content_hash: Annotated[str, typer.Argument(help="The hash that `notice show` prints: what you read.")],
    data: DataDirectory,
    who: Who,
    json: AsJson = False,
) -> None:
    """Approve exactly this content; the author of a notice cannot."""
    with opened(data, incident, json=json) as service:
        found = service.approve(incident, notice, content_hash, by=who)
    if json:
        print_json({"entry": found})
        return
    out.print(f"{notice} approved, entry {found}.")


def _find(view: IncidentView, notice: str) -> NoticeView:
    found = next((item for item in view.notices if item.id == notice), None)
    if found is None:
        raise InputError(
            f"There is no notice {notice}; there are {', '.join(item.id for item in view.notices) or 'none'}."
        )
    return found


def _print_findings(notice: NoticeView) -> None:
    for finding in notice.findings:
        colour = "red" if finding.severity == "error" else "yellow"
        where = f" ({finding.channel})" if finding.channel else ""
        out.print(f"[{colour}]{finding.severity}[/] {notice.id}{where}: {escape(finding.message)}")
