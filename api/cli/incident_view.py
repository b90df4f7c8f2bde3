"""Incidents on a terminal: tables with times in the incident's zone and in UTC."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from rich.markup import escape
from rich.table import Table

from api.cli.common import out
from incidents.law.questions import Question
from incidents.service.casework import Assessed
from incidents.views import DeadlineView, IncidentSummary, IncidentView

_STATES: Final = {
    "running": "[yellow]● running[/]",
    "met": "[green]✓ met[/]",
    "missed": "[bold red]✗ missed[/]",
    "paused": "[cyan]Ⅱ paused[/]",
    "no_fixed_time": "[yellow]! no fixed time[/]",
    "waiting": "[dim]… not started[/]",
    "to_clarify": "[magenta]? to clarify[/]",
}
"""Colour, sign and word: never colour alone."""

_QUESTIONS: Final = 5
"""How many open questions are shown at once."""


def both(moment: datetime, local: datetime) -> str:
    """A time in the incident's zone and in UTC."""
    return f"{local:%Y-%m-%d %H:%M %Z} ({moment:%Y-%m-%d %H:%M} UTC)"


def left(seconds: int) -> str:
    """Time left (or passed) in words."""
    days, rest = divmod(abs(seconds), 86400)
    hours, minutes = rest // 3600, rest % 3600 // 60
    words = f"{days} d {hours} h" if days else f"{hours} h {minutes} min"
    return f"{words} left" if seconds >= 0 else f"{words} ago"


def show_list(found: Sequence[IncidentSummary]) -> None:
    """The list of incidents."""
    if not found:
        out.print("No incident. Declare one: tocsin incident declare TITLE")
        return
    table = Table("Incident", "Title", "Phase", "Affected", "Next limit (UTC)", "Missed")
    for item in found:
        table.add_row(
            item.id,
            escape(item.title),
            "closed" if item.closed else item.phase.replace("_", " "),
            "" if item.affected is None else str(item.affected),
            "" if item.next_due is None else f"{item.next_due:%Y-%m-%d %H:%M}",
            f"[bold red]{item.missed}[/]" if item.missed else "0",
        )
    out.print(table)


def show_incident(view: IncidentView) -> None:
    """The page of an incident."""
    phase = "closed" if view.closed else view.phase.replace("_", " ")
    out.print(f"[bold]{view.id}[/] {escape(view.title)} · {phase} · version {view.version}")
    step = view.next_step
    due = f", by {both(step.due, step.due_local)}" if step.due is not None and step.due_local is not None else ""
    out.print(f"[bold]Next:[/] {escape(step.what)} ({step.who}{due})\n")
    show_deadlines(view.deadlines)
    clocks = Table("Clock", "Stood at", "Started by", "Entry", title="Clocks", title_justify="left")
    for item in view.clocks:
        if not item.superseded:
            clocks.add_row(
                item.name,
                both(item.at, item.at_local),
                _source(item.source_kind, item.source, item.by_name),
                _entry(item.index),
            )
    out.print(clocks)
    facts = Table("Fact", "State", "Value", "Source", "Entry", title="Facts", title_justify="left")
    for fact in view.facts:
        if not fact.superseded:
            source = _source(fact.source_kind, fact.source, fact.by_name)
            facts.add_row(fact.path, fact.state, escape(_short(fact.value)), source, _entry(fact.index))
    out.print(facts)
    show_affected(view)
    if view.notices:
        notices = Table("Notice", "Version", "State", "Findings", "Content hash", title="Notices", title_justify="left")
        for notice in view.notices:
            notices.add_row(
                notice.id, str(notice.version), notice.state, str(len(notice.findings)), notice.content_hash[:16] + "…"
            )
        out.print(notices)
    for campaign in view.campaigns:
        book = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in campaign.balance.items())
        out.print(f"Campaign {campaign.id}: {book or f'owed {campaign.owed}'}")


