"""The runs, and every move that a worker or beat makes with them. The statements are in runs.sql, one verb each; what
people do with runs is in repairs.py.

A verb returns the new row, or None when someone else moved the run first.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from . import status
from .database import Executor, Row
from .errors import Superseded
from .ids import public
from .queries import Queries

SQL = Queries("runs.sql")
BATCH = 500  # runs that one sweep moves at most
OUTBOUND = "celeriac.outbound"  # our own workflow, which sends webhooks: see 0011_outbound.sql
CANVAS = "celeriac.canvas"  # our own workflow, which executes canvases: its payload names any tasks


@dataclass(frozen=True, slots=True)
class RunRow:
    """One row of `celeriac.runs`. Documents (payload, output, error, metadata) are JSON text."""

    id: UUID
    workflow: str
    version: str | None
    status: str
    epoch: int
    cause: str
    actor: str | None
    attempt: int
    max_attempts: int
    started_attempt: int | None
    crashes: int
    max_crashes: int
    queue: str
    concurrency_key: str
    priority: int
    payload: str
    output: str | None
    error: str | None
    tags: list[str]
    metadata: str
    idempotency_key: str | None
    parent_id: UUID | None
    parent_step: str | None
    root_id: UUID
    source: str
    source_id: str | None
    traceparent: str | None
    run_at: datetime | None
    expires_at: datetime | None
    cancel_requested_at: datetime | None
    terminate_requested_at: datetime | None
    max_duration_seconds: float | None
    deadline_at: datetime | None
    verdict: str | None  # how it will end, once its clean-up is done
    cancel_children: str
    hooks: str | None
    callback_url: str | None
    delivery: str
    request: str | None
    paused_at: datetime | None
    paused_by: str | None
    pause_note: str | None
    created_at: datetime
    queued_at: datetime | None
    claimed_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    worker_id: UUID | None
    worker_pid: int | None

    @property
    def is_final(self) -> bool:
        return self.status in status.FINAL

    @property
    def is_ready(self) -> bool:
        """Whether it may be claimed."""
        return self.status == status.QUEUED and self.paused_at is None

    @property
    def is_begun(self) -> bool:
        """Whether this attempt has started before: it slept, waited, or lost its worker."""
        return self.started_attempt == self.attempt

    @classmethod
    def of(cls, row: Row) -> "RunRow":
        """Columns that this version of the code does not know are left out: a newer one may have migrated already."""
        return cls(**{name: row[name] for name in _COLUMNS})


_COLUMNS = tuple(column.name for column in fields(RunRow))


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A run to be started. Times: `run_at` aware, or `delay_seconds` from now by the database's clock."""

    id: UUID
    workflow: str
    queue: str
    payload: str
    source: str
    actor: str | None = None
    source_id: str | None = None
    max_attempts: int = 1
    max_crashes: int = 5
    concurrency_key: str = ""
    is_exclusive: bool = False  # its queue has a policy for a full key
    priority: int = 0
    tags: Sequence[str] = ()
    metadata: str = "{}"
    idempotency_key: str | None = None
    idempotency_scope: str | None = None  # within which the key is unique; default its workflow
    idempotency_ttl_seconds: float | None = None
    parent_id: UUID | None = None
    parent_step: str | None = None
    parent_seq: int = 0  # the order in which its parent asked for it
    root_id: UUID | None = None
    traceparent: str | None = None
    run_at: datetime | None = None
    delay_seconds: float | None = None
    expires_at: datetime | None = None
    ttl_seconds: float | None = None  # after it may start, where expires_at is not given
    debounce_key: str | None = None
    debounce_mode: str | None = None
    debounce_seconds: float | None = None
    debounce_cap_seconds: float | None = None
    max_duration_seconds: float | None = None  # from its first start
    hooks: str | None = None  # runs that its end starts, as JSON
    cancel_children: str = "on_cancel"
    callback_url: str | None = None  # where its end is told
    step_is_optional: bool = False  # of a child: its parent asked for it while it handled an error
    delivery: str = ""  # how its message is sent, where that is not as usual: see 0017_tasks.sql
    request: str | None = None  # of a task: what it finds in self.request besides its arguments, as JSON


