"""Console sessions that several workers share: signed in at one, known to all."""

from __future__ import annotations

from typing import Final

from starlette.concurrency import run_in_threadpool

from api.http.guard import MAX_SESSIONS, SESSION_LIFE, Sessions, session_key
from ledger import Ledger
from ledger.encoding import format_time

TABLES: Final = """
CREATE TABLE IF NOT EXISTS api_session (
  key     BLOB PRIMARY KEY,
  expires TEXT NOT NULL
) STRICT
"""


class StoredSessions(Sessions):
    """Sessions in the ledger's database; of a secret only the hash is there, as in memory."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger.clock, ledger.entropy)
        self._database = ledger.database
        ledger.database.ensure(TABLES)

    def open(self) -> str:
        """Start a session, in the place of the oldest where there are too many."""
        secret = self._entropy(32).hex()
        now = self._clock()
        with self._database.write() as connection:
            connection.execute("DELETE FROM api_session WHERE expires <= ?", (format_time(now),))
            connection.execute(
                "DELETE FROM api_session WHERE key NOT IN (SELECT key FROM api_session ORDER BY expires DESC LIMIT ?)",
                (MAX_SESSIONS - 1,),
            )
            connection.execute(
                "INSERT INTO api_session (key, expires) VALUES (?, ?)",
                (session_key(secret), format_time(now + SESSION_LIFE)),
            )
        return secret

    def holds(self, secret: str) -> bool:
        """Whether the secret belongs to a session that has not ended."""
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT 1 FROM api_session WHERE key = ? AND expires > ?",
                (session_key(secret), format_time(self._clock())),
            ).fetchone()
        return row is not None

    async def check(self, secret: str) -> bool:
        """The same, in a thread."""
        return await run_in_threadpool(self.holds, secret)

    def close(self, secret: str) -> None:
        """End a session; an unknown one is no error."""
        with self._database.write() as connection:
            connection.execute("DELETE FROM api_session WHERE key = ?", (session_key(secret),))
