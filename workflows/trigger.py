"""Starting runs: the row is committed, then it is offered to Redis. The first is the promise, the second a hint."""

import difflib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..state import payload, runs
from ..state.database import Executor
from ..state.errors import IdempotencyConflict
from ..state.ids import new_id
from ..state.payload import Json
from ..state.runs import NewRun, RunRow
from .errors import UsageError
from .execution import Execution, current_execution
from .tracing import traceparent

if TYPE_CHECKING:
    from .application import Celeriac

log = logging.getLogger(__name__)

SECONDS_LIMIT = 100 * 366 * 86_400.0  # a hundred years
INTEGER_LIMIT = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a trigger needs to know of a workflow: from its definition, or from what a worker registered."""

    name: str
    queue: str
    max_attempts: int
    max_crashes: int
    priority: int
    ttl_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What can be said when a run is started, in Celery's words where Celery has them."""

    countdown: float | None = None  # seconds from now until it may start
    eta: datetime | None = None  # or the moment, aware (naive: UTC, as in Celery)
    expires: float | datetime | None = None  # a moment, or seconds after it may start: after that it never does
    priority: int | None = None  # seconds of head start in its queue
    idempotency_key: str | None = None  # of several triggers with one key, one starts a run; the others return it
    idempotency_ttl: float | None = None  # seconds for which the key is remembered; default 30 days
    tags: Sequence[str] = ()
    metadata: Mapping[str, Any] | None = None
    max_attempts: int | None = None  # instead of the workflow's own

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "Options":
        """Raises UsageError for a name that is no option, and for values that cannot be."""
        known = [option.name for option in fields(cls)]
        for name in given:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
                raise UsageError(f"{name!r} is no option of a trigger: {hint}")
        options = cls(**given)
        options._check()
        return options

    def _check(self) -> None:
        _check_kind("eta", self.eta, (datetime,))
        _check_kind("metadata", self.metadata, (Mapping,))
        _check_number("countdown", self.countdown, -SECONDS_LIMIT, SECONDS_LIMIT)
        _check_number("idempotency_ttl", self.idempotency_ttl, 0, SECONDS_LIMIT)
        if not isinstance(self.expires, datetime):
            _check_number("expires", self.expires, 0, SECONDS_LIMIT)
        _check_whole("priority", self.priority, -INTEGER_LIMIT, INTEGER_LIMIT)
        _check_whole("max_attempts", self.max_attempts, 1, INTEGER_LIMIT)
        if self.countdown is not None and self.eta is not None:
            raise UsageError("countdown and eta are two ways to say one thing: give one of them")
        if not isinstance(self.tags, list | tuple) or not all(_is_word(tag, 200) for tag in self.tags):
            raise UsageError("tags: give a list of strings of 1 to 200 printable characters")
        if self.idempotency_key is not None and not _is_word(self.idempotency_key, 500):
            raise UsageError("idempotency_key: give 1 to 500 printable characters")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a trigger came from: one of the words of `run_source_known`, its id there, and who asked."""

    kind: str = "python"
    id: str | None = None
    actor: str | None = None


def new_run(target: Target, text: Json, options: Options, source: Source, idempotency_ttl_seconds: float) -> NewRun:
    """The row to be."""
    expires = options.expires
    return NewRun(
        id=new_id(),
        workflow=target.name,
        queue=target.queue,
        payload=text,
        source=source.kind,
        source_id=source.id,
        actor=source.actor,
        max_attempts=options.max_attempts or target.max_attempts,
        max_crashes=target.max_crashes,
        priority=target.priority if options.priority is None else options.priority,
        tags=list(options.tags),
        metadata=payload.encode(options.metadata or {}, "metadata"),
        idempotency_key=options.idempotency_key,
        idempotency_ttl_seconds=options.idempotency_ttl or idempotency_ttl_seconds,
        traceparent=traceparent(),
        run_at=_aware(options.eta) if options.eta else None,
        delay_seconds=options.countdown,
        expires_at=_aware(expires) if isinstance(expires, datetime) else None,
        ttl_seconds=target.ttl_seconds if expires is None or isinstance(expires, datetime) else expires,
    )


def start(db: Executor, new: Sequence[NewRun]) -> list[RunRow]:
    """Starts the runs, or finds those that their idempotency keys stand for.

    Raises IdempotencyConflict when a key was used with another payload.
    """
    started = {row.id: row for row in runs.start(db, new)}
    return [started.get(run.id) or _of_key(db, run) for run in new]


def start_child(durable: "Celeriac", execution: Execution, new: NewRun) -> RunRow:
    """Starts a child of the run that is executing, once however often the line is replayed."""
    if new.idempotency_key is not None:
        raise UsageError(
            f"{execution.id} gives its child {new.workflow!r} an idempotency key: inside a run a child is started once "
            "anyway, however often the line is replayed. Leave the key out."
        )

    def prepare(key: str) -> NewRun:
        return replace(new, parent_id=execution.run.id, parent_step=key, root_id=execution.run.root_id)

    id, row = execution.child(new.workflow, prepare)
    if row is not None:
        durable.dispatcher.offer([row])
        return row
    row = runs.get(durable.database, id)
    if row is None:
        raise UsageError(f"the child {id} of {execution.id} was deleted while its parent still runs")
    return row


def parent_execution() -> Execution | None:
    """The execution that a trigger is a child of: none inside a step's body, which may run more than once."""
    execution = current_execution()
    return execution if execution is not None and execution.step_inside is None else None


def _of_key(db: Executor, new: NewRun) -> RunRow:
    while new.idempotency_key is not None:
        found = runs.of_idempotency_key(db, new.workflow, new.idempotency_key)
        if found is not None and not found[1]:
            row = found[0]
            if json.loads(row.payload) != json.loads(new.payload):
                raise IdempotencyConflict(
                    f"idempotency key {new.idempotency_key!r} of workflow {new.workflow!r} was used with another "
                    f"payload, by run_{row.id.hex}. Send that payload again, or choose a new key."
                )
            return row
        if found is not None:
            runs.free_idempotency_key(db, found[0].id)
        if again := runs.start(db, [new]):
            return again[0]
    raise UsageError(f"a run of workflow {new.workflow!r} for this {new.source} ({new.source_id}) exists already")


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)  # naive: UTC, as in Celery


def _is_word(value: Any, limit: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= limit and value.isprintable()


def _check_number(name: str, value: Any, least: float, most: float) -> None:
    _check_kind(name, value, (int, float))
    if value is not None and not least <= value <= most:  # also refuses nan
        raise UsageError(f"{name}={value!r} is out of range: {least:g} to {most:g}")


def _check_whole(name: str, value: Any, least: int, most: int) -> None:
    _check_kind(name, value, (int,))
    _check_number(name, value, least, most)


def _check_kind(name: str, value: Any, kinds: tuple[type, ...]) -> None:
    if value is not None and (not isinstance(value, kinds) or isinstance(value, bool)):
        raise UsageError(f"{name}={value!r} should be {' or '.join(kind.__name__ for kind in kinds)}")
