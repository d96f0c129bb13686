"""The relay: where a slot of a worker goes on with another run, one statement ends the one and claims the other.

For that the slot in Redis is passed on when the code of the run has ended, and before that is written down: else it
would not be known yet who is next. Nobody starts earlier by it than by a commit that ends this run, but for those who
got a slot besides.
"""

from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from ...state import runs
from ...state.database import Database
from ...state.runs import RunRow
from .. import registry
from ..dispatch.buckets import PassedOn, Ticket
from ..engine.executor import Complete, settle
from ..engine.outcome import Completed
from ..errors import StateUnavailable
from .claiming import claim_of, own_claim
from .process import WorkerProcess
from .tail import choose, go_on_with, goes_on

if TYPE_CHECKING:
    from ..application import Celeriac
    from ..workflow import Workflow


class Relay:
    """The end of one run, in a slot that goes on with another one. `others` got a slot, too: to be published."""

    def __init__(self, durable: "Celeriac", worker: WorkerProcess, passed_on: PassedOn):
        self._durable, self._worker, self._is_awaited = durable, worker, passed_on.is_awaited
        self._next, self.others = choose(durable, passed_on.tickets)

    @classmethod
    def begun(cls, durable: "Celeriac", worker: WorkerProcess, run: RunRow, ticket: Ticket) -> Self | None:
        """Passes the slot of this run on. None: this slot does not go on, or Redis does not answer."""
        passed_on = durable.dispatcher.pass_on(run, ticket) if goes_on(durable) else None
        return cls(durable, worker, passed_on) if passed_on else None

    def settle(self, run: RunRow, outcome: Completed) -> RunRow | None:
        """Writes the outcome down, and takes the next run for this slot. A task that is no durable one is claimed when
        its tracer is called, which knows it."""
        if self._next is None:
            return settle(self._durable.database, run, outcome)
        go_on_with(self._next)
        workflow = registry.workflows().get(self._next.workflow)
        if workflow is None:
            return settle(self._durable.database, run, outcome)
        return settle(self._durable.database, run, outcome, self._claiming(workflow, self._next))

    def move_on(self, settled: RunRow) -> list[Ticket]:
        """Tells of the end, and returns who got a slot and is to be published."""
        return [*self.others, *self._durable.dispatcher.tell_of(settled, self._is_awaited)]

    def _claiming(self, workflow: "Workflow[..., Any]", ticket: Ticket) -> Complete:
        """`runs.complete`, which claims this ticket's run besides."""
        claim, is_answer_lost = claim_of(self._worker, workflow, ticket.run_id, ticket.epoch), False

        def complete(database: Database, id: UUID, epoch: int, output: str, is_ignored: bool) -> RunRow | None:
            nonlocal is_answer_lost
            try:
                completed, claimed = runs.complete_and_claim(database, id, epoch, output, is_ignored, claim)
                if claimed is None and is_answer_lost:
                    claimed = own_claim(self._durable, self._worker, claim)
            except StateUnavailable:
                is_answer_lost = True
                raise
            go_on_with(ticket, claimed)
            return completed

        return complete
