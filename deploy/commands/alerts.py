"""`celeriac alerts`."""

import json
from contextlib import suppress
from typing import Any

import click

from ...state import alerts
from ...workflows import Celeriac
from ...workflows.outbound.alerts import COOL_DOWN_SECONDS
from ...workflows.outbound.channels import CHANNELS
from ...workflows.outbound.sender import ALERT_EVENTS, DOCUMENTS
from . import Verbs, as_json, fail, note, show
from . import command as make

COLUMNS = ("name", "channel", "address", "events", "workflows", "tags", "environments", "cool_down", "held", "state")
ACTOR = "cli"
ALL, NONE = "all", "none"

name_argument = click.argument("name")
filters = (
    click.option("--event", "events", multiple=True, type=click.Choice(ALERT_EVENTS), help="Default: all of them."),
    click.option("--workflow", "workflows", multiple=True, help=f"Of whose runs. Default: {ALL}."),
    click.option("--tag", "tags", multiple=True, help=f"Of runs with one of these. Default: {ALL}."),
    click.option("--environment", "environments", multiple=True, help=f"Only in these. Default: {ALL}."),
    click.option("--include", multiple=True, type=click.Choice([*DOCUMENTS, NONE]), help="Documents. Default: none."),
)


@click.group(name="alerts", cls=Verbs)
def command() -> None:
    """Who is told that something goes wrong: by a webhook, Slack or mail.

    \b
    celeriac -A shop alerts create ops slack https://hooks.slack.com/services/...
    celeriac -A shop alerts create night email ada@shop.example --event run.crashed --cool-down 3600
    celeriac -A shop alerts test ops
    """


@make(as_json, name="ls")
def ls(durable: Celeriac, as_json: bool) -> None:
    """List them."""
    held = alerts.held(durable.database)
    show([_row(row, held) for row in alerts.every(durable.database)], COLUMNS, as_json)


@make(name_argument, as_json, name="show")
def show_one(durable: Celeriac, name: str, as_json: bool) -> None:
    """Show one, with how many messages it sent."""
    row = _row(durable.alert(name).row, alerts.held(durable.database))
    row["messages"] = alerts.counts(durable.database, name).get(name, {})
    if as_json:
        click.echo(json.dumps(row, indent=2, default=str))
        return
    show([row], COLUMNS, as_json=False)


@make(
    name_argument, click.argument("channel", type=click.Choice(CHANNELS)), click.argument("address"), *filters,
    click.option("--cool-down", default=COOL_DOWN_SECONDS, show_default=True, help="Seconds, of each subject."),
    name="create",
)  # fmt: skip
def create(durable: Celeriac, name: str, channel: str, address: str, cool_down: float, **given: Any) -> None:
    """Make one."""
    durable.alert(name).create(channel, address, cool_down=cool_down, actor=ACTOR, **_given(given))
    note(durable, "alerts create", name)


@make(
    name_argument, click.option("--channel", type=click.Choice(CHANNELS)), click.option("--address"), *filters,
    click.option("--cool-down", type=float, help="Seconds, of each subject."), name="update",
)  # fmt: skip
def update(durable: Celeriac, name: str, **given: Any) -> None:
    """Change what is given, and leave the rest."""
    durable.alert(name).update(**_given(given))
    note(durable, "alerts update", name)


@make(name_argument, click.option("--note", "why", help="Why, for the others."), name="pause")
def pause(durable: Celeriac, name: str, why: str | None) -> None:
    """Have it say nothing, until it is resumed."""
    durable.alert(name).pause(ACTOR, why)
    note(durable, "alerts pause", name)


@make(name_argument, name="resume")
def resume(durable: Celeriac, name: str) -> None:
    """End a pause."""
    durable.alert(name).resume()
    note(durable, "alerts resume", name)


@make(name_argument, name="remove")
def remove(durable: Celeriac, name: str) -> None:
    """Have it say nothing more."""
    durable.alert(name).remove()
    note(durable, "alerts remove", name)


@make(name_argument, click.option("--timeout", default=30.0, show_default=True, help="Seconds."), name="test")
def test(durable: Celeriac, name: str, timeout: float) -> None:
    """Have a worker send a sample, and wait for it. Exit code 1: it was not accepted yet."""
    run = durable.alert(name).test(ACTOR)
    with suppress(TimeoutError):  # it is told below how it stands
        run.wait(timeout)
    row = run.refresh().row
    said = json.loads(row.error)["message"] if row.error else row.cause
    click.echo(f"{run.id} {row.status}: {said}")
    if row.status != "completed":
        fail()


def _given(given: dict[str, Any]) -> dict[str, Any]:
    """What options say, without those that were not given."""
    chosen = {member: list(value) if isinstance(value, tuple) else value for member, value in given.items() if value}
    return {member: [] if value in ([ALL], [NONE]) else value for member, value in chosen.items()}


def _row(row: dict[str, Any], held: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": row["name"],
        "channel": row["channel"],
        "address": row["address"],
        "events": ", ".join(row["events"]),
        "workflows": ", ".join(row["workflows"]) or ALL,
        "tags": ", ".join(row["tags"]) or ALL,
        "environments": ", ".join(row["environments"]) or ALL,
        "include": ", ".join(row["include"]) or None,
        "cool_down": f"{row['cool_down_seconds']:g} s",
        "held": held[row["name"]]["held"] if row["name"] in held else 0,
        "state": "paused" if row["paused_at"] else "active" if row["is_here"] else "not here",
    }


for each in (ls, show_one, create, update, pause, resume, remove, test):
    command.add_command(each)
