"""The demo's directory: it writes only into one it made itself, and only such a one is ever emptied."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import orjson

from ledger.encoding import format_time, parse_time
from ledger.errors import ConfigError, TocsinError

MARKER: Final = "tocsin-demo.json"
_KIND: Final = "tocsin demo directory"


@dataclass(frozen=True)
class Place:
    """Where everything of one demo lies.

    Attributes:
        data: the data directory; the ledger's own files are in it too.
        seed, people, records: what the world is made from.
        began: aware instant at which this demo was begun; its clocks are counted from it.
    """

    data: Path
    seed: int
    people: int
    records: int
    began: datetime

    @property
    def world(self) -> Path:
        """The invented input."""
        return self.data / "world"

    @property
    def sent(self) -> Path:
        """What the local servers took: mail, SMS and push messages."""
        return self.data / "sent"

    @property
    def letters(self) -> Path:
        """Letters for the print shop."""
        return self.data / "letters"

    @property
    def public(self) -> Path:
        """Public announcements; `tocsin serve` publishes this folder."""
        return self.data / "public"

    @property
    def bundles(self) -> Path:
        """The regulator's file."""
        return self.data / "bundles"

    @property
    def damaged(self) -> Path:
        """Copies that the demo damages on purpose."""
        return self.data / "damaged-copies"


def prepare(data: Path, *, fresh: bool, began: datetime, seed: int, people: int, records: int) -> Place:
    """Make the directory, go on with it, or begin again in it.

    Args:
        data: where.
        fresh: empty it first, if a demo made it.
        began: the present.
        seed: of a new demo; one that is gone on with keeps its own, and must be asked for with the same.
        people: likewise.
        records: likewise.

    Raises:
        ConfigError: the directory is somebody else's, or holds a demo of another size.
    """
    if data.is_symlink() or (data.exists() and not data.is_dir()):
        raise ConfigError(f"{data} is not a directory; choose another --data.")
    marker = data / MARKER
    if fresh and data.is_dir() and any(data.iterdir()):
        _read(marker)  # refuses what the demo did not make
        _empty(data)
    if marker.is_file():
        place = _from_json(data, _read(marker))
        if (place.seed, place.people, place.records) != (seed, people, records):
            raise ConfigError(
                f"{data} holds a demo with --seed {place.seed} --people {place.people} --records {place.records}. "
                "Repeat it with these, or begin again with --fresh."
            )
        return place
    if data.is_dir() and any(data.iterdir()):
        raise _not_ours(data)
    place = Place(data, seed, people, records, began)
    data.mkdir(parents=True, exist_ok=True)
    row = {"kind": _KIND, "seed": seed, "people": people, "records": records, "began": format_time(began)}
    part = data / f".{MARKER}.part"
    part.write_bytes(orjson.dumps(row, option=orjson.OPT_INDENT_2))
    part.replace(marker)
    return _from_json(data, row)


def _not_ours(data: Path) -> ConfigError:
    return ConfigError(
        f"{data} is not empty and was not made by `tocsin demo` (it has no {MARKER}), so nothing in it is touched. "
        "Choose another --data."
    )


def _read(marker: Path) -> Mapping[str, Any]:
    try:
        row = orjson.loads(marker.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        raise _not_ours(marker.parent) from None
    if not isinstance(row, dict) or row.get("kind") != _KIND:
        raise _not_ours(marker.parent)
    return row


def _from_json(data: Path, row: Mapping[str, Any]) -> Place:
    try:
        return Place(data, int(row["seed"]), int(row["people"]), int(row["records"]), parse_time(row["began"]))
    except (KeyError, TypeError, ValueError, TocsinError):
        raise ConfigError(f"{data / MARKER} is damaged; begin again with --fresh.") from None


def _empty(data: Path) -> None:
    """Delete what is inside, the marker last: a killed --fresh can be repeated."""
    for child in sorted(data.iterdir(), key=lambda path: path.name == MARKER):
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink()
