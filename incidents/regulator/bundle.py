"""The regulator's file: one zip that proves itself, offline and without us.

What goes in: the incident's own events, the accesses its search matched, the loads of inventory and
directory, the blocks of dispatch receipts, key events; each with its inclusion path to one signed
checkpoint. Beside them the frozen list of affected people under pseudonyms, the receipts, the report, the
public key, a policy to pin and the verifier. The format is described in docs/bundle.md.

No name, address or key of the vault goes in: whatever is here was read from the log, where none is.
`assemble` is pure; `collect` reads the ledger; `write_bundle` checks the result before it is named.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from incidents.case.records import Status
from incidents.regulator.report import complete, render_pdf, stated_duties
from incidents.views.wording import EXERCISE_BANNER
from ledger import Criteria, Ledger, StoredEntry, verify_bundle
from ledger.checkpoint import Checkpoint
from ledger.container import pack
from ledger.encoding import canonical, parse
from ledger.errors import TocsinError
from ledger.notes import Signer, sign_note, split_note
from ledger.rotation import COMPROMISED, PURPOSE, ROTATED, Rotation
from ledger.store.connection import Row
from ledger.vocabulary import OWN_SOURCE
from notifiers import outbox

if TYPE_CHECKING:
    from incidents.service import IncidentService
    from incidents.views import IncidentView

_BESIDE: Final = (
    "org.tocsin.logging.started.v1",
    "org.tocsin.ledger.succeeded.v1",
    "org.tocsin.directory.loaded.v1",
    "org.tocsin.inventory.loaded.v1",
    "org.tocsin.key.created.v1",
    ROTATED,
    COMPROMISED,
    "org.tocsin.key.destroyed.v1",
)
"""Events that every bundle holds: which log this is, which keys signed it, what was known about whom."""

_ABOUT: Final = (
    *(f"org.tocsin.dispatch.{verb}.v1" for verb in ("planned", "recorded", "halted", "paused", "resumed")),
    *(f"org.tocsin.dispatch.{verb}.v1" for verb in ("cancelled", "expired", "finished")),
    *(f"org.tocsin.deadline.{verb}.v1" for verb in ("reminded", "missed")),
)
"""Events outside the incident's stream that are about it when they carry its id."""

_PAGE: Final = 1000
_TRIES: Final = 5


class BundleError(TocsinError):
    """The bundle could not be made; no file was left behind."""


@dataclass(frozen=True)
class Material:
    """What a bundle is made of, all of it read at one tree head.

    Attributes:
        incident: short id.
        stream: UUID of the incident's event stream, as entries write it.
        keys: the ledger's public keys, oldest first; the last one signs.
        checkpoint: the signed tree head to which all paths lead.
        entries: in log order.
        paths: inclusion path of each entry.
        members: the frozen set of affected people, one JSON object each, in the order that was hashed.
        receipts: (index of the block's entry, leaf) in log order.
    """

    incident: str
    stream: str
    keys: tuple[str, ...]
    checkpoint: bytes
    entries: tuple[StoredEntry, ...]
    paths: tuple[Sequence[bytes], ...]
    members: tuple[Mapping[str, Any], ...]
    receipts: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True)
class Written:
    """A finished bundle.

    Attributes:
        path: where it is.
        size: bytes.
        digest: hex SHA-256 of the file.
        checkpoint: the signed tree head it proves against.
        status: Actual, or Exercise for the bundle of a drill.
        verification: what the verifier said about it.
    """

    path: Path
    size: int
    digest: str
    checkpoint: bytes
    status: Status
    verification: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {
            "bytes": self.size,
            "file": str(self.path),
            "sha256": self.digest,
            "status": self.status,
            "verification": dict(self.verification),
        }


def assemble(
    material: Material,
    signer: Signer,
    *,
    stated: Mapping[tuple[str, str], Mapping[str, Any]],
    made: datetime,
    verifier: bytes,
) -> bytes:
    """The bytes of the bundle; the same material and instant give the same bytes.

    Args:
        material: what goes in.
        signer: the ledger's key; it signs the manifest.
        stated: what only the present knows of each (duty, stage), such as the local time of its limit.
        made: when the report is made (aware).
        verifier: source of the single-file verifier.
    """
    text, _ = split_note(material.checkpoint)
    head = Checkpoint.parse(text)
    about = {
        "incident": material.incident,
        "stream": material.stream,
        "origin": head.origin,
        "size": head.size,
        "root": head.root.hex(),
    }
    lines = [_entry_line(stored, path) for stored, path in zip(material.entries, material.paths, strict=True)]
    receipts = [{"block": block, "leaf": parse(leaf)} for block, leaf in material.receipts]
    derived = verify_bundle.derive_bundle(
        about,
        [_disclosed(stored, line) for stored, line in zip(material.entries, lines, strict=True)],
        [dict(member) for member in material.members],
        receipts,
    )
    vkey = material.keys[-1]
    report = canonical(complete(derived, stated, vkey=vkey, made=made))
    policy = f"# The ledger this bundle came from. Pin it only if you got the key elsewhere.\nlog {vkey}\n"
    readme = README.format(incident=material.incident, origin=head.origin, size=head.size)
    if derived["incident"].get("status") == "Exercise":
        readme = f"{EXERCISE_BANNER}\n\n{readme}"
    files = {
        "README.txt": readme.encode(),
        "affected.ndjson": _ndjson(material.members),
        "checkpoint": material.checkpoint,
        "entries.ndjson": _ndjson(lines),
        "keys.txt": "".join(f"{key}\n" for key in material.keys).encode(),
        "policy": f"{policy}quorum none\n".encode(),
        "receipts.ndjson": _ndjson(receipts),
        "report.json": report,
        "report.pdf": render_pdf(parse(report), hashlib.sha256(report).hexdigest()),
        "verify_bundle.py": verifier,
    }
    return seal(about, files, signer)


