"""Putting a backup back, and why the copy signs nothing until somebody has vouched for it.

A restored copy may be older than what others have seen. Signing on from there would give one size two
roots. So the copy opens and verifies, but refuses to sign until it is confirmed by one of

- witnesses: none of them has cosigned more than the copy holds;
- the newest size and root that somebody outside knows, for logs without witnesses;
- the operator's word that a loss is accepted, for logs that were never witnessed; it is recorded.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from ledger import Ledger, OwnEvent
from ledger.config import CONFIG, DATABASE, Config, KeyPeriod, Restored, read_config, write_config
from ledger.encoding import parse
from ledger.errors import ConfigError
from ledger.findings import Findings
from ledger.keys import fsync_directory, load_kek, make_directories, write_key
from ledger.notes import Verifier, split_note
from ledger.policy import Policy
from ledger.recovery.backup import Backup, Progress
from ledger.recovery.commit import commit_alone
from ledger.recovery.errors import BackupDamagedError, BackupError
from ledger.recovery.lostpayloads import REBUILT, Noted
from ledger.recovery.succession import Predecessor
from ledger.store.connection import Connection
from ledger.store.database import Database
from ledger.store.log import read_checkpoint
from ledger.store.sqlite import SqliteDatabase
from ledger.vault import Vault
from ledger.verify import verify_database
from ledger.witness import records
from ledger.witness.client import Sighting
from ledger.witness.errors import RolledBackError, WitnessError
from ledger.witness.publication import Publication
from ledger.witness.view import View

RESTORED: Final = "org.tocsin.backup.restored.v1"
_WAYS_ON: Final = (
    "Restore a newer backup if there is one, or rebuild the missing entries from published tiles (`tocsin restore "
    "--from-tiles SOURCE --data DIRECTORY`). If the missing entries are lost for good, begin a log that continues "
    "this one: `tocsin restore FILE --new-origin NAME --data NEW_DIRECTORY` (docs/operations.md)."
)


def check_backup(backup: Backup, progress: Progress = lambda _done, _total: None) -> Findings:
    """Restore into a temporary place, verify everything there, and forget it again.

    Raises:
        BackupDamagedError: the file or the log in it is damaged; the message names the damage.
    """
    with tempfile.TemporaryDirectory(prefix="tocsin-restore-") as place:
        return unpack(backup, Path(place), progress)


def restore(
    backup: Backup,
    directory: Path,
    *,
    entropy: Callable[[int], bytes] = os.urandom,
    keys: Mapping[str, str] | None = None,
    progress: Progress = lambda _done, _total: None,
) -> Findings:
    """Put a backup back into a new data directory, verified, unconfirmed.

    The directory has its name only when it is complete; what a killed attempt left is removed by the next.

    Args:
        backup: the backup.
        directory: where to; it must not exist or be empty.
        entropy: gives n random bytes.
        keys: what `write_keys` wrote, see `read_keys`; None leaves the keys to be put in place by hand.
        progress: called now and then.

    Raises:
        BackupError: the directory holds something, or cannot be written.
        BackupDamagedError: the file or the log in it is damaged; nothing was put in place.
    """
    check_new(directory)
    try:
        with staged(directory) as stage:
            findings = unpack(backup, stage, progress, keys)
            manifest = backup.manifest
            name = entropy(16).hex()
            copy = Restored(name, manifest.size, manifest.root.hex(), manifest.taken, manifest.digest)
            write_config(stage, replace(backup.config, restored=copy, instance=name, store=None))
            stage.rename(directory)
        fsync_directory(directory.parent)
    except OSError as error:
        raise BackupError(f"{directory} cannot be made: {error.strerror}. Nothing was left there.") from None
    return findings


def check_new(directory: Path) -> None:
    """Refuse to restore where something is.

    Raises:
        BackupError: the directory is not empty.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise BackupError(f"{directory} is not empty; a restoration never overwrites. Choose a new directory.")


