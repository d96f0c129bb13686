"""`celeriac runs`."""

import json
from datetime import datetime
from uuid import UUID

import click

from ...api import documents
from ...state import ids, runs, status, steps
from ...state.runs import Filter, RunRow
from ...workflows import Celeriac, Run, repairs
from ...workflows.errors import UsageError
from . import as_json, show
from . import command as make

COLUMNS = ("id", "workflow", "status", "attempt", "created_at", "finished_at")
ACTOR = "cli"


@make(
    click.argument("action", type=click.Choice(["ls", "show", "why", "cancel", "retry", "reschedule"]), default="ls"),
    click.argument("run_id", required=False),
    click.option("--status", "wanted", multiple=True, type=click.Choice(status.STATUSES)),
    click.option("--workflow"),
    click.option("--limit", default=20, show_default=True),
    click.option("--in", "countdown", type=float, metavar="SECONDS", help="reschedule: so many from now; 0 is now."),
    click.option("--at", metavar="ISO", help="reschedule: to a moment, 2030-01-31T12:00:00Z; without offset: UTC."),
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
    countdown: float | None,
    at: str | None,
    as_json: bool,
) -> None:
    """List runs, show one with its steps, say why it does not run, cancel it, retry it from its failed step, or give a
    delayed one another time."""
    if action != "reschedule" and (countdown is not None or at is not None):
        raise UsageError(f"--in and --at are for reschedule, not for {action}")
    if action == "ls":
        rows = runs.find(durable.database, Filter(status=wanted, workflow=workflow), limit)
        show([documents.run(row) for row in rows], COLUMNS, as_json)
        return
    eta = _moment(at)
    found = durable.get(_parsed(run_id))
    if found is None:
        raise click.ClickException(f"there is no run {run_id}: it never was, or its retention is over")
    if action == "show":
        _show_one(durable, found, as_json)
    elif action == "why":
        _show_why(found, as_json)
    else:
        moved = _moved(durable, action, found.row.id, countdown, eta)
        if moved is None:
            raise click.ClickException(_too_late(action, found))
        show([documents.run(moved)], COLUMNS, as_json)


def _moved(durable: Celeriac, action: str, id: UUID, countdown: float | None, eta: datetime | None) -> RunRow | None:
    if action == "reschedule":
        if (countdown is None) == (eta is None):
            raise UsageError("when? Say --in SECONDS, or --at MOMENT; --in 0 starts it now")
        return repairs.reschedule(durable, id, countdown=countdown, eta=eta, actor=ACTOR)
    return (repairs.cancel if action == "cancel" else repairs.retry)(durable, id, ACTOR)


def _too_late(action: str, run: Run) -> str:
    done = {"cancel": "cancelled", "retry": "retried", "reschedule": "rescheduled"}[action]
    needs = {"cancel": "", "retry": ", not failed, timed_out or crashed", "reschedule": ", not delayed"}[action]
    return f"{run.id} cannot be {done}: it is {run.refresh().status}{needs}"


def _show_one(durable: Celeriac, run: Run, as_json: bool) -> None:
    rows = [documents.step(row) for row in steps.of_run(durable.database, run.row.id)]
    if as_json:
        click.echo(json.dumps(documents.run(run.row) | {"steps": rows}, indent=2))
        return
    show([documents.run(run.row)], COLUMNS, as_json=False)
    click.echo()
    show(rows, ("key", "kind", "status", "attempt", "duration_ms", "output", "error"), as_json=False)


def _show_why(run: Run, as_json: bool) -> None:
    why = documents.why(run.why())
    if as_json:
        click.echo(json.dumps(why, indent=2))
        return
    click.echo(why["summary"])
    if why["gates"]:
        click.echo()
        rows = [gate | {"open": "yes" if gate["is_open"] else "no"} for gate in why["gates"]]
        show(rows, ("gate", "open", "detail"), as_json=False)


def _moment(text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--at {text!r} is no moment: write ISO 8601, as 2030-01-31T12:00:00Z") from None


def _parsed(text: str | None) -> UUID:
    if not text:
        raise UsageError("which run? Give its id, run_...")
    try:
        return ids.parse("run", text)
    except ValueError as error:
        raise UsageError(str(error)) from None
