"""What the demo's people say and decide: the organisation, the facts they state, the words of the notices.

Everything here is an invented company's own statement, fed through the same doors a real team uses. The
addresses are on example.org (RFC 2606) and the telephone number lies in a range set aside for fiction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import resources
from typing import Any, Final

import yaml

TITLE: Final = "Members' export read with leaked credentials of the edge proxy"
TIME_ZONE: Final = "Europe/Madrid"

RESPONDER: Final = "nuria.placeholder"
"""Finds the intrusion, states the facts and drafts the notices."""
COUNSEL: Final = "tomas.ejemplar"
"""Approves what somebody else drafted."""

ORGANISATION: Final = {
    "name": "Lumbrera Trails",
    "contact_name": "Data protection officer",
    "contact_email": "privacy@lumbrera.example.org",
    "contact_phone": "+1 200 555 0142",
    "contact_address": "Calle Inventada 7, 28990 Villaejemplo, Spain",
    "website": "lumbrera.example.org",
    "sender_email": "notices@lumbrera.example.org",
    "sms_name": "Lumbrera",
    "sms_sender": "LUMBRERA",
}

FACTS: Final[Mapping[str, Any]] = {
    "complete": True,
    "role": ["controller"],
    "established_in": ["ES"],
    "network_operated_in": ["ES"],
    "nexus": [
        {"kind": "targets", "jurisdiction": "CN"},
        {"kind": "targets", "jurisdiction": "JP"},
        {"kind": "targets", "jurisdiction": "BR"},
        {"kind": "means", "jurisdiction": "MX"},
    ],
    "medium": "electronic",
    "encrypted": False,
    "incident_types": ["data_breach", "unauthorised_access"],
    "breach_types": ["access", "acquisition", "disclosure"],
    "risk": "high",
    "conditions.accessed_or_acquired_by_unauthorised_person": True,
    "conditions.computer_intrusion": True,
    "conditions.malicious": True,
    "conditions.malicious_unauthorised_access": True,
    "conditions.may_significantly_affect_interests_and_fundamental_rights": True,
    "conditions.reason_to_believe_acquired_by_unauthorised_person": True,
    "conditions.suspected_crime": True,
}
"""What the team states about the incident; people, data and minors follow from the affected set."""


@dataclass(frozen=True)
class Moment:
    """A clock the team records.

    Attributes:
        name: of the clock, as the law data calls it.
        before: how long before the demo began it stood; None for the first call of the intruder.
        note: what started it.
    """

    name: str
    before: timedelta | None
    note: str


MOMENTS: Final = (
    Moment("occurrence", None, "first call from the unknown address, in the access log"),
    Moment("first_alert", timedelta(minutes=200), "the bucket's alarm for an unknown address"),
    Moment("detection", timedelta(minutes=170), "the alarm was looked at by somebody"),
    Moment("suspicion", timedelta(minutes=150), "role credentials used from outside"),
    Moment("discovery", timedelta(minutes=95), "the object that was read was identified"),
    Moment("identification", timedelta(minutes=95), "the incident was identified"),
    Moment("awareness", timedelta(minutes=80), "reasonably certain that personal data was read"),
    Moment("confirmation", timedelta(minutes=80), "confirmed from the access log"),
    Moment("determination", timedelta(minutes=60), "determined that it is a breach that must be notified"),
    Moment("risk_awareness", timedelta(minutes=60), "risk to the people concerned was recognised"),
    Moment("end_of_impact", timedelta(minutes=30), "the role's credentials were revoked"),
)


def moment_at(moment: Moment, began: datetime, intrusion: datetime) -> datetime:
    """The instant of a clock, for a demo that began at `began`."""
    return intrusion if moment.before is None else began - moment.before


def narrative() -> dict[str, dict[str, str]]:
    """What the team writes into the notices, per language and slot."""
    text = resources.files("api.demo").joinpath("narrative.yaml").read_text(encoding="utf-8")
    found: dict[str, dict[str, str]] = yaml.safe_load(text)
    return found


def channels(mail_port: int, phone_url: str, letters: str) -> str:
    """`notifiers.toml` for the demo's own servers on loopback.

    Args:
        mail_port: of the SMTP server.
        phone_url: of the server for SMS and push.
        letters: folder for letters, below the data directory.
    """
    postal = ", ".join(
        f'"{part.strip()}"' for part in ("Lumbrera Trails, " + ORGANISATION["contact_address"]).split(",")
    )
    return f"""\
# Written by `tocsin demo` at every run: servers of its own on this machine. Replace them with real ones.
[organisation]
name = "{ORGANISATION["name"]}"
email = "{ORGANISATION["sender_email"]}"
reply_to = "{ORGANISATION["contact_email"]}"
phone = "{ORGANISATION["contact_phone"]}"
website = "{ORGANISATION["website"]}"
postal = [{postal}]
sms = "{ORGANISATION["sms_sender"]}"

[email]
host = "127.0.0.1"
port = {mail_port}
tls = "none"
sender = "{ORGANISATION["sender_email"]}"

[sms]
url = "{phone_url}/sms"

[push]
url = "{phone_url}/push"

[letter]
folder = "{letters}"
"""
