"""Who is affected: a repeatable query over a stated range of the log, joined to the data inventory.

Pure. What goes in: accesses (rows of the ledger's access index), holdings (which resource holds whose data)
and profiles. What comes out: a frozen set whose members are sorted by pseudonym and hashed into a Merkle
tree, so that one root stands for the set, a member can be proven to be in it, and two runs compare.

How sure we are, per person:

- *confirmed*: a resource that holds the person's data was successfully read, copied, changed or deleted, or
  the person is named as a subject of such an event;
- *probable*: the same, but the log does not say how the attempt ended; or the resource itself was searched
  (a query over a table shows contents, but the log does not say whose);
- *possible*: the attempt on that very resource or person failed or was denied, or the container of the
  resource was listed.

Listing a container names keys, not contents, so it never makes more than *possible*; a listing that failed or
was denied named nothing and makes nobody affected. Reading one object touches exactly the people whom the
inventory lists for that object, never those of its neighbours.

What data of theirs: only what the accesses of their own confidence reached. Whose record was read, and who
also stands in a file that was merely listed, is told of the record; the file's data are counted apart
(`Evidence.weaker`), for those who decide whether to look further.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import Any, Final, Literal, Protocol

from incidents.people.inventory import Holding
from ledger.encoding import canonical, parse
from ledger.merkle import inclusion_proof, leaf_hash, root_hash

Confidence = Literal["confirmed", "probable", "possible"]

ORDER: Final[tuple[Confidence, ...]] = ("confirmed", "probable", "possible")

CONTENT: Final = frozenset(
    f"data.{verb}"
    for verb in (
        "view",
        "download",
        "export",
        "print",
        "share",
        "disclose",
        "transfer",
        "decrypt",
        "reidentify",
        "modify",
        "delete",
    )
)
"""Actions (`family.verb`) that reach what a resource holds."""

LISTING: Final = frozenset({"data.search"})
"""Actions that show what there is, and of a container nothing more."""

FAILED: Final = frozenset({"denied", "failure", "error"})
"""Outcomes of an attempt that did not succeed; "" (the log does not say) is not among them."""

ENTRIES_SHOWN: Final = 50
"""Entries kept per member; their number is kept in full."""


class Accessed(Protocol):
    """What is needed of a row of the access index (`ledger.access.Access` has it)."""

    @property
    def index(self) -> int:
        """Leaf index of the entry."""

    @property
    def action(self) -> str:
        """`family.verb` of the event type, such as `data.download`."""

    @property
    def outcome(self) -> str:
        """success, failure, denied, error; "" where the log does not say."""

    @property
    def resource(self) -> str | None:
        """What was touched."""

    @property
    def subject(self) -> str | None:
        """Pseudonym of a person whom the event names."""


@dataclass(frozen=True)
class Profile:
    """What the directory says about one person; None where it does not say."""

    jurisdiction: str | None = None
    language: str | None = None
    born: date | None = None
    guardians: tuple[str, ...] = ()

    @classmethod
    def of(cls, profile: Mapping[str, Any]) -> Profile:
        """Read a vault profile; one that was made from an event alone has only an id."""
        born = profile.get("born")
        return cls(
            jurisdiction=profile.get("jurisdiction"),
            language=profile.get("language"),
            born=date.fromisoformat(born) if isinstance(born, str) else None,
            guardians=tuple(sorted(profile.get("guardians", ()))),
        )


@dataclass(frozen=True)
class Member:
    """One affected person.

    Attributes:
        ref: pseudonym.
        confidence: confirmed, probable or possible.
        jurisdiction: where they live, None when the directory does not say.
        language: BCP 47 tag they read, None when the directory does not say.
        under_18: a minor at the time of the incident.
        under_14: younger than 14 at the time of the incident.
        guardians: pseudonyms of their guardians.
        data_categories: kinds of data about them held where accesses of this confidence were.
        legal_classes: legal classes of that data.
        entries: leaf indices of the entries that put them here, the first `ENTRIES_SHOWN`.
        entry_count: how many entries there are in all.
    """

    ref: str
    confidence: Confidence
    jurisdiction: str | None
    language: str | None
    under_18: bool
    under_14: bool
    guardians: tuple[str, ...]
    data_categories: tuple[str, ...]
    legal_classes: tuple[str, ...]
    entries: tuple[int, ...]
    entry_count: int

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON values, the form that is hashed."""
        return {
            "confidence": self.confidence,
            "data_categories": list(self.data_categories),
            "entries": list(self.entries),
            "entry_count": self.entry_count,
            "guardians": list(self.guardians),
            "jurisdiction": self.jurisdiction,
            "language": self.language,
            "legal_classes": list(self.legal_classes),
            "ref": self.ref,
            "under_14": self.under_14,
            "under_18": self.under_18,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Member:
        """The inverse of `as_json`."""
        tuples = ("guardians", "data_categories", "legal_classes", "entries")
        return cls(**{**value, **{name: tuple(value[name]) for name in tuples}})

    def leaf(self) -> bytes:
        """Leaf hash of this member in the tree of the set."""
        return leaf_hash(canonical(self.as_json()))


@dataclass(frozen=True)
class Difference:
    """What two runs disagree on, by pseudonym."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]

    def counts(self) -> dict[str, int]:
        """The three numbers."""
        return {"added": len(self.added), "removed": len(self.removed), "changed": len(self.changed)}


@dataclass(frozen=True)
class AffectedSet:
    """A frozen set of affected people, members sorted by pseudonym."""

    members: tuple[Member, ...]

    @property
    def count(self) -> int:
        """How many people."""
        return len(self.members)

    @cached_property
    def root(self) -> str:
        """Merkle root (hex) over the members' leaves; SHA-256 of nothing for the empty set."""
        return root_hash([member.leaf() for member in self.members]).hex()

    def prove(self, ref: str) -> list[bytes] | None:
        """Audit path of a member to `root`, or None when the person is not in the set."""
        for index, member in enumerate(self.members):
            if member.ref == ref:
                return inclusion_proof([item.leaf() for item in self.members], index)
        return None

    def encode(self) -> bytes:
        """Canonical JSON of all members."""
        return canonical([member.as_json() for member in self.members])

    @classmethod
    def decode(cls, data: bytes) -> AffectedSet:
        """The inverse of `encode`."""
        return cls(tuple(Member.from_json(item) for item in parse(data)))

    def difference(self, before: AffectedSet) -> Difference:
        """What changed since an earlier run."""
        old = {member.ref: member for member in before.members}
        new = {member.ref: member for member in self.members}
        return Difference(
            added=tuple(ref for ref in new if ref not in old),
            removed=tuple(ref for ref in old if ref not in new),
            changed=tuple(ref for ref in new if ref in old and new[ref] != old[ref]),
        )

    def summary(self) -> dict[str, Any]:
        """The set in numbers, without a pseudonym: what an event and a page show."""
        members = self.members
        return {
            "by_confidence": {name: sum(m.confidence == name for m in members) for name in ORDER},
            "by_jurisdiction": _counted(m.jurisdiction or "unknown" for m in members),
            "by_language": _counted(m.language or "unknown" for m in members),
            "data_categories": sorted({item for m in members for item in m.data_categories}),
            "entries": sorted({item for m in members for item in m.entries})[:ENTRIES_SHOWN],
            "under_14": sum(m.under_14 for m in members),
            "under_18": sum(m.under_18 for m in members),
        }


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


class Evidence:
    """Collects what puts each person into the set; the order of arrival does not matter."""

    def __init__(self) -> None:
        self._sure: dict[str, Confidence] = {}
        self._entries: dict[str, set[int]] = {}
        self._categories: dict[tuple[str, Confidence], set[str]] = {}
        self._classes: dict[tuple[str, Confidence], set[str]] = {}

    def add(self, ref: str, confidence: Confidence, index: int, holding: Holding | None = None) -> None:
        """One reason why a person is affected."""
        held = self._sure.get(ref)
        if held is None or ORDER.index(confidence) < ORDER.index(held):
            self._sure[ref] = confidence
        self._entries.setdefault(ref, set()).add(index)
        if holding is not None:
            self._categories.setdefault((ref, confidence), set()).update(holding.categories)
            self._classes.setdefault((ref, confidence), set()).update(holding.legal_classes)

    def refs(self) -> list[str]:
        """Everybody found so far."""
        return sorted(self._sure)

    def weaker(self) -> dict[str, int]:
        """Data that only accesses of a lower confidence than the person's own reached: category to people."""
        found: dict[str, set[str]] = {}
        for (ref, confidence), categories in self._categories.items():
            own = self._sure[ref]
            if confidence != own:
                for category in categories - self._categories.get((ref, own), set()):
                    found.setdefault(category, set()).add(ref)
        return {category: len(found[category]) for category in sorted(found)}

    def member(self, ref: str, profile: Profile, occurred: date) -> Member:
        """The finished member."""
        entries, confidence = sorted(self._entries[ref]), self._sure[ref]
        return Member(
            ref=ref,
            confidence=confidence,
            jurisdiction=profile.jurisdiction,
            language=profile.language,
            under_18=younger(profile.born, occurred, 18),
            under_14=younger(profile.born, occurred, 14),
            guardians=profile.guardians,
            data_categories=tuple(sorted(self._categories.get((ref, confidence), ()))),
            legal_classes=tuple(sorted(self._classes.get((ref, confidence), ()))),
            entries=tuple(entries[:ENTRIES_SHOWN]),
            entry_count=len(entries),
        )


def younger(born: date | None, at: date, years: int) -> bool:
    """True when somebody born then has not had that birthday yet; unknown birth dates count as adult."""
    if born is None:
        return False
    # Whoever was born on 29 February comes of age on 1 March of a common year.
    return (at.year - born.year) - ((at.month, at.day) < (born.month, born.day)) < years


@dataclass(frozen=True)
class Meaning:
    """What one access means, by how it touched somebody; None for nobody.

    Attributes:
        named: for a person whom the event names.
        held: for those whose data the resource itself holds.
        inside: for those whose data lie in resources inside the resource.
    """

    named: Confidence
    held: Confidence
    inside: Confidence | None


def meaning_of(access: Accessed) -> Meaning | None:
    """What one access means for the people behind it; None when it reaches nobody's data."""
    if access.action not in CONTENT | LISTING:
        return None
    if access.outcome in FAILED:
        return Meaning(named="possible", held="possible", inside=None)
    named: Confidence = "confirmed" if access.outcome == "success" else "probable"
    if access.action in CONTENT:
        return Meaning(named, held=named, inside=None)
    # A search result that names people showed them; of the others in the resource it may have shown some.
    return Meaning(named, held="probable", inside="possible")


def collect(
    accesses: Iterable[Accessed],
    held_in: Callable[[str], Iterable[Holding]],
    held_below: Callable[[str], Iterable[Holding]],
) -> Evidence:
    """Join accesses to the inventory.

    Args:
        accesses: rows that matched the criteria, in any order.
        held_in: holdings of exactly one resource.
        held_below: holdings of everything inside a container.
    """
    evidence = Evidence()
    exact: dict[str, tuple[Holding, ...]] = {}
    below: dict[str, tuple[Holding, ...]] = {}
    for access in accesses:
        meaning = meaning_of(access)
        if meaning is None:
            continue
        if access.subject is not None:
            evidence.add(access.subject, meaning.named, access.index)
        if access.resource is None:
            continue
        if access.resource not in exact:
            exact[access.resource] = tuple(held_in(access.resource))
        for holding in exact[access.resource]:
            confidence = meaning.named if holding.subject == access.subject else meaning.held
            evidence.add(holding.subject, confidence, access.index, holding)
        if meaning.inside is None:
            continue
        if access.resource not in below:
            below[access.resource] = tuple(held_below(access.resource))
        for holding in below[access.resource]:
            evidence.add(holding.subject, meaning.inside, access.index, holding)
    return evidence


def freeze(evidence: Evidence, profiles: Mapping[str, Profile], occurred: datetime) -> AffectedSet:
    """The frozen set.

    Args:
        evidence: what `collect` found.
        profiles: by pseudonym; whoever is missing has no known jurisdiction, language or age.
        occurred: when the incident happened; ages are counted on its UTC date.
    """
    day = occurred.date()
    return AffectedSet(tuple(evidence.member(ref, profiles.get(ref, Profile()), day) for ref in evidence.refs()))
