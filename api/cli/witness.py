"""`tocsin witness`: run a witness for other people's logs, or ask witnesses about this one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from api.cli.common import AsJson, DataDirectory, out, print_json, read_file
from ledger import Ledger
from ledger.errors import ConfigError, NoteError, NotFoundError
from ledger.notes import Verifier
from ledger.policy import parse_policy
from ledger.verify import EXIT_NOT_ANCHORED
from ledger.witness import records
from ledger.witness.config import make_witness
from ledger.witness.errors import EquivocationError
from ledger.witness.evidence import evidence_facts
from ledger.witness.publication import Publication
from ledger.witness.service import Witness, origin_hash
from ledger.witness.settling import settle as settle_evidence

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Run a witness; have this ledger witnessed.")


@app.command()
def init(
    data: DataDirectory,
    name: Annotated[str, typer.Option(help="The witness's name, a URL without scheme, such as witness.example/w1.")],
    json: AsJson = False,
) -> None:
    """Make a witness: its key, its memory, its configuration. Repeating it changes nothing."""
    config, new = make_witness(data, name)
    if json:
        print_json({"data": str(data), "name": config.name, "vkey": config.vkey, "new": new})
        return
    out.print(f"Witness [bold]{escape(config.name)}[/] in {escape(str(data))}{'' if new else ' (was there already)'}.")
    out.print(f"Verifier key (for the policies of those who trust it): {escape(config.vkey)}", soft_wrap=True)
    out.print("Never run this key from a copy or an older backup of the directory: docs/witness.md says why.")


@app.command("add-log")
def add_log(
    vkey: Annotated[str, typer.Argument(help="The log's verifier key.")],
    data: DataDirectory,
    origin: Annotated[str | None, typer.Option(help="The log's origin, if it is not the name of its key.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Trust it although it was removed before.")] = False,
    json: AsJson = False,
) -> None:
    """Cosign a log from now on. A second key for the same origin is trusted beside the first."""
    verifier = _log_key(vkey)
    with Witness.open(data) as witness:
        added = witness.store.add_log(origin or verifier.name, verifier, again=again)
    if json:
        print_json({"origin": origin or verifier.name, "vkey": verifier.vkey, "added": added})
        return
    out.print(f"{'Cosigns' if added else 'Knew'} {escape(origin or verifier.name)}.")


@app.command("remove-log-key")
def remove_log_key(
    vkey: Annotated[str, typer.Argument(help="The key that is trusted no longer.")],
    data: DataDirectory,
    origin: Annotated[str | None, typer.Option(help="The log's origin, if it is not the name of its key.")] = None,
    last: Annotated[bool, typer.Option("--last", help="Go on although the log has no other key here.")] = False,
    json: AsJson = False,
) -> None:
    """Cosign nothing more that this key alone signs. What was cosigned of the log stays remembered.

    For a key that was stolen, or replaced: a served witness refuses it from the next request on.
    """
    verifier = _log_key(vkey)
    name = origin or verifier.name
    with Witness.open(data) as witness:
        witness.store.remove_log_key(name, verifier, last=last)
        left = [key.vkey for key in witness.store.verifiers(name)]
    if json:
        print_json({"origin": name, "removed": verifier.vkey, "vkeys": left})
        return
    out.print(f"{escape(name)}: {len(left)} keys are trusted now, and {escape(verifier.vkey)} is not.", soft_wrap=True)


def _log_key(vkey: str) -> Verifier:
    try:
        return Verifier.from_vkey(vkey)
    except NoteError as error:
        raise ConfigError(f"The verifier key of the log cannot be used. {error}") from None


@app.command("list")
def list_logs(data: DataDirectory, json: AsJson = False) -> None:
    """The logs this witness knows, what it last cosigned of each, and forks it was shown."""
    with Witness.open(data) as witness:
        logs = witness.store.logs()
        rows: list[dict[str, Any]] = [
            {
                "origin": log.origin,
                "origin_hash": origin_hash(log.origin),
                "vkeys": list(log.vkeys),
                "removed": list(log.retired),
                "size": None if log.state is None else log.state.checkpoint.size,
                "root": None if log.state is None else log.state.checkpoint.root.hex(),
                "cosigned_at": None if log.state is None else _moment(log.state.time),
                "forks": [
                    {"refused": refused.decode(), "cosigned": cosigned.decode()}
                    for refused, cosigned in witness.store.forks(log.origin)
                ],
            }
            for log in logs
        ]
    if json:
        print_json({"vkey": witness.vkey, "logs": rows})
        return
    if not rows:
        out.print("No logs yet; add one with `tocsin witness add-log VKEY`.")
    for row in rows:
        seen = "never cosigned" if row["size"] is None else f"size {row['size']}, cosigned {row['cosigned_at']}"
        out.print(f"[bold]{escape(row['origin'])}[/]: {seen}{'' if row['vkeys'] else '; no key is trusted for it'}")
        if row["forks"]:
            out.print(f"  [red]Signed two roots for one size {len(row['forks'])} times.[/] --json prints both.")


@app.command()
def serve(
    data: DataDirectory,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8471,
    prefix: Annotated[str, typer.Option(help="Path before /add-checkpoint, such as /w1.")] = "",
    rate: Annotated[
        int, typer.Option(min=0, help="Most submissions a minute of one log by one address; 0 for any number.")
    ] = 120,
) -> None:
    """Serve add-checkpoint and the newest cosigned checkpoints until interrupted.

    The protocol needs no sign-in: what is not signed by a known log is refused, and who asks too often is
    answered 429. Put a proxy with TLS in front before listening anywhere but on the loopback interface.
    """
    import logging

    from api.cli.serve import listen
    from api.http import server
    from api.witness import create_app
    from api.witness.limits import Limits, Throttle

    with Witness.open(data) as witness, listen(host, port) as listener:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
        name = f"[{host}]" if ":" in host else host
        typer.echo(f"The witness is listening on http://{name}:{listener.getsockname()[1]}{prefix} (Ctrl+C stops it)")
        server.run(create_app(witness, prefix, Throttle(Limits(rate))), listener, lifespan="off")


@app.command()
def publish(
    data: DataDirectory,
    policy: Annotated[Path, typer.Option(help="The tlog-policy file: witnesses with URLs, and the quorum.")],
    json: AsJson = False,
) -> None:
    """Have the newest checkpoint of a ledger cosigned. Exit code 3 when the quorum is not reached."""
    with Ledger.open(data) as ledger:
        publication = Publication(ledger, parse_policy(read_file(policy)))
        try:
            result = publication.publish_now()
        except EquivocationError as error:
            if json:
                print_json(evidence_facts(error.evidence))
            raise
        lag = publication.lag()
    if json:
        print_json(
            {
                "size": result.size,
                "state": result.state,
                "witnesses": [
                    {"name": item.name, "state": item.state, "message": item.message} for item in result.outcomes
                ],
                "lag": {"entries": lag.entries, "seconds": lag.seconds, "since": lag.since},
            }
        )
    else:
        out.print(f"Size {result.size}: [bold]{result.state}[/].")
        for item in result.outcomes:
            out.print(f"  {escape(item.name)}: {item.state}. {escape(item.message)}")
    if result.state != "witnessed":
        raise typer.Exit(EXIT_NOT_ANCHORED)


@app.command()
def evidence(
    data: DataDirectory,
    digest: Annotated[str | None, typer.Argument(help="Print the file with this SHA-256.")] = None,
) -> None:
    """List the evidence kept against this ledger, or print one file of it."""
    with Ledger.open(data) as ledger:
        ledger.database.ensure(records.TABLES)
        with ledger.database.read() as connection:
            open_items = {item.digest for item in records.evidence(connection, settled=False)}
            kept = list(records.evidence(connection))
    if digest is None:
        print_json(
            [
                {
                    "sha256": item.digest,
                    "kind": item.kind,
                    "found": item.found,
                    "settled": item.digest not in open_items,
                }
                for item in kept
            ]
        )
        return
    for item in kept:
        if item.digest == digest:
            typer.echo(item.to_bytes(), nl=False)
            return
    raise NotFoundError("No evidence with this digest is kept beside this ledger.")


@app.command()
def settle(
    digest: Annotated[str, typer.Argument(help="SHA-256 of the evidence.")],
    data: DataDirectory,
    why: Annotated[str, typer.Option(help="The outcome, in a few words and without personal data.")],
) -> None:
    """Record that evidence was looked into, so that the ledger accepts events again."""
    with Ledger.open(data) as ledger:
        ledger.database.ensure(records.TABLES)
        entry = settle_evidence(ledger, digest, why)
    out.print("It was settled before." if entry is None else f"Settled and recorded as entry {entry}.")


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
