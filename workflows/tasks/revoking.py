"""`app.control.revoke(id)`: for the id of a run it cancels the run, which outlives a restart of the workers."""

from typing import Any

from celery.app.control import Control
from kombu.utils.functional import maybe_list

from ...state import runs, status
from ...state.runs import RunRow
from .. import registry
from ..errors import StateUnavailable
from ..operate import repairs
from .calls import run_id

PLAIN_CONTROL = "celery.app.control:Control"
RUN_CONTROL = "celeriac.workflows.tasks.revoking:RunControl"


class RunControl(Control):
    """Celery's own, but that it knows runs. Ids of plain tasks go on to the workers, as ever."""

    app: Any

    def revoke(
        self, task_id: Any, destination: Any = None, terminate: bool = False, signal: Any = "SIGTERM", **options: Any
    ) -> Any:
        """Cancels those of these ids that are runs, and has workers revoke the others. `terminate`: at once."""
        durable, others = registry.maybe_of_app(self.app), []
        for each in maybe_list(task_id) or []:
            if durable is None or not revoke(durable, each, terminate):
                others.append(each)
        if others:
            return super().revoke(others, destination=destination, terminate=terminate, signal=signal, **options)
        return None


def revoke(durable: Any, task_id: str, terminate: bool) -> bool:
    """Whether this is the id of a run. It ends now, unless it is a task that is executed and not to be terminated: that
    goes on, as in Celery. Raises StateUnavailable for the id of a run alone."""
    id = run_id(task_id)
    try:
        row = runs.get(durable.database, id)
        if row is None or (row.status == status.RUNNING and not terminate and _is_task(row)):
            return row is not None or task_id.startswith("run_")
    except StateUnavailable:
        if task_id.startswith("run_"):
            raise
        return False
    repairs.cancel(durable, id, "celery revoke", terminate)
    return True


def _is_task(row: RunRow) -> bool:
    """Whether a run has no step at which it can be stopped."""
    known = registry.workflows().get(row.workflow)
    return known is None or known.is_task
