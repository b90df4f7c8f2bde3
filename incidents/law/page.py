"""A duty as a page to read: citation, trigger, who, whom, when, what, how, exemptions, sources."""

from __future__ import annotations

import calendar as months
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from incidents.law.deadlines import HERE, Deadline
from incidents.law.duties import Duty
from incidents.law.logic import All, AtLeast, Leaf, Node, Not
from incidents.law.logic import Any as AnyOf

Section = tuple[str, list[str]]
Duties = Mapping[str, Duty]

_JOINED = re.compile(r"(?<=[^\W_])_(?=[^\W_])")
_ADDRESS = re.compile(r"https?://\S+")
_LABELS = {"words": "standard", "qualifier2": "further standard", "text": "in the words of the law or its summary"}
_RELATIONS = {
    "before": "before",
    "at_or_before": "at the latest together with",
    "concurrent": "at the same time as",
    "after": "after",
}
_STATUS = {
    "in_force": "in force",
    "enacted": "enacted; owed only from its date",
    "superseded": "superseded; kept for incidents of its time",
    "proposal": "a proposal, not law; never owed",
    "no_duty": "no duty was found; that is not proof that there is none",
    "voluntary": "voluntary",
}
_BINDING = {
    "statute": "binding by statute",
    "administrative_plan": "administrative plan",
    "contract": "binding by contract",
    "recommended": "a recommendation",
    "voluntary": "voluntary",
}
_BINDS = {
    "operator": "binds the organisation",
    "authority": "binds the authority, shown for information",
    "internal_step": "a step inside the organisation, shown for information",
    "member_state": "binds the member state, shown for information",
}


def words(text: str) -> str:
    """A word of the data as people write it: `as_soon_as_possible` without the joints; addresses stay."""
    parts = _ADDRESS.split(text)
    kept = [*_ADDRESS.findall(text), ""]
    return "".join(f"{_JOINED.sub(' ', part)}{address}" for part, address in zip(parts, kept, strict=True))


def page(duty: Duty, elements: Mapping[str, str], duties: Duties | None = None) -> list[Section]:
    """Lay a duty out for a reader.

    Args:
        duty: the duty.
        elements: content element to its meaning.
        duties: the other duties, so that relations can be named by their titles.

    Returns:
        Headings with their lines; empty sections are left out. Nothing the data say is dropped.
    """
    known = duties or {}
    sections: list[Section] = [
        ("Law", [duty.law, duty.citation, *_named(duty.local_names)]),
        ("Status", list(_status(duty))),
        ("Who", [f"{words(', '.join(duty.obliged))}{' (clocks of the processor)' if duty.processor else ''}"]),
        ("Trigger", [duty.trigger] if duty.trigger else []),
        ("When it applies", list(rule(duty.when, 0))),
        ("Whom to tell", list(_recipient(duty))),
        ("By when", list(_stages(duty, known))),
        ("What the notice says", [f"{words(name)}: {elements[name]}" for name in duty.content]),
        ("In the words of the law", [words(detail) for detail in duty.content_detail]),
        ("Must not be in the notice", [words(name) for name in duty.content_prohibited]),
        ("Channels", [words(channel) for channel in duty.channels]),
        ("Exemptions", list(_exemptions(duty))),
        ("Delay", list(_delays(duty))),
        ("Relations", list(_relations(duty, known))),
    ]
    sections.extend((words(key).capitalize(), block(value)) for key, value in duty.shown.items())
    sections.append(("Sources", [_source(source.title, source.address, source.basis) for source in duty.sources]))
    sections.append(("Confidence", list(_confidence(duty))))
    sections.append(("Notes", [duty.notes] if duty.notes else []))
    return [(heading, lines) for heading, lines in sections if lines]


def rule(node: Node, depth: int) -> Iterator[str]:
    """An expression in words, one part per line, indented."""
    indent = "  " * depth
    match node:
        case Leaf():
            yield f"{indent}{_leaf(node)}"
        case Not():
            inner = node.parts[0]
            if isinstance(inner, Leaf):
                yield f"{indent}not: {_leaf(inner)}"
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


def inline(node: Node) -> str:
    """An expression in one sentence, for the conditions of stages, exemptions and holds."""
    match node:
        case Not():
            return f"not {_group(node.parts[0])}"
        case AtLeast():
            return f"at least {node.count} of {'; '.join(_group(part) for part in node.parts)}"
        case All() | AnyOf():
            return (" and " if isinstance(node, All) else " or ").join(_group(part) for part in node.parts)
        case Leaf():
            return _leaf(node)
    return ""  # pragma: no cover  # there are no other nodes


