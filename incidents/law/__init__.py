"""The law engine: which duties apply to an incident, why, and exactly when.

Duties are dated, cited data (`data/`, described in `data/SCHEMA.md`); the engine is a pure function of
facts and duties, three-valued, with the reason for every answer. Not legal advice.
"""

from __future__ import annotations

from incidents.law.duties import Duty
from incidents.law.errors import LawDataError, LawError, LawFactsError, UnknownDutyError
from incidents.law.evaluation import ADVISED, NOT_OWED, OWED, RESULTS, Evaluation
from incidents.law.facts import Facts
from incidents.law.library import DISCLAIMER, Law
from incidents.law.readings import Reading, outer_bounds

__all__ = [
    "ADVISED",
    "DISCLAIMER",
    "NOT_OWED",
    "OWED",
    "RESULTS",
    "Duty",
    "Evaluation",
    "Facts",
    "Law",
    "LawDataError",
    "LawError",
    "LawFactsError",
    "Reading",
    "UnknownDutyError",
    "outer_bounds",
]
