"""Determining the affected people: reads the log's access index, the inventory and the vault."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from incidents.case import store
from incidents.case.aggregate import Incident
from incidents.case.facts import Fact, Source, current
from incidents.notices.planning import TOLD
from incidents.people import affected, inventory
from incidents.people.affected import AffectedSet, Profile
from ledger.access import Access, Criteria
from ledger.encoding import format_time, parse_time
from ledger.errors import ErasedError, InputError, NotFoundError
from ledger.vault import REF, Kind

if TYPE_CHECKING:
    from ledger import Ledger


@dataclass(frozen=True)
class Scoped:
    """A finished determination.

    Attributes:
        members: the frozen set.
        log_size: how many entries were looked at.
        accesses: how many rows of the access index matched.
        criteria: what was asked for, as JSON values.
        occurred: the instant at which ages were counted.
        weaker: data category -> people for whom only accesses of less than their own confidence reached it.
    """

    members: AffectedSet
    log_size: int
    accesses: int
    criteria: dict[str, Any]
    occurred: datetime
    weaker: dict[str, int]

    def summary(self) -> dict[str, Any]:
        """The set in numbers, with what to do when it is empty."""
        asked = {name: value for name, value in self.criteria.items() if value}
        return {
            **self.members.summary(),
            "accesses": self.accesses,
            "advice": advice(self.accesses, self.members, asked),
            "occurred": format_time(self.occurred),
            "weaker_categories": self.weaker,
        }


def criteria(
    ledger: Ledger,
    *,
    actors: Iterable[str] = (),
    credentials: Iterable[str] = (),
    addresses: Iterable[str] = (),
    subjects: Iterable[str] = (),
    resources: Sequence[str] = (),
    containers: Sequence[str] = (),
    actions: Sequence[str] = (),
    outcomes: Sequence[str] = (),
    since: datetime | None = None,
    until: datetime | None = None,
) -> Criteria:
    """Criteria from what people know: account names, keys, addresses and customer ids become pseudonyms.

    Raises:
        InputError: an identity was never seen by this ledger, so that nothing could match it.
    """

    def refs(kind: Kind, field: str, identities: Iterable[str]) -> tuple[str, ...]:
        found = []
        for position, identity in enumerate(identities):
            ref = identity if REF.fullmatch(identity) else ledger.vault.find(kind, identity)
            if ref is None:
                raise InputError(
                    f"{field}: item {position + 1} does not occur in this ledger; check the spelling, "
                    "or import the log it stands in.",
                    field=f"/{field}",
                )
            found.append(ref)
        return tuple(found)

    return Criteria(
        actors=refs("actor", "actors", actors),
        credentials=refs("actor", "credentials", credentials),
        addresses=refs("network", "addresses", addresses),
        subjects=refs("subject", "subjects", subjects),
        resources=tuple(resources),
        containers=tuple(containers),
        actions=tuple(actions),
        outcomes=tuple(outcomes),
        since=None if since is None else format_time(since),
        until=None if until is None else format_time(until),
    )


def determine(ledger: Ledger, incident: Incident, asked: Criteria) -> Scoped:
    """Run the query over the log as it stands now."""
    size = ledger.size()
    first: str | None = None
    count = 0

    def counted(rows: Iterable[Access]) -> Iterable[Access]:
        nonlocal count, first
        for row in rows:
            count += 1
            first = row.time if first is None else min(first, row.time)
            yield row

    with ledger.database.read() as connection:
        evidence = affected.collect(
            counted(ledger.access.matches(asked, size)),
            lambda resource: inventory.holdings_of(connection, [resource]),
            lambda container: inventory.holdings_below(connection, container),
        )
    stood = [clock for clock in incident.clocks if clock.name == "occurrence"]
    began = stood[-1].at if stood else first
    occurred = ledger.clock() if began is None else parse_time(began)
    profiles = profiles_of(ledger, evidence.refs())
    members = affected.freeze(evidence, profiles, occurred)
    wanted = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(asked).items()}
    return Scoped(members, size, count, wanted, occurred, evidence.weaker())


def profiles_of(ledger: Ledger, refs: Sequence[str]) -> dict[str, Profile]:
    """Profiles by pseudonym; who was erased, or belongs to no directory, is left out or has no details."""
    try:
        return {ref: Profile.of(found) for ref, found in ledger.vault.profiles(refs).items()}
    except (NotFoundError, ErasedError):
        known: dict[str, Profile] = {}
        for ref in refs:
            try:
                known[ref] = Profile.of(ledger.vault.profile(ref))
            except (NotFoundError, ErasedError):
                continue  # erased: still affected, but nothing is known that could be told or counted
        return known


def previous(ledger: Ledger, incident: Incident) -> AffectedSet:
    """The members of the scope before, or nobody."""
    if not incident.scopes:
        return AffectedSet(())
    with ledger.database.read() as connection:
        return store.read_affected(connection, incident.scopes[-1].root)


def derived_facts(incident: Incident, scoped: Scoped, by: str) -> list[Fact]:
    """Facts that follow from the set; only those that differ from what stands.

    People who are merely possible do not count. Whoever has no known jurisdiction cannot be counted under
    one; the summary shows how many they are.
    """
    told = [member for member in scoped.members.members if member.confidence in TOLD]
    if not told:
        return []
    codes = sorted({member.jurisdiction for member in told if member.jurisdiction})
    people = []
    for code in codes:
        there = [member for member in told if member.jurisdiction == code]
        row: dict[str, Any] = {"jurisdiction": code, "count": len(there)}
        minors = {"under_18": sum(m.under_18 for m in there), "under_14": sum(m.under_14 for m in there)}
        people.append({**row, "minors": minors} if any(minors.values()) else row)
    categories = sorted({item for member in told for item in member.data_categories})
    classes = sorted({item for member in told for item in member.legal_classes})
    values: dict[str, Any] = {
        "affected": people,
        "data_categories": categories,
        "name_exposed": "name" in categories,
        "minors": any(member.under_18 for member in told),
    }
    if classes:
        values["legal_classes"] = classes
    standing = current(incident.facts)
    source = Source("affected", scoped.members.root)
    return [
        Fact(path, "known", value, source, "from the affected set and the inventory", by, "", 0)
        for path, value in values.items()
        if path not in standing or standing[path].value != value or standing[path].state != "known"
    ]


def advice(accesses: int, found: AffectedSet, criteria: Mapping[str, Any]) -> str:
    """What to do when nobody was found, or somebody whom the directory does not place; else "".

    Args:
        accesses: how many accesses matched the criteria.
        found: the set.
        criteria: the criteria as JSON values, only those that were set.
    """
    if found.count:
        lost = sum(member.jurisdiction is None for member in found.members)
        if not lost:
            return ""
        return (
            f"{lost} affected people have no known jurisdiction, so no duty to them can be assessed. "
            "Load them into the people directory and scope again."
        )
    if accesses:
        return (
            f"No affected persons found: {accesses} accesses matched, but the inventory lists nobody for the resources "
            "they touched. Load an inventory that covers these resources."
        )
    narrow = sorted(name for name, value in criteria.items() if value)
    hint = f"widen or drop one of: {', '.join(narrow)}" if narrow else "import the logs of the systems concerned"
    return f"No affected persons found: no access matched. {hint[0].upper()}{hint[1:]}."
