"""Duties: dated, cited law as data (SCHEMA.md, section 2), read strictly into typed values."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any as Json
from zoneinfo import ZoneInfo

from incidents.law.deadlines import Deadline, DeadlineReader
from incidents.law.errors import Problem
from incidents.law.expressions import Compiler
from incidents.law.localtime import load_zone
from incidents.law.logic import Node
from incidents.law.shape import Shape, one_of
from incidents.law.vocabulary import Vocabulary

STATUSES = ("in_force", "enacted", "superseded", "proposal", "no_duty", "voluntary")
BINDINGS = ("statute", "administrative_plan", "contract", "recommended", "voluntary")
BINDS = ("operator", "authority", "internal_step", "member_state")
RECIPIENTS = (
    "authority", "csirt", "individuals", "controller", "attorney_general",
    "consumer_agency", "media", "public", "internal",
)  # fmt: skip
CONFIDENCES = ("verified", "recalled")
EVIDENCES = ("primary_text", "quoted_primary", "official_guidance", "secondary", "none")
SHOWN = (
    "substitute_notice", "minors", "language", "records", "penalty", "services", "encryption", "risk_of_harm",
    "private_right_of_action", "enforcer", "national_particulars", "classification", "period_rule",
    "calibration", "risk_wording", "risk_note", "statute_trigger_words", "nexus_words", "count_scope",
    "status_detail",
)  # fmt: skip
"""Fields shown to people as they are and not evaluated."""

_DELAY_FIELDS = """
condition effect extraordinary_days form further_days initial_days max_business_days note oral_days
oral_statement_max_days ref then_max then_text unit written_statement
"""
_DELAY_SHOWN = frozenset(_DELAY_FIELDS.split())


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a duty; the first is the primary one.

    Attributes:
        name: as cases and evaluations call it.
        deadline: when it is due.
        when: the stage does not exist while this is false; None is always.
        content: content elements of this stage alone; empty means those of the duty.
        local_name: in the language of the law.
        description: what happens in it.
        recalled: whether this stage is from memory although the duty is verified.
    """

    name: str
    deadline: Deadline
    when: Node | None
    content: tuple[str, ...]
    local_name: str | None
    description: str | None
    recalled: bool


@dataclass(frozen=True, slots=True)
class Exemption:
    """A ground on which the duty is not owed; without `when` it is shown to counsel only."""

    text: str
    when: Node | None
    scope: str | None


@dataclass(frozen=True, slots=True)
class Delay:
    """A ground on which the duty may wait.

    Attributes:
        ground: in words.
        when: holds the duty while true; None is shown to counsel only.
        then: the deadline after the hold.
        shown: further fields, as written.
    """

    ground: str
    when: Node | None
    then: Deadline | None
    shown: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Recipient:
    """Who must be told."""

    kind: str
    name: str
    portal: str | None
    local_names: Mapping[str, str]
    resolution: tuple[Mapping[str, str], ...]
    directory: str | None
    additional_kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """Where the entry was read."""

    title: str
    address: str | None
    basis: str | None


@dataclass(frozen=True, slots=True)
class Duty:
    """One duty. Field names are those of SCHEMA.md, section 2; `when` is compiled.

    Attributes:
        file: file it stands in, relative to the law data.
        digest: hex SHA-256 of the duty as data; changes with any edit that is not a comment.
        zone: the zone named by `time_zone`.
        processor: whether its clocks are the processor's (`obliged_role: processor`).
        shown: the fields of `SHOWN` that are present, as written.
        written: the whole duty as it stands in the file, before `extends`.
    """

    id: str
    file: str
    digest: str
    title: str
    law: str
    citation: str
    local_names: Mapping[str, str]
    jurisdictions: tuple[str, ...]
    status: str
    effective_from: dt.date | None
    effective_to: dt.date | None
    effective_clock: tuple[str, ...]
    time_zone: str | None
    zone: ZoneInfo | None
    binding: str
    binds: str
    merged_into: str | None
    layer: str | None
    obliged: tuple[str, ...]
    processor: bool
    trigger: str | None
    when: Node
    triggered_by: tuple[str, ...]
    displaces: tuple[str, ...]
    displaced_by: tuple[str, ...]
    extends: str | None
    overlaps: tuple[str, ...]
    derived_from: str | None
    recipient: Recipient
    stages: tuple[Stage, ...]
    content: tuple[str, ...]
    content_detail: tuple[str, ...]
    content_prohibited: tuple[str, ...]
    channels: tuple[str, ...]
    exemptions: tuple[Exemption, ...]
    delays: tuple[Delay, ...]
    sources: tuple[Source, ...]
    confidence: str
    evidence: str | None
    unverified: tuple[str, ...]
    notes: str | None
    shown: Mapping[str, Json]
    written: Mapping[str, Json]

    def related(self) -> tuple[str, ...]:
        """Ids of other duties this one names in its fields."""
        single = (self.merged_into, self.extends, self.derived_from)
        relative = (stage.deadline.to for stage in self.stages if stage.deadline.to)
        named = (*self.triggered_by, *self.displaces, *self.displaced_by, *self.overlaps, *relative)
        return (*named, *(other for other in single if other))

    def nodes(self) -> tuple[Node, ...]:
        """Every expression of the duty."""
        optional: list[Node | None] = [stage.when for stage in self.stages]
        optional.extend(exemption.when for exemption in self.exemptions)
        optional.extend(delay.when for delay in self.delays)
        deadlines = (*(stage.deadline for stage in self.stages), *(d.then for d in self.delays if d.then))
        inner = (node for deadline in deadlines for node in deadline.nodes())
        return (self.when, *(node for node in optional if node), *inner)


