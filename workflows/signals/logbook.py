"""The logs of runs on their way to Postgres: taken at once, written by a thread, many lines in one statement.

Nobody who says something waits, and nothing that goes wrong here is felt by a run. Where Postgres is away lines are
kept up to a bound; beyond they are dropped, counted, and their run's log says how many.
"""

import atexit
import json
import logging
import os
import threading
import time
import weakref
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from uuid import UUID

from ...state import logs, measures
from ...state.errors import StateUnavailable
from ...state.ids import public
from ...state.logs import NewLine
from ...state.runs import RunRow

if TYPE_CHECKING:
    from ..application import Celeriac

log = logging.getLogger(__name__)
T = TypeVar("T")

QUEUE_LIMIT = 10_000  # lines of one process that wait for Postgres
QUEUE_CHARACTERS = 16_000_000  # of them together: lines may be long
BATCH = 500  # lines in one statement
BATCH_CHARACTERS = 1_000_000
LINE_CHARACTERS = 200  # that a line has beside its message and its fields, about
PAUSE_SECONDS = 0.1  # between two statements, in which lines gather; the first of a quiet time is written at once
OUTAGE_SECONDS = 0.5  # between two tries while Postgres is away
FLUSH_SECONDS = 2.0  # that a process which ends waits for its last lines
RUNS_REMEMBERED = 1000  # whose size is known without asking
OWN = "celeriac.logbook"  # the logger of what is said about a log itself


class Fields(NamedTuple):
    """What a line has beside its message, as plain JSON values, and about how many characters that is."""

    values: dict[str, Any]
    characters: int


class _Taken(NamedTuple):
    line: NewLine
    fields: Fields | None
    characters: int


@dataclass(slots=True)
class _Size:
    """How much a run has said, as its execution `epoch` knows."""

    epoch: int
    bytes: int


