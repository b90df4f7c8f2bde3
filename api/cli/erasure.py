"""`tocsin erase`, `hold`, `retention`: forgetting people and old payloads, and what forbids it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.markup import escape

from api.cli.casefile import Who
from api.cli.common import AsJson, DataDirectory, err, out, print_json, progress_bar
from api.erasing import IncidentCases, letter_copies, prepare_forgetting, resolve, who
from incidents.service import IncidentService
from ledger import Ledger
from ledger.encoding import format_time
from ledger.errors import InputError, TocsinError
from ledger.forgetting.erasing import RESIDUAL, Erased, ErasureRefusedError, erase
from ledger.forgetting.events import ScopeKind
from ledger.forgetting.holding import lift_hold, list_holds, place_hold
from ledger.forgetting.retention import parse_rules, run_rules
from ledger.forgetting.scrub import Scrubbed, finish, unfinished
from ledger.vault import Kind

RULES = "retention.toml"

app = typer.Typer(no_args_is_help=True)
hold = typer.Typer(no_args_is_help=True, help="Order that something be kept, and lift such an order.")
retention = typer.Typer(no_args_is_help=True, help="Delete payloads that have become too old.")
app.add_typer(hold, name="hold")
app.add_typer(retention, name="retention")

KindOption = Annotated[str, typer.Option(help="What the identity names: subject, actor or network.")]
Override = Annotated[
    str, typer.Option(help="Reason to go on although an open incident objects. No reason overrides a hold.")
]
Defer = Annotated[
    bool, typer.Option("--defer", help="Leave the rewriting of the database to a later `tocsin erase --finish`.")
]


@app.command("erase")
def erase_(
    *,
    identities: Annotated[
        list[str] | None,
        typer.Argument(help="Ids or pseudonyms; - reads ids from standard input, one a line.", metavar="IDENTITY..."),
    ] = None,
    data: DataDirectory,
    by: Who,
    basis: Annotated[str, typer.Option(help="Why: the rule or request, such as eu-gdpr:A17-1-b.")] = "",
    kind: KindOption = "subject",
    payloads: Annotated[
        bool, typer.Option("--payloads/--keep-payloads", help="Delete payloads about this person alone, too.")
    ] = True,
    override: Override = "",
    defer: Defer = False,
    complete: Annotated[
        bool, typer.Option("--finish", help="Only wipe what earlier erasures left in the files.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Erase people: who they are, and everything that was sealed about them.

    Entries and proofs stay valid. Cannot be undone. Refused, on record, under a hold and, without a reason
    to override, while an open incident affects the person.
    """
    if bool(identities) == complete:
        raise typer.BadParameter("give identities to erase, or --finish alone")
    with Ledger.open(data) as ledger:
        cases = IncidentCases(IncidentService(ledger))
        copies = letter_copies(ledger, data)
        refs = [resolve(ledger, _kind(kind), name) for name in _names(identities or [])]
        actor = who(ledger, by)
        _prepare(ledger, refs, wipe=not defer, quiet=json)
        done: list[Erased] = []
        refused: list[ErasureRefusedError] = []
        failed: TocsinError | None = None
        for ref in dict.fromkeys(refs):
            try:
                done.append(
                    erase(ledger, ref, basis=basis, by=actor, payloads=payloads, cases=cases, override=override)
                )
            except ErasureRefusedError as error:
                refused.append(error)
            except TocsinError as error:
                failed = error  # what was erased so far is wiped all the same
                break
        needles = [needle for item in done for needle in item.needles]
        wiped = None if defer else finish(ledger, by=actor, needles=needles, copies=copies)
        left = unfinished(ledger)
        unscoped = cases.unscoped() if done else ()
    if json:
        print_json(
            {
                "erased": [item.as_json() for item in done],
                "refused": [{"index": item.index, "reasons": list(item.reasons)} for item in refused],
                "wiped": None if wiped is None else wiped.as_json(),
                "unfinished": list(left),
                "residual": list(RESIDUAL) if done else [],
            }
        )
    else:
        _say_erased(done, wiped, left)
    if failed is not None:
        raise failed
    for case in unscoped:
        err.print(f"Incident {case} is open and not scoped yet: whether it affects whom you erased is not known.")
    for item in refused:
        err.print(f"[bold red]Refused.[/] {escape(str(item))}", soft_wrap=True)
    if refused:
        raise typer.Exit(1)


def _prepare(ledger: Ledger, what: Sequence[object], *, wipe: bool, quiet: bool) -> None:
    if what:
        with progress_bar("Indexing", quiet=quiet) as progress:
            prepare_forgetting(ledger, wipe=wipe, progress=progress)


def _names(given: list[str]) -> list[str]:
    return [line for name in given for line in (_lines() if name == "-" else [name])]


def _lines() -> list[str]:
    return [line for line in sys.stdin.read().splitlines() if line.strip()]


def _kind(name: str) -> Kind:
    if name not in ("subject", "actor", "network"):
        raise typer.BadParameter("kind must be subject, actor or network")
    return cast("Kind", name)


def _say_erased(done: list[Erased], wiped: Scrubbed | None, left: tuple[int, ...]) -> None:
    for item in done:
        out.print(
            f"[bold]Erased[/] {item.ref}: entry {item.index}, key {item.key} destroyed, {item.payloads} payloads "
            f"deleted, {item.shared} shared with others made unreadable, {item.named} other mentions of the pseudonym.",
            soft_wrap=True,
        )
    _say_wiped(wiped, left)
    if done:
        out.print("What this ledger cannot reach:")
        for line in RESIDUAL:
            out.print(f"  {line}", soft_wrap=True)


