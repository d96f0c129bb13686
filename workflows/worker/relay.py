"""The relay: where a slot of a worker goes on with another run, one statement ends the one and claims the other.

For that the slot in Redis is passed on when the code of the run has ended, and before that is written down: else it
would not be known yet who is next. Nobody starts earlier by it than by a commit that ends this run, but for those who
got a slot besides.
"""

from typing import TYPE_CHECKING, Self
from uuid import UUID

from ...state import runs
from ...state.database import Database
from ...state.runs import Claimed, RunRow
from .. import registry
from ..dispatch.buckets import PassedOn, Ticket
from ..engine.executor import settle
from ..engine.outcome import Completed
from ..errors import StateUnavailable
from .claiming import claim_of, own_claim
from .process import WorkerProcess
from .tail import choose, go_on_with, goes_on

if TYPE_CHECKING:
    from ..application import Celeriac


class Relay:
    """The end of one run, in a slot that goes on with another one. `others` got a slot, too: to be published."""

    def __init__(self, durable: "Celeriac", worker: WorkerProcess, passed_on: PassedOn):
        self._durable, self._worker, self._is_awaited = durable, worker, passed_on.is_awaited
        self._next, self.others = choose(durable, passed_on.tickets)
        self._claimed: Claimed | None = None
        self._is_answer_lost = False

    @classmethod
    def begun(cls, durable: "Celeriac", worker: WorkerProcess, run: RunRow, ticket: Ticket) -> Self | None:
        """Passes the slot of this run on. None: this slot does not go on, or Redis does not answer."""
        passed_on = durable.dispatcher.pass_on(run, ticket) if goes_on(durable) else None
        return cls(durable, worker, passed_on) if passed_on else None

    def settle(self, run: RunRow, outcome: Completed) -> RunRow | None:
        """Writes the outcome down, and takes the next run for this slot."""
        if self._next is None:
            return settle(self._durable.database, run, outcome)
        claim = claim_of(self._worker, registry.get(self._next.workflow), self._next.run_id, self._next.epoch)

        def complete(database: Database, id: UUID, epoch: int, output: str, is_ignored: bool) -> RunRow | None:
            try:
                completed, claimed = runs.complete_and_claim(database, id, epoch, output, is_ignored, claim)
                self._claimed = claimed or (
                    own_claim(self._durable, self._worker, claim) if self._is_answer_lost else None
                )
            except StateUnavailable:
                self._is_answer_lost = True
                raise
            return completed

        settled = settle(self._durable.database, run, outcome, complete)
        go_on_with(self._next, self._claimed)
        return settled

    def move_on(self, settled: RunRow) -> list[Ticket]:
        """Tells of the end, and returns who got a slot and is to be published."""
        return [*self.others, *self._durable.dispatcher.tell_of(settled, self._is_awaited)]