def _group(node: Node) -> str:
    plain = isinstance(node, Leaf) and " or " not in node.text
    single = plain or (isinstance(node, All | AnyOf) and len(node.parts) == 1)
    return inline(node) if single else f"({inline(node)})"


def _leaf(leaf: Leaf) -> str:
    return words(leaf.text).replace("people affected in ANY", "people affected, wherever they live")


def deadline_text(deadline: Deadline, duties: Duties | None = None) -> str:
    """A deadline in one sentence, modifiers included.

    Args:
        deadline: the deadline.
        duties: the other duties, so that one it is relative to can be named by its title.
    """
    parts = [_base(deadline, duties or {})]
    parts.extend(f"{float(variant.amount):g} if {inline(variant.when)}" for variant in deadline.variants)
    if deadline.cap:
        waived = f", unless {inline(deadline.cap.waived_if)}" if deadline.cap.waived_if else ""
        parts.append(f"at most {_base(deadline.cap.deadline, {})}{waived}")
    if deadline.roll:
        unless = f", unless {inline(deadline.roll.unless)}" if deadline.roll.unless else ""
        at = f" at {deadline.roll.at:%H:%M} local time" if deadline.roll.at else ""
        closed = f"on a closed day ({_calendar(deadline.roll.calendar)}) moved to the next working day"
        parts.append(f"{closed}{at}{unless}")
    parts.extend(f"or, if earlier, {_base(other, {})}" for other in deadline.earlier_of)
    return "; ".join(parts)


def _calendar(name: str) -> str:
    return "calendar of the country of establishment" if name == HERE else f"calendar {name}"


def _base(deadline: Deadline, duties: Duties) -> str:
    if deadline.kind == "relative":
        return f"{_RELATIONS[deadline.relation]} the notice under {_ref(deadline.to, duties)}"
    assert deadline.anchor is not None
    joint = {"earliest": "the earliest of ", "latest": "the latest of "}.get(deadline.anchor.rule, "")
    anchor = f"{joint}{words(', '.join(deadline.anchor.clocks))}"
    amount = f"{float(deadline.amount):g}"
    one = deadline.amount == 1
    if deadline.kind == "calendar_days" and deadline.count_rule == "start_day_is_day_1":
        return f"{amount} calendar days, the day of {anchor} being day 1"
    if deadline.kind == "fixed_date":
        year = {0: "of the year", 1: "of the year after that"}.get(
            deadline.year_offset, f"{deadline.year_offset} years after that"
        )
        return f"{deadline.day} {months.month_name[deadline.month]} {year} of {anchor}"
    unit = {
        "hours": "hour",
        "calendar_days": "calendar day",
        "business_days": f"working day ({_calendar(deadline.calendar)})",
        "months": "month",
    }.get(deadline.kind, "")
    special = {
        "words_only": f"no number in the law; from {anchor}",
        "event": f"the day of {anchor}",
        "end_of_year_plus_days": f"{amount} days after the end of the year of {anchor}",
    }
    many = unit if one else f"{unit.replace('day', 'days', 1) if 'day' in unit else f'{unit}s'}"
    return special.get(deadline.kind, f"{amount} {many} after {anchor}")


def _named(names: Mapping[str, str]) -> list[str]:
    return [f"{tag}: {name}" for tag, name in names.items()]


def _ref(duty_id: str, duties: Duties) -> str:
    other = duties.get(duty_id)
    return f"{duty_id} ({other.title})" if other else duty_id


def _status(duty: Duty) -> Iterator[str]:
    yield f"{_STATUS[duty.status]}; {_BINDING[duty.binding]}; {_BINDS[duty.binds]}"
    period = [f"from {duty.effective_from}" if duty.effective_from else "start not fixed"]
    if duty.effective_to:
        period.append(f"to {duty.effective_to}")
    clocks = words(", ".join(duty.effective_clock))
    yield f"{' '.join(period)}; which version governs is decided by the first recorded of {clocks}"
    yield f"jurisdictions: {', '.join(duty.jurisdictions)}"
    if duty.layer:
        yield f"layer: {duty.layer}"
    if duty.time_zone:
        yield f"days are counted in {duty.time_zone}"


