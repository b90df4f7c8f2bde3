"""`tocsin move`: the ledger from its file into a PostgreSQL server, or back."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from api.cli.common import AsJson, DataDirectory, out, print_json, progress_bar
from ledger.config import Store
from ledger.errors import ConfigError

app = typer.Typer(add_completion=False, no_args_is_help=True)

StoreUrl = Annotated[
    str | None,
    typer.Option(
        "--store", help="PostgreSQL URL, or env:NAME or file:PATH of a text that holds it, to keep the log in a server."
    ),
]
StoreSchema = Annotated[str, typer.Option("--schema", help="The schema for the ledger's tables; one ledger in each.")]


def read_store(url: str | None, schema: str) -> Store | None:
    """The store that the options name."""
    return None if url is None else Store(url, schema)


@app.command()
def move(
    data: DataDirectory,
    store: StoreUrl = None,
    schema: StoreSchema = "tocsin",
    to_file: Annotated[bool, typer.Option("--to-file", help="Move it out of the server into DATA/ledger.db.")] = False,
    json: AsJson = False,
) -> None:
    """Move the ledger into a PostgreSQL server (--store) or back into a file (--to-file).

    Stop everything that writes it first. The copy is verified in full before the configuration names it; the old
    store is marked, takes no entry any more, and is left for you to keep or destroy. Cut short, give the same command
    again.
    """
    from ledger.recovery.moving import move as move_ledger

    if (store is None) != to_file:
        raise ConfigError("Say where to: --store URL, or --to-file.")
    with progress_bar("Copying", quiet=json) as progress:
        findings = move_ledger(data, read_store(store, schema), progress=progress)
    if json:
        print_json({"size": findings.size, "root": findings.root})
        return
    out.print(f"Moved {findings.size} entries, verified in the new store: {escape(findings.root or '')}")
