"""What a verification found: damage by kind and place, and what was proven and what was not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

EXIT_INTACT: Final = 0
EXIT_DAMAGED: Final = 2
EXIT_NOT_ANCHORED: Final = 3
EXIT_UNREADABLE: Final = 4


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


@dataclass(slots=True)
class Findings:
    """What a verification found.

    Attributes:
        size: entries in the log.
        root: root hash over them, hex.
        damage: first damage of the log, then that of read models.
        payloads: payloads re-hashed.
        checkpoints: signed checkpoints checked.
        tiles, accesses, identities: other things compared or opened.
        gaps: missing numbers in producers' sequences, as (source, after, before).
        anchored: entries covered by a checkpoint that satisfies the policy.
        policy: what the policy check said, or None without a policy.
        not_checked: what this run did not prove.
    """

    size: int = 0
    root: str = ""
    damage: list[Damage] = field(default_factory=list)
    payloads: int = 0
    checkpoints: int = 0
    tiles: int = 0
    accesses: int = 0
    identities: int = 0
    gaps: list[tuple[str, str, str]] = field(default_factory=list)
    anchored: int = 0
    policy: str | None = None
    not_checked: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 intact, 2 damaged, 3 not anchored under the policy."""
        if self.damage:
            return EXIT_DAMAGED
        return EXIT_INTACT if self.policy in (None, "satisfied") else EXIT_NOT_ANCHORED

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
            "integrity": {
                "entries": self.size,
                "payloads": self.payloads,
                "checkpoints": self.checkpoints,
                "tiles": self.tiles,
                "access_rows": self.accesses,
                "identities": self.identities,
            },
            "anchored_range": [0, self.anchored] if self.anchored else None,
            "unanchored_range": [self.anchored, self.size] if self.anchored < self.size else None,
            "completeness": {
                "stream_versions": "no gaps" if not any(d.kind == "stream_gap" for d in self.damage) else "gaps",
                "producer_sequence_gaps": [
                    {"source": source, "after": after, "before": before} for source, after, before in self.gaps
                ],
            },
            "policy": self.policy,
            "not_checked": self.not_checked,
        }
