"""`celeriac queues`."""

import json
from collections.abc import Mapping
from typing import Any

import click

from ...api import wording
from ...api.rest.queues import known_queues, limit_of, whole_queue
from ...workflows import Celeriac
from ...workflows.errors import UsageError
from ...workflows.operate.control import QueueControl
from ...workflows.queue import MEMBERS, Limits
from . import as_json, show
from . import command as make

COLUMNS = ("name", "queued", "slots", "limits", "state")
CHANGES = 20  # of a queue's history that a terminal shows; --json has them all
ACTOR = "cli"


@make(
    click.argument(
        "action", type=click.Choice(["ls", "show", "pause", "resume", "drain", "limit", "reset"]), default="ls"
    ),
    click.argument("name", required=False),
    click.argument("members", nargs=-1, metavar="[MEMBER=VALUE]..."),
    click.option("--note", help="Why, for the history."),
    as_json,
    name="queues",
)
def command(
    durable: Celeriac, action: str, name: str | None, members: tuple[str, ...], note: str | None, as_json: bool
) -> None:
    """List queues, show one with its limits and history, pause or drain it, or change its limits.

    \b
    celeriac -A shop queues pause crm --note "the CRM is down"
    celeriac -A shop queues limit crm concurrency=20 rate=none weights='{"acme": 3}'
    celeriac -A shop queues reset crm rate        (without a limit: all of them)
    """
    if members and action not in ("limit", "reset"):
        raise UsageError(f"what is {' '.join(members)!r} for? Only limit and reset take members")
    if action == "ls":
        if name is not None:
            raise UsageError(f"ls lists all queues: say `queues show {name}` for one")
        known = known_queues(durable)
        show(known if as_json else [_row(each) for each in known], COLUMNS, as_json)
        return
    if not name:
        raise UsageError(f"which queue? Say `queues {action} NAME`; `queues ls` lists them")
    queue = durable.queue(name)
    if action != "show":
        _change(queue, action, members, note)
    found = whole_queue(durable, queue)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        show([_row(found)], COLUMNS, as_json=False)
        if action == "show":
            _show_more(found)


def _change(queue: QueueControl, action: str, members: tuple[str, ...], note: str | None) -> None:
    if action == "limit":
        limits = dict(_limit(each) for each in members)
        Limits.checked(limits)  # before they are keywords, where one could be named `note`
        queue.limit(ACTOR, note, **limits)
    elif action == "reset":
        queue.reset(*members, actor=ACTOR, note=note)
    else:
        getattr(queue, action)(ACTOR, note)


def _limit(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"{text!r} sets nothing: write {name}=VALUE, or {name}=none for no limit")
    return name, limit_of(name, value)


def _row(queue: Mapping[str, Any]) -> dict[str, Any]:
    """A queue in words."""
    code = f" (code: {wording.overridden(queue)})" if queue["overrides"] else ""
    return {
        "name": queue["name"],
        "queued": queue["queued"],
        "slots": wording.DASH if queue["held"] is None else f"{queue['held']}/{queue['admissible']}",
        "limits": wording.limits(queue["limits"]) + code,
        "state": wording.standing(queue),
    }


def _show_more(queue: Mapping[str, Any]) -> None:
    limits = [
        {"limit": name, "holds": queue["limits"].get(name), "code says": queue["declared"].get(name)}
        | {"override": "yes" if name in queue["overrides"] else None}
        for name in MEMBERS
    ]
    click.echo()
    show(limits, ("limit", "holds", "code says", "override"), as_json=False)
    click.echo()
    show(queue["waiting_keys"], ("concurrency_key", "queued", "oldest_queued_at"), as_json=False)
    click.echo()
    changes = [change | {"limits": wording.limits(change["limits"])} for change in queue["history"][:CHANGES]]
    show(changes, ("at", "action", "actor", "note", "limits"), as_json=False)
