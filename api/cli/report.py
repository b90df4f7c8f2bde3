"""`tocsin report`: who accessed this person's data, with proof that nothing is left out."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from api.cli.common import AsJson, DataDirectory, err, out, print_json, progress_bar, read_file
from ledger import Ledger, OwnEvent
from ledger.completeness import (
    LogSource,
    Made,
    MalformedReportError,
    index_key,
    log_of,
    markdown,
    open_export,
    recompute,
    resource_report,
    seal_index,
    subject_report,
    verify_report,
    write_export,
)
from ledger.errors import ConfigError, InputError, NotFoundError, PolicyError, VerificationError
from ledger.keys import write_key
from ledger.vault import REF

EXIT_NOT_PROVEN = 2
EXIT_NOT_ANCHORED = 3
EXIT_UNREADABLE = 4
_KEY_SIZE = 32

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Reports that prove nothing was left out.")

Size = Annotated[
    int | None, typer.Option(help="A size the index was sealed at; if absent, everything until now is sealed first.")
]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="File for the report, JSON.", show_default=False)]
Text = Annotated[Path | None, typer.Option("--markdown", help="File for the same as text.", show_default=False)]
NoPayloads = Annotated[bool, typer.Option("--no-payloads", help="Withhold what the events say; the proof remains.")]
By = Annotated[str | None, typer.Option("--as", help="Who asked for it; the ledger then records the file's digest.")]
VKey = Annotated[str | None, typer.Option(help="The log's verifier key.", show_default=False)]
Policy = Annotated[Path | None, typer.Option(help="tlog-policy file the checkpoint must satisfy.")]


@app.command()
def subject(
    person: Annotated[str, typer.Argument(help="The person's id as producers use it, or their ref (s_...).")],
    data: DataDirectory,
    *,
    size: Size = None,
    resource: Annotated[
        list[str] | None, typer.Option(help="Cover this resource too, such as one that holds the person's data.")
    ] = None,
    output: Output = None,
    text: Text = None,
    no_payloads: NoPayloads = False,
    by: By = None,
    json: AsJson = False,
) -> None:
    """All accesses whose event names a person, with proof that these are all. Prints Markdown."""
    with Ledger.open(data) as ledger:
        ref = person if REF.fullmatch(person) else ledger.vault.find("subject", person)
        if ref is None:
            raise NotFoundError("No event named a person by this id. If it was erased, give the ref instead of the id.")
        _seal_now(ledger, size, quiet=json)
        made = subject_report(ledger, ref, size, resources=resource or (), payloads=not no_payloads)
        _hand_out(ledger, made, output, text, by=by, json=json)


@app.command("resource")
def about_resource(
    name: Annotated[str, typer.Argument(metavar="RESOURCE", help="The resource's id as producers give it.")],
    data: DataDirectory,
    *,
    size: Size = None,
    output: Output = None,
    text: Text = None,
    no_payloads: NoPayloads = False,
    by: By = None,
    json: AsJson = False,
) -> None:
    """All accesses to a resource, with proof that these are all. Prints Markdown."""
    with Ledger.open(data) as ledger:
        _seal_now(ledger, size, quiet=json)
        made = resource_report(ledger, name, size, payloads=not no_payloads)
        _hand_out(ledger, made, output, text, by=by, json=json)


@app.command()
def seal(data: DataDirectory, json: AsJson = False) -> None:
    """Log the roots of the index over everything until now. Repeating it changes nothing."""
    with Ledger.open(data) as ledger, progress_bar("Indexing", quiet=json) as progress:
        seals = seal_index(ledger, progress=progress)
    if json:
        print_json([item.as_json() for item in seals])
        return
    for item in seals:
        out.print(
            f"Entry {item.index} seals {item.root.count} {item.root.kind}s over entries 0 to {item.root.size - 1}: "
            f"{item.root.root.hex()}",
            soft_wrap=True,
        )


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="A report, JSON.")],
    vkey: VKey = None,
    policy: Policy = None,
    json: AsJson = False,
) -> None:
    """Verify a report offline. Exit 0 proven, 2 not proven, 3 not anchored under the policy, 4 unreadable."""
    trust = _trust(vkey, policy)
    try:
        verdict = verify_report(read_file(file), trust)
    except VerificationError as error:
        code = _exit_code(error)
        if json:
            print_json({"verdict": "not proven", "exit_code": code, "message": str(error)})
        else:
            err.print(f"[bold red]Not proven.[/] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(code) from None
    if json:
        print_json({**verdict.as_json(), "exit_code": 0})
        return
    out.print("[bold green]Proven[/]:")
    for line in verdict.proven:
        out.print(f"  {escape(line)}", soft_wrap=True)
    out.print("Not proven:")
    for line in verdict.not_proven:
        out.print(f"  {escape(line)}", soft_wrap=True)


@app.command()
def export(
    data: DataDirectory,
    output: Annotated[Path, typer.Option("-o", "--output", help="File for the log, NDJSON.", show_default=False)],
    key: Annotated[Path, typer.Option(help="File for the index key; hand it to the auditor apart from the log.")],
) -> None:
    """Write the whole log for an auditor, so that every sealed root can be computed again elsewhere."""
    with Ledger.open(data) as ledger:
        try:
            with output.open("xb") as file:
                count = write_export(log_of(ledger), file)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ConfigError(f"{output} cannot be written: {error.strerror}.") from None
        write_key(key, index_key(ledger).hex())
    out.print(f"{count} entries in {escape(str(output))}, the index key in {escape(str(key))}.", soft_wrap=True)


@app.command("recompute")
def compute_again(
    *,
    data: Annotated[
        Path | None, typer.Option("--data", envvar="TOCSIN_DATA", help="Read this ledger.", show_default=False)
    ] = None,
    log: Annotated[Path | None, typer.Option(help="Read this exported log instead.", show_default=False)] = None,
    key: Annotated[Path | None, typer.Option(help="With --log: file with the index key.", show_default=False)] = None,
    vkey: VKey = None,
    policy: Policy = None,
    json: AsJson = False,
) -> None:
    """Compute every sealed root again from the log.

    Exit 0 all match, 2 one does not (the first is named) or the log is not the signed one, 3 some cannot
    be computed because of erased entries.
    """
    if log is not None:
        if key is None:
            raise typer.BadParameter("give --key FILE with --log")
        result = _compute(open_export(log), _read_key(key), _trust(vkey, policy), json=json)
    elif data is not None:
        with Ledger.open(data) as ledger:
            own = vkey is None and policy is None
            trust = ledger.vkey if own else _trust(vkey, policy)
            result = _compute(log_of(ledger), index_key(ledger), trust, json=json)
    else:
        raise typer.BadParameter("give --data DIR or --log FILE")
    code = {"matches": 0, "mismatch": EXIT_NOT_PROVEN, "cannot_recompute": EXIT_NOT_ANCHORED}[result["verdict"]]
    if json:
        print_json({**result, "exit_code": code})
    else:
        colours = {"matches": "green", "mismatch": "bold red", "cannot_recompute": "yellow"}
        for item in result["seals"]:
            colour = colours[item["state"]]
            out.print(
                f"[{colour}]{item['state']}[/]: entry {item['index']}, {item['kind']}, size {item['size']}. "
                f"{escape(item['message'])}",
                soft_wrap=True,
            )
        out.print(f"{len(result['seals'])} seals, {result['size']} entries.")
    raise typer.Exit(code)


def _compute(source: LogSource, key: bytes, trust: str | bytes, *, json: bool) -> dict[str, Any]:
    try:
        with progress_bar("Computing", quiet=json) as progress:
            return recompute(source, key, trust, progress=progress).as_json()
    except VerificationError as error:
        code = _exit_code(error)
        if json:
            print_json({"verdict": "not proven", "exit_code": code, "message": str(error)})
        else:
            err.print(f"[bold red]Not proven.[/] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(code) from None


def _exit_code(error: VerificationError) -> int:
    if isinstance(error, MalformedReportError):
        return EXIT_UNREADABLE
    return EXIT_NOT_ANCHORED if isinstance(error, PolicyError) else EXIT_NOT_PROVEN


def _seal_now(ledger: Ledger, size: int | None, *, quiet: bool) -> None:
    if size is None:
        with progress_bar("Indexing", quiet=quiet) as progress:
            seal_index(ledger, progress=progress)


def _hand_out(
    ledger: Ledger, made: Made, output: Path | None, text: Path | None, by: str | None, *, json: bool
) -> None:
    file = made.report.to_bytes()
    rendered = markdown(made.report, made.verdict)
    for path, content in ((output, file), (text, rendered.encode())):
        if path is not None:
            _write(path, content)
    if by is not None:
        _record(ledger, made, sha256(file).hexdigest(), by)
    if json:
        typer.echo(file.decode(), nl=False)
    elif output is None and text is None:
        typer.echo(rendered, nl=False)
    else:
        for line in made.verdict.proven:
            out.print(escape(line), soft_wrap=True)


def _record(ledger: Ledger, made: Made, digest: str, by: str) -> None:
    """Log who had the report made; the person stands there as a ref."""
    with ledger.database.write() as connection:
        actor = ledger.vault.refer(connection, "actor", by)
    people = [{"ref": key.name} for key, _, _ in made.verdict.keys if key.kind == "subject"]
    details = {"report": "completeness", "digest": digest, "size": made.verdict.size, "entries": made.verdict.accesses}
    event = {"actor": {"id": actor, "kind": "human"}, "outcome": "success", "subjects": people, "details": details}
    ledger.record([OwnEvent("org.tocsin.report.generated.v1", event)])


def _trust(vkey: str | None, policy: Path | None) -> str | bytes:
    if (vkey is None) == (policy is None):
        raise typer.BadParameter("give --vkey KEY or --policy FILE")
    return vkey if policy is None and vkey is not None else read_file(policy or Path())


def _read_key(path: Path) -> bytes:
    try:
        key = bytes.fromhex(read_file(path).decode("ascii").strip())
    except ValueError:
        key = b""
    if len(key) != _KEY_SIZE:
        raise InputError(f"{path} does not hold an index key: 32 bytes in hex.")
    return key


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from None
