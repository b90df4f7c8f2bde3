"""Making a completeness report from a ledger. The file is verified before it is handed out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ledger import Ledger
from ledger.completeness import store
from ledger.completeness.check import Verdict, check_report, union
from ledger.completeness.errors import ReportError
from ledger.completeness.form import Proven, Report, Section
from ledger.completeness.index import Key, Kind, blind_of
from ledger.completeness.sealing import Seal, find_seals, index_key
from ledger.completeness.source import checked
from ledger.completeness.trie import MapProof
from ledger.encoding import format_time
from ledger.entries import StoredEntry
from ledger.errors import InputError, StoreBusyError, StoreDamagedError
from ledger.policy import parse_policy
from ledger.vault import REF


@dataclass(frozen=True, slots=True)
class Made:
    """A report with what it proves.

    Attributes:
        report: the report; `report.to_bytes()` is the file.
        verdict: what its own verification said.
    """

    report: Report
    verdict: Verdict


def subject_report(
    ledger: Ledger,
    ref: str,
    size: int | None = None,
    *,
    resources: Sequence[str] = (),
    payloads: bool = True,
) -> Made:
    """All accesses whose event names a person, and all to the given resources.

    Args:
        ledger: the ledger, sealed by `seal_index`.
        ref: the person's ref.
        size: a sealed size; None for the newest.
        resources: ids of resources to cover too, such as those the inventory says hold the person's data.
        payloads: False withholds what the events say; the proof that the list is complete remains.

    Raises:
        InputError: not the ref of a person.
        NotFoundError: the index was not sealed at that size.
        StoreDamagedError: the tables of the index do not hash to the root in the log.
        StoreBusyError: the tables are being made again.
    """
    if REF.fullmatch(ref) is None or not ref.startswith("s_"):
        raise InputError("This is not the ref of a person; it starts with s_ and 26 letters or digits follow.")
    keys = [Key("subject", ref), *(Key("resource", name) for name in dict.fromkeys(resources))]
    return make_report(ledger, keys, size, payloads=payloads)


def resource_report(ledger: Ledger, resource: str, size: int | None = None, *, payloads: bool = True) -> Made:
    """All accesses to a resource; errors and arguments as for `subject_report`."""
    return make_report(ledger, [Key("resource", resource)], size, payloads=payloads)


def make_report(ledger: Ledger, keys: Sequence[Key], size: int | None, *, payloads: bool = True) -> Made:
    """A report about several keys."""
    if any(not key.name for key in keys):
        raise InputError("The name of a resource is empty; give its id as the producers gave it.")
    found = find_seals(ledger, size)
    lists = [(key, *_look_up(ledger, key, found[key.kind])) for key in keys]
    kinds: list[Kind] = [key.kind for key in keys]
    wanted = [
        *sorted({index for _, positions, _ in lists for index in positions}),
        *(found[kind].index for kind in kinds),
    ]
    checkpoint, paths = ledger.inclusion_paths(wanted)
    path_of = dict(zip(wanted, map(tuple, paths), strict=True))
    origin, key_bytes = ledger.origin, index_key(ledger)
    sections = tuple(
        Section(
            key,
            blind_of(key_bytes, key.label(origin)) if positions else None,
            tuple(positions),
            Proven(checked(ledger.entry(found[key.kind].index)), path_of[found[key.kind].index]),
            proof,
        )
        for key, positions, proof in lists
    )
    accesses = [_access(checked(ledger.entry(index)), path_of[index], payloads=payloads) for index in union(sections)]
    report = Report(
        origin, found[kinds[0]].root.size, format_time(ledger.clock()), checkpoint, sections, tuple(accesses)
    )
    try:
        verdict = check_report(report, parse_policy(f"log {ledger.vkey}\nquorum none\n".encode()))
    except ReportError as error:
        raise StoreDamagedError(
            f"No report was made: what is stored does not prove itself. {error} "
            "Run `tocsin verify` and `tocsin report recompute` to see what is damaged.",
        ) from None
    return Made(report, verdict)


def _look_up(ledger: Ledger, key: Key, seal: Seal) -> tuple[list[int], MapProof]:
    """The list of a key and its proof at a sealed size."""
    label, size = key.label(ledger.origin), seal.root.size
    with ledger.database.read() as connection:
        read = store.tracked(connection)
        if read < size:
            raise StoreBusyError(
                f"The index is being made again and has read {read} of the {size} entries that were sealed; no report "
                "was made. Wait for `tocsin rebuild` to end, or run it again if it was cut short."
            )
        positions = store.positions(connection, key.kind, label, size)
        if read == size and store.settled(connection):
            return positions, store.prove(connection, key.kind, label)
        _, proof = store.prove_at(connection, index_key(ledger), key.kind, label, size)
    return positions, proof


def _access(stored: StoredEntry, path: tuple[bytes, ...], *, payloads: bool) -> Proven:
    if stored.payload is None or stored.salt is None:
        return Proven(StoredEntry(stored.index, stored.entry, None, None), path, "erased")
    if not payloads:
        return Proven(StoredEntry(stored.index, stored.entry, None, None), path, "withheld")
    return Proven(stored, path)
