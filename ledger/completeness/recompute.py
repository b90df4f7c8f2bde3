"""The auditor's half: compute every sealed root again from the log, and name the first that differs.

The index is fed from the log into a scratch database, stopping at each sealed size. An entry whose
payload was erased cannot say any more whom it named. For such entries the index's own memory is taken
as a *claim*: labels, which are hashes, without a name. When the claims give the root that was logged,
they are what was sealed; when they are missing, the root is reported as not recomputable, with the
number of entries that are in the way. It is never passed over in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final, Literal

from ledger.completeness import store
from ledger.completeness.check import Sealed, read_seal
from ledger.completeness.errors import ReportError
from ledger.completeness.index import KINDS, SEALED_TYPE, concerns, key_id
from ledger.completeness.source import LogSource
from ledger.entries import Entry, StoredEntry, commits_to
from ledger.errors import InputError, KeyMismatchError
from ledger.merkle import CompactRange, leaf_hash
from ledger.policy import parse_policy
from ledger.proofs import verify_checkpoint
from ledger.store.sqlite import connect
from ledger.vocabulary import OWN_SOURCE

State = Literal["matches", "mismatch", "cannot_recompute"]
PAGE: Final = 1000
Progress = Callable[[int, int], None]
"""Called with (entries indexed, entries in all)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one seal.

    Attributes:
        index: leaf index of the seal.
        kind, size: what it says it seals; "" and 0 when it cannot be read.
        state: the result.
        message: the result in words.
        erased: accesses below `size` whose payload is gone by now.
    """

    index: int
    kind: str
    size: int
    state: State
    message: str
    erased: int = 0


@dataclass(frozen=True, slots=True)
class Recomputation:
    """What came of all seals.

    Attributes:
        size: entries read.
        tree_root: the log's root over them, hex; it equals the signed one.
        findings: one per seal, in log order.
    """

    size: int
    tree_root: str
    findings: tuple[Finding, ...]

    @property
    def first_mismatch(self) -> Finding | None:
        """The first seal whose root is not what the log gives."""
        return next((finding for finding in self.findings if finding.state == "mismatch"), None)

    def as_json(self) -> dict[str, Any]:
        """The result for programs."""
        states = [finding.state for finding in self.findings]
        first = self.first_mismatch
        return {
            "verdict": "mismatch" if first else "cannot_recompute" if "cannot_recompute" in states else "matches",
            "size": self.size,
            "tree_root": self.tree_root,
            "first_mismatch": first.index if first else None,
            "seals": [
                {
                    "index": finding.index,
                    "kind": finding.kind,
                    "size": finding.size,
                    "state": finding.state,
                    "erased": finding.erased,
                    "message": finding.message,
                }
                for finding in self.findings
            ],
        }


@dataclass(frozen=True, slots=True)
class _Survey:
    """What the first pass found: seals by leaf index, bad seals, erased accesses, the log's root."""

    seals: tuple[tuple[int, Sealed], ...]
    bad: tuple[Finding, ...]
    erased: tuple[int, ...]
    size: int
    root: bytes


def recompute(
    source: LogSource, index_key: bytes, trust: str | bytes, *, progress: Progress = lambda _done, _total: None
) -> Recomputation:
    """Compute all sealed roots again.

    Args:
        source: the log, see `ledger.completeness.source`.
        index_key: the operator's index key, 32 bytes.
        trust: the log's verifier key (text), or a tlog-policy (bytes).
        progress: called now and then.

    Raises:
        VerificationError: the entries are not the ones that were signed.
        KeyMismatchError: no seal was made with this index key.
        InputError: an exported log is malformed.
    """
    policy = parse_policy(trust if isinstance(trust, bytes) else f"log {trust}\nquorum none\n".encode())
    checkpoint, _ = verify_checkpoint(source.checkpoint, policy)
    survey = _survey(source.read())
    if (checkpoint.origin, checkpoint.size, checkpoint.root) != (source.origin, survey.size, survey.root):
        raise ReportError("The entries do not hash to the root that was signed for them; run `tocsin verify`.")
    public = key_id(index_key)
    if survey.seals and all(seal.key != public for _, seal in survey.seals):
        raise KeyMismatchError("No seal of this log was made with this index key; ask the operator for the right one.")
    findings = [*survey.bad, *_compare(source, index_key, survey, progress)]
    findings.sort(key=lambda finding: finding.index)
    return Recomputation(survey.size, survey.root.hex(), tuple(findings))


