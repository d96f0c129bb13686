"""An execution ends in one of these values, and one function writes it down (`executor.settle`).

`has_cleanup`: when the code was interrupted it wanted to execute steps, as `finally: release()` does. It gets to do
that when the run ends.
"""

from dataclasses import dataclass
from datetime import datetime

from ...state.waits import NewWait

SHUTS_DOWN, IS_PAUSED, CLEANS_UP = "its worker shuts down", "it is paused", "it is to end, and cleans up first"
HAND_OFFS = (SHUTS_DOWN, IS_PAUSED, CLEANS_UP)  # causes: from running to queued for any other, its worker was lost


@dataclass(frozen=True, slots=True)
class Completed:
    """The function returned; `output` is the JSON text of its result. `is_ignored`: a task raised Ignore."""

    output: str
    is_ignored: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """The function raised, and its retries are spent. `error` is JSON text, `exception` what was raised.

    `misfit_epoch`: the code does not fit what the run has recorded up to that epoch. That is no failure of what the run
    does, so nothing of it is undone.
    """

    error: str
    cause: str
    exception: BaseException
    misfit_epoch: int | None = None


@dataclass(frozen=True, slots=True)
class RetryAt:
    """It raised and is tried again `delay_seconds` later: the run from its failed step, or one step by its own policy.

    `is_cleanup`: the run is to end, and this is a step of its clean-up. `payload`: a task is tried again with these
    arguments. `is_by_child`: it failed by a child, which is tried again as well.
    """

    error: str
    cause: str
    delay_seconds: float
    next_attempt: int
    has_cleanup: bool = False
    is_cleanup: bool = False
    payload: str | None = None
    is_by_child: bool = False


@dataclass(frozen=True, slots=True)
class Suspended:
    """It sleeps: for `delay_seconds` from now, or until `wake_at`."""

    key: str
    seq: int
    name: str
    cause: str
    delay_seconds: float | None = None
    wake_at: datetime | None = None
    is_optional: bool = False
    has_cleanup: bool = False


@dataclass(frozen=True, slots=True)
class SuspendedOn:
    """It waits for what others bring: until `needed` of the waits `keys` have ended, or more than `tolerated` failed.

    `new` are those that begin with it.
    """

    keys: tuple[str, ...]
    needed: int
    tolerated: int | None
    cause: str
    new: tuple[NewWait, ...] = ()
    has_cleanup: bool = False


@dataclass(frozen=True, slots=True)
class Cancelled:
    """It saw that it is to end, and has cleaned up: cancelled, or as its verdict says. `error`: what that met."""

    error: str | None = None


@dataclass(frozen=True, slots=True)
class HandedOff:
    """It is queued again, and goes on from its last checkpoint."""

    cause: str = SHUTS_DOWN
    has_cleanup: bool = False


@dataclass(frozen=True, slots=True)
class Lost:
    """Someone else holds the run now. There is nothing to write."""


Outcome = Completed | Failed | RetryAt | Suspended | SuspendedOn | Cancelled | HandedOff | Lost


class Interruption(BaseException):
    """Ends an execution from within the user's code. Not an Exception: no `except Exception` may swallow it."""

    def __init__(self, outcome: Outcome):
        super().__init__(f"the run is interrupted ({type(outcome).__name__}): let this pass, it is no error")
        self.outcome = outcome
