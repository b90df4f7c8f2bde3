"""Adding to a log the entries that a mirror has more of it, in one transaction, proven before it ends.

The rules, in the order in which they are decided; whatever does not hold changes nothing:

1. the mirror's checkpoint is of this log and signed by its newest key; keys that are newer than what is
   here are known from rotations that both keys signed, and no other key signs under the log's name;
2. under a policy, a checkpoint of the mirror has the quorum's cosignatures, and the tree agrees with it;
3. the tiles lead to the signed root, and at the size that is here to the root that is here;
4. each entry hashes to the tree, and all of them together to the root.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from ledger.checkpoint import Checkpoint
from ledger.config import Config, KeyPeriod
from ledger.errors import NoteError, PolicyError, VerificationError
from ledger.merkle import EMPTY_ROOT, consistency_path
from ledger.notes import Note, Signer, Verifier, open_note, split_note
from ledger.policy import Policy
from ledger.proofs import verify_checkpoint
from ledger.recovery.appending import There, Writer, rotation_of, vouched
from ledger.recovery.backup import Progress
from ledger.recovery.errors import MirrorError
from ledger.recovery.lostpayloads import Noted
from ledger.recovery.mirror import MAX_KEYS_BYTES, MAX_NOTE_BYTES, MirrorTree, Source, root_at
from ledger.recovery.publishing import CHECKPOINT, ROTATIONS, WITNESSED, Opening
from ledger.rotation import KeyHistory, read_history
from ledger.seal import Head
from ledger.store.database import Database
from ledger.store.log import read_checkpoint, read_head, read_tile
from ledger.tiles import TileReader
from ledger.witness import records
from ledger.witness.errors import EquivocationError
from ledger.witness.evidence import Evidence


@dataclass(frozen=True, slots=True)
class Means:
    """What a rebuild is given from outside.

    Attributes:
        source: the mirror.
        policy: whose cosignatures its checkpoint must have, or None.
        keys: what `write_keys` wrote, or None where the keys are in place or will be put there.
        vkey: a key of the log that the caller got elsewhere, or None.
        clock: gives the present, aware.
        entropy: gives n random bytes.
        progress: called with (entries, entries in all).
    """

    source: Source
    policy: Policy | None = None
    keys: Mapping[str, str] | None = None
    vkey: str | None = None
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    entropy: Callable[[int], bytes] = os.urandom
    progress: Progress = field(default=lambda _done, _total: None)


@dataclass(frozen=True, slots=True)
class Extended:
    """What came of it.

    Attributes:
        start: entries that were there before.
        size: entries that are there now.
        root: root over them, 32 bytes.
        witnessed: entries under a checkpoint of the mirror that satisfies the policy.
        lost: payloads that are missing since then, also of earlier rebuilds that were not confirmed yet.
        own: how many of Tocsin's own events are among them, by type.
        keys: the keys of the log and the sizes they sign, the newest last.
    """

    start: int
    size: int
    root: bytes
    witnessed: int
    lost: int
    own: Mapping[str, int]
    keys: tuple[KeyPeriod, ...]


@dataclass(frozen=True, slots=True)
class _Here:
    """The log as it is before."""

    head: Head
    root: bytes
    note: bytes | None
    history: KeyHistory


def extend(
    database: Database, config: Config, means: Means, before_commit: Callable[[], None] = lambda: None
) -> Extended:
    """Add what the mirror has more; `before_commit` runs when all is written and proven.

    Raises:
        MirrorError: the mirror is not what the log signed, or of another log, or holds less than is here.
        MirrorUnreachableError: it cannot be had.
        EquivocationError: it shows another history that the log's key signed.
        PolicyError: its checkpoint does not have the cosignatures that the policy asks for.
    """
    with database.read() as connection:
        head = read_head(connection)
        note = read_checkpoint(connection) if head.size else None
        root = head.root if head.size else EMPTY_ROOT
        here = _Here(head, root, note, read_history(connection, Verifier.from_vkey(config.vkey)))
    there = _look(means, config, here)
    witnessed, cosigned = _read_witnessed(means, there)
    if there.checkpoint.size < head.size:
        _refuse_shorter(database, means, here, there)
    tree = MirrorTree(means.source, there.checkpoint)
    _check_prefix(means, tree, here, there)
    if witnessed is not None:
        if tree.root(witnessed.size) != witnessed.root:
            raise MirrorError(f"{WITNESSED} of the mirror is not of the tree that its checkpoint shows.")
        database.ensure(records.TABLES)
    with database.write() as connection:
        if there.checkpoint.size > head.size:
            Writer(connection, config.origin, there, means.progress).write(head, tree, means.source.kind)
        if witnessed is not None:
            records.keep_published(connection, witnessed.size, cosigned, means.clock())
        history = read_history(connection, there.keys[-1])
        if history.problem is not None:
            raise MirrorError(f"A change of the signing key does not hold. {history.problem[1]}")
        noted = Noted.read(connection).pending
        before_commit()
    return Extended(
        head.size,
        there.checkpoint.size,
        there.checkpoint.root,
        0 if witnessed is None else witnessed.size,
        0 if noted is None else noted.lost,
        {} if noted is None else noted.own,
        tuple(KeyPeriod(item.verifier.vkey, item.first, item.last) for item in history.periods),
    )


def _look(means: Means, config: Config, here: _Here) -> There:
    """Read and verify the mirror's checkpoint, and the changes of the key that lie before it."""
    raw, rotations = means.source.fetch([(CHECKPOINT, MAX_NOTE_BYTES), (ROTATIONS, MAX_KEYS_BYTES)])
    if raw is None:
        raise MirrorError("There is no checkpoint in the mirror; give the URL or directory that has one.")
    try:
        checkpoint = Checkpoint.parse(split_note(raw)[0])
    except NoteError as error:
        raise MirrorError(f"The mirror's checkpoint is malformed. {error}") from None
    if checkpoint.origin != config.origin:
        raise MirrorError(f"The mirror is of another log than {config.origin}.")
    openings = {
        item.index: item for item in Opening.read(rotations or b"") if here.head.size <= item.index < checkpoint.size
    }
    keys = _follow(config, here, openings)
    if means.vkey is not None and means.vkey not in [key.vkey for key in keys]:
        raise MirrorError("The ledger is of another log than the key you gave.")
    try:
        opened = open_note(raw, keys)
    except NoteError as error:
        raise _not_ours(config, str(error)) from None
    if keys[-1].key not in [item.key for item in opened.signatures]:
        raise _not_ours(config, "It is signed by a key that was replaced before.")
    if checkpoint.extensions:
        raise _not_ours(config, "It has lines that this log never signs.")
    _refuse_withheld(means, opened, keys[-1])
    pinned = means.vkey == keys[-1].vkey
    return There(raw, _own_note(opened, keys[-1]), checkpoint, tuple(keys), openings, pinned)


