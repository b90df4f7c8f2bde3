"""The engine: facts and duties in, evaluations out. A pure function; it reads no clock and no file.

The order of the questions about one duty is that of SCHEMA.md, section 5: no duty, merged, in force,
`when`, `binds`, displacement, exemptions, delay, binding, stages. Unknown never becomes false: a duty
whose `when` is unknown is `undetermined` and names the facts; an exemption, a delay or a displacement
that is unknown never stops a duty, its facts are only added to `missing`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from zoneinfo import ZoneInfo

from incidents.law.calendars import Calendar
from incidents.law.contradictions import PROCESSOR
from incidents.law.duties import Delay, Duty
from incidents.law.evaluation import Evaluation
from incidents.law.facts import Facts
from incidents.law.localtime import zone
from incidents.law.logic import FALSE, TRUE, Finding, Leaf
from incidents.law.timing import Clock, Outcome, Timing

_WEAK = frozenset(("recommended", "voluntary"))
_BINDS = {
    "authority": "binds the authority: shown for information",
    "internal_step": "a step inside the organisation: shown for information",
    "member_state": "binds the member state: shown for information",
}


def evaluate(
    facts: Facts,
    duties: Mapping[str, Duty],
    calendars: Mapping[str, Calendar],
    instant: dt.datetime | None = None,
) -> list[Evaluation]:
    """Evaluate every duty.

    Args:
        facts: one incident.
        duties: all duties by id; every id they name must be among them (`Law.load` sees to it).
        calendars: working-day calendars by id.
        instant: aware; with it, only what had happened by then counts (clocks that start later are
            left out). It never stands in for a missing clock.

    Returns:
        Evaluations in the order of the duties, the stages of a duty in its order.
    """
    view = Incident(facts.at(instant) if instant else facts, duties, calendars)
    return [evaluation for duty in duties.values() for evaluation in view.assess(duty)]


class Incident:
    """One incident as the expressions see it; every leaf and every duty is decided once."""

    __slots__ = (
        "_applies",
        "_clocks",
        "_deciding",
        "_displacers",
        "_findings",
        "_home",
        "calendars",
        "duties",
        "facts",
    )

    def __init__(self, facts: Facts, duties: Mapping[str, Duty], calendars: Mapping[str, Calendar]) -> None:
        self.facts = facts
        self.duties = duties
        self.calendars = calendars
        self._findings: dict[Leaf, Finding] = {}
        self._applies: dict[str, Finding] = {}
        self._clocks: dict[tuple[str, bool], Clock] = {}
        self._deciding: dict[tuple[tuple[str, ...], bool], Clock | None] = {}
        self._home = zone(facts.time_zone)
        self._displacers: dict[str, list[str]] = {}
        for duty in duties.values():
            for displaced in duty.displaces:
                self._displacers.setdefault(displaced, []).append(duty.id)

    def finding(self, leaf: Leaf) -> Finding:
        """The finding of a leaf."""
        known = self._findings.get(leaf)
        if known is None:
            known = self._findings[leaf] = leaf.test(self)
        return known

    def clock(self, name: str, *, processor: bool) -> Clock:
        """A clock: the processor's own when the duty binds a processor.

        The plain clock counts for a processor only if `role` lacks `controller` (SCHEMA.md, section 2).
        """
        known = self._clocks.get((name, processor))
        if known is None:
            known = self._clocks[name, processor] = self._resolve(name, processor=processor)
        return known

    def _resolve(self, name: str, *, processor: bool) -> Clock:
        facts = self.facts
        plain = Clock(name, facts.clock(name), f"clocks.{name}" in facts.unknown, (f"clocks.{name}",))
        if not processor:
            return plain
        own_name = f"{PROCESSOR}{name}"
        path = f"clocks.{own_name}"
        own = Clock(own_name, facts.clock(own_name), path in facts.unknown, (path,))
        role = facts.sets["role"]
        if own.when is not None or (role is not None and "controller" in role):
            return own
        if role is None:
            return own._replace(unknown=own.unknown or plain.when is not None, paths=(path, "role"))
        return plain._replace(unknown=plain.unknown or own.unknown)

    def applies(self, duty_id: str) -> Finding:
        """Whether a duty is in force and its `when` is true; exemptions and displacement are not looked at."""
        known = self._applies.get(duty_id)
        if known is None:
            known = self._applies[duty_id] = self._decide(self.duties[duty_id])
        return known

    def _decide(self, duty: Duty) -> Finding:
        force, _ = self.in_force(duty)
        if force.truth is False:
            return FALSE
        truth = duty.when.truth(self)
        if truth is None or force.truth is None:
            return FALSE if truth is False else Finding(None, (*force.missing, *duty.when.missing(self)))
        return TRUE if truth else FALSE

    def zone_of(self, duty: Duty) -> ZoneInfo:
        """Zone for dates and day counts: that of the duty, else of the facts."""
        return duty.zone or self._home

    def in_force(self, duty: Duty) -> tuple[Finding, str]:
        """Whether this version of the law governs, and why.

        The first recorded clock of `effective_clock` decides, by its local date.
        """
        start, end = duty.effective_from, duty.effective_to
        if duty.status in ("proposal", "no_duty"):
            return FALSE, f"status: {duty.status.replace('_', ' ')}"
        if duty.status == "enacted" and start is None:
            return FALSE, "enacted, start not fixed"
        if start is None and end is None:
            return TRUE, "in force"
        deciding = self._first_recorded(duty.effective_clock, processor=duty.processor)
        if deciding is None or deciding.when is None:
            clocks = (self.clock(name, processor=duty.processor) for name in duty.effective_clock)
            paths = dict.fromkeys(path for clock in clocks for path in clock.paths)
            return Finding(None, tuple(paths)), "no clock says which version of the law governs"
        day = deciding.when.astimezone(self.zone_of(duty)).date()
        if (start and day < start) or (end and day > end):
            return FALSE, f"in force {_period(start, end)}; {deciding.name} is {day}"
        return TRUE, "in force"

    def _first_recorded(self, names: tuple[str, ...], *, processor: bool) -> Clock | None:
        key = (names, processor)
        if key not in self._deciding:
            clocks = (self.clock(name, processor=processor) for name in names)
            self._deciding[key] = next((clock for clock in clocks if clock.when is not None), None)
        return self._deciding[key]

    def assess(self, duty: Duty) -> list[Evaluation]:
        """Evaluate one duty."""
        single = self._not_owed(duty)
        if single is not None:
            return [single]
        missing: set[str] = set()
        stopped = self._displaced(duty, missing) or self._exempt(duty, missing) or self._delayed(duty, missing)
        if stopped is not None:
            return [stopped]
        reasons = _cite(duty, duty.when.reasons(self))
        if duty.status == "voluntary" or duty.binding in _WEAK:
            result = "recommended" if duty.binding == "recommended" else "voluntary"
            return [Evaluation(duty.id, None, result, why=reasons, missing=tuple(sorted(missing)))]
        stages = [self._stage(duty, position, reasons, missing) for position in range(len(duty.stages))]
        existing = [evaluation for evaluation in stages if evaluation is not None]
        return existing or [_single(duty, "not_required", ["no stage of the duty exists for these facts"])]

    def _not_owed(self, duty: Duty) -> Evaluation | None:
        """Everything up to `binds`; None when the duty goes on."""
        if duty.status == "no_duty":
            return _single(duty, "not_required", ["no duty found in this data"])
        if duty.merged_into:
            return _single(duty, "not_required", [f"same duty as {duty.merged_into}"])
        force, in_force = self.in_force(duty)
        if force.truth is False:
            return _single(duty, "not_in_force", [in_force])
        truth = duty.when.truth(self)
        reasons = duty.when.reasons(self)
        if truth and force.truth:
            return None if duty.binds == "operator" else _single(duty, "not_required", [_BINDS[duty.binds]])
        if truth is False:
            return _single(duty, "not_required", reasons)
        open_reasons = [*([] if force.truth else [in_force]), *(reasons if truth is None else ())]
        return _single(duty, "undetermined", open_reasons, {*force.missing, *duty.when.missing(self)})

    def _displaced(self, duty: Duty, missing: set[str]) -> Evaluation | None:
        for other in dict.fromkeys((*duty.displaced_by, *self._displacers.get(duty.id, ()))):
            finding = self.applies(other)
            if finding.truth:
                return _single(duty, "not_required", [f"displaced by {other}"])
            missing.update(finding.missing)
        return None

    def _exempt(self, duty: Duty, missing: set[str]) -> Evaluation | None:
        for exemption in duty.exemptions:
            if exemption.when is None:
                continue
            truth = exemption.when.truth(self)
            if truth:
                return _single(duty, "exempt", [exemption.text, *exemption.when.reasons(self)])
            if truth is None:
                missing |= exemption.when.missing(self)
        return None

    def _delayed(self, duty: Duty, missing: set[str]) -> Evaluation | None:
        for delay in duty.delays:
            if delay.when is None:
                continue
            truth = delay.when.truth(self)
            if truth:
                return self._held(duty, delay, missing)
            if truth is None:
                missing |= delay.when.missing(self)
        return None

    def _held(self, duty: Duty, delay: Delay, missing: set[str]) -> Evaluation:
        assert delay.when is not None
        after = self._timing(duty).outcome(delay.then) if delay.then else Outcome("delayed")
        why = _cite(duty, [delay.ground, *delay.when.reasons(self), *after.why])
        return _dated(duty, None, "delayed", outcome=after, why=why, missing=missing | after.missing)

    def _stage(self, duty: Duty, position: int, reasons: tuple[str, ...], missing: set[str]) -> Evaluation | None:
        stage = duty.stages[position]
        truth = stage.when.truth(self) if stage.when else True
        if truth is False:
            return None
        if truth is None and stage.when:
            why = (*reasons, *_cite(duty, stage.when.reasons(self)))
            open_facts = tuple(sorted(missing | stage.when.missing(self)))
            return Evaluation(duty.id, stage.name, "undetermined", why=why, missing=open_facts)
        outcome = self._timing(duty).outcome(stage.deadline)
        why = (*reasons, *_cite(duty, outcome.why))
        return _dated(duty, stage.name, outcome.result, outcome=outcome, why=why, missing=missing | outcome.missing)

    def _timing(self, duty: Duty) -> Timing:
        return Timing(self, self.zone_of(duty), processor=duty.processor)


def _cite(duty: Duty, reasons: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"{reason} [{duty.citation}]" for reason in dict.fromkeys(reasons))


def _single(duty: Duty, result: str, reasons: Iterable[str], missing: Iterable[str] = ()) -> Evaluation:
    why, paths = _cite(duty, reasons), tuple(sorted(missing))
    return Evaluation(duty.id, None, result, why=why, missing=paths)


def _dated(
    duty: Duty, stage: str | None, result: str, *, outcome: Outcome, why: tuple[str, ...], missing: set[str]
) -> Evaluation:
    limit = outcome.limit
    return Evaluation(
        duty=duty.id,
        stage=stage,
        result=result,
        due_utc=limit.instant if limit else None,
        last_day=limit.day if limit else None,
        anchor=limit.anchor if limit else None,
        why=why,
        missing=tuple(sorted(missing)),
    )


def _period(start: dt.date | None, end: dt.date | None) -> str:
    return " ".join([*([f"from {start}"] if start else []), *([f"to {end}"] if end else [])])
