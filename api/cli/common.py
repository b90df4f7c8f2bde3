"""What every command shares: the data directory, output and progress."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ledger.errors import InputError

DataDirectory = Annotated[
    Path,
    typer.Option("--data", envvar="TOCSIN_DATA", help="The data directory.", show_default=False),
]
PolicyFile = Annotated[
    Path | None,
    typer.Option("--policy", help="tlog-policy file: the witnesses that cosign this ledger, and the quorum."),
]
MaxLagEntries = Annotated[
    int,
    typer.Option(
        "--max-lag-entries", min=1, help="Refuse events when more entries than this have no quorum of witnesses."
    ),
]
MaxLagSeconds = Annotated[
    float,
    typer.Option(
        "--max-lag-seconds", min=1, help="Refuse events when an entry has had no quorum for longer than this."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def read_file(path: Path) -> bytes:
    """What is in a file that the command line names.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None


def print_json(value: Any) -> None:
    """Print a value as JSON, indented, nothing else on stdout."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


@contextmanager
def progress_bar(label: str, *, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr; gives a callback that takes (done, total)."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=quiet) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
