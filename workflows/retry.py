"""When to try again: a pure function of the attempt and the error."""

import random
from dataclasses import dataclass

from .errors import Abort, NotSerializable, PayloadInvalid, RetryAfter, UsageError

HOPELESS = (Abort, NotSerializable, PayloadInvalid, UsageError)  # the next attempt would meet them again

SECONDS_LIMIT = 100 * 366 * 86_400.0  # a longer delay is no delay

Exceptions = tuple[type[BaseException], ...]


@dataclass(frozen=True, slots=True)
class Retry:
    """A retry policy. All times in seconds.

    The delay after failed attempt k is `R * min(max_delay, min_delay * factor ** (k - 1))`, with R uniform in
    [0.5, 1] when `jitter` is on, so that delays at the cap do not align, else 1.

    - max_attempts: how often it is tried in all, the first time included. Default 3.
    - factor: by how much the delay grows. Default 2.
    - min_delay, max_delay: the first delay and the cap. Default 1 and 60.
    - retry_on: only these are tried again. Default every Exception.
    - give_up_on: these are not, whatever retry_on says.

    Raises UsageError for values that make no policy.

    >>> Retry(max_attempts=5, jitter=False).delay_seconds(attempt=3)
    4.0
    """

    max_attempts: int = 3
    factor: float = 2.0
    min_delay: float = 1.0
    max_delay: float = 60.0
    jitter: bool = True
    retry_on: Exceptions = (Exception,)
    give_up_on: Exceptions = ()

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise UsageError(f"Retry(max_attempts={self.max_attempts}): it takes at least 1, the first attempt")
        if not (0 <= self.min_delay <= self.max_delay < float("inf") and 1 <= self.factor < float("inf")):
            raise UsageError(f"{self}: wants 0 <= min_delay <= max_delay and factor >= 1")
        for kinds in (self.retry_on, self.give_up_on):
            if not isinstance(kinds, tuple) or not all(isinstance(kind, type) for kind in kinds):
                raise UsageError(f"{self}: retry_on and give_up_on take a tuple of exception classes, (ValueError,)")

    def delay_seconds(self, attempt: int) -> float:
        """How long to wait after failed attempt `attempt` (1 is the first)."""
        try:
            delay = min(self.max_delay, self.min_delay * float(self.factor) ** (attempt - 1))
        except OverflowError:  # attempt 10,000
            delay = self.max_delay if self.min_delay else 0.0
        return delay * random.uniform(0.5, 1.0) if self.jitter else delay

    def decide(self, attempt: int, error: BaseException, max_attempts: int | None = None) -> float | None:
        """Seconds until the next attempt, or None to give up. `max_attempts` overrides the policy's own."""
        if isinstance(error, HOPELESS) or attempt >= (max_attempts or self.max_attempts):
            return None
        if isinstance(error, RetryAfter):
            return max(0.0, error.seconds) if error.seconds <= SECONDS_LIMIT else None
        if isinstance(error, self.give_up_on) or not isinstance(error, self.retry_on):
            return None
        return self.delay_seconds(attempt)


ONCE = Retry(max_attempts=1)  # as Celery: nothing is retried that does not say so
