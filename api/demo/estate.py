"""The invented company's cloud: who works there, which buckets it has, and whose data lies in them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from api.demo.people import Person

COMPANY: Final = "Lumbrera Trails"
ACCOUNT: Final = "444455556666"  # a placeholder of AWS's own documentation
REGION: Final = "eu-south-2"

MEMBERS: Final = "lumbrera-members"
INVOICES: Final = "lumbrera-invoices"
BOOKINGS: Final = "lumbrera-bookings"
SUPPORT: Final = "lumbrera-support"
ASSETS: Final = "lumbrera-app-assets"
ANALYTICS: Final = "lumbrera-analytics"
BACKUPS: Final = "lumbrera-backups"
LOGS: Final = "lumbrera-logs"
DEPLOYS: Final = "lumbrera-deploys"
NEWSLETTER: Final = "lumbrera-newsletter"

STOLEN: Final = "exports/members-full.csv"
ARCHIVE: Final = "exports/former-members.csv"
REFUSED: Final = "ledger/invoices-open.csv"
MONTHS: Final = 12
ASSET_COUNT: Final = 400
LOG_COUNT: Final = 300

BUCKETS: Final[dict[str, tuple[str, ...]]] = {
    MEMBERS: (STOLEN, ARCHIVE),
    INVOICES: (REFUSED, *(f"pdf/batch-{n:02d}.zip" for n in range(1, MONTHS + 1))),
    BOOKINGS: tuple(f"monthly/bookings-{n:02d}.parquet" for n in range(1, MONTHS + 1)),
    SUPPORT: tuple(f"tickets/week-{n:02d}.ndjson" for n in range(1, 27)),
    ASSETS: tuple(f"img/trail-{n:04d}.webp" for n in range(ASSET_COUNT)),
    ANALYTICS: tuple(f"daily/clicks-{n:03d}.parquet" for n in range(90)),
    BACKUPS: tuple(f"weekly/db-{n:02d}.dump" for n in range(16)),
    LOGS: tuple(f"edge/part-{n:04d}.gz" for n in range(LOG_COUNT)),
    DEPLOYS: tuple(f"release/build-{n:03d}.tar" for n in range(60)),
    NEWSLETTER: tuple(f"lists/edition-{n:02d}.csv" for n in range(1, 25)),
}

_BASIC: Final = ["address", "date_of_birth", "email", "name", "phone"]
_US_EXTRA: Final = "drivers_license"  # car-park permits at the trail heads
_ES_EXTRA: Final = "national_id"


def arn(bucket: str, key: str = "") -> str:
    """The ARN of a bucket or of an object in it."""
    return f"arn:aws:s3:::{bucket}/{key}" if key else f"arn:aws:s3:::{bucket}"


@dataclass(frozen=True)
class Role:
    """A service of the company and what it does all day.

    Attributes:
        name: of the IAM role.
        instances: machines that run it.
        weight: how much of the traffic is its.
        reads, writes: buckets.
        night: True for batch jobs, which run between 1 and 4 in the morning.
    """

    name: str
    instances: int
    weight: int
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    night: bool = False


PROXY: Final = Role("EdgeProxy", 3, 70, (ASSETS,), (LOGS,))
"""The role whose credentials the misconfigured proxy gives away."""

ROLES: Final = (
    PROXY,
    Role("BookingApi", 4, 90, (BOOKINGS, ASSETS), (BOOKINGS,)),
    Role("MemberApi", 3, 60, (MEMBERS, ASSETS), (SUPPORT,)),
    Role("CrmSync", 2, 45, (MEMBERS, NEWSLETTER), (ANALYTICS,)),
    Role("NightlyReporting", 1, 40, (MEMBERS, BOOKINGS, ANALYTICS), (ANALYTICS,), night=True),
    Role("BackupRunner", 2, 50, (MEMBERS, INVOICES, BOOKINGS), (BACKUPS,), night=True),
    Role("InvoicePrinter", 2, 35, (INVOICES,), (INVOICES,)),
    Role("NewsletterBuilder", 1, 25, (NEWSLETTER, MEMBERS), (NEWSLETTER,)),
    Role("ImageResizer", 3, 60, (ASSETS,), (ASSETS,)),
    Role("SearchIndexer", 2, 35, (ASSETS, SUPPORT)),
    Role("SupportDesk", 2, 45, (SUPPORT, BOOKINGS), (SUPPORT,)),
    Role("ClickStream", 3, 60, (ANALYTICS,), (ANALYTICS,)),
    Role("LogShipper", 4, 70, (LOGS,), (LOGS,)),
    Role("DeployRunner", 2, 25, (DEPLOYS,), (DEPLOYS, ASSETS)),
    Role("FraudCheck", 2, 30, (BOOKINGS, INVOICES)),
    Role("TaxExport", 1, 10, (INVOICES,), (INVOICES,), night=True),
    Role("RetentionSweeper", 1, 12, (SUPPORT, LOGS), night=True),
    Role("WeatherFeed", 1, 20, (), (ASSETS,)),
    Role("MapTiles", 2, 35, (ASSETS,)),
    Role("ConsentCentre", 1, 20, (MEMBERS,), (ANALYTICS,)),
)

STAFF: Final = 60
"""People with an IAM user; with the roles' machines that makes more than 80 principals."""


