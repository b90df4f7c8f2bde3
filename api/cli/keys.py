"""`tocsin keys`: which key signs the log, and changing it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from api.cli.casefile import Who
from api.cli.common import AsJson, DataDirectory, out, print_json
from ledger.encoding import parse_time
from ledger.wire import parse_decimal

app = typer.Typer(no_args_is_help=True, help="The keys of this ledger: show, rotate, retire.")


@app.command()
def show(data: DataDirectory, json: AsJson = False) -> None:
    """List the log's keys and the checkpoint sizes each of them signed. No secret is read or printed."""
    from ledger.config import read_config

    config = read_config(data)
    waiting = None if config.next_key is None else config.next_key.vkey
    if json:
        keys = [{"vkey": key.vkey, "from": key.first, "to": key.last} for key in config.keys]
        print_json({"origin": config.origin, "vkey": config.vkey, "keys": keys, "next": waiting})
        return
    for key in config.keys:
        span = f"checkpoints from size {key.first}" + ("" if key.last is None else f" to {key.last}")
        state = "[bold]signs now[/]" if key.last is None else "replaced"
        out.print(f"{escape(key.vkey)}\n  {state}, {span}", soft_wrap=True)
    if waiting is not None:
        out.print(f"A rotation to {escape(waiting)} was begun; repeat `tocsin keys rotate`.", soft_wrap=True)


@app.command()
def rotate(data: DataDirectory, json: AsJson = False) -> None:
    """Change the signing key; a running server takes the new one by itself.

    Old receipts stay valid under the old key: policies list both. A call that was cut short is repeated.
    """
    from ledger import Ledger
    from ledger.recovery.rotating import rotate as change

    with Ledger.open(data) as ledger:
        done = change(ledger)
    if json:
        print_json(_as_json(done))
        return
    _say(done)


@app.command()
def retire(
    data: DataDirectory,
    compromised_since: Annotated[
        str,
        typer.Option(help="Until when the key was surely safe: a time (RFC 3339) or the size of the log then."),
    ],
    policy: Annotated[
        Path | None, typer.Option(help="The tlog-policy file; its witnesses are asked to cosign the change at once.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Declare the signing key compromised, change it in the same commit, and say what still stands.

    Exit code 3 when the witnesses of the policy did not reach its quorum: then publish again.
    """
    from ledger import Ledger
    from ledger.recovery.rotating import retire as change

    size = parse_decimal(compromised_since)
    since = parse_time(compromised_since, "--compromised-since") if size is None else size
    state = None
    with Ledger.open(data) as ledger:
        done, trust = change(ledger, since)
        if policy is not None:
            state = _publish(ledger, policy)
    if json:
        print_json(_as_json(done) | {"trust": trust.data(), "statement": trust.lines(), "publication": state})
    else:
        _say(done)
        out.print("What the old key's signatures are still worth:")
        for line in trust.lines():
            out.print(f"  {escape(line)}", soft_wrap=True)
        out.print("Now: tell every witness and everybody who pins the old key; docs/operations.md has the steps.")
    if state == "committed":
        from ledger.findings import EXIT_NOT_ANCHORED

        raise typer.Exit(EXIT_NOT_ANCHORED)


@app.command("rotate-vault")
def rotate_vault(
    data: DataDirectory,
    by: Who,
    new: Annotated[str, typer.Option(help="Where the new key is: file:keys/vault-2.key (made if absent), env:NAME.")],
    drop_old: Annotated[
        bool, typer.Option("--drop-old", help="Delete the old key file afterwards; old backups then stay closed.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Change the vault's key: every data key is wrapped anew in one transaction.

    Running servers take the new key by themselves. A call that was cut short is repeated.
    """
    from api.erasing import who
    from ledger import Ledger
    from ledger.forgetting.rotation import drop_key
    from ledger.forgetting.rotation import rotate_vault as change

    with Ledger.open(data) as ledger:
        done = change(ledger, new, by=who(ledger, by))
        dropped = drop_old and done.old_uri != new and drop_key(ledger, done.old_uri)
    if json:
        print_json(done.as_json() | {"dropped": dropped})
        return
    if done.index is None:
        out.print(f"The vault is under key {done.new} already.")
    else:
        out.print(f"{done.keys} keys wrapped under {done.new}, entry {done.index}; the old key was {done.old}.")
    out.print(f"The new key is at {escape(done.uri)}: back it up apart.", soft_wrap=True)
    if dropped:
        out.print(f"{escape(done.old_uri)} was deleted.")
    elif done.old_uri != new:
        out.print(f"{escape(done.old_uri)} still opens backups made before; destroy it with the last of them.")


def _publish(ledger: Any, policy: Path) -> str:
    from ledger.policy import parse_policy
    from ledger.witness.publication import Publication

    return Publication(ledger, parse_policy(policy.read_bytes())).publish_now().state


def _as_json(done: Any) -> dict[str, Any]:
    return {
        "old": done.old,
        "new": done.new,
        "size": done.size,
        "old_signing_key": done.old_place,
        "signing_key": done.new_place,
    }


def _say(done: Any) -> None:
    out.print(f"The log is signed by {escape(done.new)} from size {done.size} on.", soft_wrap=True)
    out.print("Add this line to your policies, beside the old one, and send it to your witnesses:")
    out.print(f"log {escape(done.new)}", soft_wrap=True)
    out.print(
        f"The new secret is {escape(done.new_place)}: back it up apart. Nothing needs {escape(done.old_place)} "
        "any more; destroy it once the new one is in your backup of the keys.",
        soft_wrap=True,
    )
