"""`celeriac runs`."""

import json
from uuid import UUID

import click

from ...api import documents
from ...state import ids, runs, status, steps
from ...state.runs import Filter
from ...workflows import Celeriac, Run
from ...workflows.errors import UsageError
from . import as_json, show
from . import command as make

COLUMNS = ("id", "workflow", "status", "attempt", "created_at", "finished_at")


@make(
    click.argument("action", type=click.Choice(["ls", "show", "cancel", "retry"]), default="ls"),
    click.argument("run_id", required=False),
    click.option("--status", "wanted", multiple=True, type=click.Choice(status.STATUSES)),
    click.option("--workflow"),
    click.option("--limit", default=20, show_default=True),
    as_json,
    name="runs",
)
def command(
    durable: Celeriac,
    action: str,
    run_id: str | None,
    wanted: tuple[str, ...],
    workflow: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List runs, show one with its steps, cancel it, or retry it from its failed step."""
    if action == "ls":
        rows = runs.find(durable.database, Filter(status=wanted, workflow=workflow), limit)
        show([documents.run(row) for row in rows], COLUMNS, as_json)
        return
    id = _parsed(run_id)
    found = durable.get(id)
    if found is None:
        raise click.ClickException(f"there is no run {run_id}: it never was, or its retention is over")
    if action == "show":
        _show_one(durable, found, as_json)
        return
    moved = (durable.cancel if action == "cancel" else durable.retry)(id, "cli")
    if moved is None:
        raise click.ClickException(f"{found.id} cannot {action}: it is {found.status}")
    show([documents.run(moved)], COLUMNS, as_json)


def _show_one(durable: Celeriac, run: Run, as_json: bool) -> None:
    rows = [documents.step(row) for row in steps.of_run(durable.database, run.row.id)]
    if as_json:
        click.echo(json.dumps(documents.run(run.row) | {"steps": rows}, indent=2))
        return
    show([documents.run(run.row)], COLUMNS, as_json=False)
    click.echo()
    show(rows, ("key", "kind", "status", "attempt", "duration_ms", "output", "error"), as_json=False)


def _parsed(text: str | None) -> UUID:
    if not text:
        raise UsageError("which run? Give its id, run_...")
    try:
        return ids.parse("run", text)
    except ValueError as error:
        raise UsageError(str(error)) from None
