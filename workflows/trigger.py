"""Starting runs: the row is committed, then it is offered to Redis. The first is the promise, the second a hint."""

import difflib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..state import payload, runs
from ..state.database import Transactional
from ..state.errors import IdempotencyConflict
from ..state.ids import new_id
from ..state.payload import Json
from ..state.runs import NewRun, RunRow
from . import room
from .errors import UsageError
from .execution import Execution, current_execution
from .queue import KEY_LIMIT
from .tracing import traceparent

if TYPE_CHECKING:
    from .application import Celeriac

log = logging.getLogger(__name__)

SECONDS_LIMIT = 100 * 366 * 86_400.0  # a hundred years
INTEGER_LIMIT = 1_000_000_000
SCOPES = ("workflow", "key", "global")  # of an idempotency key


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What can be said when a run is started, in Celery's words where Celery has them."""

    countdown: float | None = None  # seconds from now until it may start
    eta: datetime | None = None  # or the moment, aware (naive: UTC, as in Celery)
    expires: float | datetime | None = None  # a moment, or seconds after it may start: after that it never does
    priority: int | None = None  # seconds of head start in its queue
    queue: str | None = None  # instead of the workflow's own
    concurrency_key: str | None = None  # whose turn it is in its queue, and what `per_key` and `key_rate` limit
    idempotency_key: str | None = None  # of several triggers with one key, one starts a run; the others return it
    idempotency_ttl: float | None = None  # seconds for which the key is remembered; default 30 days
    idempotency_scope: str = "workflow"  # within which it is unique: "workflow", "key" (and concurrency key), "global"
    debounce: Mapping[str, Any] | None = None  # see Debounce
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

    @property
    def moment(self) -> datetime | None:
        """The eta, aware."""
        return _aware(self.eta) if self.eta else None

    def _check(self) -> None:
        _check_kind("eta", self.eta, (datetime,))
        _check_kind("metadata", self.metadata, (Mapping,))
        _check_kind("debounce", self.debounce, (Mapping,))
        _check_kind("queue", self.queue, (str,))
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
        if self.idempotency_scope not in SCOPES:
            raise UsageError(f"idempotency_scope={self.idempotency_scope!r}: known are {', '.join(SCOPES)}")
        if self.concurrency_key is not None and not _is_word(self.concurrency_key, KEY_LIMIT):
            raise UsageError(f"concurrency_key: give 1 to {KEY_LIMIT} printable characters")
        if self.debounce is not None:
            Debounce.of(self.debounce)
            for other in ("countdown", "eta", "idempotency_key"):
                if getattr(self, other) is not None:
                    raise UsageError(f"debounce and {other} contradict each other: give one of them")


@dataclass(frozen=True, slots=True, kw_only=True)
class Debounce:
    """Of many triggers with one key, one run: `debounce={"key": "c1", "delay": 5}`.

    trailing (default): it starts when no trigger came for `delay` seconds, with the payload of the last one. leading:
    the first trigger starts it at once, those that follow within `delay` seconds return it. Neither is put off for
    longer than `max_delay` seconds after the first trigger.
    """

    key: str
    delay: float  # seconds
    mode: str = "trailing"
    max_delay: float | None = None  # seconds; default ten times the delay

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "Debounce":
        """Raises UsageError."""
        known = [member.name for member in fields(cls)]
        if not set(given) <= set(known) or not {"key", "delay"} <= set(given):
            raise UsageError(f"debounce={dict(given)!r}: give key and delay, and if you like {', '.join(known[2:])}")
        debounce = cls(**given)
        if not _is_word(debounce.key, KEY_LIMIT):
            raise UsageError(f"debounce: key: give 1 to {KEY_LIMIT} printable characters")
        if debounce.mode not in ("leading", "trailing"):
            raise UsageError(f"debounce: mode={debounce.mode!r}: leading or trailing")
        _check_number("debounce: delay", debounce.delay, 0.001, SECONDS_LIMIT)
        if debounce.max_delay is not None:
            _check_number("debounce: max_delay", debounce.max_delay, debounce.delay, SECONDS_LIMIT)
        return debounce

    def columns(self) -> dict[str, Any]:
        """What it makes of a new run."""
        return {
            "debounce_key": self.key,
            "debounce_mode": self.mode,
            "debounce_seconds": self.delay,
            "debounce_cap_seconds": 10 * self.delay if self.max_delay is None else self.max_delay,
            "delay_seconds": self.delay if self.mode == "trailing" else None,
        }


@dataclass(frozen=True, slots=True)
class Source:
    """Where a trigger came from: one of the words of `run_source_known`, its id there, and who asked."""

    kind: str = "python"
    id: str | None = None
    actor: str | None = None


def new_run(target: Target, text: Json, options: Options, source: Source, idempotency_ttl_seconds: float) -> NewRun:
    """The row to be. Raises UsageError where its keys cannot be."""
    expires, is_child = options.expires, source.kind == "parent"
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
        expires_at=_aware(expires) if isinstance(expires, datetime) else None,
        ttl_seconds=target.ttl_seconds if expires is None or isinstance(expires, datetime) else expires,
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


def start_child(durable: "Celeriac", execution: Execution, new: NewRun) -> RunRow:
    """Starts a child of the run that is executing, once however often the line is replayed."""
    for option in ("idempotency_key", "debounce_key"):
        if getattr(new, option) is not None:
            raise UsageError(
                f"{execution.id} gives its child {new.workflow!r} {option}={getattr(new, option)!r}: inside a run a "
                "child is started once anyway, however often the line is replayed. Leave it out."
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
    raise room.refusal(db, new) or UsageError(
        f"a run of workflow {new.workflow!r} for this {new.source} ({new.source_id}) exists already"
    )


def _same_call(row: RunRow, new: NewRun) -> RunRow:
    if row.workflow != new.workflow or json.loads(row.payload) != json.loads(new.payload):
        what = "with another payload" if row.workflow == new.workflow else f"for workflow {row.workflow!r}"
        raise IdempotencyConflict(
            f"idempotency key {new.idempotency_key!r} of workflow {new.workflow!r} was used {what}, "
            f"by run_{row.id.hex}. Send that call again, or choose a new key."
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
    if isinstance(value, dict | list) or not _is_word(told, limit):
        raise UsageError(
            f"workflow {target.name!r} takes its {option} from {path!r} of the payload: "
            f"there must be a string of 1 to {limit} printable characters, or a number"
        )
    return told


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
