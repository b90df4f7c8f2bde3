"""Completeness: a verifiable index, and reports that prove nothing was left out.

`seal_index` logs the roots of two Merkle maps, from people and from resources to the positions of
their entries. `subject_report` and `resource_report` prove a list of accesses against such a root;
`verify_report` checks that offline; `recompute` is the auditor's check that the roots are right.
"""

from ledger.completeness.check import Verdict, verify_report
from ledger.completeness.errors import MalformedReportError, ReportError
from ledger.completeness.form import Report
from ledger.completeness.recompute import Recomputation, recompute
from ledger.completeness.render import markdown
from ledger.completeness.report import Made, resource_report, subject_report
from ledger.completeness.sealing import Seal, index_key, seal_index, seals
from ledger.completeness.source import LogSource, log_of, open_export, write_export

__all__ = [
    "LogSource",
    "Made",
    "MalformedReportError",
    "Recomputation",
    "Report",
    "ReportError",
    "Seal",
    "Verdict",
    "index_key",
    "log_of",
    "markdown",
    "open_export",
    "recompute",
    "resource_report",
    "seal_index",
    "seals",
    "subject_report",
    "verify_report",
    "write_export",
]
