"""Verifying a completeness report offline: no database, no network, no clock.

What a good report proves, each step hashed again:

1. The checkpoint is signed, and cosigned as the policy asks.
2. The entry that seals the index is in the log, and its payload is the one that was committed.
3. The sealed map holds exactly this list of positions for this key, or nothing for it. A root has one
   answer for each key, so another list cannot be shown under it.
4. Every listed entry is in the log at that index, and where its payload is shown it is the one that
   was committed and names the key.

What it cannot prove alone: that the sealed root is right. Whoever holds the log can compute it again
(`ledger.completeness.recompute`), and the log cannot take a wrong one back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from ledger.checkpoint import Checkpoint
from ledger.completeness.errors import ReportError
from ledger.completeness.form import Proven, Report, Section
from ledger.completeness.index import CONSTRUCTION, SEALED_TYPE, Key, Positions, concerns, touched
from ledger.completeness.trie import HASH_SIZE, verify_absent, verify_present
from ledger.encoding import parse_strict
from ledger.entries import Entry, commits_to
from ledger.errors import InputError, ProofError
from ledger.merkle import leaf_hash, verify_inclusion
from ledger.policy import Policy, parse_policy
from ledger.proofs import verify_checkpoint
from ledger.vocabulary import OWN_SOURCE

_SEAL_FIELDS: Final = frozenset(("construction", "kind", "size", "root", "count", "unreadable", "key"))


@dataclass(frozen=True, slots=True)
class Sealed:
    """What an entry of type `org.tocsin.index.sealed.v1` says."""

    kind: str
    size: int
    root: bytes
    count: int
    unreadable: int
    key: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a report was found to prove.

    Attributes:
        origin: the log.
        size: the report covers entries 0 to size - 1.
        tree_size, tree_root: the signed tree; root hex.
        cosigned: (witness key name, POSIX seconds) of each verified cosignature.
        keys: what the report is about, with the number of accesses and the index of the seal.
        accesses: entries in all; of these, `erased` and `withheld` came without a payload.
        unreadable: accesses that the index could not read when it was sealed.
    """

    origin: str
    size: int
    tree_size: int
    tree_root: str
    cosigned: tuple[tuple[str, int], ...]
    keys: tuple[tuple[Key, int, int], ...]
    accesses: int
    erased: int
    withheld: int
    unreadable: int

    @property
    def proven(self) -> list[str]:
        """What follows from the report, in words."""
        lines = [
            f"Entries 0 to {self.size - 1} of {self.origin}: the sealed index lists {count} for this {key.kind}, "
            f"and this report has {'all of them' if count else 'nothing left out'} (seal: entry {index})."
            for key, count, index in self.keys
        ]
        seen = self.accesses - self.erased - self.withheld
        lines.append(f"{self.accesses} entries are in the signed log; {seen} show what was committed and name the key.")
        return lines

    @property
    def not_proven(self) -> list[str]:
        """What does not follow from the report, in words."""
        lines = [
            "that the sealed root is what the log gives: an auditor computes it again with `tocsin report recompute`",
            "that every access was reported to the ledger, or that what was reported is true",
            "accesses whose event names a container or a search and not this person or resource",
            f"anything after entry {self.size - 1}",
        ]
        if all(key.kind == "subject" for key, _, _ in self.keys):
            lines.append("accesses to resources that hold this person's data, where the event named no person")
        if self.erased or self.withheld:
            lines.append(
                f"what {self.erased + self.withheld} of the entries say: their payloads were erased ({self.erased}) "
                f"or withheld ({self.withheld}); that they name the key rests on the sealed index"
            )
        if self.unreadable:
            lines.append(f"whom {self.unreadable} accesses named that were erased before the index read them")
        if not self.cosigned:
            lines.append("that the log has shown everybody the same entries: no witness has cosigned")
        return lines

    def as_json(self) -> dict[str, Any]:
        """The verdict for programs."""
        return {
            "verdict": "proven",
            "origin": self.origin,
            "size": self.size,
            "tree_size": self.tree_size,
            "tree_root": self.tree_root,
            "cosigned": [{"name": name, "time": time} for name, time in self.cosigned],
            "keys": [
                {"kind": key.kind, "key": key.name, "accesses": count, "seal": index} for key, count, index in self.keys
            ],
            "accesses": self.accesses,
            "erased": self.erased,
            "withheld": self.withheld,
            "unreadable": self.unreadable,
            "proven": self.proven,
            "not_proven": self.not_proven,
        }


def verify_report(data: bytes, trust: str | bytes) -> Verdict:
    """Verify a report.

    Args:
        data: the file.
        trust: the log's verifier key (text), or a tlog-policy (bytes).

    Raises:
        ReportError: it does not prove what it claims, or is malformed (`MalformedReportError`).
        NoteError: the checkpoint is malformed or the log did not sign it.
        PolicyError: the policy is malformed, does not know the log, or its quorum is not reached.
    """
    policy = parse_policy(trust if isinstance(trust, bytes) else f"log {trust}\nquorum none\n".encode())
    return check_report(Report.parse(data), policy)


