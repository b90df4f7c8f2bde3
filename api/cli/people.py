"""`tocsin people load`, `tocsin inventory load`: who there is, and where their data lies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from api.cli.casefile import Who
from api.cli.common import AsJson, DataDirectory, out, print_json, progress_bar
from incidents.people.directory import Loaded
from incidents.service import IncidentService
from ledger import Ledger

app = typer.Typer(add_completion=False, no_args_is_help=True)
people = typer.Typer(no_args_is_help=True, help="The directory of people.")
inventory = typer.Typer(no_args_is_help=True, help="Which resource holds whose data.")
app.add_typer(people, name="people")
app.add_typer(inventory, name="inventory")


@people.callback()
def _people() -> None:
    """The directory of people."""


@inventory.callback()
def _inventory() -> None:
    """Which resource holds whose data."""


@people.command("load")
def load_people(
    file: Annotated[Path, typer.Argument(help="People as NDJSON, one object a line.")],
    data: DataDirectory,
    who: Who,
    json: AsJson = False,
) -> None:
    """Put people into the vault; the log gets their number and a digest. A wrong line loads nothing."""
    with Ledger.open(data) as ledger, progress_bar("people", quiet=json) as progress:
        loaded = IncidentService(ledger).load_directory(file, by=who, progress=progress)
    _show(loaded, "people", json=json)


@inventory.command("load")
def load_inventory(
    file: Annotated[Path, typer.Argument(help="Resources as NDJSON, one object a line.")],
    data: DataDirectory,
    who: Who,
    json: AsJson = False,
) -> None:
    """State which resources hold whose data; resources that the file does not name stay as they are."""
    with Ledger.open(data) as ledger, progress_bar("bytes", quiet=json) as progress:
        loaded = IncidentService(ledger).load_inventory(file, by=who, progress=progress)
    _show(loaded, "resources", json=json)


def _show(loaded: Loaded, what: str, *, json: bool) -> None:
    if json:
        print_json({"count": loaded.count, "digest": loaded.digest, "index": loaded.index})
        return
    out.print(f"{loaded.count} {what} loaded, entry {loaded.index}, digest {loaded.digest[:16]}…")
