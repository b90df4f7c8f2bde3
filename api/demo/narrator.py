"""How the demo tells what it does: numbered steps, plain sentences, progress bars, tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

_NARROWEST: Final = 22
"""Cells of a table's flexible columns are never cut shorter than this."""

_GAP: Final = 3
"""What a column takes besides its cells."""

Tell = Callable[[int, int | None], None]
"""Moves a progress bar: (done, in all or None)."""


class Narrator:
    """Prints to a console; with `quiet`, nothing.

    Args:
        console: where to.
        steps: how many numbered steps there will be.
        quiet: say nothing (for `--json`).
        monotonic: seconds, for how long a step took.
    """

    def __init__(
        self,
        console: Console,
        steps: int,
        *,
        quiet: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._steps = steps
        self._quiet = quiet
        self._monotonic = monotonic
        self._number = 0

    def headline(self, title: str, text: str) -> None:
        """A heading with a paragraph."""
        self._print(f"\n[bold]{escape(title)}[/]")
        if text:
            self._print(escape(text))

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """One numbered step; says at its end how long it took if that was noticeable."""
        self._number += 1
        began = self._monotonic()
        self._print(f"\n[bold cyan]{self._number:>2}/{self._steps}[/]  [bold]{escape(title)}[/]")
        yield
        took = self._monotonic() - began
        if took >= 1:
            self._print(f"       [dim]{took:.1f} s[/]")

    def say(self, text: str) -> None:
        """A plain sentence."""
        self._print(f"       {escape(text)}")

    def good(self, text: str) -> None:
        """Something that was checked and holds."""
        self._print(f"       [green]✔[/] {escape(text)}")

    def caught(self, text: str) -> None:
        """Something wrong that was noticed, as it should be."""
        self._print(f"       [red]✘[/] {escape(text)}")

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, flexible: int = 0) -> None:
        """A table, one line a row.

        Args:
            title: stands above it.
            columns: headings.
            rows: cells.
            flexible: so many columns at the right share what room is left and are cut to it; where there is
                too little for all of them, the last one is left out.
        """
        if self._quiet:
            return
        cells = [[Text(cell) for cell in row] for row in [columns, *rows]]
        fixed = len(columns) - flexible
        left = self._console.width - sum(_GAP + max(row[place].cell_len for row in cells) for place in range(fixed))
        if flexible > 1 and left // flexible < _NARROWEST + _GAP:
            cells, flexible = [row[:-1] for row in cells], flexible - 1
        for row in cells:
            for cell in row[fixed:]:
                cell.truncate(max(_NARROWEST, left // flexible - _GAP), overflow="ellipsis")
        table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
        for heading in cells[0]:
            table.add_column(heading, no_wrap=True)
        for row in cells[1:]:
            table.add_row(*row)
        self._console.print()
        self._console.print(table)

    @contextmanager
    def bar(self, label: str) -> Iterator[Tell]:
        """A progress bar that goes away when the work is done."""
        columns = (
            TextColumn("      "),
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Progress(
            *columns, console=self._console, transient=True, disable=self._quiet or not self._console.is_terminal
        ) as progress:
            task = progress.add_task(label, total=None)

            def tell(done: int, total: int | None) -> None:
                progress.update(task, completed=done, total=total)

            yield tell

    def _print(self, text: str) -> None:
        if not self._quiet:
            self._console.print(text, highlight=False, soft_wrap=True)