def _recipient(duty: Duty) -> Iterator[str]:
    recipient = duty.recipient
    kinds = words(", ".join((recipient.kind, *recipient.additional_kinds)))
    yield f"{recipient.name} ({kinds})"
    yield from _named(recipient.local_names)
    if recipient.portal:
        yield f"portal: {recipient.portal}"
    if recipient.directory:
        yield f"directory: {recipient.directory}; see `tocsin law authorities`"
    for entry in recipient.resolution:
        yield f"if {entry['if']}: {entry['notify']}"


def _stages(duty: Duty, duties: Duties) -> Iterator[str]:
    for stage in duty.stages:
        name = f"{words(stage.name)}{f' ({words(stage.local_name)})' if stage.local_name else ''}"
        yield f"{name}: {deadline_text(stage.deadline, duties)}{' (recalled)' if stage.recalled else ''}"
        if stage.description:
            yield f"  {words(stage.description)}"
        if stage.when:
            yield f"  only if {inline(stage.when)}"
        if stage.content:
            yield f"  content: {words(', '.join(stage.content))}"
        shown = {_LABELS.get(key, key): value for key, value in stage.deadline.shown.items()}
        yield from (f"  {line}" for line in block(shown))
        for reading in stage.deadline.readings:
            calendar = f" ({_calendar(reading.calendar)})" if reading.calendar else ""
            yield f"  other reading, {words(reading.name)}{calendar}: {reading.words}"


def _exemptions(duty: Duty) -> Iterator[str]:
    for exemption in duty.exemptions:
        scope = f" [{words(exemption.scope)}]" if exemption.scope else ""
        condition = f" (if {inline(exemption.when)})" if exemption.when else " (for counsel to judge)"
        yield f"{words(exemption.text)}{condition}{scope}"


def _delays(duty: Duty) -> Iterator[str]:
    for delay in duty.delays:
        condition = f" (if {inline(delay.when)})" if delay.when else " (for counsel to judge)"
        then = f"; then {deadline_text(delay.then)}" if delay.then else ""
        yield f"{words(delay.ground)}{condition}{then}"
        yield from (f"  {line}" for line in block(delay.shown))


def _relations(duty: Duty, duties: Duties) -> Iterator[str]:
    for label, ids in (
        ("triggered by", duty.triggered_by),
        ("displaces", duty.displaces),
        ("displaced by", duty.displaced_by),
        ("overlaps", duty.overlaps),
        ("extends", (duty.extends,) if duty.extends else ()),
        ("derived from", (duty.derived_from,) if duty.derived_from else ()),
        ("same duty as", (duty.merged_into,) if duty.merged_into else ()),
    ):
        yield from (f"{label} {_ref(other, duties)}" for other in ids)


def _confidence(duty: Duty) -> Iterator[str]:
    recalled = "recalled: from memory, not checked against the text; counsel must confirm"
    verified = "verified: the wording, the official page or a quotation of it was read"
    yield verified if duty.confidence == "verified" else recalled
    if duty.evidence:
        yield f"evidence: {duty.evidence.replace('_', ' ')}"
    yield from (f"not verified: {part}" for part in duty.unverified)


def _source(title: str, address: str | None, basis: str | None) -> str:
    return " | ".join(part for part in (title, address or "no public address", basis) if part)


def block(value: Any) -> list[str]:
    """A value nobody evaluates, as readable lines: nested parts are indented, empty ones left out.

    Args:
        value: as YAML gives it.
    """
    if isinstance(value, Mapping):
        return [line for key, inner in value.items() for line in _entry(words(str(key)), inner)]
    if isinstance(value, list):
        return [line for inner in value for line in _item(inner)]
    return [] if value is None else [_scalar(value)]


def _entry(key: str, value: Any) -> list[str]:
    lines = block(value)
    if not lines:
        return []
    flat = not isinstance(value, Mapping) and not (isinstance(value, list) and any(map(_nested, value)))
    return [f"{key}: {'; '.join(lines)}"] if flat else [f"{key}:", *(f"  {line}" for line in lines)]


def _item(value: Any) -> list[str]:
    if isinstance(value, list) and not any(map(_nested, value)):
        return [" | ".join(_scalar(inner) for inner in value)]
    lines = block(value)
    return [f"- {lines[0]}", *(f"  {line}" for line in lines[1:])] if isinstance(value, Mapping) and lines else lines


def _nested(value: Any) -> bool:
    return isinstance(value, list | Mapping)


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return words(value) if isinstance(value, str) else json.dumps(value)