@contextmanager
def staged(directory: Path) -> Iterator[Path]:
    """A new directory beside the final one; gone when the block ends, unless it was renamed."""
    make_directories(directory.parent)
    stage = directory.parent / f".{directory.name}.restoring"
    stage.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(stage, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BackupError(f"Another restoration to {directory} is under way.") from None
        try:
            for left in stage.iterdir():
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            yield stage
        finally:
            shutil.rmtree(stage, ignore_errors=True)
    finally:
        os.close(descriptor)


def unpack(backup: Backup, place: Path, progress: Progress, keys: Mapping[str, str] | None = None) -> Findings:
    """Copy the database out of a backup and verify everything in it.

    Args:
        backup: the backup.
        place: a directory.
        progress: called now and then.
        keys: of those of `write_keys`, the ones to put in place.

    Raises:
        BackupDamagedError: the file or the log in it is damaged.
    """
    with (place / DATABASE).open("xb") as file:
        backup.extract(file, progress)
        file.flush()
        os.fsync(file.fileno())
    config = backup.config
    if keys is not None:
        for uri, text in ((config.signing_key, keys.get("signing")), (config.vault_key, keys.get("vault"))):
            if uri.startswith("file:") and text is not None:
                write_key(place / uri.removeprefix("file:"), text)
    with closing(SqliteDatabase(place / DATABASE)) as database:
        findings = verify_database(database, config.vkey, vault=open_vault(database, config, place), progress=progress)
    if findings.damage:
        first = findings.damage[0]
        where = "" if first.index is None else f" at entry {first.index}"
        raise BackupDamagedError(f"The log in the backup is damaged{where} ({first.kind}): {first.message}")
    if (findings.size, findings.root) != (backup.manifest.size, backup.manifest.root.hex()):
        raise BackupDamagedError("The log in the backup is not of the size and root that its manifest signs.")
    return findings


def open_vault(database: Database, config: Config, place: Path) -> Vault | None:
    """The vault for verifying, or None without its key: then its rows stay unopened, and the result says so."""
    try:
        kek = load_kek(config.vault_key, place)
        vault = Vault(database, kek, config.origin, lambda _size: b"", lambda uri: load_kek(uri, place))
    except ConfigError:
        return None
    vault.unlock(config.vault_key)
    return vault


def read_keys(path: Path) -> dict[str, str]:
    """Read a file that `write_keys` wrote.

    Raises:
        BackupError: it cannot be read or is no such file.
    """
    try:
        lines = path.read_text("ascii").split("\n")
    except (OSError, UnicodeDecodeError):
        raise BackupError(f"The file of keys {path} cannot be read.") from None
    keys = dict(line.split(" ", 1) for line in lines if " " in line)
    if keys.keys() != {"signing", "vault"}:
        raise BackupError(f"{path} is not a file of keys that `tocsin backup --with-keys` wrote.")
    return keys


def confirm_by_witnesses(ledger: Ledger, policy: Policy) -> None:
    """Confirm a restored copy because witnesses have cosigned no more than it holds.

    Raises:
        RolledBackError: a witness has cosigned more; the message says how to go on.
        EquivocationError: a witness cosigned another tree.
        BackupError: so many witnesses did not answer that they alone could have made a quorum.
    """
    seen = Publication(ledger, policy).check_start_now()
    silent = [name for name, answer in seen.items() if isinstance(answer, WitnessError)]
    keys = [item.verifier.key for item in policy.witnesses if item.name.decode("utf-8", "backslashreplace") in silent]
    if policy.satisfied(keys):
        raise BackupError(
            f"Too few witnesses answered ({', '.join(silent)} did not): those alone could have cosigned a longer log. "
            "Ask again when they can be reached."
        )
    sizes = {name: answer.checkpoint.size for name, answer in seen.items() if isinstance(answer, Sighting)}
    _confirm(ledger, {"confirmed_by": "witnesses", "witnesses": sizes})


def confirm_by_head(ledger: Ledger, size: int, root: bytes) -> None:
    """Confirm a restored copy because it holds the newest tree that anybody outside knows.

    Raises:
        RolledBackError: it holds less; the message says how to go on.
        BackupError: it holds another tree, or the ledger has witnesses, who must be asked.
    """
    _refuse_witnessed(ledger)
    view = View(ledger)
    if size > view.checkpoint.size:
        raise RolledBackError(
            f"This copy holds {view.checkpoint.size} entries, {size - view.checkpoint.size} fewer than the newest that "
            f"you know of. It signs nothing. {_WAYS_ON}"
        )
    if size < 1 or view.root(size) != root:
        raise BackupError(f"At size {size} this copy has another root than the one you know: it is another history.")
    _confirm(ledger, {"confirmed_by": "newest_known", "newest_known": {"size": size, "root": root.hex()}})


def confirm_with_loss(ledger: Ledger, reason: str) -> None:
    """Confirm a restored copy although it may lack entries that were acknowledged; this is recorded.

    Args:
        ledger: the restored copy.
        reason: why, in a few words without personal data.

    Raises:
        BackupError: no reason, or the ledger has witnesses: they would show the second history to everybody.
    """
    if not reason.strip():
        raise BackupError("Say why the loss is accepted; the reason is recorded.")
    _refuse_witnessed(ledger)
    _confirm(ledger, {"confirmed_by": "accepted_loss", "reason": reason.strip()})


def _refuse_witnessed(ledger: Ledger) -> None:
    ledger.database.ensure(records.TABLES)
    with ledger.database.read() as connection:
        newest = records.newest(connection)
    if newest is not None:
        raise BackupError(
            f"Witnesses have cosigned this log (at least {newest.size} entries), so they must be asked: give --policy. "
            f"{_WAYS_ON}"
        )


def _confirm(ledger: Ledger, how: Mapping[str, Any]) -> None:
    config = read_config(ledger.directory)
    copy = config.restored
    if copy is None:
        raise BackupError("This ledger is not an unconfirmed restored copy; there is nothing to confirm.")
    backup = {"size": copy.size, "root": copy.root, "taken": copy.taken, "database": copy.database}
    event = OwnEvent(RESTORED, {"restoration": copy.id, "backup": backup, "reason": None, **how})

    def make(connection: Connection, first: int) -> Sequence[OwnEvent]:
        # Only now may the log say what it lost when it was rebuilt from tiles.
        noted = Noted.read(connection)
        if noted.pending is None:
            return [event]
        Noted((*noted.events, first + 1), None).write(connection)
        return [event, OwnEvent(REBUILT, noted.pending.data())]

    # A kill between the entry and the configuration must not lead to a second entry.
    if not _recorded(ledger, copy):
        commit_alone(ledger, make, [ledger.signer])
    write_config(ledger.directory, replace(config, restored=None))
    ledger.reload()


def _recorded(ledger: Ledger, copy: Restored) -> bool:
    # Nothing else is signed until the configuration is changed, so it is among the last two.
    for stored in ledger.entries(ledger.size() - 2):
        payload = stored.payload if stored.decode().type == RESTORED else None
        if payload is not None and parse(payload)["data"]["restoration"] == copy.id:
            return True
    return False


def signed_in_time(seen: Sighting, keys: Sequence[KeyPeriod]) -> bool:
    """Whether what a witness shows was signed by a key of the log within the sizes that this key signs."""
    signed = {(item.name, item.key_id) for item in split_note(seen.note)[1]}
    in_time = [key for key in keys if key.last is None or seen.checkpoint.size <= key.last]
    return any((each.name, each.key_id) in signed for each in (Verifier.from_vkey(key.vkey) for key in in_time))


def predecessor_of(backup: Backup, reason: str, seen: Sighting | None = None) -> Predecessor:
    """What a new log says of the one in a backup.

    Args:
        backup: the newest backup there is.
        reason: why that log cannot go on, in a few words without personal data.
        seen: the largest checkpoint that a witness shows of it, if one shows any.

    Raises:
        BackupDamagedError: the backup is damaged.
    """
    with tempfile.TemporaryDirectory(prefix="tocsin-restore-") as place:
        unpack(backup, Path(place), lambda _done, _total: None)
        with closing(SqliteDatabase(Path(place) / DATABASE)) as database, database.read() as connection:
            note = read_checkpoint(connection)
    if seen is not None and seen.checkpoint.size > backup.manifest.size:
        note = seen.note
    # A witness may show a checkpoint from before a rotation that the backup knows of.
    signed = {(item.name, item.key_id) for item in split_note(note)[1]}
    keys = [key.vkey for key in reversed(backup.config.keys)]
    verifiers = [verifier for verifier in map(Verifier.from_vkey, keys) if (verifier.name, verifier.key_id) in signed]
    if not verifiers:
        raise BackupDamagedError("No key that the backup lists signed its newest checkpoint.")
    return Predecessor(verifiers[0].vkey, note, backup.manifest.size, reason)


def succeed(
    predecessor: Predecessor,
    directory: Path,
    origin: str,
    **injected: Any,
) -> Ledger:
    """Make the log that continues another, in a new directory under a new origin.

    Args:
        predecessor: the log it continues.
        directory: where to; it must not hold a ledger.
        origin: its name, another than the old one's.
        injected: `clock` and `entropy`, as for `Ledger.create`.

    Raises:
        BackupError: the directory holds a ledger, or the origin is the old one.
        ConfigError: the origin or the directory cannot be used.
    """
    if origin == predecessor.head.origin:
        raise BackupError("The new log needs another origin than the old one; one name with two histories is a fork.")
    if (directory / CONFIG).exists():
        raise BackupError(f"{directory} already holds a ledger; choose another directory.")
    return Ledger.create(directory, origin, predecessor=predecessor.data(), **injected)
