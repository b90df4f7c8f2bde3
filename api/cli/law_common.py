"""What the `tocsin law` commands share: their arguments and the loaded law."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from incidents.law import Law
from incidents.law.parsecache import user_cache

FactsFile = Annotated[Path, typer.Argument(help="Facts of one incident, YAML or JSON.")]
LawDirectory = Annotated[
    Path | None, typer.Option("--law", help="Other law data than the shipped.", show_default=False)
]


def load_law(directory: Path | None = None) -> Law:
    """The law data, through the cache of this user."""
    return Law.load(directory, cache=user_cache(os.environ))
