"""Mirrors and rebuilds from tiles that are killed; run by tests/recovery/test_rebuild_kills.py.

    refilling.py JOB DIRECTORY [FIRST STRIDE]

After each death the state is looked at and the job is done again, as an operator would; one JSON line says
what was found.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from dying import deaths, report, view
from recovering import job_confirm, look_confirm, look_restore, prepare, put_back

from ledger import Ledger
from ledger.checkpoint import Checkpoint
from ledger.notes import split_note
from ledger.recovery.backup import Backup
from ledger.recovery.extending import Means
from ledger.recovery.fromtiles import rebuild, restore_from_tiles
from ledger.recovery.lostpayloads import Noted
from ledger.recovery.mirror import MirrorTree, open_source
from ledger.recovery.publishing import write_mirror


def lose(place: Path) -> None:
    """A mirror of what the backup has, 300 entries more, and a mirror of those too."""
    with Ledger.open(place / "data") as ledger:
        write_mirror(ledger, place / "growing")
        ledger.append([view(f"lost-{number}") for number in range(300)])
        write_mirror(ledger, place / "mirror")


def job_mirror(place: Path) -> None:
    with Ledger.open(place / "data") as ledger:
        write_mirror(ledger, place / "growing")


def job_rebuild(place: Path) -> None:
    with open_source(str(place / "mirror")) as source:
        rebuild(place / "copy", Means(source))


def job_tiles(place: Path) -> None:
    with open_source(str(place / "mirror")) as source:
        restore_from_tiles(Backup.open(place / "old.tocsin"), place / "copy", Means(source))


def look_mirror(place: Path) -> dict:
    """A reader of the mirror finds a whole log of one size or the other."""
    with open_source(str(place / "growing")) as source:
        [note] = source.fetch([("checkpoint", 10_000)])
        checkpoint = Checkpoint.parse(split_note(note)[0])
        entries = sum(len(run) for _, run in MirrorTree(source, checkpoint).bundles(0))
    return {"size": checkpoint.size, "entries": entries}


def look_recorded(place: Path) -> dict:
    with Ledger.open(place / "copy") as ledger, ledger.database.read() as connection:
        noted = Noted.read(connection)
    return look_confirm(place) | {"noted": len(noted.events), "pending": noted.pending is not None}


JOBS = {
    "mirror": (job_mirror, look_mirror),
    "rebuild": (job_rebuild, look_restore),
    "tiles": (job_tiles, look_restore),
    "record": (job_confirm, look_recorded),
}


def main() -> None:
    name, root = sys.argv[1], Path(sys.argv[2])
    first, stride = (int(text) for text in (*sys.argv[3:], "1", "1")[:2])
    job, look = JOBS[name]
    prepare(root / "template")
    lose(root / "template")
    if name in ("rebuild", "record"):
        put_back(root / "template")
    if name == "record":
        job_rebuild(root / "template")

    def make(step: int) -> Path:
        place = root / f"{name}-{step}"
        shutil.copytree(root / "template", place)
        return place

    for step, status, place in deaths(make, job, first=first, stride=stride):
        left = look(place)
        if not (name == "tiles" and left["there"]):
            job(place)
        report(step=step, status=status, left=left, after=look(place))


if __name__ == "__main__":
    main()
