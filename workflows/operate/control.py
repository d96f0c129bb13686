"""What an operator does with a queue: pause it, drain it, change its limits, at run time and for every process."""

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from ...state import queues
from ...state.database import Revisions
from ...state.errors import RevisionConflict, StateUnavailable
from ...state.queues import QueueRow
from ..declaration import unknown_queue
from ..dispatch.buckets import RedisUnavailable
from ..errors import UsageError
from ..queue import MEMBERS, Limits

if TYPE_CHECKING:
    from ..application import Celeriac

log = logging.getLogger(__name__)


class QueueControl:
    """One queue: `durable.queue("crm").pause(actor="ada", note="the CRM is down")`.

    Each change is committed in Postgres, with actor and note in the queue's history, and told to Redis at once; where
    Redis is away beat tells it. Each returns the queue as it is then. All raise UnknownQueue and StateUnavailable.

    With `revisions` it changes the queue only while that is at one of these (`row.revision`), so that nobody overwrites
    what another one changed meanwhile; else it raises RevisionConflict.
    """

    def __init__(self, durable: "Celeriac", name: str, revisions: Revisions = None):
        self._durable, self.name, self._revisions = durable, name, revisions

    def __repr__(self) -> str:
        return f"<queue {self.name}>"

    @property
    def row(self) -> QueueRow:
        """The queue as it is: limits, overrides, whether it is paused, and the slots that live workers offer."""
        row = queues.get(self._durable.database, self.name, self._durable.settings.deaf_seconds)
        return self._known(row)

    def pause(self, actor: str | None = None, note: str | None = None) -> QueueRow:
        """Nothing of it starts any more, not even what a worker has a message for. What runs goes on."""
        return self._change(queues.pause, actor, note)

    def resume(self, actor: str | None = None, note: str | None = None) -> QueueRow:
        """Ends a pause, and a drain."""
        return self._change(queues.resume, actor, note)

    def drain(self, actor: str | None = None, note: str | None = None) -> QueueRow:
        """It takes no new runs, triggers raise QueueDraining; those it has are worked off."""
        return self._change(queues.drain, actor, note)

    def limit(self, actor: str | None = None, note: str | None = None, **limits: Any) -> QueueRow:
        """Overrides limits of the code, by the names of `Queue`: `limit(concurrency=20, rate=None)`; None is no limit.

        They survive deploys, until `reset`. Raises UsageError for a name that is no limit, and values that cannot be.
        """
        if not limits:
            raise UsageError(f"which limit of queue {self.name!r}? Known are {', '.join(MEMBERS)}")
        Limits.checked(limits)
        return self._change(partial(queues.limit, overrides=limits), actor, note)

    def reset(self, *members: str, actor: str | None = None, note: str | None = None) -> QueueRow:
        """What the code says holds again: for these limits, or for all. Raises UsageError for a name that is none."""
        Limits.checked(dict.fromkeys(members))
        return self._change(partial(queues.reset, members=members or None), actor, note)

    def history(self) -> list[dict[str, Any]]:
        """Its changes, newest first: at, action, actor, note, limits (JSON text of those that held from then on)."""
        found = queues.history(self._durable.database, self.name)
        return found or [] if self.row else []

    def _change(self, verb: Callable[..., QueueRow | None], actor: str | None, note: str | None) -> QueueRow:
        row = verb(self._durable.database, self.name, actor=actor, note=note, revisions=self._revisions)
        if row is None:
            raise RevisionConflict(
                f"queue {self.name!r} was changed since you looked at it: nothing was changed, look at it again",
                self.row.revision,
            )
        self._durable.database.after_commit(self._tell)
        return row

    def _tell(self) -> None:
        try:
            self._durable.dispatcher.configure(self.name)
        except (RedisUnavailable, StateUnavailable) as error:
            log.warning("queue %s is changed, beat tells Redis: %s", self.name, error)

    def _known(self, row: QueueRow | None) -> QueueRow:
        if row is None:
            raise unknown_queue(self._durable, self.name)
        return row