def _say_wiped(wiped: Scrubbed | None, left: tuple[int, ...]) -> None:
    if wiped is not None:
        copies = "".join(f", {count} {what} deleted" for what, count in wiped.copies.items())
        out.print(
            f"Files wiped (entry {wiped.index}): {wiped.freed} bytes given back{copies}; "
            f"{wiped.searched} byte strings of what was erased searched for, none found.",
            soft_wrap=True,
        )
    elif left:
        out.print("The files still hold remains; run `tocsin erase --finish` soon.")
    else:
        out.print("Nothing is left to wipe.")


@hold.callback()
def _hold() -> None:
    """Order that something be kept, and lift such an order."""


@hold.command("place")
def place(
    *,
    data: DataDirectory,
    by: Who,
    authority: Annotated[str, typer.Option(help="Who orders it: an office, not a person.")],
    basis: Annotated[str, typer.Option(help="The rule, order or file number it rests on.")],
    person: Annotated[str | None, typer.Option(help="Id or pseudonym of a person.")] = None,
    incident: Annotated[
        str | None, typer.Option(help="Incident: everybody it affects, everything it rests on.")
    ] = None,
    resource: Annotated[str | None, typer.Option(help="Resource, or container of resources.")] = None,
    expires: Annotated[str | None, typer.Option(help="Instant with offset from which it no longer holds.")] = None,
    kind: KindOption = "subject",
    json: AsJson = False,
) -> None:
    """Place a hold; until it is lifted or expires, nothing it covers is erased or deleted."""
    scopes: dict[ScopeKind, str | None] = {"person": person, "incident": incident, "resource": resource}
    given = [(name, value) for name, value in scopes.items() if value is not None]
    if len(given) != 1:
        raise typer.BadParameter("give exactly one of --person, --incident, --resource")
    [(scope, target)] = given
    until = None if expires is None else _instant(expires)
    with Ledger.open(data) as ledger:
        if scope == "person":
            target = resolve(ledger, _kind(kind), target)
        if scope == "incident":
            IncidentService(ledger).view(target)  # so that a misspelt name holds nothing by mistake
        placed = place_hold(ledger, scope, target, authority=authority, basis=basis, by=who(ledger, by), expires=until)
        now = format_time(ledger.clock())
    if json:
        print_json(placed.as_json(now))
        return
    out.print(f"[bold]{placed.id}[/] holds {scope} {escape(target)}, entry {placed.placed}.")


@hold.command("lift")
def lift(
    name: Annotated[str, typer.Argument(help="Hold, such as hold-17.", metavar="HOLD")],
    data: DataDirectory,
    by: Who,
    reason: Annotated[str, typer.Option(help="Why it is lifted.")],
    json: AsJson = False,
) -> None:
    """Lift a hold."""
    with Ledger.open(data) as ledger:
        index = lift_hold(ledger, name, reason=reason, by=who(ledger, by))
    if json:
        print_json({"hold": name, "index": index})
        return
    out.print(f"{escape(name)} lifted, entry {index}.")


@hold.command("list")
def list_(
    data: DataDirectory,
    everything: Annotated[bool, typer.Option("--all", help="Also those lifted or expired.")] = False,
    json: AsJson = False,
) -> None:
    """List holds, for whoever audits."""
    with Ledger.open(data) as ledger:
        now = format_time(ledger.clock())
        rows = [item.as_json(now) for item in list_holds(ledger) if everything or item.active(now)]
    if json:
        print_json(rows)
        return
    for row in rows:
        [(scope, target)] = row["scope"].items()
        until = f" until {row['expires']}" if row["expires"] else ""
        out.print(
            f"{row['hold']} {row['state']}: {scope} {escape(target)}, {escape(row['authority'])}, "
            f"{escape(row['basis'])}{until}",
            soft_wrap=True,
        )
    if not rows:
        out.print("No holds." if everything else "No holds are active.")


@retention.callback()
def _retention() -> None:
    """Delete payloads that have become too old."""


@retention.command("run")
def run(
    *,
    data: DataDirectory,
    by: Who,
    rules: Annotated[Path | None, typer.Option(help=f"Rules file; DATA/{RULES} if absent.")] = None,
    override: Override = "",
    defer: Defer = False,
    json: AsJson = False,
) -> None:
    """Delete payloads that are due under the rules, and give the disk space back. Proofs stay valid."""
    path = rules or data / RULES
    try:
        checked = parse_rules(path.read_text(encoding="utf-8"), path.name)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text.") from None
    with Ledger.open(data) as ledger:
        actor, cases = who(ledger, by), IncidentCases(IncidentService(ledger))
        _prepare(ledger, checked, wipe=not defer, quiet=json)
        ran = run_rules(ledger, checked, by=actor, cases=cases, override=override)
        wiped = None if defer else finish(ledger, by=actor, copies=letter_copies(ledger, data))
        left = unfinished(ledger)
    if json:
        print_json(
            {
                "rules": [item.as_json() for item in ran],
                "wiped": None if wiped is None else wiped.as_json(),
                "unfinished": list(left),
            }
        )
        return
    for item in ran:
        kept = "".join(f", {count} kept for {why}" for why, count in item.kept.items())
        out.print(f"{escape(item.rule)}: {item.deleted} payloads from before {item.cutoff} deleted{kept}.")
    _say_wiped(wiped, left)


def _instant(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InputError("expires: write the instant with its offset, such as 2027-01-31T00:00Z.", field="expires")
    return moment
