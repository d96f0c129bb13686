"""The command line: `celeriac -A shop COMMAND`, and the same commands as `celery -A shop celeriac COMMAND`.

Exit codes: 0 done, 1 failed, 2 usage.
"""

import json
import logging
import signal
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from ..api import documents
from ..beat import Beat
from ..state import runs, schedules, status, steps, workers
from ..state.errors import CeleriacError
from ..state.ids import parse, public
from ..state.migrate import migrate as migrate_database
from ..state.runs import Filter, RunRow
from ..workflows import Celeriac
from ..workflows.errors import UsageError
from ..workflows.trigger import Source
from .binaries import EmbeddedError
from .dev import Dev
from .doctor import examine
from .loading import load, of_app
from .server import ApiServer

console = Console()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-A", "--app", "app_name", metavar="APP", help="Module of the Celery app, as for celery -A.")
@click.pass_context
def commands(context: click.Context, app_name: str | None) -> None:
    """Durable workflows for teams that already run Celery."""
    context.obj = {"app_name": app_name}


@click.group(name="celeriac")
@click.pass_context
def celery_command(context: click.Context) -> None:
    """Celeriac: durable workflows."""
    context.obj = {"durable": of_app(context.obj.app), "app_name": context.obj.app.main}


def main() -> None:
    """The `celeriac` command."""
    commands(prog_name="celeriac")


def command(*options: Callable[..., Any], name: str | None = None) -> Callable[[Callable[..., None]], click.Command]:
    """A command of both groups, whose function gets the Celeriac first; Celeriac's errors become exit codes."""

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
        made = click.command(name=name or function.__name__)(decorated)
        commands.add_command(made)
        celery_command.add_command(made)
        return made

    return decorate


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@command(
    click.option("--port", default=8484, show_default=True, help="Port of the page and the API."),
    click.option("--concurrency", default=2, show_default=True, help="Runs that the worker executes at once."),
    click.option("--pool", default="prefork", show_default=True, help="Celery's pool: prefork, threads, solo."),
    click.option("--data-dir", default=".celeriac", show_default=True, help="Where the embedded servers keep data."),
)
def dev(durable: Celeriac, port: int, concurrency: int, pool: str, data_dir: str) -> None:
    """Everything in one terminal: servers where no URL is set, migrations, worker, beat, API and page."""
    name = click.get_current_context().obj["app_name"]
    Dev(durable, name, port=port, concurrency=concurrency, pool=pool, data_dir=Path(data_dir)).run()


@command(
    click.option("--concurrency", "-c", default=None, type=int, help="Runs executed at once. [default: CPUs]"),
    click.option("--pool", "-P", default="prefork", show_default=True),
    click.option("--loglevel", "-l", default="INFO", show_default=True),
    click.argument("celery_arguments", nargs=-1, type=click.UNPROCESSED),
)
def worker(
    durable: Celeriac, concurrency: int | None, pool: str, loglevel: str, celery_arguments: tuple[str, ...]
) -> None:
    """A Celery worker with fitting options; arguments after -- go to `celery worker`."""
    argv = ["worker", "--pool", pool, "--loglevel", loglevel, "--prefetch-multiplier", "1", "--without-mingle"]
    if concurrency is not None:
        argv += ["--concurrency", str(concurrency)]
    durable.settings.need("database_url")
    durable.app.worker_main([*argv, *celery_arguments])


@command(click.option("--loglevel", "-l", default="INFO", show_default=True))
def beat(durable: Celeriac, loglevel: str) -> None:
    """Schedules, timers, lost workers, lost messages. Run two: the second is a hot spare."""
    _log_to_terminal(loglevel)
    running = Beat(durable)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: running.stop())
    running.run()


@command(
    click.option("--host", default="127.0.0.1", show_default=True),
    click.option("--port", default=8484, show_default=True),
    click.option("--workers", default=2, show_default=True, help="Processes."),
)
def api(durable: Celeriac, host: str, port: int, workers: int) -> None:
    """The HTTP API, the webhook inbox and the monitoring page, under gunicorn."""
    if host not in ("127.0.0.1", "localhost", "::1") and not durable.settings.api_key:
        raise UsageError(f"--host {host} without a key would let anyone in: set CELERIAC_API_KEY first")
    durable.settings.need("database_url")
    _log_to_terminal("INFO")
    ApiServer(durable, f"{host}:{port}", workers).run()


