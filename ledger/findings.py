"""What a verification found: damage by kind and place, and what was proven and what was not."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Final

EXIT_INTACT: Final = 0
EXIT_DAMAGED: Final = 2
EXIT_NOT_ANCHORED: Final = 3
EXIT_UNREADABLE: Final = 4

GRAVITY: Final = (
    "entry_missing",
    "entry_altered",
    "witnessed_root_mismatch",
    "verified_root_mismatch",
    "rolled_back",
    "root_mismatch",
    "stream_gap",
    "row_altered",
    "chain_altered",
    "time_reversed",
    "rotation_invalid",
    "predecessor_invalid",
    "checkpoint_altered",
    "checkpoint_missing",
    "witnessed_note_altered",
    "rebuild_invalid",
    "rebuild_unrecorded",
    "payload_missing",
    "payload_altered",
    "erasure_list_altered",
    "tile_altered",
    "tile_missing",
    "head_altered",
    "vault_altered",
    "identity_missing",
    "duplicate_guard_altered",
    "erasure_undone",
    "affected_set_altered",
    "inventory_altered",
    "receipt_altered",
    "text_altered",
    "read_model_altered",
    "schema_altered",
    "store_damaged",
)
"""Every kind of damage; at one entry, the earlier in this list is named first."""


@dataclass(frozen=True, slots=True)
class Damage:
    """Something that is not as it was recorded.

    Attributes:
        kind: one word for the kind, stable for programs.
        index: leaf index of the first entry concerned, or None when no entry is.
        message: what it means.
    """

    kind: str
    index: int | None
    message: str

    @property
    def place(self) -> tuple[int, int]:
        """Sorts damage in log order, and the graver kind first at one entry."""
        gravity = GRAVITY.index(self.kind) if self.kind in GRAVITY else len(GRAVITY)
        return (-1 if self.index is None else self.index, gravity)


@dataclass(slots=True)
class Findings:
    """What a verification found.

    Attributes:
        size: entries in the log.
        root: root hash over them, hex.
        mode: `full`, or `incremental` when it built on an earlier verification.
        start: first entry that was hashed; what lies before is trusted, see `trusted`.
        trusted: what was taken from an earlier verification without checking it again.
        notes: what else a reader should know about this run.
        damage: first damage of the log, then that of read models.
        payloads: payloads re-hashed.
        checkpoints: signed checkpoints checked.
        tiles, accesses, identities: other things compared or opened.
        gaps: missing numbers in producers' sequences, as (source, after, before).
        witnessed: entries covered by the newest kept checkpoint that this log calls witnessed and that
            fits the log; who cosigned it is only checked under a policy.
        anchored: entries covered by a checkpoint that satisfies the policy.
        policy: what the policy check said, or None without a policy.
        lost: one for each rebuild from tiles: the entry that records it, its range, how many payloads it says
            are lost, and how many are missing.
        lineage: where this log comes from: changes of its key, restorations, the log it continues.
        not_checked: what this run did not prove.
    """

    size: int = 0
    root: str = ""
    mode: str = "full"
    start: int = 0
    trusted: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    damage: list[Damage] = field(default_factory=list)
    payloads: int = 0
    checkpoints: int = 0
    tiles: int = 0
    accesses: int = 0
    identities: int = 0
    gaps: list[tuple[str, str, str]] = field(default_factory=list)
    witnessed: int = 0
    anchored: int = 0
    policy: str | None = None
    lost: list[dict[str, Any]] = field(default_factory=list)
    lineage: list[str] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 intact, 2 damaged, 3 not anchored under the policy."""
        if self.damage:
            return EXIT_DAMAGED
        return EXIT_INTACT if self.policy in (None, "satisfied") else EXIT_NOT_ANCHORED

    @property
    def digest(self) -> str:
        """Hex SHA-256 of `to_bytes`."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """The result as JSON with sorted keys; a damaged tile's number may be larger than canonical JSON takes."""
        return json.dumps(self.as_json(), sort_keys=True, separators=(",", ":")).encode()

    def as_json(self) -> dict[str, Any]:
        """The result as `tocsin verify --json` prints it."""
        verdict = {EXIT_INTACT: "intact", EXIT_DAMAGED: "damaged", EXIT_NOT_ANCHORED: "not anchored"}
        first = self.damage[0] if self.damage else None
        return {
            "verdict": verdict[self.exit_code],
            "exit_code": self.exit_code,
            "first_bad_index": first.index if first else None,
            "kind": first.kind if first else None,
            "message": first.message if first else None,
            "damage": [{"kind": d.kind, "index": d.index, "message": d.message} for d in self.damage],
            "size": self.size,
            "root": self.root,
            "mode": self.mode,
            "verified_range": [self.start, self.size] if self.start < self.size else None,
            "trusted": self.trusted,
            "notes": self.notes,
            "integrity": {
                "entries": self.size - self.start,
                "payloads": self.payloads,
                "checkpoints": self.checkpoints,
                "tiles": self.tiles,
                "access_rows": self.accesses,
                "identities": self.identities,
            },
            "witnessed_range": [0, self.witnessed] if self.witnessed else None,
            "anchored_range": [0, self.anchored] if self.anchored else None,
            "unanchored_range": [self.anchored, self.size] if self.anchored < self.size else None,
            "completeness": {
                "stream_versions": "no gaps" if not any(d.kind == "stream_gap" for d in self.damage) else "gaps",
                "producer_sequence_gaps": [
                    {"source": source, "after": after, "before": before} for source, after, before in self.gaps
                ],
            },
            "lost_payloads": self.lost,
            "lineage": self.lineage,
            "policy": self.policy,
            "not_checked": self.not_checked,
        }