def _refuse_withheld(means: Means, opened: Note, newest: Verifier) -> None:
    """Refuse a mirror that keeps a change of the key back: the replaced one, perhaps stolen, would sign on."""
    # The checkpoint of a change is signed by both keys, so the old one opens it too.
    if any(item.name == newest.name for item in opened.unknown):
        raise MirrorError(
            "The mirror's checkpoint has a signature under the log's name by a key that nothing leads to, as where the "
            f"log's key is changed. Get the mirror's file `{ROTATIONS}`, as `tocsin backup --tiles` writes it."
        )
    if means.keys is not None and vkey_of(means.keys["signing"]) != newest.vkey:
        raise MirrorError(
            f"The signing key you gave is not the newest that the mirror shows, {newest.vkey}. If yours is newer, get "
            f"the mirror's file `{ROTATIONS}`, as `tocsin backup --tiles` writes it; if it is older, give the newest "
            "file of keys."
        )


def vkey_of(private_key: str) -> str | None:
    """The verifier key of a log's private key; None where it is malformed."""
    try:
        return Signer.from_private_key(private_key).vkey
    except NoteError:
        return None


def _not_ours(config: Config, why: str) -> MirrorError:
    return MirrorError(
        f"The mirror's checkpoint is not signed by {config.vkey} or the key that follows it. {why} If the log's key "
        f"was changed since, the mirror must have a file `{ROTATIONS}`, as `tocsin backup --tiles` writes it."
    )


