"""The event types Tocsin knows, and what each must carry.

A type reads `<reverse-dns>.<family>.<verb>.v<n>`; producers use their own prefix, Tocsin's is
`org.tocsin`. An event whose family and verb are not listed here is accepted and marked *unknown*: it
is quarantined in plain sight, never dropped.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, Literal

OWN_PREFIX: Final = "org.tocsin"
OWN_SOURCE: Final = "urn:tocsin:ledger"
"""Source of the events that Tocsin records itself; producers may not use `urn:tocsin:`."""

Verdict = Literal["known", "unknown"]

OUTCOMES: Final = frozenset(("success", "failure", "denied", "error"))
ACTOR_KINDS: Final = frozenset(("human", "service", "system", "anonymous"))

_TYPE: Final = re.compile(
    r"[a-z][a-z0-9-]*(?:\.[a-z0-9-]+)*\.(?P<family>[a-z_]+)\.(?P<verb>[a-z_]+)\.v[1-9][0-9]{0,3}",
    re.ASCII,
)

_REQUIRED: Final[dict[str, frozenset[str]]] = {
    **dict.fromkeys(
        (
            "data.view", "data.create", "data.modify", "data.delete", "data.share", "data.disclose",
            "data.transfer", "data.print", "data.download", "data.decrypt", "data.reidentify", "data.export",
        ),
        frozenset(("actor", "outcome", "resource")),
    ),
    "data.search": frozenset(("actor", "outcome")),
    **dict.fromkeys(
        (
            "access.denied", "access.break_glass", "api.called",
            "auth.login", "auth.logout", "auth.failed", "auth.assumed_role", "auth.mfa_enrolled", "auth.mfa_removed",
            "permission.granted", "permission.revoked", "permission.reviewed",
            "identity.created", "identity.disabled", "identity.deleted",
            "credential.issued", "credential.revoked",
        ),
        frozenset(("actor", "outcome")),
    ),
    **dict.fromkeys(
        (
            "consent.given", "consent.refused", "consent.withdrawn", "consent.expired",
            "notice.published", "notice.shown",
            "policy.published", "policy.changed", "policy.retired", "policy.acknowledged",
            "dsr.received", "dsr.identity_verified", "dsr.extended", "dsr.fulfilled", "dsr.refused",
            "retention.rule_changed", "retention.executed", "erasure.executed", "hold.placed", "hold.lifted",
            "training.assigned", "training.completed", "training.overdue",
            "agreement.signed", "agreement.expired", "assessment.completed",
            "vulnerability.scan_completed", "vulnerability.remediated",
            "backup.taken", "backup.restored", "backup.restore_tested",
            "key.created", "key.rotated", "key.destroyed", "key.compromised",
            "config.changed", "logging.started", "logging.stopped", "logging.paused", "logging.rules_changed",
            "report.generated", "report.released", "report.opened", "log.viewed", "log.exported",
            "incident.detected", "incident.triaged", "incident.declared", "incident.contained", "incident.closed",
            "breach.notified_authority", "breach.notified_subjects", "breach.not_notified",
        ),
        frozenset(("actor",)),
    ),
}  # fmt: skip

FIELDS: Final = frozenset(
    (
        "actor", "outcome", "outcome_reason", "resource", "query", "subjects", "subjects_count", "subjects_root",
        "bulk", "processing", "purpose", "legal_basis", "personal_data", "special_category", "recipient",
        "justification", "policy", "change", "client", "credential", "evidence", "text", "raw", "details",
    ),
)  # fmt: skip
"""Fields that `data` of a known type may have; `details` is for what a type adds of its own."""


@lru_cache(maxsize=4096)
def family_verb(event_type: str) -> str | None:
    """`family.verb` of an event type, or None when it is not written the way types are."""
    match = _TYPE.fullmatch(event_type)
    return None if match is None else f"{match['family']}.{match['verb']}"


@lru_cache(maxsize=4096)
def verdict(event_type: str) -> Verdict:
    """Whether the vocabulary knows the type."""
    return "known" if family_verb(event_type) in _REQUIRED else "unknown"


def required(event_type: str) -> frozenset[str]:
    """Fields that `data` must have; empty for an unknown type."""
    return _REQUIRED.get(family_verb(event_type) or "", frozenset())
