"""`tocsin init`, `append`, `verify`, `prove`, `checkpoint`: the ledger by hand."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from api.beside import BESIDE
from api.cli.common import AsJson, DataDirectory, err, out, print_json, progress_bar, read_file
from api.cli.store import StoreSchema, StoreUrl, read_store
from ledger import Ledger
from ledger.encoding import parse
from ledger.errors import ConfigError, EventError, InputError, TocsinError
from ledger.findings import EXIT_DAMAGED, EXIT_UNREADABLE, Findings
from ledger.ledger import MAX_BATCH
from ledger.verifying.directory import verify_directory
from ledger.witness.publication import prove_witnessed

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.command()
def init(
    data: DataDirectory,
    origin: Annotated[str | None, typer.Option(help="The log's name, a URL without scheme.")] = None,
    store: StoreUrl = None,
    schema: StoreSchema = "tocsin",
    json: AsJson = False,
) -> None:
    """Make a ledger, or complete one whose making was cut short. Repeating it changes nothing."""
    with Ledger.create(data, origin, store=read_store(store, schema)) as ledger:
        if json:
            print_json({"data": str(data), "origin": ledger.origin, "vkey": ledger.vkey, "size": ledger.size()})
            return
        out.print(f"Ledger [bold]{ledger.origin}[/] in {escape(str(data))}, {ledger.size()} entries.")
        out.print(f"Verifier key (give it to whoever checks you): {ledger.vkey}", soft_wrap=True)
        out.print(f"Secret keys are in {escape(str(data / 'keys'))}: back them up apart from the database.")


@app.command()
def append(
    data: DataDirectory,
    file: Annotated[Path | None, typer.Argument(help="CloudEvents as NDJSON; standard input if absent.")] = None,
    json: AsJson = False,
) -> None:
    """Record CloudEvents, one JSON object a line, in atomic batches of up to 1,000."""
    text = sys.stdin.buffer.read() if file is None else read_file(file)
    events: list[Any] = []
    for number, line in enumerate(text.split(b"\n"), 1):
        if line.strip():
            try:
                events.append(parse(line))
            except InputError as error:
                raise InputError(f"Line {number}: {error}") from None
    receipts = []
    with Ledger.open(data) as ledger:
        for start in range(0, len(events), MAX_BATCH):
            try:
                receipts += ledger.append(events[start : start + MAX_BATCH])
            except EventError as error:
                raise InputError(f"{error} ({start} events before this batch were recorded.)") from None
    if json:
        print_json([receipt.as_json() for receipt in receipts])
        return
    new = sum(receipt.new for receipt in receipts)
    out.print(f"{new} recorded, {len(receipts) - new} were there already.")


@app.command()
def prove(
    index: Annotated[int, typer.Argument(help="Leaf index of the entry.")],
    data: DataDirectory,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File for the proof.")] = None,
    witnessed: Annotated[
        bool, typer.Option("--witnessed", help="Under the newest checkpoint that witnesses cosigned.")
    ] = False,
) -> None:
    """Print the offline proof (c2sp.org/tlog-proof) that an entry is in the log."""
    with Ledger.open(data) as ledger:
        proof = prove_witnessed(ledger, index) if witnessed else ledger.prove(index)
    if output is None:
        typer.echo(proof.decode(), nl=False)
    else:
        try:
            output.write_bytes(proof)
        except OSError as error:
            raise ConfigError(f"{output} cannot be written: {error.strerror}.") from None


@app.command()
def checkpoint(data: DataDirectory) -> None:
    """Print the newest signed checkpoint."""
    with Ledger.open(data) as ledger:
        typer.echo(ledger.checkpoint().decode(), nl=False)


@app.command()
def verify(
    *,
    data: Annotated[
        Path | None,
        typer.Option("--data", envvar="TOCSIN_DATA", help="Verify this data directory.", show_default=False),
    ] = None,
    bundle: Annotated[Path | None, typer.Option(help="Verify a regulator's file instead.")] = None,
    policy: Annotated[Path | None, typer.Option(help="tlog-policy file the checkpoint must satisfy.")] = None,
    jobs: Annotated[
        int, typer.Option(min=0, help="Processes to hash with; 0 takes one for each core. Small logs need one.")
    ] = 0,
    since_verified: Annotated[
        bool,
        typer.Option(
            "--since-verified",
            help="Begin where the last such run ended; the result says what was taken on trust. "
            "The first such run hashes everything.",
        ),
    ] = False,
    json: AsJson = False,
) -> None:
    """Hash everything again. Exit 0 intact, 2 damaged, 3 not anchored under the policy, 4 unreadable."""
    if bundle is not None:
        _verify_bundle(bundle, policy, json=json)
        return
    if data is None:
        raise typer.BadParameter("give --data DIR or --bundle FILE")
    try:
        pinned = None if policy is None else read_file(policy)
        with progress_bar("Verifying", quiet=json) as progress:
            findings = verify_directory(
                data,
                policy=pinned,
                jobs=jobs or os.cpu_count() or 1,
                incremental=since_verified,
                progress=progress,
                beside=BESIDE,
            )
    except TocsinError as error:
        _unreadable(str(error), json=json)
        raise typer.Exit(EXIT_UNREADABLE) from None
    result = findings.as_json()
    if json:
        print_json(result)
    else:
        _print_findings(findings, result)
    raise typer.Exit(findings.exit_code)


def _unreadable(message: str, *, json: bool) -> None:
    if json:
        print_json({"verdict": "unreadable", "exit_code": EXIT_UNREADABLE, "kind": "unreadable", "message": message})
    else:
        err.print(f"[bold red]Unreadable.[/] {escape(message)}", soft_wrap=True)


def _print_findings(findings: Findings, result: dict[str, Any]) -> None:
    if findings.exit_code == EXIT_DAMAGED:
        for damage in findings.damage[:10]:
            where = "" if damage.index is None else f" at entry {damage.index}"
            out.print(f"[bold red]Damaged{where}[/] ({damage.kind}): {escape(damage.message)}", soft_wrap=True)
        return
    out.print(f"[bold green]Intact[/]: {findings.size} entries, root {findings.root}", soft_wrap=True)
    for lost in findings.lost:
        first, end = lost["range"]
        out.print(
            f"[bold yellow]Lost: {lost['missing']} payloads[/] of entries {first} to {end - 1}. That a rebuild from "
            f"tiles lost {lost['recorded']} of them is what this log itself says, in entry {lost['entry']}.",
            soft_wrap=True,
        )
    for line in findings.notes:
        out.print(f"  Note: {escape(line)}.", soft_wrap=True)
    for line in findings.trusted:
        out.print(f"  Trusted: {escape(line)}.", soft_wrap=True)
    out.print(
        f"  Integrity: {findings.payloads} payloads, {findings.checkpoints} signed checkpoints, "
        f"{findings.tiles} tiles, {findings.accesses} access rows, {findings.identities} vault rows hashed or opened.",
        soft_wrap=True,
    )
    _print_anchor(findings)
    out.print(
        f"  Completeness: versions of every stream without gaps; {len(findings.gaps)} gaps in producers' sequences."
    )
    for source, after, before in findings.gaps[:10]:
        out.print(f"    {escape(source)}: numbers between {after} and {before} never arrived.")
    if findings.policy is not None:
        out.print(f"  Policy: {escape(findings.policy)}", soft_wrap=True)
    for line in result["not_checked"]:
        out.print(f"  Not checked: {escape(line)}.", soft_wrap=True)


def _print_anchor(findings: Findings) -> None:
    if findings.anchored:
        out.print(f"  Anchored by witnesses: entries 0 to {findings.anchored - 1}.")
        if findings.anchored < findings.size:
            out.print(
                f"  Not anchored yet: entries {findings.anchored} to {findings.size - 1}; so far only this log's own "
                "key vouches for them.",
                soft_wrap=True,
            )
    elif findings.witnessed:
        out.print(
            f"  Witnessed, says this log: entries 0 to {findings.witnessed - 1}. A --policy checks who cosigned.",
            soft_wrap=True,
        )
    else:
        out.print(
            "  Not anchored: no witness outside has cosigned, so only this log's own key vouches for it.",
            soft_wrap=True,
        )


def _verify_bundle(path: Path, policy: Path | None, *, json: bool) -> None:
    from ledger.verify_bundle import print_result, verify_file

    result = verify_file(str(path), policy=None if policy is None else str(policy))
    if json:
        print_json(result)
    else:
        print_result(result)
    raise typer.Exit(result["exit_code"])
