"""`celeriac keys`."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import click

from ...api.access import keyring
from ...api.access.scopes import checked
from ...api.rest.keys import OVERLAP_SECONDS, checked_name, document
from ...state import api_keys
from ...state.api_keys import KeyRow
from ...state.ids import parse
from ...workflows import Celeriac
from ...workflows.errors import UsageError
from . import Verbs, as_json, show
from . import command as make

COLUMNS = ("id", "name", "prefix", "scopes", "state", "last_used_at", "expires_at", "created_by")
ACTOR = "cli"


@click.group(name="keys", cls=Verbs)
def command() -> None:
    """Keys of the HTTP API: who may come in, and to do what.

    \b
    celeriac -A shop keys create dashboard --scope runs:read --days 90
    celeriac -A shop keys create nightly --scope workflows:trigger:nightly-report
    celeriac -A shop keys rotate ID --overlap-hours 24
    celeriac -A shop keys revoke ID
    """


@make(as_json, name="ls")
def ls(durable: Celeriac, as_json: bool) -> None:
    """List the keys: those that live first."""
    found = [document(row) for row in api_keys.every(durable.database)]
    show(found if as_json else [_told(each) for each in found], COLUMNS, as_json)


@make(
    click.argument("name"),
    click.option("--scope", "scopes", multiple=True, required=True, help="What it may do; once for each."),
    click.option("--days", type=click.FloatRange(min=0, min_open=True, max=36_500), help="It ends then; else never."),
    as_json,
    name="create",
)
def create(durable: Celeriac, name: str, scopes: tuple[str, ...], days: float | None, as_json: bool) -> None:
    """Make a key, and print it: it is shown this once."""
    expires_at = durable.database.now() + timedelta(days=days) if days is not None else None
    made = keyring.create(
        durable.database,
        name=checked_name(name),
        scopes=[checked(scope) for scope in dict.fromkeys(scopes)],
        actor=ACTOR,
        expires_at=expires_at,
    )
    _show_once(*made, as_json)


@make(
    click.argument("id"),
    click.option("--overlap-hours", default=OVERLAP_SECONDS / 3600, show_default=True, help="The old one ends then."),
    as_json,
    name="rotate",
)
def rotate(durable: Celeriac, id: str, overlap_hours: float, as_json: bool) -> None:
    """Make a key that takes over, and print it; the other one goes on for a while."""
    made = keyring.rotate(durable.database, _parsed(id), actor=ACTOR, overlap_seconds=max(overlap_hours, 0) * 3600)
    if made is None:
        raise UsageError(f"{id} is over, was replaced before, or never was: `keys ls` shows it")
    _show_once(*made, as_json)


@make(click.argument("id"), name="revoke")
def revoke(durable: Celeriac, id: str) -> None:
    """Refuse a key from the next request on."""
    row = api_keys.revoke(durable.database, _parsed(id), ACTOR)
    if row is None:
        raise UsageError(f"there is no key {id}: `keys ls` lists them")
    show([_told(document(row))], COLUMNS, as_json=False)


def _show_once(row: KeyRow, text: str, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(document(row) | {"key": text}, indent=2))
        return
    click.echo(text)
    click.echo(f"{document(row)['id']}: keep its text now, it is not shown again", err=True)


def _told(key: Mapping[str, Any]) -> dict[str, Any]:
    return {**key, "scopes": " ".join(key["scopes"])}


def _parsed(id: str) -> Any:
    try:
        return parse("key", id)
    except ValueError as error:
        raise UsageError(str(error)) from None


for each in (ls, create, rotate, revoke):
    command.add_command(each)
