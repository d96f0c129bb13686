"""Errors as rows: how an exception is written down, without secrets, and how a replay raises it again."""

import json
import sys
import traceback
from functools import cache
from typing import Any, NotRequired, TypedDict

from ..errors import RetryAfter, RunError, StepError
from ..signals.redaction import Redaction

MESSAGE_LIMIT = 10_000  # characters
SIGNAL_EXIT = -128  # billiard exits with signal number - 256
TRACEBACK_LIMIT = 40_000  # characters; the middle is left out, both ends tell the most


class ErrorDocument(TypedDict):
    """An error as JSON. `step` is the key of the step it came from, `retry_after_seconds` what a RetryAfter said,
    `children` (of a canvas) the keys of all children that failed, `anew` what the next attempt does again."""

    type: str
    message: str
    traceback: str | None
    step: str | None
    retry_after_seconds: NotRequired[float]
    children: NotRequired[list[str]]
    anew: NotRequired["Anew"]


class Anew(TypedDict):
    """What an attempt did while it handled the error by which it failed: another one may take another way there. The
    `keys` of its steps, and how many `edits` of metadata the run had made before."""

    keys: list[str]
    edits: int | None


def error_document(error: BaseException, step: str | None = None, anew: Anew | None = None) -> str:
    """The JSON text of an exception that is being handled, without secrets: as it is read, and raised again."""
    document: ErrorDocument = {
        "type": _name_of(error),
        "message": words_of(error),
        "traceback": _clean(_hidden("".join(traceback.format_exception(error))), TRACEBACK_LIMIT),
        "step": step or failed_step(error),
    }
    if isinstance(error, RetryAfter):
        document["retry_after_seconds"] = error.seconds
    if anew is not None:
        document["anew"] = anew
    return json.dumps(document)


def told(document: str) -> str:
    """A recorded error in one line: `ValueError: no such customer`."""
    error: ErrorDocument = json.loads(document)
    return f"{error['type']}: {error['message']}"


def words_of(error: BaseException) -> str:
    """What an exception says, but for secrets, whatever it holds, and also where it fails to say it."""
    try:
        return _clean(_hidden(str(error)), MESSAGE_LIMIT)
    except Exception as failure:  # the user's own __str__
        return f"a {type(error).__name__} that cannot be printed ({type(failure).__name__})"


def ends_the_process(error: BaseException) -> bool:
    """Whether this is a signal on its way (Celery's pools turn SIGTERM into a SystemExit), or the end of a greenlet.
    Whatever else is no Exception is the code's own doing: its exit, asyncio's CancelledError, a Timeout of gevent."""
    if isinstance(error, KeyboardInterrupt | GeneratorExit) or type(error).__name__ == "GreenletExit":
        return True
    if not isinstance(error, SystemExit):
        return False
    return type(error) is not SystemExit or (isinstance(error.code, int) and error.code <= SIGNAL_EXIT)


def failed_step(error: BaseException) -> str | None:
    """The key of the step that this exception came from."""
    return getattr(origin_of(error), "step", None) or None


def origin_of(error: BaseException) -> BaseException:
    """The error of a step that this exception came from: itself, or what it was raised from or while handling. Where
    no step failed, the first of these."""
    seen: set[int] = set()
    while not (isinstance(error, StepError | RunError) and error.step):
        seen.add(id(error))
        earlier = error.__cause__ or error.__context__
        if earlier is None or id(earlier) in seen:
            break
        error = earlier
    return error


def step_error(step: str, document: str) -> StepError:
    """The recorded error of a step as an exception: a StepError that is also an instance of the original class.

    The class is looked for among the modules that are loaded, none is imported: code that catches a class by name has
    loaded it.
    """
    recorded: dict[str, Any] = json.loads(document)
    kind = _both(loaded_class(recorded["type"]) or StepError)  # type: ignore[arg-type]  # classes are hashable
    built_in: Any = next(each for each in kind.__mro__ if each.__module__ == "builtins")
    try:
        error: StepError = built_in.__new__(kind)  # a __new__ or __init__ in Python may want what was not kept
    except TypeError:
        error = StepError()  # a class that cannot be made of nothing, as ExceptionGroup
    error.args = (recorded["message"],)
    error.step, error.type, error.message = step, recorded["type"], recorded["message"]
    if isinstance(error, RetryAfter):
        error.seconds = recorded["retry_after_seconds"]
    return error


@cache
def _both(original: type[Exception]) -> type[StepError]:
    if issubclass(StepError, original):
        return StepError
    if issubclass(original, StepError):
        return original
    own = {
        "__module__": original.__module__,
        "__qualname__": original.__qualname__,
        "__str__": lambda self: self.message,
        "step": "",  # plain attributes, whatever the original makes of these names
        "type": "",
        "message": "",
        "args": BaseException.args,
        "__reduce__": lambda self: (StepError, (self.message,)),
    }
    try:
        return type(original.__name__, (StepError, original), own)
    except TypeError:
        return StepError  # a class that allows no second base


def loaded_class(name: str) -> type[Exception] | None:
    """The exception class of this name, among the modules that are loaded."""
    parts = name.split(".")
    candidates = [("builtins", parts)] + [(".".join(parts[:i]), parts[i:]) for i in range(len(parts) - 1, 0, -1)]
    for module_name, path in candidates:
        found: Any = sys.modules.get(module_name)
        for attribute in path:
            found = getattr(found, attribute, None)
        if isinstance(found, type) and issubclass(found, Exception):
            return found
    return None


def _name_of(error: BaseException) -> str:
    if isinstance(error, StepError):
        return error.type
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _hidden(text: str) -> str:
    return Redaction.of_process().text(text)


def _clean(text: str, limit: int) -> str:
    # What a program says when it dies may hold anything. Postgres refuses NUL, JSON refuses lone surrogates.
    text = text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()
    if len(text) > limit:
        text = f"{text[: limit // 2]}\n... {len(text) - limit} characters left out ...\n{text[-limit // 2 :]}"
    return text
