"""What the main process of a worker and its children share: who they are, and whether they shut down."""

import mmap
from dataclasses import dataclass, field
from uuid import UUID

from ...state.ids import new_id


@dataclass(frozen=True, slots=True)
class WorkerProcess:
    """Made in the main process before its pool, so that forked children have it too."""

    id: UUID = field(default_factory=new_id)
    _draining: mmap.mmap = field(default_factory=lambda: mmap.mmap(-1, 1))  # one byte that all of them see

    def drain(self) -> None:
        """From now on runs are handed off at their next checkpoint. Safe in a signal handler."""
        self._draining[0] = 1

    def is_draining(self) -> bool:
        return self._draining[0] == 1
