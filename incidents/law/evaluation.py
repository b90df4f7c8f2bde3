"""Evaluations: what the engine says about one duty and stage (SCHEMA.md, section 5)."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

RESULTS = (
    "due", "due_without_fixed_time", "due_relative", "not_started", "delayed",
    "recommended", "voluntary",
    "exempt", "not_required", "not_in_force",
    "undetermined",
)  # fmt: skip
OWED = frozenset(RESULTS[:5])
"""The duty is owed, with or without a date."""
ADVISED = frozenset(RESULTS[5:7])
"""Not binding."""
NOT_OWED = frozenset(RESULTS[7:10])
"""Not owed, with the reason in `why`."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One duty and stage.

    Attributes:
        duty: id of the duty.
        stage: name of the stage; None when a single result stands for all stages.
        result: one of `RESULTS`.
        due_utc: the exact instant, for limits in hours.
        last_day: the last local day (it runs to 24:00), for limits in days or months.
        anchor: the clock the date runs from.
        why: short reasons, each with the predicate and the citation.
        missing: sorted fact paths that would decide, or that could still change the answer.
    """

    duty: str
    stage: str | None
    result: str
    due_utc: dt.datetime | None = None
    last_day: dt.date | None = None
    anchor: str | None = None
    why: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def owed(self) -> bool:
        """Whether the duty is owed."""
        return self.result in OWED

    def as_json(self) -> dict[str, Any]:
        """The evaluation as SCHEMA.md writes it: eight fields, in this order."""
        return {
            "duty": self.duty,
            "stage": self.stage,
            "result": self.result,
            "due_utc": format_utc(self.due_utc) if self.due_utc else None,
            "last_day": self.last_day.isoformat() if self.last_day else None,
            "anchor": self.anchor,
            "why": list(self.why),
            "missing": list(self.missing),
        }


def format_utc(instant: dt.datetime) -> str:
    """Write an instant as `2026-03-13T08:00:00Z`; fractions of a second are cut, never rounded up."""
    return instant.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
