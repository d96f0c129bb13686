"""What stands in for the parts of a Celeriac in the test kit: the database is memory, and there is nobody to tell."""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from typing import Any
from uuid import UUID

from celery import Celery

from ...state.ids import public
from ...state.runs import RunRow
from ..application import Celeriac
from ..dispatch.buckets import Hear, Ticket
from ..dispatch.dispatcher import Dispatcher
from ..errors import UsageError
from ..run import Run
from ..settings import Settings
from ..signals.code_spans import CodeSpans
from ..signals.logbook import Logbook
from ..tasks.results import RunBackend
from .memory import INSTEAD, Memory

log = logging.getLogger(__name__)


class InlineCeleriac(Celeriac):
    """With nobody to tell, and the tasks of the shop's `app`, where it has one. `finish` executes a run to its end."""

    def __init__(self, app: Celery | None, memory: Memory, settings: Settings, finish: Callable[[UUID], object]):
        self._memory, self._settings, self._finish = memory, settings, finish
        super().__init__(Celery("inline", set_as_current=False))
        self.app = app or self.app  # which Celeriac is installed in already

    def bind(self, workflow: Any) -> None:
        """Nothing executes a workflow here as the task of an app."""

    @cached_property
    def settings(self) -> Settings:
        return self._settings

    @cached_property
    def database(self) -> Memory:
        return self._memory

    @cached_property
    def dispatcher(self) -> Dispatcher:
        return _NoQueues(self._finish)

    @cached_property
    def logbook(self) -> Logbook:
        return _NoLogbook()

    @cached_property
    def code_spans(self) -> CodeSpans:
        return _NoSpans(self)

    @cached_property
    def results(self) -> RunBackend:
        return _InMemory(self.app)

    def start(self, workflow: Any, payload_: Any, options: Any, source: Any = None) -> Run:
        if options.get("session") is not None:
            raise UsageError(f"a trigger with session= is part of a transaction in Postgres: {INSTEAD}")
        return super().start(workflow, payload_, options, source)


class _InMemory(RunBackend):
    """The app's own result backend is left alone."""

    _plain = None


class _NoQueues(Dispatcher):
    """In memory a queued row is all it takes."""

    def __init__(self, finish: Callable[[UUID], object]):
        self._finish = finish

    def offer(self, queued: Any) -> None:
        pass

    def release(self, queue: str, ticket: Ticket, ended: UUID | None = None) -> None:
        pass

    def move_on(self, run: RunRow, ticket: Ticket) -> list[Ticket]:
        return []

    def give_back(self, run: RunRow) -> None:
        pass

    def withdraw(self, run: RunRow) -> None:
        pass

    def withhold(self, run: RunRow) -> None:
        pass

    def listen(self, run_id: UUID) -> AbstractContextManager[Hear]:
        return self._executing(run_id)

    def close(self) -> None:
        pass

    @contextmanager
    def _executing(self, run_id: UUID) -> Iterator[Hear]:
        """Who waits for the end of a run is the one who brings it about."""

        def hear(seconds: float) -> str:
            self._finish(run_id)
            return ""

        yield hear


class _NoLogbook(Logbook):
    """What is said about a run goes to the log of this process alone."""

    def __init__(self) -> None:
        pass

    def note(self, run: RunRow, level: int, message: str) -> None:
        log.log(level, "%s %s", public("run", run.id), message)

    def tell(self, logger: logging.Logger, level: int, run: RunRow, message: str) -> None:
        logger.log(level, "%s %s", public("run", run.id), message)

    def hurry(self) -> None:
        pass

    def close(self) -> None:
        pass


class _NoSpans(CodeSpans):
    """Spans of the shop's code go where the shop sends them."""

    def watch(self) -> None:
        pass

    def write(self, run: RunRow) -> None:
        pass
