"""`tocsin rebuild`: make the tables beside the log again from the log."""

from __future__ import annotations

import typer

from api.cli.common import AsJson, DataDirectory, err, out, print_json, progress_bar
from ledger import Ledger
from ledger.completeness.rebuild import RebuiltIndex, rebuild_index
from ledger.recovery.rebuilding import RebuiltTables, rebuild_tables

EXIT_MISMATCH = 2

app = typer.Typer(add_completion=False, help="Make the tables beside the log again.")


@app.command()
def rebuild(data: DataDirectory, json: AsJson = False) -> None:
    """Make the access index, the table of repeated events and the completeness index again from the log.

    Nothing is signed and no entry is touched, so a restored copy may do it too. May be interrupted and repeated,
    also while the ledger is served. Exit 2: the new completeness index does not give the root that is in the log.
    """
    with Ledger.open(data) as ledger:
        with progress_bar("Access index", quiet=json) as progress:
            tables = rebuild_tables(ledger, progress)
        with progress_bar("Completeness index", quiet=json) as progress:
            index = rebuild_index(ledger, progress)
    if json:
        print_json(tables.as_json() | {"completeness": None if index is None else index.as_json()})
    else:
        _say(tables, index)
    if index is not None and not index.matches:
        err.print(
            f"[bold red]The completeness index does not give the root sealed at size {index.sealed}.[/] What it "
            "remembered of erased entries was altered or lost; `tocsin report recompute` names the seals.",
            soft_wrap=True,
        )
        raise typer.Exit(EXIT_MISMATCH)


def _say(tables: RebuiltTables, index: RebuiltIndex | None) -> None:
    out.print(
        f"{tables.entries} entries read. Access index: {tables.accesses} entries put right. Repeated events: "
        f"{tables.submissions} rows put right, {tables.lost} fingerprints of erased entries lost.",
        soft_wrap=True,
    )
    if index is None:
        out.print("Completeness index: never sealed, nothing to make.")
    else:
        out.print(
            f"Completeness index: {index.entries} entries read, {index.erased} of them erased and taken from the old "
            f"tables, {index.unreadable} unreadable; {index.seals} seals in the log.",
            soft_wrap=True,
        )
