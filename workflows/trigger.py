"""Starting runs: the row is committed, then it is offered to Redis. The first is the promise, the second a hint."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ..state import payload, runs
from ..state.database import Transactional
from ..state.errors import IdempotencyConflict
from ..state.ids import new_id
from ..state.payload import Json
from ..state.runs import NewRun, RunRow
from .dispatch import room
from .engine import suspension
from .engine.execution import Execution, current_execution
from .errors import CeleriacError, StateUnavailable, UsageError
from .options import Debounce, Options, is_word
from .queue import KEY_LIMIT
from .signals.tracing import traceparent

if TYPE_CHECKING:
    from .application import Celeriac

log = logging.getLogger(__name__)

CODE = ("python", "parent")  # sources that are code of the shop's own


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a trigger needs to know of a workflow: from its definition, or from what a worker registered."""

    name: str
    queue: str
    max_attempts: int
    max_crashes: int
    priority: int
    ttl_seconds: float | None
    concurrency_key: str | None = None  # where in the payload it stands: "customer.id"
    idempotency: str | None = None  # the same for the idempotency key
    when_full: str = "queue"
    max_duration_seconds: float | None = None
    cancel_children: str = "on_cancel"
    hooks: Mapping[str, Any] | None = None  # on_success, on_failure, on_cancel: the Target of each, as a mapping


@dataclass(frozen=True, slots=True)
class Source:
    """Where a trigger came from: one of the words of `run_source_known`, its id there, and who asked."""

    kind: str = "python"
    id: str | None = None
    actor: str | None = None


def new_run(target: Target, text: Json, options: Options, source: Source, idempotency_ttl_seconds: float) -> NewRun:
    """The row to be. Raises UsageError where its keys cannot be, and for workflows of our own that others start."""
    if target.name == runs.OUTBOUND and source.kind != "outbound":
        raise UsageError(
            f"{runs.OUTBOUND} tells others what has happened, and is started by that alone: make a subscription, or "
            "start a run with callback_url"
        )
    if target.name == runs.CANVAS and source.kind not in CODE:
        raise UsageError(f"{runs.CANVAS} executes any tasks, and is started by code alone: durable.canvas(...)")
    is_child = source.kind == "parent"
    concurrency_key = options.concurrency_key or _at(target, "concurrency_key", text, KEY_LIMIT) or ""
    idempotency_key = options.idempotency_key or (None if is_child else _at(target, "idempotency", text, 500))
    if options.debounce is not None and target.when_full != "queue":
        raise UsageError(
            f"queue {options.queue or target.queue!r} says when_full={target.when_full!r}: "
            "its runs cannot be debounced. Start them in another queue."
        )
    new = NewRun(
        id=new_id(),
        workflow=target.name,
        queue=options.queue or target.queue,
        concurrency_key=concurrency_key,
        is_exclusive=target.when_full != "queue",
        payload=text,
        source=source.kind,
        source_id=source.id,
        actor=source.actor,
        max_attempts=options.max_attempts or target.max_attempts,
        max_crashes=target.max_crashes,
        priority=target.priority if options.priority is None else options.priority,
        tags=list(options.tags),
        metadata=payload.encode(options.metadata or {}, "metadata"),
        idempotency_key=idempotency_key,
        idempotency_scope=_scope(options.idempotency_scope, target.name, concurrency_key) if idempotency_key else None,
        idempotency_ttl_seconds=options.idempotency_ttl or idempotency_ttl_seconds,
        traceparent=traceparent(),
        run_at=options.moment,
        delay_seconds=options.countdown,
        expires_at=options.expires_at,
        ttl_seconds=options.expires if isinstance(options.expires, int | float) else target.ttl_seconds,
        max_duration_seconds=target.max_duration_seconds,
        hooks=json.dumps(target.hooks) if target.hooks else None,
        cancel_children=target.cancel_children,
        callback_url=options.callback_url,
    )
    return new if options.debounce is None else replace(new, **Debounce.of(options.debounce).columns())


def start(db: Transactional, new: Sequence[NewRun]) -> list[RunRow]:
    """Starts the runs, or finds those that their keys stand for.

    Raises IdempotencyConflict when a key was used with another payload, QueueFull, QueueDraining, KeyFull.
    """
    if len(new) == 1 and new[0].debounce_key is not None:
        return [_debounced(db, new[0])]
    started = {row.id: row for row in room.start(db, new)}
    return [started.get(run.id) or _of_key(db, run) for run in new]


