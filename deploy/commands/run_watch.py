"""`celeriac runs watch`: follows a run until it ends."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

import click

from ...api import wording
from ...api.rest import documents
from ...state import runs, status, steps
from ...state.database import Row
from ...state.steps import StepRow
from ...workflows import Celeriac, Run
from ...workflows.errors import UsageError
from . import as_json, fail
from . import command as make
from .run_filter import run_id

LOOK_SECONDS = 0.5  # between two looks; its end is heard of at once


class Line(NamedTuple):
    """Something that happened: when, what it is called, and as a document."""

    at: datetime
    words: str
    document: dict[str, Any]


@make(click.argument("id", required=False), as_json, name="watch")
def watch(durable: Celeriac, id: str | None, as_json: bool) -> None:
    """Print the moves and the steps of a run as they come, until it ends. Exit code 1: it did not complete."""
    run = durable.get(run_id(id))
    if run is None:
        raise click.ClickException(f"there is no run {id}: it never was, or its retention is over")
    for line in follow(durable, run):
        told = json.dumps({"at": documents.moment(line.at), **line.document}) if as_json else _worded(line)
        click.echo(told)
    if run.status != status.COMPLETED:
        fail()


def follow(durable: Celeriac, run: Run) -> Iterator[Line]:
    """What happened to the run so far, and then what happens, until it has ended."""
    seen: dict[str, tuple[str, int]] = {}
    last_move = 0
    while True:
        is_over = run.refresh().row.is_final  # before its history is read, which then has its end
        moves = [row for row in runs.history(durable.database, run.row.id) if row["id"] > last_move]
        changed = [step for step in steps.of_run(durable.database, run.row.id) if seen.get(step.key) != _state(step)]
        yield from sorted([*map(_of_move, moves), *map(_of_step, changed)], key=lambda line: line.at)
        last_move = max((row["id"] for row in moves), default=last_move)
        seen |= {step.key: _state(step) for step in changed}
        if is_over:
            return
        _until_something_may_have_happened(run)


def _until_something_may_have_happened(run: Run) -> None:
    try:
        run.wait(LOOK_SECONDS)
    except TimeoutError:
        pass  # it goes on
    except UsageError as gone:
        raise click.ClickException(str(gone)) from None


def _state(step: StepRow) -> tuple[str, int]:
    return step.status, step.attempts


def _of_move(row: Row) -> Line:
    actor = f", by {row['actor']}" if row["actor"] else ""
    error = f": {documents.value(row['error'])['message']}" if row["error"] else ""
    return Line(row["at"], f"{row['to_status']:<10} {row['cause']}{actor}{error}", {"move": documents.move(row)})


def _of_step(step: StepRow) -> Line:
    document = documents.step(step)
    took = f" in {wording.duration(document['duration_ms'] / 1000)}" if document["duration_ms"] is not None else ""
    attempts = f", attempt {step.attempts}" if step.attempts > 1 else ""
    result = (
        f": {document['error']['message']}" if step.error else f": {wording.brief(step.output)}" if step.output else ""
    )
    at = step.finished_at or step.started_at
    return Line(at, f"  {step.key} {step.status}{took}{attempts}{result}", {"step": document})


def _worded(line: Line) -> str:
    return f"{line.at:%H:%M:%S}.{line.at.microsecond // 1000:03d}  {' '.join(line.words.splitlines())}"
