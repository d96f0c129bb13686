"""`celeriac runs`: look at runs. What moves one is in run_moves.py; `watch` and `trace` have files of their own."""

import json
from typing import Any

import click

from ...api.rest import documents
from ...api.rest.attempts import attempts
from ...state import runs, steps
from ...workflows import Celeriac, Run
from . import Verbs, as_json, show
from . import command as make
from .run_filter import OPTIONS, filter_of, run_id
from .run_moves import COLUMNS, MOVES
from .run_trace import trace
from .run_watch import watch

STEP_COLUMNS = ("key", "kind", "status", "attempt", "duration_ms", "output", "error")


@click.group(name="runs", cls=Verbs)
def command() -> None:
    """List runs, look at one, and move it.

    \b
    celeriac -A shop runs --status failed --workflow fulfil-order
    celeriac -A shop runs ls 'status:failed workflow:sync* -tag:test created:>1h'
    celeriac -A shop runs watch run_019ab3...
    celeriac -A shop runs fork run_019ab3... --from charge#2
    celeriac -A shop runs supply run_019ab3... --step charge --value '"receipt-7"'
    """


@make(*OPTIONS, click.option("--limit", default=20, show_default=True), as_json, name="ls")
def ls(durable: Celeriac, limit: int, as_json: bool, **given: Any) -> None:
    """List runs, newest first: all, or those of a search, as status:failed 'workflow:sync*' 'created:>1h'."""
    rows = runs.find(durable.database, filter_of(durable, given), limit)
    show([documents.run(row) for row in rows], COLUMNS, as_json)


@make(click.argument("id", required=False), as_json, name="show")
def show_one(durable: Celeriac, id: str | None, as_json: bool) -> None:
    """Show a run with its steps."""
    run = found(durable, id)
    rows = [documents.step(row) for row in steps.of_run(durable.database, run.row.id)]
    if as_json:
        click.echo(json.dumps(documents.run(run.row) | {"steps": rows}, indent=2))
        return
    show([documents.run(run.row)], COLUMNS, as_json=False)
    click.echo()
    show(rows, STEP_COLUMNS, as_json=False)


@make(click.argument("id", required=False), as_json, name="why")
def why(durable: Celeriac, id: str | None, as_json: bool) -> None:
    """Say why a run does not run, gate by gate."""
    told = documents.why(found(durable, id).why())
    if as_json:
        click.echo(json.dumps(told, indent=2))
        return
    click.echo(told["summary"])
    if told["gates"]:
        click.echo()
        rows = [gate | {"open": "yes" if gate["is_open"] else "no"} for gate in told["gates"]]
        show(rows, ("gate", "open", "detail"), as_json=False)


@make(click.argument("id", required=False), as_json, name="attempts")
def show_attempts(durable: Celeriac, id: str | None, as_json: bool) -> None:
    """List the attempts of a run, with the errors that ended them."""
    run = found(durable, id)
    made = attempts(run.row, runs.history(durable.database, run.row.id))
    rows = [documents.attempt(each) for each in made]
    told = rows if as_json else [
        row | {"executions": len(row["executions"]), "error": (row["error"] or {}).get("message")} for row in rows
    ]  # fmt: skip
    show(told, ("attempt", "status", "executions", "started_at", "finished_at", "error"), as_json)


@make(click.argument("id", required=False), as_json, name="children")
def children(durable: Celeriac, id: str | None, as_json: bool) -> None:
    """List the runs that a run started, newest first."""
    rows = runs.find(durable.database, runs.Filter(parent_id=found(durable, id).row.id), runs.BATCH)
    show([documents.run(row) for row in rows], COLUMNS, as_json)


def found(durable: Celeriac, text: str | None) -> Run:
    """The run of an id. Raises UsageError, and ClickException where there is none."""
    run = durable.get(run_id(text))
    if run is None:
        raise click.ClickException(f"there is no run {text}: it never was, or its retention is over")
    return run


for each in (ls, show_one, why, show_attempts, children, trace, watch, *MOVES):
    command.add_command(each)
