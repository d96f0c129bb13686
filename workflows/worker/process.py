"""What the main process of a worker and its children share: who they are, and whether they shut down."""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import UUID

from ...state.ids import new_id


@dataclass(frozen=True, slots=True)
class WorkerProcess:
    """Made in the main process before its pool, so that forked children have it too."""

    id: UUID = field(default_factory=new_id)
    executing: set[UUID] = field(default_factory=set)  # runs that this very process executes now
    left: set[str] = field(default_factory=set)  # lists of the broker that the main process consumed before a drain
    _draining: mmap.mmap = field(default_factory=lambda: mmap.mmap(-1, 1))  # one byte that all of them see

    @contextmanager
    def holding(self, run_id: UUID) -> Iterator[None]:
        """Within: this process executes the run."""
        self.executing.add(run_id)
        try:
            yield
        finally:
            self.executing.discard(run_id)

    def drain(self) -> None:
        """From now on runs are handed off at their next checkpoint. Safe in a signal handler."""
        self._draining[0] = 1

    def resume(self) -> None:
        """Ends a drain that is not the end of the worker."""
        self._draining[0] = 0

    def is_draining(self) -> bool:
        return self._draining[0] == 1
