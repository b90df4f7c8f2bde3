"""The project's own synthetic world, written to files: the same seed and day give the same bytes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson

from api.demo.estate import make_inventory
from api.demo.people import make_people
from api.demo.traffic import Intrusion, Traffic

PEOPLE: Final = 2600
RECORDS: Final = 50_000
SEED: Final = 20260310
SEEN: Final = 1000

CLOUDTRAIL: Final = "cloudtrail.ndjson"
PEOPLE_FILE: Final = "people.ndjson"
INVENTORY: Final = "inventory.ndjson"
ANSWERS: Final = "answers.json"
"""What is true in the world; the demo reads from it where an analyst would look first."""

Progress = Callable[[int, int], None]
"""Called with (records written, records in all)."""


@dataclass(frozen=True)
class World:
    """The files of a synthetic world and what is true in it.

    Attributes:
        cloudtrail, people, inventory: the files, NDJSON.
        records: CloudTrail records in all, the intruder's among them.
        persons: people in the directory.
        intrusion: what the intruder did.
    """

    cloudtrail: Path
    people: Path
    inventory: Path
    records: int
    persons: int
    intrusion: Intrusion


def write_world(
    directory: Path,
    *,
    seed: int = SEED,
    people: int = PEOPLE,
    records: int = RECORDS,
    until: datetime,
    progress: Progress | None = None,
) -> World:
    """Invent a company, its people and two weeks of its CloudTrail, and write them.

    Args:
        directory: existing directory to write `cloudtrail.ndjson`, `people.ndjson`, `inventory.ndjson` to.
        seed: everything that varies follows from it.
        people: size of the people directory, at least 20.
        records: ordinary CloudTrail records, at least 100; the intrusion comes on top.
        until: aware instant; the records end with the day (UTC) before it.
        progress: told about the records.
    """
    rng = random.Random(seed)  # noqa: S311 - invented data that must repeat, not a secret
    midnight = until.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    directory.mkdir(parents=True, exist_ok=True)
    persons = make_people(rng, people, midnight.date())
    world = World(
        cloudtrail=directory / CLOUDTRAIL,
        people=directory / PEOPLE_FILE,
        inventory=directory / INVENTORY,
        records=records + (traffic := Traffic(rng, midnight)).intrusion().calls,
        persons=len(persons),
        intrusion=traffic.intrusion(),
    )
    _write(world.people, persons)
    _write(world.inventory, make_inventory(rng, persons))
    _write(world.cloudtrail, traffic.records(records), progress, world.records)
    # Last, so that a world with answers is a complete one.
    _write(directory / ANSWERS, [asdict(world.intrusion) | {"records": world.records, "persons": world.persons}])
    return world


def read_world(directory: Path) -> World | None:
    """The world that was written to a directory before, or None when there is no complete one."""
    try:
        known = orjson.loads((directory / ANSWERS).read_bytes())
    except FileNotFoundError:
        return None
    records, persons = known.pop("records"), known.pop("persons")
    return World(
        cloudtrail=directory / CLOUDTRAIL,
        people=directory / PEOPLE_FILE,
        inventory=directory / INVENTORY,
        records=records,
        persons=persons,
        intrusion=Intrusion(**known),
    )


def _write(path: Path, rows: Iterable[Any], progress: Progress | None = None, total: int = 0) -> None:
    """Write NDJSON under another name first, so that a killed run leaves no half file under the real one."""
    draft = path.with_name(path.name + ".part")
    with draft.open("wb") as stream:
        for done, row in enumerate(rows, 1):
            stream.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
            if progress and (done % SEEN == 0 or done == total):
                progress(done, total)
    draft.replace(path)