class Logbook:
    """Takes lines of any run, from any thread. Safe across fork: a child begins with an empty one."""

    def __init__(self, durable: "Celeriac"):
        self._durable = durable
        self._renew()
        _logbooks.add(self)

    def add(self, line: NewLine, fields: Fields | None = None) -> None:
        """Takes a line, and its fields, which are encoded later. Never waits for Postgres, never raises."""
        characters = LINE_CHARACTERS + len(line.message) + (fields.characters if fields else 0)
        with self._lock:
            if len(self._lines) >= QUEUE_LIMIT or self._characters + characters > QUEUE_CHARACTERS:
                self._drop(line)
                return
            self._characters += characters
            self._lines.append(_Taken(line, fields, characters))
        if not self._has_lines.is_set():
            self._has_lines.set()
        if self._thread is None:
            self._begin()

    def note(self, run: RunRow, level: int, message: str) -> None:
        """Takes what the engine says about a run that this thread does not execute."""
        name = "celeriac"
        self.add(NewLine(None, run.id, run.workflow, None, run.attempt, None, run.epoch, level, name, message, None))

    def tell(self, logger: logging.Logger, level: int, run: RunRow, message: str) -> None:
        """Says something about a run in the log of this process, and in the log of the run."""
        logger.log(level, "%s %s", public("run", run.id), message)
        self.note(run, level, message)

    def without_secrets(self, text: str) -> str:
        """A text that is to be cut before it comes here: else a part of a secret could be left."""
        return self._durable.redaction.text(text)

    def hurry(self) -> None:
        """What was taken so far is written now rather than in a moment: an execution has ended."""
        if self._lines:
            self._hurried.set()

    def flush(self, timeout_seconds: float = FLUSH_SECONDS) -> bool:
        """Waits until all lines are written. False: they are not."""
        deadline = time.monotonic() + timeout_seconds
        while self._lines or self._is_writing or self._dropped:
            if self._thread is None or time.monotonic() > deadline:
                return False
            self._hurried.set()
            self._has_lines.set()
            self._rested.wait(0.01)
        return True

    def close(self) -> None:
        """Writes what is left, and ends the thread."""
        self.flush()
        self._is_closed = True
        self._has_lines.set()
        self._hurried.set()

    def _renew(self) -> None:
        """Everything that belongs to one process."""
        self._lines: deque[_Taken] = deque()
        self._characters = 0  # of them
        self._has_lines, self._hurried, self._rested = threading.Event(), threading.Event(), threading.Event()
        self._lock = threading.RLock()  # a signal handler, or what is collected meanwhile, may say something as well
        self._thread: threading.Thread | None = None
        self._dropped: dict[UUID, tuple[NewLine, int]] = {}  # the last line of a run that was, and how many were
        self._counts: Counter[tuple[str, str]] = Counter()  # of dropped lines, by workflow and reason
        self._sizes: OrderedDict[UUID, _Size] = OrderedDict()
        self._is_writing = self._is_closed = False

    def _begin(self) -> None:
        with self._lock:
            if self._thread is not None or self._is_closed:
                return
            thread = threading.Thread(target=self._serve, name="celeriac-logbook", daemon=True)
            with suppress(RuntimeError):  # the interpreter goes down, or has no thread left: the next line tries again
                thread.start()
                self._thread = thread

    def _drop(self, line: NewLine) -> None:
        with self._lock:
            _, count = self._dropped.get(line.run_id, (line, 0))
            self._dropped[line.run_id] = line, count + 1

    def _serve(self) -> None:
        while not self._is_closed:
            self._has_lines.wait()
            self._has_lines.clear()
            while (self._lines or self._dropped) and not self._is_closed:
                try:
                    self._write_some()
                except Exception:  # the thread must not end: nobody else would write
                    log.exception("lines of logs were lost")
                self._rested.set()
                self._rested.clear()
                if len(self._lines) < BATCH and self._characters < BATCH_CHARACTERS:
                    self._hurried.wait(PAUSE_SECONDS)
                    self._hurried.clear()

    def _write_some(self) -> None:
        self._is_writing = True
        try:
            batch = self._batch()
            # What was dropped came after all that was there.
            apologies = [] if self._lines else self._apologies()
            lines = [each for line in [*batch, *apologies] for each in self._fitted(line)]
            if lines:
                self._outlast(lambda: self._write(lines))
            self._write_counts()
        finally:
            self._is_writing = False

    def _batch(self) -> list[NewLine]:
        """The next lines, as they may be kept."""
        batch: list[NewLine] = []
        characters = 0
        while self._lines and len(batch) < BATCH and characters < BATCH_CHARACTERS:
            taken = self._lines.popleft()
            characters += taken.characters
            batch.append(self._cleared(taken.line, taken.fields))
        with self._lock:
            self._characters -= characters
        return batch

    def _write(self, lines: list[NewLine]) -> None:
        try:
            refused = logs.write(self._durable.database, lines)
        except StateUnavailable:
            raise
        except Exception:  # not for what a line holds: Postgres would refuse them again
            log.exception("%d lines of logs were refused, and are dropped", len(lines))
            self._counts.update((line.workflow, "refused") for line in lines)
        else:
            for line, why in refused:
                log.error("a line of the log of %s was refused, and is dropped: %s", public("run", line.run_id), why)
                self._counts[line.workflow, "refused"] += 1

    def _apologies(self) -> list[NewLine]:
        """A line for each run of which lines were dropped for want of room."""
        with self._lock:
            dropped, self._dropped = self._dropped, {}
        told = "of this run's log before this one were dropped: they came faster than Postgres took them"
        for line, count in dropped.values():
            self._counts[line.workflow, "no room"] += count
        return [_own(line, f"{count} line{'s' if count > 1 else ''} {told}") for line, count in dropped.values()]

    def _cleared(self, line: NewLine, fields: Fields | None) -> NewLine:
        """The line without secrets, and no longer than it may be."""
        hidden = self._durable.redaction
        limit = self._durable.settings.log_message_limit_characters
        text = json.dumps(hidden.within(fields.values)) if fields else None
        if text is not None and len(text) > limit:
            text = json.dumps({"cut": f"{text[:limit]}…"})
        message = hidden.text(line.message)
        if len(message) > limit:
            message = f"{message[:limit]}…"
        return line._replace(message=message, fields=text)

    def _fitted(self, line: NewLine) -> list[NewLine]:
        """The line with the size of its run's log; none where that is full, and a last one that says so."""
        size, limit = self._size_of(line), self._durable.settings.log_limit_bytes
        is_full = size.bytes > limit
        size.bytes += len(line.message.encode()) + len(line.fields or "")
        if size.bytes > limit:
            self._counts[line.workflow, "run limit"] += 1
            if is_full:
                return []
            line = _own(line, f"this log is full: it has its limit of {limit} bytes, and what follows is dropped")
        return [line._replace(run_bytes=size.bytes)]

    def _size_of(self, line: NewLine) -> _Size:
        size = self._sizes.get(line.run_id)
        if size is None or size.epoch != line.epoch:
            # A first execution knows that nothing was said before. What the engine notes may come from any process.
            is_first = line.epoch <= 1 and line.at is not None
            said = 0 if is_first else self._outlast(lambda: logs.size_of_run(self._durable.database, line.run_id)) or 0
            size = self._sizes[line.run_id] = _Size(line.epoch, max(said, size.bytes if size else 0))
            if len(self._sizes) > RUNS_REMEMBERED:
                self._sizes.popitem(last=False)
        return size

    def _write_counts(self) -> None:
        counts, self._counts = self._counts, Counter()
        for (workflow, reason), count in counts.items():
            add = partial(measures.add, self._durable.database, "log_lines_dropped", workflow, reason, count)
            self._outlast(add)

    def _outlast(self, act: Callable[[], T]) -> T | None:
        """What `act` returns, once Postgres answers; None where this process ends before."""
        is_first = True
        while not self._is_closed:
            try:
                return act()
            except StateUnavailable as error:
                if is_first:
                    log.warning("the logs of runs wait for Postgres: %s", error)
                is_first = False
                threading.Event().wait(OUTAGE_SECONDS)
        return None


def _own(line: NewLine, message: str) -> NewLine:
    """What is said about a log itself, in the place of a line."""
    return line._replace(level=logging.WARNING, logger=OWN, message=message, fields=None)


_logbooks: "weakref.WeakSet[Logbook]" = weakref.WeakSet()


def _renew_all() -> None:
    # A child has neither the thread of its parent nor, if that had them locked, its locks; its lines are the parent's.
    for each in _logbooks:
        each._renew()


def _flush_all() -> None:
    for each in list(_logbooks):
        with suppress(Exception):  # the interpreter goes down
            each.flush()


os.register_at_fork(after_in_child=_renew_all)
atexit.register(_flush_all)
