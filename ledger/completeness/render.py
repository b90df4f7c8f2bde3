"""A completeness report for people: Markdown, from the report and what its verification said."""

from __future__ import annotations

import re
from typing import Final

from ledger.access import accesses
from ledger.completeness.check import Verdict
from ledger.completeness.form import Proven, Report
from ledger.errors import TocsinError

_SPECIAL: Final = re.compile(r"[\\`*_{}\[\]<>()#+!|~&-]")
_BREAKING: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def markdown(report: Report, verdict: Verdict) -> str:
    """The report as a Markdown document.

    Everything that a producer wrote is escaped. Refs stay refs: names are not in the log.
    """
    first = report.sections[0].key
    what = "this person" if first.kind == "subject" else "this resource"
    lines = [
        f"# All recorded accesses to {what}",
        "",
        f"- Log: {_escape(report.origin)}",
        f"- Range: entries 0 to {report.size - 1}; signed tree of {verdict.tree_size} entries",
        f"- Root: `{verdict.tree_root}`",
        f"- Made: {_escape(report.made)}",
        f"- Accesses: {verdict.accesses} ({verdict.erased} erased, {verdict.withheld} withheld)",
    ]
    lines += [
        f"- About: {key.kind} {_escape(key.name)}, {count} accesses, index sealed by entry {index}"
        for key, count, index in verdict.keys
    ]
    lines += ["", "## Accesses", ""]
    if report.accesses:
        lines += ["| entry | time | type | actor | outcome | resource |", "| ---: | --- | --- | --- | --- | --- |"]
        lines += [_row(access) for access in report.accesses]
    else:
        lines.append("None. The sealed index proves that it lists nothing here.")
    lines += ["", "## Proven", ""]
    lines += [f"- {_escape(line)}" for line in verdict.proven]
    lines += ["", "## Not proven", ""]
    lines += [f"- {_escape(line)}" for line in verdict.not_proven]
    lines += [
        "",
        "## Check it",
        "",
        "`tocsin report check FILE.json --vkey KEY` (or `--policy FILE`), without network, with the JSON form of",
        "this report and the log's key from a place you trust.",
        "",
    ]
    return "\n".join(lines)


def _row(access: Proven) -> str:
    stored = access.stored
    entry = stored.decode()
    head = f"| {stored.index} | {_escape(entry.time)} | {_escape(entry.type)} "
    try:
        found = accesses(stored, entry)
    except (TocsinError, AttributeError, KeyError, TypeError):
        found = []
    if not found:
        return f"{head}| *{access.state}* | | |"
    one = found[0]
    return f"{head}| {_escape(one.actor)} | {_escape(one.outcome)} | {_escape(one.resource)} |"


def _escape(text: object) -> str:
    """Text that Markdown shows as it is, on one line, reading the way it is written."""
    if text is None:
        return ""
    return _SPECIAL.sub(lambda match: "\\" + match.group(), _BREAKING.sub("\ufffd", str(text)))
