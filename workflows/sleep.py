"""`sleep` and `sleep_until`: waiting that holds no worker, no slot and no memory."""

from datetime import datetime
from typing import Any

from .engine import suspension
from .engine.conductor import conducted
from .engine.execution import execution_for
from .errors import UsageError
from .retry import SECONDS_LIMIT

ELSEWHERE = "elsewhere use time.sleep()"


def sleep(
    seconds: float = 0,
    *,
    milliseconds: float = 0,
    minutes: float = 0,
    hours: float = 0,
    days: float = 0,
    weeks: float = 0,
) -> Any:
    """Suspends the run for the sum of what is given; the time it wakes is recorded once, in Postgres.

    In an `async def` workflow it is awaited.

    Raises UsageError outside a run (use time.sleep there), inside a step's body, and for a negative time.

    >>> sleep(hours=1)
    """
    total = seconds + milliseconds / 1000 + 60 * (minutes + 60 * (hours + 24 * (days + 7 * weeks)))
    if not 0 <= total <= SECONDS_LIMIT:
        raise UsageError(f"sleep({total:g} seconds): a time cannot be negative, or longer than a hundred years")
    execution = execution_for("sleep", ELSEWHERE)
    return conducted(lambda: suspension.sleep(execution, f"it sleeps {total:g} s", delay_seconds=total, wake_at=None))


def sleep_until(moment: datetime) -> Any:
    """Suspends the run until `moment`, an aware datetime; one in the past does not wait.

    In an `async def` workflow it is awaited.

    Raises UsageError outside a run, inside a step's body, and for a naive datetime.
    """
    if moment.tzinfo is None:
        raise UsageError(f"sleep_until({moment!r}): a naive datetime; say which zone, e.g. datetime.now(UTC)")
    execution = execution_for("sleep_until", ELSEWHERE)
    cause = f"it sleeps until {moment.isoformat()}"
    return conducted(lambda: suspension.sleep(execution, cause, delay_seconds=None, wake_at=moment))
