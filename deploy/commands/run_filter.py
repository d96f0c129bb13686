"""What says which runs are meant: a search as on the page, and options. Of `runs ls` and of `bulk`."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import click

from ...state import ids, status
from ...state.runs import Filter
from ...workflows import Celeriac
from ...workflows.errors import UsageError
from ...workflows.operate.search import narrowed

OPTIONS: tuple[Callable[..., Any], ...] = (
    click.argument("search", nargs=-1),
    click.option("--status", multiple=True, type=click.Choice(status.STATUSES), help="May be repeated."),
    click.option("--workflow"),
    click.option("--tag"),
    click.option("--queue"),
    click.option("--concurrency-key"),
    click.option("--source", help="What started them: api, schedule, webhook, ..."),
    click.option("--parent", "parent_id", metavar="RUN", help="The run that started them."),
    click.option("--from", "created_from", metavar="ISO", help="Created then or later; without offset: UTC."),
    click.option("--to", "created_to", metavar="ISO", help="Created before."),
)


def filter_of(durable: Celeriac, given: dict[str, Any]) -> Filter:
    """The filter that these options are, and the search besides. Raises UsageError."""
    created_from, created_to = (moment(given[name], f"--{name[8:]}") for name in ("created_from", "created_to"))
    parent_id = run_id(given["parent_id"]) if given["parent_id"] else None
    texts = {name: given[name] for name in ("status", "workflow", "tag", "queue", "concurrency_key", "source")}
    named = Filter(**texts, parent_id=parent_id, created_from=created_from, created_to=created_to)
    text = " ".join(given["search"])
    return narrowed(named, text, durable.database.now()) if text else named


def moment(text: str | None, option: str) -> datetime | None:
    """A moment as ISO 8601; without an offset it is UTC. Raises UsageError."""
    try:
        parsed = None if text is None else datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} {text!r} is no moment: write ISO 8601, as 2030-01-31T12:00:00Z") from None
    return parsed.replace(tzinfo=UTC) if parsed is not None and parsed.tzinfo is None else parsed


def run_id(text: str | None) -> UUID:
    """Raises UsageError."""
    if not text:
        raise UsageError("which run? Give its id, run_...")
    try:
        return ids.parse("run", text)
    except ValueError as error:
        raise UsageError(str(error)) from None
