"""The verbs of `celeriac runs` that move a run, each a call of one of `celeriac.workflows.operate.repairs`."""

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import click

from ...api.rest import documents
from ...state import runs, status
from ...state.ids import public
from ...state.runs import RunRow
from ...workflows import Celeriac
from ...workflows.errors import UsageError
from ...workflows.operate import repairs
from . import as_json, show
from . import command as make
from .run_filter import moment, run_id

COLUMNS = ("id", "workflow", "status", "attempt", "created_at", "finished_at")
ACTOR = "cli"

the_run = click.argument("id", required=False)
payload = click.option("--payload", metavar="JSON", help="Instead of the payload of that run.")


@make(the_run, click.option("--terminate", is_flag=True, help="Kill the process that executes it."), as_json)
def cancel(durable: Celeriac, id: str | None, terminate: bool, as_json: bool) -> None:
    """Cancel a run: at once, or at its next step, or when it has cleaned up."""
    _move(durable, id, "cancelled", "", as_json, lambda id: repairs.cancel(durable, id, ACTOR, terminate))


@make(the_run, click.option("--note", help="Why; it stands beside the pause."), as_json)
def pause(durable: Celeriac, id: str | None, note: str | None, as_json: bool) -> None:
    """Stop a run before its next step. Its timers go on."""
    _move(durable, id, "paused", ", or about to end", as_json, lambda id: repairs.pause(durable, id, ACTOR, note))


@make(the_run, as_json)
def resume(durable: Celeriac, id: str | None, as_json: bool) -> None:
    """End the pause of a run."""
    _move(durable, id, "resumed", ", and not paused", as_json, lambda id: repairs.resume(durable, id))


@make(the_run, as_json)
def retry(durable: Celeriac, id: str | None, as_json: bool) -> None:
    """Let a run go on from its failed step; finished steps are kept."""
    needs = ", not failed, timed_out or crashed"
    _move(durable, id, "retried", needs, as_json, lambda id: repairs.retry(durable, id, ACTOR))


@make(
    the_run,
    click.option("--in", "countdown", type=float, metavar="SECONDS", help="So many from now; 0 is now."),
    click.option("--at", metavar="ISO", help="To a moment, 2030-01-31T12:00:00Z; without offset: UTC."),
    as_json,
)
def reschedule(durable: Celeriac, id: str | None, countdown: float | None, at: str | None, as_json: bool) -> None:
    """Give a delayed run another time."""
    eta = moment(at, "--at")
    if (countdown is None) == (eta is None):
        raise UsageError("when? Say --in SECONDS, or --at MOMENT; --in 0 starts it now")

    def to_then(id: UUID) -> RunRow | None:
        return repairs.reschedule(durable, id, countdown=countdown, eta=eta, actor=ACTOR)

    _move(durable, id, "rescheduled", ", not delayed", as_json, to_then)


@make(the_run, payload, as_json)
def replay(durable: Celeriac, id: str | None, payload: str | None, as_json: bool) -> None:
    """Start a new run with the same payload, or with another one."""
    given = _payload(payload)
    _move(durable, id, "replayed", "", as_json, lambda id: repairs.replay(durable, id, given, ACTOR))


@make(the_run, click.option("--from", "step", metavar="STEP", help="Its key, as charge#2."), payload, as_json)
def fork(durable: Celeriac, id: str | None, step: str | None, payload: str | None, as_json: bool) -> None:
    """Start a new run that keeps the checkpoints before a step, and goes on from there."""
    if not step:
        raise UsageError("from which step? Say --from STEP; `runs show` lists them")
    given = _payload(payload)
    _move(durable, id, "forked", "", as_json, lambda id: repairs.fork(durable, id, step, given, ACTOR))


@make(
    the_run,
    click.option("--step", metavar="KEY", help="Its key, as charge#2."),
    click.option("--value", metavar="JSON", help="What it is to have returned."),
    as_json,
)
def supply(durable: Celeriac, id: str | None, step: str | None, value: str | None, as_json: bool) -> None:
    """Give a step that failed, or a wait, its result by hand, and let the run go on."""
    parsed = run_id(id)
    if not step or value is None:
        raise UsageError("which step, and what? Say --step KEY --value JSON; `runs show` lists the steps")
    given = repairs.supply(durable, parsed, step, parse(value, "--value"), ACTOR)
    if given is None:
        run = _known(durable, parsed)
        told = f"step {step!r} of {public('run', parsed)} needs no result: it is not there, has one, or is executed"
        raise click.ClickException(f"{told}; the run is {run.status}. `runs show` lists the steps.")
    _show(_known(durable, parsed), as_json)


MOVES = (cancel, pause, resume, retry, reschedule, replay, fork, supply)


def parse(text: str, option: str) -> Any:
    """What a JSON text says. Raises UsageError."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{option} is not JSON: {error}") from None


def _move(
    durable: Celeriac, text: str | None, done: str, needs: str, as_json: bool, move: Callable[[UUID], RunRow | None]
) -> None:
    """Makes the move, and shows the run as it is then: for replay and fork the new one."""
    id = run_id(text)
    moved = move(id)
    if moved is None:
        run = _known(durable, id)
        raise click.ClickException(f"{public('run', id)} cannot be {done}: it is {_state(run)}{needs}")
    _show(moved, as_json)


def _state(run: RunRow) -> str:
    asked = run.cancel_requested_at is not None and run.status not in status.FINAL
    return f"{run.status}, its cancellation was asked for" if asked else run.status


def _show(run: RunRow, as_json: bool) -> None:
    show([documents.run(run)], COLUMNS, as_json)


def _known(durable: Celeriac, id: UUID) -> RunRow:
    run = runs.get(durable.database, id)
    if run is None:
        raise click.ClickException(f"there is no run {public('run', id)}: it never was, or its retention is over")
    return run


def _payload(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    document = parse(text, "--payload")
    if not isinstance(document, dict):
        raise UsageError('--payload is a JSON object, a member for each parameter: {"customer_id": "c1"}')
    return document