_MEMBERS = tuple(member.name for member in fields(NewRun))


@dataclass(frozen=True, slots=True)
class Term:
    """A condition that no field of a Filter can say. The `values` are alternatives, in which `*` stands for any text;
    `is_negated`: it is none of them. `name` is a column, `tag`, or `error`, which is sought in its message and type."""

    name: str
    values: tuple[str, ...]
    is_negated: bool = False

    def where(self, at: str) -> tuple[str, Row]:
        """The condition in SQL, and its values, whose names begin with `at`."""
        exact = [value for value in self.values if "*" not in value]
        patterns = [_pattern(value) for value in self.values if "*" in value]
        if self.name == "tag":
            told = (
                f"tags <> '{{}}' and (tags && %({at}_exact)s::text[] or exists (select from unnest(tags) as tag "
                f"where tag like any (%({at}_patterns)s::text[])))"
                if patterns
                else f"tags <> '{{}}' and tags && %({at}_exact)s::text[]"
            )
        elif self.name == "error":
            patterns = [f"%{_pattern(value)}%" for value in self.values]
            told = (
                f"status <> 'completed' and (error ->> 'message' ilike any (%({at}_patterns)s::text[]) "
                f"or error ->> 'type' ilike any (%({at}_patterns)s::text[]))"
            )
        elif patterns:
            told = f"({self.name} = any (%({at}_exact)s::text[]) or {self.name} like any (%({at}_patterns)s::text[]))"
        else:
            told = f"{self.name} = any (%({at}_exact)s::text[])"
        return f"({told}) is not true" if self.is_negated else told, {f"{at}_exact": exact, f"{at}_patterns": patterns}


