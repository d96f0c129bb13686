"""What code says inside a run goes to the run's log: by Python's logging, and where it is set what it prints as well.

Which run that is, a context variable tells, so it holds in steps, parallel branches and `async def` steps alike. A
thread that the code starts itself has no run, unless it is started in a copy of the context.

A run that is executed again goes through its function from the top. What that says on the way to the place where it had
come before stands in the log already, and is left out.
"""

import io
import logging
import math
import sys
import threading
from collections.abc import Collection, Mapping
from typing import Any

from ...state.logs import NewLine
from ..engine.execution import Execution, current_execution
from ..engine.failure import words_of
from ..errors import UsageError
from .logbook import Fields, Logbook

OFF = "OFF"
NOT_OURS = ("celery.redirected",)  # Celery's own capture of stdout: see Printed
OVERLAP = 4096  # characters kept beyond the limit, so that a secret is found before a message is cut
DEPTH_LIMIT = 8  # of fields within fields
CUT = "…"
HIGHEST_LEVEL = 2**15 - 1  # that Postgres has room for
TASKS = "celery.task"  # above what get_task_logger() gives; in a worker Celery keeps it apart from the root logger
_FORMATTER = logging.Formatter()
_OWN_MEMBERS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class RunLog(logging.Handler):
    """The handler that Celeriac adds in a worker, where lines end on their way up. Outside of a run it does nothing."""

    def __init__(self, logbook: Logbook, level: int, limit_characters: int):
        super().__init__(level)
        self._logbook, self._limit, self._kept = logbook, limit_characters + OVERLAP, limit_characters

    def handle(self, record: logging.LogRecord) -> bool:
        """Without the lock of a handler: nothing here needs it, and threads need not wait for each other."""
        execution = current_execution()
        if execution is None or execution.is_replaying or record.name in NOT_OURS:
            return True
        try:
            message, fields = self._message(record), self._fields(record)
        except Exception as error:  # whatever it is, it must not be felt by the run
            message, fields = f"what {record.name} said could not be kept: {words_of(error)}", None
        self._logbook.add(_line(execution, record.levelno, _clean(record.name), message), fields)
        return True

    def _message(self, record: logging.LogRecord) -> str:
        try:
            message = record.getMessage()
        except Exception as error:  # arguments that do not fit, or an object that cannot be printed: not the run's end
            message = f"{record.msg!r} could not be formatted: {words_of(error)}"
        if record.exc_info:
            record.exc_text = record.exc_text or _FORMATTER.formatException(record.exc_info)
        for more in (record.exc_text, record.stack_info):
            message = f"{message}\n{more}" if more else message
        if record.exc_text and len(message) > self._kept:  # its last line is the one that says what was wrong
            message = _both_ends(self._logbook.without_secrets(message), self._kept)
        return _clean(message[: self._limit])

    def _fields(self, record: logging.LogRecord) -> Fields | None:
        extra = record.__dict__.keys() - _OWN_MEMBERS
        if not extra:
            return None
        taking = _Plain(self._limit)
        values = taking.of({name: record.__dict__[name] for name in sorted(extra)}, DEPTH_LIMIT)
        return Fields(values, self._limit - taking.room)


class Printed(io.TextIOBase):
    """stdout or stderr: everything goes on to where it went, and whole lines of a run to its log."""

    def __init__(self, original: Any, name: str, level: int, logbook: Logbook, limit_characters: int):
        self._original, self._name, self._level, self._logbook = original, name, level, logbook
        self._limit = limit_characters + OVERLAP
        self._begun = threading.local()  # the execution and the line that this thread has begun

    def write(self, text: str) -> int:
        written = self._original.write(text)
        execution = current_execution()
        if execution is not None and not execution.is_replaying:
            self._take(execution, text)
        return len(text) if written is None else int(written)

    def flush(self) -> None:
        self._original.flush()

    def isatty(self) -> bool:
        return bool(self._original.isatty())

    def fileno(self) -> int:
        return int(self._original.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)

    def _take(self, execution: Execution, text: str) -> None:
        begun: tuple[Execution, str] | None = getattr(self._begun, "line", None)
        *lines, rest = ((begun[1] if begun and begun[0] is execution else "") + text).split("\n")
        for line in lines:
            if line.strip():
                message = _clean(line[: self._limit])
                self._logbook.add(_line(execution, self._level, self._name, message))
        self._begun.line = (execution, rest[: self._limit])


