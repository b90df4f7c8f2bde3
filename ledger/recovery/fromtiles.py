"""Rebuilding a log from published tiles, where the entries after a backup, or all of them, are lost.

Tiles hold entries, and an entry is a commitment: a rebuilt log is the same log, entry for entry, under the
same signed root, and may go on under the same key. What the entries committed to is not in the tiles. Those
payloads stay lost, and so do the identities that were made with them; the log says so in an entry of its own
(`ledger.recovery.lostpayloads`).

Nothing is believed but the log's key, and the witnesses' keys where a policy names them. All entries are
written in one transaction, which ends only when they hash to the signed root (`ledger.recovery.extending`):
whatever is wrong with a mirror, and whenever the rebuild is killed, the ledger is what it was before, or
rebuilt, and signs nothing until it is confirmed like any restored copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from ledger import access
from ledger.config import DATABASE, SIGNING_KEY, VAULT_KEY, Config, KeyPeriod, Restored, read_config, write_config
from ledger.errors import NoteError
from ledger.keys import fsync_directory, load_kek, write_key
from ledger.merkle import EMPTY_ROOT
from ledger.notes import Signer, Verifier
from ledger.recovery.backup import Backup
from ledger.recovery.errors import BackupDamagedError, BackupError
from ledger.recovery.extending import Extended, Means, extend, vkey_of
from ledger.recovery.restoring import check_new, open_vault, staged, unpack
from ledger.store import schema
from ledger.store.opening import open_store
from ledger.store.sqlite import SqliteDatabase
from ledger.vault import Vault
from ledger.verify import verify_database


def rebuild(directory: Path, means: Means) -> Extended:
    """Add to the ledger in a directory what a mirror has more of it; afterwards it must be confirmed.

    It may be a restored copy, or a ledger whose files were set back to an older state; nothing else may use
    it meanwhile. Repeating it goes on from there with what the mirror has by then.

    Raises:
        BackupDamagedError: the ledger in the directory is damaged.
        VerificationError, MirrorUnreachableError: as for `restore_from_tiles`; nothing was changed.
    """
    config = read_config(directory)
    with closing(open_store(config, directory)) as database:
        vault = open_vault(database, config, directory)
        findings = verify_database(database, config.vkey, vault=vault, progress=means.progress)
        damage = next((item for item in findings.damage if item.kind != "rebuild_unrecorded"), None)
        if damage is not None:
            where = "" if damage.index is None else f" at entry {damage.index}"
            raise BackupDamagedError(
                f"The ledger in {directory} is damaged{where} ({damage.kind}); nothing was added to it. Restore a "
                "backup into a new directory and rebuild there."
            )
        marked = config
        if config.restored is None:
            name = means.entropy(16).hex()
            copy = Restored(name, findings.size, findings.root, "", "")
            marked = replace(config, restored=copy, instance=name)

        def before_commit() -> None:
            # Marked first: a kill between the two leaves a copy that signs nothing.
            if marked != config:
                write_config(directory, marked)

        done = extend(database, config, means, before_commit)
    final = _with_keys(marked, done)
    _put_keys(final, means.keys, directory)
    if final != marked:
        write_config(directory, final)
    return done


def restore_from_tiles(backup: Backup, directory: Path, means: Means) -> Extended:
    """Put a backup back into a new directory and add to it what a mirror has more of its log.

    The directory has its name only when it is complete.

    Raises:
        BackupError: the directory holds something, or cannot be written.
        BackupDamagedError: the backup is damaged.
        MirrorError: the mirror is not what the log signed, or of another log, or holds less than the backup.
        MirrorUnreachableError: it cannot be had.
        EquivocationError: the mirror shows another history that the log's key signed.
        PolicyError: its checkpoint does not have the cosignatures that the policy asks for.
    """
    check_new(directory)
    with staged(directory) as stage:
        # The signing key that is given may be a newer one than the backup names; it is put in place below.
        unpack(backup, stage, means.progress, None if means.keys is None else {"vault": means.keys["vault"]})
        manifest = backup.manifest
        name = means.entropy(16).hex()
        copy = Restored(name, manifest.size, manifest.root.hex(), manifest.taken, manifest.digest)
        config = replace(backup.config, restored=copy, instance=name, store=None)
        with closing(SqliteDatabase(stage / DATABASE)) as database:
            done = extend(database, config, means)
        _put_in_place(_with_keys(config, done), means, stage, directory)
    return done


def rebuild_without_backup(directory: Path, means: Means) -> Extended:
    """Make a ledger in a new directory from its keys and a mirror: every entry, and no payload at all.

    Raises:
        BackupError: no keys are given, or the directory holds something, or cannot be written.
        VerificationError, MirrorUnreachableError: as for `restore_from_tiles`.
    """
    check_new(directory)
    if means.keys is None:
        raise BackupError(
            "Without a backup it is the keys that say which log this is: give the file that `tocsin backup "
            "--with-keys` wrote with --keys."
        )
    try:
        signer = Signer.from_private_key(means.keys["signing"])
    except NoteError:
        raise BackupError("The signing key in the file of keys is malformed.") from None
    name = means.entropy(16).hex()
    config = Config(
        signer.name,
        signer.vkey,
        SIGNING_KEY,
        VAULT_KEY,
        (KeyPeriod(signer.vkey, 0),),
        restored=Restored(name, 0, EMPTY_ROOT.hex(), "", ""),
        instance=name,
    )
    with staged(directory) as stage:
        _put_keys(config, means.keys, stage)
        with closing(SqliteDatabase(stage / DATABASE, create=True)) as database:
            _make_tables(database, config, means, stage)
            done = extend(database, config, means)
        _put_in_place(_with_keys(config, done), means, stage, directory)
    return done


def _make_tables(database: SqliteDatabase, config: Config, means: Means, stage: Path) -> None:
    database.ensure(schema.TABLES)
    database.ensure(access.TABLES)
    kek = load_kek(config.vault_key, stage)
    vault = Vault(database, kek, config.origin, means.entropy, lambda uri: load_kek(uri, stage))
    with database.write() as connection:
        vault.initialise(connection)
        connection.execute("INSERT INTO meta VALUES ('schema', ?)", (schema.VERSION,))


def _put_in_place(config: Config, means: Means, stage: Path, directory: Path) -> None:
    try:
        _put_keys(config, means.keys, stage)
        write_config(stage, config)
        stage.rename(directory)
        fsync_directory(directory.parent)
    except OSError as error:
        raise BackupError(f"{directory} cannot be made: {error.strerror}. Nothing was left there.") from None


def _with_keys(config: Config, done: Extended) -> Config:
    """The configuration with the keys that the rebuilt log names."""
    vkey = done.keys[-1].vkey
    if vkey == config.vkey:
        return replace(config, keys=done.keys)
    place = f"file:keys/ledger-{Verifier.from_vkey(vkey).key_id.hex()}.key"
    return replace(config, vkey=vkey, signing_key=place, keys=done.keys, next_key=None)


def _put_keys(config: Config, keys: Mapping[str, str] | None, place: Path) -> None:
    """Write keys where the configuration says they are, unless something is there or they are others."""
    if keys is None:
        return
    for uri, text in ((config.signing_key, keys["signing"]), (config.vault_key, keys["vault"])):
        path = place / uri.removeprefix("file:")
        fits = uri == config.vault_key or vkey_of(text) == config.vkey
        if uri.startswith("file:") and fits and not path.exists():
            write_key(path, text)