def _pattern(value: str) -> str:
    """For LIKE, in which `*` is any text and nothing else means anything."""
    return value.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_").replace("*", "%")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which runs a list shows. `after` is the cursor: created_at and id of the last one that was seen.

    Runs that send webhooks are not the shop's own: a filter has to name their workflow, queue, key, source or parent.
    """

    status: Sequence[str] = ()
    workflow: str | None = None
    queue: str | None = None
    concurrency_key: str | None = None
    source: str | None = None
    tag: str | None = None
    parent_id: UUID | None = None
    ids: Sequence[UUID] = ()
    id_between: tuple[UUID, UUID] | None = None  # both of them included
    created_from: datetime | None = None
    created_to: datetime | None = None
    terms: Sequence[Term] = ()
    after: tuple[datetime, UUID] | None = field(default=None)

    def where(self) -> tuple[str, Row]:
        """The condition in SQL, and its values."""
        conditions = {
            "status = any (%(status)s)": list(self.status) or None,
            "workflow = %(workflow)s": self.workflow,
            "queue = %(queue)s": self.queue,
            "concurrency_key = %(concurrency_key)s and concurrency_key <> ''": self.concurrency_key,
            "source = %(source)s": self.source,
            "tags @> array[%(tag)s]::text[] and tags <> '{}'": self.tag,
            "parent_id = %(parent_id)s": self.parent_id,
            "id = any (%(ids)s::uuid[])": [str(id) for id in self.ids] or None,
            "id between %(id_first)s and %(id_last)s": self.id_between,
            "created_at >= %(created_from)s": self.created_from,
            "created_at < %(created_to)s": self.created_to,
            "(created_at, id) < (%(after_at)s, %(after_id)s)": self.after,
        }
        told = [condition for condition, value in conditions.items() if value is not None]
        (after_at, after_id), (id_first, id_last) = self.after or (None, None), self.id_between or (None, None)
        values: Row = {name: getattr(self, name) for name in _FILTERED} | {
            "status": list(self.status), "ids": [str(id) for id in self.ids], "after_at": after_at,
            "after_id": after_id, "id_first": id_first, "id_last": id_last,
        }  # fmt: skip
        for place, term in enumerate(self.terms):
            condition, more = term.where(f"term{place}")
            told.append(condition)
            values |= more
        named = (self.workflow, self.queue, self.concurrency_key, self.source, self.parent_id, self.ids)
        if not any(named) and not any(term.name in _TELLING for term in self.terms):
            told.append(f"workflow <> '{OUTBOUND}'")
        return " and ".join(told) or "true", values

    @property
    def is_open(self) -> bool:
        """Whether it narrows nothing but moments."""
        return self == Filter(created_from=self.created_from, created_to=self.created_to, after=self.after)


_TELLING = ("workflow", "queue", "concurrency_key", "source")  # terms that may mean runs of the engine's own
_NOT_COMPLETED = tuple(each for each in status.STATUSES if each != status.COMPLETED)
_FILTERED = (
    "workflow", "queue", "concurrency_key", "source", "tag", "parent_id", "created_from", "created_to",
)  # fmt: skip


def start(db: Executor, new: Sequence[NewRun], parent_epoch: int = 0) -> list[RunRow]:
    """Starts many runs in one statement; children with the checkpoints of their parent, held at `parent_epoch`.

    Left out: those that are there already (same idempotency key, same step of a parent); all children, where their
    parent was lost or is to be cancelled; all, where a queue takes none.
    """
    return many(db, SQL.start, runs=_json(new), parent_epoch=parent_epoch)


def debounce(db: Executor, new: NewRun) -> RunRow | None:
    """Starts the run, or returns the one that stands for its debounce key. None: its queue takes none."""
    return one(db, SQL.debounce, runs=_json([new]))


def lock_key(transaction: Executor, queue: str, concurrency_key: str) -> None:
    """Until the end of the transaction nobody else starts a run of this key."""
    transaction.all(SQL.lock_key, queue=queue, concurrency_key=concurrency_key)


def live_of_key(db: Executor, queue: str, concurrency_key: str) -> list[RunRow]:
    """The exclusive runs of a key that have not ended, oldest first."""
    return many(db, SQL.live_of_key, queue=queue, concurrency_key=concurrency_key)


class Claim(NamedTuple):
    """What a process of a worker says when it takes a queued run. `epoch` is that of the offer, None for any."""

    id: UUID
    worker_id: UUID
    worker_pid: int
    version: str
    epoch: int | None


class Claimed(NamedTuple):
    """A run that a process of a worker holds, and whether it has checkpoints."""

    run: RunRow
    has_steps: bool


def claim(
    db: Executor, id: UUID, *, worker_id: UUID, worker_pid: int, version: str, epoch: int | None
) -> Claimed | None:
    """Takes a queued run. `epoch` is that of the offer, None for any."""
    row = db.one(SQL.claim, claim_id=id, worker_id=worker_id, worker_pid=worker_pid, version=version, claim_epoch=epoch)
    return _claimed(row) if row else None


def complete(db: Executor, id: UUID, epoch: int, output: str, is_ignored: bool = False) -> RunRow | None:
    """Ends it with its result. `is_ignored`: it has none, and what its end was to start is not started."""
    return one(db, SQL.complete, id=id, epoch=epoch, output=output, is_ignored=is_ignored)


def complete_and_claim(
    db: Executor, id: UUID, epoch: int, output: str, is_ignored: bool, claim: Claim
) -> tuple[RunRow | None, Claimed | None]:
    """Ends a run with its result and takes another one, in one commit. Either may be refused without the other."""
    rows = db.all(
        SQL.complete_and_claim,
        id=id,
        epoch=epoch,
        output=output,
        is_ignored=is_ignored,
        claim_id=claim.id,
        worker_id=claim.worker_id,
        worker_pid=claim.worker_pid,
        version=claim.version,
        claim_epoch=claim.epoch,
    )
    found = {row["id"]: row for row in rows}
    completed, claimed = found.get(id), found.get(claim.id)
    return RunRow.of(completed) if completed else None, _claimed(claimed) if claimed else None


def _claimed(row: Row) -> Claimed:
    return Claimed(RunRow.of(row), row["has_steps"])


def fail(db: Executor, id: UUID, epoch: int, error: str, cause: str, misfit_epoch: int | None = None) -> RunRow | None:
    """Ends it as failed. `misfit_epoch`: its code does not fit what was recorded up to there."""
    return one(db, SQL.fail, id=id, epoch=epoch, error=error, cause=cause, misfit_epoch=misfit_epoch)


def postpone(  # each of these is a column or a guard of the one statement
    db: Executor,
    id: UUID,
    epoch: int,
    *,
    error: str,
    cause: str,
    delay_seconds: float,
    next_attempt: int,
    has_cleanup: bool = False,
    is_cleanup: bool = False,
    payload: str | None = None,
) -> RunRow | None:
    """Tries it again later, from the step that `error` names. A run that is to end only where `is_cleanup`.
    `payload`: with other arguments."""
    return one(
        db,
        SQL.postpone,
        id=id,
        epoch=epoch,
        error=error,
        cause=cause,
        delay_seconds=delay_seconds,
        next_attempt=next_attempt,
        has_cleanup=has_cleanup,
        is_cleanup=is_cleanup,
        payload=payload,
    )


def suspend(
    db: Executor,
    id: UUID,
    epoch: int,
    *,
    key: str,
    seq: int,
    name: str,
    cause: str,
    delay_seconds: float | None,
    wake_at: datetime | None,
    has_cleanup: bool = False,
    is_optional: bool = False,
) -> RunRow | None:
    """Suspends it for a sleep, which is a checkpoint as well."""
    return one(
        db,
        SQL.suspend,
        id=id,
        epoch=epoch,
        key=key,
        seq=seq,
        name=name,
        cause=cause,
        delay_seconds=delay_seconds,
        wake_at=wake_at,
        has_cleanup=has_cleanup,
        is_optional=is_optional,
    )


def hand_off(db: Executor, id: UUID, epoch: int, cause: str, has_cleanup: bool = False) -> RunRow | None:
    """Queues it again, from its last checkpoint."""
    return one(db, SQL.hand_off, id=id, epoch=epoch, cause=cause, has_cleanup=has_cleanup)


def condemn(db: Executor, id: UUID, epoch: int, error: str, cause: str) -> RunRow | None:
    """From now on it can end in no other way than failed. None: that is so already, or it is someone else's."""
    return one(db, SQL.condemn, id=id, epoch=epoch, error=error, cause=cause)


