"""`celeriac trigger`."""

import json
from typing import Any

import click

from ...api.rest import documents
from ...state import status
from ...workflows import Celeriac
from ...workflows.errors import UsageError
from ...workflows.trigger import Source
from . import as_json, fail, show
from . import command as make
from .run_moves import COLUMNS


@make(
    click.argument("name"),
    click.argument("payload", default="{}"),
    click.option("--wait", type=float, metavar="SECONDS", help="Wait for the result."),
    click.option("--queue", help="Instead of the workflow's own."),
    click.option("--concurrency-key", help="Whose turn it is in its queue."),
    click.option("--countdown", type=float, metavar="SECONDS", help="From now until it may start."),
    click.option("--priority", type=int, metavar="SECONDS", help="Of head start in its queue."),
    click.option("--idempotency-key"),
    as_json,
    name="trigger",
)
def command(durable: Celeriac, name: str, payload: str, wait: float | None, as_json: bool, **options: Any) -> None:
    """Start a run of workflow NAME with a JSON PAYLOAD."""
    try:
        document = json.loads(payload)
    except ValueError as error:
        raise UsageError(f"the payload is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise UsageError('the payload is a JSON object, a member for each parameter: {"customer_id": "c1"}')
    run = durable.start(name, document, options, Source("cli"))
    try:
        if wait is not None:
            run.wait(wait)
    except TimeoutError as error:
        raise click.ClickException(str(error)) from None
    show([documents.run(run.row)], COLUMNS, as_json)
    if wait is not None and run.status != status.COMPLETED:
        fail()
