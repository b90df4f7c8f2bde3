"""The incident report: one content, as report.json for machines and as PDF for people.

What the incident's own events say is taken from `ledger.verify_bundle.derive_report`, the very function
with which a regulator's verifier checks report.json against the entries. This module adds only what no
event says (local times, the state of a limit when the report is made) and how to verify. The fields it may add
are listed in `ledger.verify_bundle.STATED`; anything else fails the verification.

Pure except for reading its own template: instants come from the caller, and the same report gives the
same PDF bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import typst
from pylopdf_fonts_zh_cn import __file__ as _fonts_package

from incidents.views import IncidentView
from incidents.views.wording import EXERCISE_BANNER, provision
from ledger.encoding import canonical, format_time, parse_time
from ledger.errors import TocsinError

PDF_STANDARDS: Final = ("a-2a", "ua-1")
"""Archivable and accessible: PDF/A-2a (ISO 19005-2) and PDF/UA-1 (ISO 14289-1), both on PDF 1.7."""

NOTICE: Final = (
    "Not legal advice. Duties marked 'recalled' were not checked against the official text: "
    "counsel must confirm them before anybody relies on them."
)
HOW_TO_VERIFY: Final = (
    "Run `python verify_bundle.py FILE.zip --vkey KEY` with any Python 3.8 or newer, without a network. "
    "Take verify_bundle.py from the Tocsin repository, and KEY from the organisation by another way than this "
    "file."
)
LIMITS: Final = (
    (
        "The ledger proves that each statement was made, when, and that it was not changed since. "
        "It does not prove that the statement is true."
    ),
    (
        "Staff and affected people appear under pseudonyms. Names and addresses are kept apart from the ledger "
        "and are not part of this file."
    ),
    (
        "The list of affected people is complete with regard to the recorded accesses and the data inventory. "
        "An access that no system reported to the ledger cannot be in it."
    ),
    (
        "'Handed over' means that a provider took responsibility for a message, 'delivered' that the provider "
        "reports its arrival. Neither means that it was read."
    ),
    (
        "Duties and deadlines were computed from the facts above and dated law data. Facts stated as assumed or "
        "unknown can change them."
    ),
    "This PDF shows report.json. The verifier compares report.json with the ledger's entries, not the PDF.",
)

# Decisions that need nobody's attention are left to report.json, so that the PDF stays readable.
_QUIET: Final = frozenset({"not_required", "not_in_force"})
_OPEN: Final = "undetermined"

_WORDS: Final[Mapping[str, str]] = {
    "declared": "Incident declared",
    "organisation_stated": "Organisation's own details stated",
    "fact_recorded": "Fact recorded",
    "clock_recorded": "Clock recorded",
    "scoped": "Affected people determined and frozen",
    "assessed": "Law engine run on the facts",
    "notice_drafted": "Notice drafted",
    "notice_approved": "Notice approved",
    "campaign_opened": "Dispatch opened",
    "campaign_finished": "Dispatch finished, balance closed",
    "announced": "Public announcement published",
    "recipient_told": "Recipient of a duty told",
    "report_released": "Report released",
    "closed": "Incident closed",
}

_NAMED_BY: Final = {
    "facts": "path",
    "clocks": "name",
    "notices": "notice",
    "campaigns": "campaign",
    "told": "duty",
    "reports": "name",
}


class ReportError(TocsinError):
    """The report could not be typeset."""


def complete(
    derived: Mapping[str, Any],
    stated: Mapping[tuple[str, str], Mapping[str, Any]],
    *,
    vkey: str,
    made: datetime,
) -> dict[str, Any]:
    """report.json: the derived sections with what only the present can say.

    Args:
        derived: from `ledger.verify_bundle.derive_bundle`.
        stated: what only the present knows about each (duty, stage), see `stated_duties`.
        vkey: the ledger's public key.
        made: when the report was made (aware).
    """
    zone = ZoneInfo(derived["incident"]["time_zone"])
    texts = _texts(derived)
    return {
        **derived,
        "notice": NOTICE,
        "limits": list(LIMITS),
        "head": {
            **derived["head"],
            "vkey": vkey,
            "generated_at": format_time(made),
            "generated_local": _local(made, zone),
            "how_to_verify": HOW_TO_VERIFY,
        },
        "clocks": [{**row, "at_local": _local(parse_time(row["at"]), zone)} for row in derived["clocks"]],
        "duties": [{**stated.get((row["duty"], row["stage"]), {}), **row} for row in derived["duties"]],
        "timeline": [{**row, "text": texts[row["index"]]} for row in derived["timeline"]],
    }


def stated_duties(view: IncidentView) -> dict[tuple[str, str], dict[str, Any]]:
    """What only the present knows of each (duty, stage): where its limit stands, and on the local clock."""
    stated: dict[tuple[str, str], dict[str, Any]] = {}
    for limit in view.deadlines:
        row: dict[str, Any] = {"state": limit.state}
        if limit.due is not None:
            row["due_local"] = _local(limit.due, ZoneInfo(limit.zone or view.time_zone))
        stated[limit.duty, limit.stage] = row
    return stated


def _texts(derived: Mapping[str, Any]) -> dict[int, str]:
    """What happened at each entry of the timeline, in plain words."""
    texts: dict[int, str] = {}
    for row in derived["timeline"]:
        verb = row["type"].split(".")[-2] if row["type"].count(".") else ""
        texts[row["index"]] = _WORDS.get(verb, row["type"])
    for section, name in _NAMED_BY.items():
        for row in derived[section]:
            version = f", version {row['number']}" if "number" in row else ""
            texts[row["index"]] += f": {row[name]}{version}"
            for more in ("approval_index", "finish_index"):
                if more in row:
                    texts[row[more]] += f": {row[name]}{version}"
    return texts


def _local(moment: datetime, zone: ZoneInfo) -> str:
    return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S %z")


def for_people(report: Mapping[str, Any]) -> dict[str, Any]:
    """The report as the PDF shows it: decisions that ask for nothing are counted, not listed."""
    shown = [row for row in report["duties"] if row.get("result") not in _QUIET]
    quiet = Counter(row["result"] for row in report["duties"] if row.get("result") in _QUIET)
    affected = report["affected"]
    if affected is not None:
        asked = {name: value for name, value in (affected["criteria"] or {}).items() if value}
        affected = {**affected, "criteria": asked}
    return {
        **report,
        "exercise": EXERCISE_BANNER if report["incident"].get("status") == "Exercise" else None,
        "affected": affected,
        "duties": [_brief(row) for row in shown if row.get("result") != _OPEN],
        "undetermined": [_brief(row) for row in shown if row.get("result") == _OPEN],
        "left_out": dict(sorted(quiet.items())),
    }


def _brief(row: Mapping[str, Any]) -> dict[str, Any]:
    """A decision under its law and article in short; its reasons do not repeat the citation beside them."""
    why = [reason.removesuffix(f" [{row.get('citation')}]") for reason in row.get("why") or ()]
    return {**row, "why": why, "provision": provision(row.get("law") or "", row.get("citation") or "")}


def render_pdf(report: Mapping[str, Any], digest: str) -> bytes:
    """Typeset the report.

    Args:
        report: the content of report.json.
        digest: hex SHA-256 of report.json, printed on the first page.

    Raises:
        ReportError: typst refused the template or the content.
    """
    template, fonts = _template()
    made = parse_time(report["head"]["generated_at"])
    try:
        pdf: bytes = typst.compile(
            template,
            format="pdf",
            font_paths=fonts,
            sys_inputs={"report": canonical(for_people(report)).decode(), "digest": digest},
            pdf_standards=list(PDF_STANDARDS),
            timestamp=int(made.timestamp()),
        )
    except typst.TypstError as error:
        raise ReportError(f"The report could not be typeset: {error.message}") from error
    return pdf


@cache
def _template() -> tuple[bytes, typst.Fonts]:
    source = (Path(__file__).parent / "incident.typ").read_bytes()
    # Only fonts that came with the installation: the same report gives the same file on every machine.
    fonts = typst.Fonts(include_system_fonts=False, font_paths=[str(Path(_fonts_package).parent)])
    return source, fonts
