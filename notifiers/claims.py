"""The working side of the outbox: claim steps, give them back, record what came of them.

A step is claimed by a lease before it is sent and recorded after. A worker that dies between the two
leaves a lease behind; the next claim raises the step's counter above one, and from then on every receipt
for it says `possibly_repeated`, because nobody can know whether the first copy went out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from ledger.store.connection import Connection
from notifiers.outbox import Claimed, load, resettle

_COLUMNS: Final = (
    "s.id, s.telling, s.person, s.addressee, t.audience, t.language, t.reference, s.channel, s.step, s.claims,"
    " s.attempts"
)
_SENT: Final = frozenset({"handed_over", "delivered", "unknown"})


@dataclass(frozen=True)
class Result:
    """What came of one claimed step.

    Attributes:
        claimed: the step as it was claimed.
        outcome: what the adapter reported, or "excluded".
        state: the step's next state.
        reason: code for the book.
        not_before: milliseconds since 1970; when a step that is due again may be tried.
        leaf: canonical JSON of the receipt.
        repeated: the addressee may have got more than one copy.
    """

    claimed: Claimed
    outcome: str
    state: str
    reason: str
    not_before: int
    leaf: bytes
    repeated: bool


def claim(
    connection: Connection, campaign: str, channel: str, *, owner: str, now: int, until: int, limit: int
) -> list[Claimed]:
    """Lease up to `limit` steps that are due; nothing while the campaign is not open.

    Args:
        connection: a write transaction.
        campaign: its name.
        channel: which steps.
        owner: who leases them.
        now: milliseconds since 1970.
        until: when the lease ends, in milliseconds since 1970.
        limit: most steps to take; small, so that a pause bites at once.
    """
    if load(connection, campaign).state != "open":
        return []
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM outbox_step s JOIN outbox_telling t ON t.id = s.telling"  # noqa: S608  # constant
        " WHERE s.campaign = ? AND s.state = 'due' AND s.channel = ? AND s.not_before <= ?"
        " ORDER BY s.not_before, s.id LIMIT ?",
        (campaign, channel, now, limit),
    ).fetchall()
    connection.executemany(
        "UPDATE outbox_step SET state = 'leased', lease_owner = ?, lease_until = ?, claims = claims + 1 WHERE id = ?",
        [(owner, until, row["id"]) for row in rows],
    )
    return [Claimed(**{**dict(row), "claims": row["claims"] + 1}) for row in rows]


def reclaim(connection: Connection, campaign: str, *, now: int, is_dead: Callable[[str], bool]) -> int:
    """Make steps due again whose lease ran out or whose worker is dead; their counters stay.

    Returns:
        How many.
    """
    taken = 0
    owners = connection.execute(
        "SELECT lease_owner, min(lease_until) AS first FROM outbox_step"
        " WHERE campaign = ? AND state = 'leased' GROUP BY lease_owner",
        (campaign,),
    ).fetchall()
    for row in owners:
        dead = is_dead(row["lease_owner"])
        if dead or row["first"] < now:
            taken += connection.execute(
                "UPDATE outbox_step SET state = 'due', lease_owner = NULL, lease_until = NULL, not_before = ?"
                " WHERE campaign = ? AND state = 'leased' AND lease_owner = ? AND (? = 1 OR lease_until < ?)",
                (now, campaign, row["lease_owner"], dead, now),
            ).rowcount
    if load(connection, campaign).state == "cancelled":
        close_due(connection, campaign, "cancelled", "cancelled", now)
    return taken


def release(connection: Connection, steps: Iterable[Claimed], owner: str) -> None:
    """Give back steps that certainly were not sent; the counter goes back too."""
    connection.executemany(
        "UPDATE outbox_step SET state = 'due', lease_owner = NULL, lease_until = NULL, claims = claims - 1"
        " WHERE id = ? AND state = 'leased' AND lease_owner = ?",
        [(step.id, owner) for step in steps],
    )


def abandon(connection: Connection, campaign: str, owner: str, now: int) -> None:
    """Make everything this worker still holds due again; it may have been sent, so the counters stay."""
    connection.execute(
        "UPDATE outbox_step SET state = 'due', lease_owner = NULL, lease_until = NULL, not_before = ?"
        " WHERE campaign = ? AND state = 'leased' AND lease_owner = ?",
        (now, campaign, owner),
    )
    if load(connection, campaign).state == "cancelled":
        close_due(connection, campaign, "cancelled", "cancelled", now)


def close_due(connection: Connection, campaign: str, state: str, reason: str, now: int) -> int:
    """Move every step that is due to "expired" or "cancelled" and book its telling.

    Returns:
        How many steps.
    """
    tellings = [
        row["telling"]
        for row in connection.execute(
            "SELECT telling FROM outbox_step WHERE campaign = ? AND state = 'due'", (campaign,)
        )
    ]
    connection.execute(
        "UPDATE outbox_step SET state = ?, reason = ? WHERE campaign = ? AND state = 'due'",
        (state, reason, campaign),
    )
    resettle(connection, tellings, now)
    return len(tellings)


def record(
    connection: Connection,
    campaign: str,
    results: Sequence[Result],
    *,
    root: str,
    entry: int,
    owner: str,
    now: int,
) -> None:
    """Write attempts, next states and the book; call inside the transaction that appends the root.

    Args:
        connection: that transaction.
        campaign: its name.
        results: in the order of the leaves under the root.
        root: hex root over their leaves.
        entry: index of the log entry that holds it.
        owner: this worker.
        now: milliseconds since 1970.
    """
    (block,) = connection.execute(
        "INSERT INTO outbox_block (campaign, root, entry) VALUES (?, ?, ?) RETURNING id", (campaign, root, entry)
    ).fetchone()
    connection.executemany(
        "INSERT INTO outbox_attempt (block, position, step, attempt, outcome, leaf) VALUES (?, ?, ?, ?, ?, ?)",
        [
            (block, position, result.claimed.id, result.claimed.attempts + 1, result.outcome, result.leaf)
            for position, result in enumerate(results)
        ],
    )
    cancelled = load(connection, campaign).state == "cancelled"
    for result in results:
        _advance(connection, result, owner, cancelled=cancelled)
    resettle(connection, [result.claimed.telling for result in results], now)


def _advance(connection: Connection, result: Result, owner: str, *, cancelled: bool) -> None:
    step = result.claimed
    state, reason = result.state, result.reason
    if cancelled and state == "due":
        state, reason = "cancelled", "cancelled"
    # The counter is of claims since the outcome was last known: a refusal that we saw is no repeat.
    claims = step.claims if result.outcome == "unknown" else 0
    mine = connection.execute(
        "UPDATE outbox_step SET state = ?, reason = ?, not_before = ?, claims = ?, attempts = attempts + 1,"
        " lease_owner = NULL, lease_until = NULL WHERE id = ? AND state = 'leased' AND lease_owner = ?",
        (state, reason, result.not_before, claims, step.id, owner),
    ).rowcount
    if not mine and state in ("handed_over", "delivered"):
        # The lease ran out meanwhile and somebody else may be sending again; what went out still counts.
        connection.execute(
            "UPDATE outbox_step SET state = ?, reason = ?, attempts = attempts + 1, lease_owner = NULL,"
            " lease_until = NULL WHERE id = ? AND state != 'delivered'",
            (state, reason, step.id),
        )
    if result.repeated and result.outcome in _SENT:
        connection.execute("UPDATE outbox_telling SET repeated = 1 WHERE id = ?", (step.telling,))


def next_due(connection: Connection, campaign: str, channels: Iterable[str]) -> int | None:
    """When the first step on one of these channels may be sent, in milliseconds; None when there is none."""
    moments = [
        connection.execute(
            "SELECT min(not_before) FROM outbox_step WHERE campaign = ? AND state = 'due' AND channel = ?",
            (campaign, channel),
        ).fetchone()[0]
        for channel in channels
    ]
    return min((moment for moment in moments if moment is not None), default=None)
