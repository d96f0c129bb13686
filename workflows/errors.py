"""Every error of Celeriac, in one tree.

    CeleriacError
     ├─ UsageError                   the code asks for something that cannot be: the message says what to write instead
     │   ├─ CodeChanged              the code does not fit what its run has recorded: deploy code that does
     │   ├─ UnknownWorkflow          no such name; the nearest known one is suggested
     │   ├─ UnknownQueue             no such queue; the nearest known one is suggested
     │   ├─ UnknownSchedule          no such schedule
     │   ├─ UnknownSubscription      no such subscription
     │   ├─ UnknownAlert             no such alert
     │   ├─ UnknownWorker            no worker of this name answers
     │   └─ AddressRefused           an address that webhooks are not sent to (HTTP 422)
     ├─ PayloadInvalid               the payload does not fit the signature (HTTP 422)
     ├─ NotSerializable              a value that JSON cannot hold; names the step and the path
     │   └─ TooLarge                 above its limit (HTTP 413)
     ├─ IdempotencyConflict          the key was used with another payload (HTTP 409)
     ├─ RevisionConflict             somebody changed it since it was looked at (HTTP 412)
     ├─ ScheduleConflict             the key of a schedule is taken, or the code declares it (HTTP 409)
     ├─ SubscriptionConflict         the name of a subscription is taken (HTTP 409)
     ├─ AlertConflict                the name of an alert is taken (HTTP 409)
     ├─ WorkerRefused                a worker does not do what it was told (HTTP 409)
     ├─ WorkerSilent                 a worker that is alive does not answer (HTTP 504)
     ├─ BrokerUnavailable            Celery's broker does not answer (HTTP 503)
     ├─ NotDelivered                 a webhook that was sent was not accepted, it is tried again
     ├─ Refused                      the queue takes no run now, nothing was stored
     │   ├─ QueueFull                max_queued runs wait in it (HTTP 429)
     │   ├─ QueueDraining            it is worked off, and takes no new ones (HTTP 409)
     │   └─ KeyFull                  its concurrency key is full, and it says when_full="reject" (HTTP 409)
     ├─ StateUnavailable             Postgres does not answer (HTTP 503)
     ├─ Superseded                   someone else moved the run first
     ├─ Abort                        raised by you: stop retrying, this cannot succeed
     ├─ RetryAfter                   raised by you: try again in so many seconds
     ├─ StepError                    a step has finally failed; also an instance of the original class
     └─ RunError                     what `Run.result()` raises for a run that did not complete
         ├─ RunFailed
         ├─ RunCancelled             (also for expired runs)
         ├─ RunTimedOut
         └─ RunCrashed

Control flow (a run that suspends, is cancelled or handed off) is no error: see `celeriac.workflows.engine.outcome`.
"""

import math

from ..state.errors import (
    CeleriacError,
    IdempotencyConflict,
    KeyFull,
    NotSerializable,
    PayloadInvalid,
    QueueDraining,
    QueueFull,
    Refused,
    RevisionConflict,
    StateUnavailable,
    Superseded,
    TooLarge,
)

__all__ = [
    "Abort",
    "AddressRefused",
    "AlertConflict",
    "BrokerUnavailable",
    "CeleriacError",
    "CodeChanged",
    "IdempotencyConflict",
    "KeyFull",
    "NotDelivered",
    "NotSerializable",
    "PayloadInvalid",
    "QueueDraining",
    "QueueFull",
    "Refused",
    "RetryAfter",
    "RevisionConflict",
    "RunCancelled",
    "RunCrashed",
    "RunError",
    "RunFailed",
    "RunTimedOut",
    "ScheduleConflict",
    "StateUnavailable",
    "StepError",
    "SubscriptionConflict",
    "Superseded",
    "TooLarge",
    "UnknownAlert",
    "UnknownQueue",
    "UnknownSchedule",
    "UnknownSubscription",
    "UnknownWorker",
    "UnknownWorkflow",
    "UsageError",
    "WorkerRefused",
    "WorkerSilent",
]


class UsageError(CeleriacError):
    """The code asks for something that cannot be. The message says what to write instead."""


class CodeChanged(UsageError):
    """The code of a run does not fit what it has recorded: a step was renamed or removed, or became something else. The
    run has failed and nothing was undone. Deploy code that fits, and retry it."""


class UnknownWorkflow(UsageError):
    """No workflow of this name is defined here, and no worker has registered one."""


class UnknownQueue(UsageError):
    """No queue of this name is declared here, and no worker has declared one."""


class UnknownSchedule(UsageError):
    """No schedule has this key."""


class UnknownSubscription(UsageError):
    """No subscription has this name."""


class UnknownAlert(UsageError):
    """No alert has this name."""


class UnknownWorker(UsageError):
    """No worker of this name answers, and none is registered."""


class AddressRefused(UsageError):
    """A webhook is not sent to this address: it is no URL, not public, or without TLS, and not allowed by a setting."""


class SubscriptionConflict(CeleriacError):
    """The name is that of another subscription. Nothing was changed."""


class AlertConflict(CeleriacError):
    """The name is that of another alert. Nothing was changed."""


class WorkerRefused(CeleriacError):
    """A worker does not do what it was told. The message has its reason."""


class WorkerSilent(CeleriacError):
    """A worker that is alive did not answer in time. What it was told may still be done: look at it again."""


class BrokerUnavailable(CeleriacError):
    """Celery's broker does not answer, so no worker can be asked or told anything now."""


class NotDelivered(CeleriacError):
    """A webhook that was sent was not accepted: no answer, or one that is no 2xx."""


class ScheduleConflict(CeleriacError):
    """The key is that of another schedule, or of one that the code declares. Nothing was changed."""


class Abort(CeleriacError):
    """Raise it in a step or workflow to stop retrying at once: `raise Abort("the card is stolen")`."""


class RetryAfter(CeleriacError):
    """Raise it in a step or workflow to set the delay before the next attempt: `raise RetryAfter(30)` (seconds).

    It uses up an attempt as any other error does.
    """

    def __init__(self, seconds: float, why: str = ""):
        try:
            self.seconds = float(seconds)  # also what a Retry-After header says
        except (TypeError, ValueError):
            self.seconds = math.nan
        if not math.isfinite(self.seconds):
            raise UsageError(f"RetryAfter({seconds!r}): give the seconds until the next attempt")
        super().__init__(why or f"try again in {self.seconds:g} s")

    def __reduce__(self) -> tuple[type, tuple[float, str]]:
        return type(self), (self.seconds, str(self))


class StepError(CeleriacError):
    """A step has failed for good. What the workflow catches is also an instance of the step's own exception class,
    on the first execution and on every replay alike, so both `except StepError` and `except ValueError` work.

    Attributes: `step` (its key), `type` (the name of the original class), `message`.
    """

    step: str
    type: str
    message: str


class RunError(CeleriacError):
    """The run ended without a result. Attributes: `run_id`, `type` and `message` of what ended it; `step`, the key that
    the run has as a child, where its parent asked for its result."""

    step: str | None = None

    def __init__(self, run_id: str, type: str, message: str):
        super().__init__(f"{run_id}: {type}: {message}")
        self.run_id, self.type, self.message = run_id, type, message

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        return self.__class__, (self.run_id, self.type, self.message)


class RunFailed(RunError):
    """The run's code raised, and its retries are spent."""


class RunCancelled(RunError):
    """The run was cancelled, or expired before it started."""


class RunTimedOut(RunError):
    """The run took longer than its max_duration."""


class RunCrashed(RunError):
    """The run's worker died again and again without a checkpoint between."""
