"""`celeriac bulk`: cancel, retry or replay all runs that match, by one order that beat works off."""

import json
from typing import Any
from uuid import UUID

import click

from ...api.rest import documents
from ...state import bulk as orders
from ...state import ids
from ...state.bulk import BulkRow
from ...state.runs import Filter
from ...workflows import Celeriac
from ...workflows.errors import UsageError
from ...workflows.operate import bulk
from . import Verbs, as_json, show
from . import command as make
from .run_filter import OPTIONS, filter_of

COLUMNS = ("id", "action", "status", "matched", "done", "skipped", "failed", "actor", "created_at", "finished_at")
ACTOR = "cli"
NEWEST = 20  # orders that a list shows

choices = (
    *OPTIONS,
    click.option("--all", "is_all", is_flag=True, help="All runs: what there is to say where no filter is given."),
    click.option("--dry-run", is_flag=True, help="Only say how many runs there are."),
    as_json,
)
the_order = click.argument("id", required=False)


@click.group(name="bulk", cls=Verbs)
def command() -> None:
    """Cancel, retry or replay all runs that match, by one order that beat works off.

    \b
    celeriac -A shop bulk retry --workflow fulfil-order --from 2030-01-31 --dry-run
    celeriac -A shop bulk retry --workflow fulfil-order --from 2030-01-31
    celeriac -A shop bulk cancel 'status:queued tag:backfill'
    celeriac -A shop bulk show blk_019ab3...
    """


@make(*choices, name="cancel")
def cancel(durable: Celeriac, **given: Any) -> None:
    """Cancel all runs that match and have not ended."""
    _order(durable, "cancel", given)


@make(*choices, name="retry")
def retry(durable: Celeriac, **given: Any) -> None:
    """Let all runs that match and failed, timed out or crashed go on from their failed step."""
    _order(durable, "retry", given)


@make(*choices, name="replay")
def replay(durable: Celeriac, **given: Any) -> None:
    """Start a new run with the same payload for each run that matches and has ended."""
    _order(durable, "replay", given)


@make(click.option("--limit", default=NEWEST, show_default=True), as_json, name="ls")
def ls(durable: Celeriac, limit: int, as_json: bool) -> None:
    """List orders, newest first."""
    show([documents.bulk(row) for row in orders.newest(durable.database, limit)], COLUMNS, as_json)


@make(the_order, as_json, name="show")
def show_one(durable: Celeriac, id: str | None, as_json: bool) -> None:
    """Show an order: how far it is, and what failed last."""
    _show(_known(durable, _order_id(id)), as_json)


@make(the_order, as_json, name="abort")
def abort(durable: Celeriac, id: str | None, as_json: bool) -> None:
    """Stop an order. What is done stays done."""
    parsed = _order_id(id)
    row = bulk.abort(durable, parsed)
    if row is None:
        ended = _known(durable, parsed)
        raise click.ClickException(f"{id} cannot be aborted: it is {ended.status} already")
    _show(row, as_json)


for each in (cancel, retry, replay, ls, show_one, abort):
    command.add_command(each)


def _order(durable: Celeriac, action: str, given: dict[str, Any]) -> None:
    is_all, dry_run, as_json = (given.pop(name) for name in ("is_all", "dry_run", "as_json"))
    filter = filter_of(durable, given)
    if filter == Filter(status=filter.status) and not filter.status and not is_all:
        raise UsageError(f"{action} all runs? Say --all, or which ones: --workflow, --status, --tag, ...")
    if not dry_run:
        _show(bulk.order(durable, action, filter, ACTOR), as_json)
        return
    matched = bulk.matching(durable, action, filter)
    if as_json:
        click.echo(json.dumps({"action": action, "matched": matched}, indent=2))
    else:
        click.echo(f"{action} would be for {matched:,} run{'s' if matched != 1 else ''}")


def _show(row: BulkRow, as_json: bool) -> None:
    document = documents.bulk(row)
    if as_json:
        click.echo(json.dumps(document, indent=2))
        return
    show([document], COLUMNS, as_json=False)
    if row.last_error:
        click.echo(f"\nlast error: {row.last_error}")


def _known(durable: Celeriac, id: UUID) -> BulkRow:
    row = orders.get(durable.database, id)
    if row is None:
        raise click.ClickException(f"there is no order {ids.public('blk', id)}")
    return row


def _order_id(text: str | None) -> UUID:
    if not text:
        raise UsageError("which order? Give its id, blk_...; `bulk ls` lists them")
    try:
        return ids.parse("blk", text)
    except ValueError as error:
        raise UsageError(str(error)) from None
