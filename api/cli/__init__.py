"""The command line: `tocsin`.

Exit codes: 0 done; 1 refused or failed, with one line that says why; 2 wrong use, or damage found by
`verify`; 3 not anchored under the policy; 4 unreadable.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from ledger.errors import TocsinError

_COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "init": ("api.cli.ledger", "Make a ledger"),
    "append": ("api.cli.ledger", "Record events"),
    "import": ("api.cli.imports", "Record logs that exist already"),
    "verify": ("api.cli.ledger", "Hash everything again and name the first damage"),
    "prove": ("api.cli.ledger", "Prove that an entry is in the log"),
    "checkpoint": ("api.cli.ledger", "Print the newest signed checkpoint"),
    "people": ("api.cli.people", "The directory of people"),
    "inventory": ("api.cli.people", "Which resource holds whose data"),
    "incident": ("api.cli.incident", "Declare, scope, assess and follow an incident"),
    "notice": ("api.cli.notice", "Draft, read and approve notices"),
    "dispatch": ("api.cli.dispatch", "Send approved notices and watch the balance"),
    "bundle": ("api.cli.bundle", "Write the regulator's file"),
    "law": ("api.cli.law", "Breach duties: list, show, assess, check"),
    "witness": ("api.cli.witness", "Run a witness; have this ledger witnessed"),
    "keys": ("api.cli.keys", "Show and change the keys of the ledger"),
    "backup": ("api.cli.backup", "Back up a ledger while it is in use"),
    "restore": ("api.cli.backup", "Verify a backup and put it back"),
    "move": ("api.cli.store", "Into a PostgreSQL server, or back into a file"),
    "erase": ("api.cli.erasure", "Forget a person, with proofs kept"),
    "hold": ("api.cli.erasure", "Forbid an erasure, with a recorded reason"),
    "retention": ("api.cli.erasure", "Delete payloads that are past their time"),
    "rebuild": ("api.cli.rebuild", "Make the tables beside the log again"),
    "report": ("api.cli.report", "Reports that prove nothing was left out"),
    "serve": ("api.cli.serve", "API, console and clocks"),
    "sequencer": ("api.cli.sequencer", "Write for several workers of serve"),
    "demo": ("api.cli.demo", "Run the main job end to end on invented people"),
}


class _Lazy(TyperGroup):
    """Imports a command's module only when that command is used, so that `--help` stays quick."""

    _resolving = False

    def list_commands(self, ctx: Any) -> list[str]:
        del ctx
        return list(_COMMANDS)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        self._resolving = True
        try:
            return super().resolve_command(ctx, args)
        finally:
            self._resolving = False

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        module, summary = _COMMANDS[cmd_name]
        if not self._resolving:
            return TyperCommand(cmd_name, help=summary)
        command: Any = typer.main.get_command(importlib.import_module(module).app)
        command = getattr(command, "commands", {}).get(cmd_name, command)
        command.name = cmd_name
        return command


app = typer.Typer(
    cls=_Lazy,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="An audit ledger that a stranger can check, and a breach response that keeps the law's clocks.",
)


@app.callback()
def _root() -> None:
    """An audit ledger that a stranger can check, and a breach response that keeps the law's clocks."""


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; a refusal ends in one line on stderr, never in a traceback."""
    try:
        return app(args=arguments, standalone_mode=True)
    except TocsinError as error:
        print(f"tocsin: {error}", file=sys.stderr)  # noqa: T201 - the command line's own voice
        sys.exit(1)
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            where = f" on {error.filename}" if error.filename else ""
            reason = error.strerror or type(error).__name__
            print(f"tocsin: The system reported an error{where}: {reason}.", file=sys.stderr)  # noqa: T201 - as above
        _silence_stdout()
        sys.exit(1)


def _silence_stdout() -> None:
    """What could not be written must not be tried again, and complained of again, at the interpreter's end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
