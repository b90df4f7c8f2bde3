"""`tocsin bundle`: the regulator's file, one zip that proves itself offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from api.cli.casefile import mark
from api.cli.common import AsJson, DataDirectory, err, out, print_json
from incidents.regulator.bundle import write_bundle
from incidents.service import IncidentService
from ledger import Ledger
from ledger.checkpoint import Checkpoint
from ledger.notes import split_note

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.command()
def bundle(
    data: DataDirectory,
    incident: Annotated[str, typer.Argument(help="Short id of the incident, such as INC-2026-0001.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the zip.", show_default=False)],
    by: Annotated[
        str | None,
        typer.Option("--as", help="Who hands it out; the ledger then records the file's digest.", show_default=False),
    ] = None,
    json: AsJson = False,
) -> None:
    """Write everything a regulator needs to check an incident without us: report, entries, proofs, verifier.

    The file is verified before it gets its name, so a bundle that exists is a bundle that verifies.
    """
    with Ledger.open(data) as ledger:
        service = IncidentService(ledger)
        with err.status("Collecting, typesetting, verifying", spinner="line"):
            written = write_bundle(ledger, service, incident, output)
        index = None
        if by is not None:
            size = Checkpoint.parse(split_note(written.checkpoint)[0]).size
            index = service.release_report(incident, output.name, written.digest, log_size=size, by=by)
        vkey = ledger.vkey
    mark(written.status, json=json)
    if json:
        print_json({**written.as_json(), "released_index": index, "vkey": vkey})
        return
    out.print(f"[bold green]Verified[/] {escape(str(output))}, {written.size:,} bytes", soft_wrap=True)
    for check in written.verification["checks"]:
        out.print(f"  {check['state']:>8}  {check['check']}: {escape(check['detail'])}", soft_wrap=True)
    out.print(f"SHA-256 {written.digest}", soft_wrap=True)
    if index is not None:
        out.print(f"Its release is entry {index} of the ledger.")
    out.print("Give whoever checks it this key by another way than the file:")
    out.print(f"  {escape(vkey)}", soft_wrap=True)
    out.print(f"They run: python verify_bundle.py {escape(output.name)} --vkey KEY", soft_wrap=True)
