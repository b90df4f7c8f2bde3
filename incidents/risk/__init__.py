"""Risk aids: they stand beside the law engine and never decide.

A score, the legal test and the written bridge between the two are three things. The engine reads only the
risk that a person concluded; `assess_breach` shows all three and refuses a conclusion that departs from the
score without a written reason and a second person. Not legal advice.
"""

from __future__ import annotations

from incidents.risk.breach import BreachAssessment, Conclusion, LegalTest, assess_breach
from incidents.risk.enisa import Severity, severity
from incidents.risk.hipaa import HipaaFinding, four_factors

__all__ = [
    "BreachAssessment",
    "Conclusion",
    "HipaaFinding",
    "LegalTest",
    "Severity",
    "assess_breach",
    "four_factors",
    "severity",
]
