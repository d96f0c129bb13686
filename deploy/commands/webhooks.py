"""`celeriac webhooks`."""

import json
import sys
from collections.abc import Mapping
from typing import Any

import click

from ...api.hooks.vault import Vault
from ...api.rest import webhook_documents as documents
from ...state import deliveries, endpoints
from ...state.ids import parse
from ...workflows import Celeriac
from ...workflows.errors import UsageError
from ...workflows.webhooks.webhook import Endpoint
from . import as_json, show
from . import command as make
from .webhook_traffic import discard, forward, replay, send

COLUMNS = ("name", "preset", "routes", "parked", "refused", "last_delivery_at", "state")
SECRET_COLUMNS = ("id", "fingerprint", "origin", "created_by", "expires_at", "last_used_at")
ACTOR = "cli"
OVERLAP_HOURS = 24.0


@click.group(name="webhooks")
def command() -> None:
    """Webhook endpoints, what they received, and their secrets.

    \b
    celeriac -A shop webhooks create stripe --verify stripe --workflow take-payment --where 'type == "invoice.paid"'
    celeriac -A shop webhooks secrets add stripe          (asks for it)
    celeriac -A shop webhooks send stripe '{"id": "evt_1", "type": "invoice.paid"}'
    celeriac -A shop webhooks forward stripe --to http://localhost:3000/hook
    celeriac -A shop webhooks replay --endpoint stripe --dry-run
    """


@make(as_json, name="ls")
def ls(durable: Celeriac, as_json: bool) -> None:
    """List the endpoints."""
    counts = deliveries.counts(durable.database)
    found = documents.known_endpoints(durable, endpoints.every(durable.database), counts)
    show(found if as_json else [_row(each) for each in found], COLUMNS, as_json)


@make(click.argument("name"), as_json, name="show")
def show_one(durable: Celeriac, name: str, as_json: bool) -> None:
    """Show an endpoint with its routes and its secrets (never what they are)."""
    found = _whole(durable, name)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    show([_row(found)], COLUMNS, as_json=False)
    click.echo()
    show(found["routes"], ("name", "workflow", "event", "where", "transform", "mapping"), as_json=False)
    click.echo()
    show(found["secrets"], SECRET_COLUMNS, as_json=False)


@make(
    click.argument("name"),
    click.option("--verify", required=True, help="How its sender signs: standard, github, stripe, slack, ..."),
    click.option("--workflow", help="What a delivery starts."),
    click.option("--event", help="The name of the event that it is sent as."),
    click.option("--where", help="Which deliveries, as a filter."),
    click.option("--transform", help="The payload, as JMESPath."),
    click.option("--header", help="Of the signature, for verify=hmac."),
    click.option("--order-by", help="JMESPath of a key; deliveries of one key start one after the other."),
    click.option("--spool", is_flag=True, default=None, help="Keep deliveries in a file while Postgres is away."),
    as_json,
    name="create",
)
def create(durable: Celeriac, name: str, verify: str, as_json: bool, **given: Any) -> None:
    """Make an endpoint without code, or change one. Without --workflow and --event runs can wait for it."""
    members = ("workflow", "event", "where", "transform")
    route = {member: given.pop(member) for member in members if given.get(member) is not None}
    if route and not {"workflow", "event"} & route.keys():
        raise UsageError("--where and --transform are for a route: say --workflow or --event, too")
    options = {option: value for option, value in given.items() if option not in members and value is not None}
    durable.inbox.create(name, verify, [route] if route else [], **options)
    show([_row(_whole(durable, name))], COLUMNS, as_json)


@make(click.argument("name"), name="remove")
def remove(durable: Celeriac, name: str) -> None:
    """Remove an endpoint that was made so; its deliveries stay."""
    durable.inbox.remove(name)


@make(click.argument("name"), click.option("--note", help="Why, for the others."), name="pause")
def pause(durable: Celeriac, name: str, note: str | None) -> None:
    """Accept its deliveries, and hold them."""
    durable.inbox.pause(name, ACTOR, note)
    show([_row(_whole(durable, name))], COLUMNS, as_json=False)


@make(click.argument("name"), name="resume")
def resume(durable: Celeriac, name: str) -> None:
    """Route what was held, in its order."""
    _, released = durable.inbox.resume(name)
    click.echo(f"{released} deliveries are routed now")


@make(
    click.argument("action", type=click.Choice(["ls", "add", "rotate", "remove"])),
    click.argument("name"),
    click.argument("id", required=False),
    click.option("--overlap-hours", default=OVERLAP_HOURS, show_default=True, help="rotate: the others expire then."),
    as_json,
    name="secrets",
)
def secrets(durable: Celeriac, action: str, name: str, id: str | None, overlap_hours: float, as_json: bool) -> None:
    """List the secrets of an endpoint, add one beside the others, have one take over, or remove one by its ID.

    A secret is asked for, or read from the standard input; it stands in no shell's history.
    """
    if action == "remove":
        if id is None or endpoints.remove_secret(durable.database, name, _parsed(id)) is None:
            raise UsageError(f"which one? `webhooks secrets ls {name}` lists those that can be removed")
    elif action != "ls":
        served = served_endpoint(durable, name)
        text = click.prompt("Secret", hide_input=True) if sys.stdin.isatty() else _piped()
        overlap = overlap_hours * 3600 if action == "rotate" else None
        Vault(durable).add(served, text, actor=ACTOR, overlap_seconds=overlap)
    show(_whole(durable, name)["secrets"], SECRET_COLUMNS, as_json)


def served_endpoint(durable: Celeriac, name: str) -> Endpoint:
    """Raises UsageError: it is unknown here."""
    found = durable.inbox.find(name)
    if found is None:
        raise UsageError(f"there is no webhook endpoint named {name!r}: `webhooks ls` lists them")
    return found


def _whole(durable: Celeriac, name: str) -> dict[str, Any]:
    row = durable.inbox.row(name)
    counts = [each for each in deliveries.counts(durable.database) if each["endpoint"] == name]
    secrets_of = documents.secrets(durable.inbox.find(name), endpoints.secrets(durable.database, name))
    return documents.endpoint(durable, name, row, counts) | {"secrets": secrets_of}


def _row(endpoint: Mapping[str, Any]) -> dict[str, Any]:
    """An endpoint in words."""
    aims = [route["workflow"] or f"event {route['event']}" for route in endpoint.get("routes", ())]
    return {
        "name": endpoint["name"],
        "preset": endpoint["preset"],
        "routes": ", ".join(aims) or ("runs that wait" if endpoint.get("sends_events") else None),
        "parked": endpoint["deliveries"].get("parked", 0),
        "refused": endpoint["refused"],
        "last_delivery_at": endpoint["last_delivery_at"],
        "state": "paused" if endpoint["is_paused"] else "open" if endpoint["is_served"] else "not served here",
    }


def _parsed(id: str) -> Any:
    try:
        return parse("sec", id)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _piped() -> str:
    return sys.stdin.readline().strip()


for each in (ls, show_one, create, remove, pause, resume, secrets, send, forward, replay, discard):
    command.add_command(each)