def check_report(report: Report, policy: Policy) -> Verdict:
    """Verify a parsed report; see `verify_report`."""
    checkpoint, cosigned = verify_checkpoint(report.checkpoint, policy)
    if checkpoint.origin != report.origin:
        raise ReportError("The report names another log than its checkpoint.")
    if not report.size <= checkpoint.size:
        raise ReportError("The report covers more entries than its checkpoint signs.")
    keys = [section.key for section in report.sections]
    if len(set(keys)) != len(keys):
        raise ReportError("The report has two sections about one key.")
    seals = [_check_section(section, report, checkpoint) for section in report.sections]
    _check_accesses(report, checkpoint)
    return Verdict(
        report.origin,
        report.size,
        checkpoint.size,
        checkpoint.root.hex(),
        cosigned,
        tuple((section.key, len(section.positions), section.seal.stored.index) for section in report.sections),
        len(report.accesses),
        sum(access.state == "erased" for access in report.accesses),
        sum(access.state == "withheld" for access in report.accesses),
        max(seal.unreadable for seal in seals),
    )


def read_seal(entry: Entry, payload: bytes) -> Sealed:
    """Read the event that sealed a root.

    Raises:
        ReportError: it is none.
    """
    if entry.type != SEALED_TYPE or entry.source != OWN_SOURCE:
        raise ReportError("The entry shown as seal is not the log's own seal of an index.")
    try:
        value = parse_strict(payload)
    except InputError:
        value = None
    data = value.get("data") if isinstance(value, dict) and value.keys() == {"data"} else None
    if not isinstance(data, dict) or data.keys() != _SEAL_FIELDS or data["construction"] != CONSTRUCTION:
        raise ReportError("The seal of the index does not have the fields of one this program knows.")
    numbers = [data[name] for name in ("size", "count", "unreadable")]
    texts = [data[name] for name in ("kind", "root", "key")]
    if any(type(item) is not int or item < 0 for item in numbers) or any(type(item) is not str for item in texts):
        raise ReportError("A field of the seal of the index has the wrong type.")
    try:
        root = bytes.fromhex(data["root"])
    except ValueError:
        root = b""
    if len(root) != HASH_SIZE or root.hex() != data["root"]:
        raise ReportError("The root in the seal of the index is not 32 bytes in hex.")
    return Sealed(data["kind"], data["size"], root, data["count"], data["unreadable"], data["key"])


def _check_section(section: Section, report: Report, checkpoint: Checkpoint) -> Sealed:
    stored = section.seal.stored
    if stored.payload is None:
        raise ReportError("The seal of the index has no payload, so its root is not known.")
    seal = read_seal(_check_entry(section.seal, checkpoint, "The seal of the index"), stored.payload)
    if (seal.kind, seal.size) != (section.key.kind, report.size):
        raise ReportError("The seal is of another map or another size than the report says.")
    if not seal.size <= stored.index:
        raise ReportError("The seal claims to cover entries that came after it.")
    positions = section.positions
    if any(before >= after for before, after in pairwise(positions)) or (positions and positions[-1] >= report.size):
        raise ReportError("The positions of a section do not rise, or lie beyond the size of the report.")
    if not positions and section.blind is not None:
        raise ReportError("A section without accesses gives a blind, which opens nothing there.")
    label = _label(section.key, report.origin)
    try:
        if not positions:
            verify_absent(seal.root, label, section.proof)
        elif section.blind is None:
            raise ReportError("A section lists accesses without the blind that opens the sealed list.")
        else:
            leaf = Positions.empty(section.blind, label).extended(positions).leaf(label)
            verify_present(seal.root, leaf, section.proof)
    except ProofError as error:
        raise ReportError(
            f"The accesses of a section are not exactly those the index lists: some are left out, added or moved. "
            f"{error}"
        ) from None
    return seal


def _label(key: Key, origin: str) -> bytes:
    try:
        return key.label(origin)
    except InputError as error:
        raise ReportError(str(error)) from None


def _check_accesses(report: Report, checkpoint: Checkpoint) -> None:
    listed = union(report.sections)
    given = [access.stored.index for access in report.accesses]
    if given != listed:
        raise ReportError("The entries of the report are not those its sections list, each once and in order.")
    lists = [(section.key, frozenset(section.positions)) for section in report.sections]
    for access in report.accesses:
        index = access.stored.index
        entry = _check_entry(access, checkpoint, f"Entry {index}")
        if not concerns(entry.type):
            raise ReportError(f"Entry {index} is listed as an access, and its type is not one of an access.")
        if access.stored.payload is None:
            continue
        named = touched(access.stored)
        for key, positions in lists:
            if (key in named) != (index in positions):
                raise ReportError(f"Entry {index} and the sealed index disagree on whether it names a key.")


def _check_entry(proven: Proven, checkpoint: Checkpoint, what: str) -> Entry:
    """Check that an entry is in the tree and that the payload, if there is one, is what it commits to."""
    stored = proven.stored
    try:
        verify_inclusion(stored.index, checkpoint.size, leaf_hash(stored.entry), proven.path, checkpoint.root)
        entry = stored.decode()
    except (ProofError, InputError) as error:
        raise ReportError(f"{what} is not what the signed log has at that index. {error}") from None
    if (
        stored.payload is not None
        and stored.salt is not None
        and not commits_to(entry.commitment, stored.salt, stored.payload)
    ):
        raise ReportError(f"{what}: the payload is not the one that was recorded.")
    return entry


def union(sections: Sequence[Section]) -> list[int]:
    """Leaf indices that any of the sections lists, rising."""
    return sorted({index for section in sections for index in section.positions})
