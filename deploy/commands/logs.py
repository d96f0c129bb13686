"""`celeriac logs`."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

from ...api import wording
from ...api.rest.logs import DAY, follow, line
from ...state import ids, logs
from ...state.logs import LogFilter
from ...state.runs import RunRow
from ...workflows import Celeriac, Run
from ...workflows.errors import UsageError
from ...workflows.signals.run_log import level_of
from . import as_json
from . import command as make


@make(
    click.argument("run_id", required=False),
    click.option("--follow", "-f", "follows", is_flag=True, help="Go on with what comes, until the run has ended."),
    click.option("--level", default="NOTSET", metavar="LEVEL", help="The least: debug, info, warning, error."),
    click.option("--step", metavar="KEY", help="Of one step of the run."),
    click.option("--workflow", help="Of all runs of a workflow, without RUN_ID."),
    click.option("--text", help="Lines with this text, without RUN_ID."),
    click.option("--limit", default=200, show_default=True, help="The last ones."),
    as_json,
    name="logs",
)
def command(
    durable: Celeriac,
    run_id: str | None,
    follows: bool,
    level: str,
    step: str | None,
    workflow: str | None,
    text: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """The log of a run; without RUN_ID the newest lines of all runs, of the last day.

    \b
    celeriac -A shop logs -f run_019ab3...
    celeriac -A shop logs --level error --workflow sync-customer-data
    """
    least = level_of(level)
    if run_id is None:
        if follows or step:
            raise UsageError("which run? --follow and --step need RUN_ID")
        filter = LogFilter(durable.database.now() - DAY, level=least, workflow=workflow, text=text)
        newest = logs.newest(durable.database, filter, limit)
        if newest is None:
            told = f"not found within {logs.SEARCH_SECONDS:g} s: too few of too many lines are like that"
            raise click.ClickException(f"{told}. Give --level warning, or RUN_ID.")
        _show([line(row) for row in reversed(newest)], as_json, is_of_one=False)
        return
    if workflow or text:
        raise UsageError("--workflow and --text are for the lines of all runs: leave RUN_ID out")
    run = _run(durable, run_id)
    last = logs.last(durable.database, run.id, limit, since=run.created_at, level=least, step=step)
    if not follows:
        _show([line(row) for row in last], as_json)
        return
    for row in last:
        _print(line(row), as_json)
    for found in follow(durable.database, run, last[-1].id if last else 0, level=least, step=step):
        if isinstance(found, RunRow):
            click.echo(f"{run_id} is {found.status}: {found.cause}", err=True)
            return
        for row in found:
            _print(line(row), as_json)


def _run(durable: Celeriac, text: str) -> RunRow:
    try:
        found: Run | None = durable.get(ids.parse("run", text))
    except ValueError as error:
        raise UsageError(str(error)) from None
    if found is None:
        raise click.ClickException(f"there is no run {text}: it never was, or its retention is over")
    return found.row


def _show(lines: Sequence[Mapping[str, Any]], as_json: bool, is_of_one: bool = True) -> None:
    if as_json:
        click.echo(json.dumps(lines, indent=2))
        return
    for each in lines:
        _print(each, as_json=False, is_of_one=is_of_one)


def _print(line: Mapping[str, Any], as_json: bool, is_of_one: bool = True) -> None:
    """One line; as JSON on a line of its own."""
    if as_json:
        click.echo(json.dumps(line))
        return
    whose = "" if is_of_one else f"{line['workflow']} {line['run_id']} "
    fields = f" {json.dumps(line['fields'], ensure_ascii=False)}" if line["fields"] else ""
    told = f"{line['at'][11:23]} {line['level']:<7} {whose}{line['step'] or wording.DASH}  {line['message']}{fields}"
    click.echo(_harmless(told))


def _harmless(text: str) -> str:
    """Without what would move the cursor of a terminal, or worse: a run may log what a stranger sent."""
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)