def show_deadlines(deadlines: Sequence[DeadlineView]) -> None:
    """Every limit, the most urgent first; duties that wait for a fact are counted below."""
    if not deadlines:
        return
    shown = [item for item in deadlines if item.state != "to_clarify"]
    table = Table("State", "Limit", "Left", "Recipient", title="Deadlines", title_justify="left")
    table.add_column("Duty", overflow="fold")
    table.add_column("Law")
    for item in shown:
        limit = item.words or item.result.replace("_", " ")
        if item.due is not None and item.due_local is not None:
            limit = f"end of {item.last_day} ({item.zone})" if item.last_day else both(item.due, item.due_local)
        mark = "" if item.confidence == "verified" else " [dim](recalled)[/]"
        table.add_row(
            _STATES[item.state],
            escape(limit),
            "" if item.seconds_left is None or item.told_at else left(item.seconds_left),
            escape(item.recipient),
            f"{item.duty} {item.stage}".strip(),
            escape(item.citation) + mark,
        )
    if shown:
        out.print(table)
    waiting = len(deadlines) - len(shown)
    if waiting:
        out.print(f"[magenta]? {waiting} more duties are undetermined[/]: a fact is missing that decides them.")


def show_questions(incident: str, questions: Sequence[Question]) -> None:
    """The next few things to find out."""
    if not questions:
        return
    out.print("[bold]Find out next:[/]")
    for question in questions[:_QUESTIONS]:
        clock = "" if question.hours is None else f", the shortest clock {question.hours:g} h"
        out.print(f"  {question.text} [dim]({question.path}; settles {question.settles} duties{clock})[/]")
    out.print(f"  State an answer: tocsin incident fact {incident} {questions[0].path}=... --as YOU", soft_wrap=True)


def show_affected(view: IncidentView) -> None:
    """The affected people in numbers."""
    held = view.affected
    if held is None:
        return
    if held.advice:
        out.print(held.advice)
    if not held.count:
        return
    sure = ", ".join(f"{count} {name}" for name, count in held.by_confidence.items() if count)
    out.print(f"[bold]{held.count} people affected[/]: {sure}; {held.under_18} under 18, {held.under_14} under 14")
    out.print("  " + ", ".join(f"{code} {count}" for code, count in held.by_jurisdiction.items()))
    out.print(f"  data: {', '.join(held.data_categories)}")
    out.print(
        f"  from the first {held.log_size} entries; entries {list(held.entries[:10])}; root {held.root}", soft_wrap=True
    )
    if held.added or held.removed or held.changed:
        out.print(f"  since the run before: {held.added} added, {held.removed} removed, {held.changed} changed")


def show_assessment(view: IncidentView, assessed: Assessed) -> None:
    """What the law engine said, and what changed."""
    show_deadlines(view.deadlines)
    counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in sorted(assessed.results.items()))
    out.print(f"{counts}. Law data {assessed.version[:16]}…, entry {assessed.index}.")
    for item in assessed.changed:
        out.print(f"  changed: {item['duty']} {item['stage']}: {item['before']['result']} → {item['after']['result']}")
    out.print("[dim]Not legal advice: counsel confirms; entries marked recalled were not checked against the text.[/]")


def show_timeline(view: IncidentView) -> None:
    """The timeline, oldest first."""
    table = Table("Entry", "Time", "What", "Who")
    for item in view.timeline:
        table.add_row(_entry(item.index), both(item.time, item.time_local), escape(item.text), escape(item.by_name))
    out.print(table)


def _entry(index: int | None) -> str:
    return "" if index is None else str(index)


def _source(kind: str, source: str, by_name: str) -> str:
    if kind == "entry":
        return f"entry {source}"
    return "affected set" if kind == "affected" else escape(by_name)


def _short(value: object) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return ", ".join(f"{row.get('jurisdiction', '')} {row.get('count', row.get('kind', ''))}" for row in value)
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)
