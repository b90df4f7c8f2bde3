"""The 25 predicates of the duties' expressions (SCHEMA.md, section 3), each a leaf over the facts.

A builder checks the argument strictly and returns a `Leaf`; its test gets the engine's view of one
incident. Whatever is outside the closed lists is a problem with its path, never a silent default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any as Json

from incidents.law.builder import Builder, Scope
from incidents.law.facts import Facts, People
from incidents.law.logic import FALSE, TRUE, Finding, Leaf, found
from incidents.law.quantities import number
from incidents.law.shape import Shape

ADULT, CHILD = 18, 14
"""The two ages at which the facts count minors."""


def _always(argument: Json, scope: Scope) -> Leaf:
    if not isinstance(argument, bool):
        return scope.problem("expected true or false")
    return Leaf("always", f"always {'true' if argument else 'false'}", lambda _: found(argument))


def _affected(argument: Json, scope: Scope) -> Leaf:
    shape = Shape(argument, scope.path, scope.problems)
    area = scope._replace(path=shape.at("in")).codes(shape.take("in", required=True))
    low = shape.whole("at_least", 1, 10**10) or 1
    high = shape.whole("at_most", 1, 10**10, required=False)
    each = shape.word("scope", ("total", "each"), default="total") == "each"
    shape.done()

    def judge(people: list[People]) -> bool | None:
        least = sum(1 if entry.count is None else entry.count for entry in people)
        open_ended = any(entry.count is None for entry in people)
        if high is not None and least > high:
            return False
        if least >= low:
            return None if open_ended and high is not None else True
        return None if open_ended else False

    def test(view: Json) -> Finding:
        affected = view.facts.affected
        if affected is None:
            return Finding(None, ("affected",))
        here = [entry for entry in affected if entry.jurisdiction in area]
        if each:
            codes = dict.fromkeys(entry.jurisdiction for entry in here)
            truths = [judge([entry for entry in here if entry.jurisdiction == code]) for code in codes]
        else:
            truths = [judge(here)]
        if True in truths:
            return TRUE
        return Finding(None, ("affected.count",)) if None in truths else FALSE

    bounds = f"at least {low}" + (f", at most {high}" if high is not None else "")
    text = f"people affected in {area}: {bounds}{' in one jurisdiction' if each else ''}"
    return Leaf("affected", text, test)


def _minors_affected(argument: Json, scope: Scope) -> Leaf:
    shape = Shape(argument, scope.path, scope.problems)
    age = shape.whole("under", 1, ADULT) or ADULT
    shape.done()

    def test(view: Json) -> Finding:
        facts: Facts = view.facts
        people = facts.affected or ()
        flag = facts.flags["minors"]
        some_minor = flag or any(entry.under_18 or entry.under_14 for entry in people)
        if age >= CHILD and any(entry.under_14 for entry in people):
            return TRUE
        if age == ADULT and some_minor:
            return TRUE
        nobody = people and all(entry.under_18 == 0 or (age <= CHILD and entry.under_14 == 0) for entry in people)
        if flag is False or nobody:
            return FALSE
        counted = facts.affected is not None and "affected.minors" not in facts.unknown
        if some_minor and facts.complete and counted:
            return FALSE  # a number that is not stated is 0
        if facts.affected is None:
            return Finding(None, ("affected",) if some_minor else ("affected", "minors"))
        return Finding(None, ("affected.minors",) if some_minor else ("minors",))

    return Leaf("minors_affected", f"people under {age} affected", test)


def _places(fact: str, words: str) -> Builder:
    def build(argument: Json, scope: Scope) -> Leaf:
        area = scope.codes(argument)

        def test(view: Json) -> Finding:
            places = view.facts.places[fact]
            if places is None:
                return Finding(None, (fact,))
            return found(any(place in area for place in places))

        return Leaf(fact, f"{words} {area}", test)

    return build


def _nexus(argument: Json, scope: Scope) -> Leaf:
    shape = Shape(argument, scope.path, scope.problems)
    area = scope._replace(path=shape.at("in")).codes(shape.take("in", required=True))
    allowed = scope.words.words["nexus_kinds"]
    kinds = scope._replace(path=shape.at("kinds")).names(shape.take("kinds", required=True), allowed, "nexus kind")
    shape.done()

    def test(view: Json) -> Finding:
        if view.facts.nexus is None:
            return Finding(None, ("nexus",))
        return found(any(link.kind in kinds and link.jurisdiction in area for link in view.facts.nexus))

    return Leaf("nexus", f"link to {area}: {', '.join(kinds)}", test)


def _risk_at_least(argument: Json, scope: Scope) -> Leaf:
    if argument not in scope.words.risk_scale:
        return scope.problem("not a step of the risk scale")
    step = scope.words.risk_scale.index(argument)

    def test(view: Json) -> Finding:
        risk = view.facts.risk
        return Finding(None, ("risk",)) if risk is None else found(risk >= step)

    return Leaf("risk_at_least", f"risk at least {argument}", test)


def _words(predicate: str, fact: str, vocabulary: str, *, every: bool = False) -> Builder:
    def build(argument: Json, scope: Scope) -> Leaf:
        names = frozenset(scope.names(argument, scope.words.words[vocabulary], vocabulary))

        def test(view: Json) -> Finding:
            stated = view.facts.sets[fact]
            if stated is None:
                return Finding(None, (fact,))
            return found(names <= stated if every else not names.isdisjoint(stated))

        joint = " and " if every else " or "
        return Leaf(predicate, f"{fact.replace('_', ' ')}: {joint.join(sorted(names))}", test)

    return build


def _name_exposed(argument: Json, scope: Scope) -> Leaf:
    if not isinstance(argument, bool):
        return scope.problem("expected true or false")

    def test(view: Json) -> Finding:
        exposed = view.facts.flags["name_exposed"]
        return Finding(None, ("name_exposed",)) if exposed is None else found(exposed is argument)

    return Leaf("name_exposed", "name with the data" if argument else "no name with the data", test)


def _medium_any(argument: Json, scope: Scope) -> Leaf:
    names = scope.names(argument, scope.words.words["media"], "medium")

    def test(view: Json) -> Finding:
        medium = view.facts.medium
        return Finding(None, ("medium",)) if medium is None else found(medium in names)

    return Leaf("medium_any", f"medium: {' or '.join(names)}", test)


def _encryption_protects(argument: Json, scope: Scope) -> Leaf:
    if not isinstance(argument, bool):
        return scope.problem("expected true or false")

    def test(view: Json) -> Finding:
        encrypted = view.facts.flags["encrypted"]
        key_lost = view.facts.flags["encryption_key_compromised"]
        if encrypted is False or key_lost is True:
            return found(not argument)
        if encrypted and key_lost is False:
            return found(argument)
        facts = (("encrypted", encrypted), ("encryption_key_compromised", key_lost))
        return Finding(None, tuple(name for name, value in facts if value is None))

    return Leaf("encryption_protects", f"encrypted, key safe: {'yes' if argument else 'no'}", test)


def _condition(argument: Json, scope: Scope) -> Leaf:
    if argument not in scope.words.words["conditions"]:
        return scope.problem("not a known condition")

    def test(view: Json) -> Finding:
        holds = view.facts.condition(argument)
        return Finding(None, (f"conditions.{argument}",)) if holds is None else found(holds)

    return Leaf("condition", argument.replace("_", " "), test)


def _level_at_least(argument: Json, scope: Scope) -> Leaf:
    shape = Shape(argument, scope.path, scope.problems)
    scheme = shape.word("scheme", tuple(scope.words.level_schemes))
    levels = scope.words.level_schemes[scheme]
    level = shape.word("level", levels)
    shape.done()
    step = levels.index(level)

    def test(view: Json) -> Finding:
        stated = view.facts.level(scheme)
        return Finding(None, (f"levels.{scheme}",)) if stated is None else found(stated >= step)

    return Leaf("level_at_least", f"level {scheme} at least {level}", test)


def _clock_recorded(argument: Json, scope: Scope) -> Leaf:
    if argument not in scope.words.words["clocks"]:
        return scope.problem("not a known clock")
    processor = scope.processor

    def test(view: Json) -> Finding:
        clock = view.clock(argument, processor=processor)
        if clock.when is None and clock.unknown:
            return Finding(None, clock.paths)
        return found(clock.when is not None)

    return Leaf("clock_recorded", f"clock {argument} recorded", test, clocks=(argument,))


def _clock_more_than(argument: Json, scope: Scope) -> Leaf:
    shape = Shape(argument, scope.path, scope.problems)
    clocks = scope.words.words["clocks"]
    later, earlier = (shape.word(key, sorted(clocks)) for key in ("later", "earlier"))
    hours = shape.whole("hours", 0, 100_000) or 0
    shape.done()
    processor = scope.processor

    def test(view: Json) -> Finding:
        pair = [view.clock(name, processor=processor) for name in (later, earlier)]
        unknown = [path for clock in pair if clock.when is None and clock.unknown for path in clock.paths]
        if any(clock.when is None and not clock.unknown for clock in pair):
            return FALSE  # a clock that has not happened leaves no hours in between
        if unknown:
            return Finding(None, tuple(unknown))
        return found((pair[0].when - pair[1].when).total_seconds() > hours * 3600)

    return Leaf("clock_more_than", f"{later} more than {hours} h after {earlier}", test, clocks=(later, earlier))


def _duty_applies(argument: Json, scope: Scope) -> Leaf:
    shape = Shape({"": argument}, scope.path, scope.problems)
    ids = shape.texts("")
    if not ids:
        return scope.problem("expected at least one duty id")

    def test(view: Json) -> Finding:
        findings = [view.applies(duty) for duty in ids]
        if any(finding.truth is True for finding in findings):
            return TRUE
        missing = tuple(path for finding in findings if finding.truth is None for path in finding.missing)
        return Finding(None, missing) if any(f.truth is None for f in findings) else FALSE

    return Leaf("duty_applies", f"duty applies: {' or '.join(ids)}", test, duties=ids)


BUILDERS: Mapping[str, Builder] = {
    "always": _always,
    "affected": _affected,
    "minors_affected": _minors_affected,
    "established_in": _places("established_in", "established in"),
    "network_operated_in": _places("network_operated_in", "systems operated in"),
    "nexus": _nexus,
    "risk_at_least": _risk_at_least,
    "data_any": _words("data_any", "data_categories", "data_categories"),
    "data_all": _words("data_all", "data_categories", "data_categories", every=True),
    "legal_class_any": _words("legal_class_any", "legal_classes", "legal_classes"),
    "name_exposed": _name_exposed,
    "medium_any": _medium_any,
    "encryption_protects": _encryption_protects,
    "sector_any": _words("sector_any", "sectors", "sectors"),
    "role_any": _words("role_any", "role", "roles"),
    "entity_any": _words("entity_any", "entity_kinds", "entity_kinds"),
    "incident_type_any": _words("incident_type_any", "incident_types", "incident_types"),
    "breach_type_any": _words("breach_type_any", "breach_types", "breach_types"),
    "breach_type_all": _words("breach_type_all", "breach_types", "breach_types", every=True),
    "condition": _condition,
    "level_at_least": _level_at_least,
    "number": number,
    "clock_recorded": _clock_recorded,
    "clock_more_than": _clock_more_than,
    "duty_applies": _duty_applies,
}
"""Predicate name to its builder. `defined`, `all`, `any`, `at_least` and `not` are built in `expressions`."""