@command()
def migrate(durable: Celeriac) -> None:
    """Bring the tables up to date. Safe to run from several processes at once."""
    click.echo(f"the database is at revision {migrate_database(durable.database)}")


@command(
    click.argument("name"),
    click.argument("payload", default="{}"),
    click.option("--wait", type=float, metavar="SECONDS", help="Wait for the result."),
    click.option("--idempotency-key"),
    as_json,
)
def trigger(
    durable: Celeriac, name: str, payload: str, wait: float | None, idempotency_key: str | None, as_json: bool
) -> None:
    """Start a run of workflow NAME with a JSON PAYLOAD."""
    try:
        document = json.loads(payload)
    except ValueError as error:
        raise UsageError(f"the payload is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise UsageError('the payload is a JSON object, a member for each parameter: {"customer_id": "c1"}')
    run = durable.start(name, document, {"idempotency_key": idempotency_key}, Source("cli"))
    if wait is not None:
        run.wait(wait)
    _show([run.row], as_json)
    if wait is not None and run.status != status.COMPLETED:
        sys.exit(1)


@command(
    click.argument("action", type=click.Choice(["ls", "show", "cancel", "retry"]), default="ls"),
    click.argument("run_id", required=False),
    click.option("--status", "wanted", multiple=True, type=click.Choice(status.STATUSES)),
    click.option("--workflow"),
    click.option("--limit", default=20, show_default=True),
    as_json,
    name="runs",
)
def runs_command(
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
        return _show(runs.find(durable.database, Filter(status=wanted, workflow=workflow), limit), as_json)
    id = _run_id(run_id)
    if action == "show":
        return _show_run(durable, durable.get(id), as_json)
    moved = (durable.cancel if action == "cancel" else durable.retry)(id, "cli")
    if moved is None:
        found = durable.get(id)
        raise click.ClickException(
            f"{public('run', id)} cannot {action}: it is {found.status}" if found else f"there is no {run_id}"
        )
    return _show([moved], as_json)


@command(as_json, name="schedules")
def schedules_command(durable: Celeriac, as_json: bool) -> None:
    """List schedules, the next due first."""
    rows = schedules.every(durable.database)
    _table(rows, ["workflow", "kind", "expression", "timezone", "next_due_at", "last_due_at", "ticks"], as_json)


@command(as_json, name="workers")
def workers_command(durable: Celeriac, as_json: bool) -> None:
    """List the workers that are alive."""
    _table(workers.alive(durable.database), ["name", "pid", "pool", "slots", "busy", "heartbeat_at"], as_json)


@command(as_json)
def doctor(durable: Celeriac, as_json: bool) -> None:
    """Check the database, Redis, the broker, clocks, versions and workers, and say what to do."""
    found = examine(durable)
    _table([vars(finding) for finding in found], ["check", "verdict", "advice"], as_json)
    if any(finding.verdict == "failed" for finding in found):
        sys.exit(1)


def _durable(context: click.Context) -> Celeriac:
    if "durable" not in context.obj:
        context.obj["durable"] = load(context.obj["app_name"])
    durable: Celeriac = context.obj["durable"]
    return durable


def _run_id(text: str | None) -> Any:
    if not text:
        raise UsageError("which run? Give its id, run_...")
    try:
        return parse("run", text)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _show(rows: list[RunRow], as_json: bool) -> None:
    columns = ["id", "workflow", "status", "attempt", "created_at", "finished_at"]
    _table([documents.run(row) for row in rows], columns, as_json)


def _show_run(durable: Celeriac, run: Any, as_json: bool) -> None:
    if run is None:
        raise click.ClickException("there is no such run")
    document = documents.run(run.row) | {
        "steps": [documents.step(s) for s in steps.of_run(durable.database, run.row.id)]
    }
    if as_json:
        return click.echo(json.dumps(document, indent=2))
    _show([run.row], as_json=False)
    _table(document["steps"], ["key", "kind", "status", "attempt", "duration_ms", "error"], as_json=False)
    return None


def _table(rows: list[dict[str, Any]], columns: list[str], as_json: bool) -> None:
    if as_json:
        return click.echo(json.dumps(rows, indent=2, default=str))
    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*("" if row.get(column) is None else str(row[column]) for column in columns))
    console.print(table if rows else "none")
    return None


def _log_to_terminal(loglevel: str) -> None:
    logging.basicConfig(level=loglevel.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
