"""Facts that cannot all be true. Only what is certain is refused; an odd order that can happen is not.

Every contradiction names the path of one of the two facts and the other one, and repeats no value.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Mapping
from fractions import Fraction
from typing import Protocol

from incidents.law.errors import Problem

PROCESSOR = "processor_"

# What nobody can know, find or do before the incident happened.
_KNOWN_OR_DONE = """
acquisition_known actions_identified authority_notified awareness classification confirmation
constructive_awareness detection determination discovery early_warning_sent end_of_impact
end_of_impact_notification_sent handling_completed harm_determination hhs_notified identification
identification_of_affected_persons incident_closed incident_notification_sent incident_resolved
individual_notice initial_report_sent latest_intermediate_report_sent materiality_determination
misuse_determination no_harm_determination notice_content_ascertained notice_trigger_discovered
officers_informed oral_report_sent ransom_payment reasonable_belief recovery reportability_known
responsible_area_informed risk_awareness scope_identified statement_completed suspicion
"""
_AFTER_OCCURRENCE = frozenset(_KNOWN_OR_DONE.split())
# A finding about the incident, or a notice of it, cannot come before it was first detected.
_FOUND_OR_TOLD = """
classification confirmation determination early_warning_sent harm_determination hhs_notified
incident_notification_sent individual_notice initial_report_sent latest_intermediate_report_sent
materiality_determination misuse_determination no_harm_determination
"""
_AFTER_DETECTION = frozenset(_FOUND_OR_TOLD.split())
_ORDERS: tuple[tuple[str, Collection[str]], ...] = (
    ("occurrence", _AFTER_OCCURRENCE),
    ("detection", _AFTER_DETECTION),
    ("discovery", ("individual_notice",)),
    ("initial_report_sent", ("latest_intermediate_report_sent",)),
    ("end_of_impact", ("end_of_impact_notification_sent",)),
)
"""Clock, and the clocks that cannot lie before it; each also for the processor's own clocks."""

_ENDS = ("handling_completed", "incident_closed", "incident_resolved")
_SHARES = ("clients_percent", "counterparts_percent")
_ALL_PERCENT = 100
_EEA_STATES = 30


class Known(Protocol):
    """What the checks look at: the facts after reading, None where unknown."""

    @property
    def clocks(self) -> Mapping[str, dt.datetime]:
        """Instants in UTC."""

    @property
    def conditions(self) -> Mapping[str, bool]:
        """Further yes/no facts that were stated."""

    @property
    def numbers(self) -> Mapping[str, Fraction]:
        """Quantities that were stated."""

    @property
    def flags(self) -> Mapping[str, bool | None]:
        """The yes/no facts."""

    @property
    def sets(self) -> Mapping[str, frozenset[str] | None]:
        """The lists of words."""

    @property
    def medium(self) -> str | None:
        """What the data were on."""


def contradictions(facts: Known, stated: Collection[str]) -> Iterator[Problem]:
    """Find what cannot all be true.

    Args:
        facts: the facts as read.
        stated: names of the top-level facts that were written down (not defaulted by `complete`).

    Yields:
        One problem per contradiction.
    """
    yield from _orders(facts.clocks)
    yield from _protection(facts, stated)
    yield from _conditions(facts)
    yield from _quantities(facts.numbers)
    classes = facts.sets["legal_classes"] or frozenset()
    if "minors" in stated and facts.flags["minors"] is False and "children_under_14" in classes:
        yield Problem("legal_classes", "names children under 14, but the fact minors is false")


def _orders(clocks: Mapping[str, dt.datetime]) -> Iterator[Problem]:
    for side in ("", PROCESSOR):
        for first, later in _ORDERS:
            start = clocks.get(f"{side}{first}")
            for name in sorted(later):
                when = clocks.get(f"{side}{name}")
                if start and when and when < start:
                    text = f"lies before clocks.{side}{first}; one of the two is wrong"
                    yield Problem(f"clocks.{side}{name}", text)
    happened = clocks.get("occurrence")
    for name in sorted(_AFTER_OCCURRENCE):
        when = clocks.get(f"{PROCESSOR}{name}")
        if happened and when and when < happened:
            yield Problem(f"clocks.{PROCESSOR}{name}", "lies before clocks.occurrence; one of the two is wrong")


def _protection(facts: Known, stated: Collection[str]) -> Iterator[Problem]:
    flags = facts.flags
    both = "encrypted" in stated and "encryption_key_compromised" in stated
    if both and flags["encrypted"] is False and flags["encryption_key_compromised"]:
        yield Problem("encryption_key_compromised", "a key is compromised, but the fact encrypted is false")
    if "encrypted" in stated and flags["encrypted"] and facts.medium == "paper":
        yield Problem("encrypted", "data on paper cannot be encrypted; medium and encrypted contradict each other")


def _conditions(facts: Known) -> Iterator[Problem]:
    stated = facts.conditions
    if stated.get("suspected_only") and "confirmation" in facts.clocks:
        yield Problem("conditions.suspected_only", "only suspected, but clocks.confirmation says it is confirmed")
    if stated.get("incident_ongoing"):
        for name in _ENDS:
            if name in facts.clocks:
                yield Problem("conditions.incident_ongoing", f"still ongoing, but clocks.{name} says it has ended")
    if stated.get("malicious") is False and stated.get("malicious_unauthorised_access"):
        text = "a malicious access took place, but conditions.malicious is false"
        yield Problem("conditions.malicious_unauthorised_access", text)


def _quantities(numbers: Mapping[str, Fraction]) -> Iterator[Problem]:
    for name in _SHARES:
        if numbers.get(name, 0) > _ALL_PERCENT:
            yield Problem(f"numbers.{name}", "more than 100 percent")
    if numbers.get("member_states_affected", 0) > _EEA_STATES:
        yield Problem("numbers.member_states_affected", f"more member states than there are (at most {_EEA_STATES})")
    users, total = numbers.get("users_limited"), numbers.get("eu_users_total")
    if users is not None and total is not None and users > total:
        yield Problem("numbers.users_limited", "more users than numbers.eu_users_total")
