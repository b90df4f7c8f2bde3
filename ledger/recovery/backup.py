r"""Backups: one file with the database as of one moment and a signed manifest behind it.

    <the SQLite database, N bytes>
    <the manifest, a note signed by the log's key, M bytes>
    tocsin-backup/v1 <N, 20 digits> <M, 10 digits>\n

The manifest's text:

    tocsin.org/backup/v1
    origin <origin>
    size <entries>
    root <base64 root over them>
    database <hex SHA-256 of the database> <its bytes>
    taken <RFC 3339>
    config <base64 of tocsin.toml>

So whether a backup is whole, and of which log and length, is known by hashing it, without opening it as a
database. It holds sealed identities but no key: `write_keys` writes those elsewhere.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Final, Self

from ledger import Ledger
from ledger.checkpoint import Checkpoint
from ledger.config import Config, format_config, parse_config, read_config
from ledger.encoding import format_time
from ledger.errors import ConfigError, NoteError
from ledger.keys import fsync_directory, read_key, write_key
from ledger.notes import Signer, Verifier, open_note, sign_note, split_note
from ledger.recovery.errors import BackupDamagedError, BackupError
from ledger.store.log import read_checkpoint, read_head
from ledger.store.sqlite import connect, translated
from ledger.wire import format_base64, parse_base64, parse_decimal
from ledger.wrapping import State

SUFFIX: Final = ".tocsin"
_HEADER: Final = "tocsin.org/backup/v1"
_FOOTER: Final = re.compile(rb"tocsin-backup/v1 ([0-9]{20}) ([0-9]{10})\n")
_FOOTER_SIZE: Final = 49
_LABELS: Final = ("origin", "size", "root", "database", "taken", "config")
_MAX_MANIFEST: Final = 1_000_000
_CHUNK: Final = 1 << 20

Progress = Callable[[int, int], None]
"""Called with (done, total), in pages or bytes."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says it is.

    Attributes:
        origin: the log.
        size: entries.
        root: 32-byte root over them.
        digest: hex SHA-256 of the database.
        length: its bytes.
        taken: when, RFC 3339.
        config: the text of `tocsin.toml`.
    """

    origin: str
    size: int
    root: bytes
    digest: str
    length: int
    taken: str
    config: str

    def format(self) -> str:
        """The text that is signed."""
        values = (
            self.origin,
            str(self.size),
            format_base64(self.root),
            f"{self.digest} {self.length}",
            self.taken,
            format_base64(self.config.encode()),
        )
        lines = (f"{label} {value}\n" for label, value in zip(_LABELS, values, strict=True))
        return f"{_HEADER}\n{''.join(lines)}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text, strictly.

        Raises:
            BackupDamagedError: it is not in the one form that `format` writes.
        """
        lines = [line.partition(" ") for line in text.split("\n")[1:-1]]
        values = {label: value for label, _, value in lines}
        digest, _, length = values.get("database", "").partition(" ")
        size, amount = parse_decimal(values.get("size", "")), parse_decimal(length)
        root, config = parse_base64(values.get("root", "")), parse_base64(values.get("config", ""))
        if size is None or amount is None or root is None or config is None:
            raise _damaged("its manifest is malformed")
        taken = values.get("taken", "")
        try:
            found = cls(values.get("origin", ""), size, root, digest, amount, taken, config.decode())
        except UnicodeDecodeError:
            raise _damaged("its manifest is malformed") from None
        if found.format() != text:
            raise _damaged("its manifest is malformed")
        return found


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup file whose manifest was read and whose signature fits its own configuration.

    Attributes:
        path: the file.
        manifest: what it says.
        config: its configuration, parsed.
    """

    path: Path
    manifest: Manifest
    config: Config

    @classmethod
    def open(cls, path: Path, *, vkey: str | None = None) -> Self:
        """Read and check the manifest; the database in it is not hashed yet.

        Args:
            path: the backup.
            vkey: a key of the log that the caller got elsewhere; it must be in the log's list of keys.

        Raises:
            BackupDamagedError: it is no backup, is cut short, or its manifest is not signed by the log.
            BackupError: it cannot be read.
        """
        try:
            with path.open("rb") as file:
                length, note = _read_manifest(file)
        except OSError as error:
            raise BackupError(f"The backup {path} cannot be read: {error.strerror}.") from None
        try:
            manifest = Manifest.parse(split_note(note)[0])
            config = parse_config(manifest.config, f"The configuration in {path}")
            open_note(note, [Verifier.from_vkey(config.vkey)])
        except (NoteError, ConfigError) as error:
            raise _damaged(f"its manifest does not verify. {error}") from None
        if manifest.length != length or manifest.origin != config.origin:
            raise _damaged("its manifest is of another file")
        if vkey is not None and vkey not in [key.vkey for key in config.keys]:
            raise _damaged("it is of another log than the key you gave")
        return cls(path, manifest, config)

    def extract(self, target: IO[bytes] | None, progress: Progress = lambda _done, _total: None) -> None:
        """Hash the database and copy it to `target`, if one is given.

        Raises:
            BackupDamagedError: the bytes are not those that the manifest signs.
            BackupError: a file cannot be read or written.
        """
        digest, left = hashlib.sha256(), self.manifest.length
        try:
            with self.path.open("rb") as file:
                while left and (chunk := file.read(min(left, _CHUNK))):
                    digest.update(chunk)
                    left -= len(chunk)
                    if target is not None:
                        target.write(chunk)
                    progress(self.manifest.length - left, self.manifest.length)
        except OSError as error:
            raise BackupError(f"The backup cannot be copied: {error.strerror}. Nothing was put in place.") from None
        if digest.hexdigest() != self.manifest.digest:
            raise _damaged("the database in it is not the one that its manifest signs")


def take_backup(
    ledger: Ledger, place: Path, *, progress: Progress = lambda _done, _total: None, signer: Signer | None = None
) -> tuple[Path, Manifest]:
    """Back up a ledger that may be in use; writers are not held up.

    Args:
        ledger: an open ledger.
        place: the file to write, or a directory, in which a name is chosen. Nothing is overwritten.
        progress: called with pages copied.
        signer: signs the manifest; None takes the log's key.

    Returns:
        The file and its manifest. The file has its name only once it is whole and on disk; what an attempt
        that was cut short left under a name of its own is removed by the next one.

    Raises:
        BackupError: the file exists or cannot be written; nothing was left behind.
    """
    key = signer or ledger.signer
    moment = format_time(ledger.clock())
    path = place
    if place.is_dir():
        slug = re.sub(r"[^A-Za-z0-9]+", "-", ledger.origin).strip("-")
        path = place / f"{slug}-{re.sub('[^0-9TZ]', '', moment)}{SUFFIX}"
    part = path.with_name(f".{path.name}.part")
    if path.exists():
        raise BackupError(f"{path} exists; a backup is never overwritten. Choose another name.")
    try:
        with _claimed(part):
            ledger.database.copy_to(part, progress)
            manifest = _describe(ledger, part, moment)
            note = sign_note(manifest.format(), [key])
            with part.open("r+b") as file:
                file.seek(0, os.SEEK_END)
                file.write(note)
                file.write(b"tocsin-backup/v1 %020d %010d\n" % (manifest.length, len(note)))
                file.flush()
                os.fsync(file.fileno())
            Backup.open(part)
            # A link, unlike a rename, refuses to replace what somebody put there meanwhile.
            os.link(part, path)
        fsync_directory(path.parent)
    except OSError as error:
        raise BackupError(f"The backup {path} cannot be written: {error.strerror}. Nothing was left there.") from None
    return path, manifest


@contextmanager
def _claimed(part: Path) -> Iterator[None]:
    """An empty file that is ours alone until the block ends, and gone then; a killed attempt's is taken over."""
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BackupError(f"Another backup to {part.parent} under the same name is being taken.") from None
        try:
            if os.fstat(descriptor).st_nlink == 1:
                os.ftruncate(descriptor, 0)
            else:
                # A kill came between giving a backup its name and dropping this one: it is a finished backup.
                part.unlink(missing_ok=True)
            yield
        finally:
            for name in ("", "-journal", "-wal", "-shm"):
                part.with_name(part.name + name).unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def write_keys(ledger: Ledger, path: Path) -> None:
    """Write the secret keys of a ledger to a file of their own, for its owner only.

    Raises:
        ConfigError: the file exists or cannot be written, or a key cannot be read.
    """
    config = read_config(ledger.directory)
    signing, vault = (read_key(uri, ledger.directory) for uri in (config.signing_key, config.vault_key))
    write_key(path, f"signing {signing}\nvault {vault}")


