"""The attempts of a run, made from its history: each with its executions, and the error that ended it.

An attempt is one try by the run's retry policy. It may take several executions: after a sleep, a wait, a lost worker or
a deploy the next worker goes on with the same attempt.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from uuid import UUID

from ...state import status
from ...state.database import Row
from ...state.runs import RunRow


@dataclass(frozen=True, slots=True)
class Execution:
    """A worker held the run, from its claim to the move that ended that. `finished_at` None: it holds it now."""

    epoch: int
    worker_id: UUID | None
    started_at: datetime
    finished_at: datetime | None
    to_status: str | None
    cause: str | None
    error: str | None  # JSON text


@dataclass(frozen=True, slots=True)
class Attempt:
    """`status` is failed where another attempt came after it; that of the run for the last one."""

    number: int
    status: str
    started_at: datetime | None
    finished_at: datetime | None
    error: str | None  # JSON text
    executions: list[Execution]


def attempts(run: RunRow, history: Sequence[Row]) -> list[Attempt]:
    """In their order, the one that goes on last. `history` in its order."""
    grouped = {number: list(moves) for number, moves in groupby(history, key=lambda row: row["attempt"])}
    grouped.setdefault(run.attempt, [])  # queued again, and not claimed yet
    return [_attempt(number, moves, run) for number, moves in grouped.items()]


def _attempt(number: int, moves: Sequence[Row], run: RunRow) -> Attempt:
    executions = list(_executions(moves))
    is_last = number == run.attempt
    is_over = not is_last or run.is_final
    ended = next((row for row in reversed(moves) if _ends(row)), None) if is_over else None
    return Attempt(
        number=number,
        status=run.status if is_last else _status(ended),
        started_at=executions[0].started_at if executions else None,
        finished_at=ended["at"] if ended else None,
        error=ended["error"] if ended else None,
        executions=executions,
    )


def _ends(move: Row) -> bool:
    """Whether an attempt can have ended with it."""
    return move["from_status"] == status.RUNNING or move["to_status"] in status.FINAL


def _status(ended: Row | None) -> str:
    return ended["to_status"] if ended and ended["to_status"] in status.FINAL else status.FAILED


def _executions(moves: Iterable[Row]) -> Iterable[Execution]:
    claim: Row | None = None
    for move in moves:
        if move["to_status"] == status.RUNNING:
            claim = move
        elif move["from_status"] == status.RUNNING and claim is not None:
            yield Execution(
                claim["epoch"], claim["worker_id"], claim["at"], move["at"], move["to_status"], move["cause"],
                move["error"],
            )  # fmt: skip
            claim = None
    if claim is not None:
        yield Execution(claim["epoch"], claim["worker_id"], claim["at"], None, None, None, None)
