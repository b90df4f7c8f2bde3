"""`tocsin dispatch`: send approved notices, watch the balance, stop and go on."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from api.cli.casefile import Name, Who, mark
from api.cli.common import AsJson, DataDirectory, err, out, print_json, progress_bar
from incidents.service import IncidentService
from ledger import Ledger
from notifiers.balance import TELLING_STATES, Balance
from notifiers.config import read_config
from notifiers.receipts import verify
from notifiers.service import Dispatcher
from notifiers.views import Status

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Send approved notices and watch the balance.")

Campaign = Annotated[str, typer.Argument(help="Name of the campaign.")]
Reason = Annotated[str, typer.Option(help="Short code for the record, such as legal_hold.")]


def show_balance(book: Balance) -> None:
    """Print the book as a table: one row per channel, one column per state, and the reasons below."""
    table = Table(title=f"{book.campaign}: {book.owed} owed")
    table.add_column("channel")
    for state in TELLING_STATES:
        table.add_column(state.replace("_", " "), justify="right")
    for channel, row in sorted(book.by_channel().items()):
        table.add_row(channel or "none", *(str(row.get(state, 0)) for state in TELLING_STATES))
    table.add_section()
    totals = (book.queued, book.handed_over, book.delivered, book.failed, book.excluded)
    table.add_row("all", *(str(total) for total in totals))
    out.print(table)
    for state in ("failed", "excluded"):
        for reason, count in sorted(book.by_reason(state).items()):
            out.print(f"{state}, {reason}: {count}")
    if book.possibly_repeated:
        out.print(f"possibly told twice: {book.possibly_repeated}; their receipts say so")


def _mark(dispatcher: Dispatcher, campaign: str, *, json: bool = False) -> None:
    """Say that a campaign is a drill."""
    mark("Exercise" if dispatcher.status(campaign).mode == "drill" else "Actual", json=json)


def _show(status: Status) -> None:
    mark("Exercise" if status.mode == "drill" else "Actual")
    why = f" ({status.reason})" if status.reason else ""
    out.print(f"{status.campaign}: {status.state}{why}, {status.mode}, incident {status.incident}")
    show_balance(status.balance)


@app.command("open")
def open_(
    incident: Name,
    *,
    data: DataDirectory,
    who: Who,
    everybody: Annotated[bool, typer.Option("--everybody", help="Also those to whom no duty is owed.")] = False,
    json: AsJson = False,
) -> None:
    """Turn the approved notices into campaigns, one per form of notice; nothing is sent yet.

    The campaigns of an exercise reach nobody: they are given no transport.
    """
    with Ledger.open(data) as ledger:
        service = IncidentService(ledger, dispatcher=Dispatcher(ledger, read_config(data).adapters))
        mark(service.status(incident), json=json)
        names = service.open_campaign(incident, by=who, everybody=everybody)
    if json:
        print_json(list(names))
        return
    for name in names:
        out.print(
            f"{name} is open; look: `tocsin dispatch preflight {name}`, send: `tocsin dispatch run {name}`",
            soft_wrap=True,
        )


@app.command()
def status(
    data: DataDirectory,
    campaign: Annotated[str | None, typer.Argument(help="Name of the campaign; all where left out.")] = None,
    json: AsJson = False,
) -> None:
    """Show where campaigns stand and that their books add up."""
    with Ledger.open(data) as ledger:
        dispatcher = Dispatcher(ledger)
        found = dispatcher.campaigns() if campaign is None else (dispatcher.status(campaign),)
    if json:
        print_json([each.as_json() for each in found])
        return
    for each in found:
        _show(each)
    if not found:
        out.print("There are no campaigns yet.")


@app.command()
def preflight(campaign: Campaign, data: DataDirectory, json: AsJson = False) -> None:
    """Show who will be told over which channel, how long that takes, and who cannot be reached."""
    configured = read_config(data)
    with Ledger.open(data) as ledger:
        dispatcher = Dispatcher(ledger, configured.adapters)
        _mark(dispatcher, campaign, json=json)
        plan = dispatcher.preflight(campaign)
    if json:
        print_json(plan.as_json())
        return
    out.print(f"{plan.campaign}: {plan.owed} tellings")
    for channel, count in sorted(plan.by_channel.items()):
        hours = plan.hours.get(channel)
        takes = "no rate is set" if hours is None else f"about {hours:.1f} h at the granted rate"
        out.print(f"{channel}: {count} ({takes})")
    if plan.substituted:
        out.print(f"{plan.substituted} get another language than their own")
    for each in plan.excluded:
        out.print(f"excluded: {each.person} through {each.addressee}, {each.reason}")


@app.command()
def run(
    campaign: Campaign,
    data: DataDirectory,
    wait: Annotated[float, typer.Option(min=0, help="Minutes to wait for retries that are due later.")] = 0,
    json: AsJson = False,
) -> None:
    """Send what is due; repeat it at any time, also after a crash. Exit code 1 when a channel was halted."""
    configured = read_config(data)
    with Ledger.open(data) as ledger:
        dispatcher = Dispatcher(ledger, configured.adapters)
        _mark(dispatcher, campaign, json=json)
        with progress_bar("Telling people", quiet=json) as progress:
            report = dispatcher.run(
                campaign,
                progress=lambda book: progress(book.owed - book.queued, book.owed),
                patience=timedelta(minutes=wait),
            )
    if json:
        print_json(
            {
                "balance": report.balance.as_json(),
                "halted": dict(report.halted),
                "problems": list(report.problems),
                "state": report.state,
            }
        )
    else:
        show_balance(report.balance)
        if report.state != "open":
            out.print(f"The campaign is {report.state} now.")
        for problem in report.problems:
            err.print(problem)
    if report.problems:
        raise typer.Exit(1)


@app.command()
def pause(campaign: Campaign, data: DataDirectory, reason: Reason = "operator") -> None:
    """Stop sending; what a provider already has is still recorded."""
    with Ledger.open(data) as ledger:
        dispatcher = Dispatcher(ledger)
        _mark(dispatcher, campaign)
        dispatcher.pause(campaign, reason)
    out.print(f"{campaign} is paused.")


@app.command()
def resume(campaign: Campaign, data: DataDirectory) -> None:
    """Let a paused campaign run again."""
    with Ledger.open(data) as ledger:
        dispatcher = Dispatcher(ledger)
        _mark(dispatcher, campaign)
        dispatcher.resume(campaign)
    out.print(f"{campaign} is open; `tocsin dispatch run {campaign}` sends what is due.")


@app.command()
def cancel(campaign: Campaign, data: DataDirectory, reason: Reason = "operator") -> None:
    """Give up what is still queued; those people are booked as excluded."""
    with Ledger.open(data) as ledger:
        dispatcher = Dispatcher(ledger)
        _mark(dispatcher, campaign)
        dispatcher.cancel(campaign, reason)
    out.print(f"{campaign} is cancelled.")


@app.command()
def finish(campaign: Campaign, data: DataDirectory, who: Who, json: AsJson = False) -> None:
    """Close the book and mark the duties that are thereby met; refused while anything is queued."""
    with Ledger.open(data) as ledger:
        dispatcher = Dispatcher(ledger)
        _mark(dispatcher, campaign, json=json)
        incident = dispatcher.status(campaign).incident
        book = IncidentService(ledger, dispatcher=dispatcher).finish(incident, campaign, by=who)
        balance = dispatcher.balance(campaign)
    if json:
        print_json(book)
        return
    show_balance(balance)


@app.command()
def announce(
    incident: Name,
    *,
    data: DataDirectory,
    who: Who,
    base_url: Annotated[
        str, typer.Option(help="Where the public will find the pages, such as https://example.org/notices/")
    ],
    folder: Annotated[Path | None, typer.Option(help="Directory to publish into; DATA/public if left out.")] = None,
) -> None:
    """Publish the approved public notice as pages and an Atom feed; any web server can serve the directory.

    An exercise is published into DATA/exercise, which nobody serves, and every page of it says what it is.
    """
    with Ledger.open(data) as ledger:
        service = IncidentService(ledger)
        status = service.status(incident)
        mark(status)
        place = folder or data / ("exercise" if status == "Exercise" else "public")
        published = service.announce(incident, by=who, directory=place, base_url=base_url)
    for page in (*published.pages.values(), published.feed):
        out.print(str(page), soft_wrap=True)


@app.command()
def receipts(
    campaign: Campaign,
    person: Annotated[str, typer.Argument(help="Ref of the person concerned.")],
    data: DataDirectory,
) -> None:
    """Print one person's dispatch receipts with their proofs, as JSON."""
    with Ledger.open(data) as ledger:
        dispatcher = Dispatcher(ledger)
        _mark(dispatcher, campaign, json=True)
        found = dispatcher.receipts(campaign, person)
    print_json([{**receipt.as_json(), "facts": verify(receipt)} for receipt in found])
