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


class Asked(NamedTuple):
    """What was asked of a run while it executed."""

    is_to_end: bool
    is_paused: bool


def record(db: Executor, run_id: UUID, epoch: int, checkpoint: Checkpoint) -> Asked:
    """Writes a checkpoint, first one wins, and returns what was asked of the run meanwhile.

    Repeating it after a lost answer is harmless. Raises Superseded when the run is no longer held at this epoch.
    """
    row = db.one(SQL.record, run_id=run_id, epoch=epoch, **{name: getattr(checkpoint, name) for name in _MEMBERS})
    if row is None:
        raise Superseded(f"{public('run', run_id)} is no longer held at epoch {epoch}: step {checkpoint.key!r} unsaved")
    return Asked(row["is_to_end"], row["is_paused"])


def of_run(db: Executor, run_id: UUID) -> list[StepRow]:
    return [StepRow.of(row) for row in db.all(SQL.of_run, run_id=run_id)]