def make_inventory(rng: random.Random, people: Sequence[Person]) -> list[dict[str, Any]]:
    """The data inventory: which object holds whose data, and which data.

    Most members stand in the object that will be stolen; some only in the archive beside it (listed, not
    read), some in neither.
    """
    everybody = [person["id"] for person in people]
    shuffled = rng.sample(everybody, len(everybody))
    absent, former = max(1, len(shuffled) // 40), max(1, len(shuffled) // 30)
    elsewhere, archived = set(shuffled[:absent]), set(shuffled[absent : absent + former])
    members = [person for person in people if person["id"] not in elsewhere | archived]
    lines = [
        _line(MEMBERS, STOLEN, [p["id"] for p in members], _BASIC, _extras(members))
        | {"legal_classes": ["children_adolescents_or_elderly", "children_under_14"]},
        _line(MEMBERS, ARCHIVE, sorted(archived), ["email", "name"]),
        _line(
            INVOICES,
            REFUSED,
            sorted(rng.sample(everybody, max(1, len(everybody) // 20))),
            ["address", "name"],
        ),
    ]
    for bucket, categories in (
        (INVOICES, ["address", "name", "order_history"]),
        (BOOKINGS, ["name", "order_history", "phone"]),
        (SUPPORT, ["email", "name"]),
        (NEWSLETTER, ["email", "name"]),
    ):
        for key in BUCKETS[bucket]:
            if key != REFUSED:
                some = rng.sample(everybody, max(1, len(everybody) // 12))
                lines.append(_line(bucket, key, sorted(some), categories))
    lines.append(_line(BOOKINGS, "monthly/walk-ins.parquet", sorted(elsewhere), ["name", "phone"]))
    return lines


def _line(
    bucket: str,
    key: str,
    subjects: list[str],
    categories: list[str],
    by_subject: dict[str, list[str]] | None = None,
) -> dict[str, Any]:
    line: dict[str, Any] = {"resource": arn(bucket, key), "subjects": subjects, "data_categories": categories}
    return line | ({"by_subject": by_subject} if by_subject else {})


def _extras(members: Sequence[Person]) -> dict[str, list[str]]:
    """Adults whose row in the stolen object holds a document number besides the usual columns."""
    extras = {}
    for person in members:
        extra = {"US": _US_EXTRA, "ES": _ES_EXTRA}.get(person["jurisdiction"][:2])
        if extra and not person["guardians"]:
            extras[person["id"]] = sorted([*_BASIC, extra])
    return extras
