"""Jurisdiction codes: ISO 3166-1 countries and what lies inside them.

A code matches itself and everything inside it (`DE` matches `DE-HE`); `AE!` matches exactly `AE`;
`EU` and `EEA` are groups; `ANY` matches everything (SCHEMA.md, section 1).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_COUNTRIES = """
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW
BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI
FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN
IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME
MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF
PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV
SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK
YE YT ZA ZM ZW
"""
COUNTRIES = frozenset(_COUNTRIES.split())
"""ISO 3166-1 alpha-2, and XK for Kosovo."""

_STATES = """
AK AL AR AZ CA CO CT DC DE FL GA HI IA ID IL IN KS KY LA MA MD ME MI MN MO MS MT NC ND NE NH NJ NM NV NY
OH OK OR PA RI SC SD TN TX UT VA VT WA WI WV WY AS GU MP PR UM VI
"""
_PROVINCES = "AB BC MB NB NL NS NT NU ON PE QC SK YT"
_LAENDER = "BB BE BW BY HB HE HH MV NI NW RP SH SL SN ST TH"
_SUBDIVISIONS: Mapping[str, frozenset[str]] = {
    "US": frozenset(_STATES.split()),
    "CA": frozenset(_PROVINCES.split()),
    "DE": frozenset(_LAENDER.split()),
}
_CODE = re.compile(r"^[A-Z]{2}(?:-[A-Z0-9]{1,5})?$")
_ANYWHERE = ("",)


def is_place(code: str) -> bool:
    """Whether a fact may name this code: a country, or a subdivision of one.

    Subdivisions of the United States, Canada and Germany are checked against their lists; elsewhere
    only the form is checked, because the law data also knows zones that ISO does not (`AE-DIFC`).
    """
    if not _CODE.match(code) or code[:2] not in COUNTRIES:
        return False
    known = _SUBDIVISIONS.get(code[:2])
    return len(code) == 2 or known is None or code[3:] in known  # noqa: PLR2004  # "US" against "US-CA"


def country(code: str) -> str:
    """The country a code lies in: `US` for `US-CA`."""
    return code[:2]


class Area:
    """A set of codes as a duty writes it, made ready for matching."""

    __slots__ = ("_exact", "_inside", "codes")

    def __init__(self, codes: Iterable[str], groups: Mapping[str, Iterable[str]]) -> None:
        self.codes = tuple(codes)
        exact: set[str] = set()
        inside: set[str] = set()
        for code in self.codes:
            if code == "ANY":
                inside.update(_ANYWHERE)
            elif code.endswith("!"):
                exact.add(code[:-1])
            else:
                members = tuple(groups.get(code, (code,)))
                exact.update(members)
                inside.update(f"{member}-" for member in members)
        self._exact = frozenset(exact)
        self._inside = tuple(sorted(inside))

    def __contains__(self, code: str) -> bool:
        return code in self._exact or code.startswith(self._inside)

    def __str__(self) -> str:
        return ", ".join(self.codes)