def conclude(db: Executor, id: UUID, epoch: int, *, is_clean: bool, error: str | None = None) -> RunRow | None:
    """Ends a run that was to end. None: it was not, or it has to clean up first and `is_clean` is false."""
    return one(db, SQL.conclude, id=id, epoch=epoch, is_clean=is_clean, error=error)


def requeue(
    db: Executor, worker_id: UUID, cause: str, worker_pid: int | None = None, id: UUID | None = None
) -> list[RunRow]:
    """The runs of a lost worker, or of its process `worker_pid`, or its run `id`: queued again, or ended (at most BATCH
    at a time)."""
    return many(db, SQL.requeue, worker_id=worker_id, worker_pid=worker_pid, id=id, cause=cause, limit=BATCH)


def fail_overdue(db: Executor, worker_id: UUID, worker_pid: int, error: str) -> list[RunRow]:
    """Fails what a process executed that was killed for the hard time limit of a task."""
    return many(db, SQL.fail_overdue, worker_id=worker_id, worker_pid=worker_pid, error=error)


def edit_metadata(
    db: Executor, id: UUID, epoch: int, *, target: str, operation: str, key: str, value: str, seq: int | None
) -> bool:
    """Edits published values of the run, its "parent" or "root". Raises Superseded, and ValueError for a value of the
    wrong kind. False: this edit, the `seq`th of the run's function, was made before."""
    row = db.one(
        SQL.edit_metadata,
        id=id,
        epoch=epoch,
        target=target,
        operation=operation,
        key=key,
        value=value,
        seq=seq,
    )
    if row is None:
        raise Superseded(f"{public('run', id)} is no longer held at epoch {epoch}: metadata {key!r} is not changed")
    return bool(row["is_first"])


def wake(db: Executor, now: datetime | None = None) -> list[RunRow]:
    return many(db, SQL.wake, now=now, limit=BATCH)


def expire(db: Executor, now: datetime | None = None) -> list[RunRow]:
    return many(db, SQL.expire, now=now, limit=BATCH)


def time_out(db: Executor, now: datetime | None = None) -> list[RunRow]:
    """Ends those that took longer than their max_duration, and asks those that are running or have to clean up."""
    return many(db, SQL.time_out, now=now, limit=BATCH)