def _survey(entries: Iterable[StoredEntry]) -> _Survey:
    tree = CompactRange()
    seals: list[tuple[int, Sealed]] = []
    bad: list[Finding] = []
    erased: list[int] = []
    for index, stored in enumerate(entries):
        entry = _decoded(stored, index)
        tree.extend((leaf_hash(stored.entry),))
        sealing = entry.type == SEALED_TYPE and entry.source == OWN_SOURCE
        if stored.payload is None:
            if sealing:
                bad.append(Finding(index, "", 0, "cannot_recompute", "The payload of the seal is gone."))
            elif concerns(entry.type):
                erased.append(index)
        elif sealing:
            try:
                seals.append((index, _plausible(read_seal(entry, stored.payload), index)))
            except ReportError as error:
                bad.append(Finding(index, "", 0, "mismatch", str(error)))
    return _Survey(tuple(seals), tuple(bad), tuple(erased), tree.size, tree.root())


def _plausible(seal: Sealed, index: int) -> Sealed:
    if seal.size > index or seal.kind not in KINDS:
        raise ReportError("The seal is of no known map, or claims to cover entries that came after it.")
    return seal


def _decoded(stored: StoredEntry, index: int) -> Entry:
    try:
        entry = stored.decode()
    except InputError as error:
        raise ReportError(f"Entry {index} is not what was recorded. {error}") from None
    if stored.index != index:
        raise ReportError(f"Entry {index} of the log is missing.")
    if stored.payload is not None and not commits_to(entry.commitment, stored.salt or b"", stored.payload):
        raise ReportError(f"The payload of entry {index} is not the one that was recorded.")
    return entry


def _compare(source: LogSource, index_key: bytes, survey: _Survey, progress: Progress) -> Iterator[Finding]:
    by_size: dict[int, list[tuple[int, Sealed]]] = {}
    for index, seal in survey.seals:
        by_size.setdefault(seal.size, []).append((index, seal))
    # An empty name makes a temporary database that SQLite spills to disk and removes when it is closed.
    with closing(connect("")) as connection, closing(source.read()) as entries:
        connection.executescript(f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; {store.TABLES};")
        done = 0
        for size in sorted(by_size):
            while done < size:
                page = list(islice(entries, min(PAGE, size - done)))
                if not page:
                    raise ReportError("The log became shorter while it was read; run the recomputation again.")
                connection.execute("BEGIN")
                store.absorb(connection, source.origin, index_key, page, source.claims)
                connection.execute("COMMIT")
                done += len(page)
                progress(done, survey.size)
            while not store.settle(connection):
                pass
            roots = {str(kind): store.root(connection, kind) for kind in KINDS}
            erased = [index for index in survey.erased if index < size]
            unknown = sum(index not in source.claims for index in erased)
            for index, seal in by_size[size]:
                finding = _judge(index, seal, roots[seal.kind], unknown, len(erased))
                yield finding if seal.key == key_id(index_key) else _other_key(finding)


def _judge(index: int, seal: Sealed, found: store.Root, unknown: int, erased: int) -> Finding:
    given = (seal.root, seal.count)
    if given == (found.root, found.count) and seal.unreadable <= found.unreadable:
        message = "The log gives the root that was sealed."
        if erased:
            message += f" {erased} of its accesses were erased since; {erased - unknown} are taken from the index."
        return Finding(index, seal.kind, seal.size, "matches", message, erased)
    if unknown > seal.unreadable:
        message = f"Cannot recompute {unknown} erased entries, so this root can neither be confirmed nor refuted."
        return Finding(index, seal.kind, seal.size, "cannot_recompute", message, erased)
    message = f"The log gives the root {found.root.hex()} with {found.count} keys, not the one that was sealed."
    return Finding(index, seal.kind, seal.size, "mismatch", message, erased)


def _other_key(finding: Finding) -> Finding:
    return replace(finding, state="mismatch", message="The seal was made with another index key than the others.")
