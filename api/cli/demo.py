"""`tocsin demo`: the main job end to end, on invented people."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from api.cli.common import AsJson, DataDirectory, out, print_json

app = typer.Typer(add_completion=False)


@app.command()
def demo(
    *,
    data: DataDirectory,
    fresh: Annotated[bool, typer.Option("--fresh", help="Empty the directory first, if a demo made it.")] = False,
    people: Annotated[int, typer.Option(min=20, max=50_000, help="How many people to invent.")] = 2600,
    records: Annotated[int, typer.Option(min=100, help="How many everyday log records to invent.")] = 50_000,
    seed: Annotated[int, typer.Option(help="Another seed invents another world.")] = 20260310,
    json: AsJson = False,
) -> None:
    """Run the main job end to end: a breach record in, told people and a verifiable file out.

    Everybody is invented and nothing leaves this machine. A demo that was interrupted goes on where it
    stopped when it is called again.
    """
    from api.demo.place import prepare

    began = datetime.now(UTC)
    place = prepare(data, fresh=fresh, began=began, seed=seed, people=people, records=records)

    from api.demo.narrator import Narrator
    from api.demo.run import STEPS, run

    outcome = run(place, Narrator(out, STEPS, quiet=json))
    if json:
        print_json(outcome.as_json())
