"""Invented people: a directory with families, gaps and every way of being hard to reach."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any, Final

from api.demo.regions import REGIONS, Region

MAIL: Final = "example.org"
DEAD_MAIL: Final = "gone.example.org"
"""Mailboxes under this name do not exist any more; the demo's mail server refuses them for good."""

EXPIRED_DEVICE: Final = "expired-"
"""Push tokens that begin like this belong to an app that was removed; the push server says so."""

# All shares are per thousand.
_CHILDREN: Final = 140
_SECOND_GUARDIAN: Final = 350
_TEENS_WITH_MAIL: Final = 600
_SPANISH_IN_US: Final = 200
_BIRTHDAY_UNKNOWN: Final = 30
_EXPIRED: Final = 60
_TEEN_DAYS: Final = 13 * 366

# Of a thousand adults; the rest have a mailbox that works, and perhaps more besides.
_UNREACHABLE: Final = 8
_LETTER_ONLY: Final = 60
_PHONE_ONLY: Final = 120
_DEAD_MAILBOX: Final = 40
_BESIDES: Final = {"sms": 500, "push": 200, "letter": 600}

Person = dict[str, Any]


def make_people(rng: random.Random, count: int, today: date) -> list[Person]:
    """Invent a people directory, adults first.

    Args:
        rng: source of everything that varies.
        count: how many people, 20 to 80,000 (there are no more invented telephone numbers).
        today: ages are counted back from here.

    Returns:
        Profiles as the people directory wants them, ids `cust-000001` and up.
    """
    children = max(2, count * _CHILDREN // 1000)
    regions = _spread(count - children)
    numbers = _phone_numbers()
    adults = [_adult(rng, f"cust-{n:06d}", region, today, numbers) for n, region in enumerate(regions, 1)]
    by_code: dict[str, list[Person]] = {}
    for adult in adults:
        by_code.setdefault(adult["jurisdiction"], []).append(adult)
    young = _spread(children)
    return adults + [
        _child(rng, f"cust-{n:06d}", region, by_code[region.code], today)
        for n, region in enumerate(young, len(adults) + 1)
    ]


def _spread(count: int) -> list[Region]:
    """As many regions as people, in proportion to their shares and every region at least once if it fits."""
    spread = [region for region in REGIONS for _ in range(max(1, count * region.share // 1000))]
    while len(spread) < count:
        spread.append(REGIONS[len(spread) % len(REGIONS)])
    return spread[:count] if count >= len(REGIONS) else list(REGIONS[:count])


def _phone_numbers() -> Iterator[tuple[str, str]]:
    """(French, other) numbers from the ranges set aside for fiction, each once."""
    areas = [area for area in range(201, 1000) if area % 100 != 11]  # noqa: PLR2004 - N11 are service codes
    for n in range(len(areas) * 100):
        yield f"+3363998{n % 10_000:04d}", f"+1{areas[n // 100]}55501{n % 100:02d}"


def _happens(rng: random.Random, share: int) -> bool:
    return rng.randrange(1000) < share


def _name(rng: random.Random, region: Region, family: str | None = None) -> tuple[str, str]:
    family = family or rng.choice(region.family)
    return region.order.format(given=rng.choice(region.given), family=family), family


def _birthday(rng: random.Random, today: date, youngest: int, oldest: int) -> str:
    return (today - timedelta(days=rng.randint(youngest * 366, oldest * 365))).isoformat()


def _adult(
    rng: random.Random, identity: str, region: Region, today: date, numbers: Iterator[tuple[str, str]]
) -> Person:
    name, _ = _name(rng, region)
    french, other = next(numbers)
    phone = french if region.code == "FR" else other
    return {
        "id": identity,
        "name": name,
        "language": "es" if region.country == "US" and _happens(rng, _SPANISH_IN_US) else region.language,
        "jurisdiction": region.code,
        "born": None if _happens(rng, _BIRTHDAY_UNKNOWN) else _birthday(rng, today, 19, 85),
        "guardians": [],
        "contacts": _contacts(rng, identity, name, region, phone),
    }


def _contacts(rng: random.Random, identity: str, name: str, region: Region, phone: str) -> dict[str, Any]:
    draw = rng.randrange(1000)
    letter = [[name, region.street.format(number=rng.randint(1, 240)), rng.choice(region.towns), region.country]]
    token = f"{EXPIRED_DEVICE if _happens(rng, _EXPIRED) else 'invented-'}{rng.getrandbits(96):024x}"
    if draw < _UNREACHABLE:
        return {}
    if draw < (bound := _UNREACHABLE + _LETTER_ONLY):
        return {"letter": letter}
    if draw < (bound := bound + _PHONE_ONLY):
        return rng.choice(({"sms": [phone]}, {"sms": [phone], "push": [token]}, {"push": [token]}))
    dead = draw < bound + _DEAD_MAILBOX
    contacts: dict[str, Any] = {"email": [f"{identity}@{DEAD_MAIL if dead else MAIL}"]}
    besides: dict[str, Any] = {"sms": [phone], "push": [token], "letter": letter}
    contacts.update({channel: besides[channel] for channel, share in _BESIDES.items() if _happens(rng, share)})
    return contacts


def _child(rng: random.Random, identity: str, region: Region, adults: list[Person], today: date) -> Person:
    first = rng.choice(adults)
    guardians = [first["id"]]
    if len(adults) > 1 and _happens(rng, _SECOND_GUARDIAN):
        second = rng.choice(adults)
        guardians += [second["id"]] if second is not first else []
    family = next(name for name in region.family if name in first["name"])
    name, _ = _name(rng, region, family)
    born = _birthday(rng, today, 5, 17)
    teen = (today - date.fromisoformat(born)).days > _TEEN_DAYS
    contacts = {"email": [f"{identity}@{MAIL}"]} if teen and _happens(rng, _TEENS_WITH_MAIL) else {}
    return {
        "id": identity,
        "name": name,
        "language": region.language,
        "jurisdiction": region.code,
        "born": born,
        "guardians": guardians,
        "contacts": contacts,
    }