def _own_note(opened: Note, key: Verifier) -> bytes:
    """The note as the log keeps it: the first signature names the key that signs next."""
    return vouched(replace(opened, signatures=tuple(item for item in opened.signatures if item.key == key.key)))


def _follow(config: Config, here: _Here, openings: dict[int, Opening]) -> list[Verifier]:
    """The log's keys up to the mirror's size, as far as both keys of each change vouch for it; oldest first."""
    trusted = Verifier.from_vkey(config.vkey)
    keys = list(here.history.verifiers) if here.head.size else []
    for index in sorted(openings):
        rotation = rotation_of(config.origin, openings[index])
        old, new = Verifier.from_vkey(rotation.old), Verifier.from_vkey(rotation.new)
        keys = keys or [old]
        if keys[-1] != old:
            raise MirrorError(
                f"The mirror's change of the signing key at entry {index} does not follow the one before."
            )
        keys.append(new)
    if not here.head.size and (not keys or keys[-1] != trusted):
        # Nothing is here but the newest key: what leads to another one says nothing about this log.
        openings.clear()
        return [trusted]
    return keys


def _read_witnessed(means: Means, there: There) -> tuple[Checkpoint | None, bytes]:
    """The mirror's newest checkpoint that satisfies the policy, parsed and as it is kept; None without a policy."""
    policy = means.policy
    if policy is None or policy.quorum is None:
        return None, b""
    known = [*there.keys, *(witness.verifier for witness in policy.witnesses)]
    try:
        return verify_checkpoint(there.raw, policy)[0], vouched(open_note(there.raw, known))
    except VerificationError as error:
        refusal: VerificationError = error
    [raw] = means.source.fetch([(WITNESSED, MAX_NOTE_BYTES)])
    if raw is not None:
        try:
            found, _ = verify_checkpoint(raw, policy)
            open_note(raw, there.keys)
            kept = vouched(open_note(raw, known))
        except VerificationError as error:
            refusal = error
        else:
            if found.origin == there.checkpoint.origin and found.size <= there.checkpoint.size:
                return found, kept
            raise MirrorError(f"{WITNESSED} of the mirror covers more than its checkpoint, or is of another log.")
    raise PolicyError(
        f"No checkpoint of the mirror satisfies the policy. {refusal} Without --policy the tiles are taken on the "
        "log's own signature; the witnesses are then asked when the copy is confirmed."
    )


def _refuse_shorter(database: Database, means: Means, here: _Here, there: There) -> None:
    """Say whether a mirror that holds less is only older, or of another history."""
    size = there.checkpoint.size
    with database.read() as connection:

        def tile(level: int, number: int, width: int) -> bytes:
            return read_tile(connection, level, number, width)

        root = root_at(TileReader(tile, here.head.size), size)
        proof = consistency_path(size, here.head.size, TileReader(tile, here.head.size))
    if root != there.checkpoint.root:
        raise _forked(means, here, there, root, proof)
    raise MirrorError(
        f"The mirror holds {size} entries, fewer than the {here.head.size} that are here; it has nothing to add."
    )


def _check_prefix(means: Means, tree: MirrorTree, here: _Here, there: There) -> None:
    size = here.head.size
    root = tree.root(size)
    if root != here.root:
        proof = consistency_path(size, there.checkpoint.size, tree.node)
        raise _forked(means, here, there, root if proof else b"", proof)


def _forked(means: Means, here: _Here, there: There, root: bytes, proof: Sequence[bytes]) -> EquivocationError:
    evidence = Evidence.make(
        here.history.current.vkey,
        here.note or b"",
        there.note,
        found=means.clock(),
        root=root,
        proof=tuple(proof),
        rotations=(
            *here.history.rotations,
            *(rotation_of(there.checkpoint.origin, item) for _, item in sorted(there.openings.items())),
        ),
    )
    evidence.check()
    return EquivocationError(
        f"The mirror shows another history than the one that is here, and the log's key signed both: {evidence.digest} "
        "is the SHA-256 of the evidence (--json prints it). Nothing was changed. Find out which history is true from "
        "the witnesses, receipts and backups before anything is signed.",
        evidence,
    )
