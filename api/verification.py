"""Verification in the background of a server: everything hashed again at an interval, the result an event.

It runs in a process of its own at the lowest priority, so that no request waits for it, one at a time
and only in the process that holds the lease of the clocks.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from multiprocessing.connection import Connection as Pipe
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

import orjson

from api.beside import BESIDE
from ledger import Ledger, OwnEvent
from ledger.encoding import MAX_INT, format_time, parse_time
from ledger.errors import NotFoundError, TocsinError
from ledger.findings import EXIT_DAMAGED, EXIT_UNREADABLE
from ledger.store.connection import Connection
from ledger.verifying.directory import verify_directory

_log = logging.getLogger("tocsin.verification")

PASSED: Final = "org.tocsin.verify.passed.v1"
FAILED: Final = "org.tocsin.verify.failed.v1"
TABLES: Final = """
CREATE TABLE IF NOT EXISTS api_verification (
  only   INTEGER PRIMARY KEY CHECK (only = 1),
  entry  INTEGER NOT NULL,
  at     TEXT NOT NULL,
  result BLOB NOT NULL
) STRICT
"""
_NICE: Final = 19


@dataclass(frozen=True)
class LastRun:
    """The newest verification in the background.

    Attributes:
        entry: leaf index of its event; None when even that could not be recorded.
        at: when it ended.
        failed: something is damaged or cannot be read.
        size: entries it covered.
        first_bad_index, kind, message: the first damage, None when there is none.
        anchored: entries anchored under the policy.
    """

    entry: int | None
    at: datetime
    failed: bool
    size: int
    first_bad_index: int | None
    kind: str | None
    message: str | None
    anchored: int


class Verification:
    """Verifies one ledger at an interval.

    Args:
        ledger: the ledger being served.
        every: time between the end of one run and the next.
        policy: tlog-policy text to hold the log against, if it has one.
    """

    def __init__(self, ledger: Ledger, every: timedelta, *, policy: bytes | None = None) -> None:
        self._ledger = ledger
        self._every = every
        self._policy = policy
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._child: BaseProcess | None = None
        self._stopping = False
        self._unrecorded: LastRun | None = None
        ledger.database.ensure(TABLES)

    def tick(self, now: datetime) -> None:
        """Start a run when one is due; never waits for it."""
        with self._lock:
            running = self._thread is not None and self._thread.is_alive()
            if not running and not self._stopping and self._due(now):
                self._thread = threading.Thread(target=self._work, name="tocsin-verification", daemon=True)
                self._thread.start()

    def run(self) -> LastRun | None:
        """One run, waited for; None when it was stopped."""
        reader, writer = multiprocessing.Pipe(duplex=False)
        # Daemonic: it ends with this process, however that ends regularly.
        child = multiprocessing.get_context("spawn").Process(
            target=_verify, args=(writer, self._ledger.directory, self._policy), daemon=True
        )
        with self._lock:
            if self._stopping:
                return None
            child.start()
            self._child = child
        writer.close()
        try:
            answer = reader.recv_bytes()
        except EOFError:
            answer = b""
        finally:
            reader.close()
            child.join()
        return None if self._stopped() else self._keep(answer)

    def last(self) -> LastRun | None:
        """The newest result; None before the first."""
        if self._unrecorded is not None:
            return self._unrecorded
        with self._ledger.database.read() as connection:
            row = connection.execute("SELECT entry, at, result FROM api_verification").fetchone()
        return None if row is None else _last(row["entry"], parse_time(row["at"]), orjson.loads(row["result"]))

    def stop(self) -> None:
        """End a run that is under way; its result is lost, and the next start begins another."""
        with self._lock:
            self._stopping = True
            child, thread = self._child, self._thread
        if child is not None and child.is_alive():
            child.terminate()
        if thread is not None:
            thread.join()

    def _stopped(self) -> bool:
        return self._stopping

    def _due(self, now: datetime) -> bool:
        last = self.last()
        if last is not None:
            return now - last.at >= self._every
        try:
            # A new ledger has nothing to verify yet: count from its first entry.
            return now - parse_time(self._ledger.entry(0).decode().recorded) >= self._every
        except NotFoundError:
            return False

    def _work(self) -> None:
        try:
            self.run()
        except TocsinError as error:
            _log.error("The ledger could not be verified in the background: %s", error)
        except Exception as error:  # noqa: BLE001 - a defect here must not end the clocks
            _log.error("The ledger could not be verified in the background: unexpected %s", type(error).__qualname__)

    def _keep(self, answer: bytes) -> LastRun:
        result = orjson.loads(answer) if answer else _UNANSWERED
        now = self._ledger.clock()
        run = _last(None, now, result)
        index = result["first_bad_index"]
        data: dict[str, Any] = {
            "size": result["size"],
            "root": result["root"],
            "mode": result["mode"],
            "findings": result["digest"],
            "anchored": run.anchored,
        }
        if run.failed:
            data |= {
                "kind": result["kind"],
                # JSON readers lose larger integers; the stored result has it.
                "first_bad_index": index if index is not None and 0 <= index <= MAX_INT else None,
            }
            _log.error("The ledger is damaged: %s at entry %s. Run `tocsin verify`.", result["kind"], index)

        def also(connection: Connection, indices: Sequence[int]) -> None:
            connection.execute(
                "INSERT INTO api_verification VALUES (1, ?, ?, ?) ON CONFLICT (only) DO UPDATE"
                " SET entry = excluded.entry, at = excluded.at, result = excluded.result",
                (indices[0], format_time(now), orjson.dumps(result)),
            )

        self._unrecorded = run  # should the store refuse, the home page must say it all the same
        self._ledger.record([OwnEvent(FAILED if run.failed else PASSED, data)], also)
        self._unrecorded = None
        return self.last() or run


_UNANSWERED: Final[dict[str, Any]] = {
    "exit_code": EXIT_UNREADABLE,
    "first_bad_index": None,
    "kind": "unreadable",
    "message": "The verification ended without a result; it was stopped from outside or ran out of memory.",
    "size": 0,
    "root": "",
    "mode": "full",
    "digest": "",
    "anchored_range": None,
}


def _last(entry: int | None, at: datetime, result: dict[str, Any]) -> LastRun:
    anchored = result["anchored_range"]
    return LastRun(
        entry,
        at,
        result["exit_code"] in (EXIT_DAMAGED, EXIT_UNREADABLE),
        result["size"],
        result["first_bad_index"],
        result["kind"],
        result["message"],
        anchored[1] if anchored else 0,
    )


def _verify(writer: Pipe, directory: Path, policy: bytes | None) -> None:
    """What the child does: verify, and send the result."""
    with suppress(OSError):
        os.nice(_NICE)
    try:
        findings = verify_directory(directory, policy=policy, remember=True, beside=BESIDE)
    except TocsinError as error:
        result = _UNANSWERED | {"message": str(error)}
    else:
        result = findings.as_json() | {"digest": findings.digest}
    writer.send_bytes(orjson.dumps(result))
    writer.close()
