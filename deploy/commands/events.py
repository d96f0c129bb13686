"""`celeriac events`."""

import json

import click

from ...state.ids import new_id
from ...workflows import Celeriac
from ...workflows.errors import UsageError
from ...workflows.waits import deliver_event
from . import Verbs, as_json
from . import command as make
from .run_moves import parse


@click.group(name="events", cls=Verbs)
def command() -> None:
    """Send events to the runs that wait for them, and start the workflows that they start."""


@make(
    click.argument("name"),
    click.argument("payload", default="{}"),
    click.option("--key", help="Of two events with one name and key the second is not sent."),
    as_json,
    name="send",
)
def send(durable: Celeriac, name: str, payload: str, key: str | None, as_json: bool) -> None:
    """Send event NAME with a JSON PAYLOAD."""
    document = parse(payload, "the payload")
    if not isinstance(document, dict):
        raise UsageError('the payload is a JSON object: {"order_id": "o1"}')
    is_first = deliver_event(durable, name, document, key or new_id().hex)
    if as_json:
        click.echo(json.dumps({"name": name, "key": key, "duplicate": not is_first}, indent=2))
    else:
        click.echo(f"{name} is sent" if is_first else f"{name} was sent before, with key {key}: nothing was done")


command.add_command(send)
