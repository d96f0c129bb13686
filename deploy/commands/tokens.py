"""`celeriac tokens`."""

import json

import click

from ...api.rest import documents
from ...workflows import Celeriac
from ...workflows.errors import UsageError
from ...workflows.waits import finish_token
from . import Verbs, as_json
from . import command as make
from .run_moves import parse


@click.group(name="tokens", cls=Verbs)
def command() -> None:
    """Complete the tokens that runs wait for."""


@make(
    click.argument("id"),
    click.argument("result", required=False),
    click.option("--error", metavar="MESSAGE", help="It went wrong: the wait raises StepError with this message."),
    as_json,
    name="complete",
)
def complete(durable: Celeriac, id: str, result: str | None, error: str | None, as_json: bool) -> None:
    """Complete token ID with a JSON RESULT (default null), or with an error."""
    if result is not None and error is not None:
        raise UsageError("a result or an error? Give one of them")
    step, is_first = finish_token(durable, id, None if result is None else parse(result, "the result"), error)
    if not is_first:
        raise click.ClickException(f"{id} was completed, or timed out, before: the first completion counts")
    run_id = documents.identity("run", step.run_id)
    if as_json:
        click.echo(json.dumps({"id": id, "run_id": run_id, "step": documents.step(step)}, indent=2))
    else:
        click.echo(f"{id} is completed: {run_id} goes on")


command.add_command(complete)