def terminate_overdue(db: Executor, grace_seconds: float, now: datetime | None = None) -> list[RunRow]:
    """Has those terminated that were asked to end for their max_duration, and did not within `grace_seconds`."""
    return many(db, SQL.terminate_overdue, grace_seconds=grace_seconds, now=now)


def to_be_terminated(db: Executor, worker_id: UUID) -> list[RunRow]:
    """What this worker executes and is to kill."""
    return many(db, SQL.to_be_terminated, worker_id=worker_id)


def get(db: Executor, id: UUID) -> RunRow | None:
    return one(db, SQL.get, id=id)


def of_idempotency_key(db: Executor, scope: str, key: str) -> tuple[RunRow, bool] | None:
    """The run that holds the key, and whether its time to hold it is over."""
    row = db.one(SQL.of_idempotency_key, scope=scope, idempotency_key=key)
    return (RunRow.of(row), bool(row["is_over"])) if row else None


def free_idempotency_key(db: Executor, id: UUID) -> None:
    db.all(SQL.free_idempotency_key, id=id)


def of_parent_step(db: Executor, parent_id: UUID, parent_step: str) -> RunRow | None:
    return one(db, SQL.of_parent_step, parent_id=parent_id, parent_step=parent_step)


def of_source(db: Executor, source: str, source_id: str) -> list[RunRow]:
    """The runs that came from there, e.g. the hooks of a run."""
    return many(db, SQL.of_source, source=source, source_id=source_id)


def neighbours(db: Executor, run: RunRow) -> tuple[RunRow | None, RunRow | None]:
    """The runs beside it in the list of its workflow: the newer one, and the older one."""
    rows = db.all(SQL.neighbours, workflow=run.workflow, created_at=run.created_at, id=run.id)
    beside = {row["is_newer"]: RunRow.of(row) for row in rows}
    return beside.get(True), beside.get(False)


def history(db: Executor, id: UUID) -> list[Row]:
    return db.all(SQL.history, id=id)


def find(db: Executor, filter: Filter, limit: int) -> list[RunRow]:
    """One page of a list, newest first. Each status has an order of its own in the index: several are merged."""
    has_error = any(term.name == "error" and not term.is_negated for term in filter.terms)
    statuses = filter.status or (_NOT_COMPLETED if has_error else ())
    parts = [replace(filter, status=(each,)) for each in statuses] or [filter]
    _, values = filter.where()
    newest = [
        f"(select id, created_at from celeriac.runs where {_literal(part)} "
        "order by created_at desc, id desc limit %(limit)s)"
        for part in parts
    ]
    return many(
        db,
        f"select r.* from (select id from ({' union all '.join(newest)}) as newest "
        "order by created_at desc, id desc limit %(limit)s) as found "
        "join celeriac.runs as r on r.id = found.id order by r.created_at desc, r.id desc",
        limit=limit,
        **values,
    )


def count(db: Executor, filter: Filter, limit: int) -> int:
    """How many there are, counted up to `limit`."""
    where, values = filter.where()
    row = db.one(
        f"select count(*) as runs from (select from celeriac.runs where {where} limit %(limit)s) as found",
        limit=limit,
        **values,
    )
    return row["runs"] if row else 0


def _literal(filter: Filter) -> str:
    """Its condition, in which one status stands as it is: only then does the planner see that a partial index fits."""
    where, _ = filter.where()
    (only,) = filter.status if len(filter.status) == 1 else ("",)
    return where.replace("status = any (%(status)s)", f"status = '{only}'") if only in status.STATUSES else where


def _json(new: Sequence[NewRun]) -> str:
    members = [{name: getattr(run, name) for name in _MEMBERS} for run in new]  # asdict() copies every value deeply
    return json.dumps(members, default=str)


def one(db: Executor, statement: str, /, **values: Any) -> RunRow | None:
    """The run that a statement returns."""
    row = db.one(statement, **values)
    return RunRow.of(row) if row else None


def many(db: Executor, statement: str, /, **values: Any) -> list[RunRow]:
    """The runs that a statement returns."""
    return [RunRow.of(row) for row in db.all(statement, **values)]
