"""Incidents on a terminal: tables with times in the incident's zone and in UTC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from rich.markup import escape
from rich.table import Table

from api.cli.common import out
from incidents.law import OWED
from incidents.service import Assessed
from incidents.views import DeadlineView, IncidentSummary, IncidentView
from incidents.views.wording import PHASES, STATES, balance, count, left, value

_LOOKS: Final = {
    "running": ("yellow", "●"),
    "met": ("green", "✓"),
    "missed": ("bold red", "✗"),
    "paused": ("cyan", "Ⅱ"),
    "no_fixed_time": ("yellow", "!"),
    "waiting": ("dim", "…"),
    "to_clarify": ("magenta", "?"),
}
"""Colour and sign of a state; its word stands beside them, so nothing is said by colour alone."""


def both(moment: datetime, local: datetime) -> str:
    """A time in the incident's zone and in UTC."""
    return f"{local:%Y-%m-%d %H:%M %Z} ({moment:%Y-%m-%d %H:%M} UTC)"


def show_list(found: Sequence[IncidentSummary]) -> None:
    """The list of incidents."""
    if not found:
        out.print("No incident. Declare one: tocsin incident declare TITLE")
        return
    table = Table("Incident", "Title", "Phase", "Affected", "Next limit (UTC)", "Missed")
    for item in found:
        table.add_row(
            item.id,
            ("[bold yellow]EXERCISE[/] " if item.status == "Exercise" else "") + escape(item.title),
            "Closed" if item.closed else PHASES[item.phase],
            "" if item.affected is None else str(item.affected),
            "" if item.next_due is None else f"{item.next_due:%Y-%m-%d %H:%M}",
            f"[bold red]{item.missed}[/]" if item.missed else "0",
        )
    out.print(table)


def show_incident(view: IncidentView) -> None:
    """The page of an incident."""
    phase = "Closed" if view.closed else PHASES[view.phase]
    out.print(f"[bold]{view.id}[/] {escape(view.title)} · {phase} · version {view.version}")
    step = view.next_step
    due = f", by {both(step.due, step.due_local)}" if step.due is not None and step.due_local is not None else ""
    out.print(f"[bold]Next:[/] {escape(step.what)} ({step.who}{due})\n", soft_wrap=True)
    show_deadlines(view.deadlines)
    show_questions(view)
    if view.assessment is not None:
        out.print(f"Assessed {view.assessment.at:%Y-%m-%d %H:%M} UTC: {_counts(view.assessment.counts)}.")
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
            facts.add_row(fact.path, fact.state, escape(value(fact.value)), source, _entry(fact.index))
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
        where = balance(campaign.balance) or f"owed {campaign.owed}"
        out.print(f"Campaign {campaign.id}, opened by {escape(campaign.opened_by_name)}: {where}", soft_wrap=True)


def show_deadlines(deadlines: Sequence[DeadlineView]) -> None:
    """Every limit, the most urgent first; duties that wait for a fact are counted below."""
    if not deadlines:
        return
    shown = [item for item in deadlines if item.state != "to_clarify"]
    table = Table("State", "Limit", "Left", "Recipient", title="Deadlines", title_justify="left")
    table.add_column("Duty", overflow="fold")
    table.add_column("Law", overflow="fold")
    for item in shown:
        limit = item.words
        if item.due is not None and item.due_local is not None:
            limit = f"end of {item.last_day} ({item.zone})" if item.last_day else both(item.due, item.due_local)
        if item.outer is not None and item.outer_local is not None:
            limit += f"; another reading: {both(item.outer, item.outer_local)}"
        mark = "" if item.confidence == "verified" else " [dim](recalled)[/]"
        table.add_row(
            _state(item.state),
            escape(limit),
            "" if item.seconds_left is None or item.told_at else left(item.seconds_left),
            escape(item.recipient),
            f"{item.duty} {item.stage}".strip(),
            escape(item.provision) + mark,
        )
    if shown:
        out.print(table)
    waiting = len(deadlines) - len(shown)
    if waiting:
        many = count(waiting, "duty is", "duties are")
        out.print(f"[magenta]? {many} undetermined[/]: a missing fact decides.")


def show_questions(view: IncidentView) -> None:
    """The next few things to find out, the most useful first."""
    if not view.questions:
        return
    out.print("[bold]Find out next:[/]")
    for question in view.questions:
        clock = "" if question.hours is None else f", the shortest clock {question.hours:g} h"
        settles = count(question.settles, "duty", "duties")
        out.print(f"  {question.text} [dim]({question.path}; settles {settles}{clock})[/]", soft_wrap=True)
    out.print(f"  State an answer: tocsin incident {_answer(view)} --as YOU", soft_wrap=True)


def _answer(view: IncidentView) -> str:
    """The command that answers the first question; a clock is recorded apart from the facts."""
    path = view.questions[0].path
    if path.startswith("clocks."):
        return f"clock {view.id} {path.removeprefix('clocks.')} TIME"
    return f"fact {view.id} {path}=..."


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
    if held.weaker_categories:
        weaker = ", ".join(f"{name} ({people})" for name, people in held.weaker_categories.items())
        out.print(f"  less sure, and not counted above (people): {weaker}")
    out.print(
        f"  from the first {held.log_size} entries; entries {list(held.entries[:10])}; root {held.root}", soft_wrap=True
    )
    if held.removed or held.changed or held.added not in (0, held.count):
        out.print(f"  since the run before: {held.added} added, {held.removed} removed, {held.changed} changed")


def show_assessment(view: IncidentView, assessed: Assessed) -> None:
    """What the law engine said, and what changed."""
    show_deadlines(view.deadlines)
    out.print(f"{_counts(assessed.results)}. Law data {assessed.version[:16]}…, entry {assessed.index}.")
    show_changes(assessed.changed)
    out.print("[dim]Not legal advice: counsel confirms; entries marked recalled were not checked against the text.[/]")


def show_changes(changed: Sequence[Mapping[str, Any]]) -> None:
    """What a run changed: each duty that is owed now or was; the others, which are many, as a number."""
    mattering = [item for item in changed if {item["before"]["result"], item["after"]["result"]} & OWED]
    for item in mattering:
        before, after = (item[when]["result"].replace("_", " ") for when in ("before", "after"))
        out.print(f"  changed: {item['duty']} {item['stage']}: {before} → {after}", soft_wrap=True)
    rest = len(changed) - len(mattering)
    if rest:
        out.print(f"  and {count(rest, 'decision', 'decisions')} more that oblige nobody, before and after")


def show_timeline(view: IncidentView) -> None:
    """The timeline, oldest first."""
    table = Table("Entry", "Time", "What", "Who")
    for item in view.timeline:
        table.add_row(_entry(item.index), both(item.time, item.time_local), escape(item.text), escape(item.by_name))
    out.print(table)


def _counts(results: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in results.items())


def _state(state: str) -> str:
    colour, sign = _LOOKS[state]
    return f"[{colour}]{sign} {STATES[state]}[/]"


def _entry(index: int | None) -> str:
    return "" if index is None else str(index)


def _source(kind: str, source: str, by_name: str) -> str:
    if kind == "entry":
        return f"entry {source}"
    return "affected set" if kind == "affected" else escape(by_name)
