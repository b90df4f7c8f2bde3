"""Forgetting, wired to what lies above the ledger: incidents that need people, letters that name them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from api.sealing import sealed
from incidents.case.staff import normalise
from incidents.errors import IncidentNotFoundError
from incidents.service import IncidentService
from ledger import Criteria, Ledger
from ledger.completeness import seal_index
from ledger.encoding import canonical, parse
from ledger.errors import ErasedError, InputError, NotFoundError
from ledger.forgetting.wiping import wiping_of
from ledger.vault import REF, Kind
from notifiers import outbox
from notifiers.adapters.letter import MANIFEST, LetterAdapter
from notifiers.config import read_config
from notifiers.files import write_atomically
from notifiers.identity import step_id


class IncidentCases:
    """`ledger.forgetting.cases.Cases` over the incidents of a ledger."""

    def __init__(self, service: IncidentService) -> None:
        self._service = service

    def affecting(self, ref: str) -> Sequence[str]:
        """Open incidents whose frozen list names the person, or a child whose guardian they are."""
        return [case for case in self.open() if self._names(case, ref)]

    def concerns(self, case: str, ref: str) -> bool:
        """Whether an incident names the person; True while it has not been scoped, or is not known."""
        with suppress(IncidentNotFoundError):
            return not self._scoped(case) or self._names(case, ref)
        return True

    def open(self) -> Sequence[str]:
        """Ids of the incidents that are not closed, oldest first."""
        return [summary.id for summary in reversed(self._service.list()) if not summary.closed]

    def unscoped(self) -> Sequence[str]:
        """Open incidents of which it is not known yet whom they affect."""
        return [case for case in self.open() if not self._scoped(case)]

    def evidence(self, case: str) -> frozenset[int] | None:
        """Entries that the last search of an incident matched; None before it was scoped."""
        with suppress(IncidentNotFoundError):
            scope = self._service.view(case).affected
            if scope is None:
                return None
            known = {field.name for field in fields(Criteria)}
            asked = Criteria(**{name: value for name, value in scope.criteria.items() if name in known})
            matched = {access.index for access in self._service.ledger.access.matches(asked, scope.log_size)}
            return frozenset(matched | {index for member in self._members(case) for index in member.entries})
        return None

    def _scoped(self, case: str) -> bool:
        return self._service.view(case).affected is not None

    def _names(self, case: str, ref: str) -> bool:
        return any(ref == member.ref or ref in member.guardians for member in self._members(case))

    def _members(self, case: str) -> Iterable[Any]:
        try:
            return self._service.affected(case).members
        except ErasedError:
            return ()


def who(ledger: Ledger, by: str) -> str:
    """The pseudonym of who acts, as incidents give it.

    Raises:
        InputError: nothing was given.
    """
    identity = normalise(by)
    with ledger.database.write() as connection:
        known = connection.execute(
            "SELECT ref FROM vault WHERE lookup = ?", (ledger.vault.lookup("actor", identity),)
        ).fetchone()
        return str(known["ref"]) if known else ledger.vault.refer(connection, "actor", identity, {"name": by.strip()})


def resolve(ledger: Ledger, kind: Kind, identity: str) -> str:
    """The ref of somebody named by ref or by identity.

    Raises:
        NotFoundError: the vault has never seen them, or they were erased.
    """
    identity = identity.strip()
    if REF.fullmatch(identity):
        return identity
    if not identity:
        raise InputError("An identity is empty; give an id, or - to read ids from standard input.")
    ref = ledger.vault.find(kind, identity)
    if ref is None:
        raise NotFoundError(f"The vault knows no {kind} of that identity; nobody was erased or held.")
    return ref


def prepare_forgetting(
    ledger: Ledger, *, wipe: bool, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> None:
    """What has to stand before anything is destroyed: room to wipe the store, and sealed roots of the index.

    The index remembers whom an entry named whose payload is destroyed; a root that was in the log before shows
    that this memory was not made up afterwards.

    Args:
        ledger: where.
        wipe: the store is written anew afterwards.
        progress: called with (entries indexed, entries in all).

    Raises:
        StoreFullError: there is no room; nothing was done.
    """
    if wipe:
        wiping_of(ledger.database).check_room()
    size = sealed(ledger).size
    with ledger.database.read() as connection:
        unsealed = connection.execute(
            # "/" follows "." in ASCII: all types but Tocsin's own, whose payloads are never destroyed.
            "SELECT 1 FROM event WHERE position > ? AND (topic < 'org.tocsin.' OR topic >= 'org.tocsin/') LIMIT 1",
            (size,),
        ).fetchone()
    if unsealed is not None:
        seal_index(ledger, progress=progress)


def letter_copies(ledger: Ledger, directory: Path) -> Callable[[Sequence[int]], Mapping[str, int]]:
    """Deletes the letters that Tocsin wrote to, or about, the people of some erasures.

    The configuration is read now, so that a broken one stops an erasure before it begins.

    Raises:
        AdapterError: `notifiers.toml` is not usable.
    """
    folders = [item.folder for item in read_config(directory).adapters if isinstance(item, LetterAdapter)]

    def delete(events: Sequence[int]) -> Mapping[str, int]:
        refs = {ref for index in events if (ref := _erased_by(ledger, index)) is not None}
        return {"letters": sum(_delete_letters(ledger, folder, refs) for folder in folders)} if refs else {}

    return delete


def _erased_by(ledger: Ledger, index: int) -> str | None:
    payload = ledger.entry(index).payload
    ref = None if payload is None else parse(payload)["data"].get("ref")
    return ref if isinstance(ref, str) else None


def _delete_letters(ledger: Ledger, folder: Path, refs: set[str]) -> int:
    ledger.database.ensure(outbox.TABLES)
    deleted = 0
    for campaign, names in _letters_of(ledger, refs).items():
        place = folder / campaign
        for name in names:
            for path in (place / f"{name}.pdf", place / f".{name}.pdf.partial"):
                if path.exists():
                    path.unlink()
                    deleted += 1
        _forget_lines(place / MANIFEST, names)
    return deleted


def _letters_of(ledger: Ledger, refs: set[str]) -> dict[str, set[str]]:
    """Campaign -> names that letters to or about these people have, whatever text they had."""
    found: dict[str, set[str]] = {}
    with ledger.database.read() as connection:
        for ref in sorted(refs):
            rows = connection.execute(
                "SELECT campaign, person, addressee, step FROM outbox_step WHERE channel = 'letter'"
                " AND (person = ? OR addressee = ?)",
                (ref, ref),
            ).fetchall()
            for row in rows:
                key = outbox.load(connection, row["campaign"]).key
                for message in outbox.messages_of(connection, row["campaign"]):
                    name = step_id(
                        key,
                        person=row["person"],
                        addressee=row["addressee"],
                        channel="letter",
                        step=row["step"],
                        notice=message.content_hash,
                    )
                    found.setdefault(row["campaign"], set()).add(name)
    return found


def _forget_lines(manifest: Path, names: set[str]) -> None:
    """Take letters out of a manifest: the digest of a letter is a digest of a name and an address."""
    if not manifest.exists():
        return
    try:
        content = parse(manifest.read_bytes())
        kept = [line for line in content["letters"] if line["file"].removesuffix(".pdf") not in names]
    except (InputError, KeyError, TypeError, AttributeError):
        raise InputError(f"{manifest} is damaged; move it away and run `tocsin erase --finish`.") from None
    if len(kept) != len(content["letters"]):
        write_atomically(manifest, canonical({**content, "letters": kept}))