def seal(about: Mapping[str, Any], files: Mapping[str, bytes], signer: Signer) -> bytes:
    """Sign the list of files and pack everything.

    Args:
        about: incident, stream, origin, size and root (hex) of the manifest's head.
        files: everything except the manifest.
        signer: the ledger's key.
    """
    root = base64.b64encode(bytes.fromhex(about["root"])).decode()
    text = [
        verify_bundle.FORMAT,
        f"incident {about['incident']}",
        f"stream {about['stream']}",
        f"origin {about['origin']}",
        f"size {about['size']}",
        f"root {root}",
    ]
    text += [f"{hashlib.sha256(files[name]).hexdigest()} {len(files[name])} {name}" for name in sorted(files)]
    note = sign_note("".join(f"{line}\n" for line in text), [signer])
    return pack({**files, verify_bundle.MANIFEST: note})


def _entry_line(stored: StoredEntry, path: Sequence[bytes]) -> dict[str, Any]:
    known = stored.payload is not None and stored.salt is not None
    return {
        "entry": _base64(stored.entry),
        "index": stored.index,
        "path": [_base64(node) for node in path],
        "payload": _base64(stored.payload) if known else None,
        "salt": _base64(stored.salt) if known else None,
        "withheld": None if known else "erased",
    }


def _disclosed(stored: StoredEntry, line: Mapping[str, Any]) -> tuple[int, dict[str, Any], Any, str | None]:
    payload = None if stored.payload is None or line["withheld"] else parse(stored.payload)
    return stored.index, parse(stored.entry), payload, line["withheld"]


def _base64(data: bytes | None) -> str:
    return base64.b64encode(data or b"").decode()


