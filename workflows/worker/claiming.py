"""How a process of a worker takes a run, and how it gives up one that it cannot execute."""

import logging
import os
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ...state import runs, status
from ...state.runs import Claim, Claimed, RunRow
from ..engine.execution import outlast
from ..errors import StateUnavailable
from .process import WorkerProcess

if TYPE_CHECKING:
    from ..application import Celeriac
    from ..workflow import Workflow

log = logging.getLogger(__name__)


def claim_of(worker: WorkerProcess, workflow: "Workflow[..., Any]", run_id: UUID, epoch: int) -> Claim:
    """What this process says when it takes a run that was queued at this epoch."""
    return Claim(id=run_id, epoch=epoch, version=workflow.version, worker_id=worker.id, worker_pid=os.getpid())


def claim(durable: "Celeriac", worker: WorkerProcess, claim: Claim) -> Claimed | None:
    """Takes the run, however long Postgres is away: a claim whose answer was lost may have made this process its
    holder."""
    is_answer_lost = False

    def ask() -> Claimed | None:
        nonlocal is_answer_lost
        try:
            claimed = runs.claim(durable.database, **claim._asdict())
            return claimed or (own_claim(durable, worker, claim) if is_answer_lost else None)
        except StateUnavailable:
            is_answer_lost = True
            raise

    return outlast(ask, f"the claim of run_{claim.id.hex}")


def own_claim(durable: "Celeriac", worker: WorkerProcess, claim: Claim) -> Claimed | None:
    """The run, where this process holds it and does not know, because the answer to its claim was lost."""
    run = runs.get(durable.database, claim.id)
    if run is None or claim.epoch is None or claim.id in worker.executing:
        return None
    held = (status.RUNNING, claim.epoch + 1, claim.worker_id, claim.worker_pid)
    return Claimed(run, True) if (run.status, run.epoch, run.worker_id, run.worker_pid) == held else None


def give_up(durable: "Celeriac", worker: WorkerProcess, run: RunRow, cause: str) -> None:
    """This process holds the run and will not come to an outcome, as where a signal ends it. Should it live on, it
    would hold the run for ever; so the run counts as lost at once."""
    try:
        for lost in runs.requeue(durable.database, worker.id, cause, os.getpid(), run.id):
            durable.logbook.tell(log, logging.WARNING, lost, f"{cause}, and is {lost.status}")
            durable.dispatcher.take_back(lost)
    except StateUnavailable as unavailable:
        log.warning("run_%s is held until this process ends: %s", run.id.hex, unavailable)
