"""A duty as a page to read: citation, trigger, who, whom, when, what, how, exemptions, sources."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from incidents.law.deadlines import Deadline
from incidents.law.duties import Duty
from incidents.law.logic import All, AtLeast, Leaf, Node, Not
from incidents.law.logic import Any as AnyOf

Section = tuple[str, list[str]]


def page(duty: Duty, elements: Mapping[str, str]) -> list[Section]:
    """Lay a duty out for a reader.

    Args:
        duty: the duty.
        elements: content element to its meaning.

    Returns:
        Headings with their lines; empty sections are left out. Nothing the data say is dropped.
    """
    sections: list[Section] = [
        ("Law", [duty.law, duty.citation, *_named(duty.local_names)]),
        ("Status", list(_status(duty))),
        ("Who", [f"{', '.join(duty.obliged)}{' (clocks of the processor)' if duty.processor else ''}"]),
        ("Trigger", list(_trigger(duty))),
        ("When it applies", list(rule(duty.when, 0))),
        ("Whom to tell", list(_recipient(duty))),
        ("By when", list(_stages(duty))),
        ("What the notice says", [f"{name}: {elements[name]}" for name in duty.content]),
        ("In the words of the law", list(duty.content_detail)),
        ("Must not be in the notice", list(duty.content_prohibited)),
        ("Channels", list(duty.channels)),
        ("Exemptions", list(_exemptions(duty))),
        ("Delay", list(_delays(duty))),
        ("Relations", list(_relations(duty))),
    ]
    sections.extend((key.replace("_", " ").capitalize(), _plain(value)) for key, value in duty.shown.items())
    sections.append(("Sources", [_source(source.title, source.address, source.basis) for source in duty.sources]))
    sections.append(("Confidence", list(_confidence(duty))))
    sections.append(("Notes", [duty.notes] if duty.notes else []))
    return [(heading, lines) for heading, lines in sections if lines]


def rule(node: Node, depth: int) -> Iterator[str]:
    """An expression in words, one part per line, indented."""
    indent = "  " * depth
    match node:
        case Leaf():
            yield f"{indent}{node.text}"
        case Not():
            inner = node.parts[0]
            if isinstance(inner, Leaf):
                yield f"{indent}not: {inner.text}"
            else:
                yield f"{indent}not:"
                yield from rule(inner, depth + 1)
        case All() | AnyOf() | AtLeast():
            if isinstance(node, AtLeast):
                yield f"{indent}at least {node.count} of:"
            else:
                yield f"{indent}{'all' if isinstance(node, All) else 'any'} of:"
            for part in node.parts:
                yield from rule(part, depth + 1)


def deadline_text(deadline: Deadline) -> str:
    """A deadline in one sentence, modifiers included."""
    parts = [_base(deadline)]
    parts.extend(f"{float(variant.amount):g} if {'; '.join(rule(variant.when, 0))}" for variant in deadline.variants)
    if deadline.cap:
        parts.append(f"at most {_base(deadline.cap.deadline)}")
    if deadline.roll:
        unless = "; ".join(text.strip() for text in rule(deadline.roll.unless, 0)) if deadline.roll.unless else ""
        at = f" at {deadline.roll.at:%H:%M} local time" if deadline.roll.at else ""
        moved = f"on a closed day ({deadline.roll.calendar}) moved to the next working day{at}"
        parts.append(f"{moved}{f', unless {unless}' if unless else ''}")
    parts.extend(f"or, if earlier, {_base(other)}" for other in deadline.earlier_of)
    return "; ".join(parts)


def _base(deadline: Deadline) -> str:
    if deadline.kind == "relative":
        return f"{deadline.relation.replace('_', ' ')} {deadline.to}"
    assert deadline.anchor is not None
    joint = {"earliest": "the earliest of ", "latest": "the latest of "}.get(deadline.anchor.rule, "")
    anchor = f"{joint}{', '.join(deadline.anchor.clocks)}"
    amount = f"{float(deadline.amount):g}"
    count = f"{amount} {deadline.kind.replace('_', ' ')} after {anchor}"
    if deadline.count_rule == "start_day_is_day_1":
        count = f"{amount} calendar days from {anchor}, whose day is day 1"
    special = {
        "words_only": f"no number in the law; from {anchor}",
        "event": f"the day of {anchor}",
        "fixed_date": f"{deadline.month:02}-{deadline.day:02} (month-day), {deadline.year_offset} year after {anchor}",
        "end_of_year_plus_days": f"{amount} days after the end of the year of {anchor}",
        "business_days": f"{amount} working days ({deadline.calendar}) after {anchor}",
    }
    return special.get(deadline.kind, count)


def _named(names: Mapping[str, str]) -> list[str]:
    return [f"{tag}: {name}" for tag, name in names.items()]


def _status(duty: Duty) -> Iterator[str]:
    yield f"{duty.status.replace('_', ' ')}; {duty.binding.replace('_', ' ')}; binds {duty.binds.replace('_', ' ')}"
    period = [f"from {duty.effective_from}" if duty.effective_from else "start not fixed"]
    if duty.effective_to:
        period.append(f"to {duty.effective_to}")
    yield f"{' '.join(period)}; the version is decided by {', '.join(duty.effective_clock)}"
    yield f"jurisdictions: {', '.join(duty.jurisdictions)}"
    if duty.layer:
        yield f"layer: {duty.layer}"
    if duty.time_zone:
        yield f"days are counted in {duty.time_zone}"


def _trigger(duty: Duty) -> Iterator[str]:
    if duty.trigger:
        yield duty.trigger


def _recipient(duty: Duty) -> Iterator[str]:
    recipient = duty.recipient
    kinds = ", ".join((recipient.kind, *recipient.additional_kinds)).replace("_", " ")
    yield f"{recipient.name} ({kinds})"
    yield from _named(recipient.local_names)
    if recipient.portal:
        yield f"portal: {recipient.portal}"
    if recipient.directory:
        yield f"directory: {recipient.directory}"
    for entry in recipient.resolution:
        yield f"if {entry['if']}: {entry['notify']}"


def _stages(duty: Duty) -> Iterator[str]:
    for stage in duty.stages:
        name = f"{stage.name}{f' ({stage.local_name})' if stage.local_name else ''}"
        yield f"{name}: {deadline_text(stage.deadline)}{' (recalled)' if stage.recalled else ''}"
        if stage.description:
            yield f"  {stage.description}"
        if stage.when:
            yield f"  only if {'; '.join(text.strip() for text in rule(stage.when, 0))}"
        if stage.content:
            yield f"  content: {', '.join(stage.content)}"
        for key, value in stage.deadline.shown.items():
            yield f"  {key.replace('_', ' ')}: {'; '.join(_plain(value))}"


def _exemptions(duty: Duty) -> Iterator[str]:
    for exemption in duty.exemptions:
        scope = f" [{exemption.scope}]" if exemption.scope else ""
        condition = f" (if {'; '.join(text.strip() for text in rule(exemption.when, 0))})" if exemption.when else ""
        yield f"{exemption.text.replace('_', ' ')}{condition}{scope}"


def _delays(duty: Duty) -> Iterator[str]:
    for delay in duty.delays:
        condition = f" (if {'; '.join(text.strip() for text in rule(delay.when, 0))})" if delay.when else ""
        then = f"; then {deadline_text(delay.then)}" if delay.then else ""
        yield f"{delay.ground.replace('_', ' ')}{condition}{then}"
        for key, value in delay.shown.items():
            yield f"  {key.replace('_', ' ')}: {'; '.join(_plain(value))}"


def _relations(duty: Duty) -> Iterator[str]:
    for label, ids in (
        ("triggered by", duty.triggered_by),
        ("displaces", duty.displaces),
        ("displaced by", duty.displaced_by),
        ("overlaps", duty.overlaps),
        ("extends", (duty.extends,) if duty.extends else ()),
        ("derived from", (duty.derived_from,) if duty.derived_from else ()),
        ("same duty as", (duty.merged_into,) if duty.merged_into else ()),
    ):
        if ids:
            yield f"{label} {', '.join(ids)}"


def _confidence(duty: Duty) -> Iterator[str]:
    recalled = "recalled: from memory, not checked against the text; counsel must confirm"
    verified = "verified: the wording, the official page or a quotation of it was read"
    yield verified if duty.confidence == "verified" else recalled
    if duty.evidence:
        yield f"evidence: {duty.evidence.replace('_', ' ')}"
    yield from (f"not verified: {part}" for part in duty.unverified)


def _source(title: str, address: str | None, basis: str | None) -> str:
    return " | ".join(part for part in (title, address or "no public address", basis) if part)


def _plain(value: Any) -> list[str]:
    """A value nobody evaluates, as readable lines."""
    if isinstance(value, dict):
        return [f"{str(key).replace('_', ' ')}: {'; '.join(_plain(inner))}" for key, inner in value.items()]
    if isinstance(value, list):
        return [line for inner in value for line in _plain(inner)]
    if value is None:
        return []
    return [value if isinstance(value, str) else json.dumps(value)]