def _ndjson(rows: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(canonical(row) + b"\n" for row in rows)


def collect(ledger: Ledger, service: IncidentService, incident: str) -> tuple[Material, IncidentView]:
    """Read everything the bundle holds, at one tree head.

    Raises:
        IncidentNotFoundError: no such incident.
        BundleError: the incident kept changing while it was read.
    """
    for _ in range(_TRIES):
        view = service.view(incident)
        own = ledger.stream_entries(UUID(view.uuid))
        members = tuple(member.as_json() for member in service.affected(incident).members) if view.affected else ()
        receipts = tuple(_receipts(ledger, incident))
        wanted = {stored.index: stored for stored in own}
        others = {*_beside(ledger, incident), *_matched(ledger, view, members), *(block for block, _ in receipts)}
        wanted.update(_read(ledger, others - wanted.keys()))
        indices = sorted(wanted)
        checkpoint, paths = ledger.inclusion_paths(indices)
        entries = tuple(wanted[index] for index in indices)
        keys = _keys(entries, ledger.origin) or (ledger.vkey,)
        if keys[-1] != ledger.vkey:
            ledger.reload()  # another program changed the key while this one had the ledger open
        # A change between the first read and the last would make report, keys and entries disagree.
        if len(own) == view.version == service.view(incident).version and keys[-1] == ledger.vkey:
            material = Material(incident, view.uuid, keys, checkpoint, entries, tuple(paths), members, receipts)
            return material, view
    raise BundleError(f"Incident {incident} kept changing while the bundle was made; try again in a moment.")


def _read(ledger: Ledger, indices: Iterable[int]) -> Iterator[tuple[int, StoredEntry]]:
    """Entries by leaf index, neighbours in one query."""
    run: list[int] = []
    for index in (*sorted(indices), None):
        if run and (index is None or index != run[-1] + 1):
            for stored in ledger.entries(run[0], run[-1] + 1):
                yield stored.index, stored
            run = []
        if index is not None:
            run.append(index)


def _beside(ledger: Ledger, incident: str) -> list[int]:
    """Leaf indices of the events outside the incident's own stream that belong into its bundle."""
    found: list[int] = []
    start = 1
    while page := ledger.recorder.select_notifications(start, _PAGE, topics=(*_BESIDE, *_ABOUT)):
        found += [
            item.id - 1
            for item in page
            if item.topic in _BESIDE or (item.state and parse(item.state).get("correlationid") == incident)
        ]
        start = page[-1].id + 1
    return found


def _keys(entries: Iterable[StoredEntry], origin: str) -> tuple[str, ...]:
    """The keys that the rotations among the entries lead through, oldest first; none without a rotation.

    Raises:
        RotationError: a rotation is not vouched for by both keys.
    """
    keys: list[str] = []
    for stored in entries:
        if stored.payload is None or (stored.decode().type, stored.decode().source) != (ROTATED, OWN_SOURCE):
            continue
        data = parse(stored.payload).get("data") or {}
        if data.get("purpose") == PURPOSE:
            rotation = Rotation.read(data, origin, stored.index)
            keys += [rotation.new] if keys else [rotation.old, rotation.new]
    return tuple(keys)


def _matched(ledger: Ledger, view: IncidentView, members: Sequence[Mapping[str, Any]]) -> set[int]:
    """The accesses on which the frozen list rests, and all others that the same search matches."""
    if view.affected is None:
        return set()
    known = {field.name for field in fields(Criteria)}
    criteria = Criteria(**{name: value for name, value in view.affected.criteria.items() if name in known})
    matched = {access.index for access in ledger.access.matches(criteria, view.affected.log_size)}
    return matched | {index for member in members for index in member["entries"]}


def _receipts(ledger: Ledger, incident: str) -> list[tuple[int, bytes]]:
    ledger.database.ensure(outbox.TABLES)
    with ledger.database.read() as connection:
        rows: list[Row] = connection.execute(
            "SELECT b.entry, a.leaf FROM outbox_attempt a JOIN outbox_block b ON b.id = a.block"
            " JOIN outbox_campaign c ON c.campaign = b.campaign WHERE c.incident = ?"
            " ORDER BY b.entry, a.position",
            (incident,),
        ).fetchall()
    return [(row["entry"], row["leaf"]) for row in rows]


def write_bundle(ledger: Ledger, service: IncidentService, incident: str, path: Path) -> Written:
    """Make the bundle of an incident, verify it, and only then give it its name.

    Raises:
        IncidentNotFoundError: no such incident.
        BundleError: the file cannot be written, or what was made does not verify.
    """
    material, view = collect(ledger, service, incident)
    source = Path(verify_bundle.__file__).read_bytes()
    data = assemble(material, ledger.signer, stated=stated_duties(view), made=ledger.clock(), verifier=source)
    result = verify_bundle.verify_bytes(data, vkey=ledger.vkey)
    if result["exit_code"] != 0:
        raise BundleError(
            f"The bundle does not verify ({result['kind']} at {result['where']}: {result['message']}) "
            "and was not written. Run `tocsin verify` to see what is damaged in the ledger."
        )
    _write(path, data)
    digest = hashlib.sha256(data).hexdigest()
    return Written(path, len(data), digest, material.checkpoint, view.status, result)


def _write(path: Path, data: bytes) -> None:
    """Write durably under another name first: a full disk leaves no half a bundle."""
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise BundleError(
            f"The bundle cannot be written to {path}: {error.strerror}. Free space or choose another place with -o."
        ) from error


README: Final = """\
INCIDENT {incident}
Evidence bundle of the audit ledger {origin}, tree of {size} entries.

WHAT THIS IS
report.pdf        the report, for people
report.json       the same content, for machines
entries.ndjson    the ledger entries that matter, each with the proof that it is in the ledger
affected.ndjson   the people found to be affected, under pseudonyms
receipts.ndjson   what was handed to whom for delivery, under pseudonyms
checkpoint        the ledger's signed state, to which every proof leads
manifest.note     the signed list of all these files
keys.txt          the ledger's public keys, oldest first; the last one signed this
policy            the last key, as a policy
verify_bundle.py  a program that checks all this

HOW TO CHECK IT
You need Python 3.8 or newer, nothing else, and no network:

    python verify_bundle.py FILE.zip --vkey KEY

Ask the organisation for KEY by another way than this file (a letter, its web site, a call). If you have an
older key of this ledger, it serves too: the program follows how each key was replaced by the next. Take
verify_bundle.py from the Tocsin repository if you can: whoever could forge this bundle could also replace
the copy in it. Exit status 0 is intact, 2 damaged, 3 not signed as KEY demands, 4 unreadable.

WHAT IS PROVEN, IF IT SAYS INTACT
- No byte of this file was changed since the ledger signed it.
- Every entry here is in the ledger whose state the checkpoint signs, unchanged since it was recorded.
- The events of this incident are complete up to the last one here.
- The list of affected people is the one that was frozen, and its counts are right.
- Every notice that was sent had been approved, word for word, by somebody other than its author.
- The receipts are those recorded at the time, and the numbers in the report are theirs.
- report.json says what the entries say, number by number and decision by decision.

WHAT IS NOT PROVEN
- That a recorded statement is true. The ledger shows who said what and when.
- That an access was recorded at all, if a system never reported it.
- That the key belongs to the organisation, unless you got it by another way.
- That report.pdf shows what report.json says; compare the two where it matters.
- That the law was read rightly. This is not legal advice; entries marked "recalled" need counsel.

Names and addresses are not in this file. The organisation can tell you who a pseudonym is, where the law
lets it, for as long as that person's data has not been erased.
"""
