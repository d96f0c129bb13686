"""`celeriac subscriptions`."""

import json
import sys
from contextlib import suppress
from typing import Any

import click

from ...state import outbound, runs
from ...state.ids import public
from ...state.runs import OUTBOUND, Filter
from ...workflows import Celeriac
from ...workflows.outbound.sender import DOCUMENTS, EVENTS
from ...workflows.outbound.signing import callback_secrets
from ...workflows.outbound.subscriptions import OVERLAP_SECONDS, SubscriptionControl
from . import Verbs, as_json, fail, show
from . import command as make

COLUMNS = ("name", "url", "events", "workflows", "include", "state", "under_way", "delivered", "failed")
DELIVERY_COLUMNS = ("id", "status", "type", "of", "result", "created_at")
ACTOR = "cli"
ALL = "all"  # as a workflow: of whose runs it is told

event_option = click.option("--event", "events", multiple=True, type=click.Choice(EVENTS), help="Default: all of them.")
workflow_option = click.option(
    "--workflow", "workflows", multiple=True, help=f"Of whose runs; several may be given. Default: {ALL}."
)
include_option = click.option(
    "--include", multiple=True, type=click.Choice([*DOCUMENTS, "none"]), help="Documents of a run. Default: its output."
)
stdin_option = click.option("--secret", "asks", is_flag=True, help="Ask for a secret of yours, or read it from stdin.")


@click.group(name="subscriptions", cls=Verbs)
def command() -> None:
    """Who is told, by a signed webhook, what happens here.

    \b
    celeriac -A shop subscriptions create crm https://crm.example/hook --event run.failed
    celeriac -A shop subscriptions test crm
    celeriac -A shop subscriptions deliveries crm --status failed
    """


@make(as_json, name="ls")
def ls(durable: Celeriac, as_json: bool) -> None:
    """List them."""
    counts = outbound.counts(durable.database)
    show([_row(row, counts) for row in outbound.every(durable.database)], COLUMNS, as_json)


@make(click.argument("name"), as_json, name="show")
def show_one(durable: Celeriac, name: str, as_json: bool) -> None:
    """Show one, with the fingerprints of its secrets."""
    row = durable.subscription(name).row
    secrets = [
        {**each, "id": public("sec", each["id"]), "ciphertext": None}
        for each in outbound.secrets(durable.database, name)
    ]
    if as_json:
        found = _row(row, outbound.counts(durable.database, name))
        click.echo(json.dumps(found | {"secrets": secrets}, indent=2, default=str))
        return
    show([_row(row, outbound.counts(durable.database, name))], COLUMNS, as_json=False)
    click.echo()
    show(secrets, ("id", "fingerprint", "created_by", "created_at", "expires_at"), as_json=False)


@make(
    click.argument("name"), click.argument("url"), event_option, workflow_option, include_option, stdin_option,
    name="create",
)  # fmt: skip
def create(
    durable: Celeriac, name: str, url: str, events: tuple[str, ...], workflows: tuple[str, ...],
    include: tuple[str, ...], asks: bool,
) -> None:  # fmt: skip
    """Make one, and print its secret, this once."""
    given = _given(events, workflows, include)
    made = durable.subscription(name).create(url, **given, secret=_asked() if asks else None, actor=ACTOR)
    _tell(made.secret, asks)


@make(
    click.argument("name"), click.option("--url"), event_option, workflow_option, include_option, as_json,
    name="update",
)  # fmt: skip
def update(
    durable: Celeriac, name: str, url: str | None, events: tuple[str, ...], workflows: tuple[str, ...],
    include: tuple[str, ...], as_json: bool,
) -> None:  # fmt: skip
    """Change what is given, and leave the rest."""
    row = durable.subscription(name).update(url=url, **_given(events, workflows, include))
    show([_row(row, outbound.counts(durable.database, name))], COLUMNS, as_json)


@make(click.argument("name"), click.option("--note", help="Why, for the others."), name="pause")
def pause(durable: Celeriac, name: str, note: str | None) -> None:
    """Keep what is to be told, until it is resumed."""
    durable.subscription(name).pause(ACTOR, note)


@make(click.argument("name"), name="resume")
def resume(durable: Celeriac, name: str) -> None:
    """End a pause, or that it is disabled."""
    _, released = durable.subscription(name).resume()
    click.echo(f"{released} messages are sent now")


