"""What happens: the API that workflows are written against, and everything that executes them.

This is the public door; the law of the package is in its README.
"""

from .application import Celeriac, trigger
from .errors import Abort, RetryAfter
from .hook import EndedRun
from .metadata import Metadata
from .parallel import parallel
from .patch import patched
from .queue import Queue
from .retry import Retry
from .run import CurrentRun, Run, current_run
from .schedules.schedule import Cron, Every
from .sleep import sleep, sleep_until
from .step import Step, step
from .tasks.durable_task import DurableTask
from .tasks.run_task import run_task
from .waits import Token, complete_token, create_token, gather, receive, send_event, wait_for_event, wait_for_webhook
from .webhooks.event import Event
from .workflow import Workflow, workflow

__all__ = [
    "Abort",
    "Celeriac",
    "Cron",
    "CurrentRun",
    "DurableTask",
    "EndedRun",
    "Event",
    "Every",
    "Metadata",
    "Queue",
    "Retry",
    "RetryAfter",
    "Run",
    "Step",
    "Token",
    "Workflow",
    "complete_token",
    "create_token",
    "current_run",
    "gather",
    "parallel",
    "patched",
    "receive",
    "run_task",
    "send_event",
    "sleep",
    "sleep_until",
    "step",
    "trigger",
    "wait_for_event",
    "wait_for_webhook",
    "workflow",
]
