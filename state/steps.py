"""The checkpoints of a run: results and final errors of its steps, and what it waits for."""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from .database import Executor, Row
from .errors import Superseded
from .ids import public
from .queries import Queries

SQL = Queries("steps.sql")

RETRYING = "retrying"
WAITING = "waiting"
COMPLETED = "completed"
FAILED = "failed"


@dataclass(frozen=True, slots=True)
class StepRow:
    """One row of `celeriac.steps`. Output and error are JSON text."""

    run_id: UUID
    key: str
    seq: int
    name: str
    kind: str
    status: str
    output: str | None
    error: str | None
    attempts: int
    spent: int
    epoch: int
    wake_at: datetime | None
    child_id: UUID | None
    token_id: UUID | None
    topic: str | None  # of the event or message that it waits for
    is_compensable: bool
    is_optional: bool
    supplied_by: str | None
    started_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, row: Row) -> "StepRow":
        return cls(**{name: row[name] for name in _COLUMNS})


_COLUMNS = tuple(column.name for column in fields(StepRow))


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What became of one execution of a step's body."""

    key: str
    seq: int
    name: str
    status: str  # COMPLETED, FAILED, or RETRYING
    attempts: int
    duration_seconds: float
    kind: str = "step"  # or "transaction", "compensation", "patch"
    delay_seconds: float | None = None  # RETRYING: until its next attempt
    is_compensable: bool = False  # it can be undone
    is_optional: bool = False  # another attempt may not ask for it
    output: str | None = None
    error: str | None = None


_MEMBERS = tuple(member.name for member in fields(Checkpoint))


@dataclass(frozen=True, slots=True)
class StepLine(StepRow):
    """A step without its result, as a list shows it. `undone_status`: of the step that undoes it, if there is one."""

    output_bytes: int | None
    undone_status: str | None

    @classmethod
    def of(cls, row: Row) -> "StepLine":
        return cls(**{column.name: row[column.name] for column in fields(cls)})


class Place(NamedTuple):
    """Where in the order of a run's steps a list goes on. The default is before all."""

    seq: int = -1
    key: str = ""

    def __str__(self) -> str:
        return f"{self.seq}~{self.key}"


class Tally(NamedTuple):
    """The steps of a run, counted. `newest_change` is the number of the last change of the run."""

    steps: int
    failed: int
    replayed: int
    newest_change: int


class Share(NamedTuple):
    """Some steps: how many, and the first keys of them."""

    steps: int = 0
    keys: tuple[str, ...] = ()


class Outlook(NamedTuple):
    """What is kept of the steps that a run has recorded, and what is executed again."""

    kept: Share
    again: Share


class Asked(NamedTuple):
    """What was asked of a run while it executed. `is_first`: the checkpoint was written, and was not there before."""

    is_to_end: bool
    is_paused: bool
    is_first: bool = True


def record(db: Executor, run_id: UUID, epoch: int, checkpoint: Checkpoint) -> Asked:
    """Writes a checkpoint, first one wins, and returns what was asked of the run meanwhile.

    Repeating it after a lost answer is harmless. Raises Superseded when the run is no longer held at this epoch.
    """
    row = db.one(SQL.record, run_id=run_id, epoch=epoch, **{name: getattr(checkpoint, name) for name in _MEMBERS})
    if row is None:
        raise Superseded(f"{public('run', run_id)} is no longer held at epoch {epoch}: step {checkpoint.key!r} unsaved")
    return Asked(row["is_to_end"], row["is_paused"], row["is_first"])


def of_run(db: Executor, run_id: UUID) -> list[StepRow]:
    return [StepRow.of(row) for row in db.all(SQL.of_run, run_id=run_id)]


def one(db: Executor, run_id: UUID, key: str) -> StepRow | None:
    row = db.one(SQL.one, run_id=run_id, key=key)
    return StepRow.of(row) if row else None


def window(db: Executor, run_id: UUID, after: Place, limit: int, only_failed: bool = False) -> list[StepLine]:
    """At most `limit` steps after a place, without their results."""
    rows = db.all(
        SQL.window, run_id=run_id, after_seq=after.seq, after_key=after.key, limit=limit, only_failed=only_failed
    )
    return [StepLine.of(row) for row in rows]


def tally(db: Executor, run_id: UUID) -> Tally:
    row = db.one(SQL.tally, run_id=run_id)
    assert row is not None  # it is an aggregate
    return Tally(row["steps"], row["failed"], row["replayed"], row["newest_change"])


def outlook(db: Executor, run_id: UUID, key: str | None, *, is_fork: bool, shown: int = 6) -> Outlook:
    """What a fork from the step `key` keeps, or a retry of a run that failed in it."""
    rows = db.all(SQL.outlook, run_id=run_id, key=key or "", is_fork=is_fork, shown=shown)
    shares = {row["is_kept"]: Share(row["steps"], tuple(row["keys"])) for row in rows}
    return Outlook(shares.get(True, Share()), shares.get(False, Share()))


def outputs(db: Executor, run_id: UUID, limit: int, limit_bytes: int) -> list[Row]:
    """Results of completed steps as JSON text, with `key`, `name` and `kind`; None for one that is longer."""
    return db.all(SQL.outputs, run_id=run_id, limit=limit, bytes=limit_bytes)


def compared(db: Executor, a: UUID, b: UUID, after: Place, limit: int, limit_bytes: int) -> list[Row]:
    """The steps of two runs by their keys: members of the one begin with `a_`, of the other with `b_`."""
    return db.all(SQL.compared, a=a, b=b, after_seq=after.seq, after_key=after.key, limit=limit, bytes=limit_bytes)
