"""What the commands about one incident share: opening it, marking an exercise, reading times and YAML."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from api.cli.common import err, out
from incidents.case.facts import zone
from incidents.service import IncidentService
from incidents.views.wording import EXERCISE_BANNER
from ledger import Ledger
from ledger.errors import InputError

Name = Annotated[str, typer.Argument(help="Incident, such as INC-2026-0001.", metavar="INCIDENT")]
Who = Annotated[str, typer.Option("--as", envvar="TOCSIN_AS", help="Who acts: a name or an account.")]


def mark(status: str, *, json: bool = False) -> None:
    """Say that what follows is an exercise, beside JSON on stderr; nothing for an actual incident."""
    if status == "Exercise":
        (err if json else out).print(f"[bold yellow]{EXERCISE_BANNER}[/]", soft_wrap=True)


@contextmanager
def opened(data: Path, incident: str | None = None, *, json: bool = False) -> Iterator[IncidentService]:
    """The incidents of a data directory; when one is named and is an exercise, that is said first."""
    with Ledger.open(data) as ledger:
        service = IncidentService(ledger)
        if incident is not None:
            mark(service.status(incident), json=json)
        yield service


def instant(text: str, time_zone: str, field: str) -> datetime:
    """A time as people type it; without an offset it is read in the incident's zone.

    Raises:
        InputError: not a time, or a local time that a clock change skips or repeats.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(
            f"{field}: write the time as 2026-03-10T09:00, with an offset if needed.", field=field
        ) from None
    if moment.tzinfo is not None:
        return moment
    first, second = (moment.replace(tzinfo=zone(time_zone), fold=fold) for fold in (0, 1))
    if first.utcoffset() != second.utcoffset():
        raise InputError(
            f"{field}: this local time is skipped or repeated by a clock change; add the offset.", field=field
        )
    return first


def load_yaml(file: Path) -> dict[str, Any]:
    """A YAML or JSON file that holds one mapping.

    Raises:
        InputError: missing, not YAML, or something else than a mapping.
    """
    try:
        value = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file.name} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise InputError(f"{file.name} is not valid YAML.") from None
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise InputError(f"{file.name} must hold one mapping of names to values.")
    return value