def _describe(ledger: Ledger, part: Path, moment: str) -> Manifest:
    """Read what was really copied, not what the ledger says by now."""
    with translated(part), closing(connect(f"{part.absolute().as_uri()}?immutable=1", uri=True)) as connection:
        State.read(connection)  # refuses what a moved ledger left behind
        head = read_head(connection)
        checkpoint = Checkpoint.parse(split_note(read_checkpoint(connection))[0])
    if checkpoint != Checkpoint(ledger.origin, head.size, head.root):
        raise BackupError("The head of the log is not what its newest checkpoint signs; run `tocsin verify`.")
    digest = hashlib.sha256()
    with part.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
        length = file.tell()
    # A restored copy lies in a file; and the url of a server may hold a password.
    config = format_config(replace(read_config(ledger.directory), store=None))
    return Manifest(ledger.origin, head.size, head.root, digest.hexdigest(), length, moment, config)


def _read_manifest(file: IO[bytes]) -> tuple[int, bytes]:
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - _FOOTER_SIZE))
    match = _FOOTER.fullmatch(file.read(_FOOTER_SIZE))
    if match is None:
        raise _damaged("it does not end as a backup does: it is cut short or is no backup")
    length, size = int(match[1]), int(match[2])
    if size > _MAX_MANIFEST or length + size + _FOOTER_SIZE != end:
        raise _damaged("its length is not what it says")
    file.seek(length)
    return length, file.read(size)


def _damaged(why: str) -> BackupDamagedError:
    return BackupDamagedError(f"The backup is not usable: {why}. Nothing was restored; take another backup.")