@make(
    click.argument("name"),
    click.option("--overlap-hours", default=OVERLAP_SECONDS / 3600, show_default=True, help="The old ones sign, too."),
    stdin_option,
    name="rotate",
)
def rotate(durable: Celeriac, name: str, overlap_hours: float, asks: bool) -> None:
    """Have a new secret take over, and print it, this once."""
    given = _asked() if asks else None
    made = durable.subscription(name).rotate(given, overlap_seconds=overlap_hours * 3600, actor=ACTOR)
    _tell(made.secret, asks)


@make(click.argument("name"), name="remove")
def remove(durable: Celeriac, name: str) -> None:
    """Tell it nothing more."""
    durable.subscription(name).remove()


@make(
    click.argument("name"),
    click.option("--timeout", default=30.0, show_default=True, help="Seconds to wait for the answer."),
    name="test",
)
def test(durable: Celeriac, name: str, timeout: float) -> None:
    """Have a worker send a signed sample, and wait for the answer. Exit code 1: it was not accepted yet."""
    run = durable.subscription(name).test(ACTOR)
    with suppress(TimeoutError):  # it is told below how it stands
        run.wait(timeout)
    row = run.refresh().row
    click.echo(f"{run.id} {row.status}: {_result(row)}")
    if row.status != "completed":
        fail()


@make(
    click.argument("name"),
    click.option("--status", help="Of this status only."),
    click.option("--limit", default=20, show_default=True),
    as_json,
    name="deliveries",
)
def deliveries(durable: Celeriac, name: str, status: str | None, limit: int, as_json: bool) -> None:
    """List what was sent to it, newest first: each is a run, which can be retried as any."""
    control: SubscriptionControl = durable.subscription(name)
    control.row  # noqa: B018  (it raises where there is none)
    narrowed = Filter(workflow=OUTBOUND, concurrency_key=name, status=(status,) if status else ())
    show([_delivery(row) for row in runs.find(durable.database, narrowed, limit)], DELIVERY_COLUMNS, as_json)


@make(name="callback-secret")
def callback_secret(durable: Celeriac) -> None:
    """Print what callbacks of runs (callback_url) are signed with, the new one first."""
    for each in callback_secrets(durable.settings):
        click.echo(each)


def _given(events: tuple[str, ...], workflows: tuple[str, ...], include: tuple[str, ...]) -> dict[str, Any]:
    """What options say, without those that were not given."""
    given: dict[str, Any] = {"events": events, "workflows": workflows, "include": include}
    chosen = {member: list(value) for member, value in given.items() if value}
    for member, word in (("workflows", ALL), ("include", "none")):
        if chosen.get(member) == [word]:
            chosen[member] = []
    return chosen


def _row(row: dict[str, Any], counts: dict[str, dict[str, int]]) -> dict[str, Any]:
    own = counts.get(row["name"], {})
    return {
        "name": row["name"],
        "url": row["url"],
        "events": ", ".join(row["events"]),
        "workflows": ", ".join(row["workflows"]) or ALL,
        "include": ", ".join(row["include"]) or None,
        "state": row["disabled_reason"] if row["disabled_at"] else "paused" if row["paused_at"] else "active",
        "under_way": sum(count for status, count in own.items() if status not in ("completed", "failed", "cancelled")),
        "delivered": own.get("completed", 0),
        "failed": own.get("failed", 0),
    }


def _delivery(row: runs.RunRow) -> dict[str, Any]:
    message = json.loads(row.payload)
    return {
        "id": public("run", row.id),
        "status": row.status,
        "type": message["type"],
        "of": row.source_id,
        "result": _result(row),
        "created_at": row.created_at,
    }


def _result(row: runs.RunRow) -> str:
    """What came of it, in words."""
    if row.output is not None:
        answer = json.loads(row.output)
        return f"{answer['status']} after {answer['duration_ms']:g} ms"
    return str(json.loads(row.error)["message"]) if row.error else row.cause


def _asked() -> str:
    return click.prompt("Secret", hide_input=True) if sys.stdin.isatty() else sys.stdin.readline().strip()


def _tell(secret: str, is_known: bool) -> None:
    click.echo("it signs with the secret that you gave" if is_known else secret)


for each in (
    ls, show_one, create, update, pause, resume, rotate, remove, test, deliveries, callback_secret,
):  # fmt: skip
    command.add_command(each)