def install(logbook: Logbook, *, level: str, captures_stdout: bool, limit_characters: int) -> None:
    """Makes this process keep what its runs say. Safe to repeat.

    Where the worker's own level is higher it is lowered for the loggers, and kept for the handlers that are there: the
    console says what it said before.
    """
    if level.upper() == OFF:
        return
    number, root = level_of(level), logging.getLogger()
    for logger in (root, *_apart()):
        if any(isinstance(each, RunLog) for each in logger.handlers):
            continue
        if logger is root or logger.name == TASKS:  # others have the level that the shop gave them
            for handler in logger.handlers:
                handler.setLevel(max(handler.level, logger.level))
            logger.setLevel(min(logger.level, number))
        logger.addHandler(RunLog(logbook, number, limit_characters))
    if captures_stdout and not isinstance(sys.stdout, Printed):
        sys.stdout = Printed(sys.stdout, "stdout", logging.INFO, logbook, limit_characters)
        sys.stderr = Printed(sys.stderr, "stderr", logging.WARNING, logbook, limit_characters)


def _apart() -> list[logging.Logger]:
    """The loggers whose lines do not go on to the root logger: that of Celery's tasks, and what the shop chose."""
    known = list(logging.getLogger().manager.loggerDict.values())
    return [each for each in known if isinstance(each, logging.Logger) and not each.propagate]


def level_of(name: str) -> int:
    """The number of a level of logging. Raises UsageError with those that there are."""
    known = logging.getLevelNamesMapping()
    try:
        return known[name.upper()]
    except KeyError:
        raise UsageError(f"{name!r} is no level: choose one of debug, info, warning, error, critical") from None


def _line(execution: Execution, level: int, logger: str, message: str) -> NewLine:
    run, inside = execution.run, execution.attempt_inside
    step, step_attempt = inside or (None, None)
    level = max(0, min(level, HIGHEST_LEVEL))
    return NewLine(
        execution.now, run.id, run.workflow, step, run.attempt, step_attempt, run.epoch, level, logger, message, None
    )


def plain(value: Any, limit_characters: int = sys.maxsize) -> Any:
    """A value as JSON that Postgres takes; what is none of JSON's kinds as its words. What comes after about so many
    characters is left out, so that a line with a large object costs no more than others."""
    return _Plain(limit_characters).of(value, DEPTH_LIMIT)


class _Plain:
    """`room` is how many characters it still takes. Where there was more, stands CUT."""

    def __init__(self, room: int):
        self.room = room

    def of(self, value: Any, depth: int) -> Any:
        if value is None or isinstance(value, bool) or (isinstance(value, int) and abs(value) <= 2**63):
            self.room -= 6
            return value
        if isinstance(value, float):
            self.room -= 6
            return value if math.isfinite(value) else str(value)
        if depth and isinstance(value, Mapping):
            return self._members(value, depth)
        if depth and isinstance(value, list | tuple | set | frozenset):
            return self._items(value, depth)
        return self._words(value)

    def _members(self, mapping: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        taken: dict[str, Any] = {}
        for name, member in mapping.items():
            if self.room <= 0:
                return taken | {CUT: CUT}
            words = self._words(name)
            taken[words] = self.of(member, depth - 1)
        return taken

    def _items(self, items: Collection[Any], depth: int) -> list[Any]:
        taken: list[Any] = []
        for item in items:
            if self.room <= 0:
                return [*taken, CUT]
            taken.append(self.of(item, depth - 1))
        return taken

    def _words(self, value: Any) -> str:
        try:
            words = str(value)
        except Exception as error:  # the user's own __str__
            words = f"a {type(value).__name__} that cannot be printed ({type(error).__name__})"
        room = max(0, self.room)
        self.room -= len(words) + 4
        return _clean(words if len(words) <= room else words[:room] + CUT)


def _both_ends(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    half = max(0, limit - 40) // 2
    return f"{text[:half]}\n… {len(text) - 2 * half} characters …\n{text[len(text) - half :]}"


def _clean(text: str) -> str:
    # Postgres refuses NUL, and JSON lone surrogates.
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()