def start_each(db: Transactional, new: Sequence[NewRun]) -> list[RunRow | CeleriacError]:
    """Starts those that can be, in one statement as far as that goes: for each its run, or why there is none. Raises
    StateUnavailable."""
    plain = [run for run in new if run.debounce_key is None and not run.is_exclusive]
    started = {row.id: row for row in runs.start(db, plain)} if plain else {}
    return [started.get(run.id) or _run_or_error(db, run) for run in new]


def _run_or_error(db: Transactional, run: NewRun) -> RunRow | CeleriacError:
    try:
        return start(db, [run])[0]
    except StateUnavailable:
        raise
    except CeleriacError as error:
        return error


def start_children(
    durable: "Celeriac", execution: Execution, new: Sequence[NewRun]
) -> list[tuple[str, UUID, RunRow | None]]:
    """Starts children of the run that is executing, once however often the line is replayed: key, id, and the row of
    those that were not recorded before."""
    for run in new:
        for option in ("idempotency_key", "debounce_key"):
            if getattr(run, option) is not None:
                raise UsageError(
                    f"{execution.id} gives its child {run.workflow!r} {option}={getattr(run, option)!r}: inside a run "
                    "a child is started once anyway, however often the line is replayed. Leave it out."
                )
    children = suspension.children(execution, new)
    durable.dispatcher.offer([row for _, _, row in children if row is not None])
    return children


def parent_execution() -> Execution | None:
    """The execution that a trigger is a child of: none inside a step's body, which may run more than once."""
    execution = current_execution()
    return execution if execution is not None and execution.step_inside is None else None


def _debounced(db: Transactional, new: NewRun) -> RunRow:
    row = runs.debounce(db, new)
    if row is None:
        raise room.refusal(db, new) or UsageError(f"workflow {new.workflow!r} could not be debounced: try again")
    return row


def _of_key(db: Transactional, new: NewRun) -> RunRow:
    """The run that is there instead. Raises what refused it, where there is none."""
    while new.idempotency_key is not None and new.idempotency_scope is not None:
        found = runs.of_idempotency_key(db, new.idempotency_scope, new.idempotency_key)
        if found is not None and not found[1]:
            return _same_call(found[0], new)
        if found is not None:
            runs.free_idempotency_key(db, found[0].id)
        if again := room.start(db, [new]):
            return again[0]
        if found is None and (refusal := room.refusal(db, new)):
            raise refusal
    if there := runs.get(db, new.id):  # a task id that the caller gave
        return _same_call(there, new)
    raise room.refusal(db, new) or UsageError(
        f"a run of workflow {new.workflow!r} for this {new.source} ({new.source_id}) exists already"
    )


def _same_call(row: RunRow, new: NewRun) -> RunRow:
    if row.workflow != new.workflow or json.loads(row.payload) != json.loads(new.payload):
        what = "with another payload" if row.workflow == new.workflow else f"for workflow {row.workflow!r}"
        used = f"idempotency key {new.idempotency_key!r}" if new.idempotency_key else f"the id {new.id}"
        raise IdempotencyConflict(
            f"{used} of workflow {new.workflow!r} was used {what}, by run_{row.id.hex}. "
            "Send that call again, or choose a new one."
        )
    return row


def _scope(word: str, workflow: str, concurrency_key: str) -> str:
    return {"workflow": f"workflow:{workflow}", "key": f"key:{workflow}:{concurrency_key}", "global": "global"}[word]


def _at(target: Target, option: str, text: Json, limit: int) -> str | None:
    """What stands in the payload where the workflow says that one of its keys stands."""
    path = getattr(target, option)
    if path is None:
        return None
    value: Any = json.loads(text)
    for member in path.split("."):
        value = value.get(member) if isinstance(value, Mapping) else None
    if value is None or value == "":
        return None
    told = str(value)
    if isinstance(value, dict | list) or not is_word(told, limit):
        raise UsageError(
            f"workflow {target.name!r} takes its {option} from {path!r} of the payload: "
            f"there must be a string of 1 to {limit} printable characters, or a number"
        )
    return told
