"""`tocsin backup` and `tocsin restore`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from api.cli.common import AsJson, out, print_json, progress_bar, read_file
from ledger.errors import InputError

if TYPE_CHECKING:
    from ledger.recovery.backup import Backup
    from ledger.recovery.extending import Extended, Means

app = typer.Typer(no_args_is_help=True)

_HEX_ROOT = 64


@app.command()
def backup(
    data: Annotated[Path, typer.Option("--data", envvar="TOCSIN_DATA", help="The data directory.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The file to write, or a directory for it.")
    ] = None,
    with_keys: Annotated[
        Path | None, typer.Option(help="Also write the secret keys, to this file of their own. Keep it elsewhere.")
    ] = None,
    tiles: Annotated[
        Path | None,
        typer.Option(help="Also bring a static mirror in this directory up to date: tiles and entries, no payloads."),
    ] = None,
    json: AsJson = False,
) -> None:
    """Back up a ledger, also while it is served. The backup holds no keys: back those up apart.

    No backup is overwritten, and a file has its name only once it is whole and on disk. --tiles writes only
    what a mirror does not have yet, its checkpoint last.
    """
    if output is None and tiles is None:
        raise typer.BadParameter("give -o for a backup, --tiles for a mirror, or both")
    from ledger import Ledger
    from ledger.recovery.backup import take_backup, write_keys
    from ledger.recovery.publishing import write_mirror

    told: dict[str, Any] = {}
    with Ledger.open(data) as ledger:
        if with_keys is not None:
            write_keys(ledger, with_keys)
        if output is not None:
            with progress_bar("Copying", quiet=json) as progress:
                path, manifest = take_backup(ledger, output, progress=progress)
            told |= {
                "file": str(path),
                "origin": manifest.origin,
                "size": manifest.size,
                "root": manifest.root.hex(),
                "database_sha256": manifest.digest,
                "taken": manifest.taken,
            }
        if tiles is not None:
            with progress_bar("Mirroring", quiet=json) as progress:
                mirrored = write_mirror(ledger, tiles, progress=progress)
            told["mirror"] = {
                "directory": str(tiles),
                "size": mirrored.size,
                "added": mirrored.size - mirrored.before,
                "files": mirrored.files,
                "witnessed": mirrored.witnessed,
            }
    told["keys"] = None if with_keys is None else str(with_keys)
    if json:
        print_json(told)
    else:
        _report_backup(told)


def _report_backup(told: dict[str, Any]) -> None:
    mirror, with_keys = told.get("mirror"), told["keys"]
    if mirror is not None:
        out.print(
            f"{escape(mirror['directory'])}: a mirror of {mirror['size']} entries, {mirror['added']} of them new; "
            f"{mirror['witnessed']} are witnessed. Entries are commitments: it is no backup of what they commit to.",
            soft_wrap=True,
        )
    if "file" not in told:
        return
    out.print(f"{escape(told['file'])}: {told['size']} entries, root {told['root']}.", soft_wrap=True)
    if with_keys is None:
        out.print("It holds no keys. Without them nobody can read identities or go on signing: keep copies apart.")
    else:
        out.print(f"The secret keys are in {escape(with_keys)}: store it apart from the backup.", soft_wrap=True)


@app.command()
def restore(
    file: Annotated[
        Path | None, typer.Argument(help="The backup; not needed with --confirm, nor with --from-tiles.")
    ] = None,
    *,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="A new data directory; without it --verify restores to a temporary place."),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Without --data: only see whether it would restore whole. Restoring always verifies."
        ),
    ] = False,
    keys: Annotated[Path | None, typer.Option(help="The file that `backup --with-keys` wrote.")] = None,
    vkey: Annotated[
        str | None, typer.Option(help="The log's key, got elsewhere: refuse backups of other logs.")
    ] = None,
    from_tiles: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="Add the entries that the published tiles at this URL or in this directory have more of the log.",
        ),
    ] = None,
    confirm: Annotated[bool, typer.Option("--confirm", help="Confirm a directory that was restored before.")] = False,
    policy: Annotated[Path | None, typer.Option(help="Ask the witnesses of this tlog-policy file.")] = None,
    newest_known: Annotated[
        str | None, typer.Option(metavar="SIZE:ROOT", help="The newest tree known outside (root in hex).")
    ] = None,
    accept_loss: Annotated[
        str | None, typer.Option(metavar="REASON", help="Go on although entries may be lost; recorded in the log.")
    ] = None,
    new_origin: Annotated[
        str | None, typer.Option(metavar="NAME", help="Make a new log that continues the one in the backup.")
    ] = None,
    reason: Annotated[str, typer.Option(help="With --new-origin: why; recorded, so without personal data.")] = "",
    json: AsJson = False,
) -> None:
    """Verify a backup, put it back, confirm it, rebuild it from tiles, or begin a log that continues it.

    A restored copy opens, proves and verifies, but signs nothing until it is confirmed: by --policy (the
    witnesses saw no more), by --newest-known, or by --accept-loss. Nothing is ever overwritten.

    --from-tiles works on a backup FILE, on an existing --data DIR that is behind, or, with --keys, on
    nothing. It brings back every entry and no payload; with --policy the mirror must be witnessed.
    """
    ways = [way for way in (policy, newest_known, accept_loss) if way is not None]
    if len(ways) > 1 and new_origin is None:
        raise typer.BadParameter("give one of --policy, --newest-known, --accept-loss")
    if confirm:
        if data is None or not ways or file is not None:
            raise typer.BadParameter("--confirm takes --data and one of --policy, --newest-known, --accept-loss")
        result: dict[str, Any] = {"data": str(data)}
    elif from_tiles is not None:
        if data is None or new_origin is not None:
            raise typer.BadParameter("--from-tiles needs --data, the directory to rebuild in, and no --new-origin")
        with _means(from_tiles, policy, keys, vkey, quiet=json) as means:
            result = _rebuild(file, data, means, json=json)
    else:
        found = _opened(file, data, vkey, needed=not verify or bool(ways) or new_origin is not None)
        if new_origin is not None and data is not None:
            _report(_succeed(found, data, new_origin, policy, reason), json=json)
            return
        result = _restore(found, data, keys, quiet=json)
    if ways and data is not None:
        result |= _confirm(data, policy, newest_known, accept_loss)
    _report(result, json=json)


def _opened(file: Path | None, data: Path | None, vkey: str | None, *, needed: bool) -> Backup:
    from ledger.recovery.backup import Backup

    if file is None:
        raise typer.BadParameter("give the backup file, or --confirm, or --from-tiles")
    if data is None and needed:
        raise typer.BadParameter("give --data, a new directory; without one a backup can only be checked: --verify")
    return Backup.open(file, vkey=vkey)


def _restore(found: Backup, data: Path | None, keys: Path | None, *, quiet: bool) -> dict[str, Any]:
    from ledger.recovery.restoring import check_backup, read_keys
    from ledger.recovery.restoring import restore as put_back

    with progress_bar("Restoring", quiet=quiet) as progress:
        if data is None:
            findings = check_backup(found, progress)
        else:
            secrets = None if keys is None else read_keys(keys)
            findings = put_back(found, data, keys=secrets, progress=progress)
    manifest = found.manifest
    return {
        "data": None if data is None else str(data),
        "origin": manifest.origin,
        "vkey": found.config.vkey,
        "size": manifest.size,
        "root": manifest.root.hex(),
        "taken": manifest.taken,
        "state": "verified" if data is None else "unconfirmed",
        "not_checked": findings.not_checked,
    }


@contextmanager
def _means(source: str, policy: Path | None, keys: Path | None, vkey: str | None, *, quiet: bool) -> Iterator[Means]:
    from ledger.policy import parse_policy
    from ledger.recovery.extending import Means
    from ledger.recovery.mirror import open_source
    from ledger.recovery.restoring import read_keys

    rules = None if policy is None else parse_policy(read_file(policy))
    secrets = None if keys is None else read_keys(keys)
    with open_source(source) as opened, progress_bar("Rebuilding", quiet=quiet) as progress:
        yield Means(opened, rules, secrets, vkey, progress=progress)


def _rebuild(file: Path | None, data: Path, means: Means, *, json: bool) -> dict[str, Any]:
    from ledger.config import read_config
    from ledger.recovery.backup import Backup
    from ledger.recovery.fromtiles import rebuild, rebuild_without_backup, restore_from_tiles
    from ledger.witness.errors import EquivocationError
    from ledger.witness.evidence import evidence_facts

    done: Extended
    try:
        if file is not None:
            done = restore_from_tiles(Backup.open(file, vkey=means.vkey), data, means)
        elif data.is_dir() and any(data.iterdir()):
            done = rebuild(data, means)
        else:
            done = rebuild_without_backup(data, means)
    except EquivocationError as error:
        if json:
            print_json(evidence_facts(error.evidence))
        raise
    config = read_config(data)
    return {
        "data": str(data),
        "origin": config.origin,
        "vkey": config.vkey,
        "size": done.size,
        "root": done.root.hex(),
        "state": "rebuilt",
        "added": done.size - done.start,
        "witnessed": done.witnessed,
        "payloads_lost": done.lost,
        "own_events_lost": dict(sorted(done.own.items())),
        "signing_key_in_place": not config.signing_key.startswith("file:")
        or (data / config.signing_key.removeprefix("file:")).exists(),
    }


def _confirm(data: Path, policy: Path | None, known: str | None, loss: str | None) -> dict[str, Any]:
    from ledger import Ledger
    from ledger.policy import parse_policy
    from ledger.recovery import restoring

    with Ledger.open(data) as ledger:
        if policy is not None:
            restoring.confirm_by_witnesses(ledger, parse_policy(read_file(policy)))
        elif known is not None:
            restoring.confirm_by_head(ledger, *_head(known))
        else:
            restoring.confirm_with_loss(ledger, loss or "")
        return {"size": ledger.size(), "state": "confirmed"}


def _succeed(found: Backup, data: Path, origin: str, policy: Path | None, reason: str) -> dict[str, Any]:
    import asyncio

    from ledger.notes import Verifier
    from ledger.policy import parse_policy
    from ledger.recovery.restoring import predecessor_of, signed_in_time, succeed
    from ledger.witness.client import Sighting, endpoints, look

    if not reason.strip():
        raise InputError("Say with --reason why the old log cannot go on; it is recorded in the new one.")
    seen: list[Sighting] = []
    if policy is not None:
        places = endpoints(parse_policy(read_file(policy)))
        logs = [Verifier.from_vkey(key.vkey) for key in found.config.keys]
        answers = asyncio.run(look(places, logs, found.config.origin))
        seen = [answer for answer in answers.values() if isinstance(answer, Sighting)]
        # What a replaced key signed beyond its time is nobody's predecessor.
        seen = [each for each in seen if signed_in_time(each, found.config.keys)]
    largest = max(seen, key=lambda item: item.checkpoint.size, default=None)
    predecessor = predecessor_of(found, reason.strip(), largest)
    with succeed(predecessor, data, origin) as ledger:
        return {
            "data": str(data),
            "origin": ledger.origin,
            "vkey": ledger.vkey,
            "size": ledger.size(),
            "state": "new log",
            "continues": {"origin": found.config.origin, "size": predecessor.head.size},
            "lost": predecessor.head.size - found.manifest.size,
        }


def _head(known: str) -> tuple[int, bytes]:
    size, _, root = known.partition(":")
    if not (size.isascii() and size.isdigit()) or len(root) != _HEX_ROOT:
        raise InputError("--newest-known is SIZE:ROOT, the root as 64 hex digits (`tocsin verify` prints both).")
    try:
        return int(size), bytes.fromhex(root)
    except ValueError:
        raise InputError("The root in --newest-known is not hexadecimal.") from None


def _report(result: dict[str, Any], *, json: bool) -> None:
    if json:
        print_json(result)
        return
    state = result["state"]
    if state == "verified":
        out.print(
            f"[bold green]The backup is good[/]: {result['size']} entries, root {result['root']}.", soft_wrap=True
        )
        out.print(f"Signed by {escape(result['vkey'])}; compare it with the key you know.", soft_wrap=True)
    elif state == "unconfirmed":
        out.print(f"Restored {result['size']} entries to {escape(result['data'])}, verified.", soft_wrap=True)
        out.print(
            "It [bold]signs nothing yet[/]: this may be older than what others saw. Put the keys in place, then run "
            f"`tocsin restore --confirm --data {escape(result['data'])}` with --policy FILE, "
            "--newest-known SIZE:ROOT or --accept-loss REASON.",
            soft_wrap=True,
        )
    elif state == "rebuilt":
        _report_rebuilt(result)
    elif state == "confirmed":
        out.print(
            f"Confirmed and recorded; {escape(result['data'])} goes on from {result['size']} entries.", soft_wrap=True
        )
        out.print("Campaigns that were open start paused: compare with the providers' logs before you resume them.")
    else:
        old = result["continues"]
        out.print(
            f"{escape(result['origin'])} continues {escape(old['origin'])} from {old['size']} entries.", soft_wrap=True
        )
        out.print(
            f"Its key: {escape(result['vkey'])}. Entries of the old log in no backup: {result['lost']}.", soft_wrap=True
        )


def _report_rebuilt(result: dict[str, Any]) -> None:
    place = escape(result["data"])
    out.print(
        f"{place} has {result['size']} entries, {result['added']} of them from the tiles; root {result['root']}.",
        soft_wrap=True,
    )
    if result["payloads_lost"]:
        out.print(
            f"[bold]{result['payloads_lost']} payloads are lost[/]: their entries stand and prove themselves, what "
            "they said is gone. Producers that send those events again get their first receipts.",
            soft_wrap=True,
        )
    for name, count in result["own_events_lost"].items():
        out.print(f"  {count} x {escape(name)}")
    if not result["signing_key_in_place"]:
        out.print("Put the signing key where tocsin.toml says it is.")
    out.print(
        f"It [bold]signs nothing yet[/]. Confirm it: `tocsin restore --confirm --data {place}` with --policy FILE, "
        "--newest-known SIZE:ROOT or --accept-loss REASON.",
        soft_wrap=True,
    )