def digest_of(value: Json) -> str:
    """Hex SHA-256 of parsed data, whatever its layout in the file."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


class DutyReader:
    """Reads duty files; equal leaves of all duties are shared through one compiler."""

    def __init__(self, vocabulary: Vocabulary, calendars: Mapping[str, object], problems: list[Problem]) -> None:
        self.problems = problems
        self._words = vocabulary
        self._calendars = calendars
        self._compiler = Compiler(vocabulary, problems)
        self._elements = frozenset(vocabulary.content)

    def read_file(self, document: Json, file: str) -> list[Duty]:
        """Read one file: a list of duties."""
        if not isinstance(document, list):
            self.problems.append(Problem(file, "expected a list of duties"))
            return []
        return [self._duty(entry, file, position) for position, entry in enumerate(document)]

    def _duty(self, entry: Json, file: str, position: int) -> Duty:
        name = entry.get("id") if isinstance(entry, dict) else None
        path = f"{file} {name if isinstance(name, str) and name else f'duty {position + 1}'} "
        shape = Shape(entry, path, self.problems)
        zone_name = shape.optional_text("time_zone")
        processor = shape.word("obliged_role", ("any", "processor")) == "processor"
        deadlines = DeadlineReader(self._words, self._compiler, self._calendars, processor=processor)
        clocks = one_of(self._words.words["clocks"], "clock")
        elements = one_of(self._elements, "content element")
        duty = Duty(
            id=shape.text("id"),
            file=file,
            digest=digest_of(entry),
            title=shape.text("title"),
            law=shape.text("law"),
            citation=shape.text("citation"),
            local_names=_names(shape, "local_names"),
            jurisdictions=shape.texts("jurisdictions", self._words.code_problem),
            status=shape.word("status", STATUSES),
            effective_from=shape.date("effective_from"),
            effective_to=shape.date("effective_to"),
            effective_clock=shape.texts("effective_clock", clocks),
            time_zone=zone_name,
            zone=load_zone(zone_name) if zone_name else None,
            binding=shape.word("binding", BINDINGS),
            binds=shape.word("binds", BINDS),
            merged_into=shape.optional_text("merged_into"),
            layer=shape.optional_text("layer"),
            obliged=shape.texts("obliged"),
            processor=processor,
            trigger=shape.optional_text("trigger"),
            when=self._compiler.compile(shape.take("when"), shape.at("when"), processor=processor),
            triggered_by=shape.texts("triggered_by"),
            displaces=shape.texts("displaces"),
            displaced_by=shape.texts("displaced_by"),
            extends=shape.optional_text("extends"),
            overlaps=shape.texts("overlaps"),
            derived_from=shape.optional_text("derived_from"),
            recipient=_recipient(shape),
            stages=self._stages(shape, deadlines, elements),
            content=shape.texts("content", elements),
            content_detail=shape.texts("content_detail"),
            content_prohibited=shape.texts("content_prohibited"),
            channels=shape.texts("channels"),
            exemptions=self._exemptions(shape, deadlines),
            delays=self._delays(shape, deadlines),
            sources=_sources(shape),
            confidence=shape.word("confidence", CONFIDENCES),
            evidence=_evidence(shape),
            unverified=shape.texts("unverified"),
            notes=shape.optional_text("notes"),
            shown={key: shape.take(key) for key in SHOWN if shape.has(key)},
            written=entry if isinstance(entry, dict) else {},
        )
        shape.done()
        self._check(duty, shape)
        return duty

    def _check(self, duty: Duty, shape: Shape) -> None:
        """What no single field shows."""
        if duty.time_zone is not None and duty.zone is None:
            shape.problem("time_zone", "not an IANA time zone name")
        if duty.effective_from and duty.effective_to and duty.effective_from > duty.effective_to:
            shape.problem("effective_to", "lies before effective_from")
        if duty.status == "superseded" and duty.effective_to is None:
            shape.problem("effective_to", "a superseded duty needs its last day")
        for key in ("jurisdictions", "stages", "effective_clock"):
            if not getattr(duty, key):
                shape.problem(key, "expected at least one")
        names = [stage.name for stage in duty.stages]
        if len(set(names)) != len(names):
            shape.problem("stages", "two stages have the same name")

    def _stages(self, shape: Shape, deadlines: DeadlineReader, elements: Json) -> tuple[Stage, ...]:
        found = []
        for path, item in shape.items("stages"):
            inner = Shape(item, path, self.problems)
            when = deadlines.expression(inner, "if")
            stage = Stage(
                name=inner.text("name"),
                deadline=deadlines.read(inner.take("deadline", required=True), f"{path}.deadline"),
                when=when,
                content=inner.texts("content", elements),
                local_name=inner.optional_text("local_name"),
                description=inner.optional_text("description"),
                recalled=bool(inner.flag("recalled", default=False)),
            )
            inner.done()
            found.append(stage)
        return tuple(found)

    def _exemptions(self, shape: Shape, deadlines: DeadlineReader) -> tuple[Exemption, ...]:
        found = []
        for path, item in shape.items("exemptions"):
            inner = Shape(item, path, self.problems)
            when = deadlines.expression(inner, "if")
            found.append(Exemption(inner.text("text"), when, inner.optional_text("scope")))
            inner.done()
        return tuple(found)

    def _delays(self, shape: Shape, deadlines: DeadlineReader) -> tuple[Delay, ...]:
        found = []
        for path, item in shape.items("delay_allowed"):
            inner = Shape(item, path, self.problems)
            when = deadlines.expression(inner, "if")
            then = deadlines.read(inner.take("then"), f"{path}.then") if inner.has("then") else None
            shown = {key: inner.take(key) for key in inner.keys() if key in _DELAY_SHOWN}  # noqa: SIM118  # a Shape is not a mapping
            found.append(Delay(inner.text("ground"), when, then, shown))
            inner.done()
        return tuple(found)


def inherit(duty: Duty, other: Duty) -> Duty:
    """`extends`: empty content and channels are taken from the other duty."""
    return replace(duty, content=duty.content or other.content, channels=duty.channels or other.channels)


def _names(shape: Shape, key: str) -> dict[str, str]:
    inner = shape.inner(key)
    if inner is None:
        return {}
    return {tag: inner.text(tag) for tag in inner.keys()}  # noqa: SIM118  # a Shape is not a mapping


def _recipient(shape: Shape) -> Recipient:
    inner = shape.inner("recipient") or Shape({}, shape.at("recipient"), shape.problems)
    rules = []
    for path, item in inner.items("resolution"):
        rule = Shape(item, path, shape.problems)
        rules.append({"if": rule.text("if"), "notify": rule.text("notify")})
        rule.done()
    recipient = Recipient(
        kind=inner.word("kind", RECIPIENTS),
        name=inner.text("name"),
        portal=inner.optional_text("portal"),
        local_names=_names(inner, "local_names"),
        resolution=tuple(rules),
        directory=inner.optional_text("directory"),
        additional_kinds=inner.texts("additional_kinds", one_of(RECIPIENTS, "recipient kind")),
    )
    inner.done()
    return recipient


def _sources(shape: Shape) -> tuple[Source, ...]:
    found = []
    for path, item in shape.items("sources"):
        inner = Shape(item, path, shape.problems)
        found.append(Source(inner.text("title"), inner.optional_text("address"), inner.optional_text("basis")))
        inner.done()
    return tuple(found)


def _evidence(shape: Shape) -> str | None:
    value = shape.optional_text("evidence")
    if value is not None and value not in EVIDENCES:
        shape.problem("evidence", f"not one of: {', '.join(EVIDENCES)}")
    return value
