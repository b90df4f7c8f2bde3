"""Verifying a data directory as it lies on disk, with its keys or without."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from ledger.config import read_config
from ledger.errors import ConfigError, StoreError
from ledger.findings import Findings
from ledger.keys import load_kek
from ledger.store.opening import open_store
from ledger.vault import Vault
from ledger.verify import Beside, verify_database
from ledger.verifying.resume import FILE
from ledger.verifying.walk import Progress


def verify_directory(
    directory: Path,
    *,
    policy: bytes | None = None,
    jobs: int = 1,
    incremental: bool = False,
    remember: bool = False,
    progress: Progress = lambda _done, _total: None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    beside: Sequence[Beside] = (),
) -> Findings:
    """Verify the ledger in a directory; see `ledger.verify.verify_database`.

    Args:
        directory: the data directory.
        policy: tlog-policy text.
        jobs: processes.
        incremental: begin where the last remembered verification ended; implies `remember`.
        remember: keep how far the log was found intact, in the directory.
        progress: called now and then.
        clock: dates what is remembered.
        beside: tables of other packages to hold against the log.

    Raises:
        TocsinError: the ledger cannot be read, or the policy is malformed.
    """
    config = read_config(directory)
    database = open_store(config, directory)
    try:
        vault: Vault | None = None
        try:
            vault = Vault(
                database,
                load_kek(config.vault_key, directory),
                config.origin,
                _no_entropy,
                lambda uri: load_kek(uri, directory),
            )
        except ConfigError:
            # An auditor verifies without the secret keys; the result says what that left out.
            vault = None
        if vault is not None:
            vault.unlock(config.vault_key)
        return verify_database(
            database,
            config.vkey,
            vault=vault,
            policy=policy,
            progress=progress,
            jobs=jobs,
            remember=(directory / FILE, clock) if remember or incremental else None,
            incremental=incremental,
            beside=beside,
        )
    finally:
        database.close()


def _no_entropy(_count: int) -> bytes:
    raise StoreError("Verification must not write; report this as a defect of Tocsin.")
