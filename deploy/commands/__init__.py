"""One command a module. What they share: the Celeriac they work on, errors as exit codes, and tables."""

import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

import click

from ...state import audit
from ...state.audit import AuditEntry
from ...state.ids import new_id, public
from ...workflows import Celeriac
from ...workflows.errors import CeleriacError, UsageError
from ..binaries import EmbeddedError
from ..loading import load, of_app

CELL_LIMIT = 80  # characters that a column is padded to

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def command(*options: Callable[..., Any], name: str | None = None) -> Callable[[Callable[..., None]], click.Command]:
    """Makes a function a command. It gets the Celeriac first; what it raises becomes an exit code."""

    def decorate(function: Callable[..., None]) -> click.Command:
        @click.pass_context
        @wraps(function)
        def guarded(context: click.Context, /, **given: Any) -> None:
            try:
                function(_durable(context), **given)
            except UsageError as error:
                raise click.UsageError(str(error)) from error
            except (CeleriacError, EmbeddedError) as error:
                raise click.ClickException(str(error)) from error

        decorated: Any = guarded
        for option in reversed(options):
            decorated = option(decorated)
        return click.command(name=name or function.__name__)(decorated)

    return decorate


class Verbs(click.Group):
    """A command with verbs: `runs cancel ID`. Without one it lists, where it can: `runs --status failed`."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        first = next((each for each in args if each != "--json"), "")
        if first in self.commands:  # `runs --json ls` is `runs ls --json`
            args = [first, *args[: args.index(first)], *args[args.index(first) + 1 :]]
        elif "ls" in self.commands and (not first or first.startswith("-")) and first not in context.help_option_names:
            args = ["ls", *args]
        return super().parse_args(context, args)


def show(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], as_json: bool) -> None:
    """Rows as a table of these columns, or whole as JSON."""
    if as_json:
        click.echo(json.dumps(rows, indent=2, default=str))
        return
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [min(max(map(len, column)), CELL_LIMIT) for column in zip(columns, *cells, strict=True)]
    for line in [list(columns), *cells] if rows else [["none"]]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=False)).rstrip())


def fail() -> None:
    """Exit code 1: it was done, and the answer is no."""
    sys.exit(1)


def note(durable: Celeriac, told: str, object_id: str) -> None:
    """Writes in the audit what was done here, as the API does of its requests."""
    request_id = public("req", new_id())
    audit.record(durable.database, AuditEntry("cli", "cli", "CLI", told, None, object_id, 200, request_id))


def log_to_terminal(loglevel: str) -> None:
    """The log of a process that is not Celery's own."""
    logging.basicConfig(level=loglevel.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)


def _cell(value: Any) -> str:
    return "" if value is None else " ".join(str(value).split())


def _durable(context: click.Context) -> Celeriac:
    if "app" in context.obj:
        return of_app(context.obj["app"])
    return load(context.obj["app_name"])
