"""`tocsin import`: logs that exist already, read into the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from api.cli.common import AsJson, DataDirectory, err, out, print_json
from ledger import Ledger
from ledger.importers.runner import import_cloudtrail

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Record logs that exist already.")


@app.callback()
def _group() -> None:
    """Record logs that exist already."""


@app.command()
def cloudtrail(
    file: Annotated[Path, typer.Argument(help='NDJSON, a JSON array or {"Records": [...]}; plain or gzipped.')],
    data: DataDirectory,
    json: AsJson = False,
) -> None:
    """Record an AWS CloudTrail file, each record exactly once.

    The whole file is checked first: one bad record and nothing is imported. Repeating an import, also one
    that was killed, adds only what is missing. The ledger is made if there is none.
    """
    columns: tuple[Any, ...] = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Ledger.create(data) as ledger, Progress(*columns, console=err, transient=True, disable=json) as progress:
        tasks = {"check": progress.add_task("Checking", total=None)}

        def tell(phase: str, done: int, total: int | None) -> None:
            if phase not in tasks:
                progress.update(tasks["check"], total=total, completed=total)
                tasks[phase] = progress.add_task("Recording", total=total)
            progress.update(tasks[phase], completed=done)

        report = import_cloudtrail(ledger, file, progress=tell)
        size = ledger.size()
    if json:
        print_json({**report.as_json(), "size": size})
        return
    out.print(
        f"{report.read} records read: {report.new} recorded, {report.present} were there already. "
        f"The ledger has {size} entries."
    )
