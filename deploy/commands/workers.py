"""`celeriac workers`."""

import json
from collections.abc import Callable
from typing import Any

import click

from ...api import wording
from ...api.rest import documents
from ...api.rest.workers import broker_lists, name_of, node, whole_node
from ...state import workers
from ...workflows import Celeriac
from ...workflows.operate.workers import SIGNALS
from . import Verbs, as_json, note, show
from . import command as make

NODE_COLUMNS = ("name", "executes", "reserved", "processed", "queues", "pool", "memory", "load", "version")
LIST_COLUMNS = ("name", "messages", "unacked", "consumers", "priorities")

worker_argument = click.argument("worker")
processes_argument = click.argument("processes", type=int, default=1)


@click.group(name="workers", cls=Verbs)
def command() -> None:
    """Celery workers: look at them, and have them do something.

    \b
    celeriac -A shop workers                        with Celeriac in them, as Postgres has it
    celeriac -A shop workers ask                    all that answer, also plain Celery
    celeriac -A shop workers grow celery@atlas 2
    """


@make(as_json, name="ls")
def ls(durable: Celeriac, as_json: bool) -> None:
    """List the workers that are alive."""
    rows = [documents.worker(row) for row in workers.alive(durable.database)]
    show(rows, ("name", "pid", "pool", "slots", "busy", "heartbeat_at"), as_json)


@make(as_json, name="ask")
def ask(durable: Celeriac, as_json: bool) -> None:
    """List all Celery workers that answer."""
    found = [node(each) for each in durable.remote_workers.all()]
    show(found if as_json else [_row(each) for each in found], NODE_COLUMNS, as_json)


@make(worker_argument, as_json, name="show")
def show_one(durable: Celeriac, worker: str, as_json: bool) -> None:
    """Show what one tells: pool, lists, tasks, totals, configuration."""
    found = whole_node(durable.remote_workers.one(name_of(durable.database, worker)))
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    show([_row(found)], NODE_COLUMNS, as_json=False)
    for title in ("active", "reserved", "scheduled"):
        click.echo(f"\n{title}:")
        show(found[f"{title}_tasks"], ("id", "name", "args", "kwargs", "pid"), as_json=False)  # type: ignore[literal-required]
    click.echo(f"\nregistered: {', '.join(found['registered'])}")


@make(as_json, name="broker")
def broker(durable: Celeriac, as_json: bool) -> None:
    """List the lists of Celery's broker."""
    found = broker_lists(durable.broker.lists(durable.remote_workers.all()))
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    rows = [{**each, "priorities": wording.counted(each["priorities"])} for each in found["lists"]]
    show(rows, LIST_COLUMNS, as_json=False)


@make(click.argument("name"), click.option("--yes", is_flag=True, help="Do not ask."), name="purge")
def purge(durable: Celeriac, name: str, yes: bool) -> None:
    """Drop the messages of one of the broker's lists: those of plain tasks are lost, those of runs come back."""
    if not yes:
        waiting = {each.name: each.messages for each in durable.broker.lists().lists}
        click.confirm(f"Drop {waiting.get(name, 0):,} messages of {name}?", abort=True)
    click.echo(f"{durable.broker.purge(name):,} messages dropped")
    note(durable, "workers purge", name)


def _order(name: str, told: str, *arguments: Callable[..., Any]) -> click.Command:
    """A command that has a worker do what `Workers` has under its name."""

    def give(durable: Celeriac, worker: str, **given: Any) -> None:
        worker = name_of(durable.database, worker)
        click.echo(getattr(durable.remote_workers, name.replace("-", "_"))(worker, **given))
        note(durable, f"workers {name}", worker)

    give.__doc__ = told
    return make(worker_argument, *arguments, name=name)(give)


def _row(found: Any) -> dict[str, Any]:
    return {
        **found,
        "executes": f"{found['active']} of {found['slots'] or '?'}",
        "queues": ", ".join(found["queues"]),
        "memory": wording.memory(found["memory_bytes"]),
        "load": found["load"][0] if found["load"] else None,
    }


queue_argument, task_argument = click.argument("queue"), click.argument("task")
seconds: dict[str, Any] = {"type": click.FloatRange(min=0), "help": "Seconds; default: no limit."}

for each in (
    ls, ask, show_one, broker, purge,
    _order("shut-down", "Have it end what it executes, hand its runs over, and exit."),
    _order("drain", "Have it take nothing more, hand its runs over, and stay up."),
    _order("resume", "End its drain."),
    _order("restart-pool", "Restart its pool, where worker_pool_restarts allows it."),
    _order("grow", "Make its pool larger.", processes_argument),
    _order("shrink", "Make its pool smaller.", processes_argument),
    _order("autoscale", "Set between how many processes it scales.", click.argument("least", type=int),
           click.argument("most", type=int)),
    _order("add-consumer", "Have it consume a list of the broker, too.", queue_argument),
    _order("cancel-consumer", "Have it consume a list of the broker no more.", queue_argument),
    _order("rate-limit", "Limit how often it starts a task: 10/s, 100/m, 0.", task_argument, click.argument("rate")),
    _order("time-limit", "Limit how long a plain task may take in it.", task_argument,
           click.option("--soft", **seconds), click.option("--hard", **seconds)),
    _order("revoke", "Have no worker execute a plain task.", click.argument("task_id"),
           click.option("--terminate", is_flag=True, help="End the process of this worker that executes it."),
           click.option("--signal", type=click.Choice(SIGNALS), default=SIGNALS[0], show_default=True)),
):  # fmt: skip
    command.add_command(each)
